"""Reductions of elementwise losses: their mean, their sum, or none."""

from __future__ import annotations

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.caller import warn_caller
from rondeau.tensor import Tensor

from ._checks import check_devices, check_tensor

__all__ = ["REDUCTIONS", "check_reduction", "check_same_dtype", "reduced", "warn_of_broadcast"]

REDUCTIONS = ("none", "mean", "sum")


def check_reduction(reduction: str, allowed: tuple[str, ...] = REDUCTIONS) -> None:
    """Raise ValueError for an unknown reduction.

    Raises
    ------
    ValueError
        The message lists those that are allowed.

    Examples
    --------
    >>> check_reduction("average")
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentValueError: average is not a valid value for reduction; use one of ('none', ...
    """
    if not isinstance(reduction, str) or reduction not in allowed:
        raise ArgumentValueError(
            f"{reduction!s:.80} is not a valid value for reduction; use one of {allowed}"
        )


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """Return the mean or the sum of all losses, or the losses themselves with "none".

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> [reduced(rt.tensor([1.0, 3.0]), reduction).tolist() for reduction in REDUCTIONS]
    [[1.0, 3.0], 2.0, 4.0]
    """
    if reduction == "none":
        return losses
    return losses.mean() if reduction == "mean" else losses.sum()


def check_same_dtype(name: str, input: Tensor, target: Tensor, **optional: Tensor | None) -> None:
    """Raise an error unless all are Tensors of the same dtype, float32 or float64, on the same device.

    The optional ones may be None.

    Raises
    ------
    TypeError
        The message names the arguments and their dtypes.
    ValueError
        The message names the arguments and their devices.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> check_same_dtype("l1_loss", rt.ones(2), rt.tensor([0, 1]))
    Traceback (most recent call last):
        ...
    rondeau.kernels.errors.ArgumentTypeError: l1_loss: input is float32 and target is int64; use target.to(input.dtype)
    """
    check_tensor(f"{name}: input", input)
    if input.dtype.char not in "fd":
        raise ArgumentTypeError(
            f"{name}: input must be float32 or float64, got {input.dtype}; use input.float()"
        )
    check_tensor(f"{name}: target", target)
    for other, given in {"target": target, **optional}.items():
        if given is None:
            continue
        check_tensor(f"{name}: {other}", given)
        if given.dtype != input.dtype:
            raise ArgumentTypeError(
                f"{name}: input is {input.dtype} and {other} is {given.dtype}; use {other}.to(input.dtype)"
            )
    check_devices(name, input=input, target=target, **optional)


def warn_of_broadcast(name: str, input: Tensor, target: Tensor) -> None:
    """Warn the caller of the loss `name` if the shapes differ."""
    if input.shape != target.shape:
        warn_caller(
            f"{name}: the target has shape {tuple(target.shape)} and the input {tuple(input.shape)}; they are "
            "broadcast, which is rarely intended: make the shapes equal"
        )
