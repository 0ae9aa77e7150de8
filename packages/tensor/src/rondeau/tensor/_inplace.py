"""Changing a tensor in place, under PyTorch's rules.

The new values are computed by the ordinary operator and written into the old memory, and the tensor moves to the
operator's node. What had saved the old values notices in its backward. A leaf that requires gradients, or a view of
one, cannot be changed while recording. A changed *view* moves its base too: the base becomes "the old base outside
the view, the view's values inside", so gradients flow through both.

Two departures from PyTorch, which looks at every view anew after its base has changed. A recorded view that was taken
before a recorded change through *another* tensor shows the new values but has the old history: using it and calling
backward is an error that says so. A view that needed no gradient when it was taken goes on needing none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.tensor._arguments import refused
from rondeau.tensor._graph import (
    Node,
    Op,
    is_leaf_node,
    mark_changed,
    record_broadcast,
    same_memory,
    unwrap,
    wrap,
)
from rondeau.tensor._modes import modes
from rondeau.tensor._ops._operands import cast, no_gradient, value_for
from rondeau.tensor._ops.indexing import SETITEM, getitem, steps_of

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor


def _outside(g: Any, show: Callable[[Any], Any]) -> Any:
    """`g` with zeros inside the view that `show` gives."""
    keep = np.ones(g.shape, np.bool_)
    show(keep)[...] = False
    return np.where(keep, g, 0.0)


_REBASE = Op(
    "view_changed",
    lambda g, _out, _base, _view, show: _outside(g, show),
    lambda g, _out, _base, _view, show: show(g),
)


def _base_and_show(view: Tensor) -> tuple[Tensor, Callable[[Any], Any]]:
    """Return the tensor at the root of a chain of views, and the function from it to the last."""
    steps = []
    tensor = view
    while tensor._view is not None:
        tensor, _, parameters = tensor._view
        steps.append(parameters[0])

    def show(x: Any) -> Any:
        for step in reversed(steps):
            x = step(x)
        return x

    return tensor, show


def check_changeable(tensor: Tensor) -> None:
    """Raise if `tensor` must not be changed in place.

    Raises
    ------
    RuntimeError
        For a leaf that requires gradients (or a view of one) while recording, or memory that elements share.
    """
    if not tensor._array.flags.writeable:
        raise RuntimeError(
            "this tensor cannot be changed in place: its elements share memory (expand) or its array is read-only; "
            "clone() it first"
        )
    if not modes.recording:
        return
    root = _base_and_show(tensor)[0] if tensor._view is not None else tensor
    if root._node is not None and is_leaf_node(root._node):
        raise RuntimeError(
            f"a {'leaf' if root is tensor else 'view of a leaf'} that requires gradients cannot be changed in place "
            "while recording: put the change into `with rt.no_grad():`, or compute a new tensor"
        )


def _move_to(tensor: Tensor, node: Node | None) -> None:
    """Note that the memory of `tensor` now holds the result of `node`."""
    if tensor._view is None:
        mark_changed(tensor, recorded=node is not None)
        tensor._node = node
        return
    base, show = _base_and_show(tensor)
    mark_changed(tensor, recorded=True)
    if base._node is None and node is None:
        return
    base._node = Node(_REBASE, (base._node, node), (None, None, None, show))
    # The view is looked at anew, in the base that has changed.
    tensor._node = show(_alias(base))._node


def _alias(tensor: Tensor) -> Tensor:
    """Another tensor with the memory and history of `tensor`: what an operator may save while `tensor` moves on."""
    other = same_memory(tensor)
    other._node = tensor._node
    return other


def in_place(operator: Callable[..., Tensor], ufunc: Any = None) -> Callable[..., Tensor]:
    """Make ``tensor.name_(...)`` from an operator: compute, then write into the memory of the tensor.

    Parameters
    ----------
    operator : callable
        The operator, whose first argument is the tensor.
    ufunc : numpy.ufunc, optional
        The same on arrays of one floating type, for changes that are not recorded.
    """
    name = operator.__name__

    @wraps(operator)
    def change(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_changeable(self)
        array = self._array
        recording = modes.recording
        if ufunc is not None and len(args) == 1 and not kwargs and array.dtype.kind == "f":
            other = args[0]
            value = unwrap(other)
            quick = not recording or (self._node is None and getattr(other, "_node", None) is None)
            if quick and (type(value) in (int, float) or getattr(value, "dtype", None) == array.dtype):
                if np.shape(value) != array.shape and not _fits(np.shape(value), array.shape):
                    raise _does_not_fit(name, np.shape(value), array.shape)
                try:
                    modes.quiet(ufunc, array, value, out=array)
                except OverflowError as error:
                    raise refused(error, f"{name}_", array, value) from error
                mark_changed(self)
                return self
        old = _alias(self) if recording else wrap(array)
        result = operator(old, *args, **kwargs)
        if result._node is not None and any(saved is old for saved in result._node.saved or ()):
            old._array, old._changes = array.copy(), None  # the derivative needs the old values
        changed = result._array
        if changed.shape != array.shape:
            raise _does_not_fit(name, changed.shape, array.shape)
        if changed.dtype != array.dtype:
            if (changed.dtype.kind == "f" and array.dtype.kind != "f") or array.dtype.kind == "b":
                raise ArgumentTypeError(
                    f"{name}_ of a tensor of {array.dtype} gives {changed.dtype}, which it cannot hold: "
                    f"use the out-of-place {name}, or convert the tensor first"
                )
            result = cast(result, array.dtype)
            changed = result._array
        array[...] = changed
        if recording:
            _move_to(self, result._node)
        else:
            mark_changed(self)
        return self

    change.__name__ = change.__qualname__ = name + "_"
    change.__doc__ = f"Do `{name}` in place; see `rondeau.tensor.{name}`. Returns the tensor itself."
    return change


def _leading_ones(shape: tuple[int, ...]) -> int:
    """Return how many sizes of 1 a shape begins with."""
    return next((i for i, n in enumerate(shape) if n != 1), len(shape))


def _fits(value: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether `value` broadcasts to `shape` itself."""
    return len(value) <= len(shape) and all(
        n in (1, m) for n, m in zip(reversed(value), reversed(shape), strict=False)
    )


def _does_not_fit(name: str, value: tuple[int, ...], shape: tuple[int, ...]) -> ArgumentValueError:
    return ArgumentValueError(f"{name}_: shape {value} does not fit in place into a tensor of shape {shape}")


def setitem(self: Tensor, index: Any, value: Any) -> None:
    """Write a value into a part of a tensor, as ``x[index] = value``.

    Parameters
    ----------
    self : Tensor
    index : as for reading
    value : Tensor, ndarray or number
        Broadcast to the part, converted to the type of the tensor.

    Raises
    ------
    RuntimeError
        If the tensor cannot be changed in place.
    IndexError
        Out of range.
    ValueError
        If the shapes do not fit.
    """
    check_changeable(self)
    index, arrays = steps_of(index, self._array.ndim)
    if arrays is not None:
        if index is not None:
            setitem(getitem(self, index), arrays, value)
            return
        index = arrays
    given = value_for(self, value)
    if given._changes is not None and given._changes is self._changes:
        given = given.clone()  # reading and writing one memory
    written = given._array
    # NumPy drops leading sizes of 1 itself, but not for masks and single elements.
    if written.shape[:1] == (1,):
        written = written.reshape(written.shape[_leading_ones(written.shape) :])
    try:
        self._array[index] = written
    except (IndexError, TypeError, ValueError) as error:
        kind = IndexError if isinstance(error, IndexError) else ArgumentValueError
        raise kind(
            f"cannot write a value of shape {given._array.shape} into a tensor of shape {self._array.shape} there: "
            f"{error}"
        ) from error
    if not modes.recording:
        mark_changed(self)
    elif self._node is None and given._node is None:
        _move_to(self, None)
    else:
        _move_to(
            self, Node(SETITEM, (self._node, given._node), (None, None, None, index, given._array.shape))
        )


# Writing over a tensor keeps it in the graph, as in PyTorch: the old values get a gradient of zero.
_OVERWRITE = Op("overwrite", lambda g, _out, _x, _value: no_gradient(g), lambda g, _out, _x, _value: g)


def fill(x: Tensor, value: Any) -> Tensor:
    """Return `value` everywhere, in the shape and type of `x`."""
    given = value_for(x, value)
    if given._array.ndim:
        raise ArgumentValueError(
            f"fill_ needs a number or a tensor of zero dimensions, got shape {given._array.shape}"
        )
    return copy(x, given)


def copy(x: Tensor, other: Any) -> Tensor:
    """Return `other` broadcast to the shape of `x`, in its type."""
    given = value_for(x, other)
    shape = x._array.shape
    if not _fits(given._array.shape, shape):
        raise _does_not_fit("copy", given._array.shape, shape)
    return record_broadcast(_OVERWRITE, np.broadcast_to(given._array, shape), (x, given))


def zero(x: Tensor) -> Tensor:
    """Return zeros like `x`."""
    return fill(x, 0)
