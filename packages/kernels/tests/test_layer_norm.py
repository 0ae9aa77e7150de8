import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau.kernels.ops import layer_norm
from rondeau.kernels.runtime import threads


def reference(x, w, b, eps, dy):
    """Everything in float64 and by the textbook."""
    x, w, b, dy = (array.astype(np.float64) for array in (x, w, b, dy))
    rstd = 1 / np.sqrt(x.var(axis=1, keepdims=True) + eps)
    z = (x - x.mean(axis=1, keepdims=True)) * rstd
    h = dy * w
    dx = rstd * (h - h.mean(axis=1, keepdims=True) - z * (h * z).mean(axis=1, keepdims=True))
    return z * w + b, dx, (dy * z).sum(axis=0), dy.sum(axis=0)


def run(x, w, b, eps, dy):
    y, dx, dw, db = (np.full_like(array, np.nan) for array in (x, x, w, b))
    mean, rstd = np.empty(len(x), x.dtype), np.empty(len(x), x.dtype)
    threads.launch(layer_norm.forward, x, w, b, x.dtype.type(eps), y, mean, rstd)
    threads.launch(layer_norm.backward_input, dy, x, w, mean, rstd, dx)
    threads.launch(layer_norm.backward_parameters, dy, x, mean, rstd, dw, db)
    return y, dx, dw, db


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
def test_same_bits_for_any_number_of_threads(dtype, shape):
    arguments = draw(shape, dtype)
    before = threads.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            threads.set_num_threads(count)
            results.append(run(*arguments))
    finally:
        threads.set_num_threads(before)
    for other in results[1:]:
        assert_same_bits(other, results[0])
