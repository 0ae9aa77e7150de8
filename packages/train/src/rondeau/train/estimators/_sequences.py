"""The forms of sequences that an estimator takes, and the one that it trains on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Sequences(NamedTuple):
    """Sequences in one array.

    Attributes
    ----------
    values : ndarray of float32, shape (n, T, I)
    lengths : ndarray of int64, shape (n,), or None
        The steps of each; None where all have T.
    """

    values: NDArray[np.float32]
    lengths: NDArray[np.int64] | None

    def rows(self, rows: Any) -> Sequences:
        """Return some of the sequences, with no more padding than the longest of them needs."""
        if self.lengths is None:
            return Sequences(self.values[rows], None)
        lengths = self.lengths[rows]
        return Sequences(self.values[rows, : lengths.max(initial=1)], lengths)

    def steps(self) -> NDArray[np.bool_]:
        """Return which steps belong to a sequence, (n, T)."""
        n, T = self.values.shape[:2]
        return np.arange(T) < np.broadcast_to(T if self.lengths is None else self.lengths[:, None], (n, 1))


def listed(name: str, X: Any) -> list[Any] | None:
    """Return the sequences of a list (or tuple, or array of objects) as a list if an array cannot hold them; else None.

    Raises
    ------
    ValueError
        If there are strings in the place of numbers.
    """
    refuse_strings(name, X)
    is_array = isinstance(X, np.ndarray)
    is_list = isinstance(X, (list, tuple)) or (is_array and X.dtype == np.dtype(object) and X.ndim == 1)
    rows = list(X) if is_list else []
    if not rows or not all(hasattr(row, "__len__") for row in rows):
        return None
    is_ragged = len({len(row) for row in rows}) > 1
    return rows if is_ragged or is_array else None


def refuse_strings(name: str, X: Any) -> None:
    """Raise ValueError if `X` holds strings, by its dtype or the first element of each of its rows."""
    found = None
    if isinstance(X, np.ndarray) and X.dtype.kind in "US":
        found = X.flat[0] if X.size else ""
    elif isinstance(X, str | bytes):
        found = X
    elif isinstance(X, (list, tuple)) or (isinstance(X, np.ndarray) and X.dtype == np.dtype(object)):
        firsts = (row[0] if isinstance(row, (list, tuple, np.ndarray)) and len(row) else row for row in X)
        found = next((first for first in firsts if isinstance(first, str | bytes)), None)
    if found is not None:
        raise ValueError(
            f"{name}: expected sequences of numbers, got strings, such as {found[:20]!r}; turn each into an array "
            "(T, I) first, as np.eye(len(codec.vocab))[codec.encode(text)] with a rondeau.data.Codec"
        )


def padded(name: str, rows: Sequence[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return sequences (T_i,) or (T_i, I) of several lengths as one array (n, T, I) with zeros behind, and the lengths.

    Raises
    ------
    ValueError
        If one is not an array of finite numbers, has no step, or another number of features than the first.
    """
    arrays = as_arrays(name, rows)
    width = arrays[0].shape[1]
    lengths = np.array([len(array) for array in arrays], dtype=np.int64)
    values = np.zeros((len(arrays), int(lengths.max()), width))
    for i, array in enumerate(arrays):
        values[i, : len(array)] = array
    return values, lengths


def as_arrays(name: str, rows: Sequence[Any]) -> list[NDArray[np.float64]]:
    """Return sequences (T_i,) or (T_i, I) as (T_i, I) each.

    Raises
    ------
    ValueError
        As `padded`.
    """
    arrays = [_as_numbers(f"{name}[{i}]", row) for i, row in enumerate(rows)]
    for i, array in enumerate(arrays):
        if array.shape[1] != arrays[0].shape[1]:
            raise ValueError(
                f"{name}[{i}]: expected {arrays[0].shape[1]} features a step, as {name}[0] has, got {array.shape[1]}"
            )
    return arrays


def _as_numbers(name: str, row: Any) -> NDArray[np.float64]:
    """Return a sequence as (T, I)."""
    try:
        given = np.asarray(row)
    except ValueError:
        raise ValueError(f"{name}: expected numbers (T,) or (T, I), got a ragged list") from None
    if given.ndim not in (1, 2) or 0 in given.shape:
        raise ValueError(
            f"{name}: expected a sequence (T,) or (T, I), T and I at least 1, got an array of shape {given.shape}"
        )
    if given.dtype.kind not in "fiub":
        raise ValueError(f"{name}: expected real numbers, got {given.dtype}")
    array = given.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return array[:, None] if array.ndim == 1 else array


def as_steps(X: NDArray[Any]) -> NDArray[np.float32]:
    """Return sequences (n, T, I) of float32; X of two dimensions has one feature a step.

    Raises
    ------
    ValueError
        If X has other dimensions, or values that float32 cannot hold.
    """
    if X.ndim not in (2, 3) or 0 in X.shape[1:]:
        raise ValueError(
            f"X expected sequences (n, T) or (n, T, I), T and I at least 1, got an array of shape {X.shape}"
        )
    array = as_float32("X", X)
    return array if array.ndim == 3 else array[:, :, None]


def as_float32(name: str, values: NDArray[Any]) -> NDArray[np.float32]:
    """Return values in float32, C-contiguous.

    Raises
    ------
    ValueError
        If it cannot hold them.
    """
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name} has values too large for float32, up to {np.abs(values).max():g}; scale them"
        )
    return array


def checked_lengths(lengths: Any, count: int) -> NDArray[np.int64] | None:
    """Return the lengths of padded sequences; None where none are given.

    Raises
    ------
    TypeError, ValueError
        If they are not `count` integers.
    """
    if lengths is None:
        return None
    try:
        found = np.asarray(lengths)
    except ValueError:
        raise TypeError(f"lengths expected {count} integers, got lists of different lengths") from None
    if found.shape != (count,) or found.dtype.kind not in "iu":
        kind = ValueError if found.dtype.kind in "iu" else TypeError
        raise kind(f"lengths expected {count} integers, got {found.dtype} of shape {found.shape}")
    return found.astype(np.int64)
