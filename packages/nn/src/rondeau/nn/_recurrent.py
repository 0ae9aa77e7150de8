"""`Recurrent`: layers of any cell over whole sequences; `recurrent_cell`, which makes a cell of a step.

Letters: T steps, B sequences, N rows (T*B, or fewer when packed), I inputs, H hidden units, P outputs per
direction (H, or ``proj_size``), G gates, L layers, D directions.
"""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, TypeAlias

from numpy.typing import DTypeLike

from rondeau import tensor as rt
from rondeau.kernels import sequence
from rondeau.kernels.cell import cell_math
from rondeau.kernels.sequence import Cell, Layout, Needs, Weights
from rondeau.kernels.targets import reference
from rondeau.tensor import Function, Tensor

from . import functional, init
from ._module import Module
from ._packed import PackedSequence
from ._parameter import Parameter

State: TypeAlias = "Tensor | tuple[Tensor, ...]"
Step: TypeAlias = Callable[[Any, Any, Any], Any]


def recurrent_cell(
    *, gates: tuple[str, ...], states: tuple[str, ...], name: str | None = None
) -> Callable[[Step], Cell]:
    """Make a recurrent cell of a function that computes one time step of one hidden unit.

    The step is called once, with symbols, and what it does with them is recorded. Its backward pass is
    derived from the record, and both are compiled for a whole sequence the first time that a layer of the
    cell runs. So the step may use arithmetic, comparisons and the functions of `rondeau.nn.cell_math`, and no
    Python ``if`` on a symbol.

    Parameters
    ----------
    gates : tuple of str
        The names of the gates, in the order of their rows in the weights.
    states : tuple of str
        The names of the states. The first is the cell's output, and what the recurrent matrices multiply.
    name : str, optional
        What error messages and ``repr`` call the cell; the function's name if not given.

    Returns
    -------
    Callable
        A decorator, from ``step(x, r, s)`` to a `Cell` for `Recurrent`. ``x.k`` is gate k's input part
        ``W_k x_t + b_k``, ``r.k`` its recurrent part ``R_k h_{t-1} + c_k``, and ``s.name`` a state of the step
        before. The step returns the new state, or a tuple of them in the order of `states`.

    Raises
    ------
    CellError
        If the step cannot be traced; the message shows its line.

    Examples
    --------
    A gated unit without a reset gate:

    >>> from rondeau import nn, tensor as rt
    >>> from rondeau.nn import cell_math as m
    >>> @nn.recurrent_cell(gates=("z", "n"), states=("h",))
    ... def light_gru(x, r, s):
    ...     keep = m.sigmoid(x.z + r.z)
    ...     return keep * s.h + (1 - keep) * m.tanh(x.n + r.n)
    >>> layer = nn.Recurrent(light_gru, input_size=4, hidden_size=8)
    >>> output, h_n = layer(rt.ones(5, 2, 4))
    >>> output.shape, h_n.shape
    ((5, 2, 8), (1, 2, 8))
    """

    def decorate(step: Step) -> Cell:
        cell = Cell(step, gates, states, name or step.__name__)
        cell.__doc__ = step.__doc__
        return cell

    return decorate


#: The language of cells on Tensors, for which `reference.run` computes what can be differentiated again.
TENSORS = SimpleNamespace(
    **{name: getattr(functional if hasattr(functional, name) else rt, name) for name in cell_math.__all__},
    cat=rt.cat,
)


class RecurrentLayer(Function):
    """One layer in one direction over whole sequences, as one differentiable operation.

    Whatever has the N rows in order is its input: (T, B, I), (T, I) or packed (N, I), or integers without the
    last dimension; the output has the same form. States are (1, B, H), (B, H), or (H,) or (1, H) without a batch.
    """

    owns_gradients = True

    @staticmethod
    def forward(
        ctx: Any, cell: Cell, layout: Layout, reverse: bool, x: Tensor, *tensors: Any
    ) -> tuple[Tensor, ...]:
        """Return the output rows and the final states; `tensors` are the fields of `Weights`, and the states."""
        weights = Weights(*(None if w is None else w.data for w in tensors[:WEIGHTS]))
        states = tensors[WEIGHTS:]
        initial = tuple(s.data.reshape(layout.batch_size, s.shape[-1]) for s in states)
        save = any(ctx.needs_input_grad)
        rows, final, saved = sequence.forward(
            cell, layout, _as_rows(x.data, layout), weights, initial, reverse=reverse, save=save
        )
        leading = x.shape if x.dtype.kind == "i" else x.shape[:-1]
        output = Tensor(rows.reshape(*leading, rows.shape[-1]))
        if save:
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(x, *tensors, output)  # output: backward reads its memory
            ctx.run = cell, layout, reverse, saved
        return output, *(Tensor(end.reshape(s.shape)) for end, s in zip(final, states, strict=True))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor | None) -> tuple[Tensor | None, ...]:
        """Return the gradients of what `forward` took, given those of what it returned."""
        differentiate = _differentiable_gradients if ctx.create_graph else _gradients
        *inputs, _ = ctx.saved_tensors
        return (None, None, None, *differentiate(ctx, inputs, ctx.needs_input_grad[3:], cotangents))


WEIGHTS = len(Weights._fields)


def _as_rows(x: Any, layout: Layout) -> Any:
    return x.reshape(layout.num_rows) if x.dtype.kind == "i" else x.reshape(layout.num_rows, x.shape[-1])


def _gradients(
    ctx: Any, inputs: list[Any], needs: tuple[bool, ...], cotangents: tuple[Tensor | None, ...]
) -> Iterator[Tensor | None]:
    """Backpropagation through time, by the kernels."""
    cell, layout, _, saved = ctx.run
    rows = (layout.num_rows, *[layout.batch_size] * len(cell.states))
    d_output, *d_final = (
        None if d is None else d.data.reshape(n, d.shape[-1]) for d, n in zip(cotangents, rows, strict=True)
    )
    needs_x, needs_weights, needs_initial = needs[0], needs[1 : 1 + WEIGHTS], needs[1 + WEIGHTS :]
    parts = Needs(x=needs_x, weights=any(needs_weights), initial=any(needs_initial))
    d_x, d_initial, d_weights = sequence.backward(
        cell, saved, d_output, tuple(d_final), parts, consume=not ctx.retain_graph
    )
    found = (d_x, *d_weights, *(d_initial or [None] * len(cell.states)))
    for array, like, need in zip(found, inputs, needs, strict=True):
        yield Tensor(array.reshape(like.shape)) if need else None


def _differentiable_gradients(
    ctx: Any, inputs: list[Any], needs: tuple[bool, ...], cotangents: tuple[Tensor | None, ...]
) -> Iterator[Tensor | None]:
    """Backpropagation through time that can be differentiated again: the reference, run on Tensors."""
    cell, layout, reverse, _ = ctx.run
    # Copies, where `rt.grad` stops: of the inputs themselves one may have been computed from another.
    copies: list[Any] = [None if t is None else t.clone() for t in inputs]
    x, *tensors = copies
    initial = tuple(s.reshape(layout.batch_size, s.shape[-1]) for s in tensors[WEIGHTS:])
    weights = Weights(*tensors[:WEIGHTS])
    output, final = reference.run(
        cell, TENSORS, layout, _as_rows(x, layout), weights, initial, reverse=reverse
    )
    pairs = [
        (r.reshape(d.shape), d) for r, d in zip((output, *final), cotangents, strict=True) if d is not None
    ]
    found = iter(
        rt.grad(
            [result for result, _ in pairs],
            [copy for copy, need in zip(copies, needs, strict=True) if need],
            [cotangent for _, cotangent in pairs],
            create_graph=True,
            allow_unused=True,
        )
    )
    for need in needs:
        yield next(found) if need else None


class Recurrent(Module):
    """Layers of a recurrent cell, run over whole sequences.

    `RNN`, `GRU` and `LSTM` are this with the built-in cells. Arguments, shapes, the names of the parameters
    and the initial values are those of PyTorch's recurrent layers.

    Parameters
    ----------
    cell : Cell
        What `recurrent_cell` makes of a step.
    input_size : int
        I, the features of the input.
    hidden_size : int
        H, the hidden units of a layer and direction.
    num_layers : int
        L; each layer after the first reads the output of the one below.
    bias : bool
        Whether gates have the two biases ``bias_ih`` and ``bias_hh``.
    batch_first : bool
        Input and output are (B, T, ...) rather than (T, B, ...). States are not affected.
    dropout : float
        The probability with which an element of the output of each layer but the last is dropped in training.
    bidirectional : bool
        Run a second set of weights over the sequence from its end; D is then 2.
    proj_size : int
        P, if positive: the first state is projected to this many features by ``weight_hr`` after each step
        (Sak, Senior, Beaufays 2014). Zero: no projection, and P = H below.
    device : optional
        Where the parameters live.
    dtype : dtype, optional
        float32 (the default) or float64.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, weight_hr_l0 : Parameter
        (G*H, I), or (G*H, D*P) above the first layer; (G*H, P); (G*H,); (G*H,); (P, H): the weights of the
        first layer, gate after gate. The others end in ``_l1``, ``_l2``, ..., those of the reverse direction in
        ``_l0_reverse``. All are drawn from U(-1/sqrt(H), 1/sqrt(H)).

    Notes
    -----
    *Input* to the layer is a Tensor (T, B, I); (T, I) for one sequence without a batch; a `PackedSequence`; or
    int64 indices (T, B), or (T,): one-hot rows of width I, which are not made: their product is a selection of
    columns of ``weight_ih_l0``, equal to it up to rounding.

    *States* are (L*D, B, P) for the first and (L*D, B, H) for the others, without B for unbatched input; a
    cell with one state takes and returns the tensor, others a tuple. If no initial states are given they are zero.

    *Result*: ``output``, (T, B, D*P), the first state of the last layer at every step, the directions side by
    side, in the form that the input had; and the states after each sequence's last step, or, in reverse, its first.

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
    _names: list[list[str | None]]  # of each layer and direction, in the order of Weights

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
    ) -> None:
        super().__init__()
        if not isinstance(cell, Cell):
            raise TypeError(
                f"cell should be what nn.recurrent_cell makes of a step, got {cell!r}: "
                "decorate the step with @nn.recurrent_cell(gates=..., states=...)"
            )
        check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if isinstance(dropout, bool) or not isinstance(dropout, numbers.Real) or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being "
                f"zeroed, got {dropout!r}"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=2,
            )
        if not isinstance(proj_size, int) or proj_size < 0:
            raise ValueError(
                f"proj_size should be a positive integer or zero to disable projections, got {proj_size!r}"
            )
        if proj_size >= hidden_size:
            raise ValueError(
                f"proj_size has to be smaller than hidden_size, got proj_size={proj_size} and "
                f"hidden_size={hidden_size}"
            )
        if proj_size > 0 and cell.plan.reads_state(cell.states[0]):
            raise ValueError(
                f"proj_size={proj_size} needs a cell that does not read its first state, which is projected: "
                f"{cell.name} reads s.{cell.states[0]}"
            )
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
        self._names = []
        output_size = proj_size or hidden_size
        for layer in range(num_layers):
            inputs = input_size if layer == 0 else output_size * self.num_directions
            for suffix in (f"_l{layer}", f"_l{layer}_reverse")[: self.num_directions]:
                shapes = weight_shapes(cell, inputs, hidden_size, bias, proj_size)
                self._names.append(register_weights(self, shapes, suffix, device, dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters anew from U(-1/sqrt(H), 1/sqrt(H))."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Do nothing; PyTorch's name for laying the weights out for cuDNN, so that its programs run."""

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction, as lists."""
        return [[getattr(self, name) for name in names if name is not None] for names in self._names]

    def forward(
        self, input: Tensor | PackedSequence, hx: State | None = None
    ) -> tuple[Tensor | PackedSequence, State]:
        """Run all layers over the input.

        Parameters
        ----------
        input : Tensor or PackedSequence
            (T, B, I), (T, I), packed rows (N, I), or integers without the last dimension; see the class.
        hx : Tensor or tuple of Tensor, optional
            The initial states, for a `PackedSequence` in the order of the caller's batch. Default: zeros.

        Returns
        -------
        output : Tensor or PackedSequence
            (T, B, D*P), in the form of the input.
        states : Tensor or tuple of Tensor
            (L*D, B, P) and (L*D, B, H) each, to begin the next call with.

        Raises
        ------
        ValueError
            If the input has the wrong number of dimensions or another dtype than the weights.
        RuntimeError
            If the input's last dimension or the initial states have the wrong size, or there are no steps.
        TypeError
            If the input is no tensor, or the initial states are not as many tensors as the cell has states.
        IndexError
            If an integer is not from 0 to I-1.
        """
        output: Tensor | PackedSequence
        if isinstance(input, PackedSequence):
            output, states = self._forward_packed(input, hx)
        elif isinstance(input, Tensor):
            output, states = self._forward_dense(input, hx)
        else:
            raise TypeError(
                f"input should be a Tensor or a PackedSequence, got {type(input).__name__}: "
                "wrap it in rt.tensor(...)"
            )
        return output, states[0] if len(states) == 1 else states

    def begin_state(self, batch_size: int | None = None, device: Any = None) -> State:
        """Return zero states, from which `forward` starts if it is given none.

        Parameters
        ----------
        batch_size : int, optional
            B; None: for an unbatched sequence.
        device : optional
            Where; default: with the parameters.

        Returns
        -------
        Tensor or tuple of Tensor
            (L*D, B, P) for the first and (L*D, B, H) for each other state.
        """
        states = self._zeros(() if batch_size is None else (batch_size,), device)
        return states[0] if len(states) == 1 else states

    def extra_repr(self) -> str:
        """Return the sizes, and what differs from the defaults, as PyTorch's layers show them."""
        shown = [self.cell.name] if type(self) is Recurrent else []
        shown += [str(self.input_size), str(self.hidden_size)]
        for name, default in _SHOWN_UNLESS_DEFAULT.items():
            value = getattr(self, name)
            if value != default:
                shown.append(f"{name}={value}")
        return ", ".join(shown)

    def _forward_dense(self, input: Tensor, hx: State | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        one_hot = input.dtype.kind == "i"
        leading = input.shape if one_hot else input.shape[:-1]
        if len(leading) not in (1, 2):
            wanted = "of integers to be 1D or 2D" if one_hot else "to be 2D or 3D"
            raise ValueError(
                f"{type(self).__name__}: Expected input {wanted}, got {input.ndim}D tensor instead"
            )
        self._check_features(input)
        turned = self.batch_first and len(leading) == 2
        x = input.transpose(0, 1) if turned else input
        T, *batch = x.shape[: len(leading)]
        if T == 0:
            raise RuntimeError(f"Expected sequence length to be larger than 0 in {type(self).__name__}")
        layout = Layout.dense(T, batch[0] if batch else 1)
        output, states = self._run_layers(x, layout, self._initial(hx, tuple(batch)))
        return output.transpose(0, 1) if turned else output, states

    def _forward_packed(
        self, input: PackedSequence, hx: State | None
    ) -> tuple[PackedSequence, tuple[Tensor, ...]]:
        rows, batch_sizes, sorted_indices, unsorted_indices = input
        if rows.ndim != (1 if rows.dtype.kind == "i" else 2):
            raise ValueError(
                f"{type(self).__name__}: Expected packed rows (N, {self.input_size}) or integers (N,), "
                f"got {rows.dtype} of shape {rows.shape}"
            )
        self._check_features(rows)
        layout = Layout.packed(batch_sizes.data)
        initial = self._initial(hx, (layout.batch_size,))
        if hx is not None:
            initial = _reordered(initial, sorted_indices)
        output, states = self._run_layers(rows, layout, initial)
        return input._replace(data=output), _reordered(states, unsorted_indices)

    def _run_layers(
        self, x: Tensor, layout: Layout, initial: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run all layers over time-major or packed rows; return the last one's output and all final states."""
        begins = (
            [initial] if len(self._names) == 1 else list(zip(*(rt.split(s, 1) for s in initial), strict=True))
        )
        ends = []
        for layer in range(self.num_layers):
            if layer > 0 and self.dropout > 0:
                x = functional.dropout(x, self.dropout, self.training)
            outputs = []
            for direction in range(self.num_directions):
                i = layer * self.num_directions + direction
                weights = [None if name is None else getattr(self, name) for name in self._names[i]]
                output, *end = RecurrentLayer.apply(
                    self.cell, layout, direction == 1, x, *weights, *begins[i]
                )
                outputs.append(output)
                ends.append(end)
            x = outputs[0] if len(outputs) == 1 else rt.cat(outputs, -1)
        final = (
            tuple(ends[0]) if len(ends) == 1 else tuple(rt.cat(parts, 0) for parts in zip(*ends, strict=True))
        )
        return x, final

    def _check_features(self, x: Tensor) -> None:
        """Refuse another dtype than the weights' or another width than I; integers stand for one-hot rows."""
        dtype = self.weight_ih_l0.dtype
        if x.dtype.kind == "i":
            return
        if x.dtype != dtype:
            raise ValueError(
                f"{type(self).__name__} input dtype ({x.dtype}) does not match weight dtype ({dtype}). "
                f"Convert input: input.to({str(dtype)!r}), or convert model: model.to({str(x.dtype)!r})"
            )
        if x.shape[-1] != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}"
            )

    def _initial(self, hx: State | None, batch: tuple[int, ...]) -> tuple[Tensor, ...]:
        """Return the initial states as a tuple: zeros, or what the caller gave, checked."""
        if hx is None:
            return self._zeros(batch)
        names = self.cell.states
        states = tuple(hx) if isinstance(hx, tuple | list) else (hx,)
        if len(states) != len(names) or not all(isinstance(state, Tensor) for state in states):
            wanted = (
                "a Tensor" if len(names) == 1 else f"a tuple of {len(names)} Tensors ({', '.join(names)})"
            )
            given = ", ".join(type(state).__name__ for state in states)
            raise TypeError(f"hx should be {wanted}, got ({given})")
        form = "batched 3-D" if batch else "unbatched 2-D"
        dtype = self.weight_ih_l0.dtype
        for k, (state, shape) in enumerate(zip(states, self._state_shapes(batch), strict=True)):
            hidden = "hidden" if len(states) == 1 else f"hidden[{k}]"
            if state.ndim != len(shape):
                raise RuntimeError(
                    f"For {form} input, {hidden.replace('hidden', 'hx')} should also be {len(shape)}-D "
                    f"but got {state.ndim}-D tensor"
                )
            if state.shape != shape:
                raise RuntimeError(f"Expected {hidden} size {shape}, got {list(state.shape)}")
            if state.dtype != dtype:
                raise ValueError(f"{hidden} dtype ({state.dtype}) does not match weight dtype ({dtype})")
        return states

    def _zeros(self, batch: tuple[int, ...], device: Any = None) -> tuple[Tensor, ...]:
        weight = self.weight_ih_l0
        device = weight.device if device is None else device
        return tuple(
            rt.zeros(shape, dtype=weight.dtype, device=device) for shape in self._state_shapes(batch)
        )

    def _state_shapes(self, batch: tuple[int, ...]) -> list[tuple[int, ...]]:
        widths = [self.proj_size or self.hidden_size] + [self.hidden_size] * (len(self.cell.states) - 1)
        return [(len(self._names), *batch, width) for width in widths]


_SHOWN_UNLESS_DEFAULT = {
    "proj_size": 0,
    "num_layers": 1,
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
}


def _reordered(states: tuple[Tensor, ...], indices: Tensor | None) -> tuple[Tensor, ...]:
    return states if indices is None else tuple(rt.index_select(state, 1, indices) for state in states)


def weight_shapes(
    cell: Cell, inputs: int, hidden: int, bias: bool, projection: int = 0
) -> dict[str, tuple[int, ...] | None]:
    """Return the shapes of the fields of `Weights` for one layer and direction; None for what it does not have."""
    rows = len(cell.gates) * hidden
    return {
        "weight_ih": (rows, inputs),
        "weight_hh": (rows, projection or hidden),
        "bias_ih": (rows,) if bias else None,
        "bias_hh": (rows,) if bias else None,
        "weight_hr": (projection, hidden) if projection else None,
    }


def register_weights(
    module: Module,
    shapes: dict[str, tuple[int, ...] | None],
    suffix: str,
    device: Any,
    dtype: DTypeLike | None,
) -> list[str | None]:
    """Give `module` a parameter for every shape; return their names, None where there is none."""
    names: list[str | None] = []
    for kind, shape in shapes.items():
        if shape is not None:
            setattr(module, kind + suffix, Parameter(rt.empty(shape, dtype=dtype, device=device)))
        names.append(kind + suffix if shape is not None else None)
    return names


def check_sizes(**sizes: int) -> None:
    """Refuse sizes that are not positive integers, by name."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"{name} should be of type int, got: {type(size).__name__}")
        if size <= 0:
            raise ValueError(f"{name} must be greater than zero, got {size}")
