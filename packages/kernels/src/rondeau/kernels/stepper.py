"""`Stepper`: frozen layers of a cell that run one step per call, as in text generation, or several known ones."""

from __future__ import annotations

import copy
import math
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell import InputForms
from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.checks import check_one_device, checked_array
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.recurrent.checks import (
    check_count_of_inputs,
    check_devices_of_run,
    checked_ids,
    checked_weights,
    complete_settings,
    state_widths,
)
from rondeau.kernels.recurrent.records import Settings, Weights
from rondeau.kernels.recurrent.target import Workspace, target_of
from rondeau.kernels.runtime import buffers
from rondeau.kernels.runtime.devices import current_stream, device_name, is_array, is_of_device

__all__ = ["Stepper"]

Array = NDArray[Any]

_KEPT = 8
"""How many workspaces are kept, each for a batch size, forms of inputs, one step or several, and on a GPU a stream; a
beam search that shrinks uses several."""


class Stepper:
    """Layers of a cell, and optionally a linear head, frozen when the stepper is made.

    The weights are copied and packed once for the product, so later changes to them have no effect. The states are
    arguments and results, so apart from the noise of a step no result depends on earlier calls.

    Parameters
    ----------
    cell : Cell
    layers : sequence of Weights
        From the lowest layer up: arrays of one dtype. Each layer has as many inputs as the one below has outputs.
    settings : Settings, optional
        As for `rondeau.kernels.sequence.forward`, for all layers. A cell that is regularised for training is refused.
        The noise of a step is a function of the key, of the number of steps that this stepper has run, and of the
        layer, row and unit.
    head : tuple of ndarray, optional
        The weight (V, P) and the bias (V,), or None in its place, of a linear layer on the output.
    weights_format : {"float32", "int8"}
        In which form the matrices are kept: as they are, by default; or each row in int8 with a scale of its own
        (`rondeau.kernels.product.int8`), for weights of float32 in the CPU's memory. Biases, learned vectors and states
        stay float32.

    Attributes
    ----------
    dtype : dtype
    num_layers, inputs, outputs : int
        L, I, and the width of `y`: V, or P without a head.
    widths : tuple of int
        The widths of the states: P for the first and H for the others.

    Raises
    ------
    TypeError
        If a weight is not an array of float32 or float64, or dtypes differ; or if weights to be kept in int8 are not
        float32, or not in the CPU's memory.
    ValueError
        If shapes do not match, a scalar is unknown or missing, there are no layers, the cell is regularised for
        training, or the format of the weights is unknown.

    Notes
    -----
    The results have the same bits for any number of threads and at every precision of products. Unless the weights are
    in int8, they are those of `forward` for a sequence of one step at the precision "highest".

    A stepper may be called from several Python threads at once: each works in its own memory.

    Examples
    --------
    >>> from rondeau.kernels.cell import cell_math as m
    >>> cell = Cell(lambda x, r, s: x.h + r.h, ("h",), ("h",), "sum")
    >>> one = np.ones((1, 1), np.float32)
    >>> stepper = Stepper(cell, [Weights(one, one)], head=(10 * one, None))
    >>> y, states = stepper(one)
    >>> y, states = stepper(one, states)
    >>> y, states
    (array([[20.]], dtype=float32), (array([[[2.]]], dtype=float32),))
    """

    def __init__(
        self,
        cell: Cell,
        layers: Sequence[Weights],
        settings: Settings = Settings(),  # noqa: B008 - an immutable default
        head: tuple[Array, Array | None] | None = None,
        weights_format: str = "float32",
    ) -> None:
        if not isinstance(layers, tuple | list) or not layers:
            got = "none" if isinstance(layers, tuple | list) else type(layers).__name__
            raise ArgumentValueError(f"layers must be the weights of at least one layer, got {got}")
        for kind in ("mask", "zoneout"):
            if cell.schedule.has_input(kind):
                raise ArgumentValueError(
                    f"cell must be as in evaluation, but {cell.name} drops out or zones out units at random: leave "
                    "out recurrent dropout, and use the expectation of zoneout"
                )
        if settings.feature_dropout > 0:
            raise ArgumentValueError(
                f"a stepper drops nothing out, but projected features would be dropped at the rate "
                f"{settings.feature_dropout}: pass feature_dropout=0"
            )
        settings = complete_settings(cell, settings)
        checked = [checked_weights(cell, weights, settings.num_heads) for weights in layers]
        for weights in checked:
            check_devices_of_run(cell, weights, weight_ih_of_layer_0=checked[0].weight_ih)
        self.dtype = checked[0].weight_ih.dtype
        self.widths, self.num_layers = state_widths(cell, checked[0]), len(checked)
        (rows, self.inputs), width = checked[0].weight_ih.shape, self.widths[0]
        for k, weights in enumerate(checked[1:], 1):
            checked_array(f"weight_ih of layer {k}", weights.weight_ih, (rows, width), self.dtype)
            if state_widths(cell, weights) != self.widths:
                raise ArgumentValueError(
                    f"weight_hr of layer {k} must have {width} outputs, like that of layer 0, got "
                    f"{state_widths(cell, weights)[0]}"
                )
        self.outputs = width
        if head is not None:
            head = _checked_head(head, width, self.dtype)
            check_one_device(
                f"a stepper of cell {cell.name}", weight_ih=checked[0].weight_ih,
                **{"weight of the head": head[0], "bias of the head": head[1]},
            )  # fmt: skip
            self.outputs = head[0].shape[0]
        self._cell, self._states, self._has_head = cell, cell.states, head is not None
        self._hidden, self._steps = rows // len(cell.gates), _Steps()
        self._like = checked[0].weight_ih[:0]  # an array where the weights are
        _check_format(weights_format, self._like)
        self._frozen = target_of(self._like).freeze(cell, tuple(checked), settings, head, weights_format)
        self._is_on_device = is_of_device(self._like)
        self._workspaces: dict[tuple[Cell, int, int, int], Workspace] = {}

    def __call__(
        self,
        x: Array,
        states: tuple[Array, ...] | None = None,
        inputs: tuple[Array, ...] = (),
        forms: InputForms = InputForms(),  # noqa: B008 - an immutable default
    ) -> tuple[Array, tuple[Array, ...]]:
        """Run one step.

        Parameters
        ----------
        x : ndarray, shape (B, I), or of integers, shape (B,)
            The input; integers stand for one-hot rows, as in `forward`.
        states : tuple of ndarray, optional
            The states before the step: (L, B, P) the first and (L, B, H) the others. Zeros by default.
        inputs : tuple of ndarray
            The named inputs of the cell, in order, for each layer: (L, B, H), or (L, B, 1) for those that `forms` lists
            as numbers.
        forms : InputForms, optional

        Returns
        -------
        y : ndarray, shape (B, V), or (B, P) without a head
        states : tuple of ndarray
            The states after the step. Like `y` they belong to the caller: no later call changes them.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong shape or dtype.
        IndexError
            If an id is outside 0 to I-1.
        """
        x = self._checked_input(x)
        B, cell = x.shape[0], self._cell
        if "cupy" in sys.modules:
            self._check_devices(x, states, inputs)
        if inputs or cell.inputs:
            cell = cell.variant(forms=InputForms(numbers=forms.numbers))
            inputs = self._checked_inputs(cell, inputs, dict.fromkeys(cell.inputs, (B,)))
        return self._run(cell, x, states, inputs, B, 1)

    def run(
        self,
        x: Array,
        states: tuple[Array, ...] | None = None,
        inputs: tuple[Array, ...] = (),
        forms: InputForms = InputForms(),  # noqa: B008 - an immutable default
    ) -> tuple[Array, tuple[Array, ...]]:
        """Run several steps, whose inputs are known.

        The results have the bits of as many calls for one step. But the inputs of many steps are multiplied at once,
        and so are their outputs by the head, with weights that are then read once.

        Parameters
        ----------
        x : ndarray, shape (T, B, I), or of integers, shape (T, B)
            The inputs of T steps, at least one.
        states : tuple of ndarray, optional
            The states before the first step, as for a call.
        inputs : tuple of ndarray
            The named inputs of the cell, in order, for each layer: (L, T, B, H) for a step input and (L, B, H) for a
            sequence input, with 1 in the place of H for those that `forms` lists as numbers.
        forms : InputForms, optional

        Returns
        -------
        y : ndarray, shape (T, B, V), or (T, B, P) without a head
        states : tuple of ndarray
            The states after the last step.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong shape or dtype.
        IndexError
            If an id is outside 0 to I-1.
        """
        if not is_array(x):
            raise ArgumentTypeError(f"x must be a numpy array, got {type(x).__name__}")
        wanted, dimensions = ("ids of shape (T, B)", 2) if x.dtype.kind in "iu" else ("(T, B, I)", 3)
        if x.ndim != dimensions or not x.shape[0]:
            raise ArgumentValueError(f"x must be {wanted} with at least one step, got shape {x.shape}")
        if x.ndim == 3 and x.shape[2] != self.inputs:
            raise ArgumentValueError(f"x must be (T, B, I) with I = {self.inputs}, got shape {x.shape}")
        (T, B), cell = x.shape[:2], self._cell
        rows = self._checked_input(x.reshape(T * B, *x.shape[2:]))
        if "cupy" in sys.modules:
            self._check_devices(x, states, inputs)
        if inputs or cell.inputs:
            cell = cell.variant(forms=InputForms(numbers=forms.numbers))
            batches = {name: (T, B) if kind == "step" else (B,) for name, kind in cell.inputs.items()}
            inputs = self._checked_inputs(cell, inputs, batches)
        y, states = self._run(cell, rows, states, inputs, B, T)
        return y.reshape(T, B, y.shape[1]), states

    def _run(
        self, cell: Cell, x: Array, states: Any, inputs: tuple[Array, ...], B: int, T: int
    ) -> tuple[Array, tuple[Array, ...]]:
        """Run T steps of checked inputs, T*B rows; return the rows of the output, and the states."""
        at_once = 1 if T == 1 else self._frozen.steps_at_once(B)
        # Work that is queued on a stream may still be running when the next step of another stream is queued.
        key = cell, B, at_once, current_stream() if self._is_on_device else 0
        # Taken out of the dict, so that no other thread has it.
        workspace = self._workspaces.pop(key, None) or self._frozen.workspace(cell, B, at_once)
        try:
            if states is None:
                for before in workspace.before:
                    before.fill(0)
            else:
                self._check_states(states, workspace)
                for before, state in zip(workspace.before, states, strict=True):
                    before[...] = state
            y = buffers.empty_like(self._like, (T * B, self.outputs))
            time = self._steps.count(T)
            if at_once >= T:
                workspace.run(x, y, inputs, time)
            else:
                for step in range(0, T, at_once):
                    if step > 0:
                        for before, after in zip(workspace.before, workspace.after, strict=True):
                            before[...] = after
                    rows = slice(step * B, (step + at_once) * B)
                    workspace.run(x[rows], y[rows], _of_rows(cell, inputs, rows), time + step)
            return y, tuple([after.copy() for after in workspace.after])
        finally:
            if len(self._workspaces) >= _KEPT:
                self._workspaces.clear()
            self._workspaces[key] = workspace

    def __copy__(self) -> Stepper:
        return self

    def __deepcopy__(self, memo: object) -> Stepper:
        if not self._cell.draws_noise:
            return self  # results never depend on earlier calls, and packed weights must keep their alignment
        copied = copy.copy(self.__dict__) | {"_steps": self._steps.copy(), "_workspaces": {}}
        other = object.__new__(Stepper)
        other.__dict__.update(copied)
        return other

    def __reduce__(self) -> Any:
        raise ArgumentTypeError(
            "a Stepper cannot be pickled, because its weights are packed for this processor: pickle the layer or the "
            "model, and make a stepper from it where it is loaded, with layer.stepper()"
        )

    def _check_devices(self, x: Array, states: Any, inputs: Any) -> None:
        given = {f"state {name}": array for name, array in zip(self._states, states or (), strict=False)}
        named = {f"input {name}": array for name, array in zip(self._cell.inputs, inputs, strict=False)}
        check_one_device(f"a step of cell {self._cell.name}", weight_ih=self._like, x=x, **given, **named)

    def _checked_input(self, x: Any) -> Array:
        """Return the input as a contiguous array, or raise an error that says what is wrong with it."""
        if not is_array(x):
            raise ArgumentTypeError(f"x must be a numpy array, got {type(x).__name__}")
        if x.dtype is self.dtype and x.ndim == 2 and x.shape[1] == self.inputs and x.flags.c_contiguous:
            return x
        if x.dtype.kind not in "iu":
            return checked_array("x", x, (x.shape[0] if x.ndim else 1, self.inputs), self.dtype)
        if x.ndim != 1:
            raise ArgumentValueError(f"x must be ids of shape (B,), got shape {x.shape}")
        return checked_ids(x, self.inputs)

    def _checked_inputs(
        self, cell: Cell, inputs: Any, batches: Mapping[str, tuple[int, ...]]
    ) -> tuple[Array, ...]:
        """Return the named inputs of all layers as contiguous arrays (L, rows, W), given the shape of rows of each."""
        check_count_of_inputs(cell, inputs)
        L, checked = self.num_layers, []
        for (name, batch), array in zip(batches.items(), inputs, strict=True):
            width = 1 if name in cell.forms.numbers else self._hidden
            array = checked_array(f"input {name} of cell {cell.name}", array, (L, *batch, width), self.dtype)
            checked.append(array.reshape(L, math.prod(batch), width))
        return tuple(checked)

    def _check_states(self, states: Any, workspace: Workspace) -> None:
        # The type first: it is quicker.
        is_sequence = type(states) is tuple or isinstance(states, tuple | list)
        if not is_sequence or len(states) != len(self._states):
            got = len(states) if is_sequence else type(states).__name__
            raise ArgumentValueError(
                f"states must be one array per state ({', '.join(self._states)}), got {got}"
            )
        for name, state, before in zip(self._states, states, workspace.before, strict=True):
            if type(state) is not np.ndarray or state.dtype is not self.dtype or state.shape != before.shape:
                checked_array(f"state {name}", state, before.shape, self.dtype)


def _of_rows(cell: Cell, inputs: tuple[Array, ...], rows: slice) -> tuple[Array, ...]:
    """Return the named inputs of some steps, given those of all."""
    kinds = cell.inputs.values()
    return tuple(
        [array[:, rows] if kind == "step" else array for kind, array in zip(kinds, inputs, strict=True)]
    )


class _Steps:
    """A count of the steps of a stepper, which several threads may run."""

    def __init__(self, done: int = 0) -> None:
        self._done, self._lock = done, threading.Lock()

    def count(self, steps: int) -> int:
        """Count some steps more; return the number of steps before them."""
        with self._lock:
            done = self._done
            self._done += steps
            return done

    def copy(self) -> _Steps:
        """Return a counter that goes on from here."""
        return _Steps(self._done)


def _check_format(weights_format: Any, like: Array) -> None:
    """Raise an error unless weights like an array can be kept in a format."""
    if weights_format not in ("float32", "int8"):
        raise ArgumentValueError(f"weights must be float32 or int8, got {weights_format!r}")
    if weights_format == "int8" and like.dtype != np.float32:
        raise ArgumentTypeError(
            f"weights in int8 need layers of float32, got {like.dtype}: convert them with .to('float32'), or step with "
            "weights as they are, which is the default"
        )
    if weights_format == "int8" and is_of_device(like):
        raise ArgumentTypeError(
            f"weights in int8 are for stepping on the CPU, got weights on {device_name(like)}: send the layers to the "
            "CPU with .to('cpu'), or step with weights as they are, which is the default"
        )


def _checked_head(head: Any, width: int, dtype: np.dtype[Any]) -> tuple[Array, Array | None]:
    """Return the head's weight and bias, checked and contiguous."""
    if not isinstance(head, tuple | list) or len(head) != 2:
        raise ArgumentValueError(f"head must be a weight and a bias (or None), got {head!r:.80}")
    weight, bias = head
    outputs = weight.shape[0] if is_array(weight) and weight.ndim else 1
    weight = checked_array("weight of the head", weight, (outputs, width), dtype)
    return weight, None if bias is None else checked_array("bias of the head", bias, (outputs,), dtype)
