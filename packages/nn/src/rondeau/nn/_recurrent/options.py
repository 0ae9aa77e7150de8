"""The options of recurrent layers, and their checks."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.caller import warn_caller
from rondeau.kernels.sequence import Cell, Regularisers

from .. import cells
from .._checks import check_number, check_probability
from .._module import Module

__all__ = [
    "Options",
    "cell_of_run",
    "check_cell",
    "check_dropouts",
    "check_projection",
    "check_steps",
    "checked_hyperparameters",
    "completed_hyperparameters",
    "refuse_unknown",
    "renamed_checkpoint_every",
    "scalars_of_run",
    "zoneout_rates",
]


class Options(TypedDict, total=False):
    """The keyword-only options of `Recurrent`, which `RNN`, `GRU` and `LSTM` pass on."""

    num_heads: int
    hyperparameters: Mapping[str, float] | None
    recurrent_dropout: float
    zoneout: float | Mapping[str, float]
    weight_dropout: float
    bptt_truncate: int | None
    recompute_every: int | None
    learn_initial_state: bool
    checkpoint_every: int | None


def check_cell(cell: Any) -> None:
    """Raise TypeError unless `cell` is a Cell; for a name or a class, the message suggests a cell.

    Raises
    ------
    TypeError
        If it is not a Cell.

    Examples
    --------
    >>> check_cell("lstm")
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentTypeError: cell must be made by nn.recurrent_cell, got 'lstm': did you mean ...
    """
    if isinstance(cell, Cell):
        return
    name = cell if isinstance(cell, str) else getattr(cell, "__name__", "") if isinstance(cell, type) else ""
    hint = "decorate the step with @nn.recurrent_cell(gates=..., states=...)"
    if name:
        named = {"rnn": "rnn_tanh"}.get(name.lower(), name.lower())
        near = difflib.get_close_matches(named, cells.__all__, n=1)
        hint = f"did you mean nn.cells.{near[0]}?" if near else f"nn.cells has {', '.join(cells.__all__)}"
    raise ArgumentTypeError(f"cell must be made by nn.recurrent_cell, got {cell!r}: {hint}")


def refuse_unknown(options: Mapping[str, Any], *makers: type[Module]) -> None:
    """Raise TypeError for unknown options; the message suggests options of the classes, the first of which was called.

    Raises
    ------
    TypeError
        As Python does for an unexpected keyword argument.

    Examples
    --------
    >>> from rondeau import nn
    >>> refuse_unknown({"bidirektional": True}, nn.LSTM)
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentTypeError: LSTM has no option 'bidirektional': did you mean bidirectional?
    """
    for option in options:
        names = [name for maker in makers for name in _option_names(maker)]
        near = difflib.get_close_matches(option, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(dict.fromkeys(names))}"
        raise ArgumentTypeError(f"{makers[0].__name__} has no option {option!r}: {hint}")


def _option_names(maker: type[Module]) -> list[str]:
    """Return the names of all arguments of a class and its base classes."""
    inits = [
        vars(base)["__init__"] for base in maker.__mro__ if "__init__" in vars(base) and base is not object
    ]
    parameters = [p for init in inits for p in inspect.signature(init).parameters.values()]
    return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD and p.name not in ("self", "cell")]


def check_dropouts(cell: Cell, **rates: Any) -> None:
    """Raise ValueError for rates that are not probabilities, or that need recurrent matrices if the cell has none.

    Raises
    ------
    ValueError
        The message names the rate.
    """
    for name, rate in rates.items():
        check_probability(name, rate)
        if rate > 0 and not cell.recurrent:
            raise ArgumentValueError(
                f"cell {cell.name} has no recurrent matrices, so {name} has nothing to act on; use zoneout"
            )


def zoneout_rates(cell: Cell, zoneout: Any) -> dict[str, float]:
    """Return the rates above zero, by the names of states.

    Raises
    ------
    ValueError
        If a rate is not a probability, or is given for a state that the cell does not have.
    """
    rates = dict(zoneout) if isinstance(zoneout, Mapping) else dict.fromkeys(cell.states, zoneout)
    for state, rate in rates.items():
        if state not in cell.states:
            raise ArgumentValueError(
                f"zoneout names the state {state!r}, but cell {cell.name} has {', '.join(cell.states)}"
            )
        is_number = isinstance(rate, int | float | np.integer | np.floating) and not isinstance(rate, bool)
        if not is_number or not 0 <= rate <= 1:
            raise ArgumentValueError(
                f"zoneout must be the probability of a unit keeping its old state, from 0 to 1, got {rate!r:.80}"
            )
    return {state: float(rate) for state, rate in rates.items() if rate > 0}


def check_steps(name: str, steps: Any, least: int) -> None:
    """Raise an error unless `steps` is None or a number of steps."""
    if steps is None:
        return
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < least:
        raise ArgumentValueError(f"{name} must be None or a number of steps, at least {least}, got {steps!r}")


def renamed_checkpoint_every(checkpoint_every: Any, recompute_every: Any) -> Any:
    """Return `recompute_every` as given under its former name, with a DeprecationWarning.

    Raises
    ------
    TypeError
        If it is given under both names.
    """
    if recompute_every is not None:
        raise ArgumentTypeError(
            "checkpoint_every is the former name of recompute_every: pass only the latter"
        )
    warn_caller("checkpoint_every was renamed: use recompute_every", DeprecationWarning)
    return checkpoint_every


def check_projection(
    cell: Cell,
    proj_size: Any,
    hidden_size: int,
    num_heads: int,
    zoneout: Mapping[str, float],
) -> None:
    """Raise ValueError for an invalid size, or for a projection that the cell or another option does not allow.

    Raises
    ------
    ValueError
        The message names the conflicting option.
    """
    if isinstance(proj_size, bool) or not isinstance(proj_size, int | np.integer) or proj_size < 0:
        raise ArgumentValueError(
            f"proj_size should be a positive integer or zero to disable projections, got {proj_size!r}"
        )
    if proj_size >= hidden_size:
        raise ArgumentValueError(
            f"proj_size has to be smaller than hidden_size, got proj_size={proj_size} and "
            f"hidden_size={hidden_size}"
        )
    if proj_size == 0:
        if cell.project is not None:
            raise ArgumentValueError(
                f"cell {cell.name} projects its state {cell.project}: it needs a proj_size"
            )
        return
    if num_heads > 1:
        raise ArgumentValueError(
            f"num_heads={num_heads} divides the units of the first state, which proj_size={proj_size} mixes"
        )
    if cell.reason_against_projection is not None:
        raise ArgumentValueError(
            f"proj_size={proj_size} needs a cell that does not read its first state, which is projected: "
            f"{cell.reason_against_projection}"
        )
    first = cell.states[0]
    if first in zoneout:
        raise ArgumentValueError(
            f"zoneout of the state {first} keeps old values of {hidden_size} hidden units, of which "
            f"proj_size={proj_size} keeps {proj_size} features: name the other states, as in zoneout={{'c': 0.1}}"
        )


def cell_of_run(
    cell: Cell, recurrent_dropout: float, zoneout: Mapping[str, float], is_training: bool
) -> Cell:
    """Return the cell with masks in training, or with the expectation of zoneout in evaluation."""
    if recurrent_dropout == 0 and not zoneout:
        return cell
    drops = is_training and recurrent_dropout > 0
    return cell.variant(Regularisers(drops, tuple(zoneout), bool(zoneout) and not is_training))


def scalars_of_run(
    cell: Cell, hyperparameters: Any, zoneout: Mapping[str, float]
) -> dict[tuple[str, str], float]:
    """Return the scalars of the run, by their names in the cell language; the hyperparameters have been checked."""
    if type(hyperparameters) is dict and not (hyperparameters or cell.scalars or zoneout):
        return {}
    given = {("k", name): value for name, value in checked_hyperparameters(cell, hyperparameters).items()}
    return given | {("rate", state): rate for state, rate in zoneout.items()}


def completed_hyperparameters(cell: Cell, hyperparameters: Any) -> Any:
    """Return the cell's defaults updated with the given values; a non-mapping is returned as it is."""
    if hyperparameters is None:
        return cell.scalars
    return cell.scalars | dict(hyperparameters) if isinstance(hyperparameters, Mapping) else hyperparameters


def checked_hyperparameters(cell: Cell, hyperparameters: Any) -> dict[str, float]:
    """Return a number for each of the cell's scalars.

    Raises
    ------
    TypeError
        If they are not a mapping, or one is not a number.
    ValueError
        If the cell does not have such a scalar, or one is missing.
    """
    wanted = ", ".join(cell.scalars) or "none"
    if not isinstance(hyperparameters, Mapping):
        raise ArgumentTypeError(
            f"hyperparameters must be a mapping of names to numbers, got {hyperparameters!r}; the scalars of cell "
            f"{cell.name} are: {wanted}"
        )
    for name, value in hyperparameters.items():
        if name not in cell.scalars:
            raise ArgumentValueError(f"cell {cell.name} has no scalar {name!r}; its scalars are: {wanted}")
        check_number(f"hyperparameter {name}", value)
    if hyperparameters.keys() != cell.scalars.keys():
        raise ArgumentValueError(f"hyperparameters must have a value for each of: {wanted}")
    return dict(hyperparameters)
