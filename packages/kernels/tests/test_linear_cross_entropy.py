"""`kernels.ops.linear_cross_entropy`: losses and gradients by blocks of rows, against the textbook in float64."""

import tracemalloc

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau.kernels.ops import linear_cross_entropy
from rondeau.kernels.ops.linear_cross_entropy import Needs, checked_targets, is_blocked, losses_and_gradients
from rondeau.kernels.runtime import buffers

pytestmark = pytest.mark.usefixtures("new_memory_is_nan")

ALL = Needs(True, True, True)
IGNORED = -100


def problem(N, P, V, dtype="float64", seed=0):
    """Return input, weight, bias, classes with some ignored, weights of the classes, and factors."""
    rng = np.random.default_rng(seed)
    x, weight, bias, factors = (
        rng.standard_normal(shape).astype(dtype) for shape in ((N, P), (V, P), (V,), (N,))
    )
    classes = np.where(rng.random(N) < 0.2, IGNORED, rng.integers(0, V, N))
    return x, weight, bias, classes, (rng.random(V) + 0.5).astype(dtype), factors


def run(x, weight, bias, classes, weights=None, factors=None, smoothing=0.0, needs=ALL):
    targets = checked_targets(x, len(weight), classes, weights, smoothing, IGNORED)
    factors = np.ones(len(x), x.dtype) if factors is None else factors
    losses, gradients = losses_and_gradients(x, weight, bias, targets, factors, needs)
    return losses, *gradients


def textbook(x, weight, bias, classes, weights, factors, smoothing):
    """Losses, dx, dW and db with the whole matrix of logits, in float64."""
    x, weight, bias, weights, factors = (a.astype(np.float64) for a in (x, weight, bias, weights, factors))
    z = x @ weight.T + bias
    shifted = z - z.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    of_class = np.zeros_like(z)
    for n, c in enumerate(classes):
        if c != IGNORED:
            of_class[n] = smoothing / len(weight) * weights
            of_class[n, c] += (1 - smoothing) * weights[c]
    dz = factors[:, None] * (np.exp(log_softmax) * of_class.sum(axis=1, keepdims=True) - of_class)
    return -(of_class * log_softmax).sum(axis=1), dz @ weight, dz.T @ x, dz.sum(axis=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(
    "sizes",
    [
        *[(0, 3, 5), (1, 1, 1), (31, 4, 127), (33, 7, 128), (70, 5, 129), (90, 65, 300), (40, 9, 4700)],
        (90, 110, 6500),  # groups of several tasks, in both orders
    ],
)
def test_agrees_with_the_textbook(sizes, smoothing, dtype):
    x, weight, bias, classes, weights, factors = problem(*sizes, dtype)
    found = run(x, weight, bias, classes, weights, factors, smoothing)
    expected = textbook(x, weight, bias, classes, weights, factors, smoothing)
    tolerance = 5e-6 if dtype == "float32" else 1e-13
    for name, ours, theirs in zip(("losses", "dx", "dW", "db"), found, expected, strict=True):
        assert ours.dtype == dtype
        assert_close(ours, theirs, rtol=tolerance, atol=10 * tolerance, what=name)


@pytest.mark.parametrize(
    ("dtype", "P", "V"), [("float32", 24, 700), ("float64", 24, 700), ("float32", 110, 6500)]
)
def test_same_bits_for_any_number_of_threads(dtype, P, V, set_num_threads):
    given = problem(100, P, V, dtype)
    results = []
    for count in (1, 2, 3):
        set_num_threads(count)
        results.append(run(*given, smoothing=0.1))
    for other in results[1:]:
        assert_same_bits(other, results[0])


def test_ignored_rows_are_not_there():
    x, weight, bias, classes, weights, factors = problem(90, 6, 40)
    losses, dx, dw, db = run(x, weight, bias, classes, weights, factors)
    counted = np.flatnonzero(classes != IGNORED)
    alone = run(x[counted], weight, bias, classes[counted], weights, factors[counted])
    assert_same_bits((losses[counted], dx[counted], dw, db), alone)
    x[classes == IGNORED] = np.nan
    assert_same_bits(run(x, weight, bias, classes, weights, factors), (losses, dx, dw, db))


def test_without_rows_that_count_all_is_zero():
    x, weight, bias, _, _, _ = problem(40, 3, 20)
    for result in run(x, weight, bias, np.full(40, IGNORED)):
        assert not result.any()


def test_only_wanted_gradients_are_computed_and_their_bits_do_not_depend_on_the_others():
    given = problem(40, 5, 150)
    expected = run(*given)
    for index in range(3):
        needs = Needs(*(i == index for i in range(3)))
        losses, *gradients = run(*given, needs=needs)
        assert [g is not None for g in gradients] == list(needs)
        assert_same_bits((losses, gradients[index]), (expected[0], expected[index + 1]))
    targets = checked_targets(given[0], 150, given[3], given[4])
    losses, gradients = losses_and_gradients(*given[:3], targets)
    assert gradients == (None, None, None)
    assert_same_bits(losses, expected[0])


def test_any_strides_and_no_bias():
    x, weight, _, classes, weights, factors = problem(40, 6, 30)
    expected = run(x, weight, np.zeros(30), classes, weights, factors)
    strided = np.asfortranarray(x), np.repeat(weight, 2, axis=0)[::2], None
    assert_same_bits(run(*strided, classes, weights[::-1].copy()[::-1], factors), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classes_masked_by_minus_infinity(smoothing):
    """A whole chunk of them among others gives no NaN; smoothing gives them a loss that is infinite."""
    x, weight, bias, classes, _, _ = problem(40, 4, 300)
    bias[:150] = -np.inf
    classes = np.where(classes == IGNORED, IGNORED, classes % 100 + 200)
    with np.errstate(all="ignore"):
        losses, dx, _, db = run(x, weight, bias, classes, smoothing=smoothing)
    counted = classes != IGNORED
    if smoothing:
        assert np.isposinf(losses[counted]).all()
        return
    expected = run(x, weight[150:], bias[150:], np.where(counted, classes - 150, IGNORED))
    assert_close(losses, expected[0], rtol=1e-13)
    assert_close(dx, expected[1], rtol=1e-12, atol=1e-14)
    assert not db[:150].any()


def test_logits_that_would_overflow():
    x, weight, bias, classes, weights, factors = problem(40, 4, 200, "float32")
    weight *= 1000
    found = run(x, weight, bias, classes, weights, factors)
    expected = textbook(x, weight, bias, classes, weights, factors, 0.0)
    assert np.isfinite(found[2]).all()
    assert_close(found[0], expected[0], rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_nan_or_an_infinity_gives_its_row_a_nan(bad):
    x, weight, bias, classes, _, _ = problem(40, 4, 200)
    x[7, 0], classes[7] = bad, 3
    weight[:, 0] = np.abs(weight[:, 0])
    losses, dx, _, _ = run(x, weight, bias, classes)
    assert np.flatnonzero(np.isnan(losses)).tolist() == [7]
    assert np.isnan(dx[7]).all()
    assert not np.isnan(np.delete(dx, 7, axis=0)).any()


def test_blocks_are_for_many_wide_rows():
    assert is_blocked(400, 200, 10_000)
    assert not is_blocked(2048, 8, 65)
    assert not is_blocked(255, 8, 10**6)
    assert is_blocked(256, 8, 10**6)
    assert is_blocked(2**10, 2**9, 2**10)
    assert not is_blocked(2**10 - 1, 2**9, 2**10)
    assert not is_blocked(2**10, 2**9 + 1, 2**10)


@pytest.mark.parametrize(
    ("rows", "block"), [(64, 32), (400, 32), (640, 48), (800, 64), (1200, 64), (2000, 128), (9999, 256)]
)
def test_a_block_has_whole_vectors_and_leaves_room_within_a_tenth_of_the_rows(rows, block):
    assert linear_cross_entropy._rows_of_block(rows, 2**24) == block
    assert linear_cross_entropy._rows_of_block(rows, 2**24 + 1) == max(block, 128)


def test_memory_beyond_the_results_is_a_tenth_of_the_logits(set_num_threads):
    set_num_threads(2)
    N, P, V = 400, 32, 4096  # sizes that the pool does not round up
    x, weight, bias, classes, _, _ = problem(N, P, V, "float32")
    classes = np.abs(classes)  # all count
    run(x, weight, bias, classes)  # compiled, or loaded
    buffers.empty_cache()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        results = run(x, weight, bias, classes)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    results = sum(result.nbytes for result in results)
    assert kept - before >= results
    assert 0 < peak - before - results <= x.itemsize * N * V / 10


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"classes": np.array([0.0, 1.0])}, TypeError, "classes must be integers, got float64"),
        ({"classes": np.array([0])}, ValueError, r"classes must have shape \(2,\), one per row, got \(1,\)"),
        ({"classes": np.array([0, 4])}, IndexError, "Target 4 is out of bounds: there are 4 classes, 0 to 3"),
        ({"weight": np.ones((4, 2))}, ValueError, r"weight must have shape \(4, 3\)"),
        ({"weight": np.ones((4, 3), "float32")}, TypeError, "weight must be float64"),
        ({"bias": np.ones(3)}, ValueError, r"bias must have shape \(4,\)"),
        ({"weights": np.ones(3)}, ValueError, r"weights must have shape \(4,\)"),
        ({"smoothing": 1.5}, ValueError, "smoothing must be"),
        ({"x": np.ones(3)}, ValueError, r"x must have shape \(N, P\)"),
        ({"weight": np.ones((0, 3))}, ValueError, "must have at least one row, a class, got none"),
    ],
)
def test_refusals(change, error, message):
    given = {"x": np.ones((2, 3)), "weight": np.ones((4, 3)), "bias": None, "classes": np.array([0, 1])}
    with pytest.raises(error, match=f"^linear_cross_entropy: .*{message}"):
        run(**given | change)


def test_gradients_need_factors():
    x, weight, bias, classes, _, _ = problem(2, 3, 4)
    with pytest.raises(ValueError, match="factors, one per row, must be given where gradients are wanted"):
        losses_and_gradients(x, weight, bias, checked_targets(x, 4, classes), None, ALL)


def test_targets_are_those_of_the_input():
    x, weight, _, classes, _, _ = problem(2, 3, 4)
    targets = checked_targets(x, 4, classes)
    for other in (x[:1], x.astype(np.float32)):
        with pytest.raises(ValueError, match="targets must be what checked_targets returned for this x"):
            losses_and_gradients(other, weight.astype(other.dtype), None, targets)
