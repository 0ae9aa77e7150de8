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
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rondeau.kernels.cell import CellError, Graph, Schedule, schedule, trace
from rondeau.kernels.targets import cpu_emit, cpu_run

__all__ = ["Cell", "CellError", "Gradients", "Layout", "Needs", "Weights", "backward", "forward"]

Array = NDArray[Any]
_DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


class Cell:
    """A recurrent cell: its step, traced once, and compiled for a dtype when first run.

    Parameters
    ----------
    step : callable
        ``step(x, r, s)`` returns the new states: a tuple in the order of `states`, or one value for one state.
        ``x.k`` is gate k's input part ``W_k x_t + b_k``, ``r.k`` its recurrent part ``R_k h_{t-1} + c_k``, ``s.name``
        a state before the step; the functions it may call are in `rondeau.kernels.cell.cell_math`.
    gates : tuple of str
        Names of the gates, in the order of the rows of the weights.
    states : tuple of str
        Names of the states. The first is the output, and what the recurrent matrices multiply.
    name : str
        A name, for messages and generated source.

    Raises
    ------
    CellError
        When the step cannot be traced; the message shows the user's line.

    Examples
    --------
    >>> from rondeau.kernels.cell import cell_math as m
    >>> cell = Cell(lambda x, r, s: m.tanh(x.h + r.h), ("h",), ("h",), "rnn")
    >>> print(cell.source("forward"))
    def rnn_forward(gates, recurrent, bias, states, row, old, new, count):
        for b in range(count):
            gate_h = lanes(gates, row + b, 0, 0)
            bias_h = lanes(bias, 0, 0, 1)
            new_h = lanes(states, 0, new + b, 2)
            for j in range(states.shape[2]):
                a_h = gate_h[j] + bias_h[j]
                h = tanh(a_h)
                new_h[j] = h
    <BLANKLINE>
    """

    def __init__(
        self, step: Callable[..., Any], gates: tuple[str, ...], states: tuple[str, ...], name: str
    ) -> None:
        self.graph: Graph = trace(step, gates, states)
        self.step, self.gates, self.states, self.name = step, tuple(gates), tuple(states), name
        self._rows: dict[tuple[str, np.dtype[Any]], Any] = {}
        self._lock = threading.Lock()

    @functools.cached_property
    def plan(self) -> Schedule:
        """The schedule of the cell: its buffers, and what forward saves."""
        return schedule(self.graph)

    def source(self, direction: str, dtype: Any = np.float32) -> str:
        """Return the generated source of the pointwise row, ``"forward"`` or ``"backward"``."""
        emit = {"forward": cpu_emit.emit_forward, "backward": cpu_emit.emit_backward}[direction]
        return emit(self.name, self.plan, dtype)

    def row(self, direction: str, dtype: np.dtype[Any]) -> Any:
        """Return the compiled row, compiling it or loading it from the disk at the first call."""
        row = self._rows.get((direction, dtype))
        if row is None:
            with self._lock:
                row = self._rows.get((direction, dtype))
                if row is None:
                    arguments = (
                        cpu_emit.FORWARD_ARGUMENTS if direction == "forward" else cpu_emit.BACKWARD_ARGUMENTS
                    )
                    row = cpu_emit.CompiledRow(self.source(direction, dtype), arguments, dtype)
                    self._rows[direction, dtype] = row
        return row

    def __deepcopy__(self, memo: object) -> Cell:
        return self  # nothing in it changes: the copies of a layer share it

    def __reduce__(self) -> tuple[Any, ...]:
        place = self.step.__module__, self.step.__qualname__
        try:
            is_there = _find(*place) is self
        except (ImportError, AttributeError):
            is_there = False
        # Where a decorator put the cell in its step's place, it is pickled as a function is: by that place.
        return (_find, place) if is_there else (Cell, (self.step, self.gates, self.states, self.name))

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

    Examples
    --------
    >>> layout = Layout.packed([3, 2, 2])
    >>> layout.num_rows, layout.num_steps, layout.batch_size
    (7, 3, 3)
    """

    def __init__(self, batch_sizes: NDArray[np.int64], batch_size: int) -> None:
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
    def packed(batch_sizes: ArrayLike) -> Layout:
        """Return the layout of a ragged batch from the number of rows of each step, as in torch's PackedSequence.

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
        return Layout(sizes, int(sizes[0]) if sizes.size else 0)

    @functools.cached_property
    def lengths(self) -> NDArray[np.int64]:
        """The number of steps of each batch row, (B,)."""
        return self.num_steps - np.searchsorted(
            self.batch_sizes[::-1], np.arange(self.batch_size), side="right"
        )

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
    weight_hh : ndarray, shape (G * H, P)
        P = H without projection.
    bias_ih, bias_hh : ndarray, shape (G * H,), optional
    weight_hr : ndarray, shape (P, H), optional
        Projects the first state after the step.
    """

    weight_ih: Any
    weight_hh: Any
    bias_ih: Any = None
    bias_hh: Any = None
    weight_hr: Any = None


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


def forward(
    cell: Cell,
    layout: Layout,
    x: Array,
    weights: Weights,
    initial: tuple[Array, ...],
    *,
    reverse: bool = False,
    save: bool = True,
) -> tuple[Array, tuple[Array, ...], Any]:
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

    Returns
    -------
    output : ndarray, shape (N, P)
        The first state after every step. When `save` is true `backward` reads it: it must not be changed before.
    final : tuple of ndarray
        Each state after each row's own last step (in reverse: its step 0).
    saved : object or None
        For `backward`.

    Raises
    ------
    TypeError
        If an argument is no array, or dtypes differ.
    ValueError
        If shapes do not fit.
    IndexError
        If an id is out of range.

    Examples
    --------
    >>> from rondeau.kernels.cell import cell_math as m
    >>> cell = Cell(lambda x, r, s: x.h + r.h, ("h",), ("h",), "sum")
    >>> one = np.ones((1, 1), np.float32)
    >>> output, final, _ = forward(cell, Layout.dense(3, 1), np.ones((3, 1), np.float32), Weights(one, one), (0 * one,))
    >>> output.ravel()
    array([1., 2., 3.], dtype=float32)
    """
    x, weights, initial = _checked(cell, layout, x, weights, initial)
    row = cell.row("forward", weights.weight_hh.dtype)
    output, final, saved = cpu_run.forward(cell.plan, row, layout, x, weights, initial, reverse)
    return output, final, _Run(cell, saved) if save else None


def backward(
    cell: Cell,
    saved: Any,
    d_output: Array | None,
    d_final: tuple[Array | None, ...],
    needs: Needs = Needs(),  # noqa: B008 - an immutable default
    *,
    consume: bool = False,
) -> Gradients:
    """Differentiate a run of `forward`: backpropagation through time.

    Parameters
    ----------
    cell : Cell
        The cell that ran.
    saved : object
        What `forward` returned with ``save=True``.
    d_output : ndarray, shape (N, P), optional
        The gradient of the loss with respect to the output; None for zero.
    d_final : tuple of ndarray or None
        The gradients with respect to the final states.
    needs : Needs
        What to compute; everything by default.
    consume : bool, default False
        Use the memory of `saved` for the gradients: faster, and `saved` is spent. By default `saved` stays
        as it is, and a second call gives the same result.

    Returns
    -------
    Gradients
        Of x (None for one-hot input), of the initial states, and of the weights.

    Raises
    ------
    TypeError, ValueError
        If a gradient has another dtype or shape than what it is the gradient of; if `saved` is spent.
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
    dtype, layout = kept.weights.weight_hh.dtype, kept.layout
    widths = _state_widths(cell, kept.weights)
    if d_output is not None:
        d_output = _checked_array("d_output", d_output, (layout.num_rows, widths[0]), dtype)
    if len(d_final) != len(cell.states):
        raise ValueError(
            f"d_final expected one gradient or None per state ({len(cell.states)}), got {len(d_final)}"
        )
    d_final = tuple(
        None
        if gradient is None
        else _checked_array(f"d_final of {state}", gradient, (layout.batch_size, width), dtype)
        for state, gradient, width in zip(cell.states, d_final, widths, strict=True)
    )
    if consume:
        saved.kept = None
    row = cell.row("backward", dtype)
    d_x, d_initial, d_weights = cpu_run.backward(cell.plan, row, kept, d_output, d_final, needs, consume)
    return Gradients(d_x, d_initial, Weights(**d_weights))


class _Run:
    """What `forward` hands to `backward`."""

    __slots__ = ("cell", "kept")

    def __init__(self, cell: Cell, kept: cpu_run.Saved) -> None:
        self.cell = cell
        self.kept: cpu_run.Saved | None = kept


def _state_widths(cell: Cell, weights: Weights) -> tuple[int, ...]:
    """Return the width of each state: P for the first, H for the others."""
    hidden = weights.weight_hh.shape[0] // len(cell.gates)
    return (weights.weight_hh.shape[1], *(hidden for _ in cell.states[1:]))


def _checked_array(name: str, array: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return a contiguous array of the shape and dtype expected, or say what came."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} expected a numpy array, got {type(array).__name__}")
    if array.dtype != dtype:
        raise TypeError(
            f"{name} expected {dtype}, as weight_hh is, got {array.dtype}; convert one with .astype"
        )
    if array.shape != shape:
        raise ValueError(f"{name} expected shape {shape}, got {array.shape}")
    return np.ascontiguousarray(array)


def _checked(
    cell: Cell, layout: Layout, x: Any, weights: Weights, initial: Any
) -> tuple[Array, Weights, tuple[Array, ...]]:
    """Check every argument of `forward` and make the arrays contiguous."""
    weight_hh = weights.weight_hh
    if not isinstance(weight_hh, np.ndarray) or weight_hh.dtype not in _DTYPES:
        got = weight_hh.dtype if isinstance(weight_hh, np.ndarray) else type(weight_hh).__name__
        raise TypeError(f"weight_hh expected an array of float32 or float64, got {got}")
    dtype, gates = weight_hh.dtype, len(cell.gates)
    if weight_hh.ndim != 2 or weight_hh.shape[0] % gates:
        raise ValueError(
            f"weight_hh expected shape ({gates} * H, P) for {gates} gates, got {weight_hh.shape}"
        )
    rows, P = weight_hh.shape
    H = rows // gates
    if weights.weight_hr is None and P != H:
        raise ValueError(
            f"weight_hh expected shape ({rows}, {H}), got {weight_hh.shape}; only weight_hr allows P != H"
        )
    if weights.weight_hr is not None and P == 0:
        raise ValueError("weight_hr expected at least one row; pass None for no projection")
    if weights.weight_hr is not None and cell.plan.reads_state(cell.states[0]):
        raise ValueError(
            f"cell {cell.name} reads its first state s.{cell.states[0]} beside gates of {H}, and a projection would "
            f"make it {P} wide: it cannot be projected"
        )
    width = (
        weights.weight_ih.shape[-1]
        if isinstance(weights.weight_ih, np.ndarray) and weights.weight_ih.ndim
        else 0
    )
    shapes = {
        "weight_ih": (rows, width),
        "weight_hh": (rows, P),
        "bias_ih": (rows,),
        "bias_hh": (rows,),
        "weight_hr": (P, H),
    }
    checked = {
        name: None
        if array is None and name not in ("weight_ih", "weight_hh")
        else _checked_array(name, array, shapes[name], dtype)
        for name, array in zip(Weights._fields, weights, strict=True)
    }
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
    kept = Weights(**checked)
    initial = tuple(
        _checked_array(f"initial {state}", array, (layout.batch_size, size), dtype)
        for state, array, size in zip(cell.states, initial, _state_widths(cell, kept), strict=True)
    )
    return x, kept, initial
