"""How a kernel has shares of its work done by the threads of the pool: `run_shares`.

From the body of each ``prange`` Numba makes a function of its own, with an entry for its pool, and the kernel has the
body once more if it also runs on the calling thread alone. To compile all that took as long as everything else, so a
single loop is parallel, for the whole library: it gets the address of a function and that of a record of its arguments,
and calls it once per share.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.core.callconv import RETCODE_USEREXC, Status
from numba.extending import intrinsic

from rondeau.kernels.runtime.compiler import borrowed
from rondeau.kernels.runtime.compiling import address_of, cached_njit, linked_njit
from rondeau.kernels.runtime.symbols import need_symbol, provide_symbol

__all__ = ["bounds_of_share", "indices_of_share", "run_alone", "run_shares"]

_SYMBOL = "rondeau_run_shares"
_WORD = ir.IntType(types.intp.bitwidth)
_POINTER = ir.IntType(8).as_pointer()
_SHARE = ir.FunctionType(ir.VoidType(), [_POINTER, _WORD, _WORD])
_ADDRESSES = (types.intp, types.intp, types.intp)


@linked_njit
def bounds_of_share(size: Any, share: Any, shares: Any) -> Any:
    """Return the first of the ``size`` items that belong to a share, and the first that belongs to the next."""
    return share * size // shares, (share + 1) * size // shares


@linked_njit
def indices_of_share(size: Any, share: Any, shares: Any) -> Any:
    """Return the range of a share's items: unsigned, since a loop that tests for negative ones is not vectorised."""
    first, last = bounds_of_share(size, share, shares)
    return range(np.uintp(first), np.uintp(last))


@intrinsic
def _call_share(_: Any, function: Any, record: Any, share: Any, shares: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function, record, share, shares = arguments
        call = builder.inttoptr(function, _SHARE.as_pointer())
        builder.call(call, [builder.inttoptr(record, _POINTER), share, shares])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.intp), generate


@cached_njit(parallel=True)
def _run(function, record, shares):  # type: ignore[no-untyped-def]
    """Call the function at an address once per share, with the address of its arguments."""
    for share in prange(shares):
        _call_share(function, record, np.intp(share), shares)


provide_symbol(_SYMBOL, lambda: address_of(_run, types.void(*_ADDRESSES)))


class _Body:
    """The function that computes a share, for given arguments, while the kernel that calls it is translated."""

    def __init__(self, typing: Any, function: Any, arguments: Any) -> None:
        self._given = tuple(arguments)
        self._function = function.dispatcher
        kinds = tuple(types.unliteral(kind) for kind in arguments)
        self.signature = function.get_call_type(typing, (*kinds, types.intp, types.intp), {})

    @property
    def kinds(self) -> Any:
        """The types of its arguments, without the share and the number of shares."""
        return self.signature.args[:-2]

    def arguments(self, context: Any, builder: Any, values: Any) -> list[Any]:
        """Return the items of the tuple `values`."""
        items = cgutils.unpack_tuple(builder, values, len(self._given))
        return [context.cast(builder, *item) for item in zip(items, self._given, self.kinds, strict=True)]

    def call(self, context: Any, builder: Any, arguments: list[Any], share: Any, shares: Any) -> Any:
        """Call it where it is inlined, which saves passing some hundred words, and return the status."""
        compiled = self._function.overloads[self.signature.args]
        context.active_code_library.add_linking_library(compiled.library)
        given = [borrowed(context, builder, *item) for item in zip(self.kinds, arguments, strict=True)]
        status, _ = context.call_conv.call_function(
            builder, context.declare_function(builder.module, compiled.fndesc), self.signature.return_type,
            self.signature.args, [*given, share, shares], attrs=("alwaysinline",),
        )  # fmt: skip
        return status

    def write_call(self, context: Any, module: Any) -> Any:
        """Write a function that calls it with the arguments in a record, whose first field is for an error."""
        error = context.call_conv.get_function_type(types.none, ()).args[1].pointee
        record = ir.LiteralStructType([error, *(context.get_value_type(kind) for kind in self.kinds)])
        function = ir.Function(
            module,
            ir.FunctionType(ir.VoidType(), [record.as_pointer(), _WORD, _WORD]),
            module.get_unique_name("rondeau_share"),
        )
        function.linkage = "internal"
        function.attributes.add("noinline")
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        at, share, shares = function.args
        fields = [builder.load(cgutils.gep_inbounds(builder, at, 0, k + 1)) for k in range(len(self.kinds))]
        status = self.call(context, builder, fields, share, shares)
        with cgutils.if_unlikely(builder, status.is_error):
            builder.store(status.excinfoptr, cgutils.gep_inbounds(builder, at, 0, 0))
        builder.ret_void()
        return function


@intrinsic
def run_alone(typing: Any, function: Any, arguments: Any, shares: Any) -> Any:
    """Do as `run_shares` with a single share, without a record: for kernels that take a few microseconds."""
    body = _Body(typing, function, arguments)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        given = body.arguments(context, builder, values[1])
        status = body.call(context, builder, given, _WORD(0), _WORD(1))
        with cgutils.if_unlikely(builder, status.is_error):
            context.call_conv.return_status_propagate(builder, status)
        return context.get_dummy_value()

    return types.void(function, arguments, types.intp), generate


@intrinsic
def run_shares(typing: Any, function: Any, arguments: Any, shares: Any) -> Any:
    """Call ``function(*arguments, share, shares)`` for every share, on the threads of the pool.

    A single share runs on the calling thread, without waking the pool.

    Parameters
    ----------
    function : LinkedFunction
        Its result is ignored. An error that one of the calls raises is raised here.
    arguments : tuple
    shares : int

    Examples
    --------
    >>> from rondeau.kernels.runtime.compiling import kernel_njit
    >>> @linked_njit
    ... def fill(out, value, share, shares):
    ...     for i in indices_of_share(out.size, share, shares):
    ...         out[i] = value
    >>> @kernel_njit
    ... def fill_in_shares(out, value, shares):
    ...     run_shares(fill, (out, value), shares)
    >>> out = np.empty(3)
    >>> fill_in_shares(out, 7, 2)
    >>> out
    array([7., 7., 7.])
    """
    body = _Body(typing, function, arguments)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        shares, call = values[2], body.write_call(context, builder.module)
        record = cgutils.alloca_once(builder, call.args[0].type.pointee)
        error = cgutils.gep_inbounds(builder, record, 0, 0)
        builder.store(cgutils.get_null_value(error.type.pointee), error)
        for k, value in enumerate(body.arguments(context, builder, values[1])):
            builder.store(value, cgutils.gep_inbounds(builder, record, 0, k + 1))
        with builder.if_else(builder.icmp_signed("==", shares, _WORD(1))) as (alone, together):
            with alone:
                builder.call(call, [record, _WORD(0), shares])
            with together:
                need_symbol(_SYMBOL)
                kind = context.call_conv.get_function_type(types.none, _ADDRESSES)
                run = cgutils.get_or_insert_function(builder.module, kind, _SYMBOL)
                addresses = [builder.ptrtoint(pointer, _WORD) for pointer in (call, record)]
                context.call_conv.call_function(builder, run, types.none, _ADDRESSES, [*addresses, shares])
        failed = builder.load(error)
        with cgutils.if_unlikely(builder, cgutils.is_not_null(builder, failed)):
            status = dict.fromkeys(Status._fields) | {"code": RETCODE_USEREXC, "excinfoptr": failed}
            context.call_conv.return_status_propagate(builder, Status(**status))
        return context.get_dummy_value()

    return types.void(function, arguments, types.intp), generate
