"""Parametrised weights of a layer: simple functions of a parameter, and the same on arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn.utils import parametrizations, parametrize

from .drawing import Draw

Array = NDArray[Any]
Function = Callable[[Array], Array]


class Factor(nn.Module):
    """The original times a fixed matrix: zeros are a mask, signs flip a weight's own."""

    factor: Any

    def __init__(self, factor: Array) -> None:
        super().__init__()
        self.register_buffer("factor", rt.Tensor(factor))

    def forward(self, original: Any) -> Any:
        """Return the weight."""
        return original * self.factor


class Signed(Factor):
    """The square of the original times the signs of units: Dale's law."""

    def forward(self, original: Any) -> Any:
        """Return the weight."""
        return self.factor * (original * original)


def parametrise(draw: Draw, layer: Any, chance: float) -> dict[str, tuple[str, Function]]:
    """Sometimes make one matrix of a layer a function of a parameter.

    Returns
    -------
    dict of str to (str, callable)
        By the name of the weight, the name of the parameter and the function on arrays.
    """
    matrices = [(n, p) for n, p in layer.named_parameters() if n.startswith("weight_") and p.ndim == 2]
    matrices = [(n, p) for n, p in matrices if np.isfinite(p.detach().numpy()).all()]
    if not matrices or not draw.chance(chance):
        return {}
    name, weight = draw.choose(matrices)
    weight.data = weight.detach().numpy().copy()  # which an orthogonal one is written into
    kind = draw.note(f"{name} is computed by", draw.choose(("mask", "signs", "cayley", "based")))
    if kind in ("cayley", "based"):
        function = _orthogonal(layer, name, kind == "based")
    else:
        factor = draw.numbers.choice((0.0, 1.0) if kind == "mask" else (-1.0, 1.0), weight.shape)
        module: Any = (Factor if kind == "mask" else Signed)(factor.astype(weight.dtype))
        parametrize.register_parametrization(layer, name, module)

        def function(original: Array) -> Array:
            product: Array = factor * (original if kind == "mask" else original * original)
            return product

    original = layer.parametrizations[name].original
    original.data = draw.laid_out(original.detach().numpy(), plain=0.8)
    return {name: (f"parametrizations.{name}.original", function)}


def _orthogonal(layer: Any, name: str, based: bool) -> Function:
    """Make a matrix orthogonal by Cayley's map, times a base or not; return the function on arrays."""
    parametrizations.orthogonal(layer, name, "cayley", use_trivialization=based)
    base = layer.parametrizations[name][0].base if based else None
    factor = None if base is None else base.detach().numpy().astype(np.float64)

    def function(original: Array) -> Array:
        tall = original.T if original.shape[0] < original.shape[1] else original
        n, k = tall.shape
        lower = np.zeros((n, n))
        lower[:, :k] = np.tril(tall)
        half = (lower - lower.T) / 2
        result = np.linalg.solve(np.eye(n) - half, np.eye(n) + half)[:, :k]
        result = result if factor is None else factor @ result
        return result.T if tall is not original else result

    return function
