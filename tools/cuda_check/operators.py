"""Every operator of tensors, with its gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import tensor as rt

from .cases import Case, gradients, send

__all__ = ["CASES", "WITHOUT_A_CASE"]

Array = NDArray[Any]

WITHOUT_A_CASE = frozenset({
    # Types, errors, modes and settings, the host's numbers and files, and what draws a graph.
    "ArgumentTypeError", "ArgumentValueError", "BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor", "FloatTensor",
    "Function", "Generator", "GradcheckError", "HalfTensor", "IntTensor", "LongTensor", "Node", "PerformanceWarning",
    "RemovableHandle", "ShortTensor", "Tensor", "autograd", "backward", "bool", "cuda", "default_generator", "device",
    "double", "draw_graph", "enable_grad", "float", "float16", "float32", "float32_matmul_precision", "float64",
    "from_numpy", "get_default_device", "get_default_dtype", "get_float32_matmul_precision", "get_num_threads", "grad",
    "gradcheck", "gradgradcheck", "half", "increment_version", "inference_mode", "int", "int8", "int16", "int32",
    "int64", "is_grad_enabled", "is_inference_mode_enabled", "load", "long", "no_grad", "plot_graph", "save",
    "set_default_device",
    "set_default_dtype", "set_float32_matmul_precision", "set_grad_enabled", "set_num_threads", "short", "uint8",
    # Drawn in `numbers`.
    "bernoulli", "manual_seed", "multinomial", "normal", "rand", "rand_like", "randint", "randn", "randn_like",
    "randperm",
    # Memory that nobody has written.
    "empty", "empty_like",
})  # fmt: skip
"""The public names of `rondeau.tensor` that have no case, each for its reason."""

CASES: list[Case] = []


def _case(name: str, function: Callable[..., Any], *arrays: Array, looser: float = 1.0) -> None:
    def run(device: str) -> Any:
        tensors = [send(array, device) for array in arrays]
        return gradients(function(*tensors), [(f"of {i}", tensor) for i, tensor in enumerate(tensors)])

    CASES.append(Case(name, run, looser))


def _numbers(*shape: int, low: float = -2.0, high: float = 2.0, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype(np.float32)


X, Y, SQUARE = _numbers(5, 7), _numbers(5, 7, seed=1), _numbers(6, 6)
POSITIVE = _numbers(5, 7, low=0.2, high=3.0)
EDGES = np.array([0.0, -0.0, 1e-30, -1e30, np.inf, -np.inf, np.nan, 88.0, -104.0], np.float32)
ROWS = np.array([[0, 2, 2], [4, 0, 2]])
IDS = np.random.default_rng(2).integers(0, 5, (5, 3))
MASK = X > 0.3
WHOLE = np.arange(-10, 11)

for _name in (
    "abs", "ceil", "cos", "erf", "exp", "expm1", "floor", "gelu", "leaky_relu", "neg", "positive", "reciprocal", "relu",
    "round", "sigmoid", "sign", "sin", "softplus", "square", "tanh",
):  # fmt: skip
    _case(_name, getattr(rt, _name), X)
for _name in ("log", "log1p", "log2", "rsqrt", "sqrt"):
    _case(_name, getattr(rt, _name), POSITIVE)
for _name in ("exp", "expm1", "log1p", "relu", "sigmoid", "sign", "softplus", "tanh"):
    _case(f"{_name} at the edges", getattr(rt, _name), EDGES)
for _name in ("add", "sub", "mul", "div", "maximum", "minimum", "remainder", "floor_divide"):
    _case(_name, getattr(rt, _name), X, POSITIVE)
    _case(f"{_name}, broadcast", getattr(rt, _name), X, POSITIVE[:, :1])
for _name in ("eq", "ge", "gt", "le", "lt", "ne", "greater", "greater_equal", "less", "less_equal"):
    _case(_name, getattr(rt, _name), X.round(), Y.round())
for _name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    _case(_name, getattr(rt, _name), WHOLE, WHOLE[::-1].copy())
for _name in ("logical_and", "logical_or"):
    _case(_name, getattr(rt, _name), MASK, ~MASK[:, ::-1])
for _name in ("isfinite", "isinf", "isnan"):
    _case(_name, getattr(rt, _name), EDGES)
_case("bitwise_not", rt.bitwise_not, WHOLE)
_case("logical_not", rt.logical_not, MASK)
_case("pow", rt.pow, POSITIVE, Y)
_case("pow of a number", lambda x: (x**2, x**0.5, x**-1.5, 2**x), POSITIVE)
_case("clamp", lambda x: (rt.clamp(x, -0.5, 0.7), rt.clamp(x, max=1.0)), X)
_case("where", lambda x, y: rt.where(x > y, x, 2 * y), X, Y)
_case("numbers beside", lambda x: (2 * x, 1 - x, x / 3, x + np.float32(0.5), 1 / (x + 3)), X)


def _of_dimensions(function: Callable[..., Any], *dims: int | None) -> Callable[[rt.Tensor], Any]:
    """Return a function that calls another for each of some dimensions, and for all of them if there is None."""
    return lambda x: [function(x) if dim is None else function(x, dim=dim) for dim in dims]


for _name in ("amax", "amin", "logsumexp", "mean", "prod", "std", "sum", "var"):
    _case(_name, _of_dimensions(getattr(rt, _name), 0, 1), X)
    _case(f"{_name}, kept", partial(getattr(rt, _name), dim=-1, keepdim=True), X)
for _name in ("argmax", "argmin", "max", "min"):
    _case(_name, _of_dimensions(getattr(rt, _name), None, 1), X)
for _name in ("all", "any"):
    _case(_name, _of_dimensions(getattr(rt, _name), None, 0), MASK)
for _name in ("log_softmax", "softmax"):
    _case(_name, _of_dimensions(getattr(rt, _name), -1, 0), X)
_case("sum of all", lambda x: (x.sum(), x.mean(), x.std(), (x > 0).sum()), X)
_case("norm", lambda x: (rt.norm(x), rt.norm(x, dim=1), rt.norm(x, p=1, dim=0)), X)
_case("cumsum", lambda x: (rt.cumsum(x, dim=0), rt.cumsum(x, dim=1)), X)
_case("sort", lambda x: tuple(rt.sort(x, dim=1)), X)
_case("argsort", lambda x: rt.argsort(x, dim=0), X)
_case("topk", lambda x: tuple(rt.topk(x, 3)), X)
_case("allclose equal", lambda x, y: (rt.allclose(x, y), rt.equal(x, x.clone())), X, Y)

for _name in ("matmul", "mm"):
    _case(_name, getattr(rt, _name), SQUARE, SQUARE.T.copy())
_case("matmul of many", rt.matmul, _numbers(3, 4, 5), _numbers(3, 5, 2))
_case("matmul of a large one", rt.matmul, _numbers(130, 260), _numbers(260, 70), looser=20)
_case("bmm", rt.bmm, _numbers(3, 4, 5), _numbers(3, 5, 2))
_case("mv", rt.mv, SQUARE, SQUARE[0].copy())
_case("dot", rt.dot, SQUARE[0].copy(), SQUARE[1].copy())
_case("outer", rt.outer, SQUARE[0].copy(), X[0].copy())
_case("einsum", lambda a, b: rt.einsum("bij,bjk->bik", a, b), _numbers(3, 4, 5), _numbers(3, 5, 2))
_WELL = SQUARE @ SQUARE.T + 6 * np.eye(6, dtype=np.float32)
_case(
    "linalg",
    lambda a, b: (rt.linalg.inv(a), rt.linalg.solve(a, b), rt.linalg.matrix_exp(a * 0.1)),
    _WELL,
    SQUARE,
    looser=20,
)

_case(
    "reshape flatten unflatten",
    lambda x: (x.reshape(7, 5), rt.flatten(x), rt.unflatten(x, 1, (7, 1)), rt.reshape(x, -1)),
    X,
)
_case(
    "transpose permute movedim t",
    lambda x: (rt.transpose(x, 0, 1), rt.permute(x, 1, 0), rt.movedim(x, 0, 1), rt.t(x)),
    X,
)
_case("squeeze unsqueeze", lambda x: (rt.unsqueeze(x, 1), rt.squeeze(x[:, None])), X)
_case(
    "expand broadcast_to repeat",
    lambda x: (rt.expand(x[:1], 4, 7), rt.broadcast_to(x[0], (2, 7)), rt.repeat(x, 2, 1)),
    X,
)
_case("flip", lambda x: rt.flip(x, 0), X)
_case("cat concat stack", lambda x, y: (rt.cat([x, y]), rt.concat([x, y], 1), rt.stack([x, y])), X, Y)
_case("split chunk unbind", lambda x: (*rt.split(x, 2), *rt.chunk(x, 3), *rt.unbind(x)), X)
_case("tril triu", lambda x: (rt.tril(x), rt.triu(x, 1)), SQUARE)
_case("clone", lambda x: rt.clone(x) * 2, X)

_case("index", lambda x: (x[1], x[1:4, ::2], x[..., -1], x[:, None]), X)
_case("index of rows that repeat", lambda x, rows: x[rows] ** 2, X, ROWS)
_case("index of a mask", lambda x, mask: x[mask], X, MASK)
_case("index_select", lambda x: rt.index_select(x, 0, rt.tensor([3, 3, 1], device=x.device)), X)
_case("index_add", lambda x, y, rows: rt.index_add(x, 0, rows.reshape(-1)[:5], y), X, Y, ROWS)
_case("gather", lambda x, ids: rt.gather(x, 1, ids), X, IDS)
_case("scatter_add", lambda x, ids, y: rt.scatter_add(x, 1, ids, y), X, IDS, _numbers(5, 3))
_case("masked_fill", lambda x, mask: rt.masked_fill(x, mask, 0.5), X, MASK)
_case("masked_select", rt.masked_select, X, MASK)
_case("nonzero", rt.nonzero, MASK)


def _assigned(x: rt.Tensor, y: rt.Tensor, rows: rt.Tensor) -> rt.Tensor:
    z = x.clone()
    z[1:3] = y[1:3] * 2
    z[rows[0, :1]] = 0.25
    z[:, -1] += 1.0
    return z.mul_(2).add_(y).clamp_(-3, 3)


_case("assignments", _assigned, X, Y, ROWS)


def _created(device: str) -> Any:
    like = rt.tensor(X, device=device)
    return (
        rt.arange(7, device=device), rt.linspace(0, 1, 5, device=device), rt.eye(3, device=device),
        rt.full((2, 2), 0.5, device=device), rt.zeros(2, 3, device=device), rt.ones(2, device=device),
        rt.zeros_like(like), rt.ones_like(like), rt.full_like(like, 2.0), rt.tensor([1, 2], device=device),
        rt.as_tensor(X).to(device),
    )  # fmt: skip


CASES.append(
    Case("arange linspace eye full zeros ones zeros_like ones_like full_like tensor as_tensor", _created)
)
