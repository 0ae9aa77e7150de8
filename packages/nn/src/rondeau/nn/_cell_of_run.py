"""The cell that a recurrent layer runs, with its regularisers, and the scalars it runs with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.sequence import Cell, Regularisers

from ._checks import check_number

__all__ = ["cell_of_run", "checked_hyperparameters", "scalars_of_run"]


def cell_of_run(
    cell: Cell, recurrent_dropout: float, zoneout: Mapping[str, float], is_training: bool
) -> Cell:
    """Return the cell with masks in training, with the expectation of zoneout in evaluation."""
    if recurrent_dropout == 0 and not zoneout:
        return cell
    drops = is_training and recurrent_dropout > 0
    return cell.regularised(Regularisers(drops, tuple(zoneout), bool(zoneout) and not is_training))


def scalars_of_run(
    cell: Cell, hyperparameters: Any, zoneout: Mapping[str, float]
) -> dict[tuple[str, str], float]:
    """Return the scalars of the run by their place in the language of cells; the hyperparameters are checked."""
    if type(hyperparameters) is dict and not (hyperparameters or cell.scalars or zoneout):
        return {}
    given = {("k", name): value for name, value in checked_hyperparameters(cell, hyperparameters).items()}
    return given | {("rate", state): rate for state, rate in zoneout.items()}


def checked_hyperparameters(cell: Cell, hyperparameters: Any) -> dict[str, float]:
    """Return a number for each of the cell's scalars.

    Raises
    ------
    TypeError
        If they are no mapping, or one is no number.
    ValueError
        If the cell has no such scalar, or one is missing.
    """
    wanted = ", ".join(cell.scalars) or "none"
    if not isinstance(hyperparameters, Mapping):
        raise ArgumentTypeError(
            f"hyperparameters should be a mapping of names to numbers, got {hyperparameters!r}; the scalars of cell "
            f"{cell.name} are: {wanted}"
        )
    for name, value in hyperparameters.items():
        if name not in cell.scalars:
            raise ArgumentValueError(f"cell {cell.name} has no scalar {name!r}; its scalars are: {wanted}")
        check_number(f"hyperparameter {name}", value)
    if hyperparameters.keys() != cell.scalars.keys():
        raise ArgumentValueError(f"hyperparameters should have a value for each of: {wanted}")
    return dict(hyperparameters)
