"""A corpus as one long row of token indices, in memory or in memory-mapped files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
import numpy.typing as npt

from ._checks import (
    LARGEST,
    as_array,
    as_integer_row,
    check_is,
    check_iterable,
    check_path,
    checked_integer,
    checked_number,
)
from ._json import load_json, write_json

MANIFEST = "stream.json"


class TokenStream:
    """One long row of token indices.

    The indices lie in one array, or in the files of a folder (:meth:`write`, :meth:`open`) that are mapped into memory
    and so may be larger than it. Either way they are kept in the smallest unsigned type that holds `vocab_size` values,
    and reads give int64.

    Parameters
    ----------
    tokens : array_like of int, shape (number of tokens,)
        The indices. An array of the smallest type is used as it is, without a copy.
    vocab_size : int, optional
        How many values there are: every index is from 0 to ``vocab_size - 1``. Default: one more than the largest.

    Attributes
    ----------
    vocab_size : int
    dtype : numpy.dtype
        The type in which the indices are kept.

    Raises
    ------
    TypeError
        If `tokens` are not integers.
    ValueError
        If `tokens` are not one row.
    IndexError
        If an index is negative, or not below `vocab_size`.

    Examples
    --------
    >>> stream = TokenStream([3, 1, 4, 1, 5, 9, 2, 6, 5, 3], vocab_size=10)
    >>> stream[2:5]
    array([4, 1, 5])
    >>> train, held_out = stream.split(0.8)
    >>> len(train), held_out[:]
    (8, array([5, 3]))
    >>> stream.windows([0, 6], length=3)
    array([[3, 1, 4],
           [2, 6, 5]])
    """

    vocab_size: int
    dtype: np.dtype[np.unsignedinteger[Any]]

    def __init__(self, tokens: npt.ArrayLike, vocab_size: int | None = None) -> None:
        row = as_array("tokens", tokens)
        if row.ndim != 1:
            raise ValueError(f"expected one row of indices, an array of shape (n,); got shape {row.shape}")
        if row.size == 0:
            row = row.astype(np.uint8)
        if not np.issubdtype(row.dtype, np.integer):
            raise TypeError(f"expected integer indices, got {row.dtype}; encode text with a Codec first")
        if vocab_size is None:
            vocab_size = checked_integer("tokens", row.max(initial=0), most=LARGEST - 1) + 1
        vocab_size = checked_integer("vocab_size", vocab_size, 0)
        self._fill([_narrowed(row, vocab_size)], 0, row.size, vocab_size, mapped=False)

    def _fill(
        self, shards: Sequence[npt.NDArray[Any]], start: int, stop: int, vocab_size: int, mapped: bool
    ) -> None:
        self._shards = shards
        self._mapped = mapped  # files may change under us, so what is read from them is checked
        self._ends = np.cumsum([len(shard) for shard in shards])
        self._start = start  # this stream is the part from start to stop of the shards' row
        self._stop = stop
        self.vocab_size = vocab_size
        self.dtype = _storage_type(vocab_size)

    def __len__(self) -> int:
        return self._stop - self._start

    def __repr__(self) -> str:
        return f"TokenStream({len(self):,} tokens of {self.vocab_size:,} values, {self.dtype})"

    @overload
    def __getitem__(self, where: int) -> int: ...

    @overload
    def __getitem__(self, where: slice) -> npt.NDArray[np.int64]: ...

    def __getitem__(self, where: int | slice) -> int | npt.NDArray[np.int64]:
        """Return the index at a position, or those of a slice as a new int64 array."""
        if isinstance(where, slice):
            for bound in (where.start, where.stop, where.step):
                if bound is not None:
                    checked_integer("the bound of a slice", bound)
            start, stop, step = where.indices(len(self))
            if step != 1:
                raise ValueError(f"a stream is read in slices of step 1, got step {step}")
            return self._read(start, max(start, stop))
        position = checked_integer("position", where)
        start = position + len(self) if position < 0 else position
        if not 0 <= start < len(self):
            raise IndexError(f"position {position} is outside a stream of {len(self):,} tokens")
        return int(self._read(start, start + 1)[0])

    def windows(self, starts: npt.ArrayLike, length: int) -> npt.NDArray[np.int64]:
        """Return the windows that begin at the given positions.

        Parameters
        ----------
        starts : array_like of int, shape (number of windows,)
            Where each window begins.
        length : int
            Tokens per window.

        Returns
        -------
        ndarray of int64, shape (number of windows, length)

        Raises
        ------
        IndexError
            If a window would reach outside the stream.
        ValueError
            If a file of the stream holds an index that is not below `vocab_size`.
        """
        starts = as_integer_row("starts", starts)
        length = checked_integer("length", length, 0)
        if not starts.size:
            return np.empty((0, length), np.int64)
        first, last = int(starts.min()), int(starts.max())
        if first < 0 or last + length > len(self):
            where = f"begin between 0 and {len(self) - length}" if length <= len(self) else "do not fit"
            raise IndexError(
                f"windows of {length} tokens {where} in a stream of {len(self):,} tokens; "
                f"got starts from {first} to {last}"
            )
        if len(self._shards) == 1:
            places = (self._start + starts)[:, np.newaxis] + np.arange(length)
            windows: npt.NDArray[np.int64] = self._shards[0][places].astype(np.int64)
        else:
            windows = np.empty((len(starts), length), np.int64)
            for window, start in zip(windows, starts.tolist(), strict=True):
                self._copy_into(window, start)
        self._check(windows)
        return windows

    def chunks(self, size: int = 1 << 20, overlap: int = 0) -> Iterator[npt.NDArray[np.int64]]:
        """Yield the stream from its start to its end as int64 arrays of at most ``overlap + size`` tokens.

        Each chunk but the first begins with the last `overlap` tokens before it.

        Raises
        ------
        ValueError
            If `size` is below 1, or `overlap` below 0.
        """
        size, overlap = checked_integer("size", size, 1), checked_integer("overlap", overlap, 0)
        starts = range(0, len(self), size)
        return (self[max(0, start - overlap) : start + size] for start in starts)

    def section(self, start: int, stop: int) -> TokenStream:
        """Return the part from `start` to before `stop` as a stream of its own, without a copy.

        Raises
        ------
        IndexError
            Unless ``0 <= start <= stop <= len(self)``.
        """
        start, stop = checked_integer("start", start), checked_integer("stop", stop)
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"expected 0 <= start <= stop <= {len(self)}, got start {start} and stop {stop}")
        section = TokenStream.__new__(TokenStream)
        section._fill(self._shards, self._start + start, self._start + stop, self.vocab_size, self._mapped)
        return section

    def split(self, fraction: float = 0.9) -> tuple[TokenStream, TokenStream]:
        """Return the first ``int(fraction * len(self))`` tokens to train on, and the rest to hold out.

        Raises
        ------
        ValueError
            Unless `fraction` is between 0 and 1.
        """
        fraction = checked_number("fraction", fraction)
        if not 0 <= fraction <= 1:
            raise ValueError(f"fraction must be between 0 and 1, got {fraction}")
        cut = int(fraction * len(self))
        return self.section(0, cut), self.section(cut, len(self))

    @classmethod
    def write(
        cls,
        folder: str | os.PathLike[str],
        chunks: Iterable[npt.ArrayLike],
        vocab_size: int,
        shard_tokens: int = 1 << 28,
    ) -> TokenStream:
        """Write a stream to a folder as it comes, and open it; one chunk at a time is in memory.

        The folder gets ``tokens-00000.bin``, ``tokens-00001.bin``, ... (indices, little-endian) and, when all is
        written, ``stream.json``; a folder without that is not a stream.

        Parameters
        ----------
        folder : path
            A new folder, or one that holds no stream yet.
        chunks : iterable of array_like of int
            The indices, e.g. ``map(codec.encode, read_text_chunks(path))``.
        vocab_size : int
            How many values there are.
        shard_tokens : int
            Tokens per file.

        Raises
        ------
        FileExistsError
            If the folder already holds a stream.
        TypeError, ValueError, IndexError
            As the constructor, for each chunk.
        """
        check_path(folder)
        check_iterable("chunks", chunks, "arrays")
        vocab_size = checked_integer("vocab_size", vocab_size, 0)
        shard_tokens = checked_integer("shard_tokens", shard_tokens, 1)
        folder = Path(folder)
        if (folder / MANIFEST).exists():
            raise FileExistsError(f"{folder} already holds a stream; remove it or choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        lengths: list[int] = []
        file: BinaryIO | None = None
        try:
            for chunk in chunks:
                row = cls(chunk, vocab_size)._shards[0]
                while row.size:
                    if file is None or lengths[-1] == shard_tokens:
                        if file is not None:
                            file.close()
                        file = (folder / shard_name(len(lengths))).open("wb")
                        lengths.append(0)
                    part, row = np.split(row, [shard_tokens - lengths[-1]])
                    file.write(part.astype(part.dtype.newbyteorder("<"), copy=False).tobytes())
                    lengths[-1] += part.size
        finally:
            if file is not None:
                file.close()
        write_json(folder / MANIFEST, {"vocab_size": vocab_size, "shards": lengths})
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> TokenStream:
        """Map the files that :meth:`write` wrote into memory; nothing is read until it is asked for.

        Raises
        ------
        FileNotFoundError
            If the folder holds no whole stream.
        ValueError
            If a file has another length than was written, or the description is damaged.
        """
        check_path(folder)
        folder = Path(folder)
        if not (folder / MANIFEST).exists():
            raise FileNotFoundError(f"{folder} holds no {MANIFEST}: no stream was written there to its end")
        vocab_size, lengths = load_json(folder / MANIFEST, {"vocab_size", "shards"}, _checked_manifest)
        dtype = _storage_type(vocab_size).newbyteorder("<")
        shards = []
        for number, length in enumerate(lengths):
            path = folder / shard_name(number)
            size = path.stat().st_size if path.exists() else 0
            if size != length * dtype.itemsize:
                raise ValueError(
                    f"{path} holds {size:,} bytes, but {length * dtype.itemsize:,} were written; write the stream again"
                )
            shards.append(np.asarray(np.memmap(path, dtype, "r")))
        stream = cls.__new__(cls)
        stream._fill(shards, 0, sum(lengths), vocab_size, mapped=True)
        return stream

    def _read(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        tokens = np.empty(stop - start, np.int64)
        self._copy_into(tokens, start)
        self._check(tokens)
        return tokens

    def _check(self, tokens: npt.NDArray[np.int64]) -> None:
        # As unsigned numbers: what is beyond int64 in the file became negative.
        if self._mapped and tokens.size and (largest := tokens.view(np.uint64).max()) >= self.vocab_size:
            raise ValueError(
                f"the stream's file holds the index {largest}, but vocab_size is {self.vocab_size}: "
                "it was changed or damaged; write the stream again"
            )

    def _copy_into(self, tokens: npt.NDArray[np.int64], start: int) -> None:
        """Fill `tokens` from position `start` on, over as many shards as it takes."""
        at = self._start + start
        number = int(np.searchsorted(self._ends, at, side="right")) if len(self._shards) > 1 else 0
        filled = 0
        while filled < len(tokens):
            shard = self._shards[number]
            begin = at + filled - (int(self._ends[number]) - len(shard))
            part = shard[begin : begin + len(tokens) - filled]
            tokens[filled : filled + len(part)] = part
            filled += len(part)
            number += 1


def _checked_manifest(manifest: dict[str, Any]) -> tuple[int, list[int]]:
    """Return `vocab_size` and the tokens of each file."""
    check_is("shards", manifest["shards"], list)
    lengths = [checked_integer("the length of a shard", length, 1) for length in manifest["shards"]]
    return checked_integer("vocab_size", manifest["vocab_size"], 0), lengths


def shard_name(number: int) -> str:
    return f"tokens-{number:05d}.bin"


def _storage_type(vocab_size: int) -> np.dtype[Any]:
    return np.min_scalar_type(max(vocab_size - 1, 0))


def _narrowed(row: npt.NDArray[np.integer[Any]], vocab_size: int) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Return a row of indices in the storage type, after checking that each is one of the `vocab_size` values."""
    if row.size and not (row.min() >= 0 and row.max() < vocab_size):
        raise IndexError(
            f"expected indices from 0 to {vocab_size - 1} (vocab_size {vocab_size}); got {row.min()} to {row.max()}"
        )
    return row.astype(_storage_type(vocab_size), copy=False)
