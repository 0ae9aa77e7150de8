"""Calls of compiled phases from drivers: by address, with the signature that all phases of a dtype share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from rondeau.kernels.cpu.storage import storage_type

__all__ = ["ARGUMENTS", "call_phase", "phase_signature"]

#: The arguments of every phase; see `rondeau.kernels.cpu.emit`.
ARGUMENTS = "storage, row, old, new, batch, count, low, high"


def phase_signature(dtype: Any) -> numba.core.typing.templates.Signature:
    """Return the signature that all phases of a dtype share."""
    sizes = [types.intp] * (len(ARGUMENTS.split(", ")) - 1)
    return types.void(storage_type(np.dtype(dtype)), *sizes)


@intrinsic
def call_phase(_: Any, address: Any, arguments: Any) -> tuple[Any, Callable[..., Any]]:
    """Call the phase at an address with a tuple of arguments.

    Numba's own first-class functions do the same, but look up the function in Python at each launch (40 us).
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kinds = tuple(arguments)
        function = context.call_conv.get_function_type(types.void, kinds)
        phase = builder.inttoptr(values[0], function.as_pointer())
        context.call_conv.call_function(
            builder, phase, types.void, kinds, cgutils.unpack_tuple(builder, values[1], len(kinds))
        )
        return context.get_dummy_value()

    return types.void(address, arguments), generate
