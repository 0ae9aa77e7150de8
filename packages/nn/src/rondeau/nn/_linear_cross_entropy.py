"""Cross-entropy of the logits of a linear layer, without the logits in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.ops import cross_entropy as losses_of_logits
from rondeau.kernels.ops import linear_cross_entropy as kernels
from rondeau.kernels.runtime import buffers
from rondeau.kernels.runtime.devices import is_of_device
from rondeau.tensor import Function, Tensor

from ._as_built import is_as_built
from ._checks import as_array, check_devices, check_integer
from ._linear import Linear, checked_sizes, linear
from ._losses import check_class_weight, check_smoothing, check_target, cross_entropy, recorded_gradient
from ._module import Module
from ._reductions import check_reduction


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor | NDArray[Any],
    *,
    linear_bias: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return ``cross_entropy(linear(input, linear_weight, linear_bias), target)``, without the whole logits in memory.

    From about a million logits on, those of a wide vocabulary, rows go through layer and loss in blocks, and gradients
    are computed in forward if they are wanted. From 400 rows on that takes, beyond the gradients, a tenth of the
    memory of the logits, or that of 128 rows of them where the weight has more than 16 MB; the two functions take three
    times that of the logits, in about the same time. Fewer logits, fewer than two a feature, targets that are
    probabilities, and second derivatives take the two functions. See
    `rondeau.kernels.ops.linear_cross_entropy`.

    Parameters
    ----------
    input : Tensor
        Shape (in,) or (N, in).
    linear_weight : Tensor
        Shape (C, in), as that of a `Linear`.
    target : Tensor or ndarray
        Classes as integers in [0, C), shape () or (N,); or probabilities, shape (C,) or (N, C).
    linear_bias : Tensor, optional
        Shape (C,).
    weight : Tensor, optional
        Weight of each class, shape (C,).
    reduction : {"mean", "sum", "none"}
        As for `cross_entropy`. With "none" backward computes the logits again.
    ignore_index : int
        The class whose rows neither count nor get a gradient. They take no time either.
    label_smoothing : float
        In [0, 1].

    Returns
    -------
    Tensor
        Shape (), or for "none" one loss per row: () or (N,).

    Raises
    ------
    ValueError
        If shapes do not match, or an option is unknown.
    IndexError
        If a class is outside [0, C) and is not `ignore_index`.
    TypeError
        If dtypes do not match, or an argument has the wrong type.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> x, weight = rt.tensor([[2.0], [0.0]]), rt.tensor([[1.0], [0.0]])
    >>> losses = nn.functional.linear_cross_entropy(x, weight, rt.tensor([0, 1]), reduction="none")
    >>> [round(loss, 6) for loss in losses.tolist()]
    [0.126928, 0.693147]
    """
    name = "linear_cross_entropy"
    check_reduction(reduction)
    check_integer("ignore_index", ignore_index)
    check_smoothing(label_smoothing)
    classes, _ = checked_sizes(name, input, linear_weight, linear_bias, "linear_")
    if input.ndim > 2:
        raise ArgumentValueError(
            f"{name}: input must have shape (in,) or (N, in), got {tuple(input.shape)}; use "
            "input.reshape(-1, input.shape[-1]), and target.reshape(-1)"
        )
    shape = (*input.shape[:-1], classes)
    check_class_weight(name, classes, input.dtype, weight)
    given = as_array(f"{name}: target", target)
    check_devices(name, input=input, target=given, weight=weight)
    rows = shape[0] if input.ndim > 1 else 1
    if given.dtype.kind == "f" or not kernels.is_blocked(rows, input.shape[-1], classes):
        return cross_entropy(
            linear(input, linear_weight, linear_bias),
            target,
            weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )
    check_target(name, shape, given)
    loss: Tensor = _LinearCrossEntropy.apply(
        input,
        linear_weight,
        linear_bias,
        given,
        None if weight is None else weight._array,
        ignore_index,
        reduction,
        float(label_smoothing),
    )
    return loss


def loss_of_head(head: Module, input: Tensor, target: Tensor | NDArray[Any], **options: Any) -> Tensor:
    """Return the cross-entropy of the logits of a head.

    Without the whole logits in memory, unless calling the head does more than a `Linear` layer does.

    Parameters
    ----------
    head : Module
        A `Linear` layer, or another module in its place.
    input : Tensor
        Shape (N, in).
    target : Tensor or ndarray
        As for `linear_cross_entropy`, like `options`, its other arguments without the bias.
    """
    if not is_as_built(head, Linear):
        return cross_entropy(head(input), target, **options)
    with head._at_its_precision():
        return linear_cross_entropy(input, head.weight, target, linear_bias=head.bias, **options)


class _LinearCrossEntropy(Function):
    """Rows (N, P) against one class each; `rondeau.kernels.ops.linear_cross_entropy` states the equations."""

    owns_gradients = True

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        classes: NDArray[Any],
        weights: NDArray[Any] | None,
        ignored: int,
        reduction: str,
        smoothing: float,
    ) -> Tensor:
        targets = kernels.checked_targets(x._array, len(weight), classes, weights, smoothing, ignored)
        needs = kernels.Needs(*ctx.needs_input_grad[:3])
        ctx.save_for_backward(x, weight, bias)
        ctx.targets, ctx.share = targets, None
        factors = None
        if reduction == "none":
            needs = kernels.Needs(False, False, False)  # only backward knows the factors
        else:
            ctx.share = losses_of_logits.share_of(
                targets.classes, targets.weights, targets.ignored, reduction == "mean"
            )
            if any(needs):
                factors = np.full_like(x._array, ctx.share, shape=x.shape[:1])
        losses, ctx.gradients = _compute(x, weight, bias, targets, factors, needs)
        return Tensor(losses if reduction == "none" else losses_of_logits.reduced(losses, ctx.share))

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias = ctx.saved_tensors
        needs = kernels.Needs(*ctx.needs_input_grad[:3])
        if ctx.create_graph:
            logits = x @ weight.T if bias is None else x @ weight.T + bias
            dlogits = recorded_gradient(dloss, logits, ctx.targets, ctx.share)
            gradients: tuple[Any, ...] = (
                dlogits @ weight if needs.x else None,
                dlogits.T @ x if needs.weight else None,
                dlogits.sum(0) if needs.bias else None,
            )
            return (*gradients, None, None, None, None, None)
        if ctx.share is None:
            arrays = _compute(x, weight, bias, ctx.targets, dloss._array, needs)[1]
        else:
            arrays = kernels.Gradients(*(_times(g, dloss._array, ctx.retain_graph) for g in ctx.gradients))
            if not ctx.retain_graph:
                ctx.gradients = None
        return (*(None if g is None else Tensor(g) for g in arrays), None, None, None, None, None)


def _compute(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: kernels.Targets,
    factors: Any,
    needs: kernels.Needs,
) -> tuple[Any, kernels.Gradients]:
    of_bias = None if bias is None else bias._array
    return kernels.losses_and_gradients(x._array, weight._array, of_bias, targets, factors, needs)


def _times(gradient: Any, factor: Any, is_kept: bool) -> Any:
    """Return a gradient times a number; in a new array if the gradient is still needed."""
    if gradient is None:
        return None
    # On the device the factor is not read, for that would wait.
    is_one = not is_of_device(gradient) and float(factor) == 1.0
    if not is_kept:
        return gradient if is_one else np.multiply(gradient, factor, out=gradient)
    return np.multiply(gradient, factor, out=buffers.empty_like(gradient, gradient.shape))


class LinearCrossEntropyLoss(Module):
    """A linear layer and the cross-entropy of its logits; see `rondeau.nn.functional.linear_cross_entropy`.

    Parameters
    ----------
    in_features : int
        Size of each row of the input.
    num_classes : int
        C, the number of classes.
    bias : bool
        Whether the layer has a bias; by default, as in PyTorch, it has none.
    device, dtype : optional
        Device and dtype of the parameters; float32 by default.
    weight : Tensor, optional
        Weight of each class, shape (C,); a buffer.
    reduction : {"mean", "sum", "none"}
        How the losses of the rows are reduced.
    ignore_index : int
        The class whose rows neither count nor get a gradient.
    label_smoothing : float
        The part of every target that is spread over all classes, in [0, 1].

    Attributes
    ----------
    linear : Linear
        The layer; ``loss.linear(input)`` are the logits. Assign its ``weight`` to that of an `Embedding` to tie them.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a size is negative, or an option is unknown or out of range.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> loss = nn.LinearCrossEntropyLoss(20, 1000)
    >>> loss(rt.zeros(4, 20), rt.tensor([0, 1, 2, 999])).item() == rt.tensor(1000.0).log().item()
    True
    """

    weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        bias: bool = False,
        device: Any = None,
        dtype: DTypeLike | None = None,
        weight: Tensor | None = None,
        reduction: str = "mean",
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        check_integer("ignore_index", ignore_index)
        check_smoothing(label_smoothing)
        self.linear = Linear(in_features, num_classes, bias, device=device, dtype=dtype)
        check_class_weight("LinearCrossEntropyLoss", num_classes, self.linear.weight.dtype, weight)
        self.register_buffer("weight", weight)
        self.reduction = reduction
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor | NDArray[Any]) -> Tensor:
        """Return the loss of rows (N, in_features) against classes or probabilities."""
        return loss_of_head(
            self.linear,
            input,
            target,
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )

    def extra_repr(self) -> str:
        """Return the configuration for ``repr``."""
        return (
            f"reduction={self.reduction!r}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}"
        )
