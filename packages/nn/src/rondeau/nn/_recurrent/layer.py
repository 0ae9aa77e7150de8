"""`Recurrent`: layers of any cell over whole sequences.

Notation: T steps, B sequences, N rows (T*B, or fewer when packed), I inputs, H hidden units, P outputs per
direction (H, or ``proj_size``), G gates, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Never

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from rondeau import tensor as rt
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.explain import explain
from rondeau.kernels.runtime.caller import warn_caller
from rondeau.kernels.runtime.devices import device_name
from rondeau.kernels.sequence import Cell, Layout, Settings, Weights
from rondeau.tensor import Tensor

from .. import init
from .._as_built import check_as_built
from .._checks import check_fits, check_flags, check_probability, check_sizes, kind_of
from .._computed import in_evaluation
from .._linear import Linear
from .._module import Module
from .._parameter import Parameter
from .call import Call
from .initial import expanded, register_initial_states
from .inputs import Inputs, LayerInputs, in_segments, inputs_of_layers, of_packed, of_padded
from .masks import draw_key
from .options import (
    cell_of_run,
    check_cell,
    check_dropouts,
    check_projection,
    check_steps,
    checked_hyperparameters,
    completed_hyperparameters,
    refuse_unknown,
    renamed_checkpoint_every,
    scalars_of_run,
    zoneout_rates,
)
from .packed import PackedSequence
from .segments import Segments, checked_lengths, checked_resets
from .states import (
    State,
    as_returned,
    checked_states,
    split_by_layer,
    state_widths,
    zero_states,
)
from .stepper import Stepper
from .weights import as_weights, register_weights, reset_weights, weight_shapes

__all__ = ["Recurrent", "State"]


class Recurrent(Module):
    """Layers of a recurrent cell, run over whole sequences.

    `RNN`, `GRU` and `LSTM` are this with the built-in cells. Arguments, shapes, the names of the parameters
    and the initial values are those of PyTorch's recurrent layers.

    Parameters
    ----------
    cell : Cell
        A cell made by `recurrent_cell`.
    input_size : int
        I, the features of the input.
    hidden_size : int
        H, the hidden units of a layer and direction.
    num_layers : int
        L; each layer after the first takes the output of the one below as its input.
    bias : bool
        Whether gates have biases: ``bias_ih``, and ``bias_hh`` if the step reads the recurrent part.
    batch_first : bool
        Input and output are (B, T, ...) rather than (T, B, ...). States are not affected.
    dropout : float
        The probability of dropping an element of the output of each layer except the last, in training.
    bidirectional : bool
        Run a second set of weights over the reversed sequence; D is then 2.
    proj_size : int
        P, if positive: the first state is projected to this many features by ``weight_hr`` after each step
        (Sak, Senior, Beaufays 2014). Zero: no projection, and P = H below.
    device : optional
        Where the parameters are created.
    dtype : dtype, optional
        float32 (the default) or float64.
    num_heads : int
        Make the recurrent matrices block-diagonal: the units are divided into this many heads, each of which sees only
        its own part of the first state.
    hyperparameters : mapping of str to float, optional
        Values for the scalars of the cell's step, instead of their defaults. The attribute of this name is a dict that
        may be changed between calls, without another compilation.
    recurrent_dropout : float
        The probability of hiding a unit, or a feature of the projection, from the recurrent matrices in training: one
        mask for each sequence, the same at every step (Gal, Ghahramani 2016). An error for a cell without recurrent
        matrices.
    zoneout : float or mapping of str to float
        The probability that a unit keeps its old state at a step in training, for all states or by name; evaluation
        uses the expectation (Krueger et al. 2017).
    weight_dropout : float
        DropConnect: the probability that an element of the recurrent matrices is zero during a call in training
        (Merity, Keskar, Socher 2018). An error for a cell without recurrent matrices.
    bptt_truncate : int, optional
        Let the gradient that reaches a layer at step t go back only this many steps before t: a window that slides with
        t. Every layer has its own window, so with L layers a loss can reach L times as far back. This differs from
        splitting a stream into chunks with a carried, detached state, as `rondeau.train.Trainer` does.
    recompute_every : int, optional
        Keep the states only every k steps, and compute the rest again in backward: the same bits, in memory of order
        T/k + k instead of T, for one more forward pass.
    learn_initial_state : bool
        Learn the states that sequences begin with: those for which no initial states are given, and those that a
        `reset` begins. Without it both begin with zeros.
    checkpoint_every : int, optional
        The former name of `recompute_every`; deprecated.
    **unknown
        An error, which suggests the name of an option.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, weight_hr_l0 : Parameter
        (G*H, I), or (G*H, D*P) above the first layer; (R*H, P); (G*H,); (R*H,); (P, H): the weights of the
        first layer, gate after gate; R is the number of gates whose recurrent part the step reads, usually all, and
        with R = 0 there is no ``weight_hh``. With heads ``weight_hh`` is (R*H, H/heads). Further layers end in ``_l1``,
        ``_l2``, ..., the reverse direction in ``_l0_reverse``. All are drawn from U(-1/sqrt(H), 1/sqrt(H)).
        A learned vector of the step has its own name, such as ``peephole_l0``, shape (H,) and its own initial value.
    initial_h_l0, initial_c_l0_reverse : Parameter
        With `learn_initial_state`, a vector for each state of the cell, layer and direction: (P,) for the first state,
        (H,) for the others; zeros at first.

    Notes
    -----
    The *input* is a Tensor (T, B, I), or (T, I) for one sequence without a batch; a `PackedSequence`; or int64 indices
    (T, B) or (T,), which stand for one-hot rows of width I. These are never formed: columns of ``weight_ih_l0`` are
    selected instead, with the same result as the product up to rounding.

    The *states* are (L*D, B, P) for the first and (L*D, B, H) for the others, without B for unbatched input; a
    cell with one state takes and returns a tensor, others a tuple. The initial states are zero by default, or learned.

    The *result* is ``output``, (T, B, D*P), the first state of the last layer at every step with the directions
    concatenated, in the form of the input; and the states after each sequence's last step or, in reverse, its first.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> layer = nn.Recurrent(nn.cells.lstm, input_size=3, hidden_size=5, num_layers=2, bidirectional=True)
    >>> output, (h_n, c_n) = layer(rt.ones(7, 4, 3))
    >>> output.shape, h_n.shape, c_n.shape
    ((7, 4, 10), (4, 4, 5), (4, 4, 5))
    """

    cell: Cell
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int
    num_directions: int
    num_heads: int
    hyperparameters: dict[str, float]
    recurrent_dropout: float
    zoneout: dict[str, float]
    weight_dropout: float
    bptt_truncate: int | None
    recompute_every: int | None
    learn_initial_state: bool
    _names: list[list[str | None]]  # for each layer and direction, in the order of Weights
    _initial_names: list[list[str]]  # likewise, in the order of the states; empty if they are not learned

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: DTypeLike | None = None,
        *,
        num_heads: int = 1,
        hyperparameters: Mapping[str, float] | None = None,
        recurrent_dropout: float = 0.0,
        zoneout: float | Mapping[str, float] = 0.0,
        weight_dropout: float = 0.0,
        bptt_truncate: int | None = None,
        recompute_every: int | None = None,
        learn_initial_state: bool = False,
        checkpoint_every: int | None = None,
        **unknown: Never,
    ) -> None:
        super().__init__()
        refuse_unknown(unknown, type(self))
        check_cell(cell)
        check_sizes(
            input_size=input_size, hidden_size=hidden_size, num_layers=num_layers, num_heads=num_heads
        )
        check_flags(
            bias=bias,
            batch_first=batch_first,
            bidirectional=bidirectional,
            learn_initial_state=learn_initial_state,
        )
        check_probability("dropout", dropout)
        check_dropouts(cell, recurrent_dropout=recurrent_dropout, weight_dropout=weight_dropout)
        if dropout > 0 and num_layers == 1:
            warn_caller(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}"
            )
        if hidden_size % num_heads:
            raise ArgumentValueError(f"num_heads must divide hidden_size={hidden_size}, got {num_heads}")
        check_steps("bptt_truncate", bptt_truncate, 0)
        if checkpoint_every is not None:
            recompute_every = renamed_checkpoint_every(checkpoint_every, recompute_every)
        check_steps("recompute_every", recompute_every, 1)
        if bptt_truncate is not None and recompute_every is not None:
            raise ArgumentValueError(
                "bptt_truncate reads every state repeatedly: pass it or recompute_every, not both"
            )
        rates = zoneout_rates(cell, zoneout)
        check_projection(cell, proj_size, hidden_size, num_heads, rates)
        scalars = checked_hyperparameters(cell, completed_hyperparameters(cell, hyperparameters))
        self.cell = cell
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.num_directions = 2 if bidirectional else 1
        self.num_heads = num_heads
        self.hyperparameters = scalars
        self.recurrent_dropout = float(recurrent_dropout)
        self.zoneout = rates
        self.weight_dropout = float(weight_dropout)
        self.bptt_truncate = bptt_truncate
        self.recompute_every = recompute_every
        self.learn_initial_state = learn_initial_state
        self._names, self._initial_names = [], []
        widths = state_widths(cell, hidden_size, proj_size)
        output_size = proj_size or hidden_size
        for layer in range(num_layers):
            inputs = input_size if layer == 0 else output_size * self.num_directions
            for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: self.num_directions]:
                shapes = weight_shapes(cell, inputs, hidden_size, bias, proj_size, num_heads)
                self._names.append(register_weights(self, shapes, suffix, device, dtype))
                if learn_initial_state:
                    self._initial_names.append(
                        register_initial_states(self, cell, widths, suffix, device, dtype)
                    )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights again from U(-1/sqrt(H), 1/sqrt(H)), initialise learned vectors, and set states to zero."""
        for names in self._names:
            reset_weights(self, self.cell, self.hidden_size, names)
        for names_of_states in self._initial_names:
            for name in names_of_states:
                init.zeros_(getattr(self, name))

    def flatten_parameters(self) -> None:
        """Do nothing; in PyTorch this arranges the weights for cuDNN, and programs written for it call it."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction, as lists."""
        return [[getattr(self, name) for name in names if name is not None] for names in self._names]

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: State | None = None,
        *,
        inputs: Inputs | None = None,
        lengths: ArrayLike | Tensor | None = None,
        reset: ArrayLike | Tensor | None = None,
    ) -> tuple[Tensor | PackedSequence, State]:
        """Run all layers over the input.

        Parameters
        ----------
        input : Tensor or PackedSequence
            (T, B, I), (T, I), packed rows (N, I), or integers without the last dimension; see the class.
        hx : Tensor or tuple of Tensor, optional
            The initial states, for a `PackedSequence` in the order of the caller's batch; by default the learned ones,
            or zeros.
        inputs : mapping of str to Tensor, or list of such mappings, optional
            The named inputs of the cell, for all layers and directions alike, or a mapping for each layer. A step input
            is (T, B) or (T, B, H), with B first if `batch_first`, and a `PackedSequence` if the input is one; a
            sequence input is (B,) or (B, H). Without a batch they lack B. One number holds for all hidden units.
        lengths : array_like of int, shape (B,), optional
            The number of steps of each sequence of a padded input, from 0 to T. Steps past a length are ignored and
            cost nothing; outputs there are 0, and final states are those after the last valid step.
        reset : array_like of bool, shape (T, B), optional
            True marks a boundary before a step, where the state becomes zero, or the learned initial state (but not
            `hx`); in the reverse direction, after the step. (B, T) with `batch_first`.

        Returns
        -------
        output : Tensor or PackedSequence
            (T, B, D*P), in the form of the input.
        states : Tensor or tuple of Tensor
            (L*D, B, P) and (L*D, B, H) each, from which the next call can continue.

        Raises
        ------
        ValueError
            If the input has the wrong number of dimensions or features, lengths, resets, initial states or named inputs
            do not match it, a named input is missing or unknown, or there are no steps.
        TypeError
            If an input is not a tensor, or an input or an initial state has another dtype than the weights; if
            lengths are not integers or resets are not boolean; or if there is not one initial state per state of the
            cell.
        IndexError
            If an integer is outside 0 to I-1.
        """
        every, states = self._run(input, hx, inputs, lengths, reset, every_state=False)
        return every[0], as_returned(states)

    def all_states(
        self,
        input: Tensor | PackedSequence,
        hx: State | None = None,
        *,
        inputs: Inputs | None = None,
        lengths: ArrayLike | Tensor | None = None,
        reset: ArrayLike | Tensor | None = None,
    ) -> tuple[tuple[Tensor | PackedSequence, ...], State]:
        """Run all layers over the input, and return every state of the last layer after every step.

        Parameters
        ----------
        input, hx, inputs, lengths, reset
            As for `forward`.

        Returns
        -------
        every : tuple of Tensor or PackedSequence
            For each state of the cell in order, (T, B, D*P) for the first and (T, B, D*H) for the others, in the form
            of the input; the first is the output. Differentiable, like the output.
        states : Tensor or tuple of Tensor
            The final states.

        Examples
        --------
        >>> from rondeau import nn, tensor as rt
        >>> (h, c), _ = nn.LSTM(3, 5).all_states(rt.ones(7, 2, 3))
        >>> h.shape, c.shape
        ((7, 2, 5), (7, 2, 5))
        """
        with self._at_its_precision():
            every, states = self._run(input, hx, inputs, lengths, reset, every_state=True)
        return every, as_returned(states)

    def explain(self) -> str:
        """Describe how the cell is computed: its traced graph, its schedule, and the source that is compiled.

        Returns
        -------
        str
            The description of the cell as this layer runs it now, with its regularisers if it is in training.

        Examples
        --------
        >>> from rondeau import nn
        >>> print(nn.RNN(3, 5).explain().splitlines()[0])
        Cell rnn_tanh: gates h; states h
        """
        return explain(self._cell_of_run(self.training))

    def stepper(self, head: Linear | None = None, weights: str = "float32") -> Stepper:
        """Return a frozen snapshot of the layers that runs one step per call: ``y, state = stepper(x_t, state)``.

        Parameters
        ----------
        head : Linear, optional
            Applied to the output, and frozen with the layers.
        weights : {"float32", "int8"}
            How the matrices are kept: as they are, by default; or rounded to int8 with a scale for each row, for steps
            that are faster, and a little off. See `Stepper`.

        Returns
        -------
        Stepper
            It runs the layers as in evaluation, whatever their mode; later changes to parameters have no effect.

        Raises
        ------
        ValueError
            If the layers are bidirectional, the size of the head does not match, or `weights` is neither format.
        TypeError
            If the head is not a `Linear`, or has another dtype; if the layers or the head have a forward of their own
            or forward hooks, which a stepper would leave out; or with weights in int8, if the layers are float64, or
            on a GPU.
        """
        return Stepper(self, head, weights=weights)

    def begin_state(self, batch_size: int | None = None, device: Any = None) -> State:
        """Return the states from which `forward` starts by default: zeros, or the learned ones.

        Learned states keep their gradient: ``layer(x, layer.begin_state(B))`` trains them as ``layer(x)`` does. After a
        step of the optimiser they are others: call this again.

        Parameters
        ----------
        batch_size : int, optional
            B; None for an unbatched sequence.
        device : optional
            Where the states are created; by default, where the parameters are.

        Returns
        -------
        Tensor or tuple of Tensor
            (L*D, B, P) for the first and (L*D, B, H) for each other state.

        Raises
        ------
        TypeError, ValueError
            If the batch size is not an integer, or is negative.
        """
        if batch_size is not None:
            check_sizes(0, batch_size=batch_size)
        batch = () if batch_size is None else (batch_size,)
        if not self.learn_initial_state:
            return as_returned(self._zeros((len(self._names), *batch), device))
        parts = [expanded(vectors, (1, *batch)) for vectors in self._learned_states()]
        states = [rt.cat(list(of_layers), 0) for of_layers in zip(*parts, strict=True)]
        return as_returned(tuple([state if device is None else state.to(device=device) for state in states]))

    def extra_repr(self) -> str:
        """Return the sizes, and the options that differ from the defaults, as PyTorch's layers do."""
        shown = [self.cell.name] if type(self) is Recurrent else []
        shown += [str(self.input_size), str(self.hidden_size)]
        for name, default in _SHOWN_UNLESS_DEFAULT.items():
            value = getattr(self, name)
            if value != default:
                shown.append(f"{name}={value}")
        return ", ".join(shown)

    def _run(
        self,
        input: Tensor | PackedSequence,
        hx: State | None,
        inputs: Inputs | None,
        lengths: ArrayLike | Tensor | None,
        reset: ArrayLike | Tensor | None,
        every_state: bool,
    ) -> tuple[tuple[Any, ...], tuple[Tensor, ...]]:
        """Return the requested states of the last layer, in the form of the input, and the final states."""
        if isinstance(input, Tensor):
            return self._run_padded(input, hx, inputs, lengths, reset, every_state)
        if not isinstance(input, PackedSequence):
            raise ArgumentTypeError(
                f"input must be a Tensor or a PackedSequence, got {kind_of(input)}: wrap it in rt.tensor(...)"
            )
        if lengths is not None or reset is not None:
            raise ArgumentValueError(
                "lengths and reset belong to a padded Tensor; a PackedSequence has its own lengths"
            )
        return self._run_packed(input, hx, inputs, every_state)

    def _run_padded(
        self,
        input: Tensor,
        hx: State | None,
        inputs: Inputs | None,
        lengths: ArrayLike | Tensor | None,
        reset: ArrayLike | Tensor | None,
        every_state: bool,
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        one_hot = input._array.dtype.kind == "i"
        shape = input._array.shape if one_hot else input._array.shape[:-1]
        num_dims = len(shape)
        if num_dims not in (1, 2):
            wanted = "of integers to be 1D or 2D" if one_hot else "to be 2D or 3D"
            raise ArgumentValueError(
                f"{type(self).__name__}: Expected input {wanted}, got {input.ndim}D tensor instead"
            )
        self._check_features(input)
        turned = self.batch_first and num_dims == 2
        x = input.transpose(0, 1) if turned else input
        T, *batch = shape[::-1] if turned else shape
        if T == 0:
            raise ArgumentValueError(f"Expected sequence length to be larger than 0 in {type(self).__name__}")
        learned, initial = None, None
        if self.learn_initial_state and (hx is None or reset is not None):
            learned = self._learned_states()
        if hx is not None:
            initial = self._initial_states(hx, tuple(batch))
        elif learned is not None:
            initial = [expanded(vectors, (1, *batch)) for vectors in learned]
        given: list[LayerInputs] | None = None
        if inputs is not None or self.cell.inputs:
            convert = of_padded(self.cell, self._dtype, T, tuple(batch), self.hidden_size, turned)
            given = inputs_of_layers(self.cell, inputs, self.num_layers, convert)
        if lengths is None and reset is None:
            layout = Layout.dense(T, batch[0] if batch else 1)
            every, states = self._run_layers(x, layout, (1, *batch), initial, every_state, inputs=given)
        else:
            if not batch:
                raise ArgumentValueError("lengths and reset need an input with a batch dimension")
            segments = Segments(
                checked_lengths(lengths, T, batch[0]), checked_resets(reset, T, batch[0], turned)
            )
            if initial is None:
                initial = [self._zeros((1, *batch))] * len(self._names)
            if given is not None:
                given = [in_segments(self.cell, of_layer, segments, T, batch[0]) for of_layer in given]
            rows, states = self._run_layers(
                segments.take(x), segments.layout, (1, *batch), initial, every_state, segments, learned, given
            )
            every = tuple(segments.put(state) for state in rows)
        return tuple(state.transpose(0, 1) for state in every) if turned else every, states

    def _run_packed(
        self, input: PackedSequence, hx: State | None, inputs: Inputs | None, every_state: bool
    ) -> tuple[tuple[PackedSequence, ...], tuple[Tensor, ...]]:
        rows, batch_sizes, sorted_indices, unsorted_indices = input
        if rows.ndim != (1 if rows.dtype.kind == "i" else 2):
            raise ArgumentValueError(
                f"{type(self).__name__}: Expected packed rows (N, {self.input_size}) or integers (N,), "
                f"got {rows.dtype} of shape {rows.shape}"
            )
        self._check_features(rows)
        layout = Layout.packed(batch_sizes._array, None if sorted_indices is None else sorted_indices._array)
        batch = (layout.batch_size,)
        initial = None
        if hx is not None:
            initial = self._initial_states(hx, batch, sorted_indices)
        elif self.learn_initial_state:
            initial = [expanded(vectors, (1, *batch)) for vectors in self._learned_states()]
        given: list[LayerInputs] | None = None
        if inputs is not None or self.cell.inputs:
            convert = of_packed(self.cell, self._dtype, input, self.hidden_size)
            given = inputs_of_layers(self.cell, inputs, self.num_layers, convert)
        every, states = self._run_layers(rows, layout, (1, *batch), initial, every_state, inputs=given)
        return tuple(input._replace(data=state) for state in every), _reordered(states, unsorted_indices)

    def _run_layers(
        self,
        x: Tensor,
        layout: Layout,
        leading: tuple[int, ...],
        initial: list[tuple[Tensor, ...]] | None,
        every_state: bool,
        segments: Segments | None = None,
        learned: list[tuple[Tensor, ...]] | None = None,
        inputs: list[LayerInputs] | None = None,
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Run all layers over time-major or packed rows; return the states of the last one, and all final states."""
        training = self.training
        call = Call(
            self._cell_of_run(training),
            [self._weights(index) for index in range(len(self._names))],
            self.num_directions,
            self._scalars(),
            draw_key() if self.cell.draws_noise or (training and self._is_random()) else 0,
            self.num_heads,
            self.recurrent_dropout if training else 0.0,
            self.dropout if training else 0.0,
            self.weight_dropout if training else 0.0,
            every_state,
            self.recompute_every,
            self.bptt_truncate,
        )
        return call.run(x, layout, leading, initial, segments, learned, inputs)

    def _weights(self, layer_index: int) -> list[Tensor | None]:
        """Return the weights of a layer and direction, in the order of `Weights`."""
        found = self._parameters
        # A parametrised weight is computed here, once a call, and a hook may have replaced a parameter by a tensor;
        # looking in the dictionary first takes a quarter of the time.
        return [
            None if name is None else found[name] if name in found else getattr(self, name)
            for name in self._names[layer_index]
        ]

    def _any_weight(self) -> Tensor:
        """Return a parameter, whose dtype and device are those of all weights, without computing a parametrised one."""
        weight = self._parameters.get("weight_ih_l0")
        if weight is None:
            weight = next(self.parameters(), None)
        return self.weight_ih_l0 if weight is None else weight

    def _check_as_built(self) -> None:
        """Raise a TypeError if calling the layers does something that their classes do not."""
        check_as_built("layer", self, Recurrent)

    def _in_evaluation(self) -> tuple[Cell, list[Weights], Settings]:
        """Return what `Stepper` freezes: the cell for evaluation, the weights of every layer, and the settings."""
        weights = [
            as_weights(
                self.cell, [None if name is None else in_evaluation(self, name)._array for name in names]
            )
            for names in self._names
        ]
        return self._cell_of_run(False), weights, Settings(self._scalars(), num_heads=self.num_heads)

    def _initial_in_evaluation(self) -> tuple[Any, ...] | None:
        """Return the arrays (L, 1, W) of the states that a frozen layer begins with, or None for zeros."""
        if not self.learn_initial_state:
            return None
        of_states = zip(*self._initial_names, strict=True)
        return tuple(
            [np.stack([in_evaluation(self, name)._array[None] for name in names]) for names in of_states]
        )

    def _cell_of_run(self, is_training: bool) -> Cell:
        # The kernels themselves mask the features of a projected state: the cell only has H units.
        dropout = 0.0 if self.proj_size else self.recurrent_dropout
        return cell_of_run(self.cell, dropout, self.zoneout, is_training)

    @property
    def _dtype(self) -> Any:
        return self._any_weight()._array.dtype

    def _scalars(self) -> dict[tuple[str, str], float]:
        scalars = scalars_of_run(self.cell, self.hyperparameters, self.zoneout)
        for (_, name), value in scalars.items():
            check_fits(f"hyperparameter {name}", value, self._dtype)
        return scalars

    def _is_random(self) -> bool:
        between = self.dropout > 0 and self.num_layers > 1
        return between or bool(self.zoneout) or self.recurrent_dropout > 0 or self.weight_dropout > 0

    def _check_features(self, x: Tensor) -> None:
        """Raise an error unless the input has the dtype of the weights and width I; integers stand for one-hot rows."""
        array, weight = x._array, self._any_weight()._array
        if type(array) is not type(weight):
            raise ArgumentValueError(
                f"{type(self).__name__}: input is on {x.device} and the weights are on {device_name(weight)}: move one "
                f"of them, input.to({device_name(weight)!r}) or model.to({str(x.device)!r})"
            )
        dtype = weight.dtype
        if array.dtype.kind == "i":
            return
        if array.dtype != dtype:
            is_of_layers = str(x.dtype) in ("float32", "float64")
            raise ArgumentTypeError(
                f"{type(self).__name__} input dtype ({x.dtype}) does not match weight dtype ({dtype}). "
                f"Convert input: input.to({str(dtype)!r})"
                + (f", or convert model: model.to({str(x.dtype)!r})" if is_of_layers else "")
            )
        if array.shape[-1] != self.input_size:
            raise ArgumentValueError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}"
            )

    def _initial_states(
        self, hx: State, batch: tuple[int, ...], order: Tensor | None = None
    ) -> list[tuple[Tensor, ...]]:
        """Return the caller's initial states of each layer and direction, in order."""
        count = len(self._names)
        states = checked_states(hx, self.cell, self._state_shapes((count, *batch)), self._any_weight().dtype)
        return split_by_layer(_reordered(states, order), count)

    def _learned_states(self) -> list[tuple[Tensor, ...]]:
        """Return the learned initial states (W,) of each layer and direction, in order."""
        return [tuple([getattr(self, name) for name in names]) for names in self._initial_names]

    def _zeros(self, leading: tuple[int, ...], device: Any = None) -> tuple[Tensor, ...]:
        weight = self._any_weight()
        shapes = self._state_shapes(leading)
        return zero_states(shapes, weight.dtype, weight.device if device is None else device)

    def _state_shapes(self, leading: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [(*leading, width) for width in state_widths(self.cell, self.hidden_size, self.proj_size)]


_SHOWN_UNLESS_DEFAULT: dict[str, Any] = {
    "proj_size": 0,
    "num_layers": 1,
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
    "num_heads": 1,
    "hyperparameters": {},
    "recurrent_dropout": 0.0,
    "zoneout": {},
    "weight_dropout": 0.0,
    "bptt_truncate": None,
    "recompute_every": None,
    "learn_initial_state": False,
}


def _reordered(states: tuple[Tensor, ...], indices: Tensor | None) -> tuple[Tensor, ...]:
    if indices is None:
        return states
    return tuple(rt.index_select(state, 1, indices.to(state.device)) for state in states)
