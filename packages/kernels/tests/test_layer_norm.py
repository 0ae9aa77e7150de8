import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau.kernels.ops import layer_norm


def reference(x, w, b, eps, dy):
    """Everything in float64 and by the textbook."""
    x, w, b, dy = (array.astype(np.float64) for array in (x, w, b, dy))
    rstd = 1 / np.sqrt(x.var(axis=1, keepdims=True) + eps)
    z = (x - x.mean(axis=1, keepdims=True)) * rstd
    h = dy * w
    dx = rstd * (h - h.mean(axis=1, keepdims=True) - z * (h * z).mean(axis=1, keepdims=True))
    return z * w + b, dx, (dy * z).sum(axis=0), dy.sum(axis=0)


pytestmark = pytest.mark.usefixtures("new_memory_is_nan")


def run(x, w, b, eps, dy):
    y, saved = layer_norm.forward(x, w, b, eps)
    return y, layer_norm.backward_input(dy, saved), *layer_norm.backward_parameters(dy, saved)


def draw(shape, dtype):
    rng = np.random.default_rng(shape[1])
    x, dy = (2 * rng.standard_normal(shape) + 1).astype(dtype), rng.standard_normal(shape).astype(dtype)
    w, b = rng.standard_normal(shape[1]).astype(dtype), rng.standard_normal(shape[1]).astype(dtype)
    return x, w, b, 1e-3, dy


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape",
    [(0, 3), (1, 2), (31, 15), (32, 63), (33, 64), (70, 65), (3, 500), (2, 1024), (2, 1025), (3, 5000)],
)
def test_agrees_with_the_reference(shape, dtype):
    arguments = draw(shape, dtype)
    for ours, expected in zip(run(*arguments), reference(*arguments), strict=True):
        tolerance = (3e-6 if dtype == "float32" else 1e-14) * max(1.0, np.abs(expected).max(initial=0))
        assert_close(ours, expected, atol=tolerance)


@pytest.mark.parametrize("shape", [(1, 2**20), (2**16, 16)])
def test_the_error_does_not_grow_with_the_length_of_rows_and_columns(shape):
    arguments = draw(shape, "float32")
    for ours, expected in zip(run(*arguments), reference(*arguments), strict=True):
        assert np.abs(ours - expected).max() <= 4e-7 * np.abs(expected).max()


@pytest.mark.parametrize("shape", [(333, 130), (70, 3000)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_for_any_number_of_threads(dtype, shape, set_num_threads):
    arguments = draw(shape, dtype)
    results = []
    for count in (1, 2, 3):
        set_num_threads(count)
        results.append(run(*arguments))
    for other in results[1:]:
        assert_same_bits(other, results[0])


def test_strides_of_any_kind_and_no_weight_and_bias():
    x, _, _, eps, dy = draw((6, 5), "float64")
    expected = run(x, np.ones(5), np.zeros(5), eps, dy)
    assert_same_bits(run(np.asfortranarray(x), None, None, eps, np.repeat(dy, 2, axis=1)[:, ::2]), expected)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": 1.0}, TypeError, "x must be a numpy array, got float"),
        ({"x": np.zeros((2, 3), int)}, TypeError, "x must be float32 or float64, got int64"),
        ({"x": np.zeros((1, 2, 3))}, ValueError, r"x must have shape \(N, C\), got \(1, 2, 3\)"),
        ({"weight": np.ones(2)}, ValueError, r"weight must have shape \(3,\), got \(2,\)"),
        ({"bias": np.ones((3, 1))}, ValueError, r"bias must have shape \(3,\), got \(3, 1\)"),
        ({"bias": np.ones(3, "f4")}, TypeError, "bias must be float64, got float32"),
        ({"eps": -1.0}, ValueError, "eps must be from 0 to 1.79.*, got -1.0"),
        ({"eps": float("inf")}, ValueError, "eps must be from 0 to 1.79.*, got inf"),
        ({"eps": 10**5000}, ValueError, "eps must be from 0 to 1.79.*, got an integer of 16610 bits"),
        ({"eps": None}, TypeError, "eps must be a number, got NoneType"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_kernel(change, error, message):
    good = {"x": np.zeros((2, 3)), "weight": np.ones(3), "bias": np.zeros(3), "eps": 1e-5}
    with pytest.raises(error, match=message):
        layer_norm.forward(**{**good, **change})


@pytest.mark.parametrize("backward", [layer_norm.backward_input, layer_norm.backward_parameters])
@pytest.mark.parametrize(
    ("dy", "error", "message"),
    [
        (np.ones((3, 2)), ValueError, r"dy must have shape \(2, 3\), got \(3, 2\)"),
        (np.ones((2, 3), "f4"), TypeError, "dy must be float64, got float32"),
    ],
)
def test_a_gradient_that_does_not_fit_is_refused(backward, dy, error, message):
    _, saved = layer_norm.forward(np.zeros((2, 3)), None, None, 1e-5)
    with pytest.raises(error, match=message):
        backward(dy, saved)
