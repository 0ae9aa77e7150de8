"""Binary cross-entropy, the negative log-likelihood of binary targets, from probabilities or from logits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.runtime.deferred import require
from rondeau.tensor import Function, Tensor, softplus

from ._module import Module
from ._reductions import check_reduction, check_same_dtype, reduced

_LOWEST_LOG = -100.0
_LOWEST_VARIANCE = 1e-12


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """Return the negative log-likelihood of targets under probabilities: -(t log p + (1 - t) log(1 - p)).

    Logarithms are clamped to at least -100, and in the derivative the divisor p (1 - p) to at least 1e-12: PyTorch's
    bounds, so that a confident wrong prediction has a large but finite loss. For logits,
    `binary_cross_entropy_with_logits` is more accurate.

    Parameters
    ----------
    input : Tensor
        Probabilities p, any shape.
    target : Tensor
        t, in [0, 1], with the shape and dtype of `input`.
    weight : Tensor, optional
        A factor for each loss, of a shape that broadcasts to that of `input`.
    reduction : {"mean", "sum", "none"}
        The reduction over all elements.

    Returns
    -------
    Tensor
        Shape (), or the shape of `input` for "none".

    Raises
    ------
    ValueError
        If shapes differ, an element is outside [0, 1], or the reduction is unknown.
    TypeError
        If dtypes do not match, or an argument is not a Tensor.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> p, t = rt.tensor([0.5, 0.0]), rt.tensor([1.0, 1.0])
    >>> [round(v, 4) for v in nn.functional.binary_cross_entropy(p, t, reduction="none").tolist()]
    [0.6931, 100.0]
    """
    check_reduction(reduction)
    _check("binary_cross_entropy", input, target, weight=weight)
    for name, given in (("input", input), ("target", target)):
        _check_probabilities(name, given._array)
    losses: Tensor = _OfProbabilities.apply(input, target)
    return reduced(losses if weight is None else losses * weight, reduction)


def _check_probabilities(name: str, given: Any) -> None:
    def error() -> Exception:
        return ArgumentValueError(
            f"binary_cross_entropy: all elements of {name} must be between 0 and 1, got {given.min()} to "
            f"{given.max()}; for logits use binary_cross_entropy_with_logits"
        )

    require(np.all((given >= 0) & (given <= 1)), error)


def _check(name: str, input: Tensor, target: Tensor, **factors: Tensor | None) -> None:
    check_same_dtype(name, input, target, **factors)
    if target.shape != input.shape:
        raise ArgumentValueError(
            f"{name}: the target must have the shape of the input, {tuple(input.shape)}, got "
            f"{tuple(target.shape)}; use target.reshape or unsqueeze"
        )
    for factor, given in factors.items():
        if given is not None and not _broadcasts(given, input):
            raise ArgumentValueError(
                f"{name}: {factor} of shape {tuple(given.shape)} must broadcast to the input's "
                f"{tuple(input.shape)}"
            )


def _broadcasts(given: Tensor, input: Tensor) -> bool:
    try:
        return np.broadcast_shapes(given.shape, input.shape) == tuple(input.shape)
    except ValueError:
        return False


class _OfProbabilities(Function):
    """Losses of probabilities; the derivatives ignore the bounds of the logarithms."""

    owns_gradients = True

    @staticmethod
    def forward(ctx: Any, p: Tensor, t: Tensor) -> Tensor:
        ctx.save_for_backward(p, t)
        with np.errstate(divide="ignore"):
            yes = np.maximum(np.log(p._array), p.dtype.type(_LOWEST_LOG))
            no = np.maximum(np.log1p(-p._array), p.dtype.type(_LOWEST_LOG))
        return Tensor((t._array - 1) * no - t._array * yes)

    @staticmethod
    def backward(ctx: Any, dlosses: Tensor) -> tuple[Tensor | None, Tensor | None]:
        p, t = ctx.saved_tensors
        of_p, of_t = ctx.needs_input_grad
        dp = dlosses * (p - t) / (p * (1 - p)).clamp(min=_LOWEST_VARIANCE) if of_p else None
        return dp, dlosses * ((1 - p).log() - p.log()).clamp(_LOWEST_LOG, -_LOWEST_LOG) if of_t else None


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Return the negative log-likelihood of targets under sigmoid(x), from the logits x.

    With w the weight of the positive class: -(w t log sigmoid(x) + (1 - t) log(1 - sigmoid(x))), computed as
    w t softplus(-x) + (1 - t) softplus(x), which neither overflows nor suffers from cancellation.

    Parameters
    ----------
    input : Tensor
        Logits x, any shape.
    target : Tensor
        t, the probabilities of the positive class, with the shape and dtype of `input`.
    weight : Tensor, optional
        A factor for each loss, of a shape that broadcasts to that of `input`.
    reduction : {"mean", "sum", "none"}
        The reduction over all elements.
    pos_weight : Tensor, optional
        w, of a shape that broadcasts to that of `input`; above 1, missing a positive costs more.

    Returns
    -------
    Tensor
        Shape (), or the shape of `input` for "none".

    Raises
    ------
    ValueError
        If shapes do not match, or the reduction is unknown.
    TypeError
        If dtypes do not match, or an argument is not a Tensor.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> round(nn.functional.binary_cross_entropy_with_logits(rt.zeros(3), rt.ones(3)).item(), 6)
    0.693147
    """
    check_reduction(reduction)
    _check("binary_cross_entropy_with_logits", input, target, weight=weight, pos_weight=pos_weight)
    yes = target * softplus(-input, threshold=math.inf)
    if pos_weight is not None:
        yes = yes * pos_weight
    losses = yes + (1 - target) * softplus(input, threshold=math.inf)
    return reduced(losses if weight is None else losses * weight, reduction)


class BCELoss(Module):
    """Binary cross-entropy of probabilities; see `rondeau.nn.functional.binary_cross_entropy`.

    Parameters
    ----------
    weight : Tensor, optional
        A factor for each loss; a buffer.
    reduction : {"mean", "sum", "none"}
        How the losses of the elements are reduced.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> round(nn.BCELoss()(rt.tensor([0.5, 0.5]), rt.tensor([0.0, 1.0])).item(), 6)
    0.693147
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, *, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction(reduction)
        self.register_buffer("weight", weight)
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of probabilities against targets of their shape."""
        return binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(Module):
    """Binary cross-entropy of logits; see `rondeau.nn.functional.binary_cross_entropy_with_logits`.

    Parameters
    ----------
    weight : Tensor, optional
        A factor for each loss; a buffer.
    reduction : {"mean", "sum", "none"}
        How the losses of the elements are reduced.
    pos_weight : Tensor, optional
        The weight of the positive class; a buffer.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> round(nn.BCEWithLogitsLoss(pos_weight=rt.tensor([2.0]))(rt.zeros(1), rt.ones(1)).item(), 6)
    1.386294
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, *, reduction: str = "mean", pos_weight: Tensor | None = None
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits against targets of their shape."""
        return binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )
