"""The recorded graph.

Every differentiable operation leaves a `Node` behind: which `Op` ran, the nodes its inputs came from, and what its
vector-Jacobian products need. A node never holds the tensor that it produced, only that tensor's array (if the
derivative is written in terms of it), so the graph has no reference cycle and dies with its last tensor.

Nodes are numbered by one global, increasing counter. It serves two purposes. Parents are always older than children, so
a heap that pops the youngest node first visits the graph in a valid order in a single pass, without recursion. And an
in-place change stamps the memory it changes with a number from the same counter, so "has this saved tensor been changed
since?" is one comparison, which costs nothing when the tensor is saved. `_views` keeps the views of a memory up to date
with its changes.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from rondeau.kernels.errors import ArgumentTypeError
from rondeau.kernels.runtime.precision import SCOPED, local
from rondeau.tensor._devices import as_array
from rondeau.tensor._modes import modes

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor

_ndarray = np.ndarray
_new = object.__new__
#: The next number of the global counter.
next_number = count(1).__next__

#: The tensor that a view was taken from, the operation, and its parameters; see `_views`.
View: TypeAlias = "tuple[Any, Op | None, Any]"

# ------------------------------------------------------------------------------------------------ its tensors


class Recorded:
    """The part of a tensor that the graph uses; `Tensor` adds everything that users see."""

    __slots__ = ("__weakref__", "_array", "_grad", "_memory", "_node", "_view")

    _array: Any  # the values, a NumPy or CuPy array
    _node: Node | None  # the node that computed it; None: no gradient is required
    _memory: Memory | None  # shared by all tensors over the same memory; None: never changed or viewed
    _view: View | None  # for a view: of which tensor, and how
    _grad: Tensor | None


_result_class: type[Any] = Recorded


def set_result_class(cls: type[Any]) -> None:
    """Set the class of results; the operators are defined before the class whose methods they are."""
    global _result_class
    _result_class = cls


def wrap(array: Any) -> Tensor:
    """Return a tensor over `array` without a history."""
    tensor: Tensor = _new(_result_class)
    tensor._array = array if type(array) is _ndarray else as_array(array)
    tensor._node = None
    tensor._memory = made_memory() if INFERENCE else None
    tensor._view = None
    tensor._grad = None
    return tensor


def unwrap(value: Any) -> Any:
    """Return the array of a tensor; anything else is returned as it is."""
    return value._array if isinstance(value, Recorded) else value


class Memory:
    """A piece of memory: when it was last changed in place, in numbers of the global counter, and its views."""

    __slots__ = ("changed", "former_leaves", "recorded", "room", "views")

    former_leaves: list[Node]  # nodes of tensors that no longer, or not now, require gradients; mostly unset
    room: int  # the number of references to views that is worth a search for dead ones

    def __init__(self) -> None:
        self.changed = 0
        self.recorded = 0  # the last change by a recorded operation
        # The views that the next change must mark; never empty.
        self.views: list[weakref.ref[Tensor]] | None = None


class InferenceMemory(Memory):
    """The memory of a tensor that was made in `inference_mode`, and so is in no graph."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        INFERENCE[id(self)] = None

    def __del__(self) -> None:
        INFERENCE.pop(id(self), None)


#: Not empty while any thread is in `inference_mode` or a tensor made there is alive: otherwise the mode costs nothing.
INFERENCE: dict[int, None] = {}


def made_memory() -> Memory | None:
    """Return the memory of a new tensor: None outside of `inference_mode`, where it is not tracked yet."""
    return InferenceMemory() if modes.inference else None


def from_inference(tensor: Recorded) -> bool:
    """Return whether a tensor was made in `inference_mode` and this is outside of it."""
    return type(tensor._memory) is InferenceMemory and not modes.inference


def check_savable(values: tuple[Any, ...]) -> None:
    """Raise RuntimeError if one of `values`, which backward would need, was made in `inference_mode`."""
    for value in values:
        if isinstance(value, Recorded) and from_inference(value):
            raise RuntimeError(
                "a tensor made in inference_mode cannot be saved for backward: clone() it outside first"
            )


#: When any memory was last changed: if that is older than a node, there is nothing to check.
latest = Memory()


def memory_of(tensor: Recorded) -> Memory:
    """Return the memory of `tensor`, whose changes are recorded from now on."""
    memory = tensor._memory
    if memory is None:
        memory = tensor._memory = Memory()
    return memory


def same_memory(tensor: Recorded) -> Tensor:
    """Return another tensor over the memory of `tensor`, without its history."""
    other = wrap(tensor._array)
    other._memory = tensor._memory or memory_of(tensor)
    return other


# ----------------------------------------------------------------------------------------------- and its nodes


class Op:
    """An operation's name and one vector-Jacobian product per differentiable argument.

    Parameters
    ----------
    name : str
        The name in error messages and drawings of the graph.
    *vjps : callable
        ``vjp(g, out, *inputs, *parameters)`` returns the gradient of one argument, given the gradient `g` of the
        output. A parameter whose name begins with an underscore is unused; a value that no needed product uses is not
        kept alive, and is passed as None.
    joint : bool
        Whether there is a single product that returns the gradients of all (any number of) inputs as a sequence.
    view : bool
        Whether the output shares the memory of its input.
    custom : callable, optional
        Instead of products, for a user's `Function`: ``custom(node, gradients, create_graph, retain_graph)``, with the
        gradient of its output, or a list of those of several.
    owns_gradients : bool
        Whether every array that `custom` returns is new and referenced nowhere else.
    add_into : callable, optional
        ``add_into(total, g, out, *inputs, *parameters)`` adds the product for the only argument to the array `total`
        in place; for products that are mostly zeros.
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
        """Return whether the output, and each input, is used by the products that `needs` asks for."""
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
        The node of each input; None for an input that requires no gradient.
    saved : tuple or None
        The output's array or None, the inputs (tensors) or None, and the operation's parameters; None once freed.
    shapes : tuple of tuple or None
        The shapes of the inputs, if broadcasting made that of the output differ.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> x = rt.ones(2, requires_grad=True)
    >>> y = (x * x).sum()
    >>> y.grad_fn, y.grad_fn.parents
    (<sum backward>, (<mul backward>,))
    """

    __slots__ = ("holder", "hooks", "memory", "number", "op", "parents", "precision", "saved", "shapes")

    holder: weakref.ref[Tensor] | None  # the tensor whose .grad collects the gradient
    memory: Memory | None  # of the output, if that was saved
    precision: str | None  # of the `float32_matmul_precision` block it ran in; unset before the first one

    def __init__(self, op: Op, parents: tuple[Node | None, ...], saved: tuple[Any, ...] | None) -> None:
        if INFERENCE and saved is not None:
            check_savable(saved)
        self.op = op
        self.parents = parents
        self.saved = saved
        self.shapes: tuple[tuple[int, ...], ...] | None = None
        self.memory = None
        self.hooks: dict[int, Callable[[Tensor], Tensor | None]] | None = None
        self.holder = None
        self.number = next_number()
        if SCOPED:
            self.precision = local.precision

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
#: One of several outputs of a function: ``saved`` is its index and their number.
OUTPUT = Op("output")


def leaf_node(tensor: Tensor) -> Node:
    """Return the node of a tensor that the user declared to require gradients: the former one if there is one."""
    for former in _former_leaves(tensor):
        if former.holder and former.holder() is tensor:
            return former
    node = Node(LEAF, (), ())
    node.holder = weakref.ref(tensor)
    return node


def end_leaf(tensor: Tensor) -> None:
    """Stop a leaf from requiring gradients; its node is kept for tensors that were computed from it."""
    node, tensor._node = tensor._node, None
    if node is not None:
        living = [n for n in _former_leaves(tensor) if n.holder and n.holder() is not None and n is not node]
        memory_of(tensor).former_leaves = [*living, node]


def _former_leaves(tensor: Tensor) -> list[Node]:
    found: list[Node] = getattr(tensor._memory, "former_leaves", [])
    return found


def with_history(tensor: Recorded, node: Node | None) -> Recorded:
    """Return a saved tensor with the node that it had when saved; one that was and still is a leaf as it is."""
    now = tensor._node
    if now is node or ((node is None or node.op is LEAF) and (now is None or now.op is LEAF)):
        return tensor
    other = same_memory(tensor)
    other._node = node
    return other


def is_leaf_node(node: Node) -> bool:
    """Return whether a node stands for a leaf, whose gradient ends up in its ``.grad``."""
    return node.op is LEAF


# --------------------------------------------------------------------------------------------------- recording


def record(op: Op, array: Any, inputs: tuple[Tensor, ...], *parameters: Any) -> Tensor:
    """Wrap the result of an operation, with the node that differentiates it if an input requires gradients.

    Broadcast inputs are recognised by their shapes if `op` is not a view and has one product per input; the walk
    sums their gradients back to their own shapes.
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
        node.memory = memory_of(result)


def record_broadcast(op: Op, array: Any, inputs: tuple[Tensor, ...], *parameters: Any) -> Tensor:
    """Do as `record` does, for an operation whose inputs were broadcast to the output's shape."""
    result = record(op, array, inputs, *parameters)
    node = result._node
    if node is not None:
        shape = result._array.shape
        shapes = tuple([t._array.shape for t in inputs])
        if any(s != shape for s in shapes):
            node.shapes = shapes
    return result
