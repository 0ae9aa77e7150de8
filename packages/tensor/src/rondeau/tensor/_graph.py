"""The recorded graph.

Every differentiable operation leaves a `Node` behind: which `Op` ran, the nodes its inputs came from, and what its
vector-Jacobian products need. A node never holds the tensor that it produced, only (where the derivative is written
in terms of it) that tensor's array: so the graph has no reference cycle and dies with its last tensor.

Nodes carry one global, growing number. It serves twice: parents are always older than children, so a heap that pops
the youngest node first visits the graph in a valid order in a single pass, without recursion; and an in-place change
stamps the memory it changes with a number from the same counter, so "was this saved tensor changed since?" is one
comparison, and costs nothing when it is saved.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.errors import ArgumentTypeError
from rondeau.tensor._devices import as_array
from rondeau.tensor._modes import modes

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor

_ndarray = np.ndarray
_new = object.__new__
_next_number = count(1).__next__

# ------------------------------------------------------------------------------------------------ its tensors


class Recorded:
    """What the graph knows of a tensor; `Tensor` adds everything that users see."""

    __slots__ = ("__weakref__", "_array", "_changes", "_grad", "_node", "_view")

    _array: Any  # the values, a NumPy or CuPy array
    _node: Node | None  # where it came from; None: no gradient is required
    _changes: Changes | None  # of its memory, shared by all that show it; None: never changed nor viewed
    _view: tuple[Tensor, Op, tuple[Any, ...]] | None  # for a view: the tensor it shows, and how
    _grad: Tensor | None


_result_class: type[Any] = Recorded


def set_result_class(cls: type[Any]) -> None:
    """Name the class of results: the operators are defined before the class whose methods they are."""
    global _result_class
    _result_class = cls


def wrap(array: Any) -> Tensor:
    """Return a tensor over `array` that records nothing yet."""
    tensor: Tensor = _new(_result_class)
    tensor._array = array if type(array) is _ndarray else as_array(array)
    tensor._node = None
    tensor._changes = None
    tensor._view = None
    tensor._grad = None
    return tensor


def unwrap(value: Any) -> Any:
    """Return the array of a tensor; anything else as it is."""
    return value._array if isinstance(value, Recorded) else value


class Changes:
    """When a piece of memory was last changed in place, in numbers of the global counter."""

    __slots__ = ("last", "last_recorded")

    def __init__(self) -> None:
        self.last = 0
        self.last_recorded = 0


#: The latest changes of any memory: where they are older than a node there is nothing to check.
latest = Changes()


def changes_of(tensor: Recorded) -> Changes:
    """Return the changes of the memory of `tensor`, noted from now on if they were not yet."""
    changes = tensor._changes
    if changes is None:
        changes = tensor._changes = Changes()
    return changes


def mark_changed(tensor: Recorded, recorded: bool = False) -> None:
    """Note that the memory of `tensor` was just changed in place."""
    changes = changes_of(tensor)
    changes.last = latest.last = _next_number()
    if recorded:
        changes.last_recorded = latest.last_recorded = changes.last


def same_memory(tensor: Recorded) -> Tensor:
    """Return another tensor over the memory of `tensor`, with its changes and without its history."""
    other = wrap(tensor._array)
    other._changes = tensor._changes or changes_of(tensor)
    return other


# ----------------------------------------------------------------------------------------------- and its nodes


class Op:
    """An operation's name and one vector-Jacobian product per differentiable argument.

    Parameters
    ----------
    name : str
        What error messages and graph drawings call it.
    *vjps : callable
        ``vjp(g, out, *inputs, *parameters)`` returns the gradient of one argument, given the gradient `g` of the
        output. A parameter whose name begins with an underscore is not used, and what no needed product uses is
        not kept alive; it is passed as None.
    joint : bool
        One product that returns the gradients of all (any number of) inputs as a sequence.
    view : bool
        The output shares its input's memory.
    custom : callable, optional
        In place of products, for a user's `Function`: ``custom(node, gradients_of_outputs, create_graph,
        retain_graph)``.
    owns_gradients : bool
        Whether every array that `custom` returns is new and held by nobody else.
    add_into : callable, optional
        ``add_into(total, g, out, *inputs, *parameters)`` adds the product of the only argument to the array `total`
        in place, for products that are mostly zeros.
    """

    __slots__ = ("_kept", "add_into", "custom", "joint", "name", "owns_gradients", "uses", "view", "vjps")

    def __init__(
        self,
        name: str,
        *vjps: Callable[..., Any],
        joint: bool = False,
        view: bool = False,
        custom: Callable[[Node, Any, bool, bool], Sequence[Any]] | None = None,
        owns_gradients: bool = False,
        add_into: Callable[..., None] | None = None,
    ) -> None:
        self.name = name
        self.add_into = add_into
        self.vjps = vjps
        self.joint = joint
        self.view = view
        self.custom = custom
        self.owns_gradients = owns_gradients
        self.uses = [
            [not n.startswith("_") for n in vjp.__code__.co_varnames[1 : vjp.__code__.co_argcount]]
            for vjp in vjps
        ]
        self._kept: dict[tuple[bool, ...], tuple[bool, ...]] = {}

    def kept(self, needs: tuple[bool, ...]) -> tuple[bool, ...]:
        """Whether the output, and each input, is used by the products that `needs` asks for."""
        kept = self._kept.get(needs)
        if kept is None:
            used = self.uses if self.joint else [u for u, need in zip(self.uses, needs, strict=True) if need]
            kept = tuple(any(u[i] for u in used) for i in range(1 + (0 if self.joint else len(needs))))
            self._kept[needs] = kept
        return kept

    def __repr__(self) -> str:
        return f"<op {self.name}>"


class Node:
    """One recorded operation, as `Tensor.grad_fn` shows it.

    Attributes
    ----------
    op : Op
    parents : tuple of Node or None
        Where each input came from; None where no gradient is required.
    saved : tuple or None
        The output's array or None, the inputs (tensors) or None, and the operation's parameters; None once freed.
    shapes : tuple of tuple or None
        The inputs' shapes, where broadcasting made the output's another.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> x = rt.ones(2, requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.grad_fn, y.grad_fn.parents
    (<sum backward>, (<mul backward>,))
    """

    __slots__ = ("changes", "holder", "hooks", "number", "op", "parents", "saved", "shapes")

    holder: weakref.ref[Tensor] | None

    def __init__(self, op: Op, parents: tuple[Node | None, ...], saved: tuple[Any, ...] | None) -> None:
        self.op = op
        self.parents = parents
        self.saved = saved
        self.shapes: tuple[tuple[int, ...], ...] | None = None
        self.changes: Changes | None = None
        self.hooks: dict[int, Callable[[Tensor], Tensor | None]] | None = None
        self.holder = None
        self.number = _next_number()

    def __reduce__(self) -> Any:
        raise ArgumentTypeError(
            f"{self!r} belongs to one recorded graph and can be neither copied nor pickled: keep the tensors that the "
            "graph was computed from, and compute it again"
        )

    @property
    def name(self) -> str:
        """The operation's name."""
        return self.op.name

    def __repr__(self) -> str:
        return f"<{self.name} backward>"


_ONE = (True,)
LEAF = Op("leaf")
OUTPUT = Op("output")


def output_node(function: Node, index: int, count: int) -> Node:
    """Return the node of output `index` of a function with `count` outputs: its gradients wait for each other there."""
    return Node(OUTPUT, (function,), (index, count))


def leaf_node(tensor: Tensor) -> Node:
    """Return the node of a tensor that the user declared to require gradients."""
    node = Node(LEAF, (), ())
    node.holder = weakref.ref(tensor)
    return node


def is_leaf_node(node: Node) -> bool:
    """Whether a node stands for a leaf, whose gradient ends in its ``.grad``."""
    return node.op is LEAF


# --------------------------------------------------------------------------------------------------- recording


def record(op: Op, array: Any, inputs: tuple[Tensor, ...], *parameters: Any) -> Tensor:
    """Wrap the result of an operation, with the node that differentiates it where an input requires gradients.

    Broadcasting inputs are recognised by their shapes if `op` is no view and has one product per input: their
    gradients are summed back to their own shapes by the walk.
    """
    result = wrap(array)
    for tensor in inputs:
        if tensor._node is not None:
            if modes.recording:
                attach(result, op, inputs, parameters)
            break
    return result


def attach(result: Tensor, op: Op, inputs: tuple[Tensor, ...], parameters: tuple[Any, ...]) -> None:
    """Give `result` a new node."""
    array = result._array
    parents: tuple[Node | None, ...]
    kept: tuple[Tensor | None, ...] = ()
    if op.joint:
        parents = tuple([t._node for t in inputs])
        keep_output = op.kept(_ONE)[0]
    elif len(inputs) == 1:
        (x,) = inputs
        parents = (x._node,)
        keep_output, keep_x = op.kept(_ONE)
        kept = (x if keep_x else None,)
    else:
        parents = tuple([t._node for t in inputs])
        keep_output, *keep_inputs = op.kept(tuple([p is not None for p in parents]))
        kept = tuple([t if keep else None for t, keep in zip(inputs, keep_inputs, strict=True)])
    result._node = node = Node(op, parents, (array if keep_output else None, *kept, *parameters))
    if keep_output:
        node.changes = changes_of(result)


def record_broadcast(op: Op, array: Any, inputs: tuple[Tensor, ...], *parameters: Any) -> Tensor:
    """As `record`, for an operation whose inputs were broadcast to the output's shape."""
    result = record(op, array, inputs, *parameters)
    node = result._node
    if node is not None:
        shape = result._array.shape
        shapes = tuple([t._array.shape for t in inputs])
        if any(s != shape for s in shapes):
            node.shapes = shapes
    return result


def record_view(op: Op, array: Any, source: Tensor, *parameters: Any) -> Tensor:
    """As `record`, for a result that shows the memory of `source`.

    The first parameter is the function that shows it, ``show(x)`` for an array or tensor `x` like `source`.
    """
    result = wrap(array)
    changes = source._changes
    if changes is None:  # as `changes_of`, whose call would be felt: slices and reshapes are many
        changes = source._changes = Changes()
    result._changes = changes
    if modes.recording:
        result._view = (source, op, parameters)
        parent = source._node
        if parent is not None:
            result._node = node = Node(op, (parent,), (None, None, *parameters))
            node.changes = changes
    return result
