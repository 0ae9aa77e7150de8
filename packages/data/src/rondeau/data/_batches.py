"""Batches for a language model: windows of a token stream, and the same windows one token later."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ._checks import LARGEST_SEED, as_integer_row, check_is, checked_integer
from ._stream import TokenStream

Batch = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
_Read = TypeVar("_Read")


class Batches(ABC):
    """What both samplers share: the random offset, epochs, and resuming in mid-epoch.

    Each ``for`` loop over the object is one epoch. An epoch drops its first 0 to ``num_steps - 1`` tokens, so that
    windows are cut elsewhere each time, and every epoch has the same number of batches, ``len(batches)``. What an epoch
    yields depends on the seed and the number of the epoch alone. A loop that is left early ends its epoch.

    Each loop has a position of its own: one within another, or ``next(iter(batches))`` to look at a batch, reads the
    epoch after that of the loop around it, which goes on as if alone. `state_dict` tells where the loop stands that
    took a batch last.

    Examples
    --------
    >>> from rondeau.data import Batches, RandomBatches, SequentialBatches, TokenStream
    >>> stream = TokenStream(range(35))
    >>> for kind in (RandomBatches, SequentialBatches):
    ...     batches = kind(stream, batch_size=2, num_steps=5)
    ...     print(isinstance(batches, Batches), len(batches))
    True 3
    True 3
    """

    def __init__(
        self,
        stream: TokenStream,
        batch_size: int,
        num_steps: int,
        *,
        seed: int = 0,
        offset: int | None = None,
    ) -> None:
        check_is("stream", stream, TokenStream)
        batch_size = checked_integer("batch_size", batch_size, 1)
        num_steps = checked_integer("num_steps", num_steps, 1)
        seed = checked_integer("seed", seed, 0, LARGEST_SEED)
        if offset is not None:
            offset = checked_integer("offset", offset)
            if not 0 <= offset < num_steps:
                raise ValueError(f"offset must be from 0 to {num_steps - 1} (num_steps - 1), got {offset}")
        last_offset = num_steps - 1 if offset is None else offset
        needed = last_offset + batch_size * num_steps + 1
        if len(stream) < needed:
            raise ValueError(
                f"a stream of {len(stream):,} tokens is too short for one batch of {batch_size} x {num_steps} tokens: "
                f"it needs {needed:,} (with the offset and the last target); take a smaller batch_size or num_steps"
            )
        self.stream = stream
        self.batch_size = batch_size
        self.num_steps = num_steps
        self.seed = seed
        self.offset = offset
        self._usable = len(stream) - last_offset - 1  # tokens that are inputs in every epoch
        # An epoch, and how many of its batches were yielded: where the loop stands that took one last, and where the
        # next loop begins.
        self._position = self._next = (0, 0)

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of batches in an epoch."""

    @abstractmethod
    def _plan(self, offset: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
        """Draw what an epoch needs to say where its windows start."""

    @abstractmethod
    def _starts(self, plan: npt.NDArray[np.int64], batch: int) -> npt.NDArray[np.int64]:
        """Return where the rows of a batch start in the stream, shape (batch_size,)."""

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the next epoch, or after :meth:`load_state_dict` the rest of that one."""
        return self._epoch(self._read)

    def in_parts(self, parts: Callable[[int], Sequence[slice]]) -> Iterator[list[Batch | None]]:
        """Do as a loop over the batches, with some rows of each: no others are read.

        Parameters
        ----------
        parts : callable
            ``parts(rows) -> [slice, ...]``: which of a batch's rows to yield, as so many parts.

        Yields
        ------
        list of batches
            One for each slice; None for one without rows.
        """

        def read(starts: npt.NDArray[np.int64]) -> list[Batch | None]:
            chosen = (starts[rows] for rows in parts(len(starts)))
            return [self._read(part) if part.size else None for part in chosen]

        return self._epoch(read)

    def _read(self, starts: npt.NDArray[np.int64]) -> Batch:
        windows = self.stream.windows(starts, self.num_steps + 1)
        return windows[:, :-1].copy(), windows[:, 1:].copy()

    def _epoch(self, read: Callable[[npt.NDArray[np.int64]], _Read]) -> Iterator[_Read]:
        """Yield what is read of the rows of each batch, which start at given positions."""
        epoch, first = self._next
        generator = np.random.default_rng((self.seed, epoch))
        drawn = int(generator.integers(self.num_steps))
        plan = self._plan(drawn if self.offset is None else self.offset, generator)
        for batch in range(first, len(self)):
            found = read(self._starts(plan, batch))
            self._position, self._next = (epoch, batch + 1), (epoch + 1, 0)
            yield found
        self._position = self._next = (epoch + 1, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return where the sampler stands, JSON-able: the epoch, and how many of its batches were yielded."""
        epoch, batch = self._position
        return {**self._settings(), "seed": self.seed, "epoch": epoch, "batch": batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand where the sampler stood that gave `state`: the next loop yields what would have come next there.

        Raises
        ------
        ValueError
            If that sampler was of another kind, or had another batch size, window, offset, order or length of stream.
            Nothing has changed then.
        """
        expected = {**self._settings(), "seed": None, "epoch": None, "batch": None}
        check_is("the state of a sampler", state, Mapping)
        if state.keys() != expected.keys():
            raise ValueError(f"expected the state of a sampler with {sorted(expected)}, got {sorted(state)}")
        for name, value in self._settings().items():
            if state[name] != value:
                raise ValueError(
                    f"cannot resume: {name} is {value!r} here, but was {state[name]!r} in the state"
                )
        seed = checked_integer("seed in the state", state["seed"], 0, LARGEST_SEED)
        epoch = checked_integer("epoch in the state", state["epoch"], 0)
        batch = checked_integer("batch in the state", state["batch"], 0, len(self))
        self.seed = seed
        self._position = self._next = (epoch, batch)

    def _settings(self) -> dict[str, Any]:
        return {
            "sampler": type(self).__name__,
            "batch_size": self.batch_size,
            "num_steps": self.num_steps,
            "num_tokens": len(self.stream),
            "offset": self.offset,
        }


class SequentialBatches(Batches):
    """Batches whose row i continues row i of the batch before, so that a hidden state can be carried.

    After the offset, the stream is cut into `batch_size` rows of equal length, and the rows into windows side by side.

    Parameters
    ----------
    stream : TokenStream
    batch_size : int
        Rows per batch.
    num_steps : int
        Tokens per row.
    seed : int
        Seed of the offsets.
    offset : int, optional
        Tokens dropped at the start of every epoch, from 0 to ``num_steps - 1``. Default: drawn again for each epoch.

    Yields
    ------
    X, Y : ndarray of int64, shape (batch_size, num_steps)
        The tokens, and the token after each.

    Raises
    ------
    TypeError
        If an argument is of another type.
    ValueError
        If a number is out of its range, or the stream is too short for one batch.

    Examples
    --------
    >>> for X, Y in SequentialBatches(TokenStream(range(35)), batch_size=2, num_steps=5, offset=0):
    ...     print(X.tolist())
    [[0, 1, 2, 3, 4], [17, 18, 19, 20, 21]]
    [[5, 6, 7, 8, 9], [22, 23, 24, 25, 26]]
    [[10, 11, 12, 13, 14], [27, 28, 29, 30, 31]]
    """

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self._usable // self.batch_size // self.num_steps

    def _plan(self, offset: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
        row_length = (len(self.stream) - offset - 1) // self.batch_size
        return offset + row_length * np.arange(self.batch_size)

    def _starts(self, plan: npt.NDArray[np.int64], batch: int) -> npt.NDArray[np.int64]:
        return plan + batch * self.num_steps


class RandomBatches(Batches):
    """Batches of windows in random order: neighbours in a batch or in time have nothing to do with each other.

    After the offset, the stream is cut into windows side by side; an epoch shuffles them and yields each at most once
    (the last ones may not fill a batch).

    Parameters
    ----------
    stream : TokenStream
    batch_size : int
        Windows per batch.
    num_steps : int
        Tokens per window.
    seed : int
        Seed of the offsets and orders.
    offset : int, optional
        Tokens dropped at the start of every epoch, from 0 to ``num_steps - 1``. Default: drawn again for each epoch.
    order : sequence of int, optional
        The windows of every epoch by number, window k starting at ``offset + k * num_steps``; needs `offset`.
        Default: all of them, shuffled again for each epoch.

    Yields
    ------
    X, Y : ndarray of int64, shape (batch_size, num_steps)
        The tokens, and the token after each.

    Raises
    ------
    TypeError
        If an argument is of another type.
    ValueError
        If a number is out of its range, `order` is not an order of windows, or the stream is too short for one batch.

    Examples
    --------
    >>> stream = TokenStream(range(35))
    >>> for X, Y in RandomBatches(stream, batch_size=2, num_steps=5, offset=3, order=[2, 5, 0, 3, 1, 4]):
    ...     print(X.tolist())
    [[13, 14, 15, 16, 17], [28, 29, 30, 31, 32]]
    [[3, 4, 5, 6, 7], [18, 19, 20, 21, 22]]
    [[8, 9, 10, 11, 12], [23, 24, 25, 26, 27]]
    """

    def __init__(
        self,
        stream: TokenStream,
        batch_size: int,
        num_steps: int,
        *,
        seed: int = 0,
        offset: int | None = None,
        order: Sequence[int] | None = None,
    ) -> None:
        super().__init__(stream, batch_size, num_steps, seed=seed, offset=offset)
        if order is None:
            self.order = None
            return
        if offset is None:
            raise ValueError(
                "an order of windows needs a fixed offset, which says how many windows there are"
            )
        windows = self._usable // num_steps
        numbers = as_integer_row("order", order)
        within = ((numbers >= 0) & (numbers < windows)).all()
        if not within or len(np.unique(numbers)) < len(numbers) or len(numbers) < batch_size:
            raise ValueError(
                f"order must name at least {batch_size} different windows from 0 to {windows - 1}, got "
                f"{numbers.tolist()!s:.80}"
            )
        self.order = numbers

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        windows = self._usable // self.num_steps if self.order is None else len(self.order)
        return windows // self.batch_size

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "order": None if self.order is None else self.order.tolist()}

    def _plan(self, offset: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
        windows = (len(self.stream) - offset - 1) // self.num_steps
        order = generator.permutation(windows) if self.order is None else self.order
        return offset + order * self.num_steps

    def _starts(self, plan: npt.NDArray[np.int64], batch: int) -> npt.NDArray[np.int64]:
        return plan[batch * self.batch_size : (batch + 1) * self.batch_size]
