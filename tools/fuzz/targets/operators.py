"""The operators of tensors, with odd shapes, dtypes, dimensions and indices, against NumPy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau import tensor as rt

from ..drawing import NONSENSE, Draw
from ..verdict import attempt, check_close, check_equal, check_like, tolerance_of
from .layers import compare, leaf

Array = NDArray[Any]


def _any_shape(draw: Draw, most: int = 4) -> tuple[int, ...]:
    return tuple(draw.size(6, empty=0.08) for _ in range(draw.random.randint(0, most)))


class Elementwise(NamedTuple):
    """An operator of one tensor."""

    ours: Callable[[Any], Any]
    right: Callable[[Array], Array]
    positive: bool = False
    """Whether it is for numbers above 0."""


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


ELEMENTWISE: dict[str, Elementwise] = {
    "neg": Elementwise(rt.neg, np.negative),
    "abs": Elementwise(rt.abs, np.abs),
    "exp": Elementwise(rt.exp, np.exp),
    "expm1": Elementwise(rt.expm1, np.expm1),
    "log": Elementwise(rt.log, np.log, True),
    "log2": Elementwise(rt.log2, np.log2, True),
    "log1p": Elementwise(rt.log1p, np.log1p, True),
    "sqrt": Elementwise(rt.sqrt, np.sqrt, True),
    "rsqrt": Elementwise(rt.rsqrt, lambda x: 1 / np.sqrt(x), True),
    "reciprocal": Elementwise(rt.reciprocal, lambda x: 1 / x, True),
    "square": Elementwise(rt.square, np.square),
    "sin": Elementwise(rt.sin, np.sin),
    "cos": Elementwise(rt.cos, np.cos),
    "tanh": Elementwise(rt.tanh, np.tanh),
    "sigmoid": Elementwise(rt.sigmoid, _sigmoid),
    "relu": Elementwise(rt.relu, lambda x: np.maximum(x, 0)),
    "leaky_relu": Elementwise(rt.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x)),
    "softplus": Elementwise(rt.softplus, lambda x: np.logaddexp(x, 0)),
    "clamp": Elementwise(lambda x: rt.clamp(x, -0.5, 0.7), lambda x: np.clip(x, -0.5, 0.7)),
}


def elementwise(draw: Draw) -> None:
    """Apply an operator of one tensor, element by element."""
    name = draw.note("operator", draw.choose(tuple(ELEMENTWISE)))
    operator, dtype = ELEMENTWISE[name], draw.dtype()
    x = draw.floats(_any_shape(draw), dtype)
    if operator.positive:
        x = draw.laid_out(np.abs(x) + np.asarray(0.1, dtype))
    elif draw.chance(0.05):
        x = draw.planted(np.asarray(x))
    tensor = leaf(draw, x)
    compare(
        draw,
        name,
        lambda: operator.ours(tensor),
        {"x": tensor},
        lambda at: operator.right(at["x"]),
        dtype,
        length=8,
    )


BINARY: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Array, Array], Array]]] = {
    "add": (rt.add, np.add),
    "sub": (rt.sub, np.subtract),
    "mul": (rt.mul, np.multiply),
    "div": (rt.div, np.divide),
    "maximum": (rt.maximum, np.maximum),
    "minimum": (rt.minimum, np.minimum),
    "where": (lambda a, b: rt.where(a > b, a, b * 2), lambda a, b: np.where(a > b, a, b * 2)),
}


def _broadcast_with(draw: Draw, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape that broadcasts with another."""
    kept = shape[draw.random.randint(0, len(shape)) :]
    return tuple(1 if draw.chance(0.3) else n for n in kept)


def binary(draw: Draw) -> None:
    """Apply an operator of two tensors, or a tensor and something else, that broadcast."""
    name = draw.note("operator", draw.choose(tuple(BINARY)))
    ours, right = BINARY[name]
    dtype, shape = draw.dtype(), _any_shape(draw)
    a = leaf(draw, draw.floats(shape, dtype))
    values = draw.floats(_broadcast_with(draw, shape), dtype)
    if name == "div":
        values = np.abs(values) + np.asarray(0.2, dtype)
    b = leaf(draw, values)
    given = [a, b]
    if draw.spoil("shapes that do not broadcast, or what is no number", 0.12):
        other = rt.Tensor(np.ones((*(n + 2 for n in shape), 7), dtype))
        given[1] = draw.choose([other if shape and 1 not in shape else "one", *NONSENSE])
        if not shape or isinstance(given[1], complex):
            given[1] = "one"
    elif draw.chance(0.1):
        given.reverse()
    draw.note("operands", given)
    first, second = ("a", "b") if given[0] is a else ("b", "a")
    if name == "div" and first == "b":
        a.data = np.asarray(np.abs(a.detach().numpy()) + np.asarray(0.2, dtype))
    compare(
        draw,
        name,
        lambda: ours(*given),
        {"a": a, "b": b},
        lambda at: right(at[first], at[second]),
        dtype,
        length=2,
    )


class Reduction(NamedTuple):
    """An operator over dimensions."""

    ours: Any
    right: Callable[..., Any]
    one_dimension: bool = False
    keeps: bool = True
    """Whether it takes keepdim."""
    empty: bool = True
    """Whether it has a value over no elements."""


def _softmax(x: Array, axis: Any) -> Array:
    e = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
    total: Array = e / e.sum(axis=axis, keepdims=True)
    return total


def _logsumexp(x: Array, axis: Any, keepdims: bool) -> Array:
    total: Array = np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))
    return total


REDUCTIONS: dict[str, Reduction] = {
    "sum": Reduction(rt.sum, np.sum),
    "mean": Reduction(rt.mean, np.mean),
    "var": Reduction(
        lambda x, dim, keepdim: rt.var(x, dim, correction=0, keepdim=keepdim),
        lambda x, axis, keepdims: np.var(x, axis, keepdims=keepdims),
    ),
    "amax": Reduction(rt.amax, np.max, empty=False),
    "amin": Reduction(rt.amin, np.min, empty=False),
    "norm": Reduction(
        lambda x, dim, keepdim: rt.norm(x, 2, dim, keepdim),
        lambda x, axis, keepdims: np.sqrt((x * x).sum(axis, keepdims=keepdims)),
    ),
    "logsumexp": Reduction(rt.logsumexp, _logsumexp),
    "prod": Reduction(rt.prod, np.prod, one_dimension=True),
    "softmax": Reduction(rt.softmax, _softmax, one_dimension=True, keeps=False),
    "log_softmax": Reduction(rt.log_softmax, lambda x, axis: np.log(_softmax(x, axis)), True, False),
    "cumsum": Reduction(rt.cumsum, np.cumsum, one_dimension=True, keeps=False),
}


def reduction(draw: Draw) -> None:
    """Reduce over drawn dimensions, right or wrong."""
    name = draw.note("operator", draw.choose(tuple(REDUCTIONS)))
    operator, dtype = REDUCTIONS[name], draw.dtype()
    shape = tuple(draw.size(6, empty=0.05) for _ in range(draw.random.randint(1, 4)))
    x = leaf(draw, draw.floats(shape, dtype))
    dim: Any = draw.random.randint(-len(shape), len(shape) - 1)
    if not operator.one_dimension and draw.chance(0.3):
        dim = tuple(draw.random.sample(range(len(shape)), draw.random.randint(1, len(shape))))
    if draw.spoil(f"{name}: a dimension that is not there", 0.12):
        dim = draw.choose((len(shape), -len(shape) - 1, 10**6, "last", 1.5, [[0]]))
    options: dict[str, Any] = {"keepdim": draw.chance(0.4)} if operator.keeps else {}
    axes = dim if isinstance(dim, tuple) else (dim,)
    if (
        draw.wrong is None
        and any(shape[axis] == 0 for axis in axes)
        and name not in ("sum", "prod", "cumsum", "norm")
    ):
        draw.open = "over no elements"
    draw.note("x, dim, options", (x, dim, options))
    keyword = {"keepdims": options["keepdim"]} if operator.keeps else {}

    def right(at: dict[str, Array]) -> Array:
        return np.asarray(operator.right(at["x"], axis=dim, **keyword))

    if draw.open:
        attempt(draw, lambda: operator.ours(x, dim, **options), x)
        return
    compare(draw, name, lambda: operator.ours(x, dim, **options), {"x": x}, right, dtype, length=max(shape))


def shaping(draw: Draw) -> None:
    """Take a view, or join: the values must come out exactly."""
    shape = tuple(draw.size(6, empty=0.06) for _ in range(draw.random.randint(1, 4)))
    dtype: Any = draw.choose((np.float32, np.float64, np.int64, np.bool_, np.uint8))
    array = draw.laid_out(np.asarray(draw.normal(shape, np.float64) * 3).astype(dtype))
    x = rt.Tensor(array)
    name = draw.note("operator", draw.choose(tuple(SHAPING)))
    spoiled = draw.spoil(f"{name}: an argument that does not fit", 0.3)
    ours, right = SHAPING[name](draw, x, array, spoiled)
    draw.note("x", x)
    found = attempt(draw, ours, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = right()
    check_equal(name, found, wanted)


Calls = tuple[Callable[[], Any], Callable[[], Any]]


def _axis(draw: Draw, array: Array, spoiled: bool, extra: int = 0) -> Any:
    ndim = array.ndim + extra
    return draw.note(
        "dim",
        draw.choose((ndim, -ndim - 1, "last", 10**9, None, 0.5))
        if spoiled
        else draw.random.randint(-ndim, ndim - 1),
    )


def _reshape(draw: Draw, x: Any, array: Array, spoiled: bool) -> Calls:
    divisors = [n for n in range(1, max(array.size, 1) + 1) if array.size % n == 0]
    first = draw.choose(divisors)
    shape: Any = (first, array.size // first)
    if array.size and draw.chance(0.3):
        shape = (first, -1)
    if spoiled:
        shape = draw.choose(
            ((array.size + 1,), (-1, -1), (-2, array.size), "flat", (1.5, 2), (10**9, 10**9, 10**9))
        )
    draw.note("shape", shape)
    return lambda: rt.reshape(x, shape), lambda: array.reshape(shape)


def _permute(draw: Draw, x: Any, array: Array, spoiled: bool) -> Calls:
    order: Any = tuple(draw.random.sample(range(array.ndim), array.ndim))
    if spoiled:
        order = draw.choose(((*order, 0), (0,) * (array.ndim + 1), "order", (array.ndim, *order[1:])))
    draw.note("order", order)
    return lambda: rt.permute(x, order), lambda: np.transpose(array, order)


def _transpose(draw: Draw, x: Any, array: Array, spoiled: bool) -> Calls:
    a, b = _axis(draw, array, spoiled), _axis(draw, array, False)
    return lambda: rt.transpose(x, a, b), lambda: np.swapaxes(array, a, b)


def _unsqueeze(draw: Draw, x: Any, array: Array, spoiled: bool) -> Calls:
    at = _axis(draw, array, spoiled, extra=1)
    return lambda: rt.unsqueeze(x, at), lambda: np.expand_dims(array, at)


def _expand(draw: Draw, x: Any, array: Array, spoiled: bool) -> Calls:
    shape: Any = (draw.size(3), *(draw.size(4) if n == 1 else n for n in array.shape))
    if spoiled:
        shape = draw.choose(
            ((*array.shape, 3, 99), tuple(n + 2 for n in array.shape), "wide", array.shape[1:] or (0,) * 0)
        )
        if shape == () or (1 in array.shape and shape != "wide"):
            shape = "wide"
    draw.note("shape", shape)
    return lambda: rt.expand(x, shape), lambda: np.broadcast_to(array, shape)


def _flip(draw: Draw, x: Any, array: Array, spoiled: bool) -> Calls:
    dims = _axis(draw, array, spoiled)
    if dims is None:
        draw.wrong = None  # all of them, as for NumPy
    return lambda: rt.flip(x, dims), lambda: np.flip(array, dims)


def _repeat(draw: Draw, x: Any, array: Array, spoiled: bool) -> Calls:
    times: Any = tuple(draw.random.randint(0, 3) for _ in range(array.ndim + draw.random.randint(0, 1)))
    if spoiled:
        times = draw.choose(((-1, *times[1:]), "twice", times[: array.ndim - 1], (1.5,) * array.ndim))
        if times == ():
            times = "twice"
    draw.note("times", times)
    return lambda: rt.repeat(x, times), lambda: np.tile(array, times)


def _cat(draw: Draw, x: Any, array: Array, spoiled: bool) -> Calls:
    dim = _axis(draw, array, spoiled and draw.chance(0.4))
    others: list[Any] = [x, x]
    if spoiled and isinstance(dim, int) and -array.ndim <= dim < array.ndim:
        bad: list[Any] = [[], [x, rt.Tensor(array[None])], [x, *NONSENSE[:3]], 3, None]
        others = draw.choose(bad)
    return lambda: rt.cat(others, dim), lambda: np.concatenate([array, array], dim)


def _stack(draw: Draw, x: Any, array: Array, spoiled: bool) -> Calls:
    dim = _axis(draw, array, spoiled, extra=1)
    return lambda: rt.stack([x, x], dim), lambda: np.stack([array, array], dim)


def _split(draw: Draw, x: Any, array: Array, spoiled: bool) -> Calls:
    size: Any = draw.choose((0, -1, 1.5, "half", [1000], [-1, 1])) if spoiled else draw.random.randint(1, 4)
    dim = draw.note("size, dim", (size, draw.random.randrange(array.ndim)))[1]
    return lambda: rt.cat(rt.split(x, size, dim), dim), lambda: array


def _tril(draw: Draw, x: Any, array: Array, spoiled: bool) -> Calls:
    k: Any = draw.random.randint(-3, 3)
    if array.ndim < 2:
        draw.wrong, draw.open = None, "no matrix"
    elif spoiled:
        k = draw.choose(("low", None, 1.5))
    return lambda: rt.tril(x, k), lambda: np.tril(array, k)


def _squeeze(draw: Draw, x: Any, array: Array, spoiled: bool) -> Calls:
    dim = _axis(draw, array, spoiled)
    if dim is None:
        draw.wrong = None
        return lambda: rt.squeeze(x), lambda: np.squeeze(array)
    return lambda: rt.squeeze(x, dim), lambda: array if array.shape[dim] != 1 else np.squeeze(array, dim)


SHAPING: dict[str, Callable[[Draw, Any, Array, bool], Calls]] = {
    "reshape": _reshape,
    "permute": _permute,
    "transpose": _transpose,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "expand": _expand,
    "flip": _flip,
    "repeat": _repeat,
    "cat": _cat,
    "stack": _stack,
    "split": _split,
    "tril": _tril,
}


def matrices(draw: Draw) -> None:
    """`matmul` of vectors, matrices and batches, and `einsum`."""
    dtype = draw.dtype()
    M, K, N = (draw.size(33, empty=0.05) for _ in range(3))
    batch = tuple(draw.size(4, empty=0.05) for _ in range(draw.random.randint(0, 2)))
    left: tuple[int, ...] = draw.choose(((K,), (M, K), (*batch, M, K)))
    right: tuple[int, ...] = draw.choose(((K,), (K, N), (*_broadcast_with(draw, batch), K, N)))
    a, b = leaf(draw, draw.floats(left, dtype)), leaf(draw, draw.floats(right, dtype))
    given: list[Any] = [a, b]
    if draw.spoil("operands that do not fit", 0.15):
        other = np.float32 if dtype == np.float64 else np.float64
        bad = [
            rt.Tensor(np.ones((K + 1, 2), dtype)),
            rt.Tensor(np.ones((K, 2), other)),
            rt.Tensor(dtype.type(1)),
        ]
        given[1] = draw.choose([*bad, *(value for value in NONSENSE if not isinstance(value, complex))])
    draw.note("operands", given)
    compare(
        draw,
        "matmul",
        lambda: rt.matmul(*given),
        {"a": a, "b": b},
        lambda at: np.matmul(at["a"], at["b"]),
        dtype,
        length=K,
    )


EQUATIONS = (
    "ij,jk->ik",
    "ij,ij->",
    "bij,bjk->bik",
    "ij->ji",
    "ii->i",
    "ij,j",
    "...i,i->...",
    "i,j->ij",
    "ij,kj,kl->il",
)
WRONG_EQUATIONS = (
    "ij,jk",
    "i->",
    "ij,jk->iz",
    "ij,jk->ii",
    "i.j,jk->ik",
    "",
    "->",
    "1,2->",
    "ijklmn,j->i",
    "ij;jk",
    ",,",
)


def einsum(draw: Draw) -> None:
    """Equations that fit their operands, and some that do not."""
    equation: Any = draw.choose(EQUATIONS)
    dtype, sizes = draw.dtype(), {label: draw.size(6, empty=0.04) for label in "bijkl"}
    terms = equation.partition("->")[0].replace("...", "bk").split(",")
    arrays = [draw.floats(tuple(sizes[c] for c in term), dtype) for term in terms]
    leaves = {f"operand {k}": leaf(draw, array) for k, array in enumerate(arrays)}
    given = equation
    operands: list[Any] = list(leaves.values())
    if draw.spoil("an equation or operands that do not fit", 0.2):
        if draw.chance(0.6):
            given = draw.choose(
                [*(e for e in WRONG_EQUATIONS if e.count(",") != equation.count(",")), None, 3]
            )
        else:
            operands[-1] = rt.Tensor(np.ones((2, 3, 4, 5, 6), dtype))
    draw.note("equation, operands", (given, operands))

    def right(at: dict[str, Array]) -> Array:
        return np.asarray(np.einsum(equation, *(at[name] for name in leaves)))

    compare(draw, f"einsum {equation}", lambda: rt.einsum(given, *operands), leaves, right, dtype, length=36)


def indexing(draw: Draw) -> None:
    """Read and add by indices along a dimension, some of them out of range."""
    name = draw.note("operator", draw.choose(("index_select", "gather", "scatter_add", "index_add")))
    dtype = draw.dtype()
    shape = tuple(draw.size(7, empty=0.03) for _ in range(draw.random.randint(1, 3)))
    axis = draw.random.randrange(len(shape))
    dim: Any = draw.choose((axis, axis - len(shape)))
    count = draw.size(9, empty=0.05) if shape[axis] else 0
    one = name in ("index_select", "index_add")
    index_shape = (count,) if one else (*shape[:axis], count, *shape[axis + 1 :])
    if 0 in shape and not one:
        index_shape = tuple(0 if n == 0 else m for n, m in zip(shape, index_shape, strict=True))
    index = draw.integers(index_shape, shape[axis], draw.choose((np.int64, np.int64, np.int32, np.uint8)))
    x = leaf(draw, draw.floats(shape, dtype))
    added = leaf(
        draw, draw.floats((*shape[:axis], index_shape[0 if one else axis], *shape[axis + 1 :]), dtype)
    )
    arguments: list[Any] = [x, dim, draw.choose((rt.Tensor(index), index))]
    leaves = {"x": x}
    if name in ("scatter_add", "index_add"):
        arguments.append(added)
        leaves["added"] = added
    if draw.spoil("a wrong index, dimension or source", 0.3):
        _spoil_indexing(draw, arguments, index, shape, axis)
    draw.note("arguments", arguments)

    def right(at: dict[str, Array]) -> Array:
        values = at["x"]
        if name == "index_select":
            return np.take(values, index, axis)
        places: list[Any] = list(np.indices(index.shape)) if not one else []
        if name == "gather":
            places[axis] = index
            return np.asarray(values[tuple(places)])
        total = values.copy()
        if one:
            where: Any = (*(slice(None),) * axis, np.asarray(index))
            np.add.at(total, where, at["added"])
        else:
            places[axis] = index
            np.add.at(total, tuple(places), at["added"])
        return total

    compare(
        draw, name, lambda: getattr(rt, name)(*arguments), leaves, right, dtype, length=16, watched=(index,)
    )


def _spoil_indexing(
    draw: Draw, arguments: list[Any], index: Array, shape: tuple[int, ...], axis: int
) -> None:
    """Make one argument wrong."""
    wrong = np.array(index, np.int64)
    bad: list[tuple[int, Any]] = [(1, len(shape)), (1, -len(shape) - 1), (1, "last"), (1, None)]
    bad += [(2, index + 0.5), (2, "here"), (2, None), (2, index[None, None, None]), (2, object())]
    if index.size:
        wrong.flat[draw.random.randrange(index.size)] = draw.choose((-1, shape[axis], 2**40, -(2**63)))
        bad += [(2, wrong), (2, rt.Tensor(wrong)), (2, wrong), (2, wrong)]
    if len(arguments) == 4:
        source = arguments[3].detach().numpy()
        bad += [(3, rt.Tensor(source[None])), (3, "source"), (3, None)]
    k, value = draw.choose(bad)
    arguments[k] = value


def reading(draw: Draw) -> None:
    """``x[...]`` with slices, integers, arrays, masks, None and Ellipsis, and its gradient."""
    dtype = draw.dtype()
    shape = tuple(draw.size(6) for _ in range(draw.random.randint(1, 4)))
    x = leaf(draw, draw.floats(shape, dtype))
    parts: list[Any] = []
    arrays = 0
    for n in shape[: draw.random.randint(0, len(shape))]:
        kind = draw.choose(("slice", "slice", "integer", "array"))
        if kind == "array" and arrays == 0:  # several would broadcast; PyTorch and NumPy place one alike
            arrays += 1
            parts.append(draw.numbers.integers(-n, n, draw.size(5)))
        elif kind == "integer" and arrays == 0:
            parts.append(draw.random.randint(-n, n - 1))
        else:
            bounds: list[Any] = [draw.choose((None, draw.random.randint(-n - 2, n + 2))) for _ in range(2)]
            parts.append(slice(bounds[0], bounds[1], draw.choose((None, 1, 2))))
    mixed = arrays and any(isinstance(part, int) for part in parts)
    if draw.chance(0.2) and not arrays:
        if draw.chance(0.5):
            parts.append(Ellipsis)
        else:
            parts.insert(draw.random.randint(0, len(parts)), None)
    given: Any = tuple(parts)
    if draw.spoil("an index that is none", 0.2):
        n = shape[0]
        bad: tuple[Any, ...] = (
            n,
            -n - 1,
            (0,) * (len(shape) + 1),
            1.5,
            "first",
            np.array([0, n]),
            np.array([0.5]),
            {},
            object(),
        )
        given = draw.choose((*bad, np.ones(n + 1, bool), np.array([2**40]), rt.Tensor(np.array([-n - 1]))))
    elif draw.chance(0.1):
        given, mixed = np.asarray(x.detach().numpy() > 0), False
    draw.note("x, index", (x, given))

    def right(at: dict[str, Array]) -> Array:
        values = at["x"]
        if mixed:  # PyTorch's places: integers first, then the array
            values = values[
                tuple(
                    part if isinstance(part, (int, slice)) or part is None else slice(None) for part in given
                )
            ]
            rest = tuple(
                slice(None) if not isinstance(p, np.ndarray) else p for p in given if not isinstance(p, int)
            )
            return values[rest]
        result: Array = np.asarray(values[given])
        return result

    compare(draw, "reading", lambda: x[given], {"x": x}, right, dtype)


def ordering(draw: Draw) -> None:
    """Sort, argsort, topk, argmax and max along a dimension."""
    shape = tuple(draw.size(8) for _ in range(draw.random.randint(1, 3)))
    dtype: Any = draw.choose((np.float32, np.float64, np.int64))
    array = draw.laid_out(np.asarray(draw.normal(shape, np.float64) * 4).astype(dtype))
    x = rt.Tensor(array)
    dim: Any = draw.random.randrange(len(shape))
    k: Any = draw.random.randint(0, shape[dim])
    axis = dim
    name = draw.note("operator", draw.choose(("sort", "topk", "argmax", "max")))
    if draw.spoil("a dimension or k that is not there", 0.25):
        if name == "topk" and draw.chance(0.5):
            k = draw.choose((shape[dim] + 1, -1, "few", 1.5, None))
        else:
            dim = draw.choose((len(shape), -len(shape) - 1, "last", 0.5))
    draw.note("x, dim, k", (x, dim, k))
    descending = np.flip(np.sort(array, axis=axis), axis)
    if name == "sort":
        check_equal("sort", attempt(draw, lambda: rt.sort(x, dim, True), x).values, descending)
    elif name == "topk":
        found = attempt(draw, lambda: rt.topk(x, k, dim), x).values
        check_equal("topk", found, np.take(descending, range(k), axis))
    elif name == "argmax":
        check_equal("argmax", attempt(draw, lambda: rt.argmax(x, dim), x), np.argmax(array, axis))
    else:
        check_equal("max", attempt(draw, lambda: rt.max(x, dim), x).values, np.max(array, axis))


def creation(draw: Draw) -> None:
    """Tensors of arrays, lists and nonsense; shapes, dtypes and devices that exist or do not."""
    shape: Any = tuple(draw.size(5, empty=0.1) for _ in range(draw.random.randint(0, 3)))
    dtype: Any = draw.choose((None, np.float32, "float64", "int64", bool))
    device: Any = draw.choose((None, "cpu"))
    values: Any = draw.normal(shape, np.float64)
    if draw.spoil("a shape, dtype, device or value that is none", 0.5):
        k = draw.random.randrange(4)
        shape = draw.choose(((-1, 2), (1.5,), "wide", (2, "3"), None)) if k == 0 else shape
        dtype = draw.choose(("no such", "complex64", "U3", object, "datetime64[s]")) if k == 1 else dtype
        device = draw.choose(("tpu", 3, "cuda:7", "CPU")) if k == 2 else device
        values = draw.choose(NONSENSE) if k == 3 else values
        if k in (0, 3):
            made: Any = (
                draw.choose((rt.zeros, rt.empty, rt.randn))
                if k == 0
                else draw.choose((rt.tensor, rt.Tensor, rt.as_tensor))
            )
            value = shape if k == 0 else values
            draw.note("made of", (made.__name__, value))
            attempt(draw, lambda: made(value))
            return
    draw.note("values, dtype, device", (values, dtype, device))
    found = attempt(draw, lambda: rt.Tensor(values, dtype=dtype, device=device), values)
    check_equal("tensor", found, values.astype(dtype or values.dtype))
    filled = attempt(draw, lambda: rt.full(shape, 3, dtype=dtype or "float32", device=device))
    check_like("full", filled, shape, np.dtype(dtype or "float32"))


def in_place(draw: Draw) -> None:
    """Change a tensor or a part of it in place, and `scatter.add_rows`."""
    from rondeau.kernels.ops.scatter import add_rows

    dtype = draw.dtype()
    number, width, count = draw.size(9), draw.size(9, empty=0.05), draw.size(9, empty=0.05)
    table = draw.floats((number, width), dtype)
    rows = draw.floats((count, width), dtype)
    ids = draw.integers((count,), number)
    if not (table.flags.c_contiguous and table.flags.writeable):
        draw.wrong = "a table with gaps, or read-only"
    given: list[Any] = [rows, ids, table]
    if draw.spoil("arguments that do not fit", 0.3):
        wrong = ids.copy()
        bad: list[tuple[int, Any]] = [
            (0, rows[None]),
            (0, rows.astype(np.float16)),
            (1, ids + 0.5),
            (1, ids[None]),
        ]
        bad += [(1, ids.astype(np.int32)), (2, table[0]), (2, table.astype(np.int64)), (0, "rows"), (2, None)]
        if count:
            wrong[draw.random.randrange(count)] = draw.choose((-1, number, 2**40, -(2**63)))
            bad += [(1, wrong)] * 4
        k, value = draw.choose(bad)
        given[k] = value
    draw.note("rows, ids, table", given)
    wanted = table.astype(np.float64)
    np.add.at(wanted, ids, rows.astype(np.float64))
    attempt(draw, lambda: add_rows(*given), rows, ids)
    check_close("add_rows", table, wanted, dtype, tolerance=tolerance_of(dtype, count))
