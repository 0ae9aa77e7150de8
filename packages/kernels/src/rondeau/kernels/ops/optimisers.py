"""The update of one parameter by one optimiser, in one pass over memory.

`update` takes the parameter w, its gradient g, and a rule: a record of the averages that the optimiser keeps and of the
scalars of this step, named as in the equations. No element depends on another, and nothing is contracted or reordered,
so the bits are the same for any number of threads.

Options that are branches in PyTorch are numbers here, so that one loop serves them all:

``sign``
    1 to minimise, -1 to maximise.
``l2``
    The weight decay that is added to the gradient; if it is 0 nothing is added, because 0 times an infinite weight
    would be NaN.
``shrink``
    The factor applied to the parameter first (decoupled weight decay): ``1 - lr * weight_decay``; 1 for none.
"""

import functools
import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, get_type_hints

import numpy as np
from numba import types
from numpy.typing import NDArray

from rondeau.kernels.checks import check_array, check_one_device, shown
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.numerics.elements import ELEMENTS, Element
from rondeau.kernels.ops.arrays import optimisers as arrays
from rondeau.kernels.runtime import threads
from rondeau.kernels.runtime.compiling import linked_njit
from rondeau.kernels.runtime.devices import is_array, is_of_device
from rondeau.kernels.runtime.shares import indices_of_share, run_shares
from rondeau.kernels.runtime.signatures import array_type, compiled_per_dtype, record_type

__all__ = ["Adagrad", "Adam", "Amsgrad", "Momentum", "RMSprop", "Sgd", "update"]

_ALONE = 16384
"""Below this many elements one thread finishes before a second wakes up, which takes milliseconds on a busy machine."""

Array: TypeAlias = NDArray[Any]


class _Kernel:
    """The update of one kind of rule, and the indices of the rule's fields."""

    def __init__(
        self,
        rule: type[Any],
        function: Callable[..., None],
        on_arrays: Callable[..., None],
        unused_without: dict[str, str],
    ) -> None:
        self.on_arrays = on_arrays
        hints = get_type_hints(rule)
        index = {name: i for i, name in enumerate(hints)}
        self.averages = tuple(
            (index[name], name, index.get(unused_without.get(name, "")))
            for name, kind in hints.items()
            if kind == Array
        )
        self.numbers = tuple((index[name], name) for name, kind in hints.items() if kind is float)
        self.flags = tuple(index[name] for name, kind in hints.items() if kind is bool)

        def signature_of(element: Element) -> Any:
            vector = array_type(element.dtype, 1)
            kinds = {Array: vector, float: element.compute, bool: types.boolean}
            record = record_type(rule, **{name: kinds[kind] for name, kind in hints.items()})
            return types.void(vector, vector, record, types.intp)

        # No contraction: the bits would differ where one loop rounds a product and a sum once and another twice.
        share_of_update = linked_njit(fastmath=False)(function)

        @functools.wraps(function)
        def update(w: Any, g: Any, rule: Any, shares: Any) -> None:
            run_shares(share_of_update, (w, g, rule), shares)

        del update.__wrapped__
        self.entries = compiled_per_dtype(signature_of)(update)


_KERNELS: dict[type[Any], _Kernel] = {}


def _update_of(
    rule: type[Any], on_arrays: Callable[..., None], **unused_without: str
) -> Callable[[Callable[..., None]], None]:
    """Register a function of w, g and a record, and its array program, as the update for that kind of record.

    An average named in `unused_without` may be empty if the field named there is 0 or False.
    """

    def register(function: Callable[..., None]) -> None:
        _KERNELS[rule] = _Kernel(rule, function, on_arrays, unused_without)

    return register


# Each average is read from its record in a separate statement, before the loop: if it is unpacked from a tuple of four
# or more, or read inside the loop, Numba 0.68 takes writes to it in a parallel loop for dead code.


class Sgd(NamedTuple):
    """``w <- w - lr (sign g + l2 w)``."""

    sign: float
    l2: float
    lr: float


@_update_of(Sgd, arrays.sgd)
def _sgd(w: Any, g: Any, rule: Any, share: Any, shares: Any) -> None:
    sign, l2, lr = rule.sign, rule.l2, rule.lr
    for i in indices_of_share(w.size, share, shares):
        d = sign * g[i]
        if l2 != 0:
            d += l2 * w[i]
        w[i] -= lr * d


class Momentum(NamedTuple):
    """``d = sign g + l2 w;  v <- momentum v + intake d;  w <- w - lr v``.

    With `nesterov`, ``w <- w - lr (d + momentum v)``. `intake` is ``1 - dampening``, but 1 at the first step.
    """

    velocity: Array
    sign: float
    l2: float
    lr: float
    momentum: float
    intake: float
    nesterov: bool


@_update_of(Momentum, arrays.momentum)
def _momentum(w: Any, g: Any, rule: Any, share: Any, shares: Any) -> None:
    velocity = rule.velocity
    sign, l2, lr = rule.sign, rule.l2, rule.lr
    momentum, intake, nesterov = rule.momentum, rule.intake, rule.nesterov
    for i in indices_of_share(w.size, share, shares):
        d = sign * g[i]
        if l2 != 0:
            d += l2 * w[i]
        v = momentum * velocity[i] + intake * d
        velocity[i] = v
        if nesterov:
            v = d + momentum * v
        w[i] -= lr * v


class Adagrad(NamedTuple):
    """``d = sign g + l2 w;  s <- s + d^2;  w <- w - lr d / (sqrt(s) + eps)``."""

    total: Array
    """s"""
    sign: float
    l2: float
    lr: float
    eps: float


@_update_of(Adagrad, arrays.adagrad)
def _adagrad(w: Any, g: Any, rule: Any, share: Any, shares: Any) -> None:
    total = rule.total
    sign, l2, lr, eps = rule.sign, rule.l2, rule.lr, rule.eps
    for i in indices_of_share(w.size, share, shares):
        d = sign * g[i]
        if l2 != 0:
            d += l2 * w[i]
        s = total[i] + d * d
        total[i] = s
        w[i] -= lr * d / (math.sqrt(s) + eps)


class RMSprop(NamedTuple):
    """``s <- alpha s + rest d^2;  v <- momentum v + d / (sqrt(s - m^2) + eps);  w <- w - lr v``.

    Here ``rest = 1 - alpha``, ``d = sign g + l2 w`` and, if `centered`, ``m <- m + rest (d - m)``, otherwise m is 0.
    """

    square: Array
    """s"""
    mean: Array
    """m; may have length 0 unless `centered`."""
    velocity: Array
    """v; may have length 0 if `momentum` is 0."""
    sign: float
    l2: float
    lr: float
    alpha: float
    rest: float
    eps: float
    momentum: float
    centered: bool


@_update_of(RMSprop, arrays.rmsprop, mean="centered", velocity="momentum")
def _rmsprop(w: Any, g: Any, rule: Any, share: Any, shares: Any) -> None:
    square = rule.square
    mean = rule.mean
    velocity = rule.velocity
    sign, l2, lr, alpha, rest = rule.sign, rule.l2, rule.lr, rule.alpha, rule.rest
    eps, momentum, centered = rule.eps, rule.momentum, rule.centered
    for i in indices_of_share(w.size, share, shares):
        d = sign * g[i]
        if l2 != 0:
            d += l2 * w[i]
        s = alpha * square[i] + rest * d * d
        square[i] = s
        if centered:
            m = mean[i] + rest * (d - mean[i])
            mean[i] = m
            if s < math.inf:  # otherwise m * m is infinite too, and their difference would be NaN
                s -= m * m
        v = d / (math.sqrt(s) + eps)
        if momentum > 0:
            v += momentum * velocity[i]
            velocity[i] = v
        w[i] -= lr * v


class Adam(NamedTuple):
    """``m <- m + rest1 (d - m);  s <- beta2 s + rest2 d^2;  w <- shrink w - rate m / (sqrt(s) / root + eps)``.

    Here ``d = sign g + l2 w``, ``rest1 = 1 - beta1``, ``rest2 = 1 - beta2``, ``rate = lr / (1 - beta1^t)`` and
    ``root = sqrt(1 - beta2^t)``.
    """

    mean: Array
    """m"""
    square: Array
    """s"""
    sign: float
    l2: float
    shrink: float
    rest1: float
    beta2: float
    rest2: float
    rate: float
    root: float
    eps: float


@_update_of(Adam, arrays.adam)
def _adam(w: Any, g: Any, rule: Any, share: Any, shares: Any) -> None:
    mean = rule.mean
    square = rule.square
    sign, l2, shrink = rule.sign, rule.l2, rule.shrink
    rest1, beta2, rest2 = rule.rest1, rule.beta2, rule.rest2
    rate, root, eps = rule.rate, rule.root, rule.eps
    for i in indices_of_share(w.size, share, shares):
        d = sign * g[i]
        if l2 != 0:
            d += l2 * w[i]
        m = mean[i] + rest1 * (d - mean[i])
        s = beta2 * square[i] + rest2 * d * d
        mean[i] = m
        square[i] = s
        w[i] = shrink * w[i] - rate * m / (math.sqrt(s) / root + eps)


class Amsgrad(NamedTuple):
    """`Adam` with the largest ``s`` so far instead of ``s``; a NaN counts as larger than any number.

    It has the fields of `Adam`, and one more.
    """

    mean: Array
    """m"""
    square: Array
    """s"""
    sign: float
    l2: float
    shrink: float
    rest1: float
    beta2: float
    rest2: float
    rate: float
    root: float
    eps: float
    largest: Array
    """The largest s so far."""


@_update_of(Amsgrad, arrays.amsgrad)
def _amsgrad(w: Any, g: Any, rule: Any, share: Any, shares: Any) -> None:
    mean = rule.mean
    square = rule.square
    largest = rule.largest
    sign, l2, shrink = rule.sign, rule.l2, rule.shrink
    rest1, beta2, rest2 = rule.rest1, rule.beta2, rule.rest2
    rate, root, eps = rule.rate, rule.root, rule.eps
    for i in indices_of_share(w.size, share, shares):
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


def update(w: Array, g: Array, rule: Any) -> None:
    """Update a parameter and the averages of a rule in place.

    Parameters
    ----------
    w : ndarray of float32 or float64
        The parameter: writable and C-contiguous, of any shape.
    g : ndarray
        Its gradient, C-contiguous, with the same shape and dtype.
    rule : Sgd, Momentum, Adagrad, RMSprop, Adam or Amsgrad
        Its averages must be like `w`. Its scalars are rounded to the dtype of `w`, and become infinite if out of range.

    Raises
    ------
    TypeError
        If an argument has the wrong type, or an array has another dtype than the parameter.
    ValueError
        If an array has another shape than the parameter, is not C-contiguous, or must be changed but is read-only.

    Examples
    --------
    >>> w, g = np.ones(3), np.array([1.0, 2.0, 3.0])
    >>> update(w, g, Sgd(sign=1, l2=0, lr=0.5))
    >>> w.tolist()
    [0.5, 0.0, -0.5]
    """
    kernel = _KERNELS.get(type(rule))
    if kernel is None:
        kinds = ", ".join(kind.__name__ for kind in _KERNELS)
        raise ArgumentTypeError(f"update: rule must be one of {kinds}, got {type(rule).__name__}")
    check_array("update: w", w)
    if w.dtype not in ELEMENTS:
        raise ArgumentTypeError(
            f"update: w must be float32 or float64, got {w.dtype}; convert it with astype"
        )
    unaligned: list[tuple[Array, Array]] = []
    flat_w = _flat("w", w, w, unaligned)
    flat_g = _flat("g", g, w, None)
    values = list(rule)
    for i, name, switch in kernel.averages:
        array = values[i]
        if switch is None or values[switch] or not (is_array(array) and array.shape == (0,)):
            values[i] = _flat(name, array, w, unaligned)
        elif array.dtype != w.dtype:
            raise ArgumentTypeError(f"update: {name} must be {w.dtype}, like w, got {array.dtype}")
    for i, name in kernel.numbers:
        if type(values[i]) is not float:  # the common case in the fewest steps
            values[i] = _as_float(name, values[i])
    for i in kernel.flags:
        values[i] = bool(values[i])
    if type(w) is not np.ndarray and is_of_device(w):
        with np.errstate(over="ignore"):
            for i, _ in kernel.numbers:
                values[i] = w.dtype.type(values[i])
        kernel.on_arrays(flat_w, flat_g, rule._make(values))
        return
    entry = kernel.entries[w.dtype]
    if w.size < _ALONE:
        entry(flat_w, flat_g, rule._make(values), 1)
    else:
        threads.launch(entry, flat_w, flat_g, rule._make(values), threads.get_num_threads())
    for array, copy in unaligned:
        array.reshape(-1)[:] = copy


def _flat(name: str, array: Array, w: Array, unaligned: list[tuple[Array, Array]] | None) -> Array:
    """Return an array as a kernel traverses it together with the parameter, after a check.

    Parameters
    ----------
    unaligned : list or None
        Where an array and its copy go that is to be written back, since a kernel takes aligned memory alone; None for
        an array that is only read.
    """
    check_array(f"update: {name}", array)
    if type(array) is not type(w):
        check_one_device("update", w=w, **{name: array})
    of_device = type(array) is not np.ndarray and is_of_device(array)
    if array.dtype != w.dtype:
        raise ArgumentTypeError(
            f"update: {name} must be {w.dtype}, like w, got {array.dtype}; convert it with astype"
        )
    if array.shape != w.shape:
        raise ArgumentValueError(f"update: {name} must have the shape of w, {w.shape}, got {array.shape}")
    flags = array.flags
    if not flags.c_contiguous or not (unaligned is None or of_device or flags.writeable):
        kind = "C-contiguous" if unaligned is None else "writable and C-contiguous"
        raise ArgumentValueError(f"update: {name} must be {kind}, got an array that is not; pass a copy")
    if of_device or flags.aligned:
        return array.reshape(-1)
    copy = array.copy().reshape(-1)
    if unaligned is not None:
        unaligned.append((array, copy))
    return copy


def _as_float(name: str, value: Any) -> float:
    if not isinstance(value, numbers.Real):
        raise ArgumentTypeError(
            f"update: {name} must be a number, got {type(value).__name__}: {shown(value)}"
        )
    try:
        return float(value)
    except OverflowError:
        raise ArgumentValueError(
            f"update: {name} must be a number that a float can hold, got {shown(value)}"
        ) from None
