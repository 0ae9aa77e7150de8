"""`RecurrentCell`, `RNNCell`, `GRUCell` and `LSTMCell`: one step of a cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import DTypeLike

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.result_cache import cached_while_alive
from rondeau.kernels.sequence import Cell, Layout, Run, Settings
from rondeau.tensor import Tensor

from .. import cells
from .._checks import check_flags, check_sizes
from .._module import Module
from .inputs import LayerInputs, inputs_of_layers, of_step, variant_of
from .masks import draw_key
from .options import (
    check_cell,
    check_projection,
    checked_hyperparameters,
    completed_hyperparameters,
    scalars_of_run,
)
from .states import State, as_returned, states_passed
from .step_function import StepFunction
from .weights import register_weights, reset_weights, weight_shapes

__all__ = ["GRUCell", "LSTMCell", "RNNCell", "RecurrentCell", "rnn_cell"]

_RNN_CELLS = {"tanh": cells.rnn_tanh, "relu": cells.rnn_relu}


def rnn_cell(nonlinearity: str) -> Cell:
    """Return the cell of a simple recurrent layer."""
    if not isinstance(nonlinearity, str) or nonlinearity not in _RNN_CELLS:
        raise ArgumentValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
    return _RNN_CELLS[nonlinearity]


class _SingleStep(Module):
    """One step of a cell over a batch: a layer of `Recurrent` over a sequence of one step."""

    cell: Cell
    input_size: int
    hidden_size: int
    bias: bool

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        bias: bool,
        device: Any,
        dtype: DTypeLike | None,
    ) -> None:
        super().__init__()
        check_sizes(input_size=input_size, hidden_size=hidden_size)
        check_flags(bias=bias)
        self.cell = cell
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        self._names = register_weights(
            self, weight_shapes(cell, input_size, hidden_size, bias), "", device, dtype
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters again from U(-1/sqrt(H), 1/sqrt(H))."""
        reset_weights(self, self.cell, self.hidden_size, self._names)

    def extra_repr(self) -> str:
        """Return the sizes, and ``bias=False`` if there is no bias."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")

    def _step(self, input: Tensor, hx: tuple[Tensor, ...] | None, inputs: Any = None) -> tuple[Tensor, ...]:
        """Return the new states, each (B, H), or (H,) for an input (I,)."""
        own = self._parameters  # quicker than an attribute; a computed weight is not among them
        weights = [
            None if name is None else own[name] if name in own else getattr(self, name)
            for name in self._names
        ]
        dtype = weights[0]._array.dtype  # type: ignore[union-attr]  # weight_ih is always there
        leading = _leading_shape(self, input, dtype)
        shape = (*leading, self.hidden_size)
        for k, state in enumerate(hx or ()):
            if not isinstance(state, Tensor) or state._array.shape != shape or state._array.dtype != dtype:
                raise _wrong_state(state, shape, dtype, f"hidden{k}")
        cell = self.cell
        rows: LayerInputs = ()
        if inputs is not None or cell.inputs:
            convert = of_step(cell, dtype, leading, self.hidden_size, input.device)
            (rows,) = inputs_of_layers(cell, inputs, 1, convert)
            cell = variant_of(cell, rows)
        run = self._run(cell, leading[0] if leading else 1)
        states: tuple[Tensor, ...] = StepFunction.apply(run, leading, input, *weights, *rows, *(hx or ()))
        return states

    def _run(self, cell: Cell, batch_size: int) -> Run:
        """Return what the step is besides its arguments."""
        return _plain_run(cell, batch_size)


@cached_while_alive
def _plain_run(cell: Cell, batch_size: int) -> Run:
    """Return a run of one step, without settings."""
    return Run(cell, Layout.dense(1, batch_size))


def _leading_shape(module: _SingleStep, input: Any, dtype: DTypeLike) -> tuple[int, ...]:
    """Return (B,) or (), the shape of an input without its last dimension, after checking it."""
    if not isinstance(input, Tensor):
        raise ArgumentTypeError(
            f"input must be a Tensor, got {type(input).__name__}: wrap it in rt.tensor(...)"
        )
    name, x = type(module).__name__, input._array
    if x.ndim not in (1, 2):
        raise ArgumentValueError(f"{name}: Expected input to be 1D or 2D, got {x.ndim}D instead")
    if x.dtype != dtype:
        raise ArgumentTypeError(f"{name} input dtype ({x.dtype}) does not match weight dtype ({dtype})")
    *leading, width = x.shape
    if width != module.input_size:
        raise ArgumentValueError(
            f"input has inconsistent input_size: got {width} expected {module.input_size}"
        )
    return tuple(leading)


def _wrong_state(state: Any, shape: tuple[int, ...], dtype: DTypeLike, name: str) -> Exception:
    """Return the error for a state that is not a Tensor, or of another shape or dtype."""
    if not isinstance(state, Tensor):
        return ArgumentTypeError(f"{name} must be a Tensor, got {type(state).__name__}")
    if state.ndim != len(shape):
        return ArgumentValueError(f"{name} must be {len(shape)}D like the input, got {state.ndim}D")
    if state.shape[-1] != shape[-1]:
        return ArgumentValueError(
            f"{name} has inconsistent hidden_size: got {state.shape[-1]}, expected {shape[-1]}"
        )
    if state.shape != shape:
        return ArgumentValueError(
            f"Input batch size {shape[0]} doesn't match {name} batch size {state.shape[0]}"
        )
    return ArgumentTypeError(f"{name} dtype ({state.dtype}) does not match weight dtype ({dtype})")


class RecurrentCell(_SingleStep):
    """One step of any cell over a batch, as `RNNCell`, `GRUCell` and `LSTMCell` run one step of theirs.

    Parameters
    ----------
    cell : Cell
        A cell made by `recurrent_cell`, without a projection.
    input_size : int
        I.
    hidden_size : int
        H.
    bias : bool
        Whether there are ``bias_ih`` and ``bias_hh``.
    device : optional
        Where the parameters are created.
    dtype : dtype, optional
        float32 (the default) or float64.
    hyperparameters : mapping of str to float, optional
        Values for the scalars of the cell's step, instead of their defaults. The attribute of this name is a dict that
        may be changed between calls, without another compilation.

    Attributes
    ----------
    weight_ih, weight_hh, bias_ih, bias_hh : Parameter
        (G*H, I), (R*H, H), (G*H,), (R*H,), drawn from U(-1/sqrt(H), 1/sqrt(H)); G is the number of gates, R that of
        gates whose recurrent part the step reads. With R = 0 there are no ``weight_hh`` and ``bias_hh``. A learned
        vector of the step has its own name, shape (H,) and its own initial value.

    Raises
    ------
    TypeError
        If `cell` is not a cell, or an argument has the wrong type.
    ValueError
        If a size is not positive, the cell must be projected, or a hyperparameter is unknown.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> step = nn.RecurrentCell(nn.cells.mgu, 3, 5)
    >>> h = step(rt.ones(2, 3))
    >>> step(rt.ones(2, 3), h).shape
    (2, 5)
    """

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: DTypeLike | None = None,
        *,
        hyperparameters: Mapping[str, float] | None = None,
    ) -> None:
        check_cell(cell)
        check_sizes(hidden_size=hidden_size)
        check_projection(cell, 0, hidden_size, 1, {})
        super().__init__(cell, input_size, hidden_size, bias, device, dtype)
        self.hyperparameters = checked_hyperparameters(cell, completed_hyperparameters(cell, hyperparameters))

    def forward(
        self, input: Tensor, hx: State | None = None, inputs: Mapping[str, Any] | None = None
    ) -> State:
        """Return the new state, (B, H), or a tuple of them for a cell with several.

        Parameters
        ----------
        input : Tensor
            (B, I), or (I,) without a batch.
        hx : Tensor or tuple of Tensor, optional
            The states, (B, H) each, or (H,) without a batch; zeros by default.
        inputs : mapping of str to Tensor, optional
            The named inputs of the cell: (B,) or (B, H) whatever their kind, () or (H,) without a batch.

        Raises
        ------
        TypeError
            If an argument is not a Tensor, `hx` does not have one Tensor per state of the cell, or dtypes differ.
        ValueError
            If the number of dimensions or a size is not as expected, or a named input is missing or unknown.
        """
        states = None if hx is None else states_passed(hx, self.cell)
        return as_returned(self._step(input, states, inputs))

    def extra_repr(self) -> str:
        """Return the cell, the sizes, and ``bias=False`` if there is no bias."""
        return f"{self.cell.name}, {super().extra_repr()}"

    def _run(self, cell: Cell, batch_size: int) -> Run:
        key = draw_key() if cell.draws_noise else 0
        settings = Settings(scalars_of_run(cell, self.hyperparameters, {}), key=key)
        return _plain_run(cell, batch_size)._replace(settings=settings)


class RNNCell(_SingleStep):
    """One step of `cells.rnn_tanh` or `cells.rnn_relu`: ``h' = tanh(W x + b + R h + c)``.

    Parameters
    ----------
    input_size : int
        I.
    hidden_size : int
        H.
    bias : bool
        Whether there are ``bias_ih`` and ``bias_hh``.
    nonlinearity : {"tanh", "relu"}
        The nonlinearity of the cell.
    device : optional
        Where the parameters are created.
    dtype : dtype, optional
        float32 (the default) or float64.

    Attributes
    ----------
    weight_ih, weight_hh, bias_ih, bias_hh : Parameter
        (H, I), (H, H), (H,), (H,), drawn from U(-1/sqrt(H), 1/sqrt(H)).

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> cell = nn.RNNCell(3, 5)
    >>> h = cell(rt.ones(2, 3))
    >>> cell(rt.ones(2, 3), h).shape
    (2, 5)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__(rnn_cell(nonlinearity), input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return the new state (B, H) from `input` (B, I) and the state (B, H), zeros by default.

        Without a batch these are ``(I,)`` and ``(H,)``.

        Raises
        ------
        TypeError
            If an argument is not a Tensor, or has another dtype than the weights.
        ValueError
            If the number of dimensions or a size is not as expected.
        """
        return self._step(input, None if hx is None else (hx,))[0]

    def extra_repr(self) -> str:
        """Return the sizes, and the options that differ from the defaults."""
        shown = super().extra_repr()
        return shown if self.nonlinearity == "tanh" else f"{shown}, nonlinearity={self.nonlinearity}"


class GRUCell(_SingleStep):
    """One step of `cells.gru`.

    Parameters and attributes are those of `RNNCell`, without ``nonlinearity`` and with 3*H rows of gates r, z, n.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> nn.GRUCell(3, 5)(rt.ones(2, 3)).shape
    (2, 5)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__(cells.gru, input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return the new state; shapes and errors are those of `RNNCell.forward`."""
        return self._step(input, None if hx is None else (hx,))[0]


class LSTMCell(_SingleStep):
    """One step of `cells.lstm`.

    Parameters and attributes are those of `RNNCell`, without ``nonlinearity`` and with 4*H rows of gates i, f, g, o.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> h, c = nn.LSTMCell(3, 5)(rt.ones(2, 3))
    >>> h.shape, c.shape
    ((2, 5), (2, 5))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        super().__init__(cells.lstm, input_size, hidden_size, bias, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Return the new pair of states from `input` (B, I) and a pair (B, H), zeros by default.

        Raises
        ------
        TypeError
            If `hx` is not a pair of Tensors, or an argument has another dtype than the weights.
        ValueError
            If the number of dimensions or a size is not as expected.
        """
        if hx is not None and (not isinstance(hx, tuple | list) or len(hx) != 2):
            got = f"a {type(hx).__name__}" + (f" of {len(hx)}" if isinstance(hx, tuple | list) else "")
            raise ArgumentTypeError(f"hx must be a pair of Tensors (h, c), got {got}")
        h, c = self._step(input, hx)
        return h, c
