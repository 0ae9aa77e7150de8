"""Lanes: rows of an array that the compiler knows not to overlap.

A phase reads and writes a dozen runs of one buffer: a gate here, a state there. LLVM vectorises such a
loop only if it can prove, or check at run time, that no store changes a later load, and gives up when there are
many. So each run is a value of its own type, `lanes(array, row, slot, scope)`: a pointer whose loads and stores
carry LLVM's ``alias.scope`` metadata and are declared not to alias those of any other scope. Within one scope
nothing is assumed, so ``lane[j]`` may be read and then written.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

__all__ = ["Lane", "lanes", "lanes_at"]

#: The largest number of lanes that one function can distinguish.
MAX_SCOPES = 96


class Lane(types.Type):  # type: ignore[misc]
    """A run of numbers of ``dtype`` that shares no memory with a run of another scope in the same function."""

    def __init__(self, dtype: types.Type, scope: int) -> None:
        self.dtype, self.scope = dtype, scope
        super().__init__(f"Lane({dtype}, {scope})")


@register_model(Lane)
class _LaneModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, data_model_manager: Any, lane: Lane) -> None:
        super().__init__(
            data_model_manager, lane, data_model_manager.lookup(lane.dtype).get_data_type().as_pointer()
        )


@intrinsic
def lanes(_: Any, array: Any, row: Any, slot: Any, scope: Any) -> tuple[Any, Callable[..., Any]] | None:
    """Return the run ``array[row, slot]`` of a C-contiguous 3-D array as a `Lane`; bounds are not checked."""
    if not isinstance(scope, types.IntegerLiteral) or not 0 <= scope.literal_value < MAX_SCOPES:
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        struct = context.make_array(signature.args[0])(context, builder, arguments[0])
        _, slots, width = (builder.extract_value(struct.shape, k) for k in range(3))
        run = builder.add(builder.mul(arguments[1], slots), arguments[2])
        return builder.gep(struct.data, [builder.mul(run, width)])

    return Lane(array.dtype, scope.literal_value)(array, types.intp, types.intp, scope), generate


@intrinsic
def lanes_at(_: Any, like: Any, address: Any, row: Any, scope: Any) -> tuple[Any, Callable[..., Any]] | None:
    """Return run ``row`` of the contiguous runs at an address, as long as those of the 3-D array ``like``, as a `Lane`.

    The caller keeps the memory alive; bounds are not checked.
    """
    if not isinstance(scope, types.IntegerLiteral) or not 0 <= scope.literal_value < MAX_SCOPES:
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        struct = context.make_array(signature.args[0])(context, builder, arguments[0])
        width = builder.extract_value(struct.shape, 2)
        start = builder.inttoptr(arguments[1], context.get_value_type(like.dtype).as_pointer())
        return builder.gep(start, [builder.mul(arguments[2], width)])

    return Lane(like.dtype, scope.literal_value)(like, types.intp, types.intp, scope), generate


@type_callable(operator.getitem)
def _type_getitem(_: Any) -> Callable[..., Any]:
    def typer(lane: Any, index: Any) -> Any:
        return lane.dtype if isinstance(lane, Lane) and isinstance(index, types.Integer) else None

    return typer


@type_callable(operator.setitem)
def _type_setitem(_: Any) -> Callable[..., Any]:
    def typer(lane: Any, index: Any, value: Any) -> Any:
        return (
            types.none
            if isinstance(lane, Lane) and isinstance(index, types.Integer) and value == lane.dtype
            else None
        )

    return typer


@lower_builtin(operator.getitem, Lane, types.Integer)
def _lower_getitem(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    lane = signature.args[0]
    load = builder.load(builder.gep(arguments[0], [arguments[1]]), align=lane.dtype.bitwidth // 8)
    _set_apart(builder.module, load, lane.scope)
    return load


@lower_builtin(operator.setitem, Lane, types.Integer, types.Float)
def _lower_setitem(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    lane = signature.args[0]
    store = builder.store(
        arguments[2], builder.gep(arguments[0], [arguments[1]]), align=lane.dtype.bitwidth // 8
    )
    _set_apart(builder.module, store, lane.scope)
    return context.get_dummy_value()


def _set_apart(module: ir.Module, access: Any, scope: int) -> None:
    """Mark a load or store as belonging to ``scope``, and as not aliasing any other scope."""
    domain = module.add_metadata(["rondeau lanes"])
    scopes = [module.add_metadata([f"rondeau lane {k}", domain]) for k in range(MAX_SCOPES)]
    others = scopes[:scope] + scopes[scope + 1 :]
    access.set_metadata("alias.scope", module.add_metadata([scopes[scope]]))
    access.set_metadata("noalias", module.add_metadata(others))
