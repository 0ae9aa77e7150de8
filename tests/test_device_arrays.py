"""The arrays that stand for CuPy: what each of them refuses, computes (against NumPy) and counts."""

import copy
import inspect
import operator
import pickle
import sys
import textwrap
from collections import namedtuple
from types import SimpleNamespace

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.cuda_emulator import Kernel
from tools.device_arrays import (
    PinnedMemoryError,
    TransferError,
    UndefinedResultError,
    for_emulator,
    installed,
    interface,
    no_transfers,
    transfers,
)
from tools.emulated_target import EmulatedKernel

from comparing import assert_close, assert_same_bits
from rondeau import tensor as rt

HOST = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def cp(device_stand_in):
    return device_stand_in


@pytest.fixture
def x(cp):
    return cp.asarray(HOST)


# ---------------------------------------------------------------------- what it refuses

REFUSED = {
    "asarray": (lambda x, h: np.asarray(x), TypeError, "Implicit conversion to a NumPy array is not allowed"),
    "array": (lambda x, h: np.array(x, copy=True), TypeError, "Implicit conversion"),
    "array of a list": (lambda x, h: np.array([x, x]), TypeError, "Implicit conversion"),
    "ascontiguousarray": (lambda x, h: np.ascontiguousarray(x), TypeError, "Implicit conversion"),
    "memoryview": (lambda x, h: memoryview(x), TypeError, "a bytes-like object is required"),
    "operator": (lambda x, h: x + h, TypeError, "Unsupported type <class 'numpy.ndarray'>"),
    "operator reflected": (lambda x, h: h - x, TypeError, "Unsupported type"),
    "operator with a 0-d array": (lambda x, h: x * h.sum(keepdims=True)[0, 0, ...], TypeError, "Unsupported type"),
    "operator in place": (lambda x, h: operator.iadd(x, h), TypeError, "Unsupported type"),
    "operator in place on the host": (lambda x, h: operator.iadd(h, x), TypeError, "Unsupported type"),
    "comparison": (lambda x, h: x < h, TypeError, "Unsupported type"),
    "matmul": (lambda x, h: x @ h.T, TypeError, "Unsupported type"),
    "ufunc": (lambda x, h: np.maximum(x, h), TypeError, "Unsupported type"),
    "ufunc of a list": (lambda x, h: np.maximum(x, [1, 2, 3]), TypeError, "returned NotImplemented"),
    "ufunc with out": (lambda x, h: np.exp(x, out=h), TypeError, "Unsupported type"),
    "ufunc of the host with out": (lambda x, h: np.exp(h, out=x), TypeError, "Unsupported type"),
    "ufunc with where": (lambda x, h: np.exp(x, where=x > 0), TypeError, "Wrong arguments {'where'"),
    "ufunc with two outputs": (lambda x, h: np.modf(x, out=(x, x)), ValueError, "must have exactly one array value"),
    "ufunc that CuPy lacks": (lambda x, h: np.spacing(x), TypeError, "returned NotImplemented"),
    "ufunc with out of another shape": (lambda x, h: np.exp(x, out=x[0]), ValueError, "Out shape is mismatched"),
    "ufunc with out of another kind": (lambda x, h: np.exp(x, out=x.astype(int)), TypeError, "Cannot cast"),
    "reduce": (lambda x, h: np.maximum.reduce(x), NotImplementedError, "`cupy_maximum.reduce` is not supported yet"),
    "reduce with initial": (lambda x, h: np.add.reduce(x, initial=1), TypeError, "argument 'initial'"),
    "accumulate": (lambda x, h: np.maximum.accumulate(x), NotImplementedError, "`cupy_maximum.accumulate`"),
    "reduceat": (lambda x, h: np.maximum.reduceat(x, [0]), TypeError, "returned NotImplemented"),
    "at": (lambda x, h: np.multiply.at(x, x[0].astype(int), 2), NotImplementedError, "`cupy_multiply.at`"),
    "at with a list": (lambda x, h: np.add.at(x, [0, 0], 1), TypeError, "returned NotImplemented"),
    "at with a dtype without atomics": (
        lambda x, h: np.add.at(x.astype(np.int16), x[0].astype(int) % 2, 1), TypeError, "add.at does not support"),
    "function": (lambda x, h: np.concatenate([x, h]), TypeError, "Unsupported type"),
    "function with a keyword of NumPy's": (lambda x, h: np.sum(x, where=True), TypeError, "CuPy 14.2.0 has sum"),
    "ones like": (lambda x, h: np.ones(3, like=x), TypeError, "unexpected keyword argument 'device'"),
    "function that CuPy lacks": (lambda x, h: np.insert(x, 0, 1), TypeError, "no implementation found"),
    "where with a condition on the host": (lambda x, h: np.where(h > 0, x, x), TypeError, "Unsupported type"),
    "where with a number": (lambda x, h: sys.modules["cupy"].where(True, x, x), AttributeError, "'astype'"),
    "copyto": (lambda x, h: np.copyto(x, h), ValueError, "non-scalar numpy.ndarray cannot be used for copyto"),
    "copyto to the host": (lambda x, h: np.copyto(h, x), TypeError, "Unsupported type"),
    "assignment": (lambda x, h: operator.setitem(x, slice(None), h), ValueError, "non-scalar numpy.ndarray"),
    "assignment of a list": (lambda x, h: operator.setitem(x, 0, [1, 2, 3]), ValueError, "non-scalar numpy.ndarray"),
    "fill": (lambda x, h: x.fill(x[0]), ValueError, "non-scalar cupy.ndarray"),
    "index of a list": (lambda x, h: [1, 2][x[0, 0].astype(int)], TypeError, "list indices must be integers"),
    "size": (lambda x, h: np.zeros(x[0, 0].astype(int)), TypeError, "expected a sequence of integers"),
    "range": (lambda x, h: range(x[0, 0].astype(int)), TypeError, "cannot be interpreted as an integer"),
    "index of floats": (lambda x, h: x[x], IndexError, "must be of integer or boolean type"),
    "index out of range": (lambda x, h: x[2], IndexError, "out of bounds"),
    "iteration over 0 dimensions": (lambda x, h: iter(x.sum()), TypeError, "iteration over a 0-d array"),
    "length of 0 dimensions": (lambda x, h: len(x.sum()), TypeError, r"len\(\) of unsized object"),
    "truth of an array": (lambda x, h: bool(x), ValueError, "more than one element is ambiguous"),
    "item of an array": (lambda x, h: x.item(), ValueError, "array of size 1"),
    "item with an index": (lambda x, h: x.item(0), TypeError, "takes 1 positional argument"),
    "hash": (lambda x, h: hash(x), TypeError, "unhashable"),
    "astype with casting": (lambda x, h: x.astype(int, casting="safe"), TypeError, "casting is not supported yet"),
    "flags.writeable": (lambda x, h: x.flags.writeable, AttributeError, "writeable"),
    "flags by name": (lambda x, h: x.flags["WRITEABLE"], KeyError, "not defined for cupy.ndarray.flags"),
    "setflags": (lambda x, h: x.setflags(write=False), AttributeError, "setflags"),
    "ctypes": (lambda x, h: x.ctypes, AttributeError, "ctypes"),
    "__array_interface__": (lambda x, h: x.__array_interface__, AttributeError, "__array_interface__"),
    "__index__": (lambda x, h: operator.index(x.astype(int).sum()), TypeError, "cannot be interpreted as an integer"),
    "resize": (lambda x, h: x.resize(6), AttributeError, "resize"),
    "repeats on the host": (lambda x, h: x.repeat(np.array([1, 2]), 0), TypeError, "does not accept numpy.ndarray"),
    "set of another dtype": (lambda x, h: x.set(h.astype(float)), TypeError, "float64 array cannot be set to float32"),
    "set of another shape": (lambda x, h: x.set(h[0]), ValueError, "Shape mismatch"),
    "get to another dtype": (lambda x, h: x.get(out=h.astype(float)), TypeError, "cannot be obtained from"),
    "a name that CuPy lacks": (lambda x, h: sys.modules["cupy"].block, AttributeError, "in CuPy 14.2.0"),
    "a name not modelled": (lambda x, h: sys.modules["cupy"].fuse, NotImplementedError, "does not model cupy.fuse"),
    "random numbers": (lambda x, h: sys.modules["cupy"].random, NotImplementedError, "cupy.random"),
    "a method not modelled": (lambda x, h: x.flat, NotImplementedError, "ndarray.flat"),
    "objects": (lambda x, h: sys.modules["cupy"].array([None]), ValueError, "Unsupported dtype object"),
    "strings": (lambda x, h: sys.modules["cupy"].array("a"), ValueError, "Unsupported dtype <U1"),
    "nested host and device": (lambda x, h: sys.modules["cupy"].array([x[0, 0], 1.0]), TypeError, "Nested array"),
    "another device": (lambda x, h: sys.modules["cupy"].cuda.Device(1).use(), RuntimeError, "cudaErrorInvalidDevice"),
    "index out of range in an array": (
        lambda x, h: x[sys.modules["cupy"].array([2])], UndefinedResultError, "CuPy wraps it around"),
    "take out of range": (lambda x, h: np.take(x, x[0].astype(int), 0), UndefinedResultError, "CuPy wraps it around"),
    "repeated indices, different values": (
        lambda x, h: operator.setitem(x, x[0].astype(int) * 0, x[[0, 1, 1]]), UndefinedResultError, "scatter_add"),
    "write to a broadcast": (
        lambda x, h: operator.iadd(np.broadcast_to(x[0], (4, 3)), 1), UndefinedResultError, "share memory"),
    "overlapping memory": (
        lambda x, h: operator.setitem(x[0], slice(1, 3), x[0, :2]), UndefinedResultError, "overlaps"),
    "write to broadcast_arrays": (
        lambda x, h: np.broadcast_arrays(x[0], x)[0].fill(1), UndefinedResultError, "share memory"),
    "at with a tuple": (lambda x, h: np.add.at(x, (x[0].astype(int), 0), 1), TypeError, "returned NotImplemented"),
    "kernel of a host array": (lambda x, h: for_emulator((x, h)), TypeError, "expected arrays of the device"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(x, case):
    call, kind, message = REFUSED[case]
    host = HOST.copy()
    with pytest.raises(kind, match=message):
        call(x, host)
    assert_same_bits(host, HOST)


def test_gradients_of_repeated_indices_that_get_lost(cp):
    """The fault that code written for NumPy makes: ``total[index] += g``, where an index is there twice."""
    total, index = cp.zeros(3), cp.array([0, 2, 2])
    with pytest.raises(UndefinedResultError, match="repeated indices"):
        total[index] += cp.array([1.0, 2.0, 3.0])
    total[...] = 0
    np.add.at(total, index, cp.array([1.0, 2.0, 3.0]))
    assert total.tolist() == [1, 0, 5]


def test_arrays_of_two_devices():
    with installed(devices=2) as cp:
        x = cp.ones(3)
        with cp.cuda.Device(1):
            y = cp.ones(3)
            assert (y.device.id, cp.cuda.get_device_id()) == (1, 1)
            z = cp.asarray(x)
            assert (z.device, (y + z).tolist()) == (y.device, [2, 2, 2])
        with pytest.raises(ValueError, match=r"resides \(1\) is different from the current device \(0\)"):
            x + y


# ---------------------------------------------------------------------- what it computes

FLOATS = arrays.arrays(np.float32, (2, 3), elements=st.floats(-4, 4, width=32))
BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.pow,
    operator.floordiv,
    operator.mod,
]
BINARY += [
    operator.lt,
    operator.ge,
    operator.eq,
    operator.ne,
    np.maximum,
    np.hypot,
    np.logical_and,
    np.copysign,
]
CALLS = [
    lambda a, b: abs(-a),
    lambda a, b: (a > b) & ~(a > 0) | (b > 1),
    lambda a, b: a @ b.T,
    lambda a, b: np.einsum("ij,kj->ik", a, b),
    lambda a, b: np.where(a > b, a, 0),
    lambda a, b: np.concatenate([a, b], axis=1),
    lambda a, b: np.stack((a, b), 2),
    lambda a, b: np.split(a, 3, axis=1)[1],
    lambda a, b: a.clip(-1, 1),
    lambda a, b: np.clip(a, b, 2),
    lambda a, b: a.sum(axis=1, keepdims=True),
    lambda a, b: a.sum(),
    lambda a, b: np.mean(a, axis=(0, 1)),
    lambda a, b: a.max(axis=0),
    lambda a, b: a.argmax(1),
    lambda a, b: np.argsort(a, axis=1),
    lambda a, b: np.cumsum(a, 1),
    lambda a, b: np.add.reduce(a, axis=1),
    lambda a, b: np.multiply.accumulate(a, axis=1),
    lambda a, b: np.subtract.outer(a[0], b[1]),
    lambda a, b: np.var(a, axis=0, ddof=1),
    lambda a, b: np.any(a > b, axis=1),
    lambda a, b: np.count_nonzero(a > b),
    lambda a, b: np.allclose(a, a),
    lambda a, b: np.nonzero(a > b)[0],
    lambda a, b: np.unique(np.sign(a)),
    lambda a, b: np.pad(a, 1),
    lambda a, b: np.tril(a),
    lambda a, b: np.roll(a, 1, 1),
    lambda a, b: np.flip(a, 0),
    lambda a, b: np.full_like(a, 2),
    lambda a, b: np.zeros_like(a, shape=(4,)),
    lambda a, b: np.zeros(2, like=a),
    lambda a, b: np.linalg.norm(a),
    lambda a, b: np.take(a, [1, 0, 1], 0),
    lambda a, b: a.repeat(2, 1),
    lambda a, b: a.astype(np.int64) // 2,
    lambda a, b: a.reshape(3, 2)[::-1, 1:].T,
    lambda a, b: a.swapaxes(0, 1).ravel(),
    lambda a, b: a[a > b],
    lambda a, b: a[[1, 0, 1], [0, 2, 2]],
    lambda a, b: a[:, None, 1],
    lambda a, b: a[..., -1],
    lambda a, b: a[1, 2],
    lambda a, b: np.float64(2) * a,
    lambda a, b: 2 * a,
    lambda a, b: divmod(a, 2)[1],
]


@given(a=FLOATS, b=FLOATS)
def test_computes_what_numpy_does(a, b):
    with installed() as cp:
        x, y = cp.asarray(a), cp.asarray(b)
        for call in [*BINARY, *CALLS]:
            with np.errstate(all="ignore"):
                expected = np.asarray(call(a, b))
            found = call(x, y)
            assert type(found) is cp.ndarray
            assert_same_bits(found.get(), expected)


INDICES = [
    0,
    (1, 2),
    slice(None),
    (Ellipsis, 1),
    (slice(None), [2, 0]),
    [1, 0],
    np.array([1]),
    (None, 1),
    HOST > 2,
]


@given(a=FLOATS, b=FLOATS, index=st.sampled_from(INDICES), value=st.sampled_from([3, np.float32(2), True]))
def test_writes_what_numpy_does(a, b, index, value):
    expected = a.copy()
    expected[index] = value
    expected[index] += np.float32(1)
    expected += b
    with installed() as cp:
        x = cp.asarray(a)
        of_device = cp.asarray(index) if isinstance(index, np.ndarray) else index
        x[of_device] = value
        x[of_device] += np.float32(1)
        x += cp.asarray(b)
        assert_same_bits(x.get(), expected)


def test_atomics(cp):
    a = np.zeros((3, 2), np.float32)
    rows, columns = np.array([0, 2, 2, 0]), np.array([1, 1, 1, 0])
    values = np.float32([1, 2, 3, 4])
    import cupyx

    for of_cupy, ufunc in (
        (cupyx.scatter_add, np.add),
        (cupyx.scatter_max, np.maximum),
        (cupyx.scatter_min, np.minimum),
    ):
        x, expected = cp.asarray(a), a.copy()
        of_cupy(x, (cp.asarray(rows), cp.asarray(columns)), cp.asarray(values))
        ufunc.at(expected, (rows, columns), values)
        assert_same_bits(x.get(), expected)


def test_error_function(cp):
    from cupyx.scipy.special import erf

    assert_close(
        erf(cp.array([0.0, 1.0, -2.0])).get(), [0, 0.8427007929497149, -0.9953222650189527], rtol=1e-15
    )
    assert erf(cp.array([1, 2], np.float32)).dtype == np.float32


def test_each_function_has_numpys_arguments():
    """A keyword of `interface` that NumPy does not know would fail only when it is used."""
    for name, parameters in interface.FUNCTIONS.items():
        try:
            of_numpy = inspect.signature(getattr(np, name)).parameters
        except ValueError:  # NumPy tells no signature of some
            continue
        ours = inspect.signature(eval(f"lambda {parameters}: None")).parameters.values()
        keywords = {p.name for p in ours if p.default is not p.empty} - {"subok"}
        if name in ("argmax", "argmin"):
            keywords.remove("dtype")
        takes_any = any(p.kind is p.VAR_KEYWORD for p in of_numpy.values())
        assert takes_any or keywords <= of_numpy.keys(), name


def test_comparisons_with_what_is_no_number(x):
    assert (x == None).tolist() == [[False] * 3] * 2  # noqa: E711
    assert (x != object()).all()
    assert (x >= np.array(3)).sum() == 3  # comparisons take arrays of zero dimensions


# ---------------------------------------------------------------------- against CuPy itself


@pytest.fixture
def real():
    """CuPy, which needs no GPU to be asked for its names."""
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if not cupy.__version__.startswith("14."):
        pytest.skip(f"tools.device_arrays follows CuPy {interface.VERSION}, this is {cupy.__version__}")
    return cupy


@pytest.fixture
def real_device(real):
    if not real.cuda.is_available():
        pytest.skip("CuPy finds no GPU")
    return real


def test_names_are_cupys(real):
    with installed() as cp:
        ours = {name for name in vars(cp) if not name.startswith("_")}
    theirs = {name for name in dir(real) if not name.startswith("_")} - {"annotations"}
    assert ours - theirs == set()
    assert theirs - ours == interface.NOT_MODELLED
    methods = {name for name in dir(real.ndarray) if not name.startswith("_")}
    assert {
        name for name in dir(cp.ndarray) if not name.startswith("_")
    } == methods - interface.METHODS_NOT_MODELLED


def test_arguments_are_cupys(real):
    less_modelled = {"einsum", "matmul"}
    for module, listed in ((real, interface.FUNCTIONS), (real.linalg, interface.LINALG)):
        for name in listed.keys() - less_modelled - {"size"}:  # it has no signature
            ours = inspect.signature(eval(f"lambda {listed[name]}: None")).parameters.values()
            theirs = inspect.signature(getattr(module, name)).parameters.values()
            without_types = [parameter.replace(annotation=parameter.empty) for parameter in theirs]
            assert list(ours) == without_types, name


def test_ufuncs_are_cupys(real):
    for name in interface.UFUNCS:
        ufunc = getattr(real, name)
        assert type(ufunc) is real.ufunc
        assert (ufunc._scatter_op is not None) == (name in interface.ATOMICS), name


def test_cupy_refuses_the_same(real_device):
    of_the_stand_in = {
        "random numbers",
        "a name not modelled",
        "a method not modelled",
        "kernel of a host array",
    }
    wrong = {}
    for case, (call, kind, _) in REFUSED.items():
        if case in of_the_stand_in or issubclass(kind, AssertionError):
            continue
        try:
            wrong[case] = call(real_device.asarray(HOST), HOST.copy())
        except Exception as error:
            if not isinstance(error, kind):
                wrong[case] = error
    assert wrong == {}


def test_cupy_computes_the_same(real_device):
    a, b = HOST - 2, HOST[::-1] / 2
    for call in [*BINARY, *CALLS]:
        with np.errstate(all="ignore"):
            expected = np.asarray(call(a, b))
        found = call(real_device.asarray(a), real_device.asarray(b))
        assert type(found) is real_device.ndarray
        assert found.dtype == expected.dtype
        assert_close(found.get(), expected, rtol=1e-5)


# ---------------------------------------------------------------------- memory


def test_memory_is_its_own(cp):
    host = HOST.copy()
    x = cp.asarray(host)
    back = x.get()
    host[0, 0] = back[0, 1] = 7
    assert_same_bits(x.get(), HOST)
    assert cp.asarray(x) is x
    assert_same_bits(copy.deepcopy(x).get(), HOST)
    assert_same_bits(pickle.loads(pickle.dumps(x)).get(), HOST)


def test_views_and_their_owner(cp, x):
    row = x[1]
    row[...] = 0
    assert x.sum() == 3
    assert row.base is x
    assert row[1:].base is x
    assert (x.base, row.copy().base, x[[0]].base, (x + 1).base) == (None,) * 4
    assert (x.flags.owndata, row.flags.owndata) == (True, False)
    assert row.data.ptr - x.data.ptr == 12
    assert not isinstance(x, np.ndarray)
    assert cp.get_array_module(HOST, x) is cp
    assert cp.get_array_module(HOST) is np


def test_elements_are_arrays_without_copies(x):
    with no_transfers():
        for found in (x[0, 0], x.sum(), x.max(axis=None), np.mean(x), next(iter(x[0]))):
            assert (type(found), found.shape) == (type(x), ())


def test_results_are_in_c_order(cp):
    """NumPy's are in the order of the operands; a kernel takes C order alone."""
    x = cp.asarray(np.arange(24.0).reshape(2, 3, 4)).transpose(2, 0, 1)
    for y in (
        x + 1,
        x * x,
        x.sum(axis=0),
        np.where(x > 1, x, 0),
        np.concatenate([x, x]),
        x[[0, 1]],
        x.copy(),
    ):
        assert y.flags.c_contiguous
        assert y.base is None
    assert not x.copy("K").flags.c_contiguous
    assert not np.zeros_like(x).flags.c_contiguous
    assert cp.asarray(HOST.T).flags.fnc
    assert cp.asarray(np.zeros((2, 3, 4)).transpose(2, 0, 1)).flags.c_contiguous


def test_interface_for_cuda(x):
    described = x.T.__cuda_array_interface__
    assert described["shape"] == (3, 2)
    assert described["strides"] == (4, 12)
    assert described["data"] == (x.data.ptr, False)
    assert described["typestr"] == "<f4"
    assert x.__cuda_array_interface__["strides"] is None


def test_fresh_memory_is_not_zero(cp):
    assert np.isnan(cp.empty(3)).all()
    assert (cp.empty(2, np.int32) == -1).all()
    assert np.isnan(cp.empty_like(cp.ones((2, 2)))).all()


@pytest.mark.parametrize("shape", [(), 0], ids=str)
def test_arrays_like_another_of_an_empty_shape_have_its_shape(cp, x, shape):
    for made in (
        np.empty_like(x, shape=shape),
        np.zeros_like(x, np.float64, shape=shape),
        np.full_like(x, 2, shape=shape),
    ):
        assert made.shape == x.shape  # as in CuPy, where the shape has a default that it is taken for
    assert np.zeros_like(x, shape=(0, 2)).shape == (0, 2)
    assert np.zeros_like(x, shape=(0,)).shape == (0,)


def test_atomics_add_in_any_order(cp):
    ids, values = cp.zeros(100, np.int64), cp.asarray(np.random.default_rng(0).standard_normal(100))
    sums = set()
    for _ in range(10):
        total = cp.zeros(1)
        np.add.at(total, ids, values)
        sums.add(float(total[0]))
    assert len(sums) > 1
    assert_close(np.array(list(sums)), np.full(len(sums), values.get().sum()), rtol=1e-12)


def test_pool(cp):
    pool = cp.get_default_memory_pool()
    assert pool.total_bytes() == 0
    x = cp.zeros(1000, np.uint8)
    view = x[:10]
    assert pool.used_bytes() == 1024
    del x
    assert pool.used_bytes() == 1024
    del view
    assert (pool.used_bytes(), pool.free_bytes(), pool.n_free_blocks()) == (0, 1024, 1)
    cp.zeros(1000, np.uint8)
    assert pool.total_bytes() == 1024
    pool.free_all_blocks()
    assert pool.total_bytes() == 0
    pool.set_limit(1024)
    with pytest.raises(cp.cuda.memory.OutOfMemoryError, match="limit set to: 1,024 bytes"):
        cp.zeros(1025, np.uint8)
    assert pool.used_bytes() == 0


def test_runtime(cp):
    assert cp.cuda.is_available()
    assert cp.cuda.runtime.getDeviceCount() == 1
    assert cp.cuda.runtime.getDeviceProperties(0)["name"] == b"Stand-in for a GPU"
    free, total = cp.cuda.Device().mem_info
    held = cp.zeros(4096, np.uint8)
    assert cp.cuda.runtime.memGetInfo() == (free - held.nbytes, total)
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match="invalid device ordinal"):
        cp.cuda.runtime.getDeviceProperties(1)


Pair = namedtuple("Pair", "x y")


def test_kernels_of_the_emulator(cp):
    kernel = Kernel("""
def double(arrays, factor):
    i = cuda.grid(1)
    arrays.y[i] = factor * arrays.x[i]
""")
    x, y = cp.arange(32, dtype=np.float32), cp.empty(32, np.float32)
    kernel.launch(1, 32, *for_emulator(Pair(x, y), 2))
    assert_same_bits((x * 2).get(), y.get())


# ---------------------------------------------------------------------- transfers

WAITING = {
    "float()": float,
    "item()": lambda s: s.item(),
    "tolist()": lambda s: s.tolist(),
    "int()": int,
    "bool()": bool,
    "get": lambda s: s.get(),
    "repr()": repr,
    "str()": str,
    "format()": lambda s: f"{s:.2f}",
    "tobytes()": lambda s: s.tobytes(),
    "complex()": complex,
    "pickle": pickle.dumps,
}


@pytest.mark.parametrize("what", WAITING)
def test_numbers_are_transfers_that_wait(x, what):
    number = x.sum()
    with transfers() as seen:
        WAITING[what](number)
    assert [(t.direction, t.nbytes, t.what) for t in seen.to_host] == [("to host", 4, what)]
    assert [wait.what for wait in seen.waits] == [what]
    assert seen.to_device == []
    with no_transfers(), pytest.raises(TransferError, match=r"copies 4 bytes to host; none may be here"):
        WAITING[what](number)


def test_arrays_of_the_host_are_sent(cp, x):
    with transfers() as seen:
        cp.asarray(HOST)
        cp.array([1, 2])
        x[[0, 1]]
        x[np.array([True, False])]
        x[[0]] = np.ones(3, np.float32)
        x.set(HOST)
        cp.asarray(3.0)  # an argument of a kernel
    assert [(t.what, t.nbytes) for t in seen.to_device] == [
        ("array", 24), ("array of a list", 16), ("array of a list", 16), ("array", 2), ("array of a list", 8),
        ("array", 12), ("set", 24),
    ]  # fmt: skip
    assert seen.to_host == []
    assert [wait.what for wait in seen.waits] == ["the number of True in a mask"]


def test_the_line_of_a_transfer(x):
    line = inspect.currentframe().f_lineno + 2
    with transfers() as seen:
        float(np.add(x, 1).sum())
    assert seen.to_host[0].line == seen.waits[0].line == f"{__file__}:{line}"
    assert str(seen) == f"{__file__}:{line}: float(), 4 bytes to host\n{__file__}:{line}: float() waits"
    anything = x.any()
    with no_transfers():
        line = inspect.currentframe().f_lineno + 2
        with pytest.raises(TransferError, match=rf"device_arrays.py:{line}: bool\(\) copies 1 bytes"):
            bool(anything)


def test_computing_neither_copies_nor_waits(cp, x):
    rows = cp.asarray([0, 1])
    with no_transfers():
        y = np.exp(x @ x.T).sum(axis=0) / 2 + x[rows, rows]
        y[:1] = 0
        np.add.at(y, rows, 1)
        cp.zeros(3).fill(2)
    with pytest.raises(TransferError, match="nonzero waits for the device"), no_transfers():
        np.nonzero(x)
    with pytest.raises(TransferError, match="the sum of repeats waits"), no_transfers():
        x.repeat(rows, 0)
    with no_transfers(waits=False):
        cp.cuda.Stream.null.synchronize()
        np.nonzero(x)
    with pytest.raises(TransferError, match="synchronize waits"), no_transfers():
        cp.cuda.Device().synchronize()


# ---------------------------------------------------------------------- pinned memory


def captured(cp, work):
    """Return the graph of some work, and the pool of its memory."""
    stream, pool = cp.cuda.Stream(non_blocking=True), cp.cuda.MemoryPool()
    with stream, cp.cuda.using_allocator(pool.malloc):
        stream.begin_capture()
        assert stream.is_capturing()
        work()
        return stream.end_capture(), pool


def test_what_a_stream_captures_is_done_at_a_launch(cp):
    x, y = cp.asarray(np.array([1.0, 2.0])), cp.zeros(2)

    def work():
        squares = x * x
        y[:1] = squares[1:]
        y[1:] += cp.sum(squares[:1])

    graph, _pool = captured(cp, work)
    assert y.tolist() == [0.0, 0.0]
    graph.launch()
    assert y.tolist() == [4.0, 1.0]
    x += 1
    graph.launch(cp.cuda.Stream())
    assert y.tolist() == [9.0, 5.0]
    assert x.tolist() == [2.0, 3.0]


def test_kernels_are_captured(device_stand_in):
    def add_one(x):
        x[cuda.threadIdx.x] += 1.0  # noqa: F821

    kernel = EmulatedKernel(SimpleNamespace(source=textwrap.dedent(inspect.getsource(add_one))), np.float64)
    x = device_stand_in.zeros(2)
    graph, _pool = captured(device_stand_in, lambda: kernel.launch((1, 1), 2, kernel.argument(x)))
    assert x.tolist() == [0.0, 0.0]
    for _ in range(2):
        graph.launch()
    assert x.tolist() == [2.0, 2.0]


def test_what_a_stream_cannot_capture(cp):
    x = cp.zeros(2)
    with pytest.raises(RuntimeError, match="cannot capture on the default"):
        cp.cuda.Stream.null.begin_capture()
    for work in (lambda: float(x[0]), lambda: cp.asarray(np.zeros(2)), cp.cuda.Device().synchronize):
        with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match="not permitted when stream is capturing"):
            captured(cp, work)
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        with pytest.raises(UndefinedResultError, match="memory comes from the default pool"):
            _ = x + 1
        with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match="not permitted"):
            x.get()
        with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match="CaptureInvalidated"):
            stream.end_capture()
    graph, pool = captured(cp, lambda: x + 1)
    del pool
    with pytest.raises(UndefinedResultError, match="is gone"):
        graph.launch()


def test_pinned_memory_is_sent_later(cp):
    import cupyx

    batch = cupyx.zeros_pinned(4, np.float32)
    stream = cp.cuda.Stream(non_blocking=True)
    with stream, transfers() as seen:
        x = cp.asarray(batch)
        copied = stream.record()
    assert seen.waits == []
    copied.synchronize()
    assert copied.done
    batch[...] = 1  # complete: the buffer is free
    assert x.tolist() == [0] * 4
    x.set(batch)
    batch[0] = 5
    with pytest.raises(PinnedMemoryError, match="written before the copy from it to the device was complete"):
        stream.synchronize()


def test_pinned_memory_is_written_later(cp):
    import cupyx

    loss = cupyx.empty_pinned((), np.float32)
    with transfers() as seen:
        cp.float32(2)
        cp.asarray(np.float32(2)).get(out=loss, blocking=False)
    assert (len(seen.to_host), seen.waits) == (1, [])
    assert np.isnan(loss)
    cp.cuda.Stream.null.synchronize()
    assert loss == 2


def send_and_overwrite():
    with installed() as cp:
        host = np.frombuffer(cp.cuda.alloc_pinned_memory(8), np.uint8)
        cp.asarray(host)
        host[0] = 1


def test_pinned_memory_that_nobody_waited_for():
    with pytest.raises(PinnedMemoryError, match="shape \\(8,\\), uint8"):
        send_and_overwrite()


# ---------------------------------------------------------------------- its place


def test_it_is_gone_after_a_test():
    def modules():
        return {
            name: module for name, module in sys.modules.items() if name.split(".")[0] in ("cupy", "cupyx")
        }

    before = modules()
    with installed() as cp:
        import cupy
        import cupy.cuda.runtime as runtime
        from cupyx.scipy import special

        assert cupy is cp
        assert (runtime, special.erf) == (cp.cuda.runtime, sys.modules["cupyx.scipy.special"].erf)
    assert modules() == before


def test_the_library_takes_it_for_cupy(device_stand_in):
    with transfers() as seen:
        x = rt.tensor(HOST).to("cuda")
    assert x.device == "cuda"
    assert isinstance(x._array, device_stand_in.ndarray)
    assert sum(t.nbytes for t in seen.to_device) == HOST.nbytes


def test_pytest_on_a_gpu_that_is_missing_ends_with_one_line(request, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    conftest = request.config.pluginmanager.get_plugin(str(request.config.rootpath / "conftest.py"))
    asked = SimpleNamespace(getoption={"--device": "cuda"}.get)
    with pytest.raises(pytest.UsageError, match="--device cuda: device 'cuda' needs CuPy, which is not inst"):
        conftest.pytest_configure(asked)
