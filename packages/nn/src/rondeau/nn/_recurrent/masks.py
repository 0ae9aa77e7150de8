"""Dropout by position, of rows and of weights: backward draws the masks again from a key."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.numerics import philox
from rondeau.kernels.runtime import buffers
from rondeau.kernels.runtime.devices import library_of
from rondeau.tensor import Function, Generator, Tensor, default_generator

from .._checks import check_probability


def draw_key(generator: Generator | None = None) -> int:
    """Draw the key of one forward pass, which determines all of its masks.

    Parameters
    ----------
    generator : Generator, optional
        By default the one that `rondeau.tensor.manual_seed` seeds and checkpoints save.

    Returns
    -------
    int
        In [0, 2**64).

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> draw_key(rt.Generator(0)) == draw_key(rt.Generator(0))
    True
    """
    source = default_generator() if generator is None else generator
    return int(source.numpy.integers(2**64 - 1, dtype=np.uint64, endpoint=True))


def dropout_rows(
    x: Tensor, p: float, key: int, substream: int, times: ArrayLike, batches: ArrayLike
) -> Tensor:
    """Zero every element with probability `p` and scale the others by 1 / (1 - p), by the position of the element.

    Whether an element is kept depends only on `key`, `substream`, the time and batch of its row, and its unit.

    Parameters
    ----------
    x : Tensor of float32 or float64
        Shape (..., W), taken as N rows of W units.
    p : float
        Probability of zeroing, in [0, 1]; 0 returns `x` itself.
    key : int
        The key of the forward pass, from `draw_key`.
    substream : int
        The index of the mask within the pass, in [0, 2**32).
    times, batches : array_like of integers
        The position of each row, in [0, 2**32): shape (N,), or one that broadcasts to the rows (...). For a mask that
        is the same at every step, the time is `rondeau.kernels.numerics.philox.CONSTANT_OVER_TIME`.

    Returns
    -------
    Tensor
        The shape of `x`, which is its expected value.

    Raises
    ------
    ValueError
        If `p` is not in [0, 1], a number is out of range, or there is not one position for each row.
    TypeError
        If `x` is neither float32 nor float64, or positions are not integers.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> x = rt.ones(5, 2, 100)  # (T, B, W)
    >>> y = dropout_rows(x, 0.5, 7, 0, [[0], [1], [2], [3], [4]], [0, 1])
    >>> y.shape, sorted(set(y.flatten().tolist()))
    ((5, 2, 100), [0.0, 2.0])
    >>> rt.equal(y[3], dropout_rows(x[3], 0.5, 7, 0, 3, [0, 1]))
    True
    """
    _check("dropout_rows", x, p)
    if x.ndim == 0:
        raise ArgumentValueError("dropout_rows: x must have shape (..., W), got a scalar")
    if p == 0:
        return x
    leading = x.shape[:-1]
    positions = (
        _positions("times", times, leading, x._array),
        _positions("batches", batches, leading, x._array),
    )
    matrix = x if x.ndim == 2 else x.reshape((positions[0].size, x.shape[-1]))
    rows: Tensor = _MaskedRows.apply(matrix, p, key, substream, *positions)
    return rows if x.ndim == 2 else rows.reshape(x.shape)


def drop_connect(weight: Tensor, p: float, key: int, substream: int) -> Tensor:
    """Zero every weight with probability `p` and scale the others by 1 / (1 - p), once for all time steps.

    This is DropConnect (Wan et al. 2013), applied to recurrent matrices as in Merity et al. 2017 (AWD-LSTM, section 2).
    Because of the scale nothing needs to change in evaluation, where Wan et al. draw from a normal distribution
    instead.

    Parameters
    ----------
    weight : Tensor of float32 or float64
        Shape (rows, columns).
    p : float
        Probability of zeroing, in [0, 1]; 0 returns `weight` itself.
    key : int
        The key of the forward pass, from `draw_key`.
    substream : int
        The index of the mask within the pass, in [0, 2**32).

    Returns
    -------
    Tensor
        The shape of `weight`.

    Raises
    ------
    ValueError
        If `p` is not in [0, 1], a number is out of range, or `weight` is not a matrix.
    TypeError
        If `weight` is neither float32 nor float64.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> sorted(set(drop_connect(rt.ones(20, 10), 0.5, 7, 0).flatten().tolist()))
    [0.0, 2.0]
    """
    _check("drop_connect", weight, p)
    if weight.ndim != 2:
        raise ArgumentValueError(f"drop_connect: weight must be a matrix, got shape {tuple(weight.shape)}")
    rows = library_of(weight._array).arange(weight.shape[0])
    return dropout_rows(weight, p, key, substream, philox.CONSTANT_OVER_TIME, rows)


def _check(name: str, x: Tensor, p: float) -> None:
    if x.dtype.char not in "fd":
        raise ArgumentTypeError(f"{name}: the tensor must be float32 or float64, got {x.dtype}; use .float()")
    check_probability(f"{name}: p", p)


def _positions(name: str, given: ArrayLike, leading: tuple[int, ...], like: NDArray[Any]) -> NDArray[Any]:
    """Return one number per row where the rows are, as a copy: backward reads this after the caller may overwrite it.

    A single number is filled in there; an array of another device is sent.
    """
    library = library_of(like)
    positions: NDArray[Any] = library.full((), given) if type(given) is int else library.asarray(given)
    rows = int(np.prod(leading, dtype=np.int64))
    if positions.shape != (rows,):
        try:
            positions = np.broadcast_to(positions, leading)
        except ValueError:
            raise ArgumentValueError(
                f"dropout_rows: {name} must have shape ({rows},) or broadcast to {tuple(leading)}, the rows of x, "
                f"got {positions.shape}"
            ) from None
    return positions.flatten()


class _MaskedRows(Function):
    """Rows of a matrix times their mask. This is linear, so its gradient is the same function of the gradient."""

    owns_gradients = True

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, p: float, key: int, substream: int, times: NDArray[Any], batches: NDArray[Any]
    ) -> Tensor:
        ctx.mask = p, key, substream, times, batches
        y = buffers.empty_like(x._array, x.shape)
        philox.mask_rows(x._array, times, batches, key, substream, p, y)
        return Tensor(y)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        return _MaskedRows.apply(dy, *ctx.mask), None, None, None, None, None
