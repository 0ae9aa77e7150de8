import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau.kernels.ops import convolution
from rondeau.kernels.ops.convolution import Window
from rondeau.kernels.runtime import threads


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


def run(x, w, b, dy, window, groups, shares):
    F, depth = w.shape[0], w[0].size
    y, dx = np.full_like(dy, np.nan), np.full_like(x, np.nan)
    transposed = np.ascontiguousarray(w.reshape(groups, F // groups, depth).transpose(0, 2, 1))
    runs = convolution.sample_runs(len(x), w.size)
    partial = np.full((runs, groups, depth, F // groups), np.nan, x.dtype)

    def workspace(size):
        return np.full(shares * size, np.nan, x.dtype)

    threads.launch(
        convolution.forward, x, w, b, window, y, groups,
        workspace(convolution.forward_workspace(depth)), shares,
    )  # fmt: skip
    threads.launch(
        convolution.backward_input, dy, transposed, window, dx,
        workspace(convolution.backward_input_workspace(F // groups, depth)), shares,
    )  # fmt: skip
    threads.launch(
        convolution.backward_weight, dy, x, window, partial,
        workspace(convolution.backward_weight_workspace(window, w.shape[1], F // groups)), shares,
    )  # fmt: skip
    return y, dx, partial.sum(axis=0).transpose(0, 2, 1).reshape(w.shape)


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
def test_agrees_with_the_reference(case, dtype):
    sizes, window, groups = CASES[case]
    arrays = draw(dtype, *sizes, window, groups)
    expected = reference(*arrays, window, groups)
    for shares in (1, 3):
        for ours, theirs in zip(run(*arrays, window, groups, shares), expected, strict=True):
            tolerance = (1e-5 if dtype == "float32" else 1e-13) * max(1.0, np.abs(theirs).max())
            assert_close(ours, theirs, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_for_any_number_of_shares(dtype):
    window = Window(3, 3, 1, 1, 1, 1, 1, 1)
    arrays = draw(dtype, 9, 12, 13, 14, 10, window, 2)
    results = [run(*arrays, window, 2, shares) for shares in (1, 2, 3, 7)]
    for other in results[1:]:
        assert_same_bits(other, results[0])


def test_without_samples_nothing_happens():
    window = Window(2, 2, 1, 1, 1, 1, 0, 0)
    x, w, b, dy = draw("float32", 0, 2, 3, 3, 2, window, 1)
    y, dx = np.empty_like(dy), np.empty_like(x)
    workspace = np.empty(convolution.forward_workspace(8), "float32")
    threads.launch(convolution.forward, x, w, b, window, y, 1, workspace, 1)
    workspace = np.empty(convolution.backward_input_workspace(2, 8), "float32")
    transposed = np.zeros((1, 8, 2), "float32")
    threads.launch(convolution.backward_input, dy, transposed, window, dx, workspace, 1)
    assert y.size == dx.size == 0


def test_the_runs_depend_on_the_shapes_alone():
    assert [convolution.sample_runs(n, 100) for n in (0, 1, 7, 16, 1000)] == [1, 1, 7, 16, 16]
    assert convolution.sample_runs(1000, 2**19) == 2
    assert convolution.sample_runs(1000, 2**25) == 1
