"""The names without which a program of PyTorch's stops at once: dtypes, devices, defaults and older constructors."""

import copy
import pickle
import threading

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.tensor import autograd

torch = pytest.importorskip("torch")

# ----------------------------------------------------------------------------------------------------- dtypes

NAMES = {
    "half": "float16",
    "float16": "float16",
    "float": "float32",
    "float32": "float32",
    "double": "float64",
    "float64": "float64",
    "uint8": "uint8",
    "int8": "int8",
    "short": "int16",
    "int16": "int16",
    "int": "int32",
    "int32": "int32",
    "long": "int64",
    "int64": "int64",
    "bool": "bool",
}


@pytest.mark.parametrize("name", NAMES)
def test_dtypes(name):
    dtype = getattr(rt, name)
    assert dtype == np.dtype(NAMES[name]) == getattr(np, NAMES[name].replace("bool", "bool_"))
    assert NAMES[name] in str(getattr(torch, name))
    x = rt.zeros(2, dtype=dtype)
    assert x.dtype == dtype == NAMES[name]
    for made in (
        rt.tensor([0, 1], dtype=dtype),
        rt.ones(2).to(dtype),
        rt.ones(2).to(dtype=dtype),
        rt.ones(2).type(dtype),
        rt.ones_like(rt.ones(2), dtype=dtype),
        rt.full((2,), 1, dtype=dtype),
        rt.as_tensor([1], dtype=dtype),
        rt.ones(2).new_zeros(2, dtype=dtype),
        rt.ones(2).sum(dtype=dtype),
    ):
        assert made.dtype == dtype


@pytest.mark.parametrize(
    "method", ["half", "float", "double", "char", "byte", "short", "int", "long", "bool"]
)
@pytest.mark.parametrize("values", [[-1.5, 0.0, 2.75], [3, 0, -1], [True, False]], ids=str)
def test_conversions(method, values):
    if method == "byte" and min(values) < 0:
        values = [abs(value) for value in values]  # C leaves a negative float in an unsigned type undefined
    ours, theirs = (getattr(m.tensor(values), method)() for m in (rt, torch))
    assert_same_bits(ours.numpy(), theirs.numpy())
    assert ours.type() == theirs.type()
    assert getattr(ours, method)() is ours


@pytest.mark.parametrize(
    "value", ["long", "LongTensor", "torch.LongTensor", "torch.ByteTensor", "torch.BoolTensor"]
)
def test_type(value):
    x, its = rt.tensor([1.5, 0.0]), torch.tensor([1.5, 0.0])
    if value == "long":
        ours, theirs = x.type(rt.long), its.type(torch.long)
    elif value == "LongTensor":
        ours, theirs = x.type(rt.LongTensor), its.type(torch.LongTensor)
    else:
        ours, theirs = x.type(value), its.type(value)
    assert_same_bits(ours.numpy(), theirs.numpy())
    assert ours.type(ours.type()) is ours
    w = rt.ones(2, requires_grad=True)
    w.type(rt.double).sum().backward()
    assert w.grad.dtype == rt.float
    for name in ("torch.QuaternionTensor", "torch.cuda.FloatTensor"):
        with pytest.raises(
            ValueError, match=f"name of a tensor class such as 'torch.FloatTensor', got '{name}'"
        ):
            x.type(name)
    with pytest.raises(TypeError, match="expected a dtype such as"):
        x.type("quaternion")
    with pytest.raises(
        TypeError, match="expected a dtype such as 'float32', or device 'cpu' or 'cuda', got 'gpu'"
    ):
        x.to("gpu")


# ---------------------------------------------------------------------------------------------------- devices


@pytest.mark.parametrize(
    "given", [("cpu",), ("cuda",), ("cuda:0",), ("cuda", 0), ("cpu:0",), ("cpu", 0)], ids=str
)
def test_devices(given):
    ours, theirs = rt.device(*given), torch.device(*given)
    assert (ours.type, ours.index, str(ours), repr(ours)) == (
        theirs.type,
        theirs.index,
        str(theirs),
        repr(theirs),
    )
    assert rt.device(ours) == ours == str(theirs)
    assert hash(ours) == hash(rt.device(*given))
    for twin in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        assert (twin, twin.type, twin.index) == (ours, ours.type, ours.index)


@pytest.mark.parametrize(
    "given",
    [("tpu",), ("cpu:",), ("cuda:1",), ("cuda:x",), ("cuda:0", 0), ("cuda", 2), (None,), (0,), ("",)],
    ids=str,
)
def test_no_devices(given):
    with pytest.raises(ValueError, match=r"expected device 'cpu' or 'cuda', got "):
        rt.device(*given)


@pytest.mark.host_only("about the default device")
def test_where_a_device_is_taken():
    cpu = rt.device("cpu")
    x = rt.ones(2, device=cpu)
    assert x.device.type == "cpu"
    assert x.device == cpu == "cpu"
    assert not x.is_cuda
    assert x.to(cpu) is x.to("cpu:0") is x.to(device=cpu) is x.to(cpu, rt.float32, non_blocking=True) is x
    layer = nn.Linear(2, 1, device=cpu)
    assert layer.to(cpu) is layer.to(cpu, rt.double, non_blocking=True) is layer
    assert (layer.weight.device.type, layer.weight.dtype) == ("cpu", rt.double)
    for made in (
        rt.tensor([1], device=cpu),
        rt.as_tensor([1], device=cpu),
        rt.zeros(2, device="cpu:0"),
        rt.randn(2, device=cpu),
        rt.randint(3, (2,), device=cpu),
        rt.zeros_like(x, device=cpu),
        rt.rand_like(x, device=cpu, dtype=rt.double),
        x.new_full((2,), 3, device=cpu),
        rt.rand(2, generator=rt.Generator(device=cpu)),
    ):
        assert made.device == cpu
    with pytest.raises(ValueError, match="expected device 'cpu' or 'cuda', got 'tpu'"):
        rt.zeros(2, device="tpu")


def test_copies_that_are_asked_for():
    x = rt.ones(2, requires_grad=True)
    y = x.to("cpu", copy=True)
    assert not np.shares_memory(x.detach().numpy(), y.detach().numpy())
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    assert x.to(rt.double, copy=True).dtype == rt.double


def test_new_tensors():
    x = rt.ones(2, dtype=rt.double)
    for ours, theirs in zip(
        *(
            (
                t.new_zeros(2, 3),
                t.new_ones((1, 2)),
                t.new_full((2,), 7),
                t.new_tensor([1.5]),
                t.new_empty(2, 0),
            )
            for t in (x, torch.ones(2, dtype=torch.double))
        ),
        strict=True,
    ):
        assert_same_bits(ours.numpy(), theirs.numpy())
    assert x.new_ones(2, dtype=rt.long, requires_grad=False).dtype == rt.long
    assert x.new_zeros(2, requires_grad=True).requires_grad


@pytest.mark.host_only("about the default device")
def test_default_device():
    assert rt.get_default_device() == "cpu"
    rt.set_default_device("cpu")
    rt.set_default_device(rt.device("cpu"))
    with rt.device("cpu"):
        assert rt.zeros(2).device.type == "cpu"
    rt.set_default_device(None)
    assert rt.get_default_device().type == "cpu"
    with pytest.raises(ValueError, match="expected device 'cpu' or 'cuda', got 'tpu'"):
        rt.set_default_device("tpu")


# ---------------------------------------------------------------------------------------------------- defaults


@pytest.fixture
def default_dtype():
    """Set the default of both libraries, and put them back."""

    def set_both(name):
        for m in (rt, torch):
            m.set_default_dtype(getattr(m, name))

    yield set_both
    set_both("float32")


MADE = {
    "a list": lambda m: m.tensor([0.1, 2]),
    "a number": lambda m: m.tensor(0.1),
    "integers": lambda m: m.tensor([1, 2]),
    "booleans": lambda m: m.tensor([True]),
    "an array": lambda m: m.tensor(np.array([0.1], np.float32)),
    "as_tensor": lambda m: m.as_tensor([0.1]),
    "zeros": lambda m: m.zeros(2),
    "ones": lambda m: m.ones(2),
    "full": lambda m: m.full((2,), 0.1),
    "full of integers": lambda m: m.full((2,), 3),
    "arange": lambda m: m.arange(0, 1, 0.25),
    "arange of integers": lambda m: m.arange(3),
    "linspace": lambda m: m.linspace(0, 1, 5),
    "eye": lambda m: m.eye(2),
    "division": lambda m: m.tensor([1, 2]) / m.tensor([3, 7]),
    "division by a number": lambda m: m.tensor([1, 2]) / 3,
    "times a number": lambda m: m.tensor([1, 2]) * 0.1,
    "number of its own type": lambda m: m.tensor([1.5], dtype=m.float16) * 0.5,
    "function": lambda m: m.tensor([1, 0]).sqrt(),
    "float()": lambda m: m.tensor([1]).float(),
    "FloatTensor": lambda m: m.FloatTensor([0.1]),
    "zeros_like": lambda m: m.zeros_like(m.tensor([1], dtype=m.int8)),
}
DRAWN = {
    "rand": lambda m: m.rand(2),
    "randn": lambda m: m.randn(2),
    "normal": lambda m: m.normal(0.0, 1.0, (2,)),
    "randint": lambda m: m.randint(3, (2,)),
    "Linear": lambda m: m.nn.Linear(2, 1).weight,
    "LSTM": lambda m: m.nn.LSTM(2, 1).bias_hh_l0,
    "BatchNorm": lambda m: m.nn.BatchNorm1d(2).running_var,
    "Embedding": lambda m: m.nn.Embedding(2, 3).weight,
}


class WithLayers:
    """`rondeau.tensor`, with the layers where PyTorch has them."""

    nn = nn

    def __getattr__(self, name):
        return getattr(rt, name)


@pytest.mark.parametrize("name", ["float32", "float64", "float16"])
def test_default_dtype(name, default_dtype):
    default_dtype(name)
    assert rt.get_default_dtype() == name
    for what, make in MADE.items():
        ours, theirs = make(rt), make(torch)
        assert_same_bits(ours.numpy(), theirs.numpy(), what)
    for what, make in DRAWN.items():
        assert str(make(torch).dtype) == f"torch.{make(WithLayers()).dtype}", what
    assert ("dtype" in repr(rt.tensor([0.5], dtype=name))) == ("dtype" in repr(torch.tensor([0.5])))


def test_layers_in_the_default_dtype(default_dtype):
    default_dtype("float64")
    y, (h, _) = nn.LSTM(3, 2)(rt.randn(4, 1, 3))
    assert y.dtype == h.dtype == rt.float64


@pytest.mark.parametrize("wrong", ["int64", "bool", None, "complex64"])
def test_no_default_dtypes(wrong):
    with pytest.raises(TypeError, match=r"floating type, got|expected a dtype|cannot hold dtype"):
        rt.set_default_dtype(wrong)
    assert rt.get_default_dtype() == rt.float32


def test_a_default_dtype_is_every_thread_s(default_dtype):
    default_dtype("float64")
    seen = []
    thread = threading.Thread(target=lambda: seen.append(rt.zeros(1).dtype))
    thread.start()
    thread.join()
    assert seen == [rt.float64]


# -------------------------------------------------------------------------------------------- constructors by type

CLASSES = ["Half", "Float", "Double", "Byte", "Char", "Short", "Int", "Long", "Bool"]
DATA = {
    "numbers": lambda m, new: new([1, 0, 2]),
    "fractions": lambda m, new: new([1.75, 0.0]),
    "lists of lists": lambda m, new: new([[1, 2], [3, 4]]),
    "tuples of tuples": lambda m, new: new(((1, 2), (3, 4))),
    "an empty list": lambda m, new: new([]),
    "nothing": lambda m, new: new(),
    "a range": lambda m, new: new(range(3)),
    "an array": lambda m, new: new(np.array([1.0, 2.0])),
    "an array of integers": lambda m, new: new(np.array([[1], [2]], np.int32)),
    "tensors in a list": lambda m, new: new([m.tensor(1), m.tensor(2)]),
    "a device": lambda m, new: new([1], device="cpu"),
}


@pytest.mark.parametrize("name", CLASSES)
def test_constructors_by_type(name):
    ours, theirs = (getattr(m, f"{name}Tensor") for m in (rt, torch))
    for what, make in DATA.items():
        assert_same_bits(make(rt, ours).numpy(), make(torch, theirs).numpy(), what)
    for sizes in ((3,), (2, 3), (0,), (2, 0), (np.int64(2),)):
        made = ours(*sizes)
        assert made.shape == tuple(theirs(*sizes).shape)
        assert made.dtype == ours.dtype
        assert isinstance(made, ours)
    for other in CLASSES:
        assert isinstance(ours(1), getattr(rt, f"{other}Tensor")) == (other == name)
    same = ours([1, 0])
    same.zero_()
    alias = ours(same)
    alias.fill_(1)
    assert alias is not same
    assert same.tolist() == [1, 1]


def test_constructors_refuse():
    x = rt.ones(2)
    for wrong, message in (
        (
            lambda: rt.LongTensor(x),
            r"LongTensor of a tensor of float32: convert it with \.type\(LongTensor\)",
        ),
        (
            lambda: rt.LongTensor((2, 3)),
            r"LongTensor\(\(2, 3\)\) may mean sizes or data: use empty\(\(2, 3\), dtype=",
        ),
        (lambda: rt.FloatTensor(x.shape), r"may mean sizes or data"),
        (
            lambda: rt.FloatTensor(2.5),
            r"got float 2\.5: use tensor\(value, dtype=\.\.\.\) for a single number",
        ),
        (lambda: rt.FloatTensor(True), "got bool True"),
        (lambda: rt.FloatTensor(None), "got None"),
        (lambda: rt.FloatTensor("abc"), "got str 'abc'"),
        (lambda: rt.LongTensor(2, 3.0), "must be an integer, got float"),
    ):
        with pytest.raises(TypeError, match=message):
            wrong()
    for wrong, message in (
        (lambda: rt.ByteTensor([300]), "300 does not fit uint8"),
        (lambda: rt.LongTensor(-1), "must be at least 0"),
        (lambda: rt.LongTensor([[1, 2], [3]]), "ragged"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


@pytest.mark.parametrize(
    "data", [[1, 2], [[1.5], [2]], [True, False], [], ((1, 2), (3, 4)), range(3)], ids=str
)
def test_tensor_of_numbers_is_of_floats(data):
    """As PyTorch's; `tensor` keeps integers, and arrays their type."""
    assert_same_bits(rt.Tensor(data).numpy(), torch.Tensor(data).numpy())
    assert rt.Tensor(data, dtype=rt.long).dtype == rt.long


def test_tensor_refuses_what_may_be_a_size():
    for wrong, message in (
        (lambda: rt.Tensor(5), r"Tensor\(5\) may mean a size or a number"),
        (lambda: rt.Tensor(2, 3), r"Tensor\(2\) may mean a size or a number"),
        (lambda: rt.Tensor(rt.ones(2, 3).shape), r"Tensor\(\(2, 3\)\) may mean sizes or data"),
    ):
        with pytest.raises(TypeError, match=message):
            wrong()
    array = np.array([1, 2])
    assert rt.Tensor(array).numpy() is array
    assert rt.tensor([1, 2]).dtype == rt.as_tensor([1, 2]).dtype == rt.long


def test_variables():
    x = rt.ones(2)
    w = autograd.Variable(x, requires_grad=True)
    assert w is not x
    assert isinstance(w, autograd.Variable)
    assert isinstance(x, autograd.Variable)
    assert not isinstance(x.numpy(), autograd.Variable)
    y = (w * w).sum()
    x.mul_(2)  # one memory, and one count of changes
    with pytest.raises(RuntimeError, match="was changed in place"):
        y.backward()
    y = autograd.Variable(w * 3)  # without its history
    assert not y.requires_grad
    assert y.tolist() == [6.0, 6.0]
    with pytest.raises(TypeError, match="Variable data has to be a tensor, but got list"):
        autograd.Variable([1.0])
    with pytest.raises(TypeError, match="floating type"):
        autograd.Variable(rt.tensor([1]), requires_grad=True)
    assert autograd.grad is rt.grad
    own = {"few_rows", "from_few_rows", "gradcheck", "gradgradcheck"}
    assert set(autograd.__all__) <= {*dir(torch.autograd), *dir(torch), *own}
