"""`axis=` and `keepdims=`, NumPy's names of `dim=` and `keepdim=`, wherever an operator has those."""

import inspect

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import tensor as rt

torch = pytest.importorskip("torch")

INDEX = np.array([[0, 2], [1, 0]])
#: What the operators need besides the tensor and the dimension.
OTHERS = {
    "gather": {"index": INDEX},
    "index_add": {"index": np.array([2, 0]), "source": np.ones((2, 2), np.float32)},
    "index_select": {"index": np.array([2, 0])},
    "scatter_add": {"index": INDEX, "src": np.ones((2, 2), np.float32)},
    "split": {"split_size": 2},
    "chunk": {"chunks": 2},
    "topk": {"k": 2},
    "unflatten": {"sizes": (1, -1)},
}
WITH_DIM = sorted(
    name
    for name in rt.__all__
    if inspect.isfunction(getattr(rt, name)) and "dim" in inspect.signature(getattr(rt, name)).parameters
)
#: In PyTorch these are written in Python, which knows no other names than its own.
IN_PYTHON = {"norm", "split"}


def call(m, name, array, **names):
    options = {
        key: m.tensor(v) if isinstance(v, np.ndarray) else v for key, v in OTHERS.get(name, {}).items()
    }
    if m is torch and name == "split":
        options = {"split_size_or_sections": 2}
    x = m.tensor(array)
    given = [x, x] if name in ("cat", "concat", "stack") else x
    return parts(getattr(m, name)(given, **options, **names))


def parts(result):
    return [r.numpy() for r in (result if isinstance(result, tuple) else (result,))]


@pytest.mark.parametrize("name", WITH_DIM)
def test_axis_is_dim(name):
    array = np.array([[3.0, -1.0, 2.0], [0.5, 4.0, -2.0]], np.float32)
    keepdim = "keepdim" in inspect.signature(getattr(rt, name)).parameters
    dim = 1
    if name == "squeeze":
        array = array[:, None]
    if name in ("gather", "scatter_add", "index_select", "index_add"):
        array = array[:, :3]
    for kept in ({}, {"keepdim": True}) if keepdim else ({},):
        expected = call(rt, name, array, dim=dim, **kept)
        found = call(rt, name, array, axis=dim, **{key + "s": value for key, value in kept.items()})
        assert len(found) == len(expected)
        for mine, by_dim in zip(found, expected, strict=True):
            assert_same_bits(mine, by_dim)
        if name not in IN_PYTHON:
            theirs = call(torch, name, array, axis=dim, **{key + "s": value for key, value in kept.items()})
            assert [x.shape for x in found] == [x.shape for x in theirs]


@pytest.mark.parametrize("name", WITH_DIM)
def test_both_names_are_refused(name):
    array = np.ones((2, 3), np.float32)
    with pytest.raises(
        TypeError, match=rf"^{getattr(rt, name).__name__}\(\) got 'dim' and 'axis', which are two names"
    ):
        call(rt, name, array, dim=1, axis=1)


def test_methods():
    x = rt.tensor([[1.0, 5.0], [3.0, 2.0]])
    assert x.sum(axis=0).tolist() == [4.0, 7.0]
    assert x.mean(axis=(0, 1)).item() == 2.75
    assert x.max(axis=1, keepdims=True).values.tolist() == [[5.0], [3.0]]
    assert x.var(axis=0, correction=0, keepdims=True).shape == (1, 2)
    assert x.sum(axis=None).item() == 11.0
    assert x.size(axis=0) == x.size(0) == 2
    assert x.size() == (2, 2)
    assert x.unsqueeze(axis=-1).shape == (2, 2, 1)
    w = rt.ones(2, 2, requires_grad=True)
    (w * x).sum(axis=1)[0].backward()
    assert w.grad.tolist() == [[1.0, 5.0], [0.0, 0.0]]


def test_other_mistakes_stay_python_s():
    x = rt.ones(2, 3)
    for wrong, message in (
        (lambda: x.sum(0, axis=0), "got 'dim' and 'axis'"),
        (lambda: x.gather(axis=1), "missing 1 required positional argument: 'index'"),
        (lambda: x.unsqueeze(), "missing 1 required positional argument: 'dim'"),
        (lambda: rt.softmax(x), "missing 1 required positional argument: 'dim'"),
        (lambda: x.sum(axes=0), "unexpected keyword argument 'axes'"),
        (lambda: x.sum(0, False, 1), "positional arguments"),
        (lambda: x.exp(axis=0), "unexpected keyword argument 'axis'"),
    ):
        with pytest.raises(TypeError, match=message):
            wrong()
    with pytest.raises(IndexError, match="dim 2 is out of range"):
        x.sum(axis=2)


def test_signatures_are_the_documented_ones():
    assert list(inspect.signature(rt.sum).parameters) == ["x", "dim", "keepdim", "dtype"]
    assert inspect.signature(rt.cat).parameters["dim"].default == 0
