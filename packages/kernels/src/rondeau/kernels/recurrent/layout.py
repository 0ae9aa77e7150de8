"""The layout of a ragged batch of sequences: which rows belong to which step and sequence.

Rows
----
A batch is stored by rows, time-major: first the rows of step 0, then those of step 1, and so on, N rows in all.
Within a step rows are in batch order, longest sequence first, so step t has the first ``batch_sizes[t]`` batch rows.
A dense batch is the case where all steps have the same rows: N = T * B. Padding is never stored or computed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.recurrent.steps import Steps
from rondeau.kernels.runtime.devices import is_of_device, library_of

__all__ = ["Layout"]


class Layout:
    """The layout of the rows of a ragged batch; make one with `dense` or `packed`.

    Attributes
    ----------
    batch_sizes : ndarray of int64, shape (T,)
        The number of batch rows of each step; it never increases.
    starts : ndarray of int64, shape (T,)
        The first row of each step.
    num_rows, num_steps, batch_size : int
        N, T and B.
    origins, first_steps : ndarray of int64, shape (B,)
        The position of each sequence in the caller's batch: its row, and its first time step. Random numbers depend
        only on these, not on how a batch is sorted or split.

    Examples
    --------
    >>> layout = Layout.packed([3, 2, 2])
    >>> layout.num_rows, layout.num_steps, layout.batch_size
    (7, 3, 3)
    """

    def __init__(
        self,
        batch_sizes: NDArray[np.int64],
        batch_size: int,
        origins: NDArray[np.int64] | None = None,
        first_steps: NDArray[np.int64] | None = None,
    ) -> None:
        batch_sizes.flags.writeable = False  # kernels index by it, and equal dense layouts are one object
        self.batch_sizes = batch_sizes
        self.num_steps, self.batch_size = batch_sizes.size, batch_size
        self.num_rows = int(batch_sizes.sum())
        self.starts = np.cumsum(batch_sizes) - batch_sizes
        self._is_dense = batch_sizes.size == 0 or int(batch_sizes[-1]) == batch_size
        # A state's storage has B + N rows. Boundary t, between step t - 1 and step t, begins at row
        # _boundaries[t]: the states before step t of its n_t batch rows start there, and so do those
        # after step t - 1 of its n_{t-1}. In reverse, before and after are swapped.
        self._boundaries = np.concatenate(([0], batch_size + self.starts))
        self._cuts: dict[int, NDArray[np.int64]] = {}
        self._pieces: dict[int, list[tuple[Layout, slice]]] = {}
        #: What targets have derived from this layout, to find it again.
        self.kept: dict[Any, Any] = {}
        self._sent: dict[int, tuple[NDArray[np.int64], Any]] = {}
        self.origins = np.arange(batch_size) if origins is None else origins
        self.first_steps = np.zeros(batch_size, np.int64) if first_steps is None else first_steps

    @staticmethod
    def dense(num_steps: int, batch_size: int) -> Layout:
        """Return the layout of ``batch_size`` sequences of ``num_steps`` steps each; equal sizes give the same object.

        Raises
        ------
        TypeError, ValueError
            If a size is not an integer, or is negative.
        """
        for name, value in (("num_steps", num_steps), ("batch_size", batch_size)):
            if type(value) is not int and (
                isinstance(value, bool) or not isinstance(value, np.integer | int)
            ):
                raise ArgumentTypeError(f"{name} must be an integer, got {value!r}")
            if value < 0:
                raise ArgumentValueError(f"{name} must be at least 0, got {value}")
        return _dense(int(num_steps), int(batch_size))

    @staticmethod
    def packed(
        batch_sizes: ArrayLike, origins: ArrayLike | None = None, first_steps: ArrayLike | None = None
    ) -> Layout:
        """Return the layout of a ragged batch from the number of rows of each step, as in PyTorch's PackedSequence.

        Parameters
        ----------
        batch_sizes : array_like of int, shape (T,)
        origins, first_steps : array_like of int, shape (B,), optional
            Each sequence's row in the caller's batch, and its first time step there; by default its own row, and 0.

        Raises
        ------
        ValueError
            If the sizes are not positive integers that never increase, or origins or first steps are not one integer
            for each sequence.
        """
        sizes = _array_of("batch_sizes", batch_sizes)
        if sizes.ndim != 1 or (sizes.size and sizes.dtype.kind not in "iu"):
            raise ArgumentValueError(
                f"batch_sizes must be a 1-D array of integers, got {sizes.dtype} of shape {sizes.shape}"
            )
        sizes = sizes.astype(np.int64)
        if sizes.size and sizes[-1] < 1:
            raise ArgumentValueError(f"batch_sizes must be at least 1 at every step, got {int(sizes.min())}")
        if (sizes[1:] > sizes[:-1]).any():
            step = int(np.argmax(sizes[1:] > sizes[:-1])) + 1
            raise ArgumentValueError(
                f"batch_sizes must never increase, but step {step} has {sizes[step]} rows after {sizes[step - 1]}; "
                "sort the sequences by length, longest first"
            )
        batch_size = int(sizes[0]) if sizes.size else 0
        given_positions: list[NDArray[np.int64] | None] = []
        for name, given in (("origins", origins), ("first_steps", first_steps)):
            if given is None:
                given_positions.append(None)
                continue
            array = _array_of(name, given)
            if array.shape != (batch_size,) or (array.size and array.dtype.kind not in "iu"):
                raise ArgumentValueError(
                    f"{name} must be one integer for each of {batch_size} sequences, got {array.dtype} of shape "
                    f"{array.shape}"
                )
            given_positions.append(array.astype(np.int64))
        return Layout(sizes, batch_size, *given_positions)

    @functools.cached_property
    def lengths(self) -> NDArray[np.int64]:
        """The number of steps of each batch row, (B,)."""
        return self.num_steps - np.searchsorted(
            self.batch_sizes[::-1], np.arange(self.batch_size), side="right"
        )

    @functools.cached_property
    def batch_rows(self) -> NDArray[np.int64]:
        """The batch row of each row, (N,)."""
        return np.arange(self.num_rows) - np.repeat(self.starts, self.batch_sizes)

    @functools.cached_property
    def positions(self) -> NDArray[np.int64]:
        """The time and the batch row of each row in the caller's batch, (N, 2)."""
        times = np.repeat(np.arange(self.num_steps), self.batch_sizes)
        rows = self.batch_rows
        return np.stack((self.first_steps[rows] + times, self.origins[rows]), axis=1)

    def previous(self, reverse: bool) -> NDArray[np.int64]:
        """Return the row that runs before each row of its sequence, -1 for the first, (N,)."""
        times = np.repeat(np.arange(self.num_steps), self.batch_sizes)
        rows = self.batch_rows
        if reverse:
            ends = times + 1 >= self.lengths[rows]
            return np.where(ends, -1, self.starts[np.where(ends, times, times + 1)] + rows)
        return np.where(times == 0, -1, self.starts[np.maximum(times - 1, 0)] + rows)

    def last(self, reverse: bool) -> NDArray[np.int64]:
        """Return the row of each sequence that runs last, (B,), without those of empty sequences."""
        lengths = self.lengths[self.lengths > 0]
        rows = np.arange(lengths.size)
        return rows if reverse else self.starts[lengths - 1] + rows

    def of_rows(self, rows: NDArray[np.int64]) -> Layout:
        """Return the layout of some rows as a batch of a single step."""
        positions = self.positions[rows]
        sizes = np.array([rows.size], np.int64)
        return Layout(
            sizes, rows.size, np.ascontiguousarray(positions[:, 1]), np.ascontiguousarray(positions[:, 0])
        )

    def pieces(self, steps: int, reverse: bool) -> Iterable[tuple[Layout, slice]]:
        """Return the layouts of pieces of this many steps, in the order in which they run, and the rows of each.

        They are made once, so that a device is sent their indices once.
        """
        pieces = self._pieces.get(steps)
        if pieces is None:
            pieces = self._pieces[steps] = [
                self._piece(first, steps) for first in range(0, self.num_steps, steps)
            ]
        return reversed(pieces) if reverse else pieces

    def _piece(self, first: int, steps: int) -> tuple[Layout, slice]:
        sizes = self.batch_sizes[first : first + steps].copy()
        B, at = int(sizes[0]), int(self.starts[first])
        piece = Layout(sizes, B, self.origins[:B], self.first_steps[:B] + first)
        return piece, slice(at, at + piece.num_rows)

    def sent(self, rows: Any, like: Any) -> Any:
        """Return an index of this layout where an array is: itself, or a copy on the device, made once.

        Parameters
        ----------
        rows : slice or ndarray
            An attribute of the layout, or what one of its methods keeps.
        like : ndarray
            The array that is indexed, of either library.
        """
        if isinstance(rows, slice) or not is_of_device(like):
            return rows
        kept = self._sent.get(id(rows))
        if kept is None or kept[0] is not rows:
            kept = self._sent[id(rows)] = rows, library_of(like).asarray(rows)
        return kept[1]

    def steps(self, reverse: bool) -> Steps:
        """Return the steps in the order in which they run in a direction."""
        return self._steps_reverse if reverse else self._steps_forward

    def table(self, reverse: bool) -> NDArray[np.int64]:
        """Return the steps of a direction as one flat array: the fields of `Steps`, and then the time of each step."""
        return self._table_reverse if reverse else self._table_forward

    def cuts(self, threads: int) -> NDArray[np.int64]:
        """Return where to divide the batch into at most ``threads`` shares with about as many rows each."""
        cuts = self._cuts.get(threads)
        if cuts is None:
            shares = max(1, min(threads, self.batch_size))
            rows_before = np.concatenate(([0], np.cumsum(self.lengths)))
            cuts = np.searchsorted(rows_before, np.arange(shares + 1) * self.num_rows // shares).astype(
                np.int64
            )
            cuts[-1] = self.batch_size
            self._cuts[threads] = cuts
        return cuts

    def initial_rows(self, reverse: bool) -> Any:
        """Return the rows of the initial states in a state's storage, in batch order."""
        return self._ends if reverse else slice(0, self.batch_size)

    def final_rows(self, reverse: bool) -> Any:
        """Return the rows of the states after each batch row's last step in a state's storage, in batch order."""
        return slice(0, self.batch_size) if reverse else self._ends

    def before_rows(self, reverse: bool) -> Any:
        """Return the rows of the states before each row in a state's storage, in row order."""
        return slice(self.batch_size, None) if reverse else self._rows_from_zero

    def after_rows(self, reverse: bool) -> Any:
        """Return the rows of the states after each row in a state's storage, in row order."""
        return self._rows_from_zero if reverse else slice(self.batch_size, None)

    def rows_after_first_step(self, reverse: bool) -> slice:
        """Return the rows that do not belong to the step that runs first."""
        if not self.num_steps:
            return slice(0, 0)
        return slice(0, int(self.starts[-1])) if reverse else slice(int(self.batch_sizes[0]), None)

    @functools.cached_property
    def _steps_forward(self) -> Steps:
        return Steps(self.starts, self._boundaries[:-1].copy(), self._boundaries[1:].copy(), self.batch_sizes)

    @functools.cached_property
    def _steps_reverse(self) -> Steps:
        starts, before, after, sizes = self._steps_forward
        return Steps(*[np.ascontiguousarray(a[::-1]) for a in (starts, after, before, sizes)])

    @functools.cached_property
    def _table_forward(self) -> NDArray[np.int64]:
        return np.concatenate([*self._steps_forward, np.arange(self.num_steps)])

    @functools.cached_property
    def _table_reverse(self) -> NDArray[np.int64]:
        return np.concatenate([*self._steps_reverse, np.arange(self.num_steps)[::-1]])

    @functools.cached_property
    def _ends(self) -> Any:
        """The position of each batch row at the boundary after its last step."""
        if self._is_dense:
            return slice(self.num_rows, self.num_rows + self.batch_size)
        return self._boundaries[self.lengths] + np.arange(self.batch_size)

    @functools.cached_property
    def _rows_from_zero(self) -> Any:
        """The positions of each step's rows at the boundary before it."""
        if self._is_dense:
            return slice(0, self.num_rows)
        return np.arange(self.num_rows) + np.repeat(self._boundaries[:-1] - self.starts, self.batch_sizes)


@functools.lru_cache(maxsize=64)
def _dense(num_steps: int, batch_size: int) -> Layout:
    return Layout(np.full(num_steps, batch_size, np.int64), batch_size)


def _array_of(name: str, numbers: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(numbers)
    except ValueError:
        raise ArgumentValueError(f"{name} must be a 1-D array of integers, got a ragged list") from None
