import itertools

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau.kernels.ops import pooling
from rondeau.kernels.ops.windows import Window

pytestmark = pytest.mark.usefixtures("new_memory_is_nan")


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
    y, indices = pooling.max_forward(x, window, out)
    assert y.shape == indices.shape == (M, *out)
    for m, p, q in np.ndindex(M, *out):
        at = list(positions(window, p, q, H, W))
        values = x[m].ravel()[at]
        assert y[m, p, q] == values.max()
        assert indices[m, p, q] == at[int(values.argmax())]


def test_a_nan_is_the_largest_and_so_is_minus_infinity_where_there_is_nothing_else():
    x = np.array([[[1.0, np.nan, 2.0, 9.0], [-np.inf] * 4]], "float32")
    y, indices = pooling.max_forward(x, Window(1, 2, 1, 1, 1, 1, 0, 0), (2, 3))
    assert_same_bits(y[0], [[np.nan, np.nan, 9.0], [-np.inf] * 3])
    assert indices[0].tolist() == [[1, 1, 3], [4, 5, 6]]


def test_scatter_adds_up_what_gather_reads():
    rng = np.random.default_rng(1)
    planes, indices = rng.standard_normal((3, 2, 5)), rng.integers(0, 10, (3, 5, 5))
    values, cotangent = pooling.gather(planes, indices), rng.standard_normal((3, 5, 5))
    rows = planes.reshape(3, 10), indices.reshape(3, 25)
    assert_same_bits(values, np.take_along_axis(*rows, 1).reshape(3, 5, 5))
    expected = np.zeros((3, 10))
    for m, at in np.ndindex(3, 25):
        expected[m, rows[1][m, at]] += cotangent.reshape(3, 25)[m, at]
    assert_same_bits(pooling.scatter(cotangent, indices, planes.shape), expected.reshape(3, 2, 5))


def test_the_average_of_windows_and_its_adjoint():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((4, 6, 5))
    # The last row of windows lies on the padding alone.
    window = Window(2, 3, 3, 2, 1, 1, 0, 1)
    regions = pooling.regions_of((6, 5), window, (3, 3), False, None, x.dtype)
    assert regions.last_row.tolist() == [2, 5, 6]
    y = pooling.average_forward(x, regions)
    assert_close(y[:, 1, 1], x[:, 3:5, 1:4].mean((1, 2)), rtol=1e-12)
    assert_same_bits(y[:, 2], np.zeros((4, 3)))
    cotangent = rng.standard_normal(y.shape)
    back = pooling.average_backward(cotangent, regions)
    assert (y * cotangent).sum() == pytest.approx((x * back).sum())


def test_regions_are_made_once_and_cannot_be_changed():
    made = [pooling.even_regions((7, 5), (3, 2), np.dtype("float32")) for _ in range(2)]
    assert made[0] is made[1]
    with pytest.raises(ValueError, match="read-only"):
        made[0].last_row[0] = 100


@pytest.mark.parametrize("count", [2, 3])
def test_same_bits_for_any_number_of_threads(count, set_num_threads):
    x = np.random.default_rng(3).standard_normal((9, 8, 7)).astype("float32")
    window = Window(2, 2, 2, 2, 1, 1, 1, 1)

    def run():
        y, indices = pooling.max_forward(x, window, (5, 4))
        regions = pooling.regions_of((8, 7), window, (5, 4), True, None, x.dtype)
        means = pooling.average_forward(x, regions)
        back = pooling.scatter(y, indices, x.shape), pooling.average_backward(means, regions)
        return y, indices, pooling.gather(x, indices), means, back

    set_num_threads(1)
    expected = run()
    set_num_threads(count)
    assert_same_bits(run(), expected)


def test_strides_of_any_kind():
    x = np.random.default_rng(4).standard_normal((2, 4, 6))
    window, regions = Window(2, 2, 2, 2, 1, 1, 0, 0), pooling.even_regions((4, 6), (2, 3), x.dtype)
    y, indices = pooling.max_forward(x, window, (2, 3))
    f = np.asfortranarray
    assert_same_bits(pooling.max_forward(f(x), window, (2, 3)), (y, indices))
    assert_same_bits(pooling.gather(f(x), f(indices)), y)
    assert_same_bits(pooling.scatter(f(y), f(indices), x.shape), pooling.scatter(y, indices, x.shape))
    assert_same_bits(pooling.average_forward(f(x), regions), pooling.average_forward(x, regions))
    assert_same_bits(pooling.average_backward(f(y), regions), pooling.average_backward(y, regions))


@pytest.mark.parametrize(
    ("window", "shape"),
    [
        (Window(2, 2, 2, 2, 1, 1, 0, 0), (3, 2)),  # begins behind the plane
        (Window(2, 2, 1, 1, 1, 1, 2, 0), (4, 3)),  # lies before it
        (Window(1, 2, 1, 1, 1, 7, 0, 2), (4, 1)),  # steps over it
    ],
)
def test_a_window_without_an_element_is_refused(window, shape):
    with pytest.raises(ValueError, match="has none on an input of 4; use less padding"):
        pooling.max_forward(np.zeros((1, 4, 4)), window, shape)


def test_windows_are_refused_exactly_where_one_has_no_element():
    ranges = range(1, 5), range(1, 4), range(1, 4), range(1, 5), range(1, 4), range(4)
    for size, number, window, stride, dilation, padding in itertools.product(*ranges):
        starts = np.arange(number)[:, None] * stride - padding
        elements = starts + np.arange(window) * dilation
        is_good = ((elements >= 0) & (elements < size)).any(axis=1).all()
        given = Window(1, window, 1, stride, 1, dilation, 0, padding)
        try:
            pooling.max_forward(np.zeros((0, 1, size)), given, (1, number))
        except ValueError:
            assert not is_good, (size, number, given)
        else:
            assert is_good, (size, number, given)


PLANES, INDICES = np.zeros((2, 3, 4)), np.zeros((2, 2, 2), np.int64)


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        (INDICES + 12, IndexError, "index 12 is out of range for a plane of 12 elements"),
        (INDICES - 1, IndexError, "index -1 is out of range"),
        (INDICES.astype("i4"), TypeError, "indices must be int64, got int32"),
        (INDICES[0], ValueError, r"indices must have shape \(2, P, Q\), got \(2, 2\)"),
        (INDICES[:1], ValueError, r"indices must have shape \(2, P, Q\), got \(1, 2, 2\)"),
        ([0], TypeError, "indices must be a numpy array, got list"),
    ],
)
def test_indices_that_do_not_fit_are_refused_before_the_kernel(indices, error, message):
    with pytest.raises(error, match=message):
        pooling.gather(PLANES, indices)
    with pytest.raises(error, match=message):
        pooling.scatter(np.zeros((2, 2, 2)), indices, PLANES.shape)


def test_planes_that_do_not_fit_are_refused_before_the_kernel():
    regions = pooling.even_regions((3, 4), (2, 2), np.dtype("float64"))
    with pytest.raises(
        ValueError, match=r"values must have the shape of their indices, \(2, 2, 2\), got \(2, 2, 3\)"
    ):
        pooling.scatter(np.zeros((2, 2, 3)), INDICES, PLANES.shape)
    with pytest.raises(ValueError, match=r"x must have shape \(2, 3, 4\), got \(2, 4, 3\)"):
        pooling.average_forward(np.zeros((2, 4, 3)), regions)
    with pytest.raises(TypeError, match="dy must be float64, got float32"):
        pooling.average_backward(np.zeros((2, 2, 2), "f4"), regions)
    with pytest.raises(ValueError, match=r"number of regions must be from 0 to .*, got -1"):
        pooling.even_regions((3, 4), (2, -1), np.dtype("float64"))
