"""Masks by position: the same wherever an element lies, replayed by backward, right in the mean."""

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import tensor as rt
from rondeau.kernels.numerics import philox
from rondeau.kernels.runtime import threads
from rondeau.nn._recurrent.masks import draw_key, drop_connect, dropout_rows

KEY = 0x9E3779B97F4A7C15


def drawn(shape, dtype="float64", requires_grad=False):
    array = np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)
    return rt.tensor(array, requires_grad=requires_grad)


def rows_dropped(x, p=0.4, substream=3):
    """Dropout of (T, B, W)."""
    T, B, _ = x.shape
    return dropout_rows(x, p, KEY, substream, np.arange(T)[:, None], np.arange(B))


def square_sum(function):
    """Make a second derivative that is not zero."""
    return lambda x: (function(x) * function(x) * x).sum()


def test_equals_the_numpy_definition(dtype):
    x = drawn((5, 3, 33), dtype)
    uniforms = philox.uniforms(KEY, 3, np.arange(5)[:, None, None], np.arange(3)[:, None], np.arange(33))
    expected = x.numpy() * ((uniforms >= 0.4) * np.dtype(dtype).type(1 / 0.6)).astype(dtype)
    y = rows_dropped(x)
    assert y.dtype == dtype
    assert_same_bits(y, expected)


def test_drop_connect_equals_the_numpy_definition(dtype):
    weight = drawn((20, 7), dtype)
    uniforms = philox.uniforms(KEY, 5, philox.CONSTANT_OVER_TIME, np.arange(20)[:, None], np.arange(7))
    mask = ((uniforms >= 0.25) * np.dtype(dtype).type(1 / 0.75)).astype(dtype)
    assert_same_bits(drop_connect(weight, 0.25, KEY, 5).numpy(), weight.numpy() * mask)


@pytest.mark.parametrize("p", [0.4, 1.0])
def test_first_and_second_derivatives_against_central_differences(p):
    def dropped(x):
        return rows_dropped(x, p)

    def connected(x):
        return drop_connect(x, p, KEY, 1)

    for function, shape in ((dropped, (2, 3, 5)), (connected, (4, 5))):
        x = drawn(shape, requires_grad=True)
        assert rt.gradcheck(function, x)
        assert rt.gradgradcheck(function, x)
        assert rt.gradcheck(square_sum(function), x)
        assert rt.gradgradcheck(square_sum(function), x)


def test_backward_replays_the_mask(dtype):
    x = drawn((6, 4, 50), dtype, requires_grad=True)
    times = np.repeat(np.arange(6), 4)
    y = dropout_rows(x, 0.5, KEY, 0, times, np.tile(np.arange(4), 6))
    times[:] = 0  # the caller's array is his own again
    cotangent = drawn((6, 4, 50), dtype)
    y.backward(cotangent)
    assert_same_bits(x.grad, cotangent.numpy() * 2 * (y.detach().numpy() != 0))


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_fraction_and_mean(dtype, p):
    # A fixed key: four standard deviations of a binomial.
    y = rows_dropped(rt.ones(40, 25, 100, dtype=dtype), p).numpy()
    n = y.size
    kept = y != 0
    assert abs(kept.mean() - (1 - p)) < 4 * np.sqrt(p * (1 - p) / n)
    assert abs(y.mean(dtype=np.float64) - 1) < 4 * np.sqrt(p / (1 - p) / n)
    for axes in ((0, 1), (0, 2), (1, 2)):  # neither unit, row nor step is favoured
        share = kept.mean(axes)
        assert np.abs(share - (1 - p)).max() < 5 * np.sqrt(p * (1 - p) * share.size / n)


def test_float32_and_float64_keep_the_same():
    for p in (0.1, 1 / 3, 0.7):
        single = rows_dropped(rt.ones(5, 3, 40, dtype="float32"), p)
        double = rows_dropped(rt.ones(5, 3, 40, dtype="float64"), p)
        assert_same_bits(single.numpy() != 0, double.numpy() != 0)


def test_same_bits_for_any_number_of_threads(dtype, monkeypatch):
    monkeypatch.setattr(threads, "PARALLEL_FROM", 0)
    before = rt.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 5):
            rt.set_num_threads(count)
            x = drawn((7, 3, 65), dtype, requires_grad=True)
            y = rows_dropped(x)
            y.backward(drawn((7, 3, 65), dtype))
            results.append((y.detach().numpy(), x.grad.numpy()))
    finally:
        rt.set_num_threads(before)
    for y, gradient in results[1:]:
        assert_same_bits(y, results[0][0])
        assert_same_bits(gradient, results[0][1])


def test_any_cut_and_order_of_the_batch_gives_the_same_rows():
    x = drawn((5, 6, 20))
    whole = rows_dropped(x).numpy()
    order = np.random.default_rng(0).permutation(6)
    for part in (order, order[:2], order[2:], np.arange(3)):
        cut = dropout_rows(rt.Tensor(x.numpy()[:, part]), 0.4, KEY, 3, np.arange(5)[:, None], part)
        assert_same_bits(cut, whole[:, part])
    # Packed: some rows of some steps, as one matrix.
    times, batches = np.array([4, 0, 2, 2]), np.array([1, 5, 5, 0])
    packed = dropout_rows(rt.Tensor(x.numpy()[times, batches]), 0.4, KEY, 3, times, batches)
    assert_same_bits(packed, whole[times, batches])


def test_streams_and_keys_are_apart():
    x = rt.ones(100, 200)
    masks = [drop_connect(x, 0.5, key, substream).numpy() != 0 for key, substream in ((1, 0), (1, 1), (2, 0))]
    for i, a in enumerate(masks):
        for b in masks[:i]:
            assert abs((a == b).mean() - 0.5) < 4 * 0.5 / np.sqrt(a.size)


def test_probability_zero_is_the_input_itself():
    x = drawn((4, 3), requires_grad=True)
    assert dropout_rows(x, 0, KEY, 0, np.arange(4), 0) is x
    assert drop_connect(x, 0.0, KEY, 0) is x


def test_probability_one_is_zero_and_so_is_its_gradient(dtype):
    x = drawn((4, 3), dtype, requires_grad=True)
    for y in (dropout_rows(x, 1, KEY, 0, np.arange(4), 0), drop_connect(x, 1.0, KEY, 0)):
        assert_same_bits(y, x.detach().numpy() * 0)  # -0.0 of what is negative, as PyTorch's
        y.backward(rt.ones(4, 3, dtype=dtype))
        assert_same_bits(x.grad, 0)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (3, 0, 4), (0, 2, 5)])
def test_nothing_to_drop(shape):
    x = rt.ones(*shape, requires_grad=True)
    y = dropout_rows(x, 0.5, KEY, 0, 0, 0)
    assert y.shape == shape
    y.backward(rt.ones(*shape))
    assert x.grad.shape == shape


def test_one_row_and_strided_input():
    whole = drop_connect(rt.ones(3, 16), 0.5, KEY, 2).numpy()
    row = dropout_rows(rt.ones(16), 0.5, KEY, 2, philox.CONSTANT_OVER_TIME, 1)
    assert_same_bits(row, whole[1])
    across = dropout_rows(rt.ones(16, 3).T, 0.5, KEY, 2, philox.CONSTANT_OVER_TIME, np.arange(3))
    assert_same_bits(across, whole)


def test_keys_come_from_the_generator_that_checkpoints_keep():
    rt.manual_seed(5)
    state = rt.default_generator().get_state()
    keys = [draw_key() for _ in range(4)]
    assert len(set(keys)) == 4
    assert all(0 <= key < 2**64 for key in keys)
    assert max(keys) >= 2**63
    rt.default_generator().set_state(state)
    assert [draw_key() for _ in range(4)] == keys
    assert draw_key(rt.Generator(5)) == keys[0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: dropout_rows(x, 1.5, KEY, 0, 0, 0),
            ValueError,
            "dropout_rows: p must be a probability, from 0 to 1, got 1.5",
        ),
        (
            lambda x: drop_connect(x, -0.1, KEY, 0),
            ValueError,
            "drop_connect: p must be a probability, from 0 to 1, got -0.1",
        ),
        (lambda x: dropout_rows(x.long(), 0.5, KEY, 0, 0, 0), TypeError, "float32 or float64, got int64"),
        (lambda x: drop_connect(x[0], 0.5, KEY, 0), ValueError, r"must be a matrix, got shape \(3,\)"),
        (lambda x: dropout_rows(x[0, 0], 0.5, KEY, 0, 0, 0), ValueError, "got a scalar"),
        (
            lambda x: dropout_rows(x, 0.5, KEY, 0, [1, 2, 3], 0),
            ValueError,
            r"times must have shape \(2,\) or broadcast to \(2,\), the rows of x, got \(3,\)",
        ),
        (
            lambda x: dropout_rows(x, 0.5, KEY, 0, 0, [0.5, 1]),
            TypeError,
            "batches must be integers, got float64",
        ),
        (lambda x: dropout_rows(x, 0.5, KEY, 0, -1, 0), ValueError, "times must be from 0 to"),
        (lambda x: dropout_rows(x, 0.5, 2**64, 0, 0, 0), ValueError, "key must be from 0 to"),
        (lambda x: dropout_rows(x, 0.5, KEY, 2**32, 0, 0), ValueError, "substream must be from 0 to"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(rt.ones(2, 3))
