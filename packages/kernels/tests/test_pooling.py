import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau.kernels.ops import pooling
from rondeau.kernels.ops.convolution import Window
from rondeau.kernels.runtime import threads


def positions(window, p, q, H, W):
    """The elements of a window that lie on the plane, in row order."""
    for i, j in np.ndindex(window.rows, window.columns):
        row = p * window.row_stride - window.top + i * window.row_dilation
        column = q * window.column_stride - window.left + j * window.column_dilation
        if 0 <= row < H and 0 <= column < W:
            yield row * W + column


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("shape", "window", "out"),
    [
        ((3, 4, 6), Window(2, 2, 2, 2, 1, 1, 0, 0), (2, 3)),
        ((2, 5, 7), Window(3, 2, 1, 2, 1, 2, 1, 1), (5, 4)),
        ((2, 7, 5), Window(2, 3, 2, 1, 3, 1, 2, 1), (4, 5)),
        ((0, 4, 4), Window(2, 2, 2, 2, 1, 1, 0, 0), (2, 2)),
        ((1, 1, 1), Window(1, 1, 1, 1, 1, 1, 0, 0), (1, 1)),
    ],
)
def test_the_largest_is_the_first_of_the_largest(shape, window, out, dtype):
    M, H, W = shape
    x = np.random.default_rng(0).integers(-2, 3, shape).astype(dtype)  # many are equal
    y, indices = np.empty((M, *out), dtype), np.empty((M, *out), np.int64)
    threads.launch(pooling.largest, x, window, y, indices)
    for m, p, q in np.ndindex(M, *out):
        at = list(positions(window, p, q, H, W))
        values = x[m].ravel()[at]
        assert y[m, p, q] == values.max()
        assert indices[m, p, q] == at[int(values.argmax())]


def test_a_nan_is_the_largest_and_so_is_minus_infinity_where_there_is_nothing_else():
    x = np.array([[[1.0, np.nan, 2.0, 9.0], [-np.inf] * 4]], "float32")
    y, indices = np.empty((1, 2, 3), "float32"), np.empty((1, 2, 3), np.int64)
    threads.launch(pooling.largest, x, Window(1, 2, 1, 1, 1, 1, 0, 0), y, indices)
    assert_same_bits(y[0], [[np.nan, np.nan, 9.0], [-np.inf] * 3])
    assert indices[0].tolist() == [[1, 1, 3], [4, 5, 6]]


def test_put_adds_up_what_take_reads():
    rng = np.random.default_rng(1)
    planes, indices = rng.standard_normal((3, 10)), rng.integers(0, 10, (3, 25))
    values, cotangent, back = np.empty((3, 25)), rng.standard_normal((3, 25)), np.full((3, 10), np.nan)
    threads.launch(pooling.take, planes, indices, values)
    assert_same_bits(values, np.take_along_axis(planes, indices, 1))
    threads.launch(pooling.put, cotangent, indices, back)
    assert (values * cotangent).sum() == pytest.approx((planes * back).sum())


def test_average_and_spread_are_adjoint():
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((4, 6, 5)), np.empty((4, 3, 2))
    ends = [np.array(values) for values in ([0, 1, 4], [2, 5, 4], [0, 2], [3, 5])]  # the last row is empty
    divisor = np.arange(1.0, 7.0).reshape(3, 2)
    threads.launch(pooling.average, x, *ends, divisor, y)
    assert_close(y[:, 1, 1], x[:, 1:5, 2:5].sum((1, 2)) / 4, rtol=1e-7)
    assert (y[:, 2] == 0).all()
    cotangent, back = rng.standard_normal(y.shape), np.full_like(x, np.nan)
    threads.launch(pooling.spread, cotangent, *ends, divisor, back)
    assert (y * cotangent).sum() == pytest.approx((x * back).sum())
