"""How the arguments of operators become arrays of one type, and how one- and two-argument operators are made."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.tensor._arguments import array_of, no_tensor, plain_array, undefined
from rondeau.tensor._autograd import Changes, Node, Op, Recorded, modes, record, wrap
from rondeau.tensor._dtypes import (
    DEFAULT_FLOAT,
    as_dtype,
    float32,
    float64,
    result_type,
    scalar_result_type,
)

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor

Number = float | int | bool
Unary = Callable[["Tensor"], "Tensor"]
Binary = Callable[
    ["Tensor | Number | np.ndarray[Any, Any]", "Tensor | Number | np.ndarray[Any, Any]"], "Tensor"
]

_NUMBERS = (int, float, bool)

_CAST = Op("to", lambda g, _out, _x, dtype: _astype(g, dtype))


def _astype(g: Any, dtype: Any) -> Any:
    return g.astype(dtype) if not isinstance(g, Recorded) else cast(g, dtype)  # type: ignore[arg-type]


def cast(x: Tensor, dtype: np.dtype[Any]) -> Tensor:
    """Return `x` in another type; `x` itself where it already has it."""
    before = array_of(x).dtype
    if before == dtype:
        return x
    if dtype.kind != "f":
        return wrap(modes.quiet(x._array.astype, dtype))
    return record(_CAST, modes.quiet(x._array.astype, dtype), (x,), before)


def as_tensor(value: Any) -> Tensor:
    """Return an operand as a tensor: tensors as they are, arrays shared, Python numbers in the default types.

    Raises
    ------
    TypeError
        If it is made of no numbers.
    ValueError
        For nested lists whose rows differ in length.
    """
    if isinstance(value, Recorded):
        return value  # type: ignore[return-value]
    if isinstance(value, np.ndarray):
        native = value.dtype.isnative and value.dtype.kind in "biuf"
        return wrap(value if native else value.astype(as_dtype(value.dtype)))
    array = plain_array(value)
    if isinstance(value, np.generic):
        return wrap(array)
    return wrap(array.astype(DEFAULT_FLOAT) if array.dtype.kind == "f" else array)


def as_float(x: Tensor) -> Tensor:
    """Return `x`, integers and booleans as float32: what functions with a fractional result work on."""
    return x if array_of(x).dtype.kind == "f" else cast(x, DEFAULT_FLOAT)


def pair(a: Any, b: Any) -> tuple[Any, Any]:
    """Return two operands in their common type: both tensors, or one and a Python number that fits it."""
    if type(b) in _NUMBERS and isinstance(a, Recorded):
        dtype = a._array.dtype
        return a if dtype.kind == "f" else cast(a, scalar_result_type(dtype, b)), b  # type: ignore[arg-type]
    if type(a) in _NUMBERS and isinstance(b, Recorded):
        dtype = b._array.dtype
        return a, b if dtype.kind == "f" else cast(b, scalar_result_type(dtype, a))  # type: ignore[arg-type]
    a, b = as_tensor(a), as_tensor(b)
    dtype = result_type(a._array, b._array)
    return cast(a, dtype), cast(b, dtype)


def unary(vjp: Callable[[Any, Any, Any], Any]) -> Callable[[Callable[[Any], Any]], Unary]:
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
                x = cast(x, DEFAULT_FLOAT)
                array = x._array
            result = wrap(local.quiet(forward, array))
            parent = x._node
            if parent is not None and local.recording:
                result._node = node = Node(
                    op, (parent,), (result._array if keep_output else None, x if keep_input else None)
                )
                if keep_output:
                    node.changes = result._changes = Changes()
            return result

        return operator

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
                node.changes = result._changes = Changes()

        @functools.wraps(forward)
        def operator(a: Any, b: Any) -> Tensor:
            if not (isinstance(a, Recorded) and isinstance(b, Recorded)):
                return with_constant(a, b)
            x, y = a._array, b._array
            dtype = x.dtype
            if dtype is not y.dtype or (dtype is not float32 and dtype is not float64):
                a, b = pair(a, b)
                if fractional:
                    a, b = as_float(a), as_float(b)
                x, y = a._array, b._array
            try:
                result = wrap(local.quiet(forward, x, y))
            except (TypeError, OverflowError) as error:
                raise undefined(forward.__name__, x, y) from error
            parent_a, parent_b = a._node, b._node
            if (parent_a is not None or parent_b is not None) and local.recording:
                record_pair(result, a, b, parent_a, parent_b)
                if x.shape != y.shape:
                    result._node.shapes = (x.shape, y.shape)  # type: ignore[union-attr]
            return result

        def with_constant(a: Any, b: Any) -> Tensor:
            """As `operator`, where one operand is a number or an array."""
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
            except (TypeError, OverflowError) as error:
                raise undefined(forward.__name__, a, b) from error
            return result

        return operator

    return make


def predicate(forward: Callable[[Any], Any]) -> Unary:
    """Make an elementwise operator without a derivative of one tensor from its array function."""

    @functools.wraps(forward)
    def operator(x: Tensor) -> Tensor:
        array = array_of(x)
        try:
            return wrap(modes.quiet(forward, array))
        except (TypeError, OverflowError) as error:
            raise undefined(forward.__name__, array) from error

    return operator


def comparison(forward: Callable[[Any, Any], Any]) -> Binary:
    """Make an elementwise operator without a derivative of two operands from its array function."""

    @functools.wraps(forward)
    def operator(a: Any, b: Any) -> Tensor:
        if not (isinstance(a, Recorded) and isinstance(b, Recorded) and a._array.dtype is b._array.dtype):
            a, b = pair(a, b)
        x = a._array if isinstance(a, Recorded) else a
        y = b._array if isinstance(b, Recorded) else b
        try:
            return wrap(modes.quiet(forward, x, y))
        except (TypeError, OverflowError) as error:
            raise undefined(forward.__name__, x, y) from error

    return operator


def constant(value: int, x: Any) -> Any:
    """Return a number as an array in the type of `x`: NumPy converts a Python number as slowly as it adds it."""
    found = _CONSTANTS.get((value, x.dtype))
    return x.dtype.type(value) if found is None else found


_CONSTANTS = {
    (value, np.dtype(dtype)): np.full((), value, dtype)
    for value in (0, 1)
    for dtype in ("float32", "float64")
}
