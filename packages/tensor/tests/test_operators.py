"""Every operator against PyTorch: shape, dtype, values and every gradient; and its derivatives by differences."""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from comparing import assert_close
from rondeau import tensor as rt

torch = pytest.importorskip("torch")

TOLERANCE = {"float32": {"rtol": 2e-5, "atol": 2e-6}, "float64": {"rtol": 1e-10, "atol": 1e-12}}


@dataclass
class Case:
    """A call of one operator: ``function(module, *tensors)`` over rt or torch."""

    name: str
    function: Any
    shapes: tuple[tuple[int, ...], ...]
    low: float = -2.0
    high: float = 2.0
    away: tuple[float, ...] = ()  # kinks that inputs keep away from, so that differences and ties are defined
    twice: bool = True  # whether second derivatives are compared with differences
    fixed: dict[int, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}-" + "-".join("x".join(map(str, s)) or "scalar" for s in self.shapes)

    def arrays(self, dtype: str) -> list[np.ndarray]:
        random = np.random.default_rng(zlib.crc32(str(self).encode()))
        arrays = []
        for i, shape in enumerate(self.shapes):
            if i in self.fixed:
                arrays.append(np.array(self.fixed[i], dtype))
                continue
            a = random.uniform(self.low, self.high, shape)
            for kink in self.away:
                a = np.where(np.abs(a - kink) < 0.05, a + 0.1, a)
            arrays.append(a.astype(dtype))
        return arrays


BROADCAST = [
    ((3, 4), (3, 4)),
    ((3, 4), (4,)),
    ((3, 1), (1, 4)),
    ((), (2, 3)),
    ((2, 3), ()),
    ((), ()),
    ((0, 3), (3,)),
    ((2, 3, 4), (3, 1)),
]
SHAPES = [(3, 4), (), (0, 3), (5,), (2, 3, 2)]
IDS = np.array([[2, 0, 2], [1, 1, 0]])
MASK = np.array([[True, False, True], [False, False, True], [True, True, False], [False, True, True]])

CASES: list[Case] = []


def case(name, function, *shapes, **options):
    CASES.append(Case(name, function, shapes, **options))


def over(shapes, name, function, **options):
    for shape in shapes:
        CASES.append(
            Case(name, function, shape if shape and isinstance(shape[0], tuple) else (shape,), **options)
        )


def pairs(name, function, **options):
    for shapes in BROADCAST:
        CASES.append(Case(name, function, shapes, **options))


def i64(m, array):
    """An index for rt or torch."""
    return m.tensor(np.asarray(array))


pairs("add", lambda m, a, b: a + b)
pairs("sub", lambda m, a, b: a - b)
pairs("mul", lambda m, a, b: a * b)
pairs("div", lambda m, a, b: a / b, low=0.5)
pairs("pow", lambda m, a, b: a**b, low=0.5)
pairs("maximum", lambda m, a, b: m.maximum(a, b))
pairs("minimum", lambda m, a, b: m.minimum(a, b))
pairs("remainder", lambda m, a, b: a % b, low=0.7, twice=False)
case(
    "maximum-ties",
    lambda m, a, b: m.maximum(a, b),
    (4,),
    (4,),
    fixed={0: [1, 2, 3, 0], 1: [1, 3, 2, 0]},
    twice=False,
)
case(
    "minimum-ties",
    lambda m, a, b: m.minimum(a, b),
    (4,),
    (4,),
    fixed={0: [1, 2, 3, 0], 1: [1, 3, 2, 0]},
    twice=False,
)

over(SHAPES, "number-left", lambda m, x: (2 * x, 1 - x, 10 / x, 2**x, 3 + x), low=0.5)
over(
    SHAPES,
    "number-right",
    lambda m, x: (x * 2, x - 1, x / 4, x + 0.5, x**2, x**0.5, x**3, x**-1.5, x**0, x**1),
    low=0.5,
)
case("pow-at-zero", lambda m, x: (x**2, x**3, x**0, x**1), (3,), fixed={0: [0.0, -1.0, 2.0]})
case(
    "pow-tensor-at-zero",
    lambda m, a, b: a**b,
    (4,),
    (4,),
    fixed={0: [0, 0, 2, 3], 1: [2, 1, 0, 2]},
    twice=False,
)
case("number-to-power", lambda m, x: 0**x, (3,), fixed={0: [1.0, 2.0, 0.5]}, twice=False)

for name in ["exp", "expm1", "tanh", "sigmoid", "sin", "cos", "erf", "relu", "abs", "neg", "square"]:
    over(SHAPES, name, lambda m, x, name=name: getattr(m, name)(x), away=(0.0,))
    over([(2, 3)], name + "-method", lambda m, x, name=name: getattr(x, name)(), away=(0.0,))
for name in ["log", "log2", "log1p", "sqrt", "rsqrt", "reciprocal"]:
    over(SHAPES, name, lambda m, x, name=name: getattr(m, name)(x), low=0.3)
for name in ["sign", "floor", "ceil", "round"]:
    over(
        SHAPES, name, lambda m, x, name=name: getattr(m, name)(x), away=(0.0, 1.0, -1.0, 0.5, -0.5, 1.5, -1.5)
    )
for name in ["relu", "abs", "sign", "sqrt", "tanh", "sigmoid"]:
    case(
        name + "-at-zero",
        lambda m, x, name=name: getattr(m, name)(x),
        (3,),
        fixed={0: [0.0, 1.0, 4.0]},
        twice=False,
    )


def nn(m):
    return m if m is rt else torch.nn.functional


over(SHAPES, "leaky_relu", lambda m, x: (nn(m).leaky_relu(x), nn(m).leaky_relu(x, 0.3)), away=(0.0,))
case(
    "leaky_relu-at-zero",
    lambda m, x: nn(m).leaky_relu(x, 0.3),
    (3,),
    fixed={0: [0.0, 1.0, -1.0]},
    twice=False,
)
over(SHAPES, "gelu", lambda m, x: (nn(m).gelu(x), nn(m).gelu(x, approximate="tanh")))
case("gelu-far", lambda m, x: nn(m).gelu(x), (50,), low=-12, high=12)
case("erf-far", lambda m, x: m.erf(x), (50,), low=-8, high=8)
over(
    SHAPES,
    "softplus",
    lambda m, x: (nn(m).softplus(x), nn(m).softplus(x, 3.0), nn(m).softplus(x, 1.0, 1.0)),
    away=(1.0,),
)
case(
    "softplus-far", lambda m, x: nn(m).softplus(x), (4,), fixed={0: [-100.0, 19.0, 21.0, 1000.0]}, twice=False
)
over(
    SHAPES,
    "clamp",
    lambda m, x: (m.clamp(x, -1, 1), x.clamp(min=0.5), x.clamp(max=0.5), m.clamp(x, 1, -1)),
    away=(-1.0, 1.0, 0.5),
)
case("clamp-at-limits", lambda m, x: m.clamp(x, -1, 1), (3,), fixed={0: [-1.0, 1.0, 0.0]}, twice=False)
case("clamp-tensors", lambda m, x, a, b: m.clamp(x, a, b), (4, 3), (3,), (4, 1), away=(0.0,), twice=False)
pairs("where", lambda m, a, b: m.where(a > 0, a, b), away=(0.0,))
case("where-numbers", lambda m, x: (m.where(x > 0, x, 0.0), m.where(x > 0, 1.0, x)), (3, 4), away=(0.0,))
case("masked_fill", lambda m, x: x.masked_fill(i64(m, MASK), 7.0), (4, 3))
case("masked_fill-inf", lambda m, x: m.softmax(x.masked_fill(i64(m, MASK), float("-inf")), 1), (4, 3))

REDUCTIONS = [
    lambda f: lambda m, x: f(m, x),
    lambda f: lambda m, x: f(m, x, 0),
    lambda f: lambda m, x: f(m, x, -1, keepdim=True),
    lambda f: lambda m, x: f(m, x, (0, 2)),
    lambda f: lambda m, x: f(m, x, (2, 1), keepdim=True),
]
for name in ["sum", "mean", "var", "std", "amax", "amin", "logsumexp"]:
    for i, make in enumerate(REDUCTIONS):
        if name == "logsumexp" and i == 0:
            continue
        case(f"{name}-{i}", make(lambda m, *args, name=name, **kw: getattr(m, name)(*args, **kw)), (3, 4, 2))
for name in ["sum", "mean", "var", "amax", "prod"]:
    if name != "var":
        case(f"{name}-scalar", lambda m, x, name=name: getattr(m, name)(x), ())
case("sum-empty", lambda m, x: (m.sum(x), m.sum(x, 0), m.sum(x, 1)), (0, 3))
case("mean-empty", lambda m, x: m.mean(x, 1), (0, 3))
case(
    "var-biased",
    lambda m, x: (m.var(x, 1, unbiased=False), m.var(x, correction=2), m.std(x, 0, correction=0)),
    (3, 4),
)
case(
    "amax-ties",
    lambda m, x: (m.amax(x), m.amax(x, 1), m.max(x)),
    (2, 3),
    fixed={0: [[1, 5, 5], [5, 2, 2]]},
    twice=False,
)
case(
    "amin-ties",
    lambda m, x: (m.amin(x), m.amin(x, 0), m.min(x)),
    (2, 3),
    fixed={0: [[1, 5, 1], [1, 2, 2]]},
    twice=False,
)
for name in ("max", "min"):
    for dim, keepdim in itertools.product((0, 1, -1), (False, True)):
        case(
            f"{name}-{dim}-{keepdim}",
            lambda m, x, n=name, d=dim, k=keepdim: getattr(m, n)(x, d, keepdim=k),
            (3, 4),
        )
    case(f"{name}-scalar", lambda m, x, n=name: getattr(m, n)(x, 0), ())
case("max-nan", lambda m, x: m.max(x), (3,), fixed={0: [1.0, float("nan"), 2.0]}, twice=False)
case("softmax", lambda m, x: (m.softmax(x, 0), x.softmax(-1)), (3, 4))
case("softmax-3d", lambda m, x: m.softmax(x, 1), (2, 5, 3), low=-50, high=50)
case("softmax-scalar", lambda m, x: (m.softmax(x, 0), m.log_softmax(x, 0)), ())
case("softmax-empty", lambda m, x: (m.softmax(x, 0), m.log_softmax(x, 1)), (0, 3))
case("log_softmax", lambda m, x: (m.log_softmax(x, 0), x.log_softmax(-1)), (3, 4), low=-50, high=50)
case(
    "logsumexp-infinite",
    lambda m, x: m.logsumexp(x, 1),
    (2, 2),
    fixed={0: [[-np.inf, 0.0], [1.0, 2.0]]},
    twice=False,
)
for p in (2, 1, 0, 3, 0.5, 2.5, float("inf"), -float("inf")):
    case(
        f"norm-{p}",
        lambda m, x, p=p: (m.norm(x, p), m.norm(x, p, 1), m.norm(x, p, (0, 1), keepdim=True)),
        (3, 4),
        away=(0.0,),
        twice=p != 0,
    )
case("norm-fro", lambda m, x: (m.norm(x), x.norm("fro")), (3, 4))
for p in (2, 1, 3):
    case(
        f"norm-at-zero-{p}",
        lambda m, x, p=p: m.norm(x, p, 1),
        (2, 2),
        fixed={0: [[0.0, 0.0], [3.0, 4.0]]},
        twice=False,
    )
case("prod", lambda m, x: (m.prod(x), m.prod(x, 0), m.prod(x, 1, keepdim=True)), (2, 3))
case("prod-one-zero", lambda m, x: (m.prod(x), m.prod(x, 1)), (2, 3), fixed={0: [[2, 0, 3], [1, 4, 5]]})
case("prod-two-zeros", lambda m, x: (m.prod(x), m.prod(x, 0)), (2, 3), fixed={0: [[0, 0, 3], [1, 0, 5]]})
case("cumsum", lambda m, x: (m.cumsum(x, 0), x.cumsum(-1)), (3, 4))
case("cumsum-scalar", lambda m, x: m.cumsum(x, 0), ())

case(
    "reshape",
    lambda m, x: (x.reshape(4, 3), m.reshape(x, (-1,)), m.flatten(x), x.reshape(3, 2, 2)),
    (3, 4),
)
case("reshape-transposed", lambda m, x: x.T.reshape(12), (3, 4))
case("view", lambda m, x: ((x * 1).view(2, 6), (x + 0).view(-1), (x * 2).view((4, 3))), (3, 4))
case("reshape-scalar", lambda m, x: (x.reshape(1), x.reshape(()), m.flatten(x), x.unsqueeze(0)), ())
case(
    "flatten",
    lambda m, x: (m.flatten(x, 1), m.flatten(x, 0, 1), x.flatten(1, 2), x.unflatten(3, (2, 2))),
    (2, 3, 2, 4),
)
case(
    "squeeze",
    lambda m, x: (m.squeeze(x), x.squeeze(0), x.squeeze(1), m.squeeze(x, (0, 2)), x.squeeze(-1)),
    (1, 3, 1),
)
case("unsqueeze", lambda m, x: (x.unsqueeze(0), x.unsqueeze(-1), m.unsqueeze(x, 1)), (2, 3))
case(
    "permute",
    lambda m, x: (x.permute(2, 0, 1), m.permute(x, (1, 0, 2)), x.transpose(0, 2), m.movedim(x, 0, -1), x.mT),
    (2, 3, 4),
)
case("transpose", lambda m, x: (x.T, m.t(x), x.transpose(0, 1), x.swapaxes(-1, 0)), (2, 3))
case("expand", lambda m, x: (x.expand(3, 4), x.expand(2, -1, 4), m.broadcast_to(x, (5, 3, 1))), (3, 1))
case("expand-scalar", lambda m, x: x.expand(2, 3), ())
case("repeat", lambda m, x: (x.repeat(2, 1), x.repeat(3, 1, 2)), (2, 3))
case("flip", lambda m, x: (m.flip(x, (0,)), x.flip((0, 1))), (2, 3))
case("tril", lambda m, x: (m.tril(x), m.triu(x, 1), m.tril(x, -1)), (2, 3, 4))
case("cat", lambda m, a, b: (m.cat((a, b)), m.cat([b, a, b])), (2, 3), (4, 3))
case("cat-last", lambda m, a, b: m.cat((a, b), -1), (2, 1), (2, 3))
case("cat-twice", lambda m, a: m.cat((a, a * 2, a), 1), (2, 3))
case("cat-empty", lambda m, a, b: (m.cat((a, b)), m.cat((b, a), 1)), (0,), (2, 3))
case("stack", lambda m, a, b: (m.stack((a, b)), m.stack((a, b), 1), m.stack((a, b, a), -1)), (2, 3), (2, 3))
case("stack-scalars", lambda m, a, b: m.stack((a, b)), (), ())
case("split", lambda m, x: (*m.split(x, 2), *x.split([1, 4], 0), *m.chunk(x, 3), *x.chunk(2, dim=1)), (5, 3))
case("unbind", lambda m, x: (*m.unbind(x), *m.unbind(x, 1)), (2, 3))
case("iterate", lambda m, x: tuple(row * (i + 1) for i, row in enumerate(x)), (3, 2))
case("clone", lambda m, x: (x.clone(), x.T.contiguous(), +x), (2, 3))

case("int-index", lambda m, x: (x[0], x[-1], x[1, 2], x[..., 0], x[None, 1]), (3, 4))
case("slices", lambda m, x: (x[1:], x[:, 1:3], x[::2, ::3], x[..., -1:], x[0:0]), (3, 4))
case("element", lambda m, x: (x[2], x[-3]), (4,))
case(
    "array-index",
    lambda m, x: (x[i64(m, IDS)], x[[0, 2, 0]], x[i64(m, IDS), 1], x[:, i64(m, [3, 3])], x[i64(m, [0, -1])]),
    (3, 4),
)
case(
    "array-index-pairs",
    lambda m, x: (x[i64(m, [0, 2, 0]), i64(m, [1, 1, 1])], x[i64(m, [[0], [2]]), i64(m, [1, 3])]),
    (3, 4),
)
case("array-index-rows", lambda m, x: x[i64(m, IDS)], (3, 2, 5))
case("array-index-empty", lambda m, x: x[i64(m, np.zeros(0, np.int64))], (3, 4))
case("mask", lambda m, x: (x[i64(m, MASK)], x[i64(m, MASK[:, 0])], m.masked_select(x, i64(m, MASK))), (4, 3))
case("mask-of-itself", lambda m, x: x[x > 0], (4, 3), away=(0.0,))
case(
    "index_select",
    lambda m, x: (m.index_select(x, 0, i64(m, [2, 0, 2])), x.index_select(1, i64(m, [1]))),
    (3, 4),
)
case(
    "gather",
    lambda m, x: (m.gather(x, 1, i64(m, [[0, 0], [3, 1], [2, 2]])), m.gather(x, 0, i64(m, [[2, 0, 1]]))),
    (3, 4),
)
case("scatter_add", lambda m, x, s: m.scatter_add(x, 1, i64(m, [[0, 0], [3, 1], [2, 2]]), s), (3, 4), (3, 2))
case(
    "index_add",
    lambda m, x, s: (m.index_add(x, 0, i64(m, [2, 0, 2]), s), m.index_add(x.T, 1, i64(m, [2, 0, 2]), s.T)),
    (3, 4),
    (3, 4),
)
case(
    "sort",
    lambda m, x: (
        *m.sort(x, 0),
        *m.sort(x, dim=1, descending=True),
        *m.topk(x, 2),
        *m.topk(x, 2, 0, largest=False),
    ),
    (3, 4),
)

case("matmul", lambda m, a, b: (a @ b, m.mm(a, b), m.matmul(a, b)), (3, 4), (4, 2))
case("matmul-large", lambda m, a, b: a @ b, (17, 33), (33, 19), twice=False)
case("matmul-transposed", lambda m, a, b: (a.T @ b, b.T @ a), (4, 3), (4, 2))
case("matmul-vectors", lambda m, a, b: (a @ b, m.dot(a, b), m.outer(a, b)), (4,), (4,))
case("matmul-vector-matrix", lambda m, a, b: a @ b, (4,), (4, 2))
case("matmul-matrix-vector", lambda m, a, b: (a @ b, m.mv(a, b)), (3, 4), (4,))
case("matmul-batch", lambda m, a, b: (a @ b, m.bmm(a, b)), (2, 3, 4), (2, 4, 2))
case("matmul-batch-matrix", lambda m, a, b: a @ b, (2, 3, 4), (4, 2))
case("matmul-matrix-batch", lambda m, a, b: a @ b, (3, 4), (2, 4, 2))
case("matmul-broadcast", lambda m, a, b: a @ b, (2, 1, 3, 4), (5, 4, 2))
case("matmul-batch-vector", lambda m, a, b: (a @ b, b @ a.mT), (2, 3, 4), (4,))
case("matmul-empty", lambda m, a, b: a @ b, (0, 4), (4, 2))
case("matmul-empty-inner", lambda m, a, b: a @ b, (3, 0), (0, 2))
case("matmul-one", lambda m, a, b: a @ b, (1, 1), (1, 1))
for i, (equation, *shapes) in enumerate(
    [
        ("ij,jk->ik", (2, 3), (3, 4)),
        ("ij,kj->ik", (2, 3), (4, 3)),
        ("bij,bjk->bik", (2, 3, 4), (2, 4, 2)),
        ("ij->ji", (2, 3)),
        ("ij->", (2, 3)),
        ("ij->j", (2, 3)),
        ("ii->i", (3, 3)),
        ("ii", (3, 3)),
        ("iji->j", (2, 3, 2)),
        ("i,j->ij", (2,), (3,)),
        ("i,i", (3,), (3,)),
        ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
        ("...ij,...jk->...ik", (2, 3, 4), (4, 2)),
        ("...i,i", (2, 3), (3,)),
        ("ab,bc,cd->ad", (2, 3), (3, 2), (2, 2)),
        ("ij,ij->i", (2, 3), (2, 3)),
        ("ij,k->ik", (2, 3), (4,)),
        ("ba", (2, 3)),
        ("i...,...->i...", (2, 3), (3,)),
        ("ij,jk->ik", (0, 3), (3, 2)),
    ]
):
    case(
        f"einsum-{i}-{equation}",
        lambda m, *xs, e=equation: m.einsum(e, *xs),
        *shapes,
        twice=i in (0, 2, 6, 8, 12, 14),
    )


def outputs(result):
    return list(result) if isinstance(result, (tuple, list)) else [result]


def compare(ours, theirs, dtype, what):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    assert ours.dtype == theirs.dtype, what
    assert_close(ours, theirs, what=what, **TOLERANCE[dtype])


def strided(array):
    """The same values in memory that is neither contiguous nor in order."""
    if array.ndim == 0:
        return array
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1] + 1), array.dtype)
    wide[..., 1::2] = array
    return wide[..., 1::2]


def check(case: Case, dtype: str, arrange=lambda a: a):
    arrays = [arrange(a) for a in case.arrays(dtype)]
    here = rt.get_default_device()
    ours = [rt.Tensor(a, requires_grad=True, device=here) for a in arrays]  # with the array's strides
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    mine, its = outputs(case.function(rt, *ours)), outputs(case.function(torch, *theirs))
    assert len(mine) == len(its)
    random = np.random.default_rng(1)
    for i, (a, b) in enumerate(zip(mine, its, strict=True)):
        compare(a, b, dtype, f"{case}: output {i}")
        assert a.requires_grad == b.requires_grad, f"{case}: output {i}"
    mine = [o for o in mine if o.requires_grad]
    its = [o for o in its if o.requires_grad]
    cotangents = [np.asarray(random.standard_normal(o.shape), dtype) for o in mine]
    given = [rt.tensor(c) for c in cotangents]
    rt.backward(mine, given)
    torch.autograd.backward(its, [torch.tensor(c) for c in cotangents])
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if b.grad is None:
            assert a.grad is None or not a.grad.numpy().any()
            continue
        compare(a.grad, b.grad, dtype, f"{case}: gradient {i}")
    held = [*ours, *mine, *given]
    gradients = [t.grad for t in ours if t.grad is not None]
    for g, other in itertools.chain(itertools.product(gradients, held), itertools.combinations(gradients, 2)):
        assert not np.shares_memory(g._array, other._array), f"{case}: a gradient shares memory"


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_operator_is_torch_s(case, dtype):
    check(case, dtype)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operator_on_any_strides(case):
    check(case, "float64", strided)


@pytest.mark.parametrize("case", [c for c in CASES if c.twice and any(0 not in s for s in c.shapes)], ids=str)
def test_second_derivatives(case):
    """gradgradcheck includes the first derivative's own Jacobian with respect to its cotangent."""

    def real(*xs):
        return tuple(o for o in outputs(case.function(rt, *xs)) if o.requires_grad)

    inputs = [rt.tensor(a, requires_grad=True) for a in case.arrays("float64")]
    if not real(*inputs):
        return
    assert rt.gradcheck(real, inputs)
    assert rt.gradgradcheck(real, inputs, atol=1e-4)


@pytest.mark.parametrize(
    ("a", "b"), [((2, 0, 3), (3, 4)), ((0, 2, 3), (0, 3, 4)), ((2, 3, 0), (2, 0, 4)), ((2, 3, 4), (4, 0))]
)
def test_batches_of_products_with_empty_matrices(a, b):
    found = rt.zeros(a) @ rt.zeros(b)
    assert found.shape == np.matmul(np.zeros(a), np.zeros(b)).shape
    assert (found.numpy() == 0).all()
