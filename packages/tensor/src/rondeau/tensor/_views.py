"""Views: tensors that show the memory of another one, and how their history follows its changes.

After a recorded change in place, through the base or through any view, every view has the history that it would have
if it were taken then, as in PyTorch. PyTorch looks at a view again whenever it is used. Here a memory holds weak
references to its views and a change looks at those that live, so that using a view costs nothing.

Where no history would be right, a view gets a node whose backward is an error.

A view's ``_view`` is ``(source, op, parameters)``: the tensor it was taken from, the operation, and its parameters,
of which the first is the function ``show(x)`` for an array or tensor `x` like `source`. No history follows a view
that was taken under `no_grad`, or that a `Function` returned: there it is ``(root, None, ())`` with a weak reference
to the tensor at the root of all views, whose graph such a view must not keep alive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from weakref import ref

from rondeau.tensor._graph import LEAF, Memory, Node, Op, Recorded, View, latest, memory_of, next_number, wrap
from rondeau.tensor._modes import modes

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor

# ------------------------------------------------------------------------------------------------- taking them


def record_view(op: Op, array: Any, source: Tensor, *parameters: Any) -> Tensor:
    """As `record`, for a result that shows the memory of `source`; the first parameter is `show`."""
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
        result._view = (ref(source), None, ()) if shown is None else unfollowed(source)
    views = memory.views
    if views is None:
        memory.views = [ref(result)]
    elif views[-1]() is None:  # most die before the next is taken
        views[-1] = ref(result)
    else:
        views.append(ref(result))
        if len(views) > memory.room:
            _forget_dead(memory)
    return result


def unfollowed(source: Tensor) -> View:
    """Return the ``_view`` of what shows the memory of `source` without a part in its history."""
    root = source
    while root._view is not None:
        if root._view[1] is None:
            return root._view
        root = root._view[0]
    return ref(root), None, ()


def is_followed(tensor: Recorded) -> bool:
    """Whether `tensor` is a view that its base follows, and that follows its base."""
    return tensor._view is not None and tensor._view[1] is not None


def watch(view: Tensor) -> None:
    """Let changes of its memory look at `view`, which `record_view` did not make."""
    memory = memory_of(view)
    memory.views = [*(memory.views or ()), ref(view)]


def _forget_dead(memory: Memory) -> None:
    assert memory.views is not None
    count = len(memory.views)
    memory.views[:count] = [view for view in memory.views[:count] if view() is not None]
    memory.room = 2 * len(memory.views) + 16


# ------------------------------------------------------------------------------------------- how they were taken


def _links(view: Recorded) -> tuple[Tensor, list[tuple[Op, tuple[Any, ...]]]]:
    """Return the root of a chain of views, and the operations and parameters from it to the last."""
    links: list[Any] = []
    while view._view is not None:
        view, *link = view._view
        links.append(link)
    return view, links[::-1]  # type: ignore[return-value]


def root_and_show(view: Tensor) -> tuple[Tensor, Callable[[Any], Any]]:
    """Return the root of a chain of views, and the function from it to the last."""
    root, links = _links(view)
    steps = [parameters[0] for _, parameters in links]

    def show(x: Any) -> Any:
        for step in steps:
            x = step(x)
        return x

    return root, show


def looked_at(view: Tensor) -> Node | None:
    """Return the node of `view` as if it were taken now, without the hooks of the views between it and its root."""
    root, links = _links(view)
    node = root._node
    if node is not None:
        for op, parameters in links:
            node = Node(op, (node,), (None, None, *parameters))
    return node


def _is_fresh(view: Tensor, root: Tensor, length: int) -> bool:
    """Whether the history of `view` begins at that of `root`."""
    node = view._node
    for _ in range(length):
        if node is None or len(node.parents) != 1:
            return False
        (node,) = node.parents
    return node is root._node


# ------------------------------------------------------------------------------------------- following a change


def _refuse(node: Node, *_: Any) -> Any:
    assert node.saved is not None
    raise RuntimeError(f"{node.saved[0]}: take the view again after that, or clone() what it shows before")


#: The history of a view that has none that is right.
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


def set_node(tensor: Recorded, node: Node | None) -> None:
    """Give `tensor` another history; what `retain_grad` asked for follows, hooks stay with the value they were for."""
    before = tensor._node
    tensor._node = node
    if before is not None and before.holder is not None and before.op is not LEAF:
        if node is not None:
            node.holder = before.holder
        before.holder = None


def mark_changed(tensor: Recorded, recorded: bool = False) -> None:
    """Note that the memory of `tensor` was just changed in place, and look at its views again."""
    memory = memory_of(tensor)
    memory.changed = latest.changed = next_number()
    if memory.views is not None:
        _look_again(memory, recorded)


def _living_views(memory: Memory) -> Iterator[Tensor]:
    for reference in memory.views or ():
        view = reference()
        if view is not None and view._view is not None:
            yield view


def _look_again(memory: Memory, recorded: bool) -> None:
    for view in _living_views(memory):
        assert view._view is not None
        source, op, _ = view._view
        if op is None:
            root = source()
            if recorded and root is not None and root._node is not None:
                set_node(view, _stale(_UNFOLLOWED))
            continue
        root, links = _links(view)
        if root._node is None:
            # A view that is itself a leaf stays one.
            if view._node is not None and view._node.op is not LEAF:
                set_node(view, _stale(_DETACHED))
        elif not _is_fresh(view, root, len(links)):
            set_node(view, looked_at(view))


def begin_to_require(tensor: Recorded) -> None:
    """Note that the leaf `tensor` requires gradients from now on: views that were taken before have no part in it."""
    if tensor._memory is None:
        return
    for view in _living_views(tensor._memory):
        if view._node is None and is_followed(view) and _links(view)[0] is tensor:
            view._node = _stale(_BEFORE)


def exchange_memory(tensor: Recorded) -> None:
    """Note that `tensor` is getting other memory: its views go on showing the old one, by themselves."""
    old = tensor._memory
    tensor._view = None
    if old is not None:
        for view in _living_views(old):
            if view._view[0] is tensor:  # type: ignore[index]
                view._view = None
        tensor._memory = Memory()
        tensor._memory.changed = old.changed
