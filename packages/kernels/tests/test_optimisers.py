"""The door of the optimisers' kernels; what they compute is tested with the optimisers, against torch."""

import numpy as np
import pytest

from rondeau.kernels.ops import optimisers


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("w", "g", "error", "message"),
    [
        (np.zeros(40_000), np.ones(3), ValueError, r"one shape, got \(40000,\), \(3,\)"),
        (np.zeros(3), np.ones(3, np.float32), TypeError, "got float64, float32"),
        (np.zeros(3, np.float16), np.ones(3, np.float16), TypeError, "got float16, float16"),
        (np.zeros((4, 3)).T, np.ones((3, 4)), ValueError, "array 0 is not: pass a copy"),
        (np.zeros((3, 4)), np.ones((4, 3)).T, ValueError, "array 1 is not: pass a copy"),
        (read_only(np.zeros(3)), np.ones(3), ValueError, "array 0 is not: pass a copy"),
        (np.zeros(3), [1.0, 1.0, 1.0], TypeError, "g to be a numpy array, got list"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_kernel(w, g, error, message):
    with pytest.raises(error, match=message):
        optimisers.launch(optimisers.sgd, w, g, sign=1, l2=0, lr=0.5)
    assert not w.any()


def test_a_gradient_may_be_read_only():
    w = np.zeros(3)
    optimisers.launch(optimisers.sgd, w, read_only(np.ones(3)), sign=1, l2=0, lr=0.5)
    assert w.tolist() == [-0.5, -0.5, -0.5]


def test_only_averages_of_rmsprop_may_be_empty():
    with pytest.raises(ValueError, match=r"one shape, got \(3,\), \(3,\), \(0,\)"):
        optimisers.launch(
            optimisers.sgd_momentum, np.zeros(3), np.ones(3), np.zeros(0),
            sign=1, l2=0, lr=1, momentum=0.5, intake=1, nesterov=False,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("kernel", "arrays", "scalars", "message"),
    [
        (optimisers.sgd, 1, {"sign": 1, "l2": 0, "lr": 1}, "expected the arrays w, g, got 1"),
        (optimisers.sgd, 3, {"sign": 1, "l2": 0, "lr": 1}, "expected the arrays w, g, got 3"),
        (optimisers.sgd, 2, {"sign": 1, "lr": 1}, "expected the scalars sign, l2, lr, got sign, lr"),
        (optimisers.sgd, 2, {}, "expected the scalars sign, l2, lr, got none"),
        (optimisers.sgd, 2, {"sign": 1, "l2": 0, "lr": "fast"}, "expected lr to be a number, got 'fast'"),
        ("sgd", 2, {}, "expected a kernel of rondeau.kernels.ops.optimisers, got 'sgd'"),
    ],
)
def test_what_a_kernel_does_not_name_is_refused(kernel, arrays, scalars, message):
    with pytest.raises(TypeError, match=message):
        optimisers.launch(kernel, *[np.zeros(3) for _ in range(arrays)], **scalars)


def test_scalars_go_by_name():
    w = np.ones(3)
    optimisers.launch(optimisers.sgd, w, np.ones(3), lr=0.5, l2=1, sign=0)
    assert w.tolist() == [0.5, 0.5, 0.5]
