"""Tensors without dimensions, and with empty ones, in what takes a dimension; PyTorch is the oracle."""

import numpy as np
import pytest

from comparing import assert_close
from rondeau import tensor as rt

torch = pytest.importorskip("torch")

SHAPES = [(), (0,), (1,), (2, 0, 4), (0, 3), (3, 0), (2, 3)]
DIMS = [0, -1, 1, 2, (), (0,), (0, 1), (-1, 0)]

NAMES = {
    **dict.fromkeys(("argmax", "argmin", "cumsum", "max", "min", "unsqueeze"), (0, -1, 1, 2, 3)),
    **dict.fromkeys(("argsort", "sort", "softmax", "log_softmax", "unbind"), (0, -1, 1, 2, 3)),
    **dict.fromkeys(("sum", "mean", "var", "amax", "amin", "any", "all", "flip", "squeeze"), DIMS),
    **dict.fromkeys(("logsumexp", "norm"), (0, -1, 1, 2, (0,), (0, 1))),
}
OF_ALL = [
    "sum",
    "prod",
    "mean",
    "std",
    "max",
    "min",
    "argmax",
    "argmin",
    "any",
    "all",
    "norm",
    "flatten",
    "nonzero",
]


TOO_FEW = pytest.mark.filterwarnings("ignore:.*degrees of freedom:UserWarning")
"""PyTorch warns of a variance of fewer than two numbers."""


def outcome(m, x, name, *dim):
    """Return what an operator gives, or that it refuses."""
    try:
        return getattr(x, name)(*(["fro", *dim] if dim and name == "norm" else dim))
    except (RuntimeError, IndexError, ValueError):
        return "refused"


def agree(name, shape, dtype, *dim):
    values = np.arange(1, 1 + np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    ours, its = (outcome(m, m.tensor(values), name, *dim) for m in (rt, torch))
    what = f"{name}{dim} of {dtype} {shape}"
    assert isinstance(ours, str) == isinstance(its, str), f"{what}: {ours} and {its}"
    if isinstance(ours, str):
        return
    pairs = [(ours, its)] if isinstance(ours, rt.Tensor) else list(zip(ours, its, strict=True))
    for got, expected in pairs:
        assert str(expected.dtype) == f"torch.{got.dtype}", what
        assert_close(got, expected, rtol=1e-12, what=what)


@TOO_FEW
@pytest.mark.parametrize("name", NAMES)
def test_along_a_dimension(name):
    for shape in SHAPES:
        for dim in NAMES[name]:
            agree(name, shape, "float64", dim)


@TOO_FEW
@pytest.mark.parametrize("name", OF_ALL)
def test_over_all(name):
    for shape in SHAPES:
        for dtype in ("float64", "uint8"):
            agree(name, shape, dtype)


def test_no_dimensions_leave_truth_as_it_is():
    """PyTorch's rule, which is NumPy's too; sums over no dimensions are sums over all."""
    x = rt.tensor([[0.0, 2.0]])
    assert x.any(()).tolist() == x.all(dim=[]).tolist() == [[False, True]]
    assert x.sum(()).tolist() == 2.0
