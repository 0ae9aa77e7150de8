"""The update of one parameter by one optimiser, as one pass over memory.

Every kernel takes one-dimensional contiguous arrays of one dtype and of equal length, and updates the parameter
and the optimiser's averages in place. `w` is the parameter, `g` its gradient, and the remaining arrays are the
averages under the names of the equations. The scalars have the arrays' dtype. No element depends on another, and
nothing is contracted or reordered, so the bits are the same for any number of threads.

Options that torch spells as branches are numbers here, so that one loop serves them all:

``sign``
    1 to minimise, -1 to maximise.
``l2``
    weight decay that is added to the gradient; at 0 nothing is, for 0 times an infinite weight would be NaN.
``shrink``
    what the parameter is multiplied by first (decoupled weight decay): ``1 - lr * weight_decay``; 1 for none.
"""

import inspect
import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import prange

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.numerics.elements import ELEMENTS
from rondeau.kernels.runtime import threads
from rondeau.kernels.runtime.compiling import cached_njit

__all__ = ["adagrad", "adam", "amsgrad", "launch", "rmsprop", "sgd", "sgd_momentum"]

# Below so many elements one thread is done before a second one is awake; on a busy machine that takes milliseconds.
_ALONE = 16384
# The index among the arrays of the one that is only read; the averages follow it.
_GRADIENT = 1


class Kernel(NamedTuple):
    """An update, compiled for one thread and for all."""

    serial: Any
    parallel: Any
    arrays: tuple[str, ...]
    """The names of its arrays, in order."""
    scalars: tuple[str, ...]
    """The names of its scalars, which follow them."""


def _kernel(function: Callable[..., None]) -> Kernel:
    # No contraction: a product and a sum that one loop rounds once and another twice would differ in bits.
    compiled = cached_njit(function, fastmath=False), cached_njit(function, parallel=True, fastmath=False)
    names = tuple(inspect.signature(function).parameters)
    first = names.index("sign")
    return Kernel(*compiled, names[:first], names[first:])


@_kernel
def sgd(w: Any, g: Any, sign: Any, l2: Any, lr: Any) -> None:
    """Apply ``w <- w - lr (sign g + l2 w)``."""
    for i in prange(w.size):
        d = sign * g[i]
        if l2 != 0:
            d += l2 * w[i]
        w[i] -= lr * d


@_kernel
def sgd_momentum(
    w: Any,
    g: Any,
    velocity: Any,
    sign: Any,
    l2: Any,
    lr: Any,
    momentum: Any,
    intake: Any,
    nesterov: Any,
) -> None:
    """Apply ``d = sign g + l2 w;  v <- momentum v + intake d;  w <- w - lr v``.

    Where `nesterov`, ``w <- w - lr (d + momentum v)``. `intake` is ``1 - dampening``, and 1 at the first step.
    """
    for i in prange(w.size):
        d = sign * g[i]
        if l2 != 0:
            d += l2 * w[i]
        v = momentum * velocity[i] + intake * d
        velocity[i] = v
        if nesterov:
            v = d + momentum * v
        w[i] -= lr * v


@_kernel
def adagrad(w: Any, g: Any, total: Any, sign: Any, l2: Any, lr: Any, eps: Any) -> None:
    """Apply ``d = sign g + l2 w;  s <- s + d^2;  w <- w - lr d / (sqrt(s) + eps)``."""
    for i in prange(w.size):
        d = sign * g[i]
        if l2 != 0:
            d += l2 * w[i]
        s = total[i] + d * d
        total[i] = s
        w[i] -= lr * d / (math.sqrt(s) + eps)


@_kernel
def rmsprop(
    w: Any,
    g: Any,
    square: Any,
    mean: Any,
    velocity: Any,
    sign: Any,
    l2: Any,
    lr: Any,
    alpha: Any,
    rest: Any,
    eps: Any,
    momentum: Any,
    centered: Any,
) -> None:
    """Apply ``s <- alpha s + rest d^2;  v <- momentum v + d / (sqrt(s - m^2) + eps);  w <- w - lr v``.

    Here ``rest = 1 - alpha``, ``d = sign g + l2 w`` and ``m <- m + rest (d - m)`` where `centered`, else m is 0.
    `mean` and `velocity` may have length 0 where they are not in use: not centered, momentum 0.
    """
    for i in prange(w.size):
        d = sign * g[i]
        if l2 != 0:
            d += l2 * w[i]
        s = alpha * square[i] + rest * d * d
        square[i] = s
        if centered:
            m = mean[i] + rest * (d - mean[i])
            mean[i] = m
            if s < math.inf:  # beyond, m * m is infinite too, and their difference would be NaN
                s -= m * m
        v = d / (math.sqrt(s) + eps)
        if momentum > 0:
            v += momentum * velocity[i]
            velocity[i] = v
        w[i] -= lr * v


@_kernel
def adam(
    w: Any,
    g: Any,
    mean: Any,
    square: Any,
    sign: Any,
    l2: Any,
    shrink: Any,
    rest1: Any,
    beta2: Any,
    rest2: Any,
    rate: Any,
    root: Any,
    eps: Any,
) -> None:
    """Apply ``m <- m + rest1 (d - m);  s <- beta2 s + rest2 d^2;  w <- shrink w - rate m / (sqrt(s) / root + eps)``.

    Here ``d = sign g + l2 w``, ``rest1 = 1 - beta1``, ``rest2 = 1 - beta2``, ``rate = lr / (1 - beta1^t)`` and
    ``root = sqrt(1 - beta2^t)``.
    """
    for i in prange(w.size):
        d = sign * g[i]
        if l2 != 0:
            d += l2 * w[i]
        m = mean[i] + rest1 * (d - mean[i])
        s = beta2 * square[i] + rest2 * d * d
        mean[i] = m
        square[i] = s
        w[i] = shrink * w[i] - rate * m / (math.sqrt(s) / root + eps)


@_kernel
def amsgrad(
    w: Any,
    g: Any,
    mean: Any,
    square: Any,
    largest: Any,
    sign: Any,
    l2: Any,
    shrink: Any,
    rest1: Any,
    beta2: Any,
    rest2: Any,
    rate: Any,
    root: Any,
    eps: Any,
) -> None:
    """Apply `adam` with the largest ``s`` so far in the place of ``s``; a NaN counts as larger than any number."""
    for i in prange(w.size):
        d = sign * g[i]
        if l2 != 0:
            d += l2 * w[i]
        m = mean[i] + rest1 * (d - mean[i])
        s = beta2 * square[i] + rest2 * d * d
        mean[i] = m
        square[i] = s
        s = largest[i] if s <= largest[i] else s
        largest[i] = s
        w[i] = shrink * w[i] - rate * m / (math.sqrt(s) / root + eps)


def launch(kernel: Kernel, *arrays: np.ndarray[Any, Any], **scalars: float | bool) -> None:
    """Run one of the kernels above on `arrays`, with `scalars` in the arrays' dtype: infinite where that ends before.

    Parameters
    ----------
    kernel : Kernel
        One of this module.
    *arrays : ndarray
        float32 or float64, C-contiguous, of any shape: what the kernel names first, in its order.
    **scalars
        What the kernel names next, by name.

    Raises
    ------
    TypeError
        If something is not what the kernel takes, or an array is of another dtype than the first.
    ValueError
        If an array has another shape than the first, or is not C-contiguous, or is to be changed and read-only.

    Examples
    --------
    >>> w, g = np.ones(3), np.array([1.0, 2.0, 3.0])
    >>> launch(sgd, w, g, sign=1, l2=0, lr=0.5)
    >>> w.tolist()
    [0.5, 0.0, -0.5]
    """
    _check_arguments(kernel, arrays, scalars)
    first = arrays[0]
    for i, array in enumerate(arrays):
        if array.dtype != first.dtype or array.dtype not in ELEMENTS:
            raise ArgumentTypeError(
                "an update expected arrays all of float32 or all of float64, "
                f"got {', '.join(str(a.dtype) for a in arrays)}; convert with astype"
            )
        if array.shape != first.shape and not (kernel is rmsprop and array.shape == (0,) and i > _GRADIENT):
            raise ArgumentValueError(
                "an update expected the parameter, its gradient and its averages to have one shape, "
                f"got {', '.join(str(a.shape) for a in arrays)}"
            )
        if not array.flags.c_contiguous or not (array.flags.writeable or i == _GRADIENT):
            raise ArgumentValueError(
                f"an update expected C-contiguous arrays and all but the gradient writable, array {i} is not: "
                "pass a copy"
            )
    scalar = first.dtype.type
    given = [scalars[name] for name in kernel.scalars]
    with np.errstate(over="ignore"):
        values = [value if isinstance(value, bool) else scalar(value) for value in given]
    flat = [array.reshape(-1) for array in arrays]
    if first.size < _ALONE:
        kernel.serial(*flat, *values)
    else:
        threads.launch(kernel.parallel, *flat, *values)


def _check_arguments(kernel: Any, arrays: tuple[Any, ...], scalars: dict[str, Any]) -> None:
    """Refuse what a kernel does not name, and values that are no arrays or no numbers."""
    if not isinstance(kernel, Kernel):
        raise ArgumentTypeError(f"launch expected a kernel of rondeau.kernels.ops.optimisers, got {kernel!r}")
    if len(arrays) != len(kernel.arrays):
        raise ArgumentTypeError(
            f"an update expected the arrays {', '.join(kernel.arrays)}, got {len(arrays)}"
        )
    if tuple(scalars) != kernel.scalars and scalars.keys() != set(kernel.scalars):
        raise ArgumentTypeError(
            f"an update expected the scalars {', '.join(kernel.scalars)}, got {', '.join(scalars) or 'none'}"
        )
    for name, array in zip(kernel.arrays, arrays, strict=True):
        if not isinstance(array, np.ndarray):
            raise ArgumentTypeError(
                f"an update expected {name} to be a numpy array, got {type(array).__name__}"
            )
    for name, value in scalars.items():
        if type(value) is not float and not isinstance(value, numbers.Real):  # to ask for a kind takes longer
            raise ArgumentTypeError(f"an update expected {name} to be a number, got {value!r}")
