"""Storage: the arrays that drivers and phases work on, as records.

Arrays that travel together are one record, a `NamedTuple`, which Numba accepts as it is: no caller can mix up two of
them. The types of a record's fields are declared next to it.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import types

from rondeau.kernels.recurrent.steps import Steps
from rondeau.kernels.runtime.signatures import INDICES, TABLE, array_type, record_type

__all__ = [
    "Products",
    "Projection",
    "Storage",
    "products_type",
    "projection_type",
    "steps_type",
    "storage_type",
]


class Storage(NamedTuple):
    """The arrays that a cell's phases read and write. N rows, B batch rows, H units; `Tape` has the other letters."""

    gates: Any
    """(N, S, H): the slots of all gates."""
    recurrent: Any
    """(N, R, H): the second slots of split gates."""
    bias: Any
    """(1, S + R, H): the bias of each slot; (1, 0, H) in backward."""
    values: Any
    """(N, V, H): the operands that the step computes."""
    row_values: Any
    """(N, 1, .): the values with one number per row."""
    states: Any
    """(states, B + N, H): every state before and after every step."""
    params: Any
    """(1, parameters, H): the learned vectors."""
    scalars: Any
    """(1, 1, scalars): the scalars of the run."""
    carry: Any
    """(max(B, 1), lanes, H): the values carried from one loop to another; those of prologues in the first row."""
    mask: Any
    """(B, 1, H): the mask of recurrent dropout; empty if the cell has none."""
    d_states: Any
    """(states, B, H): the adjoints of the states; empty in forward, as are the next two."""
    d_params: Any
    """(B, parameters, H): the adjoints of the learned vectors, summed over time."""
    d_values: Any
    """(V, B, H): the adjoints of the operands."""
    inputs: Any
    """The addresses of the named inputs, (N, H) or (N, 1) of a step, (B, H) or (B, 1) of a sequence, and then of their
    adjoints; in forward of the inputs alone."""
    positions: Any
    """(N, 2): each row's time and batch row in the caller's batch; empty if the cell draws no random numbers."""
    key: Any
    """The key of the call's random numbers."""
    substream: Any
    """The first of their substreams."""


class Products(NamedTuple):
    """The work of every step: the compiled phases, and the recurrent products between them."""

    phases: Any
    """The addresses of the compiled phases."""
    table: Any
    """The products, one per row; see `rondeau.kernels.cpu.blocks`."""
    ends: Any
    """(groups, shares + 1): where the products of a share in a group end."""
    weight_hh: Any
    """The recurrent matrices in the order of the buffers."""
    packed: Any
    """The memory in which they are packed."""


class Projection(NamedTuple):
    """The projected state, and its mask of recurrent dropout. Without a projection, all but `hidden` are empty."""

    hidden: Any
    """The first state as the recurrent matrices see it, (B + N, P); in backward its adjoint, (B, P)."""
    d_projected: Any
    """(N, P): in backward, the adjoints of the projected state after every step."""
    weight_hr: Any
    """(P, H): the matrix."""
    packed: Any
    """The memory in which it is packed."""
    keep: Any
    """(B, P): the mask, or empty."""
    seen: Any
    """(B, P): in forward, the masked state that the recurrent matrices multiply."""


@functools.cache
def storage_type(dtype: np.dtype[Any]) -> Any:
    """Return Numba's type of `Storage`."""
    fields = dict.fromkeys(Storage._fields, array_type(dtype, 3))
    fields |= {"inputs": INDICES, "positions": TABLE, "key": types.uint64, "substream": types.intp}
    return record_type(Storage, **fields)


@functools.cache
def products_type(dtype: np.dtype[Any], packed: np.dtype[Any]) -> Any:
    """Return Numba's type of `Products`; ``packed`` is the dtype of the packed operands."""
    return record_type(
        Products,
        phases=INDICES,
        table=TABLE,
        ends=TABLE,
        weight_hh=array_type(dtype, 2),
        packed=array_type(packed, 1),
    )


@functools.cache
def projection_type(dtype: np.dtype[Any], packed: np.dtype[Any]) -> Any:
    """Return Numba's type of `Projection`."""
    fields = dict.fromkeys(Projection._fields, array_type(dtype, 2)) | {"packed": array_type(packed, 1)}
    return record_type(Projection, **fields)


@functools.cache
def steps_type() -> Any:
    """Return Numba's type of the steps of a `Layout`."""
    return record_type(Steps, **dict.fromkeys(Steps._fields, INDICES))
