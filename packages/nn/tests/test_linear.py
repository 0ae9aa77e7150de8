import numpy as np
import pytest

from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import functional as F  # noqa: N812 - the usual name

SIZES = [(1, 1, 1), (3, 4, 2), (7, 17, 5), (33, 65, 31), (0, 4, 3), (64, 128, 65)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SIZES)
def test_agrees_with_torch(compare_modules, torch, dtype, rows, inputs, outputs, bias):
    x = np.random.default_rng(rows).standard_normal((rows, inputs)).astype(dtype)
    theirs = torch.nn.Linear(inputs, outputs, bias, dtype=getattr(torch, dtype))
    compare_modules(nn.Linear(inputs, outputs, bias, dtype=dtype), theirs, x, seed=outputs)


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4), (2, 0, 4), (1, 2, 3, 4)])
def test_leading_dimensions(compare_modules, torch, dtype, shape):
    x = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    theirs = torch.nn.Linear(4, 3, dtype=getattr(torch, dtype))
    compare_modules(nn.Linear(4, 3, dtype=dtype), theirs, x)


def test_non_contiguous_operands(compare, torch):
    rng = np.random.default_rng(2)
    x, w, b = rng.standard_normal((6, 9)), rng.standard_normal((6, 4)), rng.standard_normal(4)
    compare(
        lambda x, w, b: F.linear(x.T, w.T, b),
        lambda x, w, b: torch.nn.functional.linear(x.T, w.T, b),
        x, w, b,
    )  # fmt: skip


def test_first_and_second_derivatives_by_central_differences():
    rng = np.random.default_rng(4)
    inputs = [rt.tensor(rng.standard_normal(shape), requires_grad=True) for shape in ((3, 2), (4, 2), (4,))]
    assert rt.gradcheck(F.linear, inputs)
    assert rt.gradgradcheck(F.linear, inputs)


def test_frozen_weight_gets_no_gradient():
    layer = nn.Linear(2, 2)
    layer.weight.requires_grad_(False)
    layer(rt.ones(3, 2)).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad.tolist() == [3.0, 3.0]


def test_worked_example_of_two_layers():
    # By hand: hidden rows relu([-0.5, 1.5]) and relu([-0.5, 5.5]); the predictions' gradients are -3.5 and -4.5.
    first, second = nn.Linear(2, 2), nn.Linear(2, 1)
    first.load_state_dict({"weight": [[1.0, -1.0], [2.0, 0.0]], "bias": [0.5, -0.5]})
    second.load_state_dict({"weight": [[1.0, 2.0]], "bias": [0.0]})
    prediction = second(first(rt.tensor([[1.0, 2.0], [3.0, 4.0]])).relu())
    assert prediction.reshape(-1).tolist() == [3.0, 11.0]
    loss = F.mse_loss(prediction, rt.tensor([[10.0], [20.0]])) / 2
    loss.backward()
    assert loss.item() == 32.5
    assert second.weight.grad.tolist() == [[0.0, -30.0]]
    assert second.bias.grad.tolist() == [-8.0]
    assert first.weight.grad.tolist() == [[0.0, 0.0], [-34.0, -50.0]]
    assert first.bias.grad.tolist() == [0.0, -16.0]


def test_initial_values_fill_torch_s_range():
    rt.manual_seed(0)
    layer = nn.Linear(25, 4000)
    for values in (layer.weight.detach().numpy(), layer.bias.detach().numpy()):
        assert np.abs(values).max() <= 0.2
        assert np.abs(values).max() > 0.199
        assert abs(values.std() - 0.2 / np.sqrt(3)) < 0.002


def test_seed_decides_initial_values():
    rt.manual_seed(5)
    first = nn.Linear(3, 3).weight.tolist()
    assert nn.Linear(3, 3).weight.tolist() != first
    rt.manual_seed(5)
    assert nn.Linear(3, 3).weight.tolist() == first


@pytest.mark.parametrize(
    ("x", "weight", "bias", "error", "message"),
    [
        ((3, 5), (2, 4), (2,), ValueError, r"input of shape \(3, 5\) must have 4 as its last dimension"),
        ((3, 4), (2, 4), (3,), ValueError, r"bias must have shape \(2,\), got \(3,\)"),
        ((3, 4), (2, 4, 1), None, ValueError, r"weight must have shape \(out, in\), got \(2, 4, 1\)"),
        ((), (2, 4), None, ValueError, r"input of shape \(\) must have 4"),
    ],
)
def test_wrong_shapes(x, weight, bias, error, message):
    with pytest.raises(error, match=message):
        F.linear(rt.ones(*x), rt.ones(*weight), None if bias is None else rt.ones(*bias))


def test_mixed_dtypes_are_refused_by_name():
    with pytest.raises(TypeError, match="input is float64 and weight is float32"):
        nn.Linear(2, 2)(rt.ones(1, 2, dtype="float64"))


def test_repr():
    assert repr(nn.Linear(3, 4, bias=False)) == "Linear(in_features=3, out_features=4, bias=False)"
