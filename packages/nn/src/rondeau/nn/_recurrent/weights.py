"""The weights of one recurrent layer and direction: shapes, parameter names, initial values, and form for kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import DTypeLike

from rondeau import tensor as rt
from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.sequence import Cell, Weights

from .. import init
from .._module import Module
from .._parameter import Parameter

__all__ = ["MATRICES", "PROJECTION", "as_weights", "register_weights", "reset_weights", "weight_shapes"]

MATRICES = len(Weights._fields) - 1
"""The number of matrices and biases, which come first in a sequence of weights; the learned vectors follow."""
PROJECTION = Weights._fields.index("weight_hr")
"""The index of the projection among them."""


def weight_shapes(
    cell: Cell, inputs: int, hidden: int, bias: bool, projection: int = 0, heads: int = 1
) -> dict[str, tuple[int, ...] | None]:
    """Return the shapes of the weights of one layer and direction, None for those that it does not have.

    The first are the matrices and biases of `Weights`, in order; then come the learned vectors.
    """
    rows, recurrent = len(cell.gates) * hidden, len(cell.recurrent) * hidden
    return {
        "weight_ih": (rows, inputs),
        "weight_hh": (recurrent, (projection or hidden) // heads) if recurrent else None,
        "bias_ih": (rows,) if bias else None,
        "bias_hh": (recurrent,) if bias and recurrent else None,
        "weight_hr": (projection, hidden) if projection else None,
        **dict.fromkeys(cell.params, (hidden,)),
    }


def register_weights(
    module: Module,
    shapes: dict[str, tuple[int, ...] | None],
    suffix: str,
    device: Any,
    dtype: DTypeLike | None,
) -> list[str | None]:
    """Register a parameter for every shape in `module`; return their names, None for those without."""
    names: list[str | None] = []
    for kind, shape in shapes.items():
        if shape is not None:
            setattr(module, kind + suffix, Parameter(rt.empty(shape, dtype=dtype, device=device)))
        names.append(kind + suffix if shape is not None else None)
    return names


def reset_weights(module: Module, cell: Cell, hidden: int, names: list[str | None]) -> None:
    """Draw the weights of one layer and direction from U(-1/sqrt(H), 1/sqrt(H)), and initialise its vectors.

    Raises
    ------
    ValueError
        If the initialiser of a vector leaves an element unset.
    """
    bound = 1 / math.sqrt(hidden)
    matrices, vectors = names[: -len(cell.params) or None], names[len(names) - len(cell.params) :]
    for name in matrices:
        if name is not None:
            init.uniform_(getattr(module, name), -bound, bound)
    for param, name in zip(cell.params, vectors, strict=True):
        if name is not None:
            _initialise(getattr(module, name), param, cell)


def _initialise(vector: Parameter, param: str, cell: Cell) -> None:
    with rt.no_grad():
        vector.fill_(math.nan)  # to detect elements that are not written
        cell.initialisers[param](vector)
        if rt.isnan(vector).any():
            raise ArgumentValueError(
                f"the initialiser of the parameter {param} of cell {cell.name} left elements unset (or NaN): it is "
                "called with the Parameter and must fill it in place, like nn.init.zeros_ or lambda vector: "
                "vector.fill_(1.0)"
            )


def as_weights(cell: Cell, parts: Sequence[Any]) -> Weights:
    """Return the weights at the beginning of a sequence: matrices and biases, None for those missing, then vectors."""
    weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, *others = parts
    return Weights(weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, tuple(others[: len(cell.params)]))
