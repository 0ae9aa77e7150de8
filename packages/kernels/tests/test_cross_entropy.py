import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau.kernels.ops import cross_entropy
from rondeau.kernels.runtime import threads


def reference(z, t, w, s, ignored):
    """Losses, and their gradients, in float64 and by the textbook."""
    z, w = z.astype(np.float64), w.astype(np.float64)
    shifted = z - z.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    factors = np.zeros_like(z)
    for n, c in enumerate(t):
        if c != ignored:
            factors[n] = s / z.shape[1] * w
            factors[n, c] += (1 - s) * w[c]
    losses = -(factors * log_softmax).sum(axis=1)
    return losses, np.exp(log_softmax) * factors.sum(axis=1, keepdims=True) - factors


def run(z, t, w, s, ignored, dlosses):
    losses, scale = np.full(len(z), np.nan, z.dtype), np.full(len(z), np.nan, z.dtype)
    e, dz = np.full_like(z, np.nan), np.full_like(z, np.nan)
    s = z.dtype.type(s)
    threads.launch(cross_entropy.forward, z, t, w, s, ignored, losses, e, scale)
    threads.launch(cross_entropy.backward, e, scale, t, w, s, ignored, dlosses, dz)
    return losses, dz


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (63, 15), (64, 16), (65, 17), (200, 65), (5, 1000)])
def test_agrees_with_the_reference(shape, smoothing, dtype):
    rng = np.random.default_rng(0)
    z, w = (4 * rng.standard_normal(shape)).astype(dtype), (rng.random(shape[1]) + 0.5).astype(dtype)
    t = rng.integers(0, shape[1], shape[0])
    dlosses = rng.standard_normal(shape[0]).astype(dtype)
    losses, dz = run(z, t, w, smoothing, 2, dlosses)
    expected, gradient = reference(z, t, w, smoothing, 2)
    tolerance = 2e-6 if dtype == "float32" else 1e-13
    assert_close(losses, expected, rtol=tolerance, atol=tolerance)
    assert_close(dz, dlosses[:, None] * gradient, rtol=tolerance, atol=5 * tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_for_any_number_of_threads(dtype):
    rng = np.random.default_rng(1)
    z, w = rng.standard_normal((333, 65)).astype(dtype), np.ones(65, dtype)
    t, dlosses = rng.integers(0, 65, 333), rng.standard_normal(333).astype(dtype)
    before = threads.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            threads.set_num_threads(count)
            results.append(run(z, t, w, 0.1, -100, dlosses))
    finally:
        threads.set_num_threads(before)
    for other in results[1:]:
        assert_same_bits(other[0], results[0][0])
        assert_same_bits(other[1], results[0][1])


def test_a_row_does_not_depend_on_its_neighbours():
    rng = np.random.default_rng(2)
    z, w = rng.standard_normal((100, 33)).astype(np.float32), np.ones(33, np.float32)
    t, dlosses = rng.integers(0, 33, 100), np.ones(100, np.float32)
    losses, dz = run(z, t, w, 0.0, -100, dlosses)
    alone, d_alone = run(z[70:71].copy(), t[70:71].copy(), w, 0.0, -100, dlosses[:1])
    assert alone[0] == losses[70]
    assert_same_bits(d_alone[0], dz[70])
