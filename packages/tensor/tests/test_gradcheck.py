"""gradcheck and gradgradcheck must fail where a derivative is wrong, and say where."""

import numpy as np
import pytest

from rondeau import tensor as rt


def wrong(name, derivative):
    """x**2 with a derivative of our choice."""

    class Square(rt.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return derivative(g, *ctx.saved_tensors)

    Square.__name__ = name
    return Square.apply


def leaf(*values):
    return rt.tensor(values, dtype="float64", requires_grad=True)


right = wrong("Right", lambda g, x: 2 * g * x)


def test_passes_where_it_is_right():
    assert rt.gradcheck(right, leaf(1.0, -2.0))
    assert rt.gradgradcheck(right, leaf(1.0, -2.0))


def test_a_graph_recorded_before_can_still_be_walked():
    x = leaf(1.0, -2.0)
    before = (x * x).sum()
    assert rt.gradcheck(right, x)
    before.backward()
    assert x.grad.tolist() == [2.0, -4.0]


@pytest.mark.parametrize(
    "derivative",
    [
        lambda g, x: g * x,
        lambda g, x: -2 * g * x,
        lambda g, x: 2 * g * x * 1.01,
        lambda g, x: 2 * g * x + 1e-3,
        lambda g, x: g * 0,
        lambda g, x: (2 * g * x).sum().expand(2),
        lambda g, x: 2 * g * x.flip(0),
        lambda g, x: g * float("nan"),
    ],
)
def test_fails_on_a_wrong_gradient(derivative):
    function = wrong("Wrong", derivative)
    with pytest.raises(rt.GradcheckError, match=r"output 0, input 0: \d of 4 derivatives are wrong"):
        rt.gradcheck(function, leaf(1.0, -2.0))
    assert rt.gradcheck(function, leaf(1.0, -2.0), raise_exception=False) is False


def test_one_wrong_element_is_named():
    function = wrong("Wrong", lambda g, x: 2 * g * x * rt.tensor([[1.0, 1.0], [1.5, 1.0]], dtype="float64"))
    x = rt.tensor([[1.0, 2.0], [3.0, 4.0]], dtype="float64", requires_grad=True)
    message = (
        r"1 of 16 derivatives are wrong; the first is d output\[1, 0\] / d input\[1, 0\]: "
        "backward gives 9, central differences 6"
    )
    with pytest.raises(rt.GradcheckError, match=message):
        rt.gradcheck(function, x)


def test_a_lost_graph_is_noticed():
    with pytest.raises(rt.GradcheckError, match="derivatives are wrong"):
        rt.gradcheck(lambda x: x * x.detach(), leaf(1.0, 2.0))


def test_a_wrong_second_derivative_is_noticed_by_gradgradcheck_alone():
    def derivative(g, x):
        return 2 * g * x.detach()  # right as a number, but no longer a function of x

    function = wrong("Detached", derivative)
    assert rt.gradcheck(function, leaf(1.0, -2.0))
    with pytest.raises(rt.GradcheckError, match="derivatives are wrong"):
        rt.gradgradcheck(function, leaf(1.0, -2.0))


def test_every_output_and_input_is_checked():
    def function(a, b):
        return a * b, a * b.detach()

    with pytest.raises(rt.GradcheckError, match="output 1, input 1"):
        rt.gradcheck(function, (leaf(1.0), leaf(2.0)))


def test_inputs_are_left_as_they_were():
    x = leaf(1.0, -2.0)
    rt.gradcheck(right, x)
    assert x.tolist() == [1, -2]
    assert x.grad is None


def test_other_arguments_are_passed_on():
    assert rt.gradcheck(lambda x, n, c: x**n * c, (leaf(1.0, 2.0), 3, rt.tensor([1.0, 2.0])))


def test_what_cannot_be_checked():
    with pytest.raises(ValueError, match="at least one input with requires_grad=True"):
        rt.gradcheck(right, rt.ones(1))
    with pytest.raises(ValueError, match=r"needs float64, input 0 is float32: use \.double\(\)"):
        rt.gradcheck(right, rt.ones(1, requires_grad=True))
    with pytest.raises(ValueError, match="needs leaves, input 0 was computed"):
        rt.gradcheck(right, leaf(1.0) * 1)
    with pytest.raises(ValueError, match="no output of the function requires a gradient"):
        rt.gradgradcheck(lambda x: x.detach(), leaf(1.0))


def test_scalars_and_empty_tensors():
    assert rt.gradcheck(lambda x: x.sum(), rt.tensor(np.float64(2.0), requires_grad=True))
    assert rt.gradcheck(lambda x: x * 2, rt.zeros(0, 3, dtype="float64", requires_grad=True))
