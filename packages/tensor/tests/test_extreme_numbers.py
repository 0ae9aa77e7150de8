"""Values, first and second derivatives at infinities, NaN, zeros and what overflows, against PyTorch.

Where PyTorch gives NaN by an accident of its formula, the limit is expected, and stands in a test of its own.
"""

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt

torch = pytest.importorskip("torch")

INF, NAN = np.inf, np.nan
NUMBERS = np.array(
    [
        *(
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            2.0,
            -2.0,
            3.0,
            15.0,
            1e-30,
            -1e-30,
            1e-10,
            50.0,
            -50.0,
            88.0,
            -88.0,
            89.0,
        ),
        *(-89.0, 104.0, -104.0, 750.0, -750.0, 1e4, -1e4, 1e30, -1e30, INF, -INF, NAN),
    ]
)
COTANGENTS = [INF, -INF, NAN]
ROWS = [
    [1.0, 2.0, 3.0],
    [0.0, 0.0, 0.0],
    [2.0, 2.0, 2.0],
    [-0.0, 0.0, 1.0],
    [0.0, 2.0, 3.0],
    [INF, 50.0, 88.0],
    [INF, INF, 1.0],
    [-INF, 1.0, 2.0],
    [-INF, INF, 0.0],
    [NAN, 1.0, 2.0],
    [3.0, NAN, INF],
    [88.0, 89.0, 90.0],
    [750.0, 720.0, -720.0],
]

SCALED_ROWS = [[1e20, 2e20, -1e20], [1e-30, 3e-30, 2e-30]]


def functional(m):
    return nn.functional if m is rt else torch.nn.functional


def everywhere(x):
    return np.ones(x.shape, bool)


def not_nan(x):
    return ~np.isnan(x)


#: Elementwise functions of one tensor, and where their values and derivatives are PyTorch's.
UNARY = {
    **{
        name: (lambda m, x, name=name: getattr(m, name)(x), everywhere)
        for name in [
            "exp",
            "expm1",
            "log",
            "log2",
            "log1p",
            "sqrt",
            "rsqrt",
            "sin",
            "cos",
            "tanh",
            "sigmoid",
            "erf",
            "relu",
            "square",
            "reciprocal",
            "neg",
            "floor",
            "ceil",
            "round",
        ]
    },
    "abs": (lambda m, x: m.abs(x), not_nan),
    "sign": (lambda m, x: m.sign(x), not_nan),
    "gelu": (lambda m, x: functional(m).gelu(x), lambda x: np.abs(x) < 1e4),
    "softplus": (lambda m, x: functional(m).softplus(x), everywhere),
    "softplus-bend": (lambda m, x: functional(m).softplus(x, 2.0, 5.0), everywhere),
    "leaky_relu": (lambda m, x: functional(m).leaky_relu(x), everywhere),
    "leaky_relu-0": (lambda m, x: functional(m).leaky_relu(x, 0.0), everywhere),
    "leaky_relu-2": (lambda m, x: functional(m).leaky_relu(x, 2.0), everywhere),
    "clamp": (lambda m, x: m.clamp(x, -1, 2), everywhere),
    "clamp-crossed": (lambda m, x: m.clamp(x, 2, -1), everywhere),
    "clamp-nan": (lambda m, x: m.clamp(x, NAN, 2.0), everywhere),
    **{
        f"pow-{p}": (lambda m, x, p=p: x**p, everywhere)
        for p in (0, 1, 2, 3, 0.5, 1.5, -1, -0.5, -2, INF, NAN)
    },
    **{f"{a}-to": (lambda m, x, a=a: m.pow(a, x), everywhere) for a in (2.0, 1.0, INF)},
    "number-by": (lambda m, x: 3 / x, lambda x: np.abs(x) < 1e29),
    "remainder": (lambda m, x: x % 3, everywhere),
    "times-0": (lambda m, x: x * 0, everywhere),
    "clone": (lambda m, x: x.clone(), everywhere),
}

#: Reductions of a row, and where along the row their values and derivatives are PyTorch's.
REDUCTIONS = {
    **{
        name: (lambda m, x, name=name: getattr(m, name)(x, dim=0), everywhere)
        for name in ["mean", "var", "amax", "amin"]
    },
    "sum": (lambda m, x: m.sum(x), everywhere),
    "max": (lambda m, x: m.max(x), everywhere),
    "min": (lambda m, x: m.min(x), everywhere),
    "max-dim": (lambda m, x: m.max(x, 0)[0], everywhere),
    "min-dim": (lambda m, x: m.min(x, 0)[0], everywhere),
    "sort": (lambda m, x: m.sort(x)[0], everywhere),
    "std": (lambda m, x: m.std(x, dim=0), everywhere),
    "std-biased": (lambda m, x: m.std(x, dim=0, unbiased=False), everywhere),
    "prod": (lambda m, x: m.prod(x), lambda x: everywhere(x) & np.all(np.abs(x) < 1e4)),
    "cumsum": (lambda m, x: m.cumsum(x, 0), everywhere),
    "softmax": (lambda m, x: m.softmax(x, 0), everywhere),
    "log_softmax": (lambda m, x: m.log_softmax(x, 0), everywhere),
    "logsumexp": (lambda m, x: m.logsumexp(x, 0), everywhere),
    "norm-1": (lambda m, x: m.norm(x, 1), not_nan),
    "norm-2": (lambda m, x: m.norm(x), everywhere),
    "norm-3": (lambda m, x: m.norm(x, 3), everywhere),
    "norm-0": (lambda m, x: m.norm(x, 0), everywhere),
    "norm-inf": (lambda m, x: m.norm(x, INF), lambda x: everywhere(x) & ~np.any(np.isnan(x))),
}

GRID = [0.0, 1.0, -1.0, 2.0, 0.5, 1e-30, 1e30, INF, -INF, NAN]

#: Elementwise functions of two tensors; those whose second derivatives are PyTorch's too.
BINARY = {
    "maximum": (lambda m, x, y: m.maximum(x, y), True),
    "minimum": (lambda m, x, y: m.minimum(x, y), True),
    "where": (lambda m, x, y: m.where(x > y, x, y), True),
    "clamp-from": (lambda m, x, y: m.clamp(x, min=y), True),
    "clamp-to": (lambda m, x, y: m.clamp(x, max=y), True),
    "mul": (lambda m, x, y: x * y, True),
    "div": (lambda m, x, y: x / y, True),
    "pow": (lambda m, x, y: x**y, False),
    "mse_loss": (lambda m, x, y: functional(m).mse_loss(x, y, reduction="none"), True),
    "smooth_l1_loss": (lambda m, x, y: functional(m).smooth_l1_loss(x, y, reduction="none"), False),
}


def array_of(tensor):
    return tensor.detach().numpy(force=True) if isinstance(tensor, torch.Tensor) else tensor.detach().numpy()


def differentiated(m, function, arrays, dtype, cotangent, twice):
    """Value, gradients, and the gradients of a weighting of these."""
    grad = rt.grad if m is rt else torch.autograd.grad
    inputs = [m.tensor(np.asarray(a, dtype), requires_grad=True) for a in arrays]
    value = function(m, *inputs)
    weights = np.broadcast_to(np.asarray(cotangent, dtype), tuple(value.shape)).copy()
    firsts = grad(value, inputs, m.tensor(weights), create_graph=twice, allow_unused=True)
    results = [value, *firsts]
    for first in firsts if twice else ():
        if first is None or not first.requires_grad:
            results += [None] * len(inputs)
        else:
            weights = np.linspace(1, 2, first.shape[0]).astype(dtype)
            results += grad(first, inputs, m.tensor(weights), retain_graph=True, allow_unused=True)
    empty = [np.zeros(np.shape(a), dtype) for a in arrays]
    return [array_of(r) if r is not None else empty[(i - 1) % len(arrays)] for i, r in enumerate(results)]


def assert_same(ours, theirs, where, rounding, what):
    assert ours.shape == theirs.shape, what
    assert ours.dtype == theirs.dtype, what
    if where.shape == theirs.shape:
        ours, theirs = ours[where], theirs[where]
    elif not where.any():
        return
    tolerance = 2e-4 if theirs.dtype == np.float32 else 1e-8
    assert_close(ours, theirs, rtol=tolerance, atol=rounding * np.finfo(theirs.dtype).eps, what=what)


def compare(function, arrays, dtype, cotangent=1.0, twice=True, where=None, rounding=1.0):
    """Compare both; `rounding` is the size of the numbers whose differences may have cancelled."""
    where = everywhere(np.asarray(arrays[0])) if where is None else where
    ours, theirs = (differentiated(m, function, arrays, dtype, cotangent, twice) for m in (rt, torch))
    for i, (own, other) in enumerate(zip(ours, theirs, strict=True)):
        assert_same(own, other, where, rounding, f"{f'derivative {i}' if i else 'value'} at {arrays}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_tensor(name, dtype):
    function, where = UNARY[name]
    compare(function, [NUMBERS], dtype, where=where(NUMBERS))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name", [n for n in UNARY if not n.startswith(("softplus", "reciprocal"))]
)  # denormal
def test_cotangents_that_are_not_finite(name, dtype):
    function, where = UNARY[name]
    for cotangent in COTANGENTS:
        compare(function, [NUMBERS], dtype, cotangent, False, where(NUMBERS))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name, dtype):
    function, where = REDUCTIONS[name]
    smooth = name not in (
        "norm-1",
        "norm-2",
        "norm-3",
        "norm-0",
        "norm-inf",
    )  # at 0 their second derivative is NaN
    for row in ROWS:
        compare(function, [row], dtype, 1.5, smooth, where(np.array(row)), rounding=10.0)
    for row in SCALED_ROWS if name != "log_softmax" else ():  # whose gradient there is rounding alone
        compare(function, [row], dtype, 1.5, False, where(np.array(row)), rounding=0.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_tensors(name, dtype):
    function, twice = BINARY[name]
    x, y = (a.ravel() for a in np.meshgrid(GRID, GRID))
    compare(function, [x, y], dtype, 1.5, twice)


def gradient(function, values, dtype="float64"):
    x = rt.tensor(np.array(values, dtype), requires_grad=True)
    function(x).backward()
    return x.grad.tolist()


def test_limits_where_torch_gives_nan():
    """Every element of a product has the product of the others, also where quotients are NaN or overflow."""
    assert gradient(rt.prod, [INF, 5.0, 2.0]) == [10.0, INF, INF]
    assert gradient(rt.prod, [NAN, 5.0, 2.0])[0] == 10.0
    assert gradient(rt.prod, [1e30, -1e30, 2.0], "float32") == gradient(
        rt.prod, np.array([1e30, -1e30, 2.0], "float32"), "float32"
    )
    assert_close(gradient(rt.prod, [1e30, -1e30, 2.0], "float32"), [-2e30, 2e30, -INF], rtol=1e-6)
    assert_close(gradient(rt.prod, [1e-30, 1e-30, 1e20], "float32"), [1e-10, 1e-10, 0], rtol=1e-6)
    assert gradient(lambda x: rt.prod(x, 0).sum(), [[0.0, 2.0], [3.0, 0.0], [0.0, 5.0]]) == [
        [0, 0],
        [0, 10],
        [0, 0],
    ]
    assert rt.gelu(rt.tensor([3e38, INF])).tolist() == rt.tensor([3e38, INF]).tolist()
    assert gradient(lambda x: x.logsumexp(0), [-INF, -INF]) == [0.0, 0.0]
    x = rt.tensor([1e20, -1e20], requires_grad=True)
    (first,) = rt.grad(rt.gelu(x).sum(), x, create_graph=True)
    assert rt.grad(first.sum(), x)[0].tolist() == [0.0, 0.0]


def test_sign_and_absolute_value_keep_nan():
    assert np.isnan(rt.sign(rt.tensor([NAN])).item())
    assert np.isnan(gradient(lambda x: x.abs().sum(), [NAN])).all()


def test_standard_deviation_beyond_the_squares_of_float32():
    rows = rt.tensor([[1e30, -1e30], [1e-30, -1e-30], [3.0, 1.0]], requires_grad=True)
    deviations = rows.std(1, unbiased=False)
    assert_close(deviations, [1e30, 1e-30, 1.0], rtol=1e-6)
    assert_same_bits(deviations.detach().numpy()[2:], rows[2:].std(1, unbiased=False).detach().numpy())
    deviations.sum().backward()
    assert_close(rows.grad, [[0.5, -0.5]] * 3, rtol=1e-6)


def test_clamp_by_nan_limits_gives_nan():
    x = rt.tensor([0.0, 1.0, 2.0])
    assert np.isnan(rt.clamp(x, min=rt.tensor(NAN)).numpy()).all()
    assert np.isnan(rt.clamp(x, max=rt.tensor([NAN, NAN, NAN])).numpy()).all()
