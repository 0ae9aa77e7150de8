"""Batches of sequences of different lengths: padded rectangles, and rows packed without the padding.

The packed form has the valid rows of a padded (T, B, ...) batch, one time step after another, longest sequence
first: the ``batch_sizes[t]`` sequences that reach step t are the first ones of the batch. Names, fields and
results are PyTorch's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rondeau import tensor as rt
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.transfers import on_device_of
from rondeau.tensor import Tensor

from .._checks import as_host_array, check_integer, check_number, check_tensor, checked_list

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]

Integers = NDArray[np.int64]


class _Fields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Fields):
    """The rows of several sequences, packed; made by `pack_padded_sequence` and `pack_sequence`.

    Parameters
    ----------
    data : Tensor
        (N, ...), the rows: first those of step 0, longest sequence first, then those of step 1, and so on.
    batch_sizes : Tensor
        int64 (T,), the number of sequences that reach each step; it never increases, and its sum is N. Like the indices
        it is kept on the CPU, wherever the data are.
    sorted_indices : Tensor, optional
        int64 (B,), the index in the caller's batch of each sequence in packed order. None means that the caller's
        order is the packed order.
    unsorted_indices : Tensor, optional
        int64 (B,), the inverse permutation. If only one of the two is given, the other is computed.

    Raises
    ------
    TypeError
        If ``data`` or ``batch_sizes`` is not a Tensor, or the latter is not int64.
    ValueError
        If ``batch_sizes`` are not positive, non-increasing counts whose sum is the number of rows,
        or the indices are not permutations, and inverses of each other.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> packed = pack_sequence([rt.tensor([1.0, 2.0, 3.0]), rt.tensor([4.0])])
    >>> packed.data.tolist(), packed.batch_sizes.tolist()
    ([1.0, 4.0, 2.0, 3.0], [2, 1, 1])
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Tensor,
        batch_sizes: Tensor,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> Self:
        check_tensor("data", data)
        check_tensor("batch_sizes", batch_sizes)
        batch_sizes = batch_sizes.cpu()
        if isinstance(sorted_indices, Tensor):
            sorted_indices = sorted_indices.cpu()
        if isinstance(unsorted_indices, Tensor):
            unsorted_indices = unsorted_indices.cpu()
        sizes = batch_sizes._array
        if sizes.ndim != 1 or sizes.size == 0 or sizes.dtype != np.int64:
            kind = ArgumentValueError if sizes.dtype == np.int64 else ArgumentTypeError
            raise kind(
                f"batch_sizes must be int64 of shape (T,) with T > 0, got {sizes.dtype} of shape {sizes.shape}"
            )
        if sizes[-1] <= 0 or (sizes[1:] > sizes[:-1]).any():
            raise ArgumentValueError(f"batch_sizes must be positive and never increase, got {sizes.tolist()}")
        rows = int(sizes.sum())
        if data.ndim == 0 or data.shape[0] != rows:
            raise ArgumentValueError(
                f"data must have one row for each of the sum(batch_sizes) = {rows} steps, got shape {data.shape}"
            )
        for name, indices in (("sorted_indices", sorted_indices), ("unsorted_indices", unsorted_indices)):
            if indices is not None and not _is_permutation(indices, int(sizes[0])):
                raise ArgumentValueError(
                    f"{name} must be int64 and hold each of 0 to {sizes[0] - 1} once, got {indices!r}"
                )
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        elif sorted_indices is None:
            sorted_indices = invert_permutation(unsorted_indices)
        elif (sorted_indices._array[unsorted_indices._array] != np.arange(sizes[0])).any():
            raise ArgumentValueError(
                "unsorted_indices must be the inverse permutation of sorted_indices; leave it out to have it computed"
            )
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Return this sequence with its ``data`` converted as by `Tensor.to`; the integer fields do not change."""
        return self._replace(data=self.data.to(*args, **kwargs))

    def float(self) -> Self:
        """Return this sequence with ``data`` in float32."""
        return self.to(dtype=np.float32)

    def double(self) -> Self:
        """Return this sequence with ``data`` in float64."""
        return self.to(dtype=np.float64)


def _is_permutation(indices: Any, count: int) -> bool:
    array = indices.cpu()._array if isinstance(indices, Tensor) else None
    if array is None or array.dtype != np.int64 or array.shape != (count,):
        return False
    return bool((np.sort(array) == np.arange(count)).all())


class _Take(rt.Function):
    """Rows ``x[index]`` of (M, ...), no index twice; the adjoint of `_Put` at the same rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Integers) -> Tensor:
        ctx.index, ctx.num_rows = index, x.shape[0]
        return Tensor(x._array[index])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Put.apply(gradient, ctx.index, ctx.num_rows, 0.0), None


class _Put(rt.Function):
    """(M, ...) filled with a constant, except for rows ``index``, which are those of ``x``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Integers, num_rows: int, fill: float) -> Tensor:
        ctx.index = index
        rows = rt.full(
            (num_rows, *x.shape[1:]), fill, dtype=x.dtype, device=x.device
        )._array  # raises an error if the dtype cannot hold the number
        rows[index] = x._array
        return Tensor(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _Take.apply(gradient, ctx.index), None, None, None


def take_rows(x: Tensor, index: Integers) -> Tensor:
    """Return rows ``x[index]`` of (M, ...), no index twice."""
    taken: Tensor = _Take.apply(x, on_device_of(x._array, index))
    return taken


def put_rows(x: Tensor, index: Integers, num_rows: int, fill: float) -> Tensor:
    """Return (num_rows, ...) filled with a constant, except for rows ``index``, which are those of ``x``."""
    filled: Tensor = _Put.apply(x, on_device_of(x._array, index), num_rows, fill)
    return filled


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """Return q with ``q[permutation[i]] = i``, or None for None.

    Parameters
    ----------
    permutation : Tensor or None
        int64 (B,), a permutation of 0 .. B-1.

    Raises
    ------
    TypeError
        If it is not a Tensor.
    ValueError
        If it is not a permutation.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> invert_permutation(rt.tensor([2, 0, 1])).tolist()
    [1, 2, 0]
    """
    if permutation is None:
        return None
    check_tensor("permutation", permutation)
    if not _is_permutation(permutation, permutation.numel()):
        raise ArgumentValueError(
            f"permutation must be int64 of shape (B,) and hold each of 0 to B - 1 once, got {permutation!r}"
        )
    order = permutation.cpu()._array
    inverse = np.empty_like(order)
    inverse[order] = np.arange(inverse.size)
    return Tensor(inverse).to(permutation.device)


def _lengths(lengths: Any, batch_size: int, num_steps: int) -> Integers:
    array = as_host_array("lengths", lengths)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise ArgumentTypeError(f"lengths must be integers, got {array.dtype}")
    if array.ndim != 1:
        raise ArgumentValueError(f"lengths must have shape (batch,), got {array.shape}")
    if len(array) != batch_size:
        raise ArgumentValueError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(array)} (batch_size={batch_size})"
        )
    if array.size and array.min() <= 0:
        raise ArgumentValueError(
            "Length of all samples has to be greater than 0, "
            f"but found an element in 'lengths' that is <= 0: {array.min()} at {array.argmin()}"
        )
    if array.size and array.max() > num_steps:
        raise ArgumentValueError(
            f"Expected no length above the padded input's {num_steps} steps, "
            f"but got {array.max()} at {array.argmax()}"
        )
    return array.astype(np.int64)


def _row_indices(lengths: Integers, order: Integers) -> Integers:
    """Return the positions of the packed rows in a padded (T, B) batch, taken as T*B rows.

    `lengths` (B,) do not increase; `order` (B,) is the column of each.
    """
    steps = np.arange(lengths[0])[:, None]
    return (steps * len(order) + order)[steps < lengths]


def _sequences(sequences: Iterable[Tensor], what: str) -> list[Tensor]:
    items = checked_list(f"{what}: sequences", sequences, Tensor, "Tensors")
    if not items:
        raise ArgumentValueError(f"{what} received an empty list of sequences")
    for item in items:
        if item.ndim == 0:
            raise ArgumentTypeError(f"{what} expects Tensors of shape (length, *), got {item!r}")
    rest = items[0].shape[1:]
    for i, item in enumerate(items):
        if item.shape[1:] != rest:
            raise ArgumentValueError(
                f"{what} expects sequences (length, *) that differ only in length: "
                f"sequence 0 has * = {rest}, sequence {i} has {item.shape[1:]}"
            )
    return items


def pad_sequence(
    sequences: Iterable[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:
    """Stack sequences of different lengths, padded with a constant to the longest.

    Parameters
    ----------
    sequences : iterable of Tensor
        B tensors (length, ...), which differ only in length.
    batch_first : bool
        Whether to return (B, T, ...) rather than (T, B, ...).
    padding_value : float
        The value of the padding.
    padding_side : {"right", "left"}
        Whether the padding follows the sequence or precedes it.

    Returns
    -------
    Tensor
        (T, B, ...), with T the greatest length; differentiable.

    Raises
    ------
    ValueError
        If there are no sequences, they differ in more than their length, or their dtype cannot hold `padding_value`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> pad_sequence([rt.tensor([1, 2, 3]), rt.tensor([4])], batch_first=True).tolist()
    [[1, 2, 3], [4, 0, 0]]
    """
    check_number("padding_value", padding_value)
    if padding_side not in ("left", "right"):
        raise ArgumentValueError(f"Expected padding_side to be one of left or right, but got {padding_side}")
    items = _sequences(sequences, "pad_sequence")
    lengths = np.array([item.shape[0] for item in items])
    B, T = len(items), int(lengths.max())
    steps = np.arange(T)
    first = T - lengths if padding_side == "left" else np.zeros_like(lengths)
    valid = (first[:, None] <= steps) & (steps < (first + lengths)[:, None])
    rows = put_rows(rt.cat(items, 0), np.flatnonzero(valid), B * T, padding_value)
    padded = rows.reshape(B, T, *items[0].shape[1:])
    return padded if batch_first else padded.transpose(0, 1)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor | ArrayLike, batch_first: bool = False
) -> list[Tensor]:
    """Split a padded batch into its sequences; the inverse of `pad_sequence`.

    Parameters
    ----------
    padded_sequences : Tensor
        (T, B, ...), or (B, T, ...) with `batch_first`, padded on the right.
    lengths : array_like of int
        (B,).
    batch_first : bool
        Which of the two shapes the batch has.

    Returns
    -------
    list of Tensor
        B tensors (length, ...).

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> [s.tolist() for s in unpad_sequence(rt.tensor([[1, 4], [2, 0]]), [2, 1])]
    [[1, 2], [4]]
    """
    check_tensor("padded_sequences", padded_sequences)
    if padded_sequences.ndim < 2:
        raise ArgumentValueError(
            f"padded_sequences must have at least the dimensions time and batch, got shape {padded_sequences.shape}"
        )
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [rows[i, :n] for i, n in enumerate(_lengths(lengths, rows.shape[0], rows.shape[1]))]


def pack_padded_sequence(
    input: Tensor,
    lengths: Tensor | ArrayLike,
    batch_first: bool = False,
    enforce_sorted: bool = True,
) -> PackedSequence:
    """Pack the valid rows of a padded batch.

    Parameters
    ----------
    input : Tensor
        (T, B, ...), or (B, T, ...) with `batch_first`; the padding is ignored.
    lengths : array_like of int
        (B,), each from 1 to T: a list, an array or a Tensor.
    batch_first : bool
        Which of the two shapes `input` has.
    enforce_sorted : bool
        If True, lengths that increase are an error. If False, the sequences are sorted (stably), and recurrent layers
        restore the caller's order of the states.

    Returns
    -------
    PackedSequence
        Its ``data`` is differentiable.

    Raises
    ------
    ValueError
        If a length is out of range, or the lengths increase and `enforce_sorted` is True.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> padded = rt.tensor([[1.0, 0.0, 0.0], [2.0, 3.0, 0.0]])
    >>> packed = pack_padded_sequence(padded, [1, 2], batch_first=True, enforce_sorted=False)
    >>> packed.data.tolist(), packed.sorted_indices.tolist()
    ([2.0, 1.0, 3.0], [1, 0])
    """
    check_tensor("input", input)
    if input.ndim < 2:
        raise ArgumentValueError(
            f"input must have at least the dimensions time and batch, got shape {input.shape}"
        )
    if 0 in input.shape[:2]:
        raise ArgumentValueError(f"Cannot pack empty tensors: got shape {input.shape}")
    padded = input.transpose(0, 1) if batch_first else input
    T, B = padded.shape[:2]
    ends = _lengths(lengths, B, T)
    if enforce_sorted:
        if (ends[1:] > ends[:-1]).any():
            raise ArgumentValueError(
                "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. "
                "Pass `enforce_sorted=False` to have the sequences sorted"
            )
        order, sorted_indices = np.arange(B), None
    else:
        order = np.argsort(-ends, kind="stable")
        ends, sorted_indices = ends[order], Tensor(order)
    rows = padded.reshape(T * B, *padded.shape[2:])
    if ends[-1] < T or sorted_indices is not None:
        rows = take_rows(rows, _row_indices(ends, order))
    batch_sizes = (np.arange(ends[0])[:, None] < ends).sum(axis=1)
    return PackedSequence(rows, Tensor(batch_sizes), sorted_indices)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return packed rows to a padded batch, in the caller's order; the inverse of `pack_padded_sequence`.

    Parameters
    ----------
    sequence : PackedSequence
        For example the output of a recurrent layer.
    batch_first : bool
        Whether to return (B, T, ...) rather than (T, B, ...).
    padding_value : float
        The value of the padding.
    total_length : int, optional
        The number of steps to pad to; by default the length of the longest sequence.

    Returns
    -------
    padded : Tensor
        (T, B, ...); differentiable.
    lengths : Tensor
        int64 (B,).

    Raises
    ------
    ValueError
        If `total_length` is less than the longest sequence.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> packed = pack_sequence([rt.tensor([4.0]), rt.tensor([1.0, 2.0])], enforce_sorted=False)
    >>> padded, lengths = pad_packed_sequence(packed, batch_first=True, padding_value=-1.0)
    >>> padded.tolist(), lengths.tolist()
    ([[4.0, -1.0], [1.0, 2.0]], [1, 2])
    """
    if not isinstance(sequence, PackedSequence):
        raise ArgumentTypeError(f"sequence must be a PackedSequence, got {type(sequence).__name__}")
    check_number("padding_value", padding_value)
    rows, batch_sizes, sorted_indices, unsorted_indices = sequence
    sizes = batch_sizes._array
    T, B = len(sizes), int(sizes[0])
    if total_length is not None:
        check_integer("total_length", total_length)
        if total_length < T:
            raise ArgumentValueError(
                "Expected total_length to be at least the length of the longest sequence in input, "
                f"but got total_length={total_length} and max sequence length being {T}"
            )
        T = total_length
    ends = (np.arange(B) < sizes[:, None]).sum(axis=0)
    order = np.arange(B) if sorted_indices is None else sorted_indices._array
    if rows.shape[0] != T * B or sorted_indices is not None:
        rows = put_rows(rows, _row_indices(ends, order), T * B, padding_value)
    padded = rows.reshape(T, B, *rows.shape[1:])
    if unsorted_indices is not None:
        ends = ends[unsorted_indices._array]
    return padded.transpose(0, 1) if batch_first else padded, Tensor(ends)


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences of different lengths.

    Parameters
    ----------
    sequences : sequence of Tensor
        B tensors (length, ...), which differ only in length.
    enforce_sorted : bool
        As for `pack_padded_sequence`.

    Returns
    -------
    PackedSequence

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> pack_sequence([rt.tensor([1, 2]), rt.tensor([3])]).data.tolist()
    [1, 3, 2]
    """
    items = _sequences(sequences, "pack_sequence")
    lengths = [item.shape[0] for item in items]
    return pack_padded_sequence(pad_sequence(items), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """Split packed rows into their sequences, in the caller's order; the inverse of `pack_sequence`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> [s.tolist() for s in unpack_sequence(pack_sequence([rt.tensor([1, 2]), rt.tensor([3])]))]
    [[1, 2], [3]]
    """
    padded, lengths = pad_packed_sequence(packed_sequences)
    return unpad_sequence(padded, lengths)
