import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau.kernels.ops import cross_entropy


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


pytestmark = pytest.mark.usefixtures("new_memory_is_nan")


def run(z, t, w, s, ignored, dlosses):
    losses, saved = cross_entropy.forward(z, t, w, s, ignored)
    return losses, cross_entropy.backward(dlosses, saved)


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
def test_same_bits_for_any_number_of_threads(dtype, set_num_threads):
    rng = np.random.default_rng(1)
    z, w = rng.standard_normal((333, 65)).astype(dtype), np.ones(65, dtype)
    t, dlosses = rng.integers(0, 65, 333), rng.standard_normal(333).astype(dtype)
    results = []
    for count in (1, 2, 3):
        set_num_threads(count)
        results.append(run(z, t, w, 0.1, -100, dlosses))
    for other in results[1:]:
        assert_same_bits(other, results[0])


def test_a_row_does_not_depend_on_its_neighbours():
    rng = np.random.default_rng(2)
    z, w = rng.standard_normal((100, 33)).astype(np.float32), np.ones(33, np.float32)
    t, dlosses = rng.integers(0, 33, 100), np.ones(100, np.float32)
    losses, dz = run(z, t, w, 0.0, -100, dlosses)
    alone, d_alone = run(z[70:71].copy(), t[70:71].copy(), w, 0.0, -100, dlosses[:1])
    assert alone[0] == losses[70]
    assert_same_bits(d_alone[0], dz[70])


def test_strides_and_integers_of_any_kind_and_no_weights():
    rng = np.random.default_rng(3)
    z, t = rng.standard_normal((5, 12)).T[::2], rng.integers(0, 5, 6)
    expected = run(np.ascontiguousarray(z), t, np.ones(5), 0.0, -100, np.ones(6))
    assert_same_bits(
        run(z, np.repeat(t, 2)[::2].astype(np.uint8), None, 0.0, -100, np.ones(12)[::2]), expected
    )


def test_backward_reads_its_own_copies():
    z, t, w = np.zeros((2, 3)), np.array([0, 2]), np.ones(3)
    expected = run(z, t, w, 0.1, -100, np.ones(2))[1]
    _, saved = cross_entropy.forward(z, t, w, 0.1)
    t[:], w[:] = 10**9, 5.0
    assert_same_bits(cross_entropy.backward(np.ones(2), saved), expected)


GOOD = {"logits": np.zeros((2, 3)), "classes": np.array([0, 2]), "weights": np.ones(3)}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"logits": [[0.0]]}, TypeError, "logits must be a numpy array, got list"),
        ({"logits": np.zeros((2, 3), "f2")}, TypeError, "logits must be float32 or float64, got float16"),
        ({"logits": np.zeros((2, 3), ">f8")}, TypeError, "logits must be float32 or float64, got >f8"),
        ({"logits": np.zeros(3)}, ValueError, r"logits must have shape \(N, C\), got \(3,\)"),
        ({"logits": np.zeros((2, 0))}, ValueError, r"at least one class, got shape \(2, 0\)"),
        ({"classes": np.array([0, 3])}, IndexError, "Target 3 is out of bounds: there are 3 classes, 0 to 2"),
        ({"classes": np.array([-1, 0])}, IndexError, "Target -1 is out of bounds"),
        (
            {"classes": np.array([0, 2**64 - 1], "u8")},
            IndexError,
            "Target 18446744073709551615 is out of bounds",
        ),
        ({"classes": np.array([0.0, 1.0])}, TypeError, "classes must be integers, got float64"),
        ({"classes": [0, 2]}, TypeError, "classes must be a numpy array, got list"),
        ({"classes": np.zeros(3, int)}, ValueError, r"must have shape \(2,\), one per row, got \(3,\)"),
        ({"weights": np.ones(2)}, ValueError, r"weights must have shape \(3,\), got \(2,\)"),
        ({"weights": np.ones(3, "f4")}, TypeError, "weights must be float64, got float32"),
        ({"smoothing": 1.5}, ValueError, "smoothing must be from 0 to 1, got 1.5"),
        ({"smoothing": float("nan")}, ValueError, "smoothing must be from 0 to 1, got nan"),
        ({"smoothing": "much"}, TypeError, "smoothing must be a number, got str: 'much'"),
        (
            {"ignored": 2**63},
            ValueError,
            r"ignored must be from -2\*\*63 to 2\*\*63 - 1, got 9223372036854775808",
        ),
        ({"ignored": None}, TypeError, "ignored must be an integer, got NoneType"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_kernel(change, error, message):
    with pytest.raises(error, match=message):
        cross_entropy.forward(**{**GOOD, **change})


@pytest.mark.parametrize(
    ("dlosses", "error", "message"),
    [
        (np.ones(3), ValueError, r"dlosses must have shape \(2,\), got \(3,\)"),
        (np.ones(2, "f4"), TypeError, "dlosses must be float64, got float32"),
        (None, TypeError, "dlosses must be a numpy array, got NoneType"),
    ],
)
def test_a_gradient_that_does_not_fit_is_refused(dlosses, error, message):
    _, saved = cross_entropy.forward(**GOOD)
    with pytest.raises(error, match=message):
        cross_entropy.backward(dlosses, saved)
