"""Decorators that make elementwise operators from array functions.

A decorator adds what all operators of its kind share: the conversion of arguments, the recording of the derivative, the
error for types that NumPy does not accept, and the sections ``Parameters`` and ``Returns`` of the docstring.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.tensor._arguments import array_of, no_tensor, refused
from rondeau.tensor._dtypes import float32, float64, get_default_dtype
from rondeau.tensor._graph import Memory, Node, Op, Recorded, attach, wrap
from rondeau.tensor._modes import modes
from rondeau.tensor._ops._operands import as_float, cast, on_one_device, pair

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor

Number = float | int | bool
Unary = Callable[["Tensor"], "Tensor"]
Binary = Callable[
    ["Tensor | Number | np.ndarray[Any, Any]", "Tensor | Number | np.ndarray[Any, Any]"], "Tensor"
]

#: The result of most operators of two operands.
COMMON = "With the broadcast shape and the common type."
_COMMON_FLOAT = "With the broadcast shape and the common floating-point type."


def _completed(doc: str | None, parameters: str, returns: str) -> str | None:
    """Return a docstring with the sections that all operators of a kind share, inserted after its summary."""
    if doc is None:  # python -OO
        return None
    summary, *sections = re.split(r"\n\n(?=\w+\n---)", inspect.cleandoc(doc))
    shared = [f"Parameters\n----------\n{parameters}", f"Returns\n-------\nTensor\n    {returns}"]
    return "\n\n".join([summary, *shared, *sections])


def _one(operator: Unary, returns: str) -> Unary:
    """Complete the docstring of an operator of one tensor."""
    operator.__doc__ = _completed(operator.__doc__, "x : Tensor", returns)
    return operator


def _two(operator: Binary, returns: str) -> Binary:
    """Complete the docstring of an operator of two operands."""
    operator.__doc__ = _completed(operator.__doc__, "a, b : Tensor, ndarray or number", returns)
    return operator


def unary(vjp: Callable[[Any, Any, Any], Any]) -> Callable[[Callable[[Any], Any]], Unary]:
    """Make an elementwise operator that keeps the type of its tensor from its array function.

    The array function runs as it is; if it could raise floating-point warnings, it must suppress them itself.

    Parameters
    ----------
    vjp : callable
        ``vjp(g, out, x)``, as in `Op`.
    """

    def make(forward: Callable[[Any], Any]) -> Unary:
        op = Op(forward.__name__, vjp)
        local = modes

        @functools.wraps(forward)
        def operator(x: Tensor) -> Tensor:
            try:
                result = wrap(forward(x._array))
            except (TypeError, ValueError, AttributeError) as error:
                raise refused(error, forward.__name__, array_of(x)) from error
            if x._node is not None and local.recording:
                attach(result, op, (x,), ())
            return result

        return _one(operator, "With the shape and type of `x`.")

    return make


def float_unary(vjp: Callable[[Any, Any, Any], Any]) -> Callable[[Callable[[Any], Any]], Unary]:
    """Make an elementwise operator of floats from its array function; integers become float32, as in PyTorch.

    Parameters
    ----------
    vjp : callable
        ``vjp(g, out, x)``, as in `Op`.
    """

    def make(forward: Callable[[Any], Any]) -> Unary:
        op = Op(forward.__name__, vjp)
        keep_output, keep_input = op.kept((True,))
        local = modes

        @functools.wraps(forward)
        def operator(x: Tensor) -> Tensor:
            try:
                array = x._array
            except AttributeError:
                raise no_tensor(x) from None
            dtype = array.dtype
            if dtype is not float32 and dtype is not float64 and dtype.kind != "f":
                x = cast(x, get_default_dtype())
                array = x._array
            result = wrap(local.quiet(forward, array))
            parent = x._node
            if parent is not None and local.recording:
                result._node = node = Node(
                    op, (parent,), (result._array if keep_output else None, x if keep_input else None)
                )
                if keep_output:
                    node.memory = result._memory = Memory()
            return result

        return _one(operator, "With the shape of `x`; integers give float32.")

    return make


def binary(
    vjp_a: Callable[[Any, Any, Any, Any], Any],
    vjp_b: Callable[[Any, Any, Any, Any], Any],
    fractional: bool = False,
) -> Callable[[Callable[[Any, Any], Any]], Binary]:
    """Make an elementwise operator of two operands from its array function; either may be a number or an array.

    Parameters
    ----------
    vjp_a, vjp_b : callable
        ``vjp(g, out, a, b)``, as in `Op`; broadcasting is undone after them.
    fractional : bool
        The result of integers is float32.
    """

    def make(forward: Callable[[Any, Any], Any]) -> Binary:
        op = Op(forward.__name__, vjp_a, vjp_b)
        kept = {(a, b): op.kept((a, b)) for a in (False, True) for b in (False, True)}
        local = modes

        def record_pair(result: Tensor, a: Any, b: Any, parent_a: Any, parent_b: Any) -> None:
            keep_output, keep_a, keep_b = kept[parent_a is not None, parent_b is not None]
            result._node = node = Node(
                op,
                (parent_a, parent_b),
                (result._array if keep_output else None, a if keep_a else None, b if keep_b else None),
            )
            if keep_output:
                node.memory = result._memory = Memory()

        @functools.wraps(forward)
        def operator(a: Any, b: Any) -> Tensor:
            if not (isinstance(a, Recorded) and isinstance(b, Recorded)):
                return with_constant(a, b)
            x, y = a._array, b._array
            dtype = x.dtype
            if dtype is not y.dtype or (dtype is not float32 and dtype is not float64):
                if fractional and dtype.kind != "f" and y.dtype.kind != "f":
                    # Not via their common integer type: uint8 could not hold a negative number.
                    a, b = cast(a, get_default_dtype()), cast(b, get_default_dtype())  # type: ignore[arg-type]
                a, b = pair(a, b)
                x, y = a._array, b._array
            try:
                result = wrap(local.quiet(forward, x, y))
            except (TypeError, ValueError, OverflowError) as error:
                if type(x) is not type(y):
                    return operator(*on_one_device(a, b))
                raise refused(error, forward.__name__, x, y) from error
            parent_a, parent_b = a._node, b._node
            if (parent_a is not None or parent_b is not None) and local.recording:
                record_pair(result, a, b, parent_a, parent_b)
                if x.shape != y.shape:
                    result._node.shapes = (x.shape, y.shape)  # type: ignore[union-attr]
            return result

        def with_constant(a: Any, b: Any) -> Tensor:
            """Do as `operator` does, if one operand is a number or an array."""
            a, b = pair(a, b)
            if isinstance(a, Recorded) and isinstance(b, Recorded):
                return operator(a, b)
            if fractional:
                a = as_float(a) if isinstance(a, Recorded) else a  # type: ignore[arg-type]
                b = as_float(b) if isinstance(b, Recorded) else b  # type: ignore[arg-type]
            try:
                if isinstance(a, Recorded):
                    result = wrap(local.quiet(forward, a._array, b))
                    if a._node is not None and local.recording:
                        record_pair(result, a, b, a._node, None)
                else:
                    result = wrap(local.quiet(forward, a, b._array))
                    if b._node is not None and local.recording:
                        record_pair(result, a, b, None, b._node)
            except (TypeError, ValueError, OverflowError) as error:
                raise refused(error, forward.__name__, a, b) from error
            return result

        return _two(operator, _COMMON_FLOAT if fractional else COMMON)

    return make


def discrete_unary(returns: str) -> Callable[[Callable[[Any], Any]], Unary]:
    """Make an elementwise operator of one tensor that no gradient flows through, from its array function.

    Parameters
    ----------
    returns : str
        The description of its result, for the docstring.
    """

    def make(forward: Callable[[Any], Any]) -> Unary:
        @functools.wraps(forward)
        def operator(x: Tensor) -> Tensor:
            array = array_of(x)
            try:
                return wrap(modes.quiet(forward, array))
            except (TypeError, ValueError, OverflowError) as error:
                raise refused(error, forward.__name__, array) from error

        return _one(operator, returns)

    return make


def discrete_binary(returns: str) -> Callable[[Callable[[Any, Any], Any]], Binary]:
    """Make an elementwise operator of two operands that no gradient flows through, from its array function.

    Parameters
    ----------
    returns : str
        The description of its result, for the docstring.
    """

    def make(forward: Callable[[Any, Any], Any]) -> Binary:
        @functools.wraps(forward)
        def operator(a: Any, b: Any) -> Tensor:
            if not (isinstance(a, Recorded) and isinstance(b, Recorded) and a._array.dtype is b._array.dtype):
                a, b = pair(a, b)
            x = a._array if isinstance(a, Recorded) else a
            y = b._array if isinstance(b, Recorded) else b
            try:
                return wrap(modes.quiet(forward, x, y))
            except (TypeError, ValueError, OverflowError) as error:
                if isinstance(a, Recorded) and isinstance(b, Recorded) and type(x) is not type(y):
                    return operator(*on_one_device(a, b))  # type: ignore[arg-type]
                raise refused(error, forward.__name__, x, y) from error

        return _two(operator, returns)

    return make
