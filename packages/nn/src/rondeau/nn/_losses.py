"""Loss functions: cross-entropy, negative log-likelihood and mean squared error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.ops import cross_entropy as kernels
from rondeau.kernels.ops import linear_cross_entropy as blocked
from rondeau.kernels.runtime.devices import is_array
from rondeau.tensor import Tensor, is_grad_enabled, where
from rondeau.tensor.operations import Op, record

from ._checks import as_array, check_devices, check_integer, check_number, check_tensor
from ._module import Module
from ._reductions import check_reduction, reduced, warn_of_broadcast


def cross_entropy(
    input: Tensor,
    target: Tensor | NDArray[Any],
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the negative log-likelihood of targets under softmax(`input`), in one fused pass.

    For a class t: -w[t] log softmax(input)[t]; for probabilities q: -sum_c w[c] q[c] log softmax(input)[c].
    Label smoothing s (Szegedy et al. 2016) first replaces the target, taken as probabilities, by (1 - s) q + s / C.

    Parameters
    ----------
    input : Tensor
        Logits, shape (C,), (N, C) or (N, C, d1, ...).
    target : Tensor or ndarray
        Classes as integers in [0, C), shape (), (N,) or (N, d1, ...); or probabilities, with the shape and dtype
        of `input`.
    weight : Tensor, optional
        Weight of each class, shape (C,).
    ignore_index : int
        The class whose rows neither count nor get a gradient; it has no effect on probabilities.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the sum of the weights w[t] of the rows that count; for probabilities, by the number
        of rows. If there are none, it is NaN, as 0 / 0.
    label_smoothing : float
        s, in [0, 1].

    Returns
    -------
    Tensor
        Shape (), or for "none" one loss per row: (), (N,) or (N, d1, ...).

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
    >>> logits = rt.tensor([[2.0, 0.0], [0.0, 0.0]])
    >>> [round(v, 6) for v in nn.functional.cross_entropy(logits, rt.tensor([0, 1]), reduction="none").tolist()]
    [0.126928, 0.693147]
    >>> round(nn.functional.cross_entropy(rt.tensor([[0.8, 0.2]]).log(), rt.tensor([[1.0, 0.0]])).item(), 6)
    0.223144
    """
    check_reduction(reduction)
    check_integer("ignore_index", ignore_index)
    check_smoothing(label_smoothing)
    _check_input("cross_entropy", input)
    check_class_weight("cross_entropy", _classes_of(input), input.dtype, weight)
    given = as_array("cross_entropy: target", target)
    check_devices("cross_entropy", input=input, target=given, weight=weight)
    if given.dtype.kind == "f":
        of_classes = target if isinstance(target, Tensor) else Tensor(given)
        weights = _class_weights(input, weight)
        return _cross_entropy_of_probabilities(input, of_classes, weights, reduction, label_smoothing)
    check_target("cross_entropy", input.shape, given)
    rows = _class_rows(input)
    of_class = None if weight is None else weight._array
    smoothing, share = float(label_smoothing), None
    losses, saved = kernels.forward(rows._array, given.reshape(-1), of_class, smoothing, ignore_index)
    if reduction != "none":
        losses, share = kernels.reduce(losses, saved, reduction)
    result = record(_CROSS_ENTROPY, losses, (rows,), saved, share)
    return result.reshape(given.shape) if reduction == "none" else result


def _of_logits(g: Any, _out: Any, logits: Any, saved: kernels.Saved, share: Any) -> Any:
    """Return the gradient of logits (N, C), given that of their loss."""
    if isinstance(g, Tensor):
        return recorded_gradient(g, logits, saved, share)
    d_losses = np.empty_like(saved.scale)
    d_losses[...] = g if share is None else g * share
    return kernels.backward(d_losses, saved)


_CROSS_ENTROPY = Op("CrossEntropy", _of_logits)
"""Rows of logits (N, C) against one class each; `rondeau.kernels.ops.cross_entropy` states the equations."""


def recorded_gradient(
    dloss: Tensor, logits: Tensor, targets: kernels.Saved | blocked.Targets, share: Any
) -> Tensor:
    """Return the gradient of logits (N, C), by operations that are recorded.

    Parameters
    ----------
    dloss : Tensor
        The gradient of the loss: shape (), or (N,) of losses that are not reduced.
    logits : Tensor
    targets : Saved or Targets
    share : float or array of shape (), or None
        The gradient of each loss in the reduced loss; None if they are not reduced.
    """
    row = dloss.reshape(-1, 1) if share is None else _times(dloss, share)
    factors = _factors(targets)
    of_sum = Tensor(factors.sum(axis=1, keepdims=True))
    # Selected, not multiplied by 0: an ignored row may contain an infinity, and 1 / (0 rows) is one. Selected before
    # all else, for that is what second derivatives multiply by, too.
    counted = Tensor((targets.classes != targets.ignored)[:, None])
    probabilities = where(counted, logits, 0.0).softmax(1)
    return where(counted, row, 0.0) * (probabilities * of_sum - Tensor(factors))


def _times(x: Tensor, factor: Any) -> Tensor:
    """Return the product with a number, which may be an array of a GPU."""
    return x * (Tensor(factor.astype(x.dtype)) if is_array(factor) else factor)


def _factors(targets: kernels.Saved | blocked.Targets) -> NDArray[Any]:
    """Return the factors of -log softmax in the loss of every row, shape (N, C)."""
    classes, weights, smoothing = targets.classes, targets.weights, targets.smoothing
    counts = classes != targets.ignored
    factors: NDArray[Any] = np.where(
        counts[:, None], smoothing / weights.size * weights, weights.dtype.type(0)
    )
    at = np.where(counts, classes, 0)[:, None]
    of_class = np.where(counts[:, None], (1 - smoothing) * weights[at], weights.dtype.type(0))
    np.put_along_axis(factors, at, np.take_along_axis(factors, at, 1) + of_class, 1)
    return factors


def _cross_entropy_of_probabilities(
    input: Tensor, target: Tensor, weights: NDArray[Any], reduction: str, smoothing: float
) -> Tensor:
    if target.shape != input.shape or target.dtype != input.dtype:
        raise ArgumentValueError(
            "cross_entropy: floating-point targets are probabilities of the classes, and must have the shape "
            f"and dtype of the input, {tuple(input.shape)} {input.dtype}; got {tuple(target.shape)} {target.dtype}. "
            "Class indices are integers: target.long()"
        )
    q = _class_rows(target)
    if smoothing > 0.0:
        q = q * (1.0 - smoothing) + smoothing / weights.size
    losses = -(q * _class_rows(input).log_softmax(1) * Tensor(weights)).sum(1)
    if reduction == "none":
        return losses.reshape(input.shape[:1] + input.shape[2:] if input.ndim > 1 else ())
    return losses.mean() if reduction == "mean" else losses.sum()


def nll_loss(
    input: Tensor,
    target: Tensor | NDArray[Any],
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Return the negative log-likelihood of classes, given log-probabilities: -w[t] input[t].

    Parameters
    ----------
    input : Tensor
        Log-probabilities, shape (C,), (N, C) or (N, C, d1, ...).
    target : Tensor or ndarray
        Classes as integers in [0, C), shape (), (N,) or (N, d1, ...).
    weight : Tensor, optional
        Weight of each class, shape (C,).
    ignore_index : int
        The class whose rows neither count nor get a gradient.
    reduction : {"mean", "sum", "none"}
        "mean" divides by the sum of the weights w[t] of the rows that count.

    Returns
    -------
    Tensor
        Shape (), or for "none" one loss per row: (), (N,) or (N, d1, ...).

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
    >>> log_probabilities = rt.tensor([[0.25, 0.75]]).log()
    >>> round(nn.functional.nll_loss(log_probabilities, rt.tensor([1])).item(), 6)
    0.287682
    """
    check_reduction(reduction)
    check_integer("ignore_index", ignore_index)
    _check_input("nll_loss", input)
    check_class_weight("nll_loss", _classes_of(input), input.dtype, weight)
    weights = _class_weights(input, weight)
    given = as_array("nll_loss: target", target)
    check_devices("nll_loss", input=input, target=given, weight=weight)
    check_target("nll_loss", input.shape, given)
    classes = kernels.checked_classes("nll_loss", given, _classes_of(input), ignore_index)
    flat = classes.reshape(-1)
    counts = flat != ignore_index
    at = np.where(counts, flat, 0)
    of_row = weights[at] * counts
    picked = _class_rows(input).gather(1, Tensor(at.reshape(-1, 1))).reshape(-1)
    # Filled, not multiplied by 0: an ignored row may contain an infinity, and their product is NaN.
    losses = -(picked.masked_fill(Tensor(~counts), 0.0) * Tensor(of_row))
    if reduction == "none":
        return losses.reshape(classes.shape)
    total = losses.sum()
    return total / Tensor(of_row.sum(keepdims=True).reshape(())) if reduction == "mean" else total


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Return the squared difference of two tensors, elementwise or reduced.

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
    TypeError
        If an argument is not a Tensor.
    ValueError
        For an unknown reduction.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.functional.mse_loss(rt.tensor([1.0, 2.0]), rt.tensor([1.0, 4.0])).item()
    2.0
    """
    check_reduction(reduction)
    check_tensor("mse_loss: input", input)
    check_tensor("mse_loss: target", target)
    check_devices("mse_loss", input=input, target=target)
    warn_of_broadcast("mse_loss", input, target)
    difference = input - target
    return reduced(difference * difference, reduction)


def check_smoothing(label_smoothing: float) -> None:
    check_number("label_smoothing", label_smoothing)
    if not 0.0 <= label_smoothing <= 1.0:
        raise ArgumentValueError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")


def _check_input(name: str, input: Tensor) -> None:
    check_tensor(f"{name}: input", input)
    array = input._array
    if array.ndim == 0 or array.shape[array.ndim > 1] == 0:
        raise ArgumentValueError(
            f"{name}: input must have shape (C,), (N, C) or (N, C, d1, ...) with C at least 1, "
            f"got {tuple(input.shape)}"
        )
    if array.dtype.char not in "fd":
        raise ArgumentTypeError(
            f"{name}: input must be float32 or float64, got {input.dtype}; use input.float()"
        )


def _classes_of(input: Tensor) -> int:
    return int(input.shape[0] if input.ndim == 1 else input.shape[1])


def check_class_weight(name: str, number: int, dtype: Any, weight: Tensor | None) -> None:
    if weight is None:
        return
    check_tensor(f"{name}: weight", weight)
    if tuple(weight.shape) != (number,) or weight.dtype != dtype:
        kind = ArgumentValueError if weight.dtype == dtype else ArgumentTypeError
        raise kind(
            f"{name}: weight must have one {dtype} for each of the {number} classes, shape ({number},), "
            f"got {weight.dtype} of shape {tuple(weight.shape)}"
        )
    if weight.requires_grad and is_grad_enabled():
        raise ArgumentValueError(
            f"{name}: weight requires gradients, and the loss has none with respect to it: pass weight.detach()"
        )


def _class_weights(input: Tensor, weight: Tensor | None) -> NDArray[Any]:
    if weight is None:
        return np.ones_like(input._array, shape=(_classes_of(input),))
    found: NDArray[Any] = weight._array.copy()  # backward reads it, and the caller may overwrite it first
    return found


def check_target(name: str, shape: tuple[int, ...], target: NDArray[Any]) -> None:
    """Raise an error unless targets are integers, one for each row of logits of a shape; kernels check their range."""
    expected = tuple(shape[:1] + shape[2:]) if len(shape) > 1 else ()
    if target.dtype.kind not in "iu":
        raise ArgumentTypeError(
            f"{name}: target must be integer classes, got {target.dtype}; use target.long()"
        )
    if target.shape != expected:
        raise ArgumentValueError(
            f"{name}: for an input of shape {tuple(shape)} the target must have shape {expected}, "
            f"got {target.shape}"
        )


def _class_rows(input: Tensor) -> Tensor:
    """Return (C,), (N, C) or (N, C, d1, ...) as (N d1 ..., C)."""
    ndim = input._array.ndim
    if ndim == 2:
        return input
    if ndim == 1:
        return input.reshape(1, -1)
    order = (0, *range(2, ndim), 1)
    rows = input.permute(*order)
    return rows.reshape(math.prod(rows.shape[:-1]), rows.shape[-1])


class CrossEntropyLoss(Module):
    """Negative log-likelihood of targets under the softmax of logits; see `rondeau.nn.functional.cross_entropy`.

    Parameters
    ----------
    weight : Tensor, optional
        Weight of each class, shape (C,); a buffer.
    ignore_index : int
        The class whose rows neither count nor get a gradient.
    reduction : {"mean", "sum", "none"}
        How the losses of the rows are reduced.
    label_smoothing : float
        The part of every target that is spread over all classes, in [0, 1].

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> loss = nn.CrossEntropyLoss()(rt.zeros(4, 10), rt.tensor([0, 1, 2, 3]))
    >>> round(loss.item(), 6)
    2.302585
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        check_integer("ignore_index", ignore_index)
        check_smoothing(label_smoothing)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor | NDArray[Any]) -> Tensor:
        """Return the loss of logits (N, C) or (N, C, d1, ...) against classes or probabilities."""
        return cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(Module):
    """Negative log-likelihood of classes given log-probabilities; see `rondeau.nn.functional.nll_loss`.

    Parameters
    ----------
    weight : Tensor, optional
        Weight of each class, shape (C,); a buffer.
    ignore_index : int
        The class whose rows neither count nor get a gradient.
    reduction : {"mean", "sum", "none"}
        How the losses of the rows are reduced.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> log_probabilities = nn.LogSoftmax(dim=1)(rt.zeros(1, 10))
    >>> round(nn.NLLLoss()(log_probabilities, rt.tensor([3])).item(), 6)
    2.302585
    """

    weight: Tensor | None

    def __init__(
        self, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__()
        check_reduction(reduction)
        check_integer("ignore_index", ignore_index)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor | NDArray[Any]) -> Tensor:
        """Return the loss of log-probabilities (N, C) or (N, C, d1, ...) against classes."""
        return nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class MSELoss(Module):
    """Mean squared difference; see `rondeau.nn.functional.mse_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
        How the squared differences are reduced.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.MSELoss()(rt.tensor([3.0]), rt.tensor([1.0])).item()
    4.0
    """

    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        check_reduction(reduction)
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss of two tensors of the same shape."""
        return mse_loss(input, target, self.reduction)
