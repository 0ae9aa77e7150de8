"""In-place changes of a tensor, under PyTorch's rules.

The ordinary operator computes the new values, which are written to the old memory, and the tensor moves to the
operator's node. A node that saved the old values notices the change in its backward. A leaf that requires gradients, or
a view of one, cannot be changed while recording. Changing a *view* moves its base too: the base becomes "the old base
outside the view, the view's values inside", so gradients flow through both. `_views` then updates the history of all
other views of that base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.devices import is_array, is_writeable, library_of
from rondeau.tensor._arguments import refused
from rondeau.tensor._graph import (
    INFERENCE,
    Node,
    Op,
    Recorded,
    from_inference,
    is_leaf_node,
    record_broadcast,
    same_memory,
    unwrap,
    wrap,
)
from rondeau.tensor._modes import modes
from rondeau.tensor._ops._operands import cast, different_devices, no_gradient, value_for
from rondeau.tensor._ops.indexing import SETITEM, getitem, index_for, put, steps_of
from rondeau.tensor._views import look_again, looked_at, mark_changed, root_of, set_node, shown_by

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor


_ndarray = np.ndarray


def _outside(g: Any, show: Callable[[Any], Any]) -> Any:
    """Return `g` with zeros inside the view that `show` returns."""
    keep = np.ones_like(unwrap(g), np.bool_, order="C")
    inside = show(keep)
    if np.may_share_memory(inside, keep):
        inside[...] = False
    else:  # the base lies in another order of memory, for which `show` copies: by number
        keep.reshape(-1)[show(library_of(keep).arange(keep.size).reshape(g.shape))] = False
    return np.where(keep, g, 0.0)


_REBASE = Op(
    "view_changed",
    lambda g, _out, _base, _view, show: _outside(g, show),
    lambda g, _out, _base, _view, show: show(g),
)


def check_changeable(tensor: Tensor) -> None:
    """Raise if `tensor` must not be changed in place.

    Raises
    ------
    RuntimeError
        If elements share memory, or if a tensor that was made in `inference_mode` is changed outside of it. While
        recording, also for a leaf that requires gradients (or a view of one), and for a view whose base would not
        follow.
    """
    if INFERENCE and from_inference(tensor):
        raise RuntimeError(
            "a tensor made in inference_mode cannot be changed in place outside of it: clone() it first"
        )
    array = tensor._array
    if not (array.flags.writeable if type(array) is _ndarray else is_writeable(array)):
        raise RuntimeError(
            "this tensor cannot be changed in place: its elements share memory (expand) or its array is read-only; "
            "clone() it first"
        )
    if not modes.recording:
        return
    root = tensor
    while True:
        node = root._node
        if node is not None and is_leaf_node(node):
            raise RuntimeError(
                f"a {'leaf' if root is tensor else 'view of a leaf'} that requires gradients cannot be changed in "
                "place while recording: put the change into `with rt.no_grad():`, or compute a new tensor"
            )
        if root._view is None:
            break
        source, op, _ = root._view
        if op is None:
            base = source()
            if node is not None or (base is not None and base._node is not None):
                raise RuntimeError(_UNFOLLOWED)
            return
        root = source
    if tensor._node is not None and (root._node is None or root._memory is not tensor._memory):
        raise RuntimeError(_LEFT)


_UNFOLLOWED = (
    "a view that was taken under no_grad(), or that a Function returned, cannot be changed in place by a recorded "
    "operation: its base would have the new values and the old history. Take the view while recording, clone() it, or "
    "put the change into `with rt.no_grad():`"
)


_LEFT = (
    "a view cannot be changed in place by a recorded operation after its base was detached, or its base's data were "
    "exchanged: take the view again, or compute a new tensor"
)


def increment_version(tensor: Tensor | Iterable[Tensor]) -> None:
    """Record that tensors were changed in place other than by an operator, for example by a kernel.

    A backward through anything that saved them is then an error, as after any other change. Writing through ``.data``
    or ``.numpy()`` does not count as a change by itself.

    Parameters
    ----------
    tensor : Tensor or iterable of Tensor

    Raises
    ------
    TypeError
        If one is not a Tensor.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> w = rt.ones(2, requires_grad=True)
    >>> y = (w * w).sum()
    >>> w.data[0] = 5.0  # unnoticed by itself
    >>> rt.increment_version(w)
    >>> y.backward()  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    RuntimeError: a tensor that the backward of 'mul' needs, float32 of shape (2,), was changed in place ...
    """
    if isinstance(tensor, Recorded):
        mark_changed(tensor)
        return
    for changed in tensor if isinstance(tensor, Iterable) else (tensor,):
        if not isinstance(changed, Recorded):
            raise ArgumentTypeError(f"increment_version expects Tensors, got {type(changed).__name__}")
        mark_changed(changed)


def _check_followed(tensor: Tensor, node: Node | None) -> None:
    """Raise RuntimeError if the result of `node` is to be written to a view that no history follows."""
    if node is not None and root_of(tensor) is None:
        raise RuntimeError(_UNFOLLOWED if tensor._view is not None and tensor._view[1] is None else _LEFT)


def _move_to(tensor: Tensor, node: Node | None) -> None:
    """Record that the memory of `tensor` now holds the result of `node`."""
    root = root_of(tensor)
    if root is tensor or root is None:
        set_node(tensor, node)
    elif root._node is not None or node is not None:
        node = Node(_REBASE, (root._node, node), (None, None, None, shown_by(tensor)))
        set_node(root, node)
    mark_changed(tensor, recorded=node is not None)
    if root is not tensor:
        look_again(tensor)


def _history(tensor: Tensor) -> Node | None:
    """Return the node of the old values; for a view, through its base, so that its hooks do not see later gradients."""
    return tensor._node if tensor._view is None or tensor._view[1] is None else looked_at(tensor)


def _alias(tensor: Tensor) -> Tensor:
    """Return another tensor with the memory and history of `tensor`, to be saved while `tensor` moves on."""
    other = same_memory(tensor)
    other._node = _history(tensor)
    return other


def in_place(operator: Callable[..., Tensor], ufunc: Any = None) -> Callable[..., Tensor]:
    """Make ``tensor.name_(...)`` from an operator: compute, then write to the memory of the tensor.

    Parameters
    ----------
    operator : callable
        The operator, whose first argument is the tensor.
    ufunc : numpy.ufunc, optional
        The same operation on arrays of one floating-point type, for changes that are not recorded.
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
                    mark_changed(self)
                    return self
                except OverflowError as error:
                    raise refused(error, f"{name}_", array, value) from error
                except TypeError:  # the operator says which devices they are on, or sends a number
                    if not is_array(value) or type(value) is type(array):
                        raise
        old = _alias(self) if recording else wrap(array)
        result = operator(old, *args, **kwargs)
        if result._node is not None and any(saved is old for saved in result._node.saved or ()):
            old._array, old._memory = array.copy(), None  # the derivative needs the old values
        changed = result._array
        if changed.shape != array.shape:
            raise _does_not_fit(name, changed.shape, array.shape)
        if type(changed) is not type(array):
            raise different_devices(array, changed)
        if changed.dtype != array.dtype:
            if (changed.dtype.kind == "f" and array.dtype.kind != "f") or array.dtype.kind == "b":
                raise ArgumentTypeError(
                    f"{name}_ of a tensor of {array.dtype} gives {changed.dtype}, which it cannot hold: "
                    f"use the out-of-place {name}, or convert the tensor first"
                )
            result = cast(result, array.dtype)
            changed = result._array
        _check_followed(self, result._node)
        array[...] = changed if type(array) is _ndarray else _apart(changed, array)
        if recording:
            _move_to(self, result._node)
        else:
            mark_changed(self)
        return self

    change.__name__ = change.__qualname__ = name + "_"
    change.__doc__ = f"Apply `{name}` in place; see `rondeau.tensor.{name}`. Returns the tensor itself."
    return change


def _apart(value: Any, array: Any) -> Any:
    """Return a value to assign to an array of a device; a copy if they overlap, which NumPy makes itself."""
    return value.copy() if np.may_share_memory(array, value) else value


def _leading_ones(shape: tuple[int, ...]) -> int:
    """Return the number of leading 1s in a shape."""
    return next((i for i, n in enumerate(shape) if n != 1), len(shape))


def _fits(value: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Return whether `value` broadcasts to exactly `shape`."""
    return len(value) <= len(shape) and all(
        n in (1, m) for n, m in zip(reversed(value), reversed(shape), strict=False)
    )


def _does_not_fit(name: str, value: tuple[int, ...], shape: tuple[int, ...]) -> ArgumentValueError:
    return ArgumentValueError(f"{name}_: shape {value} does not fit in place into a tensor of shape {shape}")


def setitem(self: Tensor, index: Any, value: Any) -> None:
    """Assign a value to a part of a tensor, as in ``x[index] = value``.

    Parameters
    ----------
    self : Tensor
    index : as for reading
    value : Tensor, ndarray or number
        Broadcast to the part, and converted to the type and the device of the tensor. Where an index names an element
        more than once, the last of its values stays; on a GPU any of them may.

    Raises
    ------
    RuntimeError
        If the tensor cannot be changed in place.
    IndexError
        If an index is out of range; where integers of a GPU are, when a value is next read from there.
    ValueError
        If the shapes do not match.
    """
    check_changeable(self)
    array = self._array
    of_device = type(array) is not _ndarray
    index, arrays = steps_of(index, array.ndim)
    if arrays is not None:
        if index is not None:
            setitem(getitem(self, index), arrays, value)
            return
        index = index_for(array, arrays) if of_device else arrays
    given = value_for(self, value)
    if modes.recording:
        _check_followed(self, given._node)
    if given._memory is not None and given._memory is self._memory:
        given = given.clone()  # it shares the memory that is written
    written = given._array
    # NumPy drops leading sizes of 1 itself, but not for masks and single elements.
    if written.shape[:1] == (1,):
        written = written.reshape(written.shape[_leading_ones(written.shape) :])
    try:
        if of_device:
            put(array, index, _apart(written, array))
        else:
            array[index] = written
    except (IndexError, TypeError, ValueError) as error:
        if arrays is not None:
            index_for(array, arrays)  # which refuses an index on another device
        kind = IndexError if isinstance(error, IndexError) else ArgumentValueError
        raise kind(
            f"cannot write a value of shape {given._array.shape} into a tensor of shape {array.shape} there: "
            f"{error}"
        ) from error
    if not modes.recording:
        mark_changed(self)
    elif self._node is None and given._node is None:
        _move_to(self, None)
    else:
        node = Node(SETITEM, (_history(self), given._node), (None, None, None, index, given._array.shape))
        _move_to(self, node)


# Overwriting a tensor keeps it in the graph, as in PyTorch: the old values get a gradient of zero.
_OVERWRITE = Op("overwrite", lambda g, _out, _x, _value: no_gradient(g), lambda g, _out, _x, _value: g)


def fill(x: Tensor, value: Any) -> Tensor:
    """Return `value` everywhere, with the shape and type of `x`."""
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
