import numpy as np
import pytest

from comparing import assert_close
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import functional as F  # noqa: N812 - the usual name


@pytest.mark.parametrize(
    ("shape", "normalized"),
    [
        ((4,), 4),
        ((5, 7), 7),
        ((2, 3, 8), 8),
        ((2, 3, 8), (3, 8)),
        ((0, 4), 4),
        ((33, 129), [129]),
    ],
)
@pytest.mark.parametrize(("affine", "bias"), [(True, True), (True, False), (False, True)])
def test_agrees_with_torch(compare_modules, torch, dtype, shape, normalized, affine, bias):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(shape) * 2 + 1).astype(dtype)
    theirs = torch.nn.LayerNorm(normalized, 1e-3, affine, bias, dtype=getattr(torch, dtype))
    for parameter in theirs.parameters():
        parameter.data = torch.from_numpy(rng.standard_normal(parameter.shape).astype(dtype))
    compare_modules(nn.LayerNorm(normalized, 1e-3, affine, bias, dtype=dtype), theirs, x)


def test_first_and_second_derivatives_by_central_differences():
    rng = np.random.default_rng(1)
    x, w, b = (rt.tensor(rng.standard_normal(shape), requires_grad=True) for shape in ((3, 5), (5,), (5,)))

    def normalise(x, *parameters):
        return F.layer_norm(x, 5, *parameters)

    for inputs in ([x, w, b], [x]):
        assert rt.gradcheck(normalise, inputs)
        assert rt.gradgradcheck(normalise, inputs)


def test_a_row_of_one_is_its_bias_and_has_no_gradient():
    x, w, b = (rt.tensor(values, requires_grad=True) for values in ([[2.0], [-3.0]], [5.0], [7.0]))
    y = F.layer_norm(x, 1, w, b)
    assert y.tolist() == [[7.0], [7.0]]
    y.backward(rt.tensor([[1.0], [2.0]]))
    assert (x.grad.tolist(), w.grad.tolist(), b.grad.tolist()) == ([[0.0], [0.0]], [0.0], [3.0])


def test_rows_get_mean_zero_and_variance_one():
    x = rt.as_tensor(np.random.default_rng(2).standard_normal((6, 50)) * 9 + 100)
    y = F.layer_norm(x, 50).numpy()
    assert_close(y.mean(1), 0, rtol=1e-7, atol=1e-12)
    assert_close(y.var(1), 1, rtol=1e-6)


def test_the_result_does_not_share_memory_with_what_backward_keeps():
    x = rt.tensor(np.random.default_rng(2).standard_normal((2, 5)), requires_grad=True)
    y = F.layer_norm(x, 5)
    expected = rt.grad(y, x, rt.ones(2, 5, dtype="float64"), retain_graph=True)[0].tolist()
    y.data[...] = 7.0
    assert rt.grad(y, x, rt.ones(2, 5, dtype="float64"))[0].tolist() == expected


@pytest.mark.parametrize(
    ("shape", "normalized", "message"),
    [
        ((2, 3), 4, r"input of shape \(2, 3\) must end in normalized_shape=\(4,\)"),
        ((3,), (2, 3), r"must end in normalized_shape=\(2, 3\)"),
        ((2, 3), (), "which must not be empty"),
    ],
)
def test_wrong_shapes(shape, normalized, message):
    with pytest.raises(ValueError, match=message):
        F.layer_norm(rt.ones(*shape), normalized)


def test_wrong_parameters():
    with pytest.raises(ValueError, match=r"weight must have shape \(3,\), got \(2,\)"):
        F.layer_norm(rt.ones(2, 3), 3, rt.ones(2))
    with pytest.raises(TypeError, match="input is float64 and weight is float32"):
        nn.LayerNorm(3)(rt.ones(2, 3, dtype="float64"))
    with pytest.raises(TypeError, match="input must be float32 or float64, got int64"):
        F.layer_norm(rt.ones(2, 3).long(), 3)


def test_reset_and_repr():
    layer = nn.LayerNorm((2, 3))
    nn.init.zeros_(layer.weight)
    layer.reset_parameters()
    assert layer.weight.tolist() == [[1.0] * 3] * 2
    assert repr(layer) == "LayerNorm((2, 3), eps=1e-05, elementwise_affine=True)"


@pytest.mark.parametrize("eps", [-1.0, float("nan"), float("inf")])
def test_an_epsilon_that_cannot_be_added(eps):
    with pytest.raises(ValueError, match="eps must be a finite number of at least 0"):
        F.layer_norm(rt.ones(2, 3), 3, eps=eps)


def test_constants_beyond_float32_are_refused():
    x = rt.tensor([[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"layer_norm: eps 1e\+300 does not fit float32"):
        nn.functional.layer_norm(x, (2,), eps=1e300)
    with pytest.raises(ValueError, match=r"smooth_l1_loss: beta 1e\+300 does not fit float32"):
        nn.functional.smooth_l1_loss(x, x, beta=1e300)


def test_squares_beyond_the_dtype_do_not_become_zeros():
    """A scale of 1 / inf would make them of every element."""
    row = np.array([[1e30, -2e30, 5e29]])
    expected = (row - row.mean()) / row.std()
    assert_close(F.layer_norm(rt.tensor(row.astype(np.float32)), (3,)), expected, rtol=1e-6)
    assert np.isnan(F.layer_norm(rt.tensor(row * 1e170), (3,)).numpy()).all()
