"""The optimisers: steps with odd parameters, gradients and options, against their equations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import tensor as rt
from rondeau.train import optim

from ..drawing import NONSENSE, Draw
from ..verdict import attempt, check_close

Array = NDArray[Any]
Options = dict[str, Any]
Update = Callable[[Array, list[Array], Options], Array]


def _decayed(w: Array, g: Array, o: Options) -> Array:
    return np.asarray((-g if o["maximize"] else g) + o.get("weight_decay", 0.0) * w)


def _sgd(w: Array, gradients: list[Array], o: Options) -> Array:
    v = None
    for g in gradients:
        d = _decayed(w, g, o)
        if o["momentum"]:
            v = d if v is None else o["momentum"] * v + (1 - o["dampening"]) * d
            d = d + o["momentum"] * v if o["nesterov"] else v
        w = w - o["lr"] * d
    return w


def _adagrad(w: Array, gradients: list[Array], o: Options) -> Array:
    s = np.full_like(w, o["initial_accumulator_value"])
    for t, g in enumerate(gradients):
        d = _decayed(w, g, o)
        s = s + d * d
        w = w - o["lr"] / (1 + t * o["lr_decay"]) * d / (np.sqrt(s) + o["eps"])
    return w


def _rmsprop(w: Array, gradients: list[Array], o: Options) -> Array:
    s, m, v = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    for g in gradients:
        d = _decayed(w, g, o)
        s = o["alpha"] * s + (1 - o["alpha"]) * d * d
        m = o["alpha"] * m + (1 - o["alpha"]) * d if o["centered"] else m
        v = o["momentum"] * v + d / (np.sqrt(s - m * m) + o["eps"])
        w = w - o["lr"] * v
    return w


def _adam(w: Array, gradients: list[Array], o: Options, decoupled: bool = False) -> Array:
    m, s, most = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
    beta1, beta2 = o["betas"]
    for t, g in enumerate(gradients, 1):
        d = _decayed(w, g, {**o, "weight_decay": 0.0} if decoupled else o)
        w = w * (1 - o["lr"] * o["weight_decay"]) if decoupled else w
        m = beta1 * m + (1 - beta1) * d
        s = beta2 * s + (1 - beta2) * d * d
        most = np.maximum(most, s)
        root = np.sqrt((most if o["amsgrad"] else s) / (1 - beta2**t))
        w = w - o["lr"] * (m / (1 - beta1**t)) / (root + o["eps"])
    return w


def _adamw(w: Array, gradients: list[Array], o: Options) -> Array:
    return _adam(w, gradients, o, decoupled=True)


_DECAY = {"lr": (0.1, 0.0, 1), "weight_decay": (0, 0.3), "maximize": (False, True)}
_BETAS = {"betas": ((0.9, 0.999), (0.0, 0.5), [0.5, 0.0]), "eps": (1e-3, 1.0), "amsgrad": (False, True)}
#: Class, its equations, and what its options may be: a new optimiser is one entry.
OPTIMISERS: tuple[tuple[Any, Update, dict[str, tuple[Any, ...]]], ...] = (
    (optim.SGD, _sgd, {**_DECAY, "momentum": (0, 0.9), "dampening": (0, 0.2), "nesterov": (False, True)}),
    (
        optim.Adagrad,
        _adagrad,
        {**_DECAY, "lr_decay": (0, 0.5), "initial_accumulator_value": (0, 0.5), "eps": (1e-3, 0.1)},
    ),
    (
        optim.RMSprop,
        _rmsprop,
        {**_DECAY, "alpha": (0.99, 0.5), "eps": (0.1, 1.0), "momentum": (0, 0.5), "centered": (False, True)},
    ),
    (optim.Adam, _adam, {**_DECAY, **_BETAS}),
    (optim.AdamW, _adamw, {**_DECAY, **_BETAS}),
)
_NO_NUMBER = ("fast", None, -0.5, float("nan"), float("inf"), 10**400, 10**5000, [0.1], 1j)


def optimiser(draw: Draw) -> None:
    """Make an optimiser, step once to three times, and compare the parameter."""
    kind, update, possible = draw.choose(OPTIMISERS)
    options = {name: draw.choose(values) for name, values in possible.items()}
    if kind is optim.SGD and options["nesterov"] and (not options["momentum"] or options["dampening"]):
        draw.wrong = "Nesterov without momentum or with dampening"
    given: dict[str, Any] = dict(options)
    if draw.spoil("a wrong option", 0.12):
        numbers = [n for n in options if n not in ("maximize", "nesterov", "amsgrad", "centered")]
        name = draw.choose(numbers)
        given[name] = draw.choose(
            _NO_NUMBER if name != "betas" else (*_NO_NUMBER, (0.5,), (1.0, 0.5), (0.1, -1), "ab")
        )
        if name == "dampening":
            draw.wrong, draw.open = None, "PyTorch does not look at dampening"
    dtype = draw.dtype()
    shape = tuple(draw.size(9, empty=0.05) for _ in range(draw.random.randint(0, 3)))
    if draw.chance(0.02):
        shape = (20_000,)  # above the size from which updates are shared among threads
    array = draw.floats(shape, dtype)
    parameter = rt.Tensor(array, requires_grad=True)
    start = array.astype(np.float64)
    if not array.flags.writeable:
        draw.wrong = "a read-only parameter"
    elif 0 in array.strides and array.size > 1:
        parameter.data = array.copy()
    params: Any = draw.choose(([parameter], (p for p in [parameter]), [{"params": [parameter]}]))
    if draw.spoil("wrong params", 0.05):
        bad: tuple[Any, ...] = (
            [],
            parameter,
            [parameter, parameter],
            ["w"],
            None,
            3,
            [{"lr": 0.1}],
            [parameter * 2],
        )
        params = draw.choose((*bad, [{"params": [parameter], "speed": 1}], {"params": [parameter]}))
    draw.note("optimiser", (kind.__name__, given, parameter))
    made = attempt(draw, lambda: kind(params, **given), last=False)
    gradients = [draw.floats(shape, dtype) for _ in range(draw.random.randint(1, 3))]
    draw.note("gradients", gradients)

    def steps() -> None:
        for gradient in gradients:
            parameter.grad = rt.Tensor(gradient)
            made.step()

    if draw.wrong is None and draw.spoil("data of another shape or dtype since backward", 0.05):
        parameter.grad = rt.Tensor(gradients[0])
        parameter.data = draw.choose(
            (np.zeros((*shape, 2), dtype), np.zeros([n + 1 for n in shape] or [2], dtype))
        )
        attempt(draw, made.step, gradients)
        return
    attempt(draw, steps, gradients)
    if draw.open:
        return
    with np.errstate(all="ignore"):
        wanted = update(start, [g.astype(np.float64) for g in gradients], options)
    tolerance = 3e-4 if dtype == np.float32 else 1e-10
    check_close(kind.__name__, parameter.detach().numpy(), wanted, dtype, tolerance=tolerance)


def kernel(draw: Draw) -> None:
    """Call `optimisers.update` of the kernels with arrays that fit, or do not."""
    from rondeau.kernels.ops import optimisers

    dtype, shape = draw.dtype(), (draw.size(),)
    w, g = draw.floats(shape, dtype), draw.floats(shape, dtype)
    if not (w.flags.c_contiguous and g.flags.c_contiguous and w.flags.writeable):
        draw.wrong = "arrays with gaps, or a read-only parameter"
    arrays: list[Any] = [w, g]
    if draw.spoil("an array of another shape, dtype or type", 0.3):
        bad = (w[:-1], w[None], w.astype(np.float16), w.astype(np.int64), *NONSENSE)
        arrays[draw.random.randrange(2)] = draw.choose(bad)
    draw.note("arrays", arrays)
    start, gradient = w.astype(np.float64), g.astype(np.float64)
    attempt(
        draw, lambda: optimisers.update(arrays[0], arrays[1], optimisers.Sgd(sign=1.0, l2=0.5, lr=0.1)), g
    )
    check_close("sgd", w, start - 0.1 * (gradient + 0.5 * start), dtype, tolerance=1e-5)
