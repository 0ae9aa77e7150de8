"""Function: an operation with a user-defined derivative."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.devices import zeros
from rondeau.tensor._few_rows import Unread, few_rows
from rondeau.tensor._graph import (
    INFERENCE,
    LEAF,
    OUTPUT,
    Node,
    Op,
    Recorded,
    check_savable,
    latest,
    memory_of,
    unwrap,
    with_history,
    wrap,
)
from rondeau.tensor._modes import modes
from rondeau.tensor._views import show_unfollowed

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor


class Context:
    """The values that a `Function` keeps between its forward and its backward; any attribute may be set on it.

    Attributes
    ----------
    needs_input_grad : tuple of bool
        For each argument of `Function.apply`, whether its gradient is needed; all False if nothing is recorded.
    create_graph : bool
        True while backward runs under ``create_graph=True``: its operations on tensors are then recorded.
    retain_graph : bool
        False while the last backward through this graph runs: arrays that forward kept may then be overwritten.
    """

    create_graph = False
    retain_graph = True
    _saved: tuple[Any, ...] = ()
    _saved_at = 0
    _saved_as: Sequence[tuple[Any, Node | None] | None] = ()  # the array and the node of each
    _node: Node | None = None  # only while backward runs: it holds this context
    _materialize = True
    _not_differentiable: tuple[Any, ...] = ()
    _input_shapes: Sequence[tuple[int, ...]] = ()  # () where no gradient is wanted
    _outputs: Sequence[tuple[tuple[int, ...], Any]] = ()

    def __init__(self, name: str, needs_input_grad: tuple[bool, ...]) -> None:
        self._name = name
        self.needs_input_grad = needs_input_grad

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors, inputs or outputs of the function, for `saved_tensors` in backward.

        Prefer this to an attribute: an output kept as an attribute is a reference cycle, and in-place changes are only
        noticed for tensors that are kept here.
        """
        self._saved = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Declare outputs that no gradient flows through; integer and boolean outputs need not be declared."""
        self._not_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Choose whether backward gets zeros, or None if False, for an output that nothing depends on."""
        self._materialize = value

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        """The tensors that were passed to `save_for_backward`.

        Raises
        ------
        RuntimeError
            If one of them has since been changed in place, or its ``data`` now has another shape or dtype.
        """
        tensors = list(self._saved)
        may_have_changed = latest.changed > self._saved_at
        for i, form in enumerate(self._saved_as):  # none yet while forward is running
            if form is None:
                continue
            before, node = form
            tensor = tensors[i]
            if type(tensor) is _OwnOutput:
                tensor = tensors[i] = tensor.tensor(self._node)
            elif tensor._node is not node:
                tensor = tensors[i] = with_history(tensor, node)
            if may_have_changed:
                self._check_saved(i, tensor, before)
        return tuple(tensors)

    def _check_saved(self, i: int, tensor: Tensor, before: Any) -> None:
        """Raise RuntimeError if a saved tensor was changed, or has data of another form than `before`."""
        array, memory = tensor._array, tensor._memory
        if (array.shape, array.dtype) != (before.shape, before.dtype):
            raise RuntimeError(
                f"saved tensor {i} of '{self._name}' was {before.dtype} of shape {before.shape} in forward, and its "
                f"data are now {array.dtype} of shape {array.shape}: run backward before you exchange them"
            )
        if memory is not None and memory.changed > self._saved_at:
            raise RuntimeError(
                f"saved tensor {i} of '{self._name}', {array.dtype} of shape {array.shape}, was changed in place after "
                "forward: use the out-of-place operation, or clone() it before"
            )


class _OwnOutput:
    """An output that its own function saved: all but its node, which would be a cycle and is restored on demand."""

    def __init__(self, tensor: Tensor, node: Node) -> None:
        self.array = tensor._array
        self.memory = memory_of(tensor)
        self.output = node.saved if node.op is OUTPUT else None  # which one, of how many

    def tensor(self, function: Node | None) -> Tensor:
        tensor = wrap(self.array)
        tensor._memory = self.memory
        if function is not None:
            tensor._node = function if self.output is None else Node(OUTPUT, (function,), self.output)
        return tensor


def _handed_on(output: Tensor, given: set[int]) -> Tensor:
    """Return the output that `apply` returns for a result of forward: another tensor if the result existed before.

    No history follows such a tensor as a view of the one whose memory it shows.
    """
    if output._node is None and output._view is None and id(output) not in given:
        return output  # the usual case: new, and not a view
    if output._node is not None or id(output) in given:
        other = wrap(output._array)
        show_unfollowed(other, output)
        return other
    show_unfollowed(output, output)
    if output._view is not None and output._view[0]() is None:
        output._view = None  # of a tensor that only forward had
    return output


def _zeros(shape: tuple[int, ...], dtype: Any, gradients: list[Any]) -> Tensor:
    """Return the gradient of an output that nothing depends on, on the device of the others."""
    return wrap(zeros(shape, dtype, unwrap(next(g for g in gradients if g is not None))))


class Function:
    """An operation with your own derivative; subclass it and call ``apply``.

    `forward` computes the outputs from the arguments (tensors and anything else) without recording.
    `backward` receives one gradient per output and returns one per argument of `forward`, or None for an argument
    without a gradient. It works on tensors; under ``create_graph`` its operations are recorded, so a `backward` made of
    tensor operations on `saved_tensors` can be differentiated again.

    Attributes
    ----------
    owns_gradients : bool
        Set this to True in a subclass to promise that every array that `backward` returns is new and referenced nowhere
        else; it can then become a ``.grad`` without a copy.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> class Cube(rt.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x**3
    ...
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return g * 3 * x**2
    >>> x = rt.tensor(2.0, requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad.item()
    12.0
    """

    owns_gradients: ClassVar[bool] = False
    _op: ClassVar[Op]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()

        def run(node: Node, gradients: Any, create_graph: bool, retain_graph: bool) -> Sequence[Any]:
            return cls._run_backward(node, gradients, create_graph, retain_graph)

        # In drawings and messages a private function appears without its underscore.
        cls._op = Op(cls.__name__.lstrip("_"), custom=run, owns_gradients=cls.owns_gradients)

    @staticmethod
    def forward(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        """Compute the output, a Tensor or a tuple of them, from the arguments of `apply`."""
        raise NotImplementedError("a Function defines the static method forward(ctx, *args)")

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Return the gradient of every argument of `forward`, given those of its outputs."""
        raise NotImplementedError("a Function defines the static method backward(ctx, *gradients)")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`, and record `backward` if an argument requires gradients.

        Parameters
        ----------
        *args
            Gradients flow to tensors as usual; other arguments are passed on to `forward` unchanged.
        **kwargs
            Passed on to `forward`; no gradient flows to them.

        Returns
        -------
        Tensor or tuple of Tensor
            The outputs that `forward` returned.

        Raises
        ------
        TypeError
            If `forward` returns anything but tensors.
        """
        recording = modes.recording
        parents = tuple([a._node if recording and isinstance(a, Recorded) else None for a in args])
        needs = tuple([p is not None for p in parents])
        ctx = Context(cls.__name__, needs)
        modes.recording = False
        try:
            returned = cls.forward(ctx, *args, **kwargs)
        finally:
            modes.recording = recording
        outputs = returned if isinstance(returned, tuple) else (returned,)
        for output in outputs:
            if not isinstance(output, Recorded):
                raise ArgumentTypeError(
                    f"{cls.__name__}.forward must return a Tensor or a tuple of them, got {type(output).__name__}"
                )
        given = set(map(id, args))
        handed_on = tuple([_handed_on(output, given) for output in outputs])
        if True in needs:
            cls._record(ctx, args, parents, outputs, handed_on)
        return handed_on if outputs is returned else handed_on[0]

    @classmethod
    def _record(
        cls,
        ctx: Context,
        args: tuple[Any, ...],
        parents: tuple[Node | None, ...],
        outputs: tuple[Any, ...],
        handed_on: tuple[Tensor, ...],
    ) -> None:
        """Attach nodes to the returned outputs, and record what backward will check.

        A single output has the node of the function; of several, each has one of its own, where its gradients are
        collected.
        """
        if INFERENCE:
            check_savable(ctx._saved)
        node = Node(cls._op, parents, (ctx,))
        ctx._saved_at = node.number
        ctx._input_shapes = [
            a._array.shape if p is not None else () for a, p in zip(args, parents, strict=True)
        ]
        ctx._outputs = [(o._array.shape, o._array.dtype) for o in outputs]
        saved = ctx._saved
        ctx._saved_as = [None if s is None else (s._array, s._node) for s in saved]
        count, constant = len(outputs), set(map(id, ctx._not_differentiable))
        nodes = [node] if count == 1 else [Node(OUTPUT, (node,), (i, count)) for i in range(count)]
        for before, output, of_output in zip(outputs, handed_on, nodes, strict=True):
            if output._array.dtype.kind == "f" and id(before) not in constant:
                output._node = of_output
        for i, s in enumerate(saved):
            if s is not None and s._node in nodes:
                ctx._saved = (*ctx._saved[:i], _OwnOutput(s, s._node), *saved[i + 1 :])
        ctx._not_differentiable = ()

    @classmethod
    def _run_backward(
        cls, node: Node, gradients: Any, create_graph: bool, retain_graph: bool
    ) -> Sequence[Any]:
        assert node.saved is not None
        ctx: Context = node.saved[0]
        if len(ctx._outputs) == 1:
            gradients = (gradients,)
        given: list[Any] = []
        for g, (shape, dtype) in zip(gradients, ctx._outputs, strict=True):
            if g is None:
                given.append(_zeros(shape, dtype, gradients) if ctx._materialize else None)
            else:
                tensor: Any = g if isinstance(g, Recorded) else wrap(g)
                # A hook, or the user's own code, may have changed it.
                given.append(tensor if tensor._array.dtype == dtype else tensor.to(dtype))
        ctx.create_graph, ctx.retain_graph = create_graph, retain_graph
        ctx._node = node
        try:
            returned = cls.backward(ctx, *given)
        finally:
            ctx._node = None
        results = returned if isinstance(returned, (tuple, list)) else (returned,)
        parents = node.parents
        if len(results) != len(parents) and (
            len(results) < len(parents) or any(r is not None for r in results[len(parents) :])
        ):
            raise ArgumentValueError(
                f"{cls.__name__}.backward returned {len(results)} gradients for {len(parents)} arguments of "
                "forward: return one for each, None for an argument without a gradient"
            )
        found: list[Any] = [None] * len(parents)
        for i, (parent, g, shape) in enumerate(zip(parents, results, ctx._input_shapes, strict=False)):
            if parent is None or g is None:
                continue
            if not isinstance(g, Recorded):
                raise cls._is_no_gradient(i, g, shape)
            # Few rows stay so on their way to a ``.grad``; anything else is given the whole matrix.
            is_few = isinstance(g, Unread) and parent.op is LEAF and parent.hooks is None and not create_graph
            array: Any = few_rows(g) if is_few else g._array
            if array.shape != shape:
                raise cls._is_no_gradient(i, g, shape)
            found[i] = g if create_graph else array
        return found

    @classmethod
    def _is_no_gradient(cls, i: int, g: Any, shape: tuple[int, ...]) -> Exception:
        """Return the error for a gradient that is not a tensor, or whose shape differs from that of its argument."""
        if not isinstance(g, Recorded):
            return ArgumentTypeError(
                f"{cls.__name__}.backward must return Tensors or None, gradient {i} is {type(g).__name__}"
            )
        return ArgumentValueError(
            f"{cls.__name__}.backward returned a gradient of shape {g._array.shape} for argument {i} "
            f"of shape {shape}"
        )
