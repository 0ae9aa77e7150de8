"""The named inputs of a step besides x: drawn for a call, right and wrong, and as the oracle takes them.

The oracle's name of one is ``"input dt"``, or ``"input dt of layer 1"`` where each layer has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import tensor as rt

from .drawing import NONSENSE, Draw

Array = NDArray[Any]
Sizes = Mapping[str, tuple[int, ...]]
"""By kind, the dimensions before that of the units."""

PREFIX = "input "


def key(name: str, layer: int | None) -> str:
    """Return the oracle's name of an input."""
    return PREFIX + name + ("" if layer is None else f" of layer {layer}")


def name_of(key: str) -> str:
    """Return the cell's name of an input."""
    return key.removeprefix(PREFIX).split(" of layer ")[0]


def kinds_of(cell: Any, named: Iterable[str]) -> dict[str, str]:
    """Return the kind of each input, by the oracle's names."""
    return {key: cell.inputs[name_of(key)] for key in named}


def draw_inputs(
    draw: Draw, cell: Any, sizes: Sizes, hidden: int, dtype: Any, layers: int = 1
) -> dict[str, Array]:
    """Return the inputs of a cell, for all layers alike or for each, with one number for all units or one for each.

    Mostly all are of one form, since each mixture of forms is compiled by itself.
    """
    if not cell.inputs:
        return {}
    whose = range(layers) if draw.chance(0.3) else (None,)
    uniform, wide = draw.chance(0.9), draw.chance(0.5)
    found = {}
    for layer in whose:
        for name, kind in cell.inputs.items():
            units = (hidden,) if (wide if uniform else draw.chance(0.5)) else ()
            found[key(name, layer)] = draw.floats((*sizes[kind], *units), dtype)
    return found


def as_passed(cell: Any, named: Mapping[str, Any], layers: int = 1) -> Any:
    """Return what a caller passes: a mapping, or a list of them."""
    if all(key(name, None) in named for name in cell.inputs):
        return {name: named[key(name, None)] for name in cell.inputs}
    return [{name: named[key(name, layer)] for name in cell.inputs} for layer in range(layers)]


def of_layers(cell: Any, named: Mapping[str, Array], layers: int) -> list[dict[str, Array]]:
    """Return the inputs of each layer as the oracle takes them, from arrays with all dimensions but that of units."""
    found = []
    for layer in range(layers):
        of_layer = {}
        for name, kind in cell.inputs.items():
            value = named[key(name, layer if key(name, layer) in named else None)]
            of_layer[name] = value if value.ndim == (3 if kind == "step" else 2) else value[..., None]
        found.append(of_layer)
    return found


def spoiled(
    draw: Draw,
    cell: Any,
    passed: Any,
    sizes: Sizes,
    hidden: int,
    dtype: Any,
    wrap: Callable[[Array, str], Any] = lambda array, kind: rt.Tensor(array),
) -> Any:
    """Return wrong inputs, made from right ones.

    Parameters
    ----------
    draw : Draw
    cell : Cell
    passed : dict, list of dict, or None
        The right ones, each what `wrap` returns.
    sizes, hidden, dtype
        As for `draw_inputs`.
    wrap : callable
        Makes what a caller passes from an array and a kind: by default a tensor.
    """
    several = passed if isinstance(passed, list) else [passed]
    good: dict[str, Any] = several[-1] or {}
    other = rt.zeros(3)
    bad: list[Any] = ["inputs", 3.5, [], [*several, *([good] if len(several) > 1 else [good] * 9)]]
    bad += [{**good, "no such": other}, {**good, 7: other}, [*several[:-1], None, None, None, None]]
    if not cell.inputs:
        return draw.choose(bad)
    name = draw.choose(tuple(cell.inputs))
    kind = cell.inputs[name]
    shape = sizes[kind]
    bad += [None, {}, {n: v for n, v in good.items() if n != name}, list(good), list(good.values())]
    shapes = [
        (1, *shape),
        (*shape, hidden, 1),
        (*shape, hidden + 1),
        (*shape, 0),
        tuple(n + 1 for n in shape),
    ]
    shapes += [shape[::-1], sizes["sequence" if kind == "step" else "step"]]
    values: list[Any] = [
        wrap(np.zeros(wrong, dtype), kind) for wrong in shapes if wrong not in (shape, (*shape, hidden))
    ]
    dtypes = (np.float16, np.float32 if dtype == np.float64 else np.float64, np.int64, np.bool_)
    values += [wrap(np.zeros(shape, wrong), kind) for wrong in dtypes]
    values += [0.5, [1.0, 2.0], *NONSENSE]
    bad += [{**good, name: value} for value in values]
    return draw.choose(bad)
