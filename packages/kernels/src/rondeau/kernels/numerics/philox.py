"""Random numbers by position: Philox4x32-10, and the dropout masks that are made from it.

A counter-based generator has no state to carry: the random number of an element is a function of a key and of the
element's position (its substream, time, batch row and unit). So backward draws the same numbers as forward and nothing
is stored, and a mask does not depend on the number of threads, the splitting of a batch, the dtype or the target.

Notation: N rows of W units. The counter of an element is the four 32-bit words (unit, batch, time, substream), and
Philox's key is the two halves of a 64-bit key, lower half first. Of the four words that come out, masks use the first:
its upper 24 bits times 2**-24 are uniform on [0, 1), and exact even in float32. `noise` uses all four.

Arguments have the same meaning everywhere:

``key``
    The key of one call of the library, in [0, 2**64).
``substream``
    The index of the random array within the call, in [0, 2**32).
``times``, ``batches``, ``units``
    The positions of elements, each in [0, 2**32); the time is `CONSTANT_OVER_TIME` for a mask that is the same at every
    step.
``p``
    The probability of 0 in a mask, in [0, 1].
"""

import math
from typing import Any

import numpy as np
from numba import types
from numpy.typing import ArrayLike, NDArray

from rondeau.kernels.checks import check_array, check_integer, check_number, check_one_device
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.numerics.elements import ELEMENTS, Element
from rondeau.kernels.runtime import threads
from rondeau.kernels.runtime.compiling import linked_njit
from rondeau.kernels.runtime.deferred import require
from rondeau.kernels.runtime.devices import is_of_device, is_writeable, library_of
from rondeau.kernels.runtime.shares import indices_of_share, run_shares
from rondeau.kernels.runtime.signatures import INDICES, array_type, compiled_per_dtype
from rondeau.kernels.runtime.transfers import on_device_of

__all__ = [
    "CONSTANT_OVER_TIME",
    "compiled_words",
    "keep_mask",
    "mask_rows",
    "philox4x32",
    "random_word",
    "scale_of",
    "threshold_of",
    "uniforms",
    "words_of",
]

CONSTANT_OVER_TIME = 2**32 - 1
"""The time of masks that are the same at every step; no sequence is that long."""

_BITS = 24
_LOW, _HALF, _UNUSED = np.uint64(2**32 - 1), np.uint64(32), np.uint64(32 - _BITS)
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
"""The increments of the key from round to round: the golden ratio and the square root of 3, minus 1, as fractions."""
_ROUNDS = 10

_PER_ELEMENT = 64
"""Multiply-adds that take as long as drawing one element."""


def philox4x32(c0: Any, c1: Any, c2: Any, c3: Any, k0: Any, k1: Any) -> Any:
    """Return the four random words of a counter and a key: Philox4x32-10.

    The same source serves NumPy arrays and compiled code. Words are held in 64 bits, and their upper halves are not
    cleared: a product reads only the lower halves, so a vector of eight words takes six instructions per round.

    Parameters
    ----------
    c0, c1, c2, c3 : uint64, scalars or arrays
        The counter's words, of which the lower 32 bits are used.
    k0, k1 : uint64
        The key's words, below 2**32.

    Returns
    -------
    tuple of uint64
        Four words below 2**32.

    References
    ----------
    Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011, section 3.3 and table 2.

    Examples
    --------
    >>> zero = np.uint64(0)
    >>> [f"{word:08x}" for word in philox4x32(zero, zero, zero, zero, zero, zero)]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    for _ in range(_ROUNDS):
        first, second = _MULTIPLIERS[0] * (c0 & _LOW), _MULTIPLIERS[1] * (c2 & _LOW)
        c0, c1, c2, c3 = (second >> _HALF) ^ c1 ^ k0, second, (first >> _HALF) ^ c3 ^ k1, first
        k0, k1 = k0 + _WEYL[0], k1 + _WEYL[1]
    return c0 & _LOW, c1 & _LOW, c2 & _LOW, c3 & _LOW


_inline = linked_njit(forceinline=True)
_compiled_philox4x32 = _inline(philox4x32)


@_inline
def compiled_words(key: Any, substream: Any, time: Any, batch: Any, unit: Any) -> Any:
    """Return the four random words of an element, uint64 below 2**32; for compiled code.

    LLVM vectorises a loop over `unit`, and hoists out of the loop the round and a half that do not depend on the unit.

    Examples
    --------
    >>> from numba import njit
    >>> words = njit(lambda unit: compiled_words(7, 0, 3, 0, unit))(2)
    >>> [int(word) for word in words] == [int(word) for word in words_of("these", 7, 0, 3, 0, 2)]
    True
    """
    return _compiled_philox4x32(
        np.uint64(unit), np.uint64(batch), np.uint64(time), np.uint64(substream),
        np.uint64(key) & _LOW, np.uint64(key) >> _HALF,
    )  # fmt: skip


@_inline
def random_word(key: Any, substream: Any, time: Any, batch: Any, unit: Any) -> Any:
    """Return 24 random bits of an element as a non-negative int32; for compiled code.

    Compare them with `threshold_of` a probability.

    Parameters
    ----------
    key : uint64
    substream, time, batch, unit : integer

    Returns
    -------
    int32
        From 0 to 2**24 - 1.

    Examples
    --------
    >>> from numba import njit
    >>> word = njit(lambda unit: random_word(7, 0, 3, 0, unit))(2)
    >>> word * 2.0**-24 == uniforms(7, 0, 3, 0, 2)
    np.True_
    """
    word, _, _, _ = compiled_words(key, substream, time, batch, unit)
    return np.int32(word >> _UNUSED)


def uniforms(
    key: int, substream: ArrayLike, times: ArrayLike, batches: ArrayLike, units: ArrayLike
) -> NDArray[np.float64]:
    """Return the uniform random numbers of elements, `random_word` times 2**-24, computed in NumPy.

    Parameters
    ----------
    key : int
    substream, times, batches, units : array_like of integers
        Broadcast against one another.

    Returns
    -------
    ndarray of float64
        Numbers in [0, 1), of the broadcast shape.

    Raises
    ------
    TypeError
        If the key or a position is not an integer.
    ValueError
        If one is out of range, or the positions do not broadcast.

    Examples
    --------
    >>> uniforms(7, 0, [[3], [4]], 0, [0, 1, 2]).shape
    (2, 3)
    """
    word, _, _, _ = words_of("uniforms", key, substream, times, batches, units)
    return (word >> _UNUSED).astype(np.float64) * 2.0**-_BITS


def words_of(
    name: str, key: int, substream: ArrayLike, times: ArrayLike, batches: ArrayLike, units: ArrayLike
) -> tuple[NDArray[np.uint64], ...]:
    """Return the four random words of elements, computed in NumPy.

    Parameters
    ----------
    name : str
        The caller, for messages.
    key, substream, times, batches, units
        As for `uniforms`, with its errors.

    Returns
    -------
    tuple of ndarray of uint64
        Four words below 2**32, of the broadcast shape.

    Examples
    --------
    >>> words = words_of("doc", 0, 0, 0, 0, 0)
    >>> [f"{int(word):08x}" for word in words]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    key = _checked_key(name, key)
    given = {"units": units, "batches": batches, "times": times, "substream": substream}
    # Scalars, and not arrays of zero dimensions, go with arrays of any device.
    counter = [_checked_words(name, of_what, words).astype(np.uint64)[()] for of_what, words in given.items()]
    try:
        np.broadcast_shapes(*(words.shape for words in counter))
    except ValueError:
        shapes = ", ".join(f"{of_what} {words.shape}" for of_what, words in zip(given, counter, strict=True))
        raise ArgumentValueError(f"{name}: positions must broadcast, got {shapes}") from None
    c0, c1, c2, c3 = counter
    found: tuple[NDArray[np.uint64], ...] = philox4x32(
        c0, c1, c2, c3, np.uint64(key) & _LOW, np.uint64(key) >> _HALF
    )
    return found


def threshold_of(p: float) -> int:
    """Return the least `random_word` whose element is kept, if elements are dropped with probability `p`.

    It is an integer so that float32 and float64 kernels keep the same elements. An element is dropped with probability
    ``threshold_of(p) * 2**-24``, which is `p` rounded up to 24 bits.

    Parameters
    ----------
    p : float

    Returns
    -------
    int
        From 0, which keeps all elements, to 2**24, which keeps none.

    Raises
    ------
    TypeError, ValueError
        If `p` is not a number, or not in [0, 1].

    Examples
    --------
    >>> threshold_of(0.0), threshold_of(0.5), threshold_of(1.0)
    (0, 8388608, 16777216)
    """
    return math.ceil(_checked_probability("threshold_of", p) * (1 << _BITS))


def scale_of(p: float) -> float:
    """Return 1 / (1 - p), the factor of kept elements that preserves the mean; 0 if no element is kept.

    Parameters
    ----------
    p : float

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If `p` is not a number, or not in [0, 1].

    Examples
    --------
    >>> scale_of(0.5), scale_of(1.0)
    (2.0, 0.0)
    """
    return 0.0 if _checked_probability("scale_of", p) == 1 else 1 / (1 - p)


@linked_njit
def _fill_row(out, time, batch, key, substream, threshold, scale):  # type: ignore[no-untyped-def]
    for unit in range(out.size):
        kept = random_word(key, substream, time, batch, unit) >= threshold
        out[unit] = scale if kept else scale * 0


@linked_njit
def _mask_row(x, out, time, batch, key, substream, threshold, scale):  # type: ignore[no-untyped-def]
    for unit in range(out.size):
        kept = random_word(key, substream, time, batch, unit) >= threshold
        out[unit] = x[unit] * (scale if kept else scale * 0)


def _signature_of_filling(element: Element) -> Any:
    matrix = array_type(element.dtype, 2)
    return types.void(
        INDICES, INDICES, types.uint64, types.int64, types.int32, element.compute, matrix, types.intp
    )


def _signature_of_masking(element: Element) -> Any:
    x = types.Array(element.storage, 2, "C", readonly=True)
    return types.void(x, *_signature_of_filling(element).args)


@linked_njit
def _fill_share(times, batches, key, substream, threshold, scale, out, share, shares):  # type: ignore[no-untyped-def]
    for n in indices_of_share(len(out), share, shares):
        _fill_row(out[n], times[n], batches[n], key, substream, threshold, scale)


@compiled_per_dtype(_signature_of_filling)
def _fill_rows(times, batches, key, substream, threshold, scale, out, shares):  # type: ignore[no-untyped-def]
    run_shares(_fill_share, (times, batches, key, substream, threshold, scale, out), shares)


@linked_njit
def _mask_share(x, times, batches, key, substream, threshold, scale, out, share, shares):  # type: ignore[no-untyped-def]
    for n in indices_of_share(len(out), share, shares):
        _mask_row(x[n], out[n], times[n], batches[n], key, substream, threshold, scale)


@compiled_per_dtype(_signature_of_masking)
def _mask_rows(x, times, batches, key, substream, threshold, scale, out, shares):  # type: ignore[no-untyped-def]
    run_shares(_mask_share, (x, times, batches, key, substream, threshold, scale, out), shares)


def keep_mask(
    mask: NDArray[Any], times: ArrayLike, batches: ArrayLike, key: int, substream: int, p: float
) -> None:
    """Fill a mask: each element is 0 with probability `p`, otherwise 1 / (1 - p).

    Parameters
    ----------
    mask : ndarray of float32 or float64, shape (N, W)
        C-contiguous; written. The same words are drawn on a GPU.
    times, batches : array_like of integers, shape (N,)
        The position of each row; for a mask on a GPU, arrays there, or those of the host are copied.
    key, substream : int
    p : float
        An element is kept if its number from `uniforms` is at least `p`.

    Raises
    ------
    TypeError
        If an argument has the wrong type or dtype.
    ValueError
        If a shape does not match, a number is out of range, or the mask is not writable and C-contiguous.

    Examples
    --------
    >>> mask = np.empty((2, 3))
    >>> keep_mask(mask, [0, 1], [0, 0], 7, 0, 0.5)
    >>> np.array_equal(mask, 2.0 * (uniforms(7, 0, [[0], [1]], 0, [0, 1, 2]) >= 0.5))
    True
    """
    _launch("keep_mask", _fill_rows, None, times, batches, key, substream, p, mask)


def mask_rows(
    x: NDArray[Any],
    times: ArrayLike,
    batches: ArrayLike,
    key: int,
    substream: int,
    p: float,
    out: NDArray[Any],
) -> None:
    """Write `x` times the mask that `keep_mask` fills for the same arguments to `out`.

    Parameters
    ----------
    x : ndarray of float32 or float64, shape (N, W)
        Any strides.
    times, batches : array_like of integers, shape (N,)
    key, substream : int
    p : float
    out : ndarray of shape (N, W)
        C-contiguous, of the dtype of `x` and sharing no memory with it; written.

    Raises
    ------
    TypeError, ValueError
        As for `keep_mask`, and if `x` and `out` differ in shape or dtype or share memory.

    Examples
    --------
    >>> x, mask, out = np.ones((2, 3)), np.empty((2, 3)), np.empty((2, 3))
    >>> keep_mask(mask, [0, 1], [5, 5], 7, 0, 0.5)
    >>> mask_rows(x, [0, 1], [5, 5], 7, 0, 0.5, out)
    >>> np.array_equal(out, x * mask)
    True
    """
    check_array("mask_rows: x", x)
    check_array("mask_rows: out", out)
    check_one_device("mask_rows", x=x, out=out)
    if x.dtype != out.dtype:
        raise ArgumentTypeError(
            f"mask_rows: x and out must be of one dtype, got {x.dtype} and {out.dtype}; convert x"
        )
    if x.shape != out.shape:
        raise ArgumentValueError(f"mask_rows: x and out must be of one shape, got {x.shape} and {out.shape}")
    if np.may_share_memory(x, out):
        raise ArgumentValueError(
            "mask_rows: x and out must not overlap, got two views of the same memory; pass a new array"
        )
    _launch("mask_rows", _mask_rows, x, times, batches, key, substream, p, out)


def _launch(
    name: str,
    kernel: Any,
    x: NDArray[Any] | None,
    times: ArrayLike,
    batches: ArrayLike,
    key: int,
    substream: int,
    p: float,
    out: NDArray[Any],
) -> None:
    """Check the arguments that both kernels share, and launch one of them, or its array program."""
    check_array(f"{name}: the output", out)
    if not is_of_device(out):
        check_one_device(name, out=out, times=times, batches=batches)
    if out.dtype not in ELEMENTS:
        raise ArgumentTypeError(
            f"{name}: the output must be float32 or float64, got {out.dtype}; convert with astype"
        )
    if out.ndim != 2 or not (out.flags.c_contiguous and is_writeable(out)):
        raise ArgumentValueError(
            f"{name}: the output must be a writable, C-contiguous matrix, got shape {out.shape} and "
            f"strides {out.strides}; pass a new array"
        )
    positions = []
    for of_what, words in (("times", times), ("batches", batches)):
        position = _checked_words(name, of_what, words)
        if position.shape != (len(out),):
            raise ArgumentValueError(
                f"{name}: {of_what} must have shape ({len(out)},), one per row, got {position.shape}"
            )
        positions.append(position)
    key = _checked_key(name, key)
    chosen = _checked_words(name, "substream", substream)
    if chosen.shape != ():
        raise ArgumentValueError(
            f"{name}: substream must be one integer, got an array of shape {chosen.shape}"
        )
    threshold, scale = threshold_of(_checked_probability(name, p)), out.dtype.type(scale_of(p))
    if is_of_device(out):
        times, batches = (on_device_of(out, position) for position in positions)
        mask = _mask(times, batches, out.shape[1], key, int(chosen), threshold, scale)
        out[...] = mask if x is None else x * mask
        return
    before = () if x is None else (np.ascontiguousarray(x),)
    indices = [np.ascontiguousarray(position, np.int64) for position in positions]
    shares = min(threads.shares_of(_PER_ELEMENT * out.size), max(len(out), 1))
    entry = kernel[out.dtype]
    arguments = (*before, *indices, key, int(chosen), threshold, scale, out, shares)
    if shares == 1:
        entry(*arguments)
    else:
        threads.launch(entry, *arguments, shares=shares)


def _mask(times: Any, batches: Any, width: int, key: int, substream: int, threshold: int, scale: Any) -> Any:
    """Return the mask of `keep_mask`: an array program."""
    units, times, batches = (
        words.astype(np.uint64) for words in (library_of(times).arange(width), times, batches)
    )
    word, _, _, _ = philox4x32(
        units,
        batches[:, None],
        times[:, None],
        np.uint64(substream),
        np.uint64(key) & _LOW,
        np.uint64(key) >> _HALF,
    )
    return ((word >> _UNUSED) >= np.uint64(threshold)).astype(scale.dtype) * scale


def _checked_probability(name: str, p: Any) -> float:
    check_number(f"{name}: p", p, 0, 1)
    return float(p)


def _checked_key(name: str, key: Any) -> int:
    check_integer(f"{name}: key", key, 0, 2**64 - 1)
    return int(key)


def _checked_words(name: str, of_what: str, words: ArrayLike) -> NDArray[Any]:
    try:
        array: Any = words if is_of_device(words) else np.asarray(words)
    except ValueError:
        raise ArgumentValueError(
            f"{name}: {of_what} must be an array of integers, got a ragged list"
        ) from None
    if array.size and array.dtype.kind not in "iu":
        raise ArgumentTypeError(f"{name}: {of_what} must be integers, got {array.dtype}; convert with astype")
    if array.size:
        least, most = array.min(), array.max()
        require((least >= 0) & (most <= CONSTANT_OVER_TIME), lambda: _beyond(name, of_what, least, most))
    return array  # type: ignore[no-any-return]


def _beyond(name: str, of_what: str, least: Any, most: Any) -> ArgumentValueError:
    return ArgumentValueError(f"{name}: {of_what} must be from 0 to 2**32 - 1, got {least} to {most}")
