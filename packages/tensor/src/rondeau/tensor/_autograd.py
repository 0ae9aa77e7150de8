"""The recorded graph and the walk through it.

Every differentiable operation leaves a `Node` behind: which `Op` ran, the nodes its inputs came from, and what its
vector-Jacobian products need. A node never holds the tensor that it produced, only (where the derivative is written
in terms of it) that tensor's array: so the graph has no reference cycle and dies with its last tensor.

Vector-Jacobian products are plain functions in NumPy's vocabulary. A backward pass calls them with arrays; under
``create_graph=True`` it calls the same functions with tensors, whose operators record in their turn.

Nodes carry one global, growing number. It serves twice: parents are always older than children, so a heap that pops
the youngest node first visits the graph in a valid order in a single pass, without recursion; and an in-place change
stamps the memory it changes with a number from the same counter, so "was this saved tensor changed since?" is one
comparison, and costs nothing when it is saved.
"""

from __future__ import annotations

import contextvars
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np

from rondeau.tensor._devices import as_array

if TYPE_CHECKING:
    from types import TracebackType

    from rondeau.tensor._tensor import Tensor

Array = np.ndarray[Any, Any]
_F = TypeVar("_F", bound=Callable[..., Any])
_ndarray = np.ndarray
_new = object.__new__
_next_number = count(1).__next__


class Modes(threading.local):
    """What holds for one thread: whether operations are recorded, and how array functions run quietly.

    `quiet` runs a function in a context where floating point never warns: as in PyTorch, infinities and NaN are
    results, not events. One context made once costs a tenth of an `np.errstate` block per call.
    """

    def __init__(self) -> None:
        self.recording = True
        context = contextvars.copy_context()
        context.run(np.seterr, all="ignore")
        self.quiet: Callable[..., Any] = context.run


modes = Modes()


class Recorded:
    """What the graph knows of a tensor; `Tensor` adds everything that users see."""

    __slots__ = ("__weakref__", "_array", "_changes", "_grad", "_node", "_view")

    _array: Any  # the values, a NumPy or CuPy array
    _node: Node | None  # where it came from; None: no gradient is required
    _changes: (
        Changes | None
    )  # the changes of its memory, shared by all views of it; None: never changed nor viewed
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


class Changes:
    """When a piece of memory was last changed in place, in numbers of the global counter."""

    __slots__ = ("last", "last_recorded")

    def __init__(self) -> None:
        self.last = 0
        self.last_recorded = 0


# The latest in-place change anywhere, and the latest recorded one: older than a node means nothing to check.
_last_change = 0
_last_recorded_change = 0


def mark_changed(tensor: Recorded, recorded: bool = False) -> None:
    """Note that the memory of `tensor` was just changed in place."""
    global _last_change, _last_recorded_change
    changes = tensor._changes
    if changes is None:
        changes = tensor._changes = Changes()
    changes.last = _last_change = _next_number()
    if recorded:
        changes.last_recorded = _last_recorded_change = changes.last


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

    @property
    def name(self) -> str:
        """The operation's name."""
        return self.op.name

    def __repr__(self) -> str:
        return f"<{self.name} backward>"


_ONE = (True,)
_ACCUMULATE = Op("leaf")
_OUTPUT = Op("output")


def output_node(function: Node, index: int, count: int) -> Node:
    """Return the node of output `index` of a function with `count` outputs: its gradients wait for each other there."""
    return Node(_OUTPUT, (function,), (index, count))


def leaf_node(tensor: Tensor) -> Node:
    """Return the node of a tensor that the user declared to require gradients."""
    node = Node(_ACCUMULATE, (), ())
    node.holder = weakref.ref(tensor)
    return node


def is_leaf_node(node: Node) -> bool:
    """Whether a node stands for a leaf, whose gradient ends in its ``.grad``."""
    return node.op is _ACCUMULATE


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
        node.changes = result._changes = result._changes or Changes()


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
    if changes is None:
        changes = source._changes = Changes()
    result._changes = changes
    if modes.recording:
        result._view = (source, op, parameters)
        parent = source._node
        if parent is not None:
            result._node = node = Node(op, (parent,), (None, None, *parameters))
            node.changes = changes
    return result


# ------------------------------------------------------------------------------------------------------- modes


class _Recording:
    """Switch recording on or off in a ``with`` block or a decorated function."""

    _to: ClassVar[bool]

    def __init__(self) -> None:
        self._before: list[bool] = []

    def __enter__(self) -> Self:
        self._before.append(modes.recording)
        modes.recording = self._to
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        modes.recording = self._before.pop()

    def __call__(self, function: _F) -> _F:
        import functools
        import inspect

        if inspect.isgeneratorfunction(function):
            raise TypeError(
                f"{type(self).__name__} cannot decorate a generator: it would leak into the caller between items; "
                f"use `with {type(self).__name__}():` around the work inside {function.__name__}"
            )

        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return function(*args, **kwargs)

        return inner  # type: ignore[return-value]


class no_grad(_Recording):  # noqa: N801 - torch's name
    """Record nothing: results do not require gradients, and cost neither time nor memory for them.

    Works as a context manager and as a decorator. The mode belongs to the thread.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> w = rt.ones(2, requires_grad=True)
    >>> with rt.no_grad():
    ...     (w * 2).requires_grad
    False
    """

    _to = False


class enable_grad(_Recording):  # noqa: N801 - torch's name
    """Record again inside a `no_grad` block.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> w = rt.ones(2, requires_grad=True)
    >>> with rt.no_grad(), rt.enable_grad():
    ...     (w * 2).requires_grad
    True
    """

    _to = True


class set_grad_enabled(_Recording):  # noqa: N801 - torch's name
    """Record or not, as a value says: at once when called, and undone where a ``with`` block ends.

    Parameters
    ----------
    mode : bool

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> with rt.set_grad_enabled(False):
    ...     rt.is_grad_enabled()
    False
    """

    def __init__(self, mode: bool) -> None:
        super().__init__()
        self._mode = mode
        self._before.append(modes.recording)
        modes.recording = mode

    def __enter__(self) -> Self:
        modes.recording = self._mode
        return self

    def __call__(self, function: _F) -> _F:
        modes.recording = self._before.pop()
        return (enable_grad if self._mode else no_grad)()(function)


def is_grad_enabled() -> bool:
    """Whether operations of this thread are recorded.

    Examples
    --------
    >>> is_grad_enabled()
    True
    """
    return modes.recording


# --------------------------------------------------------------------------------------------------- the walk


def sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum an array or tensor over the dimensions that broadcasting `shape` added or stretched."""
    extra = g.ndim - len(shape)
    if extra:
        g = np.sum(g, axis=tuple(range(extra)))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    if stretched:
        g = np.sum(g, axis=stretched, keepdims=True)
    return g


def walk(
    roots: Iterable[tuple[Node, Any]],
    *,
    retain_graph: bool,
    create_graph: bool,
    captured: dict[Node, Any] | None = None,
) -> None:
    """Propagate gradients from `roots` to the leaves.

    Parameters
    ----------
    roots : iterable of (Node, gradient)
        Gradients are arrays, or tensors with `create_graph`.
    retain_graph : bool
        Keep what the nodes saved for another walk.
    create_graph : bool
        Work on tensors that record.
    captured : dict of Node to None, optional
        Only the nodes that lead to these are visited, the gradients that arrive are put here, and no ``.grad``
        is touched.
    """
    needed = None if captured is None else _leading_to(captured, [node for node, _ in roots])
    before = modes.recording
    modes.recording = create_graph
    try:
        with np.errstate(all="ignore"):
            _propagate(roots, retain_graph, create_graph, captured, needed)
    finally:
        modes.recording = before


def _propagate(
    roots: Iterable[tuple[Node, Any]],
    retain_graph: bool,
    create_graph: bool,
    captured: dict[Node, Any] | None,
    needed: set[Node] | None,
) -> None:
    heap: list[tuple[int, Node]] = []
    pending: dict[Node, Any] = {}
    own: set[Node] = set()  # nodes whose pending gradient is an array that nobody else holds

    for node, g in roots:
        if node in pending:
            pending[node] = pending[node] + g
        else:
            pending[node] = g
            heappush(heap, (-node.number, node))

    while heap:
        node = heappop(heap)[1]
        g = pending.pop(node)

        if node.hooks is not None:
            g = _run_hooks(node, g, create_graph)
            own.discard(node)  # a hook may have kept it
        if captured is not None and node in captured:
            captured[node] = g
        elif node.holder is not None and captured is None:
            _accumulate(node.holder(), g, node in own, create_graph)
        op = node.op
        if op is _ACCUMULATE:
            continue
        if op is _OUTPUT:
            function, (index, outputs) = node.parents[0], node.saved  # type: ignore[misc]
            assert function is not None
            if needed is not None and function not in needed:
                continue
            slots = pending.get(function)
            if slots is None:
                slots = pending[function] = [None] * outputs
                heappush(heap, (-function.number, function))
            slots[index] = g if slots[index] is None else slots[index] + g
            continue

        saved = node.saved
        if saved is None:
            raise RuntimeError(
                f"backward runs a second time through the graph that a first backward freed (at '{node.name}'). "
                "Call the first one with retain_graph=True, or compute the result again"
            )
        if _last_change > node.number:
            _check_unchanged(node)
        parents = node.parents
        if op.custom is not None:
            gradients: Sequence[Any] | None = op.custom(node, g, create_graph, retain_graph)
        else:
            if create_graph:
                arguments: Sequence[Any] = _saved_as_tensors(node)
            else:
                arguments = [v._array if isinstance(v, Recorded) else v for v in saved]
            gradients = op.vjps[0](g, *arguments) if op.joint else None
        if not retain_graph:
            node.saved = None

        shapes = node.shapes
        for i, parent in enumerate(parents):
            if parent is None or (needed is not None and parent not in needed):
                continue
            if _last_recorded_change > parent.number and parent.op.view:
                _check_fresh_view(node, parent)
            if op.add_into is not None and parent in own:
                op.add_into(pending[parent], g, *arguments)
                continue
            d = gradients[i] if gradients is not None else op.vjps[i](g, *arguments)
            if d is None:
                continue
            if shapes is not None and d.shape != shapes[i]:
                d = sum_to(d, shapes[i])
            if parent not in pending:
                pending[parent] = d
                heappush(heap, (-parent.number, parent))
                if not create_graph and (
                    op.owns_gradients
                    if op.custom is not None
                    else d is not g and not isinstance(d.base, _ndarray)
                ):
                    own.add(parent)
            elif parent in own and d.ndim:
                pending[parent] += d
            else:
                pending[parent] = pending[parent] + d
                if not create_graph:
                    own.add(parent)


def _run_hooks(node: Node, g: Any, create_graph: bool) -> Any:
    """Let each hook see, and perhaps replace, the gradient that arrived at a tensor."""
    assert node.hooks is not None
    for hook in list(node.hooks.values()):
        tensor = g if isinstance(g, Recorded) else wrap(g)
        replaced = hook(tensor)  # type: ignore[arg-type]
        if replaced is None:
            continue
        if not isinstance(replaced, Recorded):
            raise TypeError(f"a gradient hook must return a Tensor or None, got {type(replaced).__name__}")
        if replaced._array.shape != tensor._array.shape:
            raise RuntimeError(
                f"a gradient hook must keep the shape {tensor._array.shape}, got {replaced._array.shape}"
            )
        g = replaced if create_graph else replaced._array
    return g


def _accumulate(tensor: Tensor | None, g: Any, own: bool, create_graph: bool) -> None:
    """Add an arrived gradient to ``tensor.grad``; keep `g` itself only where nobody else holds it."""
    if tensor is None:  # the leaf died before its gradient came
        return
    grad = tensor._grad
    if g.dtype != tensor._array.dtype:  # only what a user's Function returned
        g = g.to(tensor._array.dtype) if create_graph else g.astype(tensor._array.dtype)
    if create_graph:
        tensor._grad = g.clone() if grad is None else grad + g
    elif grad is None:
        tensor._grad = wrap(g if own and (g.ndim == 0 or g.flags.c_contiguous) else np.array(g, order="C"))
    elif grad._node is None:
        grad._array += g
        mark_changed(grad)
    else:
        tensor._grad = wrap(grad._array + g)


def _saved_as_tensors(node: Node) -> list[Any]:
    """Return what a node saved, its output as a tensor of the node itself, for products that record."""
    assert node.saved is not None
    output, *rest = node.saved
    if output is not None:
        tensor = wrap(output)
        tensor._node = node
        tensor._changes = node.changes
        output = tensor
    return [output, *rest]


def _check_unchanged(node: Node) -> None:
    """Raise if anything that a node saved was changed in place after it was recorded."""
    assert node.saved is not None
    for i, value in enumerate(node.saved):
        if isinstance(value, Recorded):
            changes, array = value._changes, value._array
        elif i == 0 and value is not None:
            changes, array = node.changes, value
        else:
            continue
        if changes is not None and changes.last > node.number:
            raise RuntimeError(
                f"a tensor that the backward of '{node.name}' needs, {array.dtype} of shape {array.shape}, was "
                "changed in place after it was used. Use the out-of-place operation, or clone() it before"
            )


def _check_fresh_view(node: Node, view: Node) -> None:
    """Raise if `node` used a view whose memory had been changed, through another tensor, after the view was made."""
    if view.changes is not None and view.number < view.changes.last_recorded < node.number:
        raise RuntimeError(
            f"'{node.name}' used a view (from '{view.name}') whose memory had been changed in place "
            "through another tensor after the view was made: take the view again after the change"
        )


def _leading_to(targets: Iterable[Node], roots: Iterable[Node]) -> set[Node]:
    """Return the nodes between `roots` and `targets`: those through which a gradient must pass."""
    seen = set(roots)
    stack = list(seen)
    while stack:
        for parent in stack.pop().parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                stack.append(parent)
    needed = set(targets)
    for node in sorted(seen, key=lambda n: n.number):
        if node not in needed and any(p in needed for p in node.parents):
            needed.add(node)
    return needed


# ------------------------------------------------------------------------------------- backward() and grad()


def backward(
    tensors: Tensor | Sequence[Tensor],
    gradients: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add the gradient of `tensors` to the ``.grad`` of every leaf that they were computed from.

    Parameters
    ----------
    tensors : Tensor or sequence of Tensor
    gradients : Tensor or array_like, or a sequence of them, optional
        The gradient of some scalar with respect to each; may be left out for a tensor of one element (then 1).
    retain_graph : bool, optional
        Keep the graph for another backward. Default: the value of `create_graph`.
    create_graph : bool
        Record the computation of the gradients too, for derivatives of higher order.

    Raises
    ------
    RuntimeError
        If a tensor requires no gradient, a gradient is missing or of the wrong shape, the graph was freed, or a
        saved tensor was changed in place.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> x = rt.tensor([1.0, 2.0], requires_grad=True)
    >>> rt.backward([x.sum(), x * x], [1.0, [1.0, 10.0]])
    >>> x.grad
    tensor([ 3., 41.])
    """
    outputs = (tensors,) if isinstance(tensors, Recorded) else tuple(tensors)
    walk(
        _roots(outputs, gradients, create_graph),
        retain_graph=create_graph if retain_graph is None else retain_graph,
        create_graph=create_graph,
    )


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor, ...]:
    """Return the gradients of `outputs` with respect to `inputs`, and touch no ``.grad``.

    Parameters
    ----------
    outputs, inputs : Tensor or sequence of Tensor
        The inputs need not be leaves.
    grad_outputs : Tensor or array_like, or a sequence of them, optional
        As `gradients` of `backward`.
    retain_graph, create_graph : bool
        As for `backward`.
    allow_unused : bool
        Return None for an input that no output depends on, instead of raising.

    Returns
    -------
    tuple of Tensor
        One per input, of its shape.

    Raises
    ------
    RuntimeError
        As `backward`; also if an input requires no gradient, or is not used and `allow_unused` is False.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> x = rt.tensor(3.0, requires_grad=True)
    >>> (first,) = rt.grad(x**3, x, create_graph=True)
    >>> (second,) = rt.grad(first, x)
    >>> first.item(), second.item()
    (27.0, 18.0)
    """
    ends = (outputs,) if isinstance(outputs, Recorded) else tuple(outputs)
    starts = (inputs,) if isinstance(inputs, Recorded) else tuple(inputs)
    captured: dict[Node, Any] = {}
    for i, tensor in enumerate(starts):
        if tensor._node is None:
            raise RuntimeError(
                f"inputs[{i}] does not require a gradient: set requires_grad=True before using it"
            )
        captured[tensor._node] = None
    walk(
        _roots(ends, grad_outputs, create_graph),
        retain_graph=create_graph if retain_graph is None else retain_graph,
        create_graph=create_graph,
        captured=captured,
    )
    results: list[Any] = []
    for i, tensor in enumerate(starts):
        assert tensor._node is not None
        g = captured[tensor._node]
        if g is None and not allow_unused:
            raise RuntimeError(
                f"no output depends on inputs[{i}] (shape {tensor._array.shape}): leave it out, "
                "or pass allow_unused=True to get None for it"
            )
        results.append(g if g is None or isinstance(g, Recorded) else wrap(np.array(g)))
    return tuple(results)


def _roots(outputs: tuple[Tensor, ...], gradients: Any, create_graph: bool) -> list[tuple[Node, Any]]:
    """Check and complete the gradients that a walk starts from."""
    if gradients is None:
        gradients = (None,) * len(outputs)
    elif (
        isinstance(gradients, Recorded)
        or not isinstance(gradients, (tuple, list))
        or len(outputs) == 1 != len(gradients)
    ):
        gradients = (gradients,)
    if len(gradients) != len(outputs):
        raise RuntimeError(f"expected one gradient for each of {len(outputs)} outputs, got {len(gradients)}")
    roots: list[tuple[Node, Any]] = []
    for output, g in zip(outputs, gradients, strict=True):
        node, array = output._node, output._array
        if node is None:
            raise RuntimeError(
                f"this tensor ({array.dtype}, shape {array.shape}) does not require a gradient: nothing it was "
                "computed from has requires_grad=True, or it was computed under no_grad() or after detach()"
            )
        if g is None:
            if array.size != 1:
                raise RuntimeError(
                    f"a gradient can be left out only for a tensor of one element, this one has shape {array.shape}: "
                    "reduce it first, e.g. .sum(), or pass the gradient"
                )
            g = np.empty(array.shape, array.dtype)
            g.fill(1)
        given = g._array if isinstance(g, Recorded) else np.asarray(g)
        if given.shape != array.shape:
            raise RuntimeError(
                f"expected a gradient of shape {array.shape} like the tensor, got {given.shape}"
            )
        if given.dtype != array.dtype:
            g = g.to(array.dtype) if isinstance(g, Recorded) else wrap(given.astype(array.dtype))  # type: ignore[attr-defined]
            given = g._array
        if create_graph:
            roots.append((node, g if isinstance(g, Recorded) else wrap(given)))
        else:
            roots.append((node, given))
    return roots
