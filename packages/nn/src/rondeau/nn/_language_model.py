"""`LanguageModel`: from token ids to the logits or the loss of the next token, and a state to continue from."""

from __future__ import annotations

import difflib
import inspect
from typing import Any, ClassVar, Unpack

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.sequence import Cell
from rondeau.tensor import Tensor

from . import cells
from ._activations import Identity
from ._as_built import check_as_built
from ._checks import as_array, check_probability, check_sizes
from ._dropout import Dropout
from ._embedding import Embedding
from ._linear import Linear
from ._linear_cross_entropy import loss_of_head
from ._module import Module
from ._recurrent.layer import Recurrent, State
from ._recurrent.options import Options, refuse_unknown
from ._recurrent.stepper import Stepper

_BUILT_IN: dict[str, Cell] = {name: getattr(cells, name) for name in cells.__all__}


class LanguageModel(Module):
    """A recurrent language model: one-hot or embedded tokens, recurrent layers, and a linear head.

    Trained to give the next token a high probability at every step, it models text; fed its own predictions, it
    generates text.

    Parameters
    ----------
    vocab_size : int
        V, the number of tokens.
    recurrent : str, Cell or Recurrent
        The recurrent layers: "rnn", "gru", "lstm" or the name of another cell of `rondeau.nn.cells`; any cell made by
        `recurrent_cell`; or existing layers, whose input size must be `embedding_size`, or V for one-hot input.
    hidden_size : int, optional
        H, the number of hidden units of a layer; not given if `recurrent` is a layer.
    num_layers : int, optional
        L, 1 by default; not given if `recurrent` is a layer.
    embedding_size : int, optional
        The size of the learned vectors that represent tokens. If None, tokens are one-hot vectors, which are never
        formed: instead of multiplying them by the input weights, columns are selected, with the same result up to
        rounding.
    dropout : float
        The probability of dropping an element of the embedded input, and of the output of each recurrent layer, in
        training (Zaremba, Sutskever, Vinyals, "Recurrent neural network regularization", 2014).
    tie_weights : bool
        Share one weight between head and embedding, which requires `embedding_size` to equal the layers' output size
        (Press, Wolf, "Using the output embedding to improve language models", 2017). It is initialised like a head's.
    device : optional
        Where the parameters are created.
    dtype : dtype, optional
        float32 (the default) or float64.
    **options
        Keyword-only options of `Recurrent`, such as ``zoneout`` or ``recurrent_dropout``; not given if `recurrent` is a
        layer.

    Attributes
    ----------
    embedding : Embedding or None
    recurrent : Recurrent
    head : Linear

    Raises
    ------
    TypeError
        If a size is not an integer, or `recurrent` is neither a name, a cell nor a layer.
    ValueError
        If the recurrent layers are bidirectional (the reverse direction reads the tokens that the model should
        predict), if sizes do not match, or if options are given together with a layer.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> model = nn.LanguageModel(vocab_size=28, recurrent="gru", hidden_size=16)
    >>> ids = rt.zeros(2, 5, dtype="int64")
    >>> logits, state = model(ids, model.begin_state(batch_size=2))
    >>> logits.shape, state.shape
    ((10, 28), (1, 2, 16))
    """

    CELLS: ClassVar[dict[str, Cell]] = {
        "rnn": cells.rnn_tanh,
        **{name: cell for name, cell in _BUILT_IN.items() if cell.project is None and not cell.inputs},
    }
    """The built-in cells by name, except the one that must be projected and those with inputs of their own."""

    def __init__(
        self,
        vocab_size: int,
        recurrent: str | Cell | Recurrent = "gru",
        hidden_size: int | None = None,
        num_layers: int | None = None,
        embedding_size: int | None = None,
        dropout: float = 0.0,
        tie_weights: bool = False,
        device: Any = None,
        dtype: DTypeLike | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__()
        of_layers = inspect.signature(Recurrent).parameters
        refuse_unknown({k: v for k, v in options.items() if k not in of_layers}, LanguageModel, Recurrent)
        given = {"vocab_size": vocab_size, "embedding_size": embedding_size}
        given |= {"hidden_size": hidden_size, "num_layers": num_layers}
        check_sizes(
            **{name: size for name, size in given.items() if size is not None or name == "vocab_size"}
        )
        check_probability("dropout", dropout)
        input_size = vocab_size if embedding_size is None else embedding_size
        if isinstance(recurrent, Recurrent):
            if options:
                raise ArgumentValueError(
                    f"{', '.join(options)} was given together with a recurrent layer, which has its own options: pass "
                    f"it to the layer, as in nn.{type(recurrent).__name__}(..., {next(iter(options))}=...)"
                )
            layers = recurrent
        else:
            depth = 1 if num_layers is None else num_layers
            if hidden_size is None:
                raise ArgumentValueError("hidden_size is missing: pass it, or a Recurrent layer that has one")
            between = dropout if depth > 1 else 0.0
            layers = Recurrent(
                _cell(recurrent),
                input_size,
                hidden_size,
                depth,
                dropout=between,
                device=device,
                dtype=dtype,
                **options,
            )
        _check_layers(layers, input_size, hidden_size, num_layers)
        output_size = layers.proj_size or layers.hidden_size
        if tie_weights and embedding_size != output_size:
            own = "one-hot input" if embedding_size is None else f"embedding_size={embedding_size}"
            raise ArgumentValueError(
                "tie_weights needs an embedding as wide as the recurrent output: "
                f"expected embedding_size={output_size}, got {own}"
            )
        self.vocab_size = vocab_size
        self.embedding: Embedding | None = None
        if embedding_size is not None:
            self.embedding = Embedding(vocab_size, embedding_size, device=device, dtype=dtype)
        self.dropout = Dropout(dropout)
        self.recurrent = layers
        self.head = Linear(output_size, vocab_size, device=device, dtype=dtype)
        if tie_weights and self.embedding is not None:
            self.embedding.weight = self.head.weight

    def begin_state(self, batch_size: int, device: Any = None) -> State:
        """Return the state that a text begins with: zeros, or the learned initial states, with their gradient.

        Parameters
        ----------
        batch_size : int
            B.
        device : optional
            Where the state is created; by default, where the parameters are.

        Returns
        -------
        Tensor or tuple of Tensor
            (L, B, H) for a cell with one state, a tuple of these for a cell with several, as `Recurrent` takes them.
        """
        return self.recurrent.begin_state(batch_size, device)

    def forward(
        self,
        ids: Tensor | NDArray[np.int64],
        state: State | None = None,
        targets: Tensor | NDArray[np.int64] | None = None,
        reduction: str = "mean",
    ) -> tuple[Tensor, State]:
        """Compute the logits of the next token after every step; or, given what it was, their loss.

        Parameters
        ----------
        ids : Tensor or ndarray
            int64 (B, T), each from 0 to V-1: a batch as the samplers of `rondeau.data` yield it.
        state : Tensor or tuple of Tensor, optional
            The state that the previous call returned, or that of `begin_state`, which is the default.
        targets : Tensor or ndarray, optional
            int64 (B, T): the token after each of `ids`, as the samplers yield them too; -100 does not count. With them
            the model returns the cross-entropy and not the logits. Of a wide vocabulary, these are never in memory as a
            whole: see `rondeau.nn.functional.linear_cross_entropy`.
        reduction : {"mean", "sum", "none"}
            How the losses of all tokens are reduced.

        Returns
        -------
        logits or loss : Tensor
            Logits (T*B, V), time-major: row ``t*B + b`` is the prediction after ``ids[b, t]``. The targets in this
            order are ``Y.T.reshape(-1)``. The loss has shape (), or without reduction (T*B,) in the same order.
        state : Tensor or tuple of Tensor
            The state after the last step; for truncated backpropagation, ``detach`` it before the next call.

        Raises
        ------
        TypeError
            If `ids` or `targets` are not int64.
        ValueError
            If they do not have two dimensions, or not the same shape.
        IndexError
            If an id is not in the vocabulary.

        Examples
        --------
        >>> from rondeau import nn, tensor as rt
        >>> model = nn.LanguageModel(vocab_size=28, recurrent="gru", hidden_size=16)
        >>> text = rt.tensor([[1, 2, 3, 4]])
        >>> loss, state = model(text[:, :-1], targets=text[:, 1:])
        >>> loss.backward()
        """
        ids = self._checked("ids", ids)
        tokens = ids if self.recurrent.batch_first else ids.transpose(0, 1)
        x = tokens if self.embedding is None else self.dropout(self.embedding(tokens))
        output, state = self.recurrent(x, state)
        if self.recurrent.batch_first:
            output = output.transpose(0, 1)
        rows = self.dropout(output.reshape(ids.shape[0] * ids.shape[1], output.shape[-1]))
        if targets is None:
            logits: Tensor = self.head(rows)
            return logits, state
        return self._loss(rows, self._checked("targets", targets, ids.shape), reduction), state

    def _checked(self, name: str, ids: Any, shape: tuple[int, ...] | None = None) -> Tensor:
        """Return ids as a tensor where the parameters are, after checking their dtype and shape."""
        given: Tensor = ids
        if not isinstance(ids, Tensor):
            given = Tensor(as_array(name, ids)).to(next(self.parameters()).device)
        if given.ndim != 2 or given.dtype != np.int64:
            kind = ArgumentValueError if given.dtype == np.int64 else ArgumentTypeError
            raise kind(
                f"{name} must be int64 of shape (batch, steps), got {given.dtype} of shape {given.shape}"
            )
        if shape is not None and given.shape != shape:
            raise ArgumentValueError(
                f"{name} must have the shape of ids, {tuple(shape)}, one for each, got {tuple(given.shape)}"
            )
        return given

    def _loss(self, rows: Tensor, targets: Tensor, reduction: str) -> Tensor:
        """Return the cross-entropy of the head's logits of rows (T*B, H), given targets (B, T)."""
        return loss_of_head(self.head, rows, targets.T.reshape(-1), reduction=reduction)

    def stepper(self, weights: str = "float32") -> Stepper:
        """Return a frozen snapshot of the model that reads one token per call, to generate text fast.

        Parameters
        ----------
        weights : {"float32", "int8"}
            How the matrices of the layers and the head are kept: as they are, by default; or rounded to int8 with a
            scale for each row, for steps that are faster, and a little off. See `Stepper`. The embedding, of which a
            step reads one row, stays as it is.

        Returns
        -------
        Stepper
            ``logits, state = stepper(ids, state)`` maps ids (B,), or one integer, to logits (B, V), or (V,). Unless the
            weights are in int8, they have the same bits as those of the model, called in evaluation mode with one step
            at the precision "highest".
            ``stepper.run(ids, state)`` maps ids (B, T) to logits (B, T, V): those of a prompt, for example.

        Raises
        ------
        ValueError
            If `weights` is neither format.
        TypeError
            If the model or a part of it has a forward of its own or forward hooks, which a stepper would leave out; or
            with weights in int8, if the model is float64 or on a GPU.

        Examples
        --------
        >>> from rondeau import nn
        >>> stepper = nn.LanguageModel(vocab_size=28, recurrent="gru", hidden_size=16).stepper()
        >>> logits, state = stepper(3)
        >>> logits, state = stepper(int(logits.argmax()), state)
        >>> logits.shape, state.shape
        ((28,), (1, 16))
        """
        check_as_built("the model", self, LanguageModel)
        kind = Identity if isinstance(self.dropout, Identity) else Dropout
        check_as_built("dropout", self.dropout, kind)
        return Stepper(self.recurrent, self.head, self.embedding, weights, batch_first=True)


def _cell(recurrent: str | Cell) -> Cell:
    if isinstance(recurrent, Cell):
        return recurrent
    if not isinstance(recurrent, str):
        raise ArgumentTypeError(
            f"recurrent must be the name of a cell, a cell or a Recurrent layer, got {_described(recurrent)}"
        )
    if recurrent not in LanguageModel.CELLS:
        near = difflib.get_close_matches(recurrent.lower(), LanguageModel.CELLS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ArgumentValueError(
            f"Unknown recurrent layer {recurrent!r}: expected {', '.join(LanguageModel.CELLS)}, a cell or a layer{hint}"
        )
    return LanguageModel.CELLS[recurrent]


def _described(recurrent: Any) -> str:
    if not isinstance(recurrent, type):
        return type(recurrent).__name__
    name = recurrent.__name__
    hint = (
        f": pass {name.lower()!r}, or make the layer, nn.{name}(...)"
        if issubclass(recurrent, Recurrent)
        else ""
    )
    return f"the class {name}{hint}"


def _check_layers(
    layers: Recurrent, input_size: int, hidden_size: int | None, num_layers: int | None
) -> None:
    if layers.bidirectional:
        raise ArgumentValueError(
            "A bidirectional language model sees its target: the reverse direction has read token t+1 "
            "when the model predicts it. Use bidirectional=False; both directions are for classification"
        )
    if layers.cell.inputs:
        raise ArgumentValueError(
            f"A language model reads tokens alone, and cell {layers.cell.name} needs its inputs "
            f"{', '.join(layers.cell.inputs)}: use another cell, or a model of your own that passes them"
        )
    for name, given in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        own = getattr(layers, name)
        if given is not None and given != own:
            raise ArgumentValueError(f"The recurrent layer has {name}={own}, expected {name}={given}")
