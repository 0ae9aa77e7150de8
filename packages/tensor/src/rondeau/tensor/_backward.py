"""The walk back through the recorded graph, which propagates gradients.

Vector-Jacobian products are plain functions in NumPy's vocabulary. A backward pass calls them with arrays; under
``create_graph=True`` it calls the same functions with tensors, whose operators are recorded in turn.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import numpy as np

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.ops.few_rows import FewRows
from rondeau.kernels.ops.sums import total
from rondeau.kernels.runtime.devices import device_name, is_array, is_of_device, is_writeable
from rondeau.kernels.runtime.precision import SCOPED, local
from rondeau.tensor._devices import as_array, device_of, move
from rondeau.tensor._few_rows import add_few_rows, few_rows
from rondeau.tensor._graph import LEAF, OUTPUT, Node, Recorded, latest, unwrap, with_history, wrap
from rondeau.tensor._modes import modes
from rondeau.tensor._views import STALE, mark_changed

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor

_ndarray = np.ndarray

_accumulating = threading.RLock()
"""Held while a gradient is added to a ``.grad``: several threads may go back through graphs of the same parameters.
Reentrant, because a collection of garbage may run code of a user's in the midst of it."""


def _forget_threads() -> None:
    """Give a forked child a lock that no thread of its parent holds."""
    global _accumulating
    _accumulating = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_threads)


def sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum an array or tensor over the dimensions that broadcasting `shape` added or stretched."""
    extra = g.ndim - len(shape)
    if extra:
        g = total(g, tuple(range(extra)))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    if stretched:
        g = total(g, stretched, keepdims=True)
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
        Whether to keep what the nodes saved, for another walk.
    create_graph : bool
        Whether to work on tensors and record their operations.
    captured : dict of Node to None, optional
        If given, only nodes that lead to these are visited, the gradients that arrive are stored here, and no ``.grad``
        is touched.
    """
    needed = None if captured is None else _leading_to(captured, [node for node, _ in roots])
    before = modes.recording, local.precision
    modes.recording = create_graph
    try:
        with np.errstate(all="ignore"):
            _propagate(roots, retain_graph, create_graph, captured, needed)
    finally:
        modes.recording, local.precision = before


def _propagate(
    roots: Iterable[tuple[Node, Any]],
    retain_graph: bool,
    create_graph: bool,
    captured: dict[Node, Any] | None,
    needed: set[Node] | None,
) -> None:
    heap: list[tuple[int, Node]] = []
    pending: dict[Node, Any] = {}
    own: set[Node] = set()  # nodes whose pending gradient is an array that is referenced nowhere else

    for node, g in roots:
        if node in pending:
            pending[node] = pending[node] + g
        else:
            pending[node] = g
            heappush(heap, (-node.number, node))

    while heap:
        node = heappop(heap)[1]
        g = pending.pop(node)
        if SCOPED:
            local.precision = getattr(node, "precision", None)

        if node.hooks is not None:
            g = _run_hooks(node, g, create_graph)
            own.discard(node)  # a hook may have kept it
        if captured is not None and node in captured:
            captured[node] = g
        elif node.holder is not None and captured is None:
            with _accumulating:
                _accumulate(node, g, node in own, create_graph)
        op = node.op
        if op is LEAF:
            continue
        if op is OUTPUT:
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

        parents = node.parents
        if op.custom is not None and needed is not None and parents and needed.isdisjoint(parents):
            continue
        saved = node.saved
        if saved is None:
            raise RuntimeError(
                f"backward runs a second time through a graph that the first backward freed (at '{node.name}'). "
                "Call the first one with retain_graph=True, or compute the result again"
            )
        if latest.changed > node.number:
            _check_unchanged(node)
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
                    else d is not g
                    and d.ndim
                    and (d.base is None or not (isinstance(d.base, _ndarray) or is_of_device(d.base)))
                ):
                    own.add(parent)
            elif parent in own:
                pending[parent] += d
            else:
                pending[parent] = d = pending[parent] + d
                # A sum of zero dimensions is a scalar, which cannot be added to in place.
                if not create_graph and d.ndim:
                    own.add(parent)


def _run_hooks(node: Node, g: Any, create_graph: bool) -> Any:
    """Call each hook with the gradient that arrived at a tensor, and let it replace the gradient."""
    assert node.hooks is not None
    for hook in list(node.hooks.values()):
        tensor = g if isinstance(g, Recorded) else wrap(g)
        replaced = hook(tensor)  # type: ignore[arg-type]
        if replaced is None:
            continue
        if not isinstance(replaced, Recorded):
            raise ArgumentTypeError(
                f"a gradient hook must return a Tensor or None, got {type(replaced).__name__}"
            )
        if replaced._array.shape != tensor._array.shape:
            raise ArgumentValueError(
                f"a gradient hook must keep the shape {tensor._array.shape}, got {replaced._array.shape}"
            )
        g = replaced if create_graph else replaced._array
    return g


def _accumulate(node: Node, g: Any, own: bool, create_graph: bool) -> None:
    """Add a gradient to the ``.grad`` of its tensor; store `g` itself only if it is referenced nowhere else."""
    assert node.holder is not None
    tensor = node.holder()
    if tensor is None or (node.op is LEAF and tensor._node is None):  # a leaf that no longer requires one
        return
    grad = tensor._grad
    kind = type(tensor._array)
    if type(g) is FewRows:
        if (
            (grad is None or few_rows(grad) is not None)
            and kind is _ndarray
            and g.dtype == tensor._array.dtype
        ):
            add_few_rows(tensor, g if own else g.copy())
            return
        g, own = g.whole(), True
    # Only what a user's Function returned is on another device, or of another dtype.
    if type(g) is not kind and is_of_device(unwrap(g)) == (kind is _ndarray):
        raise _on_another_device(tensor._array, unwrap(g))
    if g.dtype != tensor._array.dtype:
        g = g.to(tensor._array.dtype) if create_graph else g.astype(tensor._array.dtype)
    if create_graph:
        tensor._grad = g.clone() if grad is None else grad + g
    elif grad is None:
        tensor._grad = wrap(g if own and (g.ndim == 0 or g.flags.c_contiguous) else g.copy())
    elif grad._node is None and (
        grad._array.flags.writeable if kind is _ndarray else is_writeable(grad._array)
    ):
        grad._array += g
        mark_changed(grad)
    else:
        tensor._grad = wrap(grad._array + g)


def _on_another_device(array: Any, g: Any) -> ArgumentValueError:
    device = device_name(array)
    return ArgumentValueError(
        f'expected a gradient on {device} like the tensor, got one on {device_name(g)}: move it with .to("{device}")'
    )


def _saved_as_tensors(node: Node) -> list[Any]:
    """Return what a node saved, for products that are recorded: every tensor with the history that it had then.

    The output, whose array alone was saved, gets the history of the node itself. That of an input may have changed
    since, for example by `detach_`. Leaves are returned as they are now, as in PyTorch.
    """
    assert node.saved is not None
    output, *rest = node.saved
    if output is not None:
        output = wrap(output)
        output._node = node
        output._memory = node.memory
    if not node.op.joint:
        for i, (value, parent) in enumerate(zip(rest, node.parents, strict=False)):
            if isinstance(value, Recorded):
                rest[i] = with_history(value, parent)
    return [output, *rest]


def _check_unchanged(node: Node) -> None:
    """Raise if anything that a node saved was changed in place after it was recorded."""
    assert node.saved is not None
    for i, value in enumerate(node.saved):
        if isinstance(value, Recorded):
            memory, array = value._memory, value._array
        elif i == 0 and value is not None:
            memory, array = node.memory, value
        else:
            continue
        if memory is not None and memory.changed > node.number:
            raise RuntimeError(
                f"a tensor that the backward of '{node.name}' needs, {array.dtype} of shape {array.shape}, was "
                "changed in place after it was used. Use the out-of-place operation, or clone() it before"
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
    needed = {
        *targets,
        *(node for node in seen if node.op is STALE),
    }  # stale nodes count as targets, so that reaching one is an error
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
        The gradient of some scalar with respect to each; 1 by default for a tensor of one element.
    retain_graph : bool, optional
        Whether to keep the graph for another backward; by default the value of `create_graph`.
    create_graph : bool
        Whether to record the computation of the gradients too, for higher-order derivatives.

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
    """Return the gradients of `outputs` with respect to `inputs`, without touching any ``.grad``.

    Parameters
    ----------
    outputs, inputs : Tensor or sequence of Tensor
        The inputs need not be leaves.
    grad_outputs : Tensor or array_like, or a sequence of them, optional
        As for `gradients` of `backward`.
    retain_graph, create_graph : bool
        As for `backward`.
    allow_unused : bool
        Return None for an input that no output depends on, instead of raising.

    Returns
    -------
    tuple of Tensor
        One per input, with its shape.

    Raises
    ------
    RuntimeError
        As for `backward`; also if there is no input, or if one does not require a gradient, or is unused while
        `allow_unused` is False.

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
    if not starts:
        raise RuntimeError("grad() needs at least one input to differentiate with respect to, got none")
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
        results.append(g if g is None or isinstance(g, Recorded) else wrap(np.copy(g)))
    return tuple(results)


def _roots(outputs: tuple[Tensor, ...], gradients: Any, create_graph: bool) -> list[tuple[Node, Any]]:
    """Check the gradients that a walk starts from, and fill in the missing ones."""
    if gradients is None:
        gradients = (None,) * len(outputs)
    elif (
        isinstance(gradients, Recorded)
        or not isinstance(gradients, (tuple, list))
        or len(outputs) == 1 != len(gradients)
    ):
        gradients = (gradients,)
    if len(gradients) != len(outputs):
        raise ArgumentValueError(
            f"expected one gradient for each of {len(outputs)} outputs, got {len(gradients)}"
        )
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
                raise ArgumentValueError(
                    f"a gradient can only be left out for a tensor of one element, this one has shape {array.shape}: "
                    "reduce it first, e.g. .sum(), or pass the gradient"
                )
            g = given = np.empty_like(array)
            g.fill(1)
        elif isinstance(g, Recorded):
            given = g._array
        else:
            given = as_array(g) if is_array(g) else move(np.asarray(g), device_of(array))
        if type(given) is not type(array):
            raise _on_another_device(array, given)
        if given.shape != array.shape:
            raise ArgumentValueError(
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
