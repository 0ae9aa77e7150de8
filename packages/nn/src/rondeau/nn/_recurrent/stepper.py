"""`Stepper`: frozen recurrent layers and a head that run one step per call, or several whose inputs are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels import stepper
from rondeau.kernels.checks import check_one_device
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.runtime.devices import device_name, is_array, library_of
from rondeau.kernels.sequence import Cell, InputForms, Settings, Weights
from rondeau.tensor import Tensor

from .._as_built import check_as_built
from .._checks import kind_of
from .._computed import in_evaluation
from .._embedding import Embedding, checked_ids
from .._linear import Linear
from .inputs import Inputs, inputs_of_layers, numbers_among, of_padded, of_step, or_array
from .masks import draw_key
from .states import State, as_returned

__all__ = ["Stepper"]


class Layers(Protocol):
    """Recurrent layers, as a stepper needs them."""

    batch_first: bool
    bidirectional: bool
    input_size: int

    def _check_as_built(self) -> None:
        """Raise a TypeError if calling the layers does something that their classes do not."""

    def _in_evaluation(self) -> tuple[Cell, list[Weights], Settings]:
        """Return the cell for evaluation, the weights of every layer, and the settings."""

    def _initial_in_evaluation(self) -> tuple[Any, ...] | None:
        """Return the arrays (L, 1, W) of the states that a frozen layer begins with, or None for zeros."""


class Stepper:
    """A frozen snapshot of recurrent layers that runs one step per call, for streams and text generation.

    `run` takes several steps at once, as of a prompt, or where a stream comes in pieces.

    `Recurrent.stepper` and `LanguageModel.stepper` make one. The weights are copied and packed only once, whereas a
    call of the layer packs them each time; later changes to the layer's parameters have no effect.

    Parameters
    ----------
    layer : Recurrent
        A unidirectional layer. Whatever its mode, it runs as in evaluation: without dropout, and with the expectation
        of zoneout.
    head : Linear, optional
        Applied to the output.
    embedding : Embedding, optional
        Applied to the input, which then consists of ids.
    weights : {"float32", "int8"}
        How the matrices of the layer and the head are kept: as they are, by default; or in int8, which is a quarter of
        the memory, and several times as fast where reading the weights is what a step waits for. Each row (one output
        unit's weights) has a scale of its own, its largest magnitude divided by 127, and every weight is rounded to the
        nearest multiple of the scale. Biases, learned vectors, the embedding, states and results stay float32; what a
        matrix multiplies is rounded to 16 bits for the product.
    batch_first : bool, optional
        Whether `run` takes and returns sequences with the batch first; by default, as the layer does.

    Raises
    ------
    ValueError
        If the layer is bidirectional, its sizes do not match those of the head or the embedding, parameters are on
        different devices, or `weights` is neither format.
    TypeError
        If the layer, head or embedding has the wrong type, or a forward of its own or forward hooks, which a stepper
        would leave out; if dtypes differ; or with weights in int8, if the layer is float64 or on a GPU.

    Notes
    -----
    ``y, state = stepper(x_t, state)`` returns the same bits as ``layer(x, state)`` for a sequence of one step, followed
    by the head, at the precision "highest", unless the weights are in int8; a stepper rounds no operands to bfloat16.
    Nothing is recorded for gradients. The results belong to the caller:
    states may be kept, changed and passed in any order, as a beam search does. A cell with noise draws other numbers at
    every call: the stepper has a key of its own, from the generator that `rondeau.tensor.manual_seed` seeds, and counts
    its steps.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> stepper = nn.LSTM(3, 5).stepper(nn.Linear(5, 2))
    >>> y, state = stepper(rt.ones(4, 3))
    >>> y, (h, c) = stepper(rt.ones(4, 3), state)
    >>> y.shape, h.shape, c.shape
    ((4, 2), (1, 4, 5), (1, 4, 5))
    """

    def __init__(
        self,
        layer: Layers,
        head: Linear | None = None,
        embedding: Embedding | None = None,
        weights: str = "float32",
        batch_first: bool | None = None,
    ) -> None:
        for name, module, kind in (("head", head, Linear), ("embedding", embedding, Embedding)):
            if module is not None and not isinstance(module, kind):
                raise ArgumentTypeError(
                    f"{name} must be an nn.{kind.__name__} or None, got {type(module).__name__}"
                )
            if module is not None:
                check_as_built(name, module, kind)
        if isinstance(layer, type) or not hasattr(layer, "_in_evaluation"):
            got = f"the class {layer.__name__}" if isinstance(layer, type) else type(layer).__name__
            raise ArgumentTypeError(f"layer must be an nn.Recurrent, nn.RNN, nn.GRU or nn.LSTM, got {got}")
        layer._check_as_built()
        if layer.bidirectional:
            raise ArgumentValueError(
                "A bidirectional layer cannot run step by step: the reverse direction begins at the end of the "
                "sequence. Use bidirectional=False"
            )
        self._batch_first = layer.batch_first if batch_first is None else batch_first
        self._vectors: NDArray[Any] | None = None
        if embedding is not None:
            if embedding.embedding_dim != layer.input_size:
                raise ArgumentValueError(
                    f"embedding must have vectors of the layer's input_size={layer.input_size}, got "
                    f"{embedding.embedding_dim}"
                )
            self._vectors = in_evaluation(embedding, "weight")._array.copy()
        frozen_head = None
        if head is not None:
            weight, bias = in_evaluation(head, "weight"), in_evaluation(head, "bias")
            frozen_head = weight._array, None if bias is None else bias._array
        self._initial = layer._initial_in_evaluation()
        self._cell, of_layers, settings = layer._in_evaluation()
        if self._cell.draws_noise:
            settings = settings._replace(key=draw_key())
        self._stepper = stepper.Stepper(self._cell, of_layers, settings, frozen_head, weights)
        self._like = of_layers[0].weight_ih[:0]  # an array where the weights are
        if self._vectors is not None:
            check_one_device(
                f"a stepper of cell {self._cell.name}", weight_ih=self._like, embedding=self._vectors
            )
            if self._vectors.dtype != self._like.dtype:
                raise ArgumentTypeError(
                    f"embedding must be {self._like.dtype}, like the layer's weights, got {self._vectors.dtype}: "
                    f"convert it, with embedding.to({str(self._like.dtype)!r})"
                )
        self._hidden = of_layers[0].weight_ih.shape[0] // len(self._cell.gates)

    def __call__(
        self,
        x_t: Tensor | NDArray[Any] | int,
        state: State | NDArray[Any] | tuple[Any, ...] | None = None,
        inputs: Inputs | None = None,
    ) -> tuple[Tensor, State]:
        """Run one step.

        Parameters
        ----------
        x_t : Tensor, ndarray or int
            The input of the step: (B, I), or (I,) for one sequence without a batch; or ids (B,), or one integer,
            which stand for one-hot rows or for vectors of the embedding.
        state : Tensor or ndarray, or tuple of them, optional
            The state before the step, as a call or the layer returns it: (L, B, P) the first and (L, B, H) the others,
            without B for unbatched input. By default the learned initial states, or zeros.
        inputs : mapping of str to Tensor or ndarray, or list of such mappings, optional
            The named inputs of the cell at this step, for all layers alike or a mapping for each layer: (B,) or (B, H),
            whatever their kind; without B for unbatched input.

        Returns
        -------
        y : Tensor
            (B, V) with a head, (B, P) without one; without B for unbatched input.
        state : Tensor or tuple of Tensor
            The state after the step, in the form that the layer returns.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or dtype.
        IndexError
            If an id is out of range.
        """
        x: Any = x_t._array if isinstance(x_t, Tensor) else self._sent("x_t", x_t)
        dimensions = 1 if x.dtype.kind in "iu" else 2
        is_batch = x.ndim == dimensions
        if not is_batch:
            if x.ndim != dimensions - 1:
                known = "ids (B,) or one id" if dimensions == 1 else "(B, I) or (I,)"
                raise ArgumentValueError(
                    f"x_t must be {known}, the input of one step, got shape {x.shape}; for several steps, call run()"
                )
            x = x[None]
        if self._vectors is not None:
            x = self._embedded("x_t", x)
        states = self._begun(len(x)) if state is None else self._arrays("x_t", state, is_batch)
        if inputs is None and not self._cell.inputs:
            y, after = self._stepper(x, states)
        else:
            batch, batches = x.shape[:1], dict.fromkeys(self._cell.inputs, x.shape[:1])
            convert = of_step(
                self._cell,
                self._stepper.dtype,
                batch if is_batch else (),
                self._hidden,
                device_name(self._like),
            )
            y, after = self._stepper(x, states, *self._inputs(inputs, batches, convert))
        if not is_batch:
            y, after = y[0], tuple(part[:, 0] for part in after)
        return Tensor(y), as_returned(tuple([Tensor(part) for part in after]))

    def run(
        self,
        x: Tensor | NDArray[Any],
        state: State | NDArray[Any] | tuple[Any, ...] | None = None,
        inputs: Inputs | None = None,
    ) -> tuple[Tensor, State]:
        """Run several steps whose inputs are known: those of a prompt, or of a piece of a stream.

        The results have the bits of as many calls for one step, and the state continues either way. Many steps take
        less time here: the inputs of some 64 rows are multiplied at once, and so are their outputs by the head.

        Parameters
        ----------
        x : Tensor or ndarray
            The inputs: (T, B, I), or (B, T, I) if the batch comes first, or (T, I) for one sequence without a batch; or
            ids, without the last dimension. `LanguageModel.stepper` takes ids (B, T), as the model does.
        state : Tensor or ndarray, or tuple of them, optional
            The state before the first step, as for a call.
        inputs : mapping of str to Tensor or ndarray, or list of such mappings, optional
            The named inputs of the cell, as the layer takes them: a step input is (T, B) or (T, B, H), with B first if
            the batch comes first; a sequence input is (B,) or (B, H); without B for one sequence without a batch.

        Returns
        -------
        y : Tensor
            In the form of x: (T, B, V), (B, T, V) or (T, V), with a head; P in the place of V without one.
        state : Tensor or tuple of Tensor
            The state after the last step.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or dtype, or there are no steps.
        IndexError
            If an id is out of range.

        Examples
        --------
        >>> from rondeau import nn, tensor as rt
        >>> stepper = nn.LanguageModel(vocab_size=28, recurrent="gru", hidden_size=16).stepper()
        >>> logits, state = stepper.run(rt.tensor([3, 1, 4]))
        >>> logits.shape, state.shape
        ((3, 28), (1, 16))
        >>> logits, state = stepper(5, state)
        """
        steps: Any = x._array if isinstance(x, Tensor) else self._sent("x", x)
        dimensions = 1 if steps.dtype.kind in "iu" else 2
        is_batch = steps.ndim == dimensions + 1
        if not is_batch and steps.ndim != dimensions:
            known = "ids (T,)" if dimensions == 1 else "(T, I)"
            raise ArgumentValueError(
                f"x must be {known}, or the same with a batch dimension, got shape {steps.shape}; for one step, call "
                "the stepper itself"
            )
        turned = is_batch and self._batch_first
        if turned:
            steps = steps.swapaxes(0, 1)
        elif not is_batch:
            steps = steps[:, None]
        if self._vectors is not None:
            steps = self._embedded("x", steps)
        batch = (steps.shape[1],)
        states = self._begun(*batch) if state is None else self._arrays("x", state, is_batch)
        if inputs is None and not self._cell.inputs:
            y, after = self._stepper.run(steps, states)
        else:
            T, cell = len(steps), self._cell
            convert = of_padded(cell, self._stepper.dtype, T, batch if is_batch else (), self._hidden, turned)
            batches = {name: (T, *batch) if kind == "step" else batch for name, kind in cell.inputs.items()}
            given = self._inputs(inputs, batches, or_array(convert, device_name(self._like)))
            y, after = self._stepper.run(steps, states, *given)
        if turned:
            y = y.swapaxes(0, 1).copy()
        if not is_batch:
            y, after = y[:, 0], tuple(part[:, 0] for part in after)
        return Tensor(y), as_returned(tuple([Tensor(part) for part in after]))

    def _begun(self, batch_size: int) -> tuple[NDArray[Any], ...] | None:
        """Return the states that a batch begins with; None for zeros."""
        if self._initial is None:
            return None
        return tuple([np.repeat(vectors, batch_size, axis=1) for vectors in self._initial])

    def _inputs(
        self, inputs: Any, batches: Mapping[str, tuple[int, ...]], convert: Callable[[str, str, Any], Tensor]
    ) -> tuple[tuple[NDArray[Any], ...], InputForms]:
        """Return the named inputs of all layers, each (L, *batch, W) given its batch, and their forms."""
        cell, L = self._cell, self._stepper.num_layers
        layers = inputs_of_layers(cell, inputs, L, convert)
        stacked = []
        for batch, parts in zip(batches.values(), zip(*layers, strict=True), strict=True):
            arrays = [part._array for part in parts]
            width = max(array.shape[1] for array in arrays)
            rows = np.stack([np.broadcast_to(array, (*array.shape[:1], width)) for array in arrays])
            stacked.append(rows.reshape(L, *batch, width))
        return tuple(stacked), InputForms(numbers_among(cell, [array.shape[-1] for array in stacked]))

    def _embedded(self, name: str, ids: NDArray[Any]) -> NDArray[Any]:
        """Return the vectors of ids, (B,) or (T, B)."""
        vectors = self._vectors
        assert vectors is not None
        if ids.dtype.kind not in "iu" or ids.ndim != (1 if name == "x_t" else 2):
            shape = "(B,)" if name == "x_t" else "(B, T)" if self._batch_first else "(T, B)"
            raise ArgumentTypeError(
                f"{name} must be ids, integers of shape {shape}, because there is an embedding; got {ids.dtype} "
                f"of shape {ids.shape}"
            )
        rows: NDArray[Any] = vectors[checked_ids(name, ids, len(vectors))]
        return rows

    def _sent(self, name: str, x: Any) -> Any:
        """Return an array that is not a Tensor, or one id, where the weights are."""
        library = library_of(self._like)
        if is_array(x):
            return library.asarray(x)
        if isinstance(x, bool) or not isinstance(x, int | np.integer):
            wanted = "a Tensor, an array or an id" if name == "x_t" else "a Tensor or an array"
            raise ArgumentTypeError(f"{name} must be {wanted}, got {kind_of(x)}")
        if not -(2**63) <= x < 2**63:
            raise IndexError(f"{name}: id {x} is out of range")
        return library.full((), int(x), np.int64)

    def _arrays(self, name: str, state: Any, is_batch: bool) -> tuple[Any, ...]:
        """Return the arrays of a state, with a batch dimension; what a run needs of them is checked there."""
        # The type first: it is quicker.
        states = state if type(state) is tuple or isinstance(state, tuple | list) else (state,)
        arrays = tuple(
            [
                part._array
                if isinstance(part, Tensor)
                else self._sent("state", part)
                if is_array(part)
                else part
                for part in states
            ]
        )
        if is_batch:
            return arrays
        for part in arrays:
            if is_array(part) and part.ndim != 2:
                raise ArgumentValueError(
                    f"state must have shape (L, H), because {name} has no batch dimension, got {part.shape}: leave "
                    "the batch dimension out of both, or give it to both"
                )
        return tuple([part[:, None] if is_array(part) else part for part in arrays])
