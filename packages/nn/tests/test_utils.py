import math

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import utils

SHAPES = [(), (1,), (3, 5), (4096,), (4097,), (70, 130)]


def with_gradients(dtype, scale=1.0):
    rng = np.random.default_rng(0)
    parameters = []
    for shape in SHAPES:
        parameter = nn.Parameter(rt.zeros(*shape, dtype=dtype))
        parameter.grad = rt.as_tensor(np.asarray(rng.standard_normal(shape) * scale, dtype))
        parameters.append(parameter)
    return [*parameters, nn.Parameter(rt.zeros(2, dtype=dtype))]


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, math.inf])
def test_clip_grad_norm_agrees_with_torch(close, torch, dtype, norm_type, max_norm):
    ours = with_gradients(dtype)
    theirs = []
    for parameter in ours:
        twin = torch.nn.Parameter(torch.zeros(parameter.shape, dtype=getattr(torch, dtype)))
        if parameter.grad is not None:
            twin.grad = torch.from_numpy(parameter.grad.numpy().copy())
        theirs.append(twin)
    total = utils.clip_grad_norm_(ours, max_norm, norm_type)
    close(total.numpy(), torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type).numpy(), "norm")
    for own, other in zip(ours[:-1], theirs[:-1], strict=True):
        close(own.grad.numpy(), other.grad.numpy(), "gradient")
    assert ours[-1].grad is None


def test_clipped_norm_is_the_bound():
    parameters = with_gradients("float64", scale=100.0)
    utils.clip_grad_norm_(parameters, 5.0)
    assert utils.get_total_norm([p.grad for p in parameters if p.grad is not None]).item() == pytest.approx(
        5.0
    )


def test_small_gradients_keep_their_bits():
    (parameter,) = parameters = with_gradients("float32")[2:3]
    before = parameter.grad.numpy().copy()
    utils.clip_grad_norm_(iter(parameters), 1e3)
    assert_same_bits(parameter.grad, before)


def test_nothing_to_clip():
    assert utils.clip_grad_norm_([], 1.0).item() == 0.0
    assert utils.clip_grad_norm_(nn.Parameter(rt.zeros(2)), 1.0).item() == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_norm_that_is_not_finite(bad):
    parameter = nn.Parameter(rt.zeros(2))
    parameter.grad = rt.tensor([1.0, bad])
    with pytest.raises(
        RuntimeError, match=r"total norm of order 2.0 is (nan|inf), so the gradients cannot be clipped"
    ):
        utils.clip_grad_norm_(parameter, 1.0, error_if_nonfinite=True)
    assert parameter.grad.numpy()[0] == 1.0
    assert not math.isfinite(utils.clip_grad_norm_(parameter, 1.0).item())
    assert math.isnan(parameter.grad.numpy()[1])


BOUNDS = [-1.0, -1e-30, math.nan, -math.inf, 10**400]


@pytest.mark.parametrize("wrong", BOUNDS, ids=lambda bound: f"{bound!s:.9}")
@pytest.mark.parametrize("clip", [utils.clip_grad_norm_, utils.clip_grad_value_])
def test_a_bound_that_is_none_changes_nothing(clip, wrong):
    """A negative one would turn the gradients round."""
    parameter = with_gradients("float32")[2]
    before = parameter.grad.numpy().tobytes()
    with pytest.raises(
        ValueError,
        match=r"^(max_norm|clip_value)(, a bound on magnitudes, must be at least 0| must be at most)",
    ):
        clip(parameter, wrong)
    assert parameter.grad.numpy().tobytes() == before


@pytest.mark.parametrize("max_norm", [0.0, 1.0, math.inf])
@pytest.mark.parametrize("gradient", [[math.inf, 1.0], [-math.inf, 0.0], [math.nan, 1.0], [3.0, 4.0]])
def test_what_is_not_finite_spreads_as_in_torch(torch, gradient, max_norm):
    parameter, twin = nn.Parameter(rt.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    parameter.grad, twin.grad = rt.tensor(gradient), torch.tensor(gradient)
    total = utils.clip_grad_norm_(parameter, max_norm)
    assert_same_bits(total, torch.nn.utils.clip_grad_norm_(twin, max_norm).numpy())
    assert_same_bits(parameter.grad, twin.grad)


@pytest.mark.parametrize("norm_type", [0.5, 2.0, 3.0, 2**63])
@pytest.mark.parametrize("size", [1e25, 1e-30])
def test_norms_whose_powers_leave_the_range(size, norm_type):
    """Gradients that are finite have their norm, where PyTorch's is infinite and makes them all 0."""
    parameter = nn.Parameter(rt.zeros(2, 2))
    parameter.grad = rt.tensor([[3 * size, 0.0], [-4 * size, 0.0]])
    expected = size * (3.0**norm_type + 4.0**norm_type) ** (1 / norm_type) if norm_type < 9 else 4 * size
    assert utils.clip_grad_norm_(parameter, size / 8, norm_type).item() == pytest.approx(expected, rel=1e-6)
    clipped = np.array([[3.0, 0.0], [-4.0, 0.0]]) * size * min(1.0, size / 8 / (expected + 1e-6))
    assert_close(parameter.grad, clipped, rtol=1e-6, atol=1e-45)  # the smallest float32


def test_a_norm_beyond_the_dtype_is_infinite():
    parameter = nn.Parameter(rt.zeros(2))
    parameter.grad = rt.full((2,), 3e38)
    assert utils.get_total_norm([parameter.grad]).item() == math.inf
    with pytest.raises(RuntimeError, match=r"total norm of order 2.0 is inf"):
        utils.clip_grad_norm_(parameter, 1.0, error_if_nonfinite=True)


def test_clip_grad_value():
    parameters = with_gradients("float32")
    expected = [None if p.grad is None else np.clip(p.grad.numpy(), -0.3, 0.3) for p in parameters]
    utils.clip_grad_value_(parameters, 0.3)
    for parameter, clipped in zip(parameters, expected, strict=True):
        assert (parameter.grad is None) == (clipped is None)
        if clipped is not None:
            assert_same_bits(parameter.grad, clipped)


def test_vector_and_back():
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    vector = utils.parameters_to_vector(source.parameters())
    assert vector.tolist() == [*source.weight.reshape(-1).tolist(), *source.bias.tolist()]
    utils.vector_to_parameters(vector, target.parameters())
    assert target.weight.tolist() == source.weight.tolist()
    assert target.bias.tolist() == source.bias.tolist()
    (vector * vector).sum().backward()
    assert_close(source.weight.grad, 2 * source.weight.detach().numpy(), rtol=1e-7)


def test_vector_of_another_length():
    with pytest.raises(
        ValueError, match=r"hold 8 elements, so the vector must have shape \(8,\), got \(7,\)"
    ):
        utils.vector_to_parameters(rt.zeros(7), nn.Linear(3, 2).parameters())


@pytest.mark.parametrize(
    "call",
    [
        lambda layer: nn.utils.clip_grad_norm_(layer, 1.0),
        lambda layer: nn.utils.clip_grad_value_(layer, 1.0),
        nn.utils.get_total_norm,
        nn.utils.parameters_to_vector,
    ],
)
def test_a_module_in_the_place_of_its_parameters(call):
    with pytest.raises(
        TypeError, match=r"got the module Linear; give its parameters, as module.parameters\(\)"
    ):
        call(nn.Linear(2, 1))
