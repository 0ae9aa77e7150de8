"""Numbers that an element type cannot hold are refused wherever they enter a tensor, by value and type."""

import pytest

from comparing import assert_close, assert_same_bits
from rondeau import tensor as rt

torch = pytest.importorskip("torch")

INF, NAN = float("inf"), float("nan")
MASK = [True, False]


def changed(change):
    """What is left of a tensor after a change in place."""

    def call(m, x, number):
        change(m, x, number)
        return x

    return call


#: Every way in which a Python number becomes an element: ``call(module, x, number)`` for a tensor x.
ENTRANCES = {
    "tensor": lambda m, x, n: m.tensor([n, 1], dtype=x.dtype),
    "as_tensor": lambda m, x, n: m.as_tensor([[1], [n]], dtype=x.dtype),
    "full": lambda m, x, n: m.full((2,), n, dtype=x.dtype),
    "full_like": lambda m, x, n: m.full_like(x, n),
    "where": lambda m, x, n: m.where(m.tensor(MASK), x, n),
    "where, first": lambda m, x, n: m.where(m.tensor(MASK), n, x),
    "masked_fill": lambda m, x, n: x.masked_fill(m.tensor(MASK), n),
    "masked_fill by a tensor": lambda m, x, n: x.masked_fill(m.tensor(MASK), m.tensor(n)),
    "masked_fill_": changed(lambda m, x, n: x.masked_fill_(m.tensor(MASK), n)),
    "fill_": changed(lambda m, x, n: x.fill_(n)),
    "x[0]": changed(lambda m, x, n: x.__setitem__(0, n)),
    "x[mask]": changed(lambda m, x, n: x.__setitem__(m.tensor(MASK), n)),
    "x[[0]]": changed(lambda m, x, n: x.__setitem__([0], n)),
    "clamp": lambda m, x, n: m.clamp(x, min=n),
    "clamp_": changed(lambda m, x, n: x.clamp_(max=n)),
}
#: Beyond these PyTorch wraps round, or computes with a double.
OURS = {
    "x[:] of a list": changed(lambda m, x, n: x.__setitem__(slice(None), [n, 1])),
    "add": lambda m, x, n: x + n,
    "subtract from": lambda m, x, n: n - x,
    "mul_": changed(lambda m, x, n: x.mul_(n)),
    "floor_divide": lambda m, x, n: x // n,
    "and": lambda m, x, n: x & n,
    "arange": lambda m, x, n: m.arange(n, n + 2, dtype=x.dtype),
    "arange, last": lambda m, x, n: m.arange(n - 2, n + 1, dtype=x.dtype),
    "linspace": lambda m, x, n: m.linspace(0, n, 2, dtype=x.dtype),
    "randint": lambda m, x, n: m.randint(n, n + 1, (2,), dtype=x.dtype),
}

BEYOND = {  # and PyTorch refuses them too
    "uint8": [300, -0.5, 255.5, NAN, INF, 1e300, 2**64],
    "int8": [128, -129, NAN, -INF, 70000.0],
    "int32": [2**31, -(2**31) - 1, NAN, INF, 1e300],
    "int64": [NAN, INF, -INF, 1e300, 2**63, -(2**63) - 1, 10**400],
    "float32": [1e300, -1e39, 10**400],
}
WITHIN = {
    "bool": [300, -1, 0.5, NAN, INF, 0],
    "uint8": [255, 0, 254.9, True],
    "int8": [-128, 127, 1.5, -1.5],
    "int64": [2**53, -(2**62), 1.5, True],
    "float16": [65504, INF, NAN],
    "float32": [3.4e38, INF, -INF, NAN, 2**31, True],
    "float64": [1e300, INF, NAN, 0.1],
}

#: Limits of another category change the type of the result, so that nothing needs to fit.
CHANGES_TYPE = ("where", "where, first", "clamp", "clamp_")
AS_DATA = ("tensor", "as_tensor")  # a list of floats may become infinite, as in PyTorch


def fits_by_promotion(name, dtype, number):
    return name in CHANGES_TYPE and isinstance(number, float) and dtype[0] in "bui"


@pytest.mark.parametrize("name", [*ENTRANCES, *OURS])
def test_what_does_not_fit_is_refused(name):
    call = (ENTRANCES | OURS)[name]
    for dtype, numbers in BEYOND.items():
        for number in numbers:
            if fits_by_promotion(name, dtype, number) or (name in AS_DATA and isinstance(number, float)):
                continue
            if name == "masked_fill by a tensor" and dtype == "float32":
                continue  # whose number is data, too
            if name in OURS and (isinstance(number, float) or dtype == "float32"):
                continue
            with pytest.raises(ValueError, match=r"does not fit|no integer from") as error:
                call(rt, rt.ones(2, dtype=dtype), number).tolist()  # errors of a GPU come with the next read
            assert not isinstance(error.value, OverflowError)


@pytest.mark.parametrize("dtype", [d for d in BEYOND if d[0] in "ui"])
def test_no_list_of_numbers_beyond_integers(dtype):
    for number in BEYOND[dtype]:
        with pytest.raises(ValueError, match=f"does not fit (int64|{dtype}), which holds"):
            rt.tensor([[1, 2], [number, 0]], dtype=dtype)


@pytest.mark.parametrize("name", ENTRANCES)
def test_what_fits_enters_as_in_torch(name):
    call = ENTRANCES[name]
    for dtype, numbers in WITHIN.items():
        for number in numbers:
            if dtype == "bool" and name in ("clamp", "clamp_"):  # which PyTorch does not have
                continue
            if name == "clamp_" and fits_by_promotion(name, dtype, number):
                continue
            if name == "masked_fill by a tensor" and number in (1e300, 0.1):  # float32, as the tensor is made
                continue
            ours, its = (call(m, m.ones(2, dtype=getattr(m, dtype)), number) for m in (rt, torch))
            assert str(ours.dtype) == str(its.dtype).removeprefix("torch.")
            assert_same_bits(ours, its, f"{name} of {number} in {dtype}")


def test_messages_name_the_number_and_the_type():
    x = rt.tensor([1, 2], dtype="uint8")
    with pytest.raises(ValueError, match="300 does not fit uint8, which holds 0 to 255"):
        x[0] = 300
    with pytest.raises(
        RuntimeError, match="add: -1 does not fit uint8, which holds 0 to 255: convert the tensor first"
    ):
        x + -1
    with pytest.raises(ValueError, match=r"1e\+300 does not fit float32, whose largest number is 3.403e\+38"):
        rt.zeros(2).fill_(1e300)
    with pytest.raises(ValueError, match="an integer of 16610 bits does not fit int64"):
        rt.tensor(10**5000)
    assert x.tolist() == [1, 2]


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_integers_divided_by_zero(dtype):
    x = rt.tensor([3, 4], dtype=dtype)
    for call in (
        lambda: x // 0,
        lambda: x % 0,
        lambda: 5 // rt.zeros(2, dtype=dtype),
        lambda: x // rt.tensor([1, 0], dtype=dtype),
        lambda: x.remainder_(0),
    ):
        with pytest.raises(RuntimeError, match=rf"{dtype} divided by zero: convert with"):
            call().tolist()  # errors of a GPU come with the next read
    assert (x.float() // 0).tolist() == [INF, INF]


def test_numbers_keep_their_digits_in_float64():
    x = rt.zeros(2, dtype="float64")
    assert x.masked_fill(rt.tensor(MASK), 0.1).tolist() == [0.1, 0.0]
    assert rt.where(rt.tensor(MASK), 0.1, x).tolist() == [0.1, 0.0]


def test_random_floats_are_not_drawn_as_integers():
    """They would all be 0."""
    for call in (rt.rand, rt.randn):
        with pytest.raises(TypeError, match="draw floats, got dtype int64"):
            call(3, dtype="int64")
    for change in (rt.Tensor.uniform_, rt.Tensor.normal_):
        with pytest.raises(TypeError, match="draw floats, got dtype int32"):
            change(rt.zeros(3, dtype="int32"))
    with pytest.raises(ValueError, match=r"low must be finite and not above high, got 0\.0 and nan"):
        rt.zeros(3).uniform_(0.0, NAN)
    with pytest.raises(ValueError, match=r"uniform_: 6e\+38 does not fit float32"):
        rt.zeros(3).uniform_(-3e38, 3e38)


@pytest.mark.parametrize(
    "arguments",
    [
        (0.1, -7.9, -4.0),
        (0.5, 5.2, 1.5),
        (-1.5, 3.7, 2),
        (5, 0.2, -1.2),
        (2.9, 3.1, 1),
        (3, 0, -2),
        (0, 1, 0.1),
    ],
)
def test_arange_counts_as_torch(arguments):
    for dtype in ("int64", "int32", "float32", "float64"):
        if dtype[0] == "i" and abs(arguments[2]) < 1:
            with pytest.raises(ValueError, match=r"drops the fraction of its step 0.1, which leaves 0$"):
                rt.arange(*arguments, dtype=dtype)
            continue
        ours, its = (m.arange(*arguments, dtype=getattr(m, dtype)) for m in (rt, torch))
        assert_close(ours, its, rtol=1e-15)


def test_parameters_of_operators_beyond_the_type():
    x = rt.tensor([2.0, 3.0])
    with pytest.raises(ValueError, match=r"norm: p 1e\+300 does not fit float32"):
        rt.norm(x, 1e300)  # inf to the power 0 would be 1
    assert rt.allclose(x, x + 1, rtol=1e300)
