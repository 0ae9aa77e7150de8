"""Losses of two tensors of one shape: binary cross-entropy, absolute and rounded differences, divergence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import functional

from ..drawing import Draw
from .layers import Values, compare, leaf, spoiled_tensor

Array = NDArray[Any]


class Loss(NamedTuple):
    """A loss: the function, its layer, where inputs lie, and what is right."""

    function: Callable[..., Any]
    layer: Callable[..., Any]
    bounds: str
    right: Callable[[Values, dict[str, Any]], Array]


def _log(p: Array) -> Array:
    found: Array = np.maximum(np.log(p), -100.0)
    return found


def _of_probabilities(at: Values, options: dict[str, Any]) -> Array:
    p, t = at["x"], at["t"]
    return np.asarray(-t * _log(p) - (1 - t) * _log(1 - p)) * at.get("weight", 1.0)


def _of_logits(at: Values, options: dict[str, Any]) -> Array:
    x, t = at["x"], at["t"]
    losses = at.get("pos_weight", 1.0) * t * np.logaddexp(0, -x) + (1 - t) * np.logaddexp(0, x)
    return np.asarray(losses) * at.get("weight", 1.0)


def _rounded(at: Values, options: dict[str, Any]) -> Array:
    d, beta = np.abs(at["x"] - at["t"]), options["beta"]
    return np.asarray(np.where(d < beta, d * d / (2 * beta if beta else 1.0), d - beta / 2))


def _divergence(at: Values, options: dict[str, Any]) -> Array:
    x, t = at["x"], at["t"]
    if options["log_target"]:
        return np.asarray(np.exp(t) * (t - x))
    return np.asarray(np.where(t == 0, 0.0, t * np.log(np.where(t == 0, 1.0, t))) - t * x)


LOSSES = {
    "binary_cross_entropy": Loss(
        functional.binary_cross_entropy, nn.BCELoss, "probabilities", _of_probabilities
    ),
    "with_logits": Loss(
        functional.binary_cross_entropy_with_logits, nn.BCEWithLogitsLoss, "target in [0, 1]", _of_logits
    ),
    "l1": Loss(functional.l1_loss, nn.L1Loss, "any", lambda at, _: np.abs(at["x"] - at["t"])),
    "smooth_l1": Loss(functional.smooth_l1_loss, nn.SmoothL1Loss, "any", _rounded),
    "kl_div": Loss(functional.kl_div, nn.KLDivLoss, "target in [0, 1]", _divergence),
}


def loss(draw: Draw) -> None:
    """Compute one of the losses, with its options."""
    name = draw.note("loss", draw.choose(tuple(LOSSES)))
    kind = LOSSES[name]
    dtype = draw.note("dtype", draw.dtype())
    shape = tuple(draw.size(17, empty=0.04) for _ in range(draw.random.randint(0, 3)))
    x, t = _drawn_pair(draw, kind.bounds, shape, dtype)
    options: dict[str, Any] = {"reduction": draw.choose(("mean", "sum", "none"))}
    factors: dict[str, Any] = {}
    if name in ("binary_cross_entropy", "with_logits"):
        factors["weight"] = _factor(draw, shape, dtype)
    if name == "with_logits":
        factors["pos_weight"] = _factor(draw, shape, dtype)
    if name == "smooth_l1":
        options["beta"] = draw.choose((1.0, 1.0, 0.5, 0, 1e-6, 1e6, 30))
    if name == "kl_div":
        options["log_target"] = draw.chance(0.3)
        options["reduction"] = draw.choose((options["reduction"], "batchmean"))
    given: list[Any] = [x, t]
    reduction = options["reduction"]
    if draw.spoil("a wrong argument or option", 0.15):
        _spoil(draw, kind, given, options, factors)
    by_layer = draw.chance(0.3)
    draw.note("arguments, options, factors, by layer", (given, options, factors, by_layer))

    def call() -> Any:
        if by_layer:
            return kind.layer(**options, **factors)(*given)
        return kind.function(*given, **options, **factors)

    def right(at: Values) -> Array:
        losses = np.broadcast_to(kind.right(at, options), shape)
        if reduction == "none":
            return losses
        total = losses.sum()
        if reduction == "mean":
            return np.asarray(total / losses.size)
        return np.asarray(total / shape[0] if reduction == "batchmean" and shape else total)

    leaves = {"x": x, "t": t} | {
        key: tensor for key, tensor in factors.items() if isinstance(tensor, rt.Tensor)
    }
    size = int(np.prod(shape))
    length = 1 if reduction == "none" else max(size, 1)
    compare(draw, name, call, leaves, right, dtype, length=length, least=1.0)


def _drawn_pair(draw: Draw, bounds: str, shape: tuple[int, ...], dtype: Any) -> tuple[Any, Any]:
    """Draw an input and a target, equal here and there, and where there are bounds, on them."""

    def probabilities() -> Array:
        found = draw.numbers.uniform(0.0, 1.0, shape)
        edge = draw.numbers.uniform(0.0, 1.0, shape)
        found = np.where(edge < 0.05, 0.0, np.where(edge > 0.95, 1.0, found))
        return draw.laid_out(np.asarray(found, dtype))

    of_target = (
        probabilities() if bounds != "any" else draw.floats(shape, dtype, draw.choose((1.0, 1.0, 1e3)))
    )
    if bounds == "probabilities":
        return leaf(draw, probabilities()), leaf(draw, of_target)
    of_input = draw.floats(shape, dtype, draw.choose((1.0, 1.0, 30.0)))
    if bounds == "any" and draw.chance(0.2):
        of_input = of_target.copy()
    return leaf(draw, of_input), leaf(draw, of_target)


def _factor(draw: Draw, shape: tuple[int, ...], dtype: Any) -> Any:
    """Draw nothing, or factors of a shape that broadcasts to another."""
    if draw.chance(0.6):
        return None
    own = tuple(draw.choose((1, n)) for n in shape[draw.random.randint(0, len(shape)) :])
    return leaf(draw, np.abs(draw.floats(own, dtype)) + dtype.type(0.1))


def _spoil(
    draw: Draw, kind: Loss, given: list[Any], options: dict[str, Any], factors: dict[str, Any]
) -> None:
    """Make one argument or option wrong."""
    bad_options: list[tuple[str, Any]] = [("reduction", value) for value in ("average", None, 1, ["mean"])]
    if "beta" in options:
        bad_options += [("beta", value) for value in (-1.0, float("nan"), "one", None, True, 1j)]
    if kind.bounds == "any" or "log_target" in options:
        bad_options += [("reduction", "batch")]
    if draw.chance(0.35):
        key, value = draw.choose(bad_options)
        options[key] = value
        return
    if kind.bounds == "probabilities" and given[0].numel() and draw.chance(0.3):
        k = draw.random.randrange(2)
        array = given[k].detach().numpy().copy()
        array.flat[draw.random.randrange(array.size)] = draw.choose((-0.1, 1.5, np.nan, np.inf, -np.inf))
        given[k] = rt.Tensor(array)
        return
    if factors and draw.chance(0.3):
        key = draw.choose(tuple(factors))
        dtype = given[0].dtype
        other = np.float32 if dtype == np.float64 else np.float64
        wide = np.ones((2, *(n + 1 for n in given[0].shape)), dtype)
        factors[key] = draw.choose((rt.Tensor(wide), rt.Tensor(np.ones((), other)), "heavy", 2.0, [1.0]))
        return
    k = draw.random.randrange(2)
    given[k] = spoiled_tensor(draw, given[k])
    checks_shapes = kind.bounds == "probabilities" or "pos_weight" in factors
    if not checks_shapes and isinstance(given[k], rt.Tensor) and given[k].dtype == given[1 - k].dtype:
        draw.wrong, draw.open = None, "another shape, which may broadcast"
