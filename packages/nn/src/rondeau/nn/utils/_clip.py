"""Gradient clipping, by joint norm or element by element."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.ops.few_rows import FewRows
from rondeau.kernels.runtime.devices import is_of_device, zeros
from rondeau.tensor import Tensor, increment_version
from rondeau.tensor.autograd import few_rows

from .._checks import check_number
from ._listed import listed

# Squares are summed in the gradients' dtype over runs of this length, and the runs' sums in float64.
_RUN = 4096


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients together so that their joint norm is at most `max_norm`, in place.

    ``g <- min(1, max_norm / (|g| + 1e-6)) g``, as in PyTorch (Pascanu et al. 2013, algorithm 1). The direction does not
    change. If the norm is infinite, infinite elements become NaN and finite ones 0; if it is NaN, or the bound is
    infinite too, every element becomes NaN.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Those without a gradient are skipped.
    max_norm : float
        The bound, at least 0; ``math.inf`` for no bound.
    norm_type : float
        The p of the p-norm; ``math.inf`` for the largest magnitude.
    error_if_nonfinite : bool
        Raise RuntimeError if the norm is NaN or infinite. On a GPU, this waits for it; nothing else here does.

    Returns
    -------
    Tensor
        The norm before clipping, shape (), where the gradients are.

    Raises
    ------
    RuntimeError
        If the norm is not finite and `error_if_nonfinite` is true.
    TypeError
        If an argument has the wrong type.
    ValueError
        If `max_norm` is negative or NaN, or `norm_type` is not greater than 0. In this case no gradient has changed.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> w = rt.tensor([1.0, 1.0], requires_grad=True)
    >>> (w * rt.tensor([3.0, 4.0])).sum().backward()
    >>> nn.utils.clip_grad_norm_(w, 1.0).item()
    5.0
    >>> [round(v, 5) for v in w.grad.tolist()]
    [0.6, 0.8]
    """
    bound = _bound("max_norm", max_norm)
    gradients = [p.grad for p in listed("parameters", parameters) if p.grad is not None]
    total = get_total_norm(gradients, norm_type, error_if_nonfinite)
    if type(total._array) is not np.ndarray:
        _scale_on_device([gradient._array for gradient in gradients], bound, total._array)
        increment_version(gradients)
        return total
    factor = bound / (total.item() + 1e-6)
    if not factor >= 1.0:  # so that NaN spreads
        with np.errstate(invalid="ignore"):
            for gradient in gradients:
                few = few_rows(gradient) if factor == factor else None  # NaN makes zeros NaN
                array = gradient._array if few is None else few.values
                array *= array.dtype.type(factor)
        increment_version(gradients)
    return total


def get_total_norm(
    tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Return the norm of all tensors, taken as one vector.

    The bits are the same for any number of threads. NumPy's own norm uses BLAS, whose bits depend on it.

    Parameters
    ----------
    tensors : Tensor or iterable of Tensor
        Any shapes.
    norm_type : float
        The p of the p-norm; ``math.inf`` for the largest magnitude.
    error_if_nonfinite : bool
        Raise RuntimeError if the norm is NaN or infinite. On a GPU, this waits for it.

    Returns
    -------
    Tensor
        Shape (); float32, or float64 if one of the tensors is. 0 for no tensors.

    Raises
    ------
    RuntimeError
        If the norm is not finite and `error_if_nonfinite` is true.
    TypeError
        If an argument has the wrong type.
    ValueError
        If `norm_type` is not greater than 0, or the tensors are on different devices.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.utils.get_total_norm([rt.tensor([3.0]), rt.tensor([[4.0]])]).item()
    5.0
    """
    power = _order(norm_type)
    arrays: list[Any] = [
        (few_rows(tensor) if power == 2.0 else None) or tensor._array for tensor in listed("tensors", tensors)
    ]
    dtype = np.result_type(np.float32, *(array.dtype for array in arrays))
    if any(type(array) is not np.ndarray and is_of_device(array) for array in arrays):
        if not all(map(is_of_device, arrays)):
            raise ArgumentValueError(
                "the gradients of a joint norm must be on one device, got some on cpu and some on cuda: move the "
                "module, module.to('cuda')"
            )
        total: Any = _norm_on_device(arrays, power)
    else:
        total = _norm(arrays, power)
        if total in (0.0, math.inf):
            # A power may have left the range although the gradients are in it: powers of numbers up to 1 do not sum
            # to 0.
            arrays = [np.asarray(array) for array in arrays]
            largest = _norm(arrays, math.inf)
            if 0.0 < largest < math.inf:
                total = largest * _norm([array / largest for array in arrays], power)
        total = np.asarray(total)
    with np.errstate(over="ignore"):  # a norm beyond the dtype is infinite
        norm = Tensor(total.astype(dtype))
    if error_if_nonfinite and not math.isfinite(value := norm.item()):
        raise RuntimeError(
            f"the total norm of order {power} is {value}, so the gradients cannot be clipped: find the NaN or "
            "infinity, or pass error_if_nonfinite=False to scale anyway"
        )
    return norm


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of every gradient to [-clip_value, clip_value], in place.

    Raises
    ------
    TypeError
        If `parameters` is neither a Tensor nor an iterable of Tensors, or `clip_value` is not a number.
    ValueError
        If `clip_value` is negative or NaN.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> w = rt.tensor([1.0, 1.0], requires_grad=True)
    >>> (w * rt.tensor([3.0, -0.5])).sum().backward()
    >>> nn.utils.clip_grad_value_(w, 1.0)
    >>> w.grad.tolist()
    [1.0, -0.5]
    """
    bound = _bound("clip_value", clip_value)
    for parameter in listed("parameters", parameters):
        if parameter.grad is not None:
            few = few_rows(parameter.grad)
            gradient = parameter.grad._array if few is None else few.values
            np.clip(gradient, -bound, bound, out=gradient)
            increment_version(parameter.grad)


def _bound(name: str, value: float) -> float:
    check_number(name, value)
    if not value >= 0:  # a negative bound would reverse gradients, and NaN would spread
        raise ArgumentValueError(f"{name}, a bound on magnitudes, must be at least 0, got {value}")
    return float(value)


def _order(norm_type: float | str) -> float:
    """Return the p of a norm, which may also be given as "inf", as in PyTorch."""
    if not (isinstance(norm_type, str) and norm_type == "inf"):
        check_number("norm_type", norm_type)
    power = float(norm_type)
    if not power > 0:
        raise ArgumentValueError(f"norm_type, the p of a p-norm, must be greater than 0, got {norm_type}")
    return power


def _norm(arrays: list[Any], power: float) -> float:
    """Return the norm of arrays, taken as one vector: 0 or infinity if a power is out of range.

    With a power of 2 there may be `FewRows` among them.
    """
    if math.isinf(power):
        largest = [np.max(np.abs(array)) for array in arrays if array.size]
        return float(np.max(largest)) if largest else 0.0
    if power == 2.0:
        return math.sqrt(sum(_sum_of_squares(array) for array in arrays))
    with np.errstate(over="ignore", under="ignore"):
        total = sum(float(np.sum(np.abs(array) ** power, dtype=np.float64)) for array in arrays)
    try:
        return float(total ** (1.0 / power))
    except OverflowError:
        return math.inf


def _norm_on_device(arrays: list[Any], power: float) -> Any:
    """Return the norm of arrays of a GPU, an array of float64 there, without waiting for it.

    Whether a power leaves the range is not known here, so all elements are divided by the largest first.
    """
    given = [array for array in arrays if array.size]
    if not given:
        return zeros((), np.float64, like=arrays[0])
    largest = np.max(np.stack([np.max(np.abs(array)).astype(np.float64) for array in given]))
    if math.isinf(power):
        return largest
    scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
    sums = np.stack([_sum_of_powers(array, scale, power) for array in given])
    return scale * np.sum(sums) ** (1.0 / power)


def _sum_of_powers(array: Any, scale: Any, power: float) -> Any:
    scaled = np.abs(array).astype(np.float64) / scale
    return np.sum(np.square(scaled) if power == 2.0 else scaled**power)


def _scale_on_device(gradients: list[Any], bound: float, total: Any) -> None:
    """Scale gradients of a GPU so that their norm, which is `total`, is at most `bound`, without waiting for it."""
    factor = np.minimum(bound / (total.astype(np.float64) + 1e-6), 1.0)  # NaN spreads
    for gradient in gradients:
        gradient *= factor.astype(gradient.dtype)


def _sum_of_squares(array: NDArray[Any] | FewRows) -> float:
    if isinstance(array, FewRows):
        sums, rest = _sums_of_few_rows(array)
    else:
        flat = array.reshape(-1)
        whole = flat.size - flat.size % _RUN
        sums, rest = _squares_of_runs(flat[:whole].reshape(-1, _RUN)), flat[whole:]
    total = float(sums.sum(dtype=np.float64)) if sums.size else 0.0
    return total + float(np.einsum("i,i->", rest, rest)) if rest.size else total


def _squares_of_runs(runs: NDArray[Any]) -> NDArray[Any]:
    # einsum multiplies and adds in one pass, without BLAS and without an array of squares.
    sums: NDArray[Any] = np.einsum("ij,ij->i", runs, runs)
    return sums


def _sums_of_few_rows(few: FewRows) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the sums of squares of all runs of the whole matrix, and its last numbers, which fill no run.

    Runs that hold one of the rows are written, with zeros around it: the bits depend on where in a run a number is.
    """
    (number, width), values = few.shape, few.values
    runs = -(-number * width // _RUN)
    begins = few.ids * width
    first, last = begins // _RUN, (begins + max(width, 1) - 1) // _RUN
    changes = np.zeros(runs + 1, np.int64)
    np.add.at(changes, first, 1)
    np.add.at(changes, last + 1, -1)
    held = np.cumsum(changes[:-1]) > 0
    places = np.cumsum(held) - 1  # of each run among those that are written
    written = np.zeros((int(held.sum()), _RUN), values.dtype)
    starts = places[first] * _RUN + begins % _RUN
    written.reshape(-1)[starts[:, None] + np.arange(width)] = values
    sums, rest = np.zeros(runs, values.dtype), number * width % _RUN
    sums[held] = _squares_of_runs(written)
    if rest == 0:
        return sums, values[:0].reshape(-1)
    tail = written[-1, :rest] if held[-1] else np.zeros(rest, values.dtype)
    return sums[:-1], tail
