"""Functions that are compiled once per dtype, into a library of their own, and called by other kernels."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from rondeau.kernels.numerics.elements import ELEMENTS, Element
from rondeau.kernels.runtime.compiling import address_of, addressed_njit
from rondeau.kernels.runtime.symbols import need_symbol, provide_symbol

__all__ = ["compiled_once"]


def compiled_once(
    signature_of: Callable[[Element], Any], elements: Iterable[Element] = tuple(ELEMENTS.values())
) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function once per number format, for other kernels to call by symbol, rather than into each of them.

    Numba compiles a function again into every caller, level by level: a product and its packing added a second to every
    kernel that uses them.

    Parameters
    ----------
    signature_of : callable
        Returns the function's signature, without a result, for an `Element`. A call selects the signature that matches
        its arguments.
    elements : iterable of Element
        The formats; those of arrays by default.

    Returns
    -------
    callable
        A decorator; the decorated function can only be called from compiled code.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = addressed_njit(function)
        signatures = {
            f"rondeau_{function.__name__.strip('_')}_{element.name}": signature_of(element)
            for element in elements
        }

        for symbol, signature in signatures.items():
            provide_symbol(symbol, functools.partial(address_of, dispatcher, signature))

        def call(typingctx: Any, *given: Any) -> Any:
            def fits(signature: Any) -> bool:
                pairs = zip(given, signature.args, strict=True)
                return all(typingctx.can_convert(ours, theirs) is not None for ours, theirs in pairs)

            fitting = [(symbol, signature) for symbol, signature in signatures.items() if fits(signature)]
            if not fitting:
                return None
            symbol, signature = fitting[0]

            def codegen(context: Any, builder: Any, _: Any, values: Any) -> Any:
                need_symbol(symbol)
                kind = context.call_conv.get_function_type(types.none, signature.args)
                native = cgutils.get_or_insert_function(builder.module, kind, symbol)
                context.call_conv.call_function(builder, native, types.none, signature.args, values)
                return context.get_dummy_value()

            return signature, codegen

        # Numba reads an intrinsic's parameters here, and would take *given as a single tuple.
        context = inspect.Parameter("typingctx", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(function).parameters.values()
        call.__signature__ = inspect.Signature([context, *parameters])  # type: ignore[attr-defined]
        return intrinsic(call)

    return decorate
