"""Argument validation of the recurrent core; code past this point assumes valid input."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.checks import are_plain, check_one_device, checked_array, checked_indices, is_count
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.numerics import philox
from rondeau.kernels.numerics.elements import ELEMENTS
from rondeau.kernels.recurrent.layout import Layout
from rondeau.kernels.recurrent.records import DEFAULT_SETTINGS, Run, Settings, Weights
from rondeau.kernels.runtime.devices import is_array

__all__ = [
    "check_count_of_inputs",
    "check_devices_of_run",
    "checked_arrays",
    "checked_ids",
    "checked_inputs",
    "checked_run",
    "checked_weights",
    "complete_settings",
    "state_widths",
]

Array = NDArray[Any]


def checked_run(run: Any) -> Run:
    """Return a run with every scalar that its cell reads.

    Raises
    ------
    TypeError
        If it is not a `Run`, or a part of it has the wrong type.
    ValueError
        If its settings do not match the cell, or a number of steps is invalid.
    """
    if not isinstance(run, Run):
        raise ArgumentTypeError(f"run must be a Run of rondeau.kernels.sequence, got {type(run).__name__}")
    if not isinstance(run.layout, Layout):
        raise ArgumentTypeError(
            f"layout must be a Layout of rondeau.kernels.sequence, got {type(run.layout).__name__}"
        )
    if run.recompute_every is not None and not is_count(run.recompute_every, at_least=1):
        raise ArgumentValueError(
            f"recompute_every must be a number of steps, at least 1, got {run.recompute_every!r}"
        )
    if run.truncate is not None and (
        not is_count(run.truncate, at_least=0) or run.recompute_every is not None
    ):
        raise ArgumentValueError(
            "truncate must be a number of earlier steps, at least 0, in a run without recompute_every, got "
            f"{run.truncate!r}"
        )
    if run.settings is DEFAULT_SETTINGS and not run.cell.schedule.scalars:
        return run
    settings = complete_settings(run.cell, run.settings)
    return run if settings is run.settings else run._replace(settings=settings)


def complete_settings(cell: Cell, settings: Settings) -> Settings:
    """Return settings with every scalar that the cell reads.

    Scalars that are not given have their defaults. Rates become multiples of 2**-24, like the random numbers, so that
    comparing the two does not depend on the dtype.

    Raises
    ------
    TypeError
        If a setting has the wrong type.
    ValueError
        If a scalar is unknown, a rate is missing, or a number is out of range.

    Examples
    --------
    >>> from rondeau.kernels.sequence import Cell, Settings
    >>> leaky = Cell(lambda x, r, s, *, rate=0.1: s.h + rate * (x.h + r.h - s.h), ("h",), ("h",), "leaky")
    >>> complete_settings(leaky, Settings()).scalars
    {('k', 'rate'): 0.1}
    """
    _check_settings(settings)
    if not cell.schedule.scalars and not settings.scalars:
        return settings
    given = {("k", name): value for name, value in cell.scalars.items()} | dict(settings.scalars)
    wanted = cell.schedule.scalars
    missing = [name for kind, name in wanted if (kind, name) not in given]
    unknown = [name for kind, name in given if kind == "k" and name not in cell.scalars]
    if missing or unknown:
        raise ArgumentValueError(
            f"cell {cell.name} must be given the scalars {', '.join(cell.scalars) or 'none'} and its zoneout rates, "
            f"got {', '.join(unknown) or 'none'} besides them and nothing for {', '.join(missing) or 'none'}"
        )
    rounded = {
        scalar: philox.threshold_of(value) * 2.0**-24 if scalar[0] == "rate" else value
        for scalar, value in given.items()
    }
    return settings._replace(scalars=rounded)


def _check_settings(settings: Any) -> None:
    """Raise an error for settings of the wrong type, or with values that no kernel accepts."""
    if not isinstance(settings, Settings):
        raise ArgumentTypeError(f"settings must be Settings of rondeau.kernels.sequence, got {settings!r}")
    scalars = settings.scalars
    # Check for a dict first: the check for a Mapping takes twenty times as long.
    is_mapping = type(scalars) is dict or isinstance(scalars, Mapping)
    if not is_mapping or not all(isinstance(key, tuple) and len(key) == 2 for key in scalars):
        raise ArgumentTypeError(f'scalars must be a dict with keys such as ("k", name), got {scalars!r}')
    for (_, name), value in scalars.items():
        if type(value) is not float and not isinstance(value, numbers.Real):
            raise ArgumentTypeError(f"the scalar {name} must be a number, got {value!r}")
    for name, value, most in (("key", settings.key, 2**64), ("substream", settings.substream, 2**32)):
        if not is_count(value, at_least=0) or value >= most:
            raise ArgumentValueError(
                f"{name} of the settings must be an integer from 0 to {most} - 1, got {value!r}"
            )


def state_widths(cell: Cell, weights: Weights) -> tuple[int, ...]:
    """Return the width of each state: P for the first, H for the others."""
    hidden = weights.weight_ih.shape[0] // len(cell.gates)
    first = hidden if weights.weight_hr is None else weights.weight_hr.shape[0]
    return (first,) + (hidden,) * (len(cell.states) - 1)


def checked_arrays(
    run: Run, x: Any, weights: Weights, initial: Any
) -> tuple[Array, Weights, tuple[Array, ...] | None]:
    """Return the arrays for a checked run, contiguous; without initial states they are zeros."""
    cell, layout = run.cell, run.layout
    weights = checked_weights(cell, weights, run.settings.num_heads)
    if "cupy" in sys.modules:
        of_states = zip(cell.states, initial or (), strict=False)
        check_devices_of_run(cell, weights, x=x, **{f"state {name}": array for name, array in of_states})
    x = _checked_x(layout, x, weights.weight_ih)
    if initial is None:
        return x, weights, None
    if not isinstance(initial, tuple | list) or len(initial) != len(cell.states):
        got = len(initial) if isinstance(initial, tuple | list) else type(initial).__name__
        raise ArgumentValueError(f"initial must be one array per state ({', '.join(cell.states)}), got {got}")
    widths, dtype = state_widths(cell, weights), weights.weight_ih.dtype
    initial = tuple(
        [
            checked_array(f"initial {state}", array, (layout.batch_size, width), dtype)
            for state, array, width in zip(cell.states, initial, widths, strict=True)
        ]
    )
    return x, weights, initial


def check_devices_of_run(cell: Cell, weights: Weights, /, **others: Any) -> None:
    """Raise ValueError unless the arrays of a run are all on one device."""
    *arrays, params = weights
    vectors = {f"parameter {name}": vector for name, vector in zip(cell.params, params, strict=False)}
    check_one_device(
        f"cell {cell.name}", **dict(zip(Weights._fields, arrays, strict=False)), **vectors, **others
    )


def check_count_of_inputs(cell: Cell, inputs: Any) -> None:
    """Raise ValueError unless there are as many named inputs as the cell has."""
    if not isinstance(inputs, tuple | list) or len(inputs) != len(cell.inputs):
        got = len(inputs) if isinstance(inputs, tuple | list) else type(inputs).__name__
        raise ArgumentValueError(
            f"inputs must be {len(cell.inputs)} arrays, the named inputs of cell {cell.name} "
            f"({', '.join(cell.inputs) or 'none'}), got {got}"
        )


def checked_inputs(
    cell: Cell, inputs: Any, steps: int, sequences: int, hidden: int, dtype: np.dtype[Any]
) -> tuple[Array, ...]:
    """Return the named inputs of a run as contiguous arrays: one per row of a step, or one per sequence.

    `hidden` is H, and the dtype that of the weights.

    Raises
    ------
    TypeError
        If one is not an array of the weights' dtype.
    ValueError
        If there are more or fewer than the cell has, or one has another shape than its kind and form ask for.
    """
    check_count_of_inputs(cell, inputs)
    return tuple(
        [
            checked_array(
                f"input {name} of cell {cell.name}", array,
                (steps if kind == "step" else sequences, 1 if name in cell.forms.numbers else hidden), dtype,
            )
            for (name, kind), array in zip(cell.inputs.items(), inputs, strict=True)
        ]
    )  # fmt: skip


def checked_weights(cell: Cell, weights: Weights, heads: int) -> Weights:
    """Return the weights of a layer, checked and contiguous."""
    if not isinstance(weights, Weights):
        raise ArgumentTypeError(
            f"weights must be Weights of rondeau.kernels.sequence, got {type(weights).__name__}"
        )
    weight_ih = weights.weight_ih
    if (type(weight_ih) is not np.ndarray and not is_array(weight_ih)) or weight_ih.dtype not in ELEMENTS:
        kind = str(weight_ih.dtype) if is_array(weight_ih) else type(weight_ih).__name__
        raise ArgumentTypeError(f"weight_ih must be an array of float32 or float64, got {kind}")
    dtype, gates, recurrent = weight_ih.dtype, len(cell.gates), len(cell.recurrent)
    if weight_ih.ndim != 2 or weight_ih.shape[0] % gates:
        raise ArgumentValueError(
            f"weight_ih must have shape ({gates} * H, I) for {gates} gates, got {weight_ih.shape}"
        )
    rows, width = weight_ih.shape
    H = P = rows // gates
    if weights.weight_hr is not None:
        P = _checked_projection(cell, weights.weight_hr, heads)
    if not is_count(heads, at_least=1) or H % heads:
        raise ArgumentValueError(f"num_heads must be a divisor of the {H} hidden units, got {heads!r}")
    shapes = (
        (rows, width),
        (recurrent * H, P if heads == 1 else H // heads),
        (rows,),
        (recurrent * H,),
        (P, H),
    )
    if (weights.weight_hh is None) != (recurrent == 0):
        wanted = f"an array of shape {shapes[1]}" if recurrent else "None"
        raise ArgumentValueError(
            f"weight_hh must be {wanted}, because cell {cell.name} reads the "
            f"recurrent parts of {recurrent} gates; got {'None' if weights.weight_hh is None else 'an array'}"
        )
    params = weights.params
    if not isinstance(params, tuple | list) or len(params) != len(cell.params):
        got = len(params) if isinstance(params, tuple | list) else type(params).__name__
        raise ArgumentValueError(
            f"params must be {len(cell.params)} vectors ({', '.join(cell.params)}), got {got}"
        )
    if params == () and are_plain(weights[:-1], shapes, dtype):
        return weights
    weight_ih, weight_hh, bias_ih, bias_hh, weight_hr = [
        None if array is None else checked_array(name, array, shape, dtype)
        for name, array, shape in zip(Weights._fields, weights, shapes, strict=False)
    ]
    vectors = [
        checked_array(name, vector, (H,), dtype) for name, vector in zip(cell.params, params, strict=True)
    ]
    return Weights(weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, tuple(vectors))


def _checked_x(layout: Layout, x: Any, weight_ih: Array) -> Array:
    """Return the input as a contiguous array, and ids as a copy."""
    width = weight_ih.shape[1]
    if not is_array(x) or x.dtype.kind not in "iu":
        return checked_array("x", x, (layout.num_rows, width), weight_ih.dtype)
    if x.shape != (layout.num_rows,):
        raise ArgumentValueError(
            f"x must be ids of shape ({layout.num_rows},), one per row of the layout, got {x.shape}"
        )
    # Copy: backward reads this, and the caller may overwrite it first.
    return checked_ids(x.copy(), width)


def checked_ids(ids: Array, width: int) -> Array:
    """Return ids as contiguous int64, after checking that they are from 0 to ``width - 1``.

    Raises
    ------
    IndexError
        If one is out of range; for ids on a GPU when something is next read from there.
    """

    def error(wrong: Any) -> Exception:
        return IndexError(f"x must be ids from 0 to {width - 1} (weight_ih has {width} columns), got {wrong}")

    return checked_indices(ids, width, error).astype(np.int64, order="C", copy=False)


def _checked_projection(cell: Cell, weight_hr: Any, heads: int) -> int:
    """Return the width P to which the first state is projected, after checking that the cell allows it."""
    if not is_array(weight_hr) or weight_hr.ndim != 2 or not weight_hr.shape[0]:
        got = f"shape {weight_hr.shape}" if is_array(weight_hr) else type(weight_hr).__name__
        raise ArgumentValueError(f"weight_hr must be an array of shape (P, H) with P at least 1, got {got}")
    reason = cell.reason_against_projection
    if reason is not None or not is_count(heads, at_least=1) or heads != 1:
        raise ArgumentValueError(
            f"weight_hr must be None: {reason or 'heads see the units of the first state'}"
        )
    return int(weight_hr.shape[0])
