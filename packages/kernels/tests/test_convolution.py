import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau.kernels.ops import convolution
from rondeau.kernels.ops.windows import Window
from rondeau.kernels.product.tiles import MULTIPLIES_PAIRS
from rondeau.kernels.runtime.precision import float32_matmul_precision

from .test_pairs import rounded


def reference(x, w, b, dy, window, groups):
    """Everything in float64, tap by tap."""
    x, w, b, dy = (array.astype(np.float64) for array in (x, w, b, dy))
    (C, H, W), (P, Q) = x.shape[1:], dy.shape[2:]
    y, dx, dw = np.zeros(dy.shape), np.zeros(x.shape), np.zeros(w.shape)
    y += b[:, None, None]
    of_group, filters = C // groups, w.shape[0] // groups
    for f in range(w.shape[0]):
        for c in range(of_group):
            channel = f // filters * of_group + c
            for i, j, p, q in np.ndindex(window.rows, window.columns, P, Q):
                row = p * window.row_stride - window.top + i * window.row_dilation
                column = q * window.column_stride - window.left + j * window.column_dilation
                if 0 <= row < H and 0 <= column < W:
                    y[:, f, p, q] += w[f, c, i, j] * x[:, channel, row, column]
                    dw[f, c, i, j] += dy[:, f, p, q] @ x[:, channel, row, column]
                    dx[:, channel, row, column] += w[f, c, i, j] * dy[:, f, p, q]
    return y, dx, dw


pytestmark = pytest.mark.usefixtures("new_memory_is_nan")


def run(x, w, b, dy, window, groups):
    return (
        convolution.forward(x, w, b, window, dy.shape[2:], groups),
        convolution.backward_input(dy, w, window, x.shape, groups),
        convolution.backward_weight(dy, x, window, w.shape, groups),
    )


def draw(dtype, N, C, H, W, F, window, groups):
    rng = np.random.default_rng(N + C + H + W)
    P = (H + 2 * window.top - window.row_dilation * (window.rows - 1) - 1) // window.row_stride + 1
    Q = (W + 2 * window.left - window.column_dilation * (window.columns - 1) - 1) // window.column_stride + 1
    shapes = (N, C, H, W), (F, C // groups, window.rows, window.columns), (F,), (N, F, P, Q)
    return tuple(rng.standard_normal(shape).astype(dtype) for shape in shapes)


CASES = {
    "one number": ((1, 1, 1, 1, 1), Window(1, 1, 1, 1, 1, 1, 0, 0), 1),
    "padded": ((3, 2, 5, 7, 3), Window(3, 2, 1, 1, 1, 1, 2, 1), 1),
    "strided": ((2, 3, 9, 8, 4), Window(3, 3, 2, 3, 1, 1, 1, 1), 1),
    "dilated": ((2, 2, 9, 11, 5), Window(2, 3, 1, 2, 3, 2, 3, 2), 1),
    "grouped": ((2, 6, 6, 5, 9), Window(3, 2, 2, 1, 1, 2, 1, 1), 3),
    "more padding than window": ((1, 1, 2, 2, 1), Window(2, 2, 1, 2, 1, 1, 4, 5), 1),
    "panels and a column": ((1, 1, 13, 10, 6), Window(1, 1, 1, 1, 1, 1, 0, 0), 1),
    "a sequence deeper than a block": ((1, 1, 1, 1100, 2), Window(1, 3, 1, 1, 1, 1, 0, 1), 1),
    "more runs than one": ((37, 3, 4, 4, 2), Window(3, 3, 1, 1, 1, 1, 0, 0), 1),
    "channels in pieces": ((2, 40, 4, 5, 3), Window(2, 3, 1, 1, 1, 1, 1, 1), 1),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_agrees_with_the_reference(case, dtype, set_num_threads):
    sizes, window, groups = CASES[case]
    arrays = draw(dtype, *sizes, window, groups)
    expected = reference(*arrays, window, groups)
    for count in (1, 3):
        set_num_threads(count)
        for ours, theirs in zip(run(*arrays, window, groups), expected, strict=True):
            tolerance = (1e-5 if dtype == "float32" else 1e-13) * max(1.0, np.abs(theirs).max())
            assert_close(ours, theirs, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_for_any_number_of_threads(dtype, set_num_threads):
    window = Window(3, 3, 1, 1, 1, 1, 1, 1)
    arrays = draw(dtype, 9, 12, 13, 14, 10, window, 2)
    results = []
    for count in (1, 2, 3, 7):
        set_num_threads(count)
        results.append(run(*arrays, window, 2))
    for other in results[1:]:
        assert_same_bits(other, results[0])


def test_strides_of_any_kind_and_no_bias():
    window = Window(3, 2, 1, 1, 1, 1, 2, 1)
    x, w, b, dy = draw("float64", 3, 2, 5, 7, 3, window, 1)
    expected = run(x, w, np.zeros_like(b), dy, window, 1)
    transposed = (np.asfortranarray(array) for array in (x, w))
    assert_same_bits(run(*transposed, None, np.repeat(dy, 2, axis=3)[..., ::2], window, 1), expected)


def test_without_samples_nothing_happens():
    window = Window(2, 2, 1, 1, 1, 1, 0, 0)
    arrays = draw("float32", 0, 2, 3, 3, 2, window, 1)
    y, dx, dw = run(*arrays, window, 1)
    assert y.shape == (0, 2, 2, 2)
    assert dx.shape == (0, 2, 3, 3)
    assert_same_bits(dw, np.zeros((2, 2, 2, 2), "float32"))


WINDOW = Window(2, 2, 1, 1, 1, 1, 0, 0)
GOOD = {
    "x": np.zeros((2, 4, 5, 5)),
    "weight": np.zeros((6, 2, 2, 2)),
    "bias": np.zeros(6),
    "window": WINDOW,
    "shape": (4, 4),
    "groups": 2,
}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": None}, TypeError, "x must be a numpy array, got NoneType"),
        ({"x": np.zeros((4, 5, 5))}, ValueError, r"x must have shape \(N, C, H, W\), got \(4, 5, 5\)"),
        ({"x": np.zeros((2, 3, 5, 5))}, ValueError, r"x must have shape \(N, 4, H, W\) for 2 groups"),
        ({"x": np.zeros((2, 4, 5, 5), "f4")}, TypeError, "weight must be float32, got float64"),
        ({"weight": np.zeros((6, 2, 2, 3))}, ValueError, r"weight must have shape \(F, C / groups, 2, 2\)"),
        ({"weight": np.zeros((5, 2, 2, 2))}, ValueError, "F a multiple of groups=2"),
        ({"weight": np.zeros((0, 2, 2, 2))}, ValueError, r"got \(0, 2, 2, 2\)"),
        ({"bias": np.zeros(5)}, ValueError, r"bias must have shape \(6,\), got \(5,\)"),
        ({"groups": 0}, ValueError, "groups must be from 1 to"),
        ({"groups": 2.0}, TypeError, "groups must be an integer, got float"),
        ({"window": (2, 2, 1, 1, 1, 1, 0, 0)}, TypeError, "window must be a Window of .*, got tuple"),
        ({"window": WINDOW._replace(row_stride=0)}, ValueError, "row_stride must be from 1 to"),
        ({"window": WINDOW._replace(top=-1)}, ValueError, "top must be from 0 to"),
        ({"window": WINDOW._replace(column_dilation=2**40)}, ValueError, "column_dilation must be from 1 to"),
        ({"window": WINDOW._replace(rows=2.0)}, TypeError, "rows must be an integer, got float"),
        ({"shape": (0, 4)}, ValueError, "P must be from 1 to"),
        ({"shape": 4}, TypeError, r"shape must be the numbers of windows \(P, Q\), got 4"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_kernel(change, error, message):
    with pytest.raises(error, match=message):
        convolution.forward(**{**GOOD, **change})


@pytest.mark.parametrize(
    ("dy", "x", "error", "message"),
    [
        (np.zeros((2, 6, 4)), GOOD["x"], ValueError, r"dy must have shape \(N, F, P, Q\), got \(2, 6, 4\)"),
        (
            np.zeros((3, 6, 4, 4)),
            GOOD["x"],
            ValueError,
            r"dy must have shape \(2, 6, P, Q\), got \(3, 6, 4, 4\)",
        ),
        (
            np.zeros((2, 5, 4, 4)),
            GOOD["x"],
            ValueError,
            r"dy must have shape \(2, 6, P, Q\), got \(2, 5, 4, 4\)",
        ),
        (np.zeros((2, 6, 4, 4)), np.zeros((2, 5, 5, 5)), ValueError, r"x must have shape \(N, 4, H, W\)"),
    ],
)
def test_gradients_that_do_not_fit_are_refused(dy, x, error, message):
    weight = GOOD["weight"]
    with pytest.raises(error, match=message):
        convolution.backward_input(dy, weight, WINDOW, x.shape, 2)
    with pytest.raises(error, match=message):
        convolution.backward_weight(dy, x, WINDOW, weight.shape, 2)


def test_the_runs_depend_on_the_shapes_alone():
    assert [convolution.sample_runs(n, 100) for n in (0, 1, 7, 16, 1000)] == [1, 1, 7, 16, 16]
    assert convolution.sample_runs(1000, 2**19) == 2
    assert convolution.sample_runs(1000, 2**25) == 1


@pytest.mark.skipif(not MULTIPLIES_PAIRS, reason="the processor does not multiply bfloat16")
@pytest.mark.parametrize("case", CASES)
def test_operands_are_rounded_where_asked_for(case):
    sizes, window, groups = CASES[case]
    x, w, b, dy = draw(np.float32, *sizes, window, groups)
    with float32_matmul_precision("medium"):
        found = run(x, w, b, dy, window, groups)
    exact = reference(rounded(x), rounded(w), b, rounded(dy), window, groups)
    for got, right in zip(found, exact, strict=True):
        assert_close(got, right, rtol=1e-5, atol=1e-5)
