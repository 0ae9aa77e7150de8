"""Records of arrays that are kept in memory between calls of a kernel.

Numba takes some 60 ns to make an array of Python's one of its own, and a record of 30 takes longer than a small kernel
runs. So a record that stays the same is written to memory once, and a kernel reads it from there. The caller keeps its
arrays alive. A record that was read does not own them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

from rondeau.kernels.runtime.compiler import borrowed

__all__ = ["memory_for", "reader", "write_record"]


def memory_for(kind: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return memory for a record of Numba's type `kind`: an array of any dtype."""
    context = cpu_target.target_context
    size = context.get_abi_sizeof(context.get_value_type(kind))
    return np.empty(-(-size // dtype.itemsize), dtype)


def _place(context: Any, builder: ir.IRBuilder, of_memory: Any, memory: Any, kind: Any) -> Any:
    """Return a pointer to the record in memory."""
    data = context.make_array(of_memory)(context, builder, memory).data
    return builder.bitcast(data, context.get_value_type(kind).as_pointer())


@intrinsic
def write_record(typingctx: Any, memory: Any, record: Any) -> Any:
    """Write a record to memory that `memory_for` gave."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
        kept = borrowed(context, builder, record, values[1])
        builder.store(kept, _place(context, builder, memory, values[0], record))
        return context.get_dummy_value()

    return types.void(memory, record), generate


def reader(kind_of: Callable[..., Any]) -> Any:
    """Return a function for compiled code that reads a record from memory.

    Parameters
    ----------
    kind_of : callable
        Returns Numba's type of the record for the types of the reader's arguments, `memory` and `like`: an array that
        decides the type.
    """

    @intrinsic
    def read(typingctx: Any, memory: Any, like: Any) -> Any:
        kind = kind_of(memory, like)

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> Any:
            record = builder.load(_place(context, builder, memory, values[0], kind))
            return borrowed(context, builder, kind, record)

        return kind(memory, like), generate

    return read
