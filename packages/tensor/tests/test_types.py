"""Types of results: PyTorch's rules of promotion, for every pair of types, with and without dimensions."""

import itertools
import operator

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import tensor as rt

torch = pytest.importorskip("torch")

TYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
SHAPES = [(2,), ()]
NUMBERS = [True, 2, 2.5]


def theirs(dtype):
    return getattr(torch, dtype)


def same(ours, its):
    assert str(ours.dtype) == str(its.dtype).removeprefix("torch.")
    assert ours.shape == tuple(its.shape)
    assert_close(np.asarray(ours.numpy(), "float64"), its.double().numpy(), rtol=1e-3)


BINARY = [operator.add, operator.mul, operator.truediv, operator.pow]


@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.__name__)
@pytest.mark.parametrize(("a", "b"), list(itertools.product(TYPES, TYPES)))
def test_two_tensors(op, a, b):
    for left, right in itertools.product(SHAPES, SHAPES):
        x, y = np.ones(left, a), np.ones(right, b)
        if op is operator.pow and a == b == "bool":
            continue  # not defined in either
        same(op(rt.tensor(x), rt.tensor(y)), op(torch.tensor(x), torch.tensor(y)))


@pytest.mark.parametrize("op", BINARY, ids=lambda op: op.__name__)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("number", NUMBERS)
def test_tensor_and_number(op, dtype, number):
    for shape in SHAPES:
        x = np.ones(shape, dtype)
        if op is operator.pow and dtype == "bool" and number is True:
            continue
        same(op(rt.tensor(x), number), op(torch.tensor(x), number))
        same(op(number, rt.tensor(x)), op(number, torch.tensor(x)))


@pytest.mark.parametrize("dtype", TYPES)
def test_reductions_and_functions(dtype):
    x = np.array([[1, 0], [1, 1]], dtype)
    ours, its = rt.tensor(x), torch.tensor(x)
    for name in ("sum", "prod", "exp", "sqrt", "sigmoid", "tanh"):
        same(getattr(rt, name)(ours), getattr(torch, name)(its))
    for name in ("sum", "cumsum", "prod"):
        same(getattr(rt, name)(ours, 0), getattr(torch, name)(its, 0))
    same(ours.all(), its.all())
    same(ours.any(0), its.any(0))
    if dtype != "bool":
        same(ours.argmax(1), its.argmax(1))
        same(ours.max(1).values, its.max(1).values)
        same(abs(ours), abs(its))


@pytest.mark.parametrize(("a", "b"), list(itertools.product(TYPES, TYPES)))
def test_where_and_cat(a, b):
    x, y = np.ones(2, a), np.zeros(2, b)
    condition = np.array([True, False])
    same(
        rt.where(rt.tensor(condition), rt.tensor(x), rt.tensor(y)),
        torch.where(torch.tensor(condition), torch.tensor(x), torch.tensor(y)),
    )
    same(rt.cat([rt.tensor(x), rt.tensor(y)]), torch.cat([torch.tensor(x), torch.tensor(y)]))


@pytest.mark.parametrize(("a", "b"), list(itertools.product(TYPES, TYPES)))
@pytest.mark.parametrize("op", [operator.lt, operator.eq, operator.ge], ids=lambda op: op.__name__)
def test_comparison(op, a, b):
    x, y = np.array([0, 1, 1], a), np.array([1, 1, 0], b)
    same(op(rt.tensor(x), rt.tensor(y)), op(torch.tensor(x), torch.tensor(y)))


def test_integer_division_and_remainder():
    a, b = np.array([7, -7, 7, -7]), np.array([2, 2, -2, -2])
    for op in (operator.truediv, operator.floordiv, operator.mod):
        same(op(rt.tensor(a), rt.tensor(b)), op(torch.tensor(a), torch.tensor(b)))


def test_integers_to_a_negative_power():
    with pytest.raises(RuntimeError, match=r"integers to a negative power.*\.float\(\)"):
        rt.tensor([2]) ** -1


def test_mean_of_integers():
    with pytest.raises(TypeError, match=r"mean of int64: convert with \.float\(\)"):
        rt.tensor([1, 2]).mean()
    assert rt.mean(rt.tensor([1, 2]), dtype="float32").item() == 1.5
    for name in ("var", "norm"):
        with pytest.raises(TypeError, match=f"{name} of int64"):
            getattr(rt.tensor([1, 2]), name)()


def test_logic_on_booleans():
    x, y = np.array([True, True, False, False]), np.array([True, False, True, False])
    for op in (operator.and_, operator.or_, operator.xor):
        same(op(rt.tensor(x), rt.tensor(y)), op(torch.tensor(x), torch.tensor(y)))
    same(~rt.tensor(x), ~torch.tensor(x))
    same(rt.logical_not(rt.tensor([0.0, 2.0])), torch.logical_not(torch.tensor([0.0, 2.0])))


def test_no_warning_where_torch_gives_none():
    x = np.array([0.0, -1.0, 1e38, np.inf, np.nan], "float32")
    ours, its = rt.tensor(x), torch.tensor(x)
    for name in ("log", "sqrt", "exp", "reciprocal", "rsqrt"):
        assert_same_bits(
            np.isnan(getattr(rt, name)(ours).numpy()), np.isnan(getattr(torch, name)(its).numpy())
        )
    for op in (lambda x: x / 0, lambda x: x * 1e10, lambda x: x - x, lambda x: 0 / x, lambda x: x % 0.0):
        assert_same_bits(op(ours).numpy(), op(its).numpy())


def test_unsupported_types():
    with pytest.raises(TypeError, match="cannot hold dtype complex128"):
        rt.tensor(np.array([1j]))
    with pytest.raises(TypeError, match=r"expected a Tensor, an array or a number, got list \[None\]"):
        rt.tensor([None])
    with pytest.raises(TypeError, match="expected a Tensor, an array or a number, got str"):
        rt.tensor("text")
    with pytest.raises(TypeError, match="expected a Tensor, an array or a number, got str"):
        rt.ones(1) + "x"


@pytest.mark.host_only("NumPy's arrays beside tensors")
def test_foreign_byte_order_is_converted():
    x = rt.tensor(np.array([1.0, 2.0], ">f4"))
    assert x.dtype == rt.float32
    assert (x + np.array([1.0, 1.0], ">f4")).tolist() == [2, 3]


@pytest.mark.parametrize("dtype", ["complex128", "object", "U3", "longdouble", "uint64", [("a", "f4")]])
def test_data_of_a_type_that_no_tensor_holds_is_refused(dtype):
    x = rt.zeros(3)
    with pytest.raises(TypeError, match="a tensor cannot hold dtype"):
        x.data = np.zeros(3, dtype)
    assert x.tolist() == [0.0, 0.0, 0.0]


def test_data_in_the_other_order_of_bytes_is_refused():
    x = rt.zeros(3)
    with pytest.raises(TypeError, match=r"in this machine's order of bytes.*astype\('float32'\)"):
        x.data = x.numpy().astype(x.numpy().dtype.newbyteorder())


TYPE_NAMES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


@pytest.mark.parametrize("name", ["sum", "prod", "cumsum"])
def test_reductions_in_a_given_type_wrap_round_in_it(name):
    x = np.array([[7, 200], [0, 100], [3, 0]])
    for given, wanted in itertools.product(TYPE_NAMES, TYPE_NAMES):
        if name == "cumsum" and wanted == "bool":  # which PyTorch does not have
            continue
        for axis in (0, -1) if name == "cumsum" else (0, 1, None):
            calls = [
                getattr(m, name)(
                    m.tensor(x.astype(given)), *(() if axis is None else (axis,)), dtype=getattr(m, wanted)
                )
                for m in (rt, torch)
            ]
            same(*calls)
    ours = rt.tensor([200, 100], dtype="uint8").sum(dtype="uint8")
    assert (ours.item(), ours.dtype) == (44, rt.uint8)


def test_squares_signs_and_powers_of_booleans():
    ours, its = rt.tensor([True, False]), torch.tensor([True, False])
    same(rt.square(ours), torch.square(its))
    same(rt.sign(ours), torch.sign(its))
    same(ours**True, its**True)
    assert (ours**ours).dtype == rt.bool


def test_division_is_of_the_numbers_and_not_of_their_common_integer_type():
    same(
        rt.tensor([10, 5], dtype="uint8") / rt.tensor(-5),
        torch.tensor([10, 5], dtype=torch.uint8) / torch.tensor(-5),
    )
    same(
        rt.tensor(-8) / rt.tensor([2], dtype="uint8"), torch.tensor(-8) / torch.tensor([2], dtype=torch.uint8)
    )
