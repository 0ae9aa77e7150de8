"""Views: tensors that show the memory of another one, and how their history follows its changes.

As in PyTorch, a view belongs to the tensor at the root of all views of its memory. After an in-place change, through
the root or through any view, the next reader of a view's history finds the one that it would have if it were taken
now. If no history would be right, the reader finds a node whose backward is an error.

This costs nothing as long as nothing changes: a memory holds weak references to its views, a change marks those that
are alive by giving them a class whose ``_node`` is a property (`_lazy`), and the first reader updates them.

A view's ``_view`` is ``(source, op, parameters)``: the tensor it was taken from, the operation, and its parameters,
the first of which is the function ``show(x)`` for an array or tensor `x` like `source`. No history follows a view
that was taken under `no_grad`, or that a `Function` returned: its ``_view`` is ``(root, None, taken)``, with a weak
reference to the root, whose graph such a view must not keep alive, and the number of the last change before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import ref

from rondeau.tensor._graph import LEAF, Memory, Node, Op, Recorded, latest, memory_of, next_number, wrap
from rondeau.tensor._lazy import lazy_class, restore_class
from rondeau.tensor._modes import modes

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor

_FEWEST = 16
"""The number of references to views that is worth a search for dead ones."""

# ------------------------------------------------------------------------------------------------- taking them


def record_view(op: Op, array: Any, source: Tensor, *parameters: Any) -> Tensor:
    """Do as `record` does, for a result that shows the memory of `source`; the first parameter is `show`."""
    result = wrap(array)
    memory = source._memory
    if memory is None:
        memory = source._memory = Memory()
    result._memory = memory
    shown = source._view
    if modes.recording:
        result._view = (source, op, parameters) if shown is None or shown[1] is not None else shown
        parent = source._node
        if parent is not None:
            result._node = Node(op, (parent,), (None, None, *parameters))
    else:
        result._view = (ref(source), None, latest.changed) if shown is None else _unfollowed(source)
    views = memory.views
    if views is not None and views[-1]() is None:  # as `_watch`: most die before the next is taken
        views[-1] = ref(result)
    else:
        _watch(result, memory)
    return result


def show_unfollowed(view: Tensor, source: Tensor) -> None:
    """Make `view`, another tensor over the memory of `source`, a view that no history follows."""
    view._view = _unfollowed(source)
    view._memory = memory_of(source)
    _watch(view, view._memory)


def _unfollowed(source: Tensor) -> tuple[ref[Tensor], None, int]:
    root = source
    while root._view is not None:
        if root._view[1] is None:
            return root._view[0], None, latest.changed
        root = root._view[0]
    return ref(root), None, latest.changed


def _watch(view: Tensor, memory: Memory) -> None:
    """Have the next change of its memory mark `view`."""
    views = memory.views
    if views is None:
        memory.views, memory.room = [ref(view)], _FEWEST
        return
    views.append(ref(view))
    if len(views) > memory.room:
        count = len(views)
        views[:count] = [view for view in views[:count] if view() is not None]
        memory.room = 2 * len(views) + _FEWEST


# ------------------------------------------------------------------------------------------- how they were taken


def _links(view: Recorded) -> tuple[Tensor, list[tuple[Op, tuple[Any, ...]]]]:
    """Return the root of a chain of views, and the operations and parameters from it to the last."""
    links: list[Any] = []
    while view._view is not None:
        view, *link = view._view
        links.append(link)
    return view, links[::-1]  # type: ignore[return-value]


def root_of(tensor: Tensor) -> Tensor | None:
    """Return the base that changes along with `tensor`, itself if it is not a view; None if no history follows it."""
    root = tensor
    while root._view is not None:
        if root._view[1] is None:
            return None
        root = root._view[0]
    return root if root._memory is tensor._memory else None  # otherwise its data was replaced


def shown_by(view: Tensor) -> Callable[[Any], Any]:
    """Return the function from the root of a chain of views to the last."""
    steps = [parameters[0] for _, parameters in _links(view)[1]]

    def show(x: Any) -> Any:
        for step in steps:
            x = step(x)
        return x

    return show


def looked_at(view: Tensor) -> Node | None:
    """Return the node of `view` as if it were taken now, without the hooks of the views between it and its root."""
    root, links = _links(view)
    node = root._node
    if node is not None:
        for op, parameters in links:
            node = Node(op, (node,), (None, None, *parameters))
    return node


# ------------------------------------------------------------------------------------------- following a change


def mark_changed(tensor: Recorded, recorded: bool = False) -> None:
    """Record that the memory of `tensor` was just changed in place, and that its views must be updated."""
    memory = tensor._memory
    if memory is None:
        memory = tensor._memory = Memory()
    memory.changed = latest.changed = next_number()
    if recorded:
        memory.recorded = memory.changed
    views = memory.views
    if views is not None:
        memory.views = None
        for reference in views:
            view: Any = reference()
            if view is not None:
                view.__class__ = lazy_class(_Unlooked, view.__class__)


class _Unlooked:
    """The class of a view between a change of its memory and the next access to its history."""

    __slots__ = ()

    @property
    def _node(self) -> Node | None:
        _look(self)  # type: ignore[arg-type]
        return self._node

    @_node.setter
    def _node(self, node: Node | None) -> None:
        _look(self)  # type: ignore[arg-type]
        self._node = node


def _look(view: Tensor) -> None:
    """Update the history of a view to that of what it shows now, and restore its class."""
    if not isinstance(view, _Unlooked):  # another thread was first
        return
    restore_class(view)
    assert view._memory is not None
    _watch(view, view._memory)
    if view._view is None:  # its data was replaced
        return
    source, op, taken = view._view
    if op is None:
        root = source()
        if root is not None and root._node is not None and view._memory.recorded > taken:
            set_node(view, _stale(_UNFOLLOWED))
        return
    root, links = _links(view)
    if root._memory is not view._memory:
        return
    if root._node is None:
        # A view that is itself a leaf stays one.
        if view._node is not None and view._node.op is not LEAF:
            set_node(view, _stale(_DETACHED))
    elif not _begins_at(view._node, root._node, len(links)):
        set_node(view, looked_at(view))


def look_again(view: Tensor) -> None:
    """Update the history of a view that was just changed, so that it keeps it if its base is detached next."""
    _ = view._node


def _begins_at(node: Node | None, root: Node, length: int) -> bool:
    """Return whether `node` ends a chain of `length` views that starts at `root`."""
    for _ in range(length):
        if node is None or len(node.parents) != 1:
            return False
        (node,) = node.parents
    return node is root


def set_node(tensor: Recorded, node: Node | None) -> None:
    """Give `tensor` another history; `retain_grad` moves with it, but hooks stay with the value they belong to."""
    before = tensor._node
    tensor._node = node
    if before is not None and before.holder is not None and before.op is not LEAF:
        if node is not None:
            node.holder = before.holder
        before.holder = None


def begin_to_require(leaf: Tensor) -> None:
    """Record that `leaf` requires gradients from now on; views that were taken before do not take part."""
    for reference in () if leaf._memory is None else leaf._memory.views or ():
        view = reference()
        if view is not None and view._node is None and root_of(view) is leaf is not view:
            view._node = _stale(_BEFORE)


def exchange_memory(tensor: Recorded) -> None:
    """Record that `tensor` gets new memory; its views go on showing the old memory, on their own."""
    tensor._view = None
    if tensor._memory is not None:
        changed, tensor._memory = tensor._memory.changed, Memory()
        tensor._memory.changed = changed


# ----------------------------------------------------------------------------------------- without a history


def _refuse(node: Node, *_: Any) -> Any:
    assert node.saved is not None
    raise RuntimeError(f"{node.saved[0]}: take the view again after that, or clone() what it shows before")


#: The history of a view for which no history is right.
STALE = Op("stale_view", custom=_refuse)

_UNFOLLOWED = (
    "backward reached a view that was taken under no_grad() (or that a Function returned), and what it shows was "
    "changed in place since by a recorded operation"
)
_BEFORE = "backward reached a view that was taken before its base began to require a gradient"
_DETACHED = (
    "backward reached a view whose base does not require a gradient any longer (detach_() or requires_grad_(False)), "
    "and what it shows was changed in place since"
)


def _stale(reason: str) -> Node:
    return Node(STALE, (), (reason,))
