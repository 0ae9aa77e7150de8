"""One recurrent layer in one direction over a ragged batch of sequences: forward, and backward through time.

Rows
----
A batch is stored by rows, time-major: first the rows of step 0, then those of step 1, and so on, N rows in all.
Within a step rows are in batch order, longest sequence first, so step t has the first ``batch_sizes[t]`` batch rows.
A dense batch is the case of equal steps: N = T * B. Nothing is ever computed for a row that does not exist.
"""

from __future__ import annotations

import functools
import importlib
import operator
import threading
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rondeau.kernels import philox
from rondeau.kernels.cell import CellError, Graph, Regularisers, Schedule, schedule, trace
from rondeau.kernels.cell.trace import scalars_of
from rondeau.kernels.targets import cpu_emit, cpu_run, recompute, truncation

__all__ = [
    "Cell",
    "CellError",
    "Gradients",
    "Layout",
    "Needs",
    "Regularisers",
    "Result",
    "Settings",
    "Weights",
    "backward",
    "complete_settings",
    "forward",
]

Array = NDArray[Any]
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


class Cell:
    """A recurrent cell: its step, traced once, and compiled for a dtype when first run.

    Parameters
    ----------
    step : callable
        ``step(x, r, s)`` returns the new states: a tuple in the order of `states`, or one value for one state.
        ``x.k`` is gate k's input part ``W_k x_t + b_k``, ``r.k`` its recurrent part ``R_k h_{t-1} + c_k``, ``s.name``
        a state before the step; ``r.k(value)`` is ``R_k value + c_k``. With `params` there is a fourth argument ``p``,
        the learned vectors. Keyword-only arguments, which have defaults, are scalars of the run. The functions that a
        step may call are in `rondeau.kernels.cell.cell_math`.
    gates : tuple of str
        Names of the gates, in the order of the rows of the weights.
    states : tuple of str
        Names of the states. The first is the output, and what the recurrent matrices multiply.
    name : str
        A name, for messages and generated source.
    params : mapping of str to object, optional
        Names of the learned vectors of H, and what initialises each: kept for whoever makes them.
    project : str, optional
        Which state is projected after the step: the first, or none. A cell that does not name it may be projected.
    regularisers : Regularisers, optional
        What is woven into the step; see `regularised`.

    Attributes
    ----------
    scalars : dict of str to float
        The scalars of the run, and their defaults.

    Raises
    ------
    CellError
        When the step cannot be traced; the message shows the user's line.

    Examples
    --------
    >>> from rondeau.kernels.cell import cell_math as m
    >>> cell = Cell(lambda x, r, s: m.tanh(x.h + r.h), ("h",), ("h",), "rnn")
    >>> print(cell.source("forward").partition("):")[2])
    <BLANKLINE>
        for b in range(count):
            gate_h = lanes(gates, row + b, 0, 0)
            bias_h = lanes(bias, 0, 0, 1)
            new_h = lanes(states, 0, new + b, 2)
            for j in range(low, high):
                a_h = gate_h[j] + bias_h[j]
                h = tanh(a_h)
                new_h[j] = h
    <BLANKLINE>
    """

    def __init__(
        self,
        step: Callable[..., Any],
        gates: tuple[str, ...],
        states: tuple[str, ...],
        name: str,
        params: Mapping[str, Any] = MappingProxyType({}),
        project: str | None = None,
        regularisers: Regularisers = Regularisers(),  # noqa: B008 - an immutable default
    ) -> None:
        self.graph: Graph = trace(step, gates, states, tuple(params), regularisers)
        if project not in (None, states[0]):
            raise CellError(
                f"cell {name}: project expected {states[0]!r}, the state that the recurrent matrices multiply, "
                f"got {project!r}"
            )
        self.step, self.gates, self.states, self.name = step, tuple(gates), tuple(states), name
        self.params, self.initialisers, self.project = tuple(params), dict(params), project
        self.regularisers, self.scalars = regularisers, scalars_of(step)
        self._rows: dict[tuple[str, np.dtype[Any]], NDArray[np.int64]] = {}
        self._regularised: dict[Regularisers, Cell] = {}
        self._lock = threading.RLock()

    @functools.cached_property
    def plan(self) -> Schedule:
        """The schedule of the cell: its buffers, and what forward saves."""
        return schedule(self.graph)

    @functools.cached_property
    def recurrent(self) -> tuple[str, ...]:
        """The gates that have a recurrent matrix: those of which the step reads the recurrent part."""
        return tuple(self.graph.recurrent_parts)

    @property
    def reason_against_projection(self) -> str | None:
        """Why the first state cannot be projected to another width, or None where it can be."""
        first = self.states[0]
        if self.plan.reads_state(first):
            return f"cell {self.name} reads its first state s.{first} beside gates of another width"
        if self.plan.values:
            return f"cell {self.name} applies recurrent matrices to values as wide as its gates"
        return None

    def regularised(self, regularisers: Regularisers) -> Cell:
        """Return this cell with regularisers woven into its step; the same cell for the same ones."""
        if regularisers == self.regularisers:
            return self
        with self._lock:
            if regularisers not in self._regularised:
                self._regularised[regularisers] = Cell(
                    self.step,
                    self.gates,
                    self.states,
                    self.name,
                    self.initialisers,
                    self.project,
                    regularisers,
                )
            return self._regularised[regularisers]

    def source(self, direction: str, dtype: Any = np.float32) -> str:
        """Return the generated source of the pointwise rows, ``"forward"`` or ``"backward"``."""
        return "\n".join(cpu_emit.emit(self.name, direction, self.plan, dtype))

    def rows(self, direction: str, dtype: np.dtype[Any]) -> NDArray[np.int64]:
        """Return the addresses of the compiled rows, compiling or loading them from the disk at the first call."""
        rows = self._rows.get((direction, dtype))
        if rows is None:
            with self._lock:
                rows = self._rows.get((direction, dtype))
                if rows is None:
                    sources = cpu_emit.emit(self.name, direction, self.plan, dtype)
                    addresses = [cpu_emit.CompiledRow(source, dtype).address for source in sources]
                    rows = self._rows[direction, dtype] = np.array(addresses, np.int64)
        return rows

    def __deepcopy__(self, memo: object) -> Cell:
        return self  # nothing in it changes: the copies of a layer share it

    def __reduce__(self) -> tuple[Any, ...]:
        place = self.step.__module__, self.step.__qualname__
        try:
            is_there = _find(*place) is self
        except (ImportError, AttributeError):
            is_there = False
        # Where a decorator put the cell in its step's place, it is pickled as a function is: by that place.
        made_of = (
            self.step, self.gates, self.states, self.name, self.initialisers, self.project, self.regularisers,
        )  # fmt: skip
        return (_find, place) if is_there else (Cell, made_of)

    def __repr__(self) -> str:
        return f"Cell({self.name}: gates {', '.join(self.gates)}; states {', '.join(self.states)})"


def _find(module: str, path: str) -> Any:
    """Return what is at a dotted path in a module."""
    return operator.attrgetter(path)(importlib.import_module(module))


class Layout:
    """Where the rows of a ragged batch lie; make one with `dense` or `packed`.

    Attributes
    ----------
    batch_sizes : ndarray of int64, shape (T,)
        How many batch rows each step has; never increasing.
    starts : ndarray of int64, shape (T,)
        The first row of each step.
    num_rows, num_steps, batch_size : int
        N, T and B.
    origins, begins : ndarray of int64, shape (B,)
        Where each sequence lies in the caller's batch: its row, and its first time step. Random numbers depend on
        these alone, not on how a batch is sorted or cut.

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
        begins: NDArray[np.int64] | None = None,
    ) -> None:
        batch_sizes.flags.writeable = False  # kernels index by it; and equal dense layouts are one object
        self.batch_sizes = batch_sizes
        self.num_steps, self.batch_size = batch_sizes.size, batch_size
        self.num_rows = int(batch_sizes.sum())
        self.starts = np.cumsum(batch_sizes) - batch_sizes
        self._is_dense = batch_sizes.size == 0 or int(batch_sizes[-1]) == batch_size
        # A state's storage has B + N rows. Boundary t, between step t - 1 and step t, begins at row
        # _boundaries[t]: the states before step t of its n_t batch rows run on from there, and so do those
        # after step t - 1 of its n_{t-1}. Running in reverse, before and after change places.
        self._boundaries = np.concatenate(([0], batch_size + self.starts))
        self._cuts: dict[int, NDArray[np.int64]] = {}
        self.origins = np.arange(batch_size) if origins is None else origins
        self.begins = np.zeros(batch_size, np.int64) if begins is None else begins

    @staticmethod
    @functools.lru_cache(maxsize=64, typed=True)
    def dense(num_steps: int, batch_size: int) -> Layout:
        """Return the layout of ``batch_size`` sequences of ``num_steps`` steps each."""
        for name, value in (("num_steps", num_steps), ("batch_size", batch_size)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"a layout expected an integer as {name}, got {value!r}")
            if value < 0:
                raise ValueError(f"a layout expected {name} of at least 0, got {value}")
        return Layout(np.full(num_steps, batch_size, np.int64), batch_size)

    @staticmethod
    def packed(
        batch_sizes: ArrayLike, origins: ArrayLike | None = None, begins: ArrayLike | None = None
    ) -> Layout:
        """Return the layout of a ragged batch from the number of rows of each step, as in torch's PackedSequence.

        Parameters
        ----------
        batch_sizes : array_like of int, shape (T,)
        origins, begins : array_like of int, shape (B,), optional
            Each sequence's row in the caller's batch and first time step there; by default its own row, and 0.

        Raises
        ------
        ValueError
            If the sizes are not positive integers that never increase.
        """
        sizes = np.asarray(batch_sizes)
        if sizes.ndim != 1 or (sizes.size and sizes.dtype.kind not in "iu"):
            raise ValueError(
                f"batch_sizes expected a 1-D array of integers, got {sizes.dtype} of shape {sizes.shape}"
            )
        sizes = sizes.astype(np.int64)
        if sizes.size and sizes[-1] < 1:
            raise ValueError(f"batch_sizes expected at least one row at every step, got {int(sizes.min())}")
        if (sizes[1:] > sizes[:-1]).any():
            step = int(np.argmax(sizes[1:] > sizes[:-1])) + 1
            raise ValueError(
                f"batch_sizes must never increase, and step {step} has {sizes[step]} rows after {sizes[step - 1]}; "
                "sort the sequences by length, longest first"
            )
        batch_size = int(sizes[0]) if sizes.size else 0
        places = []
        for name, given in (("origins", origins), ("begins", begins)):
            array = None if given is None else np.asarray(given).astype(np.int64)
            if array is not None and array.shape != (batch_size,):
                raise ValueError(
                    f"{name} expected one number for each of {batch_size} sequences, got {array.shape}"
                )
            places.append(array)
        return Layout(sizes, batch_size, *places)

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
    def places(self) -> NDArray[np.int64]:
        """Each row's time and row in the caller's batch, (N, 2)."""
        times = np.repeat(np.arange(self.num_steps), self.batch_sizes)
        rows = self.batch_rows
        return np.stack((self.begins[rows] + times, self.origins[rows]), axis=1)

    def previous(self, reverse: bool) -> NDArray[np.int64]:
        """Return the row that runs before each row in its sequence, -1 for the first, (N,)."""
        times = np.repeat(np.arange(self.num_steps), self.batch_sizes)
        rows = self.batch_rows
        if reverse:
            ends = times + 1 >= self.lengths[rows]
            return np.where(ends, -1, self.starts[np.where(ends, times, times + 1)] + rows)
        return np.where(times == 0, -1, self.starts[np.maximum(times - 1, 0)] + rows)

    def last(self, reverse: bool) -> NDArray[np.int64]:
        """Return the row of each sequence that runs last, (B,), without sequences of no steps."""
        lengths = self.lengths[self.lengths > 0]
        rows = np.arange(lengths.size)
        return rows if reverse else self.starts[lengths - 1] + rows

    def of_rows(self, rows: NDArray[np.int64]) -> Layout:
        """Return the layout of some rows as a batch of a single step."""
        places = self.places[rows]
        sizes = np.array([rows.size], np.int64)
        return Layout(
            sizes, rows.size, np.ascontiguousarray(places[:, 1]), np.ascontiguousarray(places[:, 0])
        )

    def pieces(self, steps: int, reverse: bool) -> Iterator[tuple[Layout, slice]]:
        """Yield the layouts of pieces of so many steps, in the order of running, and which rows each has."""
        firsts = range(0, self.num_steps, steps)
        for first in reversed(firsts) if reverse else firsts:
            sizes = self.batch_sizes[first : first + steps].copy()
            B, at = int(sizes[0]), int(self.starts[first])
            piece = Layout(sizes, B, self.origins[:B], self.begins[:B] + first)
            yield piece, slice(at, at + piece.num_rows)

    def steps(self, reverse: bool) -> tuple[NDArray[np.int64], ...]:
        """Return each step's first row, where the states before and after it begin, and its size, in running order."""
        return self._steps_reverse if reverse else self._steps_forward

    def cuts(self, threads: int) -> NDArray[np.int64]:
        """Return where to cut the batch so that each of at most ``threads`` shares has about as many rows."""
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
        """Where in a state's storage the initial states lie, in batch order."""
        return self._ends if reverse else slice(0, self.batch_size)

    def final_rows(self, reverse: bool) -> Any:
        """Where in a state's storage the states after each row's own last step lie, in batch order."""
        return slice(0, self.batch_size) if reverse else self._ends

    def before_rows(self, reverse: bool) -> Any:
        """Where in a state's storage the states before each row lie, in row order."""
        return slice(self.batch_size, None) if reverse else self._rows_from_zero

    def after_rows(self, reverse: bool) -> Any:
        """Where in a state's storage the states after each row lie, in row order."""
        return self._rows_from_zero if reverse else slice(self.batch_size, None)

    output_rows = after_rows

    def rows_after_first_step(self, reverse: bool) -> slice:
        """Which rows do not belong to the step that runs first."""
        if not self.num_steps:
            return slice(0, 0)
        return slice(0, int(self.starts[-1])) if reverse else slice(int(self.batch_sizes[0]), None)

    @functools.cached_property
    def _steps_forward(self) -> tuple[NDArray[np.int64], ...]:
        return self.starts, self._boundaries[:-1].copy(), self._boundaries[1:].copy(), self.batch_sizes

    @functools.cached_property
    def _steps_reverse(self) -> tuple[NDArray[np.int64], ...]:
        starts, before, after, sizes = self._steps_forward
        return tuple(np.ascontiguousarray(a[::-1]) for a in (starts, after, before, sizes))

    @functools.cached_property
    def _ends(self) -> Any:
        """Where the boundary after each batch row's last step has that row."""
        if self._is_dense:
            return slice(self.num_rows, self.num_rows + self.batch_size)
        return self._boundaries[self.lengths] + np.arange(self.batch_size)

    @functools.cached_property
    def _rows_from_zero(self) -> Any:
        """Where the boundary before each step has that step's rows."""
        if self._is_dense:
            return slice(0, self.num_rows)
        return np.arange(self.num_rows) + np.repeat(self._boundaries[:-1] - self.starts, self.batch_sizes)


class Weights(NamedTuple):
    """The weights of a layer in one direction, or their gradients.

    Attributes
    ----------
    weight_ih : ndarray, shape (G * H, I)
    weight_hh : ndarray, shape (R * H, P), or (R * H, H / heads)
        Of the R gates that have a recurrent matrix, in their order; None if R = 0. P = H without projection. With
        heads a gate's matrix is block-diagonal, and its rows hold the columns of their own block.
    bias_ih, bias_hh : ndarray, shapes (G * H,) and (R * H,), optional
    weight_hr : ndarray, shape (P, H), optional
        Projects the first state after the step.
    params : tuple of ndarray, shape (H,) each
        The learned vectors of the step.
    """

    weight_ih: Any
    weight_hh: Any
    bias_ih: Any = None
    bias_hh: Any = None
    weight_hr: Any = None
    params: tuple[Any, ...] = ()


class Settings(NamedTuple):
    """What a run depends on beside arrays.

    Attributes
    ----------
    scalars : dict
        The values of the scalars of the run, ``("k", name)``, and of zoneout rates, ``("rate", state)``.
    dropout : float
        The rate of recurrent dropout, where the cell has it.
    key, stream : int
        Random numbers are a function of the key, the stream (64 for each layer and direction), and their place.
    num_heads : int
        Blocks of the recurrent matrices.
    """

    scalars: Mapping[tuple[str, str], float] = MappingProxyType({})
    dropout: float = 0.0
    key: int = 0
    stream: int = 0
    num_heads: int = 1


class Needs(NamedTuple):
    """Which gradients `backward` computes."""

    x: bool = True
    initial: bool = True
    weights: bool = True


class Gradients(NamedTuple):
    """The gradients that `backward` returns; parts that were not needed are None."""

    x: Array | None
    initial: tuple[Array, ...] | None
    weights: Weights


class Result(NamedTuple):
    """What `forward` returns.

    Attributes
    ----------
    every : tuple of ndarray, shape (N, P) for the first state and (N, H) for others
        States after every step: all of them if they were asked for, else the first, which is the output. `backward`
        reads them: they must not be changed before.
    final : tuple of ndarray, shape (B, P) and (B, H)
        Each state after each row's own last step (in reverse: its step 0).
    saved : object or None
        For `backward`.
    """

    every: tuple[Array, ...]
    final: tuple[Array, ...]
    saved: Any


def forward(
    cell: Cell,
    layout: Layout,
    x: Array,
    weights: Weights,
    initial: tuple[Array, ...],
    *,
    reverse: bool = False,
    save: bool = True,
    every_state: bool = False,
    settings: Settings = Settings(),  # noqa: B008 - an immutable default
    checkpoint_every: int | None = None,
) -> Result:
    """Run a cell over a batch of sequences.

    Parameters
    ----------
    cell : Cell
    layout : Layout
    x : ndarray of float32 or float64, shape (N, I), or of int64, shape (N,)
        The input of every row. Integers stand for one-hot rows of width I = ``weight_ih.shape[1]``: the input
        projection is then a gather, with the same values as the product up to rounding.
    weights : Weights
        All of x's dtype (of one dtype for one-hot input).
    initial : tuple of ndarray
        The states before the first step: (B, P) the first, (B, H) the others.
    reverse : bool, default False
        Run each sequence from its own last step to its first.
    save : bool, default True
        Keep what `backward` needs.
    every_state : bool, default False
        Return every state after every step, not the first alone.
    settings : Settings, optional
        Scalars of the run that are not given have their defaults.
    checkpoint_every : int, optional
        Keep the states of every so many steps only, and let `backward` compute the others again: the same bits in
        less memory and more time.

    Returns
    -------
    Result

    Raises
    ------
    TypeError
        If an argument is no array, or dtypes differ.
    ValueError
        If shapes do not fit, or a scalar is unknown or missing.
    IndexError
        If an id is out of range.

    Examples
    --------
    >>> from rondeau.kernels.cell import cell_math as m
    >>> cell = Cell(lambda x, r, s: x.h + r.h, ("h",), ("h",), "sum")
    >>> one = np.ones((1, 1), np.float32)
    >>> result = forward(cell, Layout.dense(3, 1), np.ones((3, 1), np.float32), Weights(one, one), (0 * one,))
    >>> result.every[0].ravel()
    array([1., 2., 3.], dtype=float32)
    """
    settings = complete_settings(cell, settings)
    x, weights, initial = _checked(cell, layout, x, weights, initial, settings.num_heads)
    if checkpoint_every is not None and not _is_count(checkpoint_every, at_least=1):
        raise ValueError(f"checkpoint_every expected a number of steps, at least 1, got {checkpoint_every!r}")
    rows = cell.rows("forward", weights.weight_ih.dtype)
    num_kept = len(cell.states) if every_state else 1
    kept: cpu_run.Saved | recompute.Record
    if checkpoint_every is not None and checkpoint_every < layout.num_steps:
        every, final, kept = recompute.forward(
            cell.plan, rows, layout, x, weights, initial, reverse, settings, checkpoint_every, num_kept
        )
    else:
        kept = cpu_run.forward(cell.plan, rows, layout, x, weights, initial, reverse, settings)
        every, final = tuple(kept.every(k) for k in range(num_kept)), kept.final()
    return Result(every, final, _Run(cell, kept) if save else None)


def backward(
    cell: Cell,
    saved: Any,
    d_every: tuple[Array | None, ...],
    d_final: tuple[Array | None, ...],
    needs: Needs = Needs(),  # noqa: B008 - an immutable default
    *,
    consume: bool = False,
    truncate: int | None = None,
) -> Gradients:
    """Differentiate a run of `forward`: backpropagation through time.

    Parameters
    ----------
    cell : Cell
        The cell that ran.
    saved : object
        What `forward` returned with ``save=True``.
    d_every : tuple of ndarray or None
        The gradients of the loss with respect to the states after every step; None, and what is left out at the end,
        for zero. The first is that of the output.
    d_final : tuple of ndarray or None
        The gradients with respect to the final states.
    needs : Needs
        What to compute; everything by default.
    consume : bool, default False
        Use the memory of `saved` for the gradients: faster, and `saved` is spent. By default `saved` stays
        as it is, and a second call gives the same result.
    truncate : int, optional
        Let what the loss says of step t reach back this many steps before t only; see
        `rondeau.kernels.targets.truncation`.

    Returns
    -------
    Gradients
        Of x (None for one-hot input), of the initial states, and of the weights.

    Raises
    ------
    TypeError, ValueError
        If a gradient has another dtype or shape than what it is the gradient of; if `saved` is spent; if `truncate`
        is negative, or meets a run with checkpoints.
    """
    if not isinstance(saved, _Run) or saved.cell is not cell:
        got = f"that of cell {saved.cell.name}" if isinstance(saved, _Run) else type(saved).__name__
        raise TypeError(
            f"backward expected what forward returned for cell {cell.name} with save=True, got {got}"
        )
    if saved.kept is None:
        raise ValueError(
            "backward was called with consume=True before, which spends what forward saved; call it without"
        )
    kept = saved.kept
    if truncate is not None and (not _is_count(truncate, at_least=0) or isinstance(kept, recompute.Record)):
        raise ValueError(
            f"truncate expected a number of earlier steps, at least 0, and a run without checkpoints, got {truncate!r}"
        )
    dtype, layout, weights = kept.weights.weight_ih.dtype, kept.layout, kept.weights
    widths = _state_widths(cell, weights)
    if len(d_every) > len(cell.states):
        raise ValueError(f"d_every expected at most one gradient per state, got {len(d_every)}")
    d_every = (*d_every, *[None] * (len(cell.states) - len(d_every)))
    if len(d_final) != len(cell.states):
        raise ValueError(
            f"d_final expected one gradient or None per state ({len(cell.states)}), got {len(d_final)}"
        )
    d_steps, d_ends = (
        tuple(
            None if d is None else _checked_array(f"{name} of {state}", d, (length, width), dtype)
            for state, d, width in zip(cell.states, given, widths, strict=True)
        )
        for name, given, length in (
            ("d_every", d_every, layout.num_rows),
            ("d_final", d_final, layout.batch_size),
        )
    )
    if consume:
        saved.kept = None
    rows = cell.rows("backward", dtype)
    one_hot = kept.x.ndim == 1
    gradients = cpu_run.WeightGradients(
        cell.plan, weights, kept.x if one_hot else None, len(cell.params), layout.batch_size
    )
    needs_x = needs.x and not one_hot
    if isinstance(kept, recompute.Record):
        d_x, d_initial = recompute.backward(rows, kept, d_steps, d_ends, gradients, needs_x, needs.initial)
    else:
        if truncate is None:
            adjoints = cpu_run.backward_through_time(
                rows, kept, d_steps, d_ends, gradients.d_params, needs.initial, consume
            )
        else:
            adjoints = truncation.backward_through_windows(
                rows, kept, d_steps, d_ends, gradients.d_params, truncate
            )
        d_initial = adjoints.initial
        d_x = cpu_run.input_gradient(kept, adjoints) if needs_x else None
        if needs.weights:
            gradients.add(kept, adjoints)
    d_weights = gradients.finish() if needs.weights else {**dict.fromkeys(weights._fields), "params": ()}
    return Gradients(d_x, d_initial if needs.initial else None, Weights(**d_weights))


class _Run:
    """What `forward` hands to `backward`."""

    __slots__ = ("cell", "kept")

    def __init__(self, cell: Cell, kept: cpu_run.Saved | recompute.Record) -> None:
        self.cell = cell
        self.kept: cpu_run.Saved | recompute.Record | None = kept


def _state_widths(cell: Cell, weights: Weights) -> tuple[int, ...]:
    """Return the width of each state: P for the first, H for the others."""
    hidden = weights.weight_ih.shape[0] // len(cell.gates)
    first = hidden if weights.weight_hr is None else weights.weight_hr.shape[0]
    return (first, *(hidden for _ in cell.states[1:]))


def _is_count(value: Any, at_least: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= at_least)


def complete_settings(cell: Cell, settings: Settings) -> Settings:
    """Return settings with every scalar that the cell reads.

    Scalars that are not given have their defaults, and rates become multiples of 2**-24, as random numbers are: so that
    what falls below a rate does not depend on the dtype.

    Raises
    ------
    ValueError
        If a scalar is unknown, or a rate is missing.
    """
    if not cell.plan.scalars and not settings.scalars:
        return settings
    given = {("k", name): value for name, value in cell.scalars.items()} | dict(settings.scalars)
    wanted = cell.plan.scalars
    missing = [name for kind, name in wanted if (kind, name) not in given]
    unknown = [name for kind, name in given if kind == "k" and name not in cell.scalars]
    if missing or unknown:
        raise ValueError(
            f"cell {cell.name} expected the scalars {', '.join(cell.scalars) or 'none'} and its zoneout rates, got "
            f"{', '.join(unknown) or 'none'} beside them and nothing for {', '.join(missing) or 'none'}"
        )
    rounded = {
        scalar: philox.threshold_of(value) * 2.0**-24 if scalar[0] == "rate" else value
        for scalar, value in given.items()
    }
    return settings._replace(scalars=rounded)


def _checked_array(name: str, array: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return a contiguous array of the shape and dtype expected, or say what came."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} expected a numpy array, got {type(array).__name__}")
    if array.dtype != dtype:
        raise TypeError(
            f"{name} expected {dtype}, as weight_ih is, got {array.dtype}; convert one with .astype"
        )
    if array.shape != shape:
        raise ValueError(f"{name} expected shape {shape}, got {array.shape}")
    return np.ascontiguousarray(array)


def _checked(
    cell: Cell, layout: Layout, x: Any, weights: Weights, initial: Any, heads: int
) -> tuple[Array, Weights, tuple[Array, ...]]:
    """Check every argument of `forward` and make the arrays contiguous."""
    weight_ih = weights.weight_ih
    if not isinstance(weight_ih, np.ndarray) or weight_ih.dtype not in _DTYPES:
        got = weight_ih.dtype if isinstance(weight_ih, np.ndarray) else type(weight_ih).__name__
        raise TypeError(f"weight_ih expected an array of float32 or float64, got {got}")
    dtype, gates, recurrent = weight_ih.dtype, len(cell.gates), len(cell.recurrent)
    if weight_ih.ndim != 2 or weight_ih.shape[0] % gates:
        raise ValueError(
            f"weight_ih expected shape ({gates} * H, I) for {gates} gates, got {weight_ih.shape}"
        )
    rows, width = weight_ih.shape
    H = rows // gates
    P = H
    if weights.weight_hr is not None:
        P = _checked_projection(cell, weights.weight_hr, heads)
    if isinstance(heads, bool) or heads < 1 or H % heads:
        raise ValueError(f"num_heads expected a divisor of the {H} hidden units, got {heads!r}")
    shapes = {
        "weight_ih": (rows, width),
        "weight_hh": (recurrent * H, P if heads == 1 else H // heads),
        "bias_ih": (rows,),
        "bias_hh": (recurrent * H,),
        "weight_hr": (P, H),
    }
    if (weights.weight_hh is None) != (recurrent == 0):
        raise ValueError(
            f"weight_hh expected {shapes['weight_hh'] if recurrent else None}, for cell {cell.name} reads the "
            f"recurrent parts of {recurrent} gates; got {'None' if weights.weight_hh is None else 'an array'}"
        )
    if len(weights.params) != len(cell.params):
        raise ValueError(
            f"params expected {len(cell.params)} vectors ({', '.join(cell.params)}), got {len(weights.params)}"
        )
    checked = {
        name: None
        if getattr(weights, name) is None
        else _checked_array(name, getattr(weights, name), shape, dtype)
        for name, shape in shapes.items()
    }
    params = tuple(
        _checked_array(name, vector, (H,), dtype)
        for name, vector in zip(cell.params, weights.params, strict=True)
    )
    if isinstance(x, np.ndarray) and x.dtype.kind in "iu":
        if x.shape != (layout.num_rows,):
            raise ValueError(
                f"x expected ids of shape ({layout.num_rows},), one per row of the layout, got {x.shape}"
            )
        # A copy, for backward reads it: the caller may fill his array with the next batch before.
        x = x.copy()
        if x.size and (int(x.min()) < 0 or int(x.max()) >= width):
            wrong = x.min() if x.min() < 0 else x.max()
            raise IndexError(
                f"x expected ids from 0 to {width - 1} (weight_ih has {width} columns), got {wrong}"
            )
        x = np.ascontiguousarray(x, np.int64)
    else:
        x = _checked_array("x", x, (layout.num_rows, width), dtype)
    if len(initial) != len(cell.states):
        raise ValueError(
            f"initial expected one array per state ({', '.join(cell.states)}), got {len(initial)}"
        )
    kept = Weights(**checked, params=params)
    initial = tuple(
        _checked_array(f"initial {state}", array, (layout.batch_size, size), dtype)
        for state, array, size in zip(cell.states, initial, _state_widths(cell, kept), strict=True)
    )
    return x, kept, initial


def _checked_projection(cell: Cell, weight_hr: Any, heads: int) -> int:
    """Return the width P to which the first state is projected, if the cell can be projected."""
    if not isinstance(weight_hr, np.ndarray) or weight_hr.ndim != 2 or not weight_hr.shape[0]:
        got = f"shape {weight_hr.shape}" if isinstance(weight_hr, np.ndarray) else type(weight_hr).__name__
        raise ValueError(f"weight_hr expected an array of shape (P, H) with P at least 1, got {got}")
    reason = cell.reason_against_projection
    if reason is not None or heads != 1:
        raise ValueError(f"weight_hr expected None: {reason or 'heads see the units of the first state'}")
    return int(weight_hr.shape[0])
