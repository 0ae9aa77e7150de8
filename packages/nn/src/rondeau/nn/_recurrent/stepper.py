"""`Stepper`: recurrent layers and a head, frozen, that run one step a call."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels import stepper
from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.sequence import Cell, Settings, Weights
from rondeau.tensor import Tensor

from .._checks import kind_of
from .._embedding import Embedding
from .._linear import Linear
from .states import State, as_returned

__all__ = ["Stepper"]


class Layers(Protocol):
    """What a stepper freezes: recurrent layers."""

    bidirectional: bool
    input_size: int

    def _in_evaluation(self) -> tuple[Cell, list[Weights], Settings]:
        """Return the cell as in evaluation, the weights of every layer, and the settings."""


class Stepper:
    """A frozen snapshot of recurrent layers that runs one step a call, for streams and for the writing of text.

    `Recurrent.stepper` and `LanguageModel.stepper` make one. The weights are copied, and packed once for the product,
    which a call of the layer does each time; later changes of the layer's parameters are not seen.

    Parameters
    ----------
    layer : Recurrent
        In one direction. It runs as in evaluation whatever its mode: without dropout, with the expectation of zoneout.
    head : Linear, optional
        Applied to the output.
    embedding : Embedding, optional
        Applied to the input, which then is ids.

    Raises
    ------
    ValueError
        If the layer is bidirectional, or the sizes of head and embedding do not fit it.
    TypeError
        If the layer, head or embedding is none, dtypes differ, or parameters are not in the memory of the CPU.

    Notes
    -----
    ``y, state = stepper(x_t, state)`` returns what ``layer(x, state)`` returns for a sequence of one step, and the head
    of it, to the bit; nothing is recorded for gradients. What it returns is the caller's: states may be kept, changed
    and given in any order, as a beam search does.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> stepper = nn.LSTM(3, 5).stepper(nn.Linear(5, 2))
    >>> y, state = stepper(rt.ones(4, 3))
    >>> y, (h, c) = stepper(rt.ones(4, 3), state)
    >>> y.shape, h.shape, c.shape
    ((4, 2), (1, 4, 5), (1, 4, 5))
    """

    def __init__(self, layer: Layers, head: Linear | None = None, embedding: Embedding | None = None) -> None:
        for name, module, kind in (("head", head, Linear), ("embedding", embedding, Embedding)):
            if module is not None and not isinstance(module, kind):
                raise ArgumentTypeError(
                    f"{name} should be an nn.{kind.__name__} or None, got {type(module).__name__}"
                )
        if not hasattr(layer, "_in_evaluation"):
            raise ArgumentTypeError(
                f"layer should be an nn.Recurrent, nn.RNN, nn.GRU or nn.LSTM, got {type(layer).__name__}"
            )
        if layer.bidirectional:
            raise ArgumentValueError(
                "A bidirectional layer cannot run step by step: the reverse direction begins at the end of the "
                "sequence. Use bidirectional=False"
            )
        self._vectors: NDArray[Any] | None = None
        if embedding is not None:
            if embedding.embedding_dim != layer.input_size:
                raise ArgumentValueError(
                    f"embedding should have vectors of the layer's input_size={layer.input_size}, got "
                    f"{embedding.embedding_dim}"
                )
            self._vectors = np.array(embedding.weight._array)
        frozen_head = None
        if head is not None:
            frozen_head = head.weight._array, None if head.bias is None else head.bias._array
        self._stepper = stepper.Stepper(*layer._in_evaluation(), frozen_head)

    def __call__(
        self, x_t: Tensor | NDArray[Any] | int, state: State | NDArray[Any] | tuple[Any, ...] | None = None
    ) -> tuple[Tensor, State]:
        """Run one step.

        Parameters
        ----------
        x_t : Tensor, ndarray or int
            The input of the step: (B, I), or (I,) for one sequence without a batch; ids (B,), or one as an integer,
            which stand for one-hot rows, or for vectors of the embedding.
        state : Tensor or ndarray, or tuple of them, optional
            The state before the step, as a call or the layer returns it: (L, B, P) the first and (L, B, H) the others,
            without B for an input without. Default: zeros.

        Returns
        -------
        y : Tensor
            (B, V) with a head, (B, P) without; without B for an input without.
        state : Tensor or tuple of Tensor
            After the step, in the form that the layer returns.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or dtype.
        IndexError
            If an id is out of range.
        """
        x: Any = x_t._array if isinstance(x_t, Tensor) else x_t
        if not isinstance(x, np.ndarray):
            x = _one_id(x)
        is_batch = x.ndim == (1 if x.dtype.kind in "iu" else 2)
        if not is_batch:
            x = x[None]
        if self._vectors is not None:
            x = self._embedded(x)
        states = None if state is None else _arrays(state, is_batch)
        y, after = self._stepper(x, states)
        if not is_batch:
            y, after = y[0], tuple(part[:, 0] for part in after)
        return Tensor(y), as_returned(tuple([Tensor(part) for part in after]))

    def _embedded(self, ids: NDArray[Any]) -> NDArray[Any]:
        vectors = self._vectors
        assert vectors is not None
        if ids.dtype.kind not in "iu" or ids.ndim != 1:
            raise ArgumentTypeError(
                f"x_t should be ids, integers of shape (B,), for an embedding makes vectors of them; got {ids.dtype} "
                f"of shape {ids.shape}"
            )
        if ids.size and not (ids.min() >= 0 and ids.max() < len(vectors)):
            wrong = ids[(ids < 0) | (ids >= len(vectors))][0]
            raise IndexError(
                f"x_t: id {wrong} is out of range: there are {len(vectors)} rows, 0 to {len(vectors) - 1}"
            )
        rows: NDArray[Any] = vectors[ids]
        return rows


def _one_id(x: Any) -> NDArray[np.int64]:
    """Return one id as an array without dimensions."""
    if isinstance(x, bool) or not isinstance(x, int | np.integer):
        raise ArgumentTypeError(f"x_t should be a Tensor, an array or an id, got {kind_of(x)}")
    if not -(2**63) <= x < 2**63:
        raise IndexError(f"x_t: id {x} is out of range")
    return np.array(x, np.int64)


def _arrays(state: Any, is_batch: bool) -> tuple[Any, ...]:
    """Return the arrays of a state, with the dimension of the batch.

    Of a batch they are checked where the step runs.
    """
    states = state if isinstance(state, tuple | list) else (state,)
    arrays = tuple([part._array if isinstance(part, Tensor) else part for part in states])
    if is_batch:
        return arrays
    for part in arrays:
        if isinstance(part, np.ndarray) and part.ndim != 2:
            raise ArgumentValueError(
                f"state should be of shape (L, H), as x_t has no dimension of a batch, got {part.shape}: leave the "
                "batch out of both, or give it to both"
            )
    return tuple([part[:, None] if isinstance(part, np.ndarray) else part for part in arrays])
