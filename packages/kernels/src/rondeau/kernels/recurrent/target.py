"""The protocol of a target, which runs a scheduled cell over a batch of sequences on a kind of device, and its choice.

This is the only module that names targets. Everything else in `rondeau.kernels` that runs a cell calls `target_of`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.cpu import target as cpu
from rondeau.kernels.cuda import target as cuda
from rondeau.kernels.recurrent.records import (
    Adjoints,
    BackwardCall,
    ForwardCall,
    Gradients,
    Needs,
    Run,
    Settings,
    Sums,
    Tape,
    Weights,
)
from rondeau.kernels.runtime.devices import is_of_device

__all__ = ["FrozenLayers", "SingleStep", "Target", "WeightSums", "Workspace", "source_of", "target_of"]

Array = NDArray[Any]


class WeightSums(Protocol):
    """The gradients of a layer's weights, summed over rows in the order in which backward runs.

    With this order a sequence can be differentiated piece by piece, the last piece first, with the same bits.
    """

    d_params: Array
    """The gradients of the learned vectors for each batch row, (B, parameters, H)."""

    def add(self, tape: Tape, adjoints: Adjoints) -> None:
        """Add the contribution of the rows of a piece."""

    def finish(self) -> Weights:
        """Return the gradients in the shapes and the order of the weights."""


class Workspace(Protocol):
    """The memory for steps of B rows, kept from call to call.

    Attributes
    ----------
    before, after : tuple of ndarray, shape (L, B, P) for the first and (L, B, H) for others
        The states before the steps, which the caller fills, and after them.
    """

    before: tuple[Array, ...]
    after: tuple[Array, ...]

    def run(self, x: Array, y: Array, inputs: tuple[Array, ...], time: int) -> None:
        """Run some steps from the states `before`; fill the states `after` and ``y``, (N, V), or (N, P) without a head.

        The rows of ``x``, (N, I) or ids (N,), are B for each step in turn; so are those of the named inputs of steps.
        """


class FrozenLayers(Protocol):
    """Frozen layers and a head, for a stepper."""

    def steps_at_once(self, batch_size: int) -> int:
        """Return the most steps of B rows that are worth a single call."""

    def workspace(self, cell: Cell, batch_size: int, steps: int) -> Workspace:
        """Return the memory for up to some steps of B rows of the cell, or of its variant for inputs in other forms."""


class SingleStep(Protocol):
    """A step of a cell that a target has in one call in each direction, for arguments of some sizes."""

    def shapes(self, B: int, I: int) -> tuple[tuple[int, ...], ...]:  # noqa: E741
        """Return the shapes of both matrices and biases, x, the learned vectors, the states, and the named inputs."""

    def forward(
        self,
        settings: Settings,
        x: Array,
        weights: Weights,
        initial: tuple[Array, ...] | None,
        inputs: tuple[Array, ...],
    ) -> tuple[tuple[Array, ...], Any]:
        """Return the states after a step, in memory that nothing else refers to, and what `backward` needs."""

    def backward(
        self,
        saved: Any,
        d_states: tuple[Array | None, ...],
        d_inputs: tuple[Array | None, ...],
        needs: Needs,
        consume: bool,
    ) -> Gradients:
        """Differentiate the step, and fill or add to the gradients of the named inputs; `consume` spends `saved`."""


class Target(Protocol):
    """A target runs cells. All its arguments are checked, contiguous, of the same dtype, and on its device."""

    def forward(
        self,
        run: Run,
        x: Array,
        weights: Weights,
        inputs: tuple[Array, ...],
        initial: tuple[Array, ...] | None,
        is_first_piece: bool = True,
        save: bool = True,
    ) -> Tape:
        """Run forward, from zeros if there are no initial states.

        If the sequence starts here (`is_first_piece`), the product with an initial state of zeros is left out.
        Without `save` there is no memory for backward, and nothing is derived for it.
        """

    def backward_through_time(
        self,
        tape: Tape,
        d_steps: tuple[Array | None, ...],
        d_final: tuple[Array | None, ...],
        sums: Sums,
        needs_initial: bool,
        consume: bool,
    ) -> Adjoints:
        """Run backward over all steps, and add to ``sums``.

        With `consume` the tape's memory is reused for the adjoints, and the tape is spent.
        """

    def forward_both(self, directions: Sequence[ForwardCall], save: bool) -> list[Tape]:
        """Run forward in two directions, at the same time if possible; their cell and layout are the same."""

    def backward_both(self, directions: Sequence[BackwardCall], consume: bool) -> list[Adjoints]:
        """Run backward over two directions, at the same time if possible."""

    def input_gradient(self, tape: Tape, adjoints: Adjoints) -> Array:
        """Return the gradient of x, (N, I)."""

    def weight_sums(self, run: Run, x: Array, weights: Weights) -> WeightSums:
        """Return sums of weight gradients, initially zero; `x` has all rows of the run."""

    def freeze(
        self,
        cell: Cell,
        layers: tuple[Weights, ...],
        settings: Settings,
        head: tuple[Array, Array | None] | None,
        weights_format: str,
    ) -> FrozenLayers:
        """Return layers, from the lowest up, and a linear head, packed for single steps, on the CPU perhaps in int8."""

    def step_alone(self, run: Run, weights: Weights, x: Array) -> SingleStep | None:
        """Return the step of a run of one step with two matrices of such shapes; None where `forward` serves it."""

    def source(self, cell: Cell, direction: str, dtype: Any) -> str:
        """Return the generated source of a cell's phases, ``"forward"`` or ``"backward"``."""


def target_of(array: Any) -> Target:
    """Return the target that runs cells on the device of an array."""
    return cuda if is_of_device(array) else cpu


def source_of(cell: Cell, direction: str, dtype: Any = np.float32, device: str = "cpu") -> str:
    """Return the source that a target generates for a cell's phases, for reading.

    Parameters
    ----------
    cell : Cell
    direction : {"forward", "backward"}
    dtype : dtype
    device : {"cpu", "cuda"}

    Examples
    --------
    >>> from rondeau.kernels.cell import cell_math as m
    >>> cell = Cell(lambda x, r, s: m.tanh(x.h + r.h), ("h",), ("h",), "tanh")
    >>> print(source_of(cell, "forward").partition("):")[2])
    <BLANKLINE>
        for b in range(count):
            gate_h = lanes(storage.gates, row + b, 0, 0)
            bias_h = lanes(storage.bias, 0, 0, 1)
            new_h = lanes(storage.states, 0, new + b, 2)
            for j in range(low, high):
                a_h = gate_h[j] + bias_h[j]
                h = tanh(a_h)
                new_h[j] = h
    <BLANKLINE>
    """
    return cuda.source(cell, direction, dtype) if device == "cuda" else cpu.source(cell, direction, dtype)
