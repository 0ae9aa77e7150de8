"""Losses that grow with the absolute difference: `l1_loss`, and `smooth_l1_loss`, which is quadratic near 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from rondeau.kernels.errors import ArgumentValueError
from rondeau.tensor import Function, Tensor

from ._checks import check_fits, check_number
from ._module import Module
from ._reductions import check_reduction, check_same_dtype, reduced, warn_of_broadcast


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Return the absolute difference of two tensors, elementwise or reduced; its derivative at 0 is 0.

    Parameters
    ----------
    input, target : Tensor
        Tensors of the same shape; different shapes are broadcast, with a warning.
    reduction : {"mean", "sum", "none"}
        The reduction over all elements.

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
    >>> nn.functional.l1_loss(rt.tensor([1.0, 2.0]), rt.tensor([1.0, 5.0])).item()
    1.5
    """
    check_reduction(reduction)
    check_same_dtype("l1_loss", input, target)
    warn_of_broadcast("l1_loss", input, target)
    return reduced((input - target).abs(), reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """Return ``|d| - beta / 2``, or ``d^2 / (2 beta)`` where ``|d|`` is below beta (Girshick 2015, eq. 3).

    Parameters
    ----------
    input, target : Tensor
        Tensors of the same shape; different shapes are broadcast, with a warning.
    reduction : {"mean", "sum", "none"}
        The reduction over all elements.
    beta : float
        Where the parabola ends; with 0 there is no parabola, and this is `l1_loss`.

    Returns
    -------
    Tensor
        Shape (), or the shape of `input` for "none".

    Raises
    ------
    ValueError
        If beta is negative, or the reduction unknown.
    TypeError
        If dtypes do not match, or an argument has the wrong type.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.functional.smooth_l1_loss(rt.tensor([0.5, 3.0]), rt.zeros(2), reduction="none").tolist()
    [0.125, 2.5]
    """
    check_reduction(reduction)
    _check_beta(beta)
    check_same_dtype("smooth_l1_loss", input, target)
    warn_of_broadcast("smooth_l1_loss", input, target)
    check_fits("smooth_l1_loss: beta", beta, input.dtype)
    end = float(input.dtype.type(beta))  # 0 if beta is too small for the dtype
    difference = input - target
    return reduced(_Rounded.apply(difference, end) if end else difference.abs(), reduction)


def _check_beta(beta: float) -> None:
    check_number("beta", beta)
    if not beta >= 0:  # NaN is refused too
        raise ArgumentValueError(f"beta must be at least 0, got {beta}")


class _Rounded(Function):
    """|d| - beta / 2, or d^2 / (2 beta) below beta; the derivative is d / beta limited to [-1, 1]."""

    owns_gradients = True

    @staticmethod
    def forward(ctx: Any, d: Tensor, beta: float) -> Tensor:
        ctx.save_for_backward(d)
        ctx.beta = beta
        with np.errstate(all="ignore"):
            size = np.abs(d._array)
            near = np.minimum(size, d.dtype.type(beta))
            # near / beta is at most 1, so neither large differences nor small betas overflow.
            return Tensor(near * (near / d.dtype.type(beta)) * d.dtype.type(0.5) + (size - near))

    @staticmethod
    def backward(ctx: Any, dlosses: Tensor) -> tuple[Tensor, None]:
        (d,) = ctx.saved_tensors
        return dlosses * (d / ctx.beta).clamp(-1, 1), None


class L1Loss(Module):
    """Mean absolute difference; see `rondeau.nn.functional.l1_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        How the absolute differences are reduced.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.L1Loss()(rt.tensor([3.0]), rt.tensor([1.0])).item()
    2.0
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction(reduction)
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of two tensors of the same shape."""
        return l1_loss(input, target, self.reduction)


class SmoothL1Loss(Module):
    """Mean absolute difference, quadratic near 0; see `rondeau.nn.functional.smooth_l1_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        How the losses of the elements are reduced.
    beta : float
        Where the parabola ends.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.SmoothL1Loss(beta=2.0)(rt.tensor([3.0]), rt.tensor([0.0])).item()
    2.0
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__()
        check_reduction(reduction)
        _check_beta(beta)
        self.reduction = reduction
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of two tensors of the same shape."""
        return smooth_l1_loss(input, target, self.reduction, self.beta)
