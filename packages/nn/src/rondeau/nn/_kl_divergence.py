"""Kullback-Leibler divergence of a target distribution from predicted log-probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np

from rondeau.kernels.runtime.caller import warn_caller
from rondeau.tensor import Function, Tensor

from ._checks import check_flags
from ._module import Module
from ._reductions import REDUCTIONS, check_reduction, check_same_dtype, reduced, warn_of_broadcast

_REDUCTIONS = (*REDUCTIONS, "batchmean")


def kl_div(input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """Return t (log t - x), elementwise or reduced, for log-probabilities x and targets t; 0 where t is 0.

    Parameters
    ----------
    input : Tensor
        Log-probabilities x.
    target : Tensor
        Probabilities t of the same shape, or their logarithms; a different shape is broadcast, with a warning.
    reduction : {"mean", "batchmean", "sum", "none"}
        "batchmean" divides the sum by the first dimension, the number of samples, as the divergence is defined.
        "mean", PyTorch's default, divides by the number of all elements, and warns.
    log_target : bool
        Whether `target` is log t.

    Returns
    -------
    Tensor
        Shape (), or the shape of `input` for "none".

    Raises
    ------
    ValueError
        For an unknown reduction.
    TypeError
        If dtypes do not match, or an argument is not a Tensor.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> x = rt.tensor([[0.5, 0.5]]).log()
    >>> round(nn.functional.kl_div(x, rt.tensor([[1.0, 0.0]]), reduction="batchmean").item(), 6)
    0.693147
    """
    check_reduction(reduction, _REDUCTIONS)
    check_flags("kl_div: ", log_target=log_target)
    check_same_dtype("kl_div", input, target)
    warn_of_broadcast("kl_div", input, target)
    if reduction == "mean":
        warn_caller(
            "kl_div: reduction 'mean' divides by the number of all elements; 'batchmean' divides by the number of "
            "samples, as the divergence is defined: choose it, or 'sum'"
        )
    losses = target.exp() * (target - input) if log_target else _TimesLog.apply(target) - target * input
    if reduction != "batchmean":
        return reduced(losses, reduction)
    return losses.sum() / input.shape[0] if input.ndim else losses.sum()


class _TimesLog(Function):
    """t log t, which is 0 at 0; the derivative there is -inf."""

    owns_gradients = True

    @staticmethod
    def forward(ctx: Any, t: Tensor) -> Tensor:
        ctx.save_for_backward(t)
        nothing = t._array == 0
        with np.errstate(all="ignore"):
            return Tensor(t._array * np.log(np.where(nothing, 1, t._array)))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (t,) = ctx.saved_tensors
        product: Tensor = g * (t.log() + 1)
        return product


class KLDivLoss(Module):
    """Kullback-Leibler divergence of log-probabilities; see `rondeau.nn.functional.kl_div`.

    Parameters
    ----------
    reduction : {"mean", "batchmean", "sum", "none"}
        How the losses of the elements are reduced; "batchmean" is the divergence as it is defined.
    log_target : bool
        Whether the targets are logarithms too.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> x = rt.tensor([[0.25, 0.75]]).log()
    >>> nn.KLDivLoss(reduction="batchmean", log_target=True)(x, x).item()
    0.0
    """

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__()
        check_reduction(reduction, _REDUCTIONS)
        check_flags(log_target=log_target)
        self.reduction = reduction
        self.log_target = log_target

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of log-probabilities against targets of the same shape."""
        return kl_div(input, target, self.reduction, self.log_target)
