"""How well a language model predicts a stream of tokens."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rondeau import nn
from rondeau import tensor as rt
from rondeau.data import TokenStream
from rondeau.kernels.runtime.transfers import on_host
from rondeau.train._checks import check_integer, check_is
from rondeau.train._showing import counted
from rondeau.train._tasks.task import evaluating, map_tensors, sent, sent_ids

# One tensor, or a tuple of them where a cell has several states; each (layers, batch, hidden).
CarriedState = Any


@dataclass(frozen=True)
class Evaluation:
    """The score of a stream.

    Attributes
    ----------
    loss : float
        Mean negative log-likelihood in nats per token, every token weighing the same.
    num_tokens : int
        How many tokens were scored.
    carried : bool
        Whether the hidden state was carried along each row, or began again with the initial state in every window.
    num_rows : int
        Into how many rows, or windows, the stream was cut; each begins with the initial state.

    Examples
    --------
    >>> evaluation = Evaluation(loss=math.log(2), num_tokens=1000, carried=True)
    >>> round(evaluation.perplexity, 6), round(evaluation.bits_per_token, 6)
    (2.0, 1.0)
    """

    loss: float
    num_tokens: int
    carried: bool
    num_rows: int = 1

    @property
    def perplexity(self) -> float:
        """Return ``exp(loss)``: 1 is perfect, the size of the vocabulary is uniform guessing."""
        return math.inf if self.loss > 700 else math.exp(self.loss)  # NaN of NaN

    @property
    def bits_per_token(self) -> float:
        """Return the loss in bits: bits per character where tokens are characters."""
        return self.loss / math.log(2)

    def columns(self) -> dict[str, float]:
        """Return the columns of a row of metrics; an infinite perplexity, which JSON lacks, is left out."""
        columns = {"held_out_loss": self.loss}
        return columns | ({"held_out_perplexity": self.perplexity} if math.isfinite(self.perplexity) else {})

    def headline(self) -> str:
        """Return what a line of progress says."""
        return f"held-out perplexity {self.perplexity:.3f}"

    def describe(self, token: str = "token") -> str:
        """Return one line for a reader; `token` is what the tokens are, such as "character"."""
        if not self.carried:
            state = f"fresh state at each of {counted(self.num_rows, 'window')}"
        elif self.num_rows == 1:
            state = "state carried over the whole stream"
        else:
            state = f"state carried over {self.num_rows:,} rows"
        return (
            f"perplexity {self.perplexity:.3f}, {self.loss:.4f} nats and {self.bits_per_token:.4f} bits per {token} "
            f"({counted(self.num_tokens, token)} scored, {state})"
        )


def loss_of_tokens(
    model: nn.Module,
    inputs: NDArray[np.int64],
    targets: NDArray[np.int64],
    state: CarriedState,
    reduction: str,
) -> tuple[rt.Tensor, CarriedState]:
    """Return the cross-entropy of inputs and targets (B, T), and the state after them.

    A `nn.LanguageModel` computes it itself, of a wide vocabulary without all logits in memory. Any other model, and one
    whose logits a hook, a subclass or another ``forward`` may want, returns logits (T*B, V), time-major.
    """
    of_its_class = getattr(model.forward, "__func__", None) is nn.LanguageModel.forward
    if of_its_class and not model._forward_hooks:
        loss, state = model(sent_ids(inputs), state, sent_ids(np.ascontiguousarray(targets)), reduction)
    else:
        logits, state = model(sent_ids(inputs), state)
        time_major = sent(np.array(targets.T, order="C").reshape(-1))
        loss = nn.functional.cross_entropy(logits, time_major, reduction=reduction)
    return loss, state


def evaluate(
    model: nn.Module,
    tokens: TokenStream | ArrayLike,
    *,
    batch_size: int = 1,
    num_steps: int = 256,
    carry_state: bool = True,
) -> Evaluation:
    """Score every token of a stream but the first, which nothing precedes.

    Parameters
    ----------
    model : Module
        Called as `nn.LanguageModel`: ``model(ids (B, T), state) -> (logits (T*B, V) time-major, state)``, where it is:
        on a GPU, nothing but the score is copied back.
    tokens : TokenStream or array_like of int, shape (n,)
        At least 2.
    batch_size : int
        1, the default, reads the stream as one row: the exact score, where every prediction sees all that came
        before. More rows are faster; each is a contiguous part that begins with the initial state, at a small cost.
    num_steps : int
        Tokens of a row in one call of the model; does not change the score where the state is carried, unless the cell
        draws noise.
    carry_state : bool
        False: every window of `num_steps` tokens begins with the initial state.

    Returns
    -------
    Evaluation
        Of ``n - 1`` tokens.

    Raises
    ------
    TypeError
        If `model` is not a Module, `tokens` are not integers, or a size is not an integer.
    ValueError
        If there are fewer than 2 tokens, or a size is less than 1.

    Examples
    --------
    >>> model = nn.LanguageModel(vocab_size=4, recurrent="rnn", hidden_size=2)
    >>> _ = nn.init.zeros_(model.head.weight), nn.init.zeros_(model.head.bias)  # every token is as likely
    >>> print(evaluate(model, [0, 1, 2, 3, 0]).describe("letter"))
    perplexity 4.000, 1.3863 nats and 2.0000 bits per letter (4 letters scored, state carried over the whole stream)
    """
    reading = Reading.of(tokens, batch_size=batch_size, num_steps=num_steps, carry_state=carry_state)
    check_is("model", model, nn.Module)
    with evaluating(model):
        return reading.score(float(on_host(reading.total(model, range(reading.rows)))))


@dataclass(frozen=True)
class Reading:
    """How a stream is cut for an evaluation.

    Attributes
    ----------
    stream : TokenStream
    rows : int
        Contiguous rows, along which the state is carried, or windows that all begin with the initial state.
    num_steps : int
        Tokens of a row in one call of the model, or of a window.
    at_once : int
        Windows in one call.
    carries : bool
    """

    stream: TokenStream
    rows: int
    num_steps: int
    at_once: int
    carries: bool

    @classmethod
    def of(
        cls, tokens: TokenStream | ArrayLike, *, batch_size: int, num_steps: int, carry_state: bool
    ) -> "Reading":
        """Return how `evaluate` reads a stream, with its arguments."""
        stream = tokens if isinstance(tokens, TokenStream) else TokenStream(tokens)
        count = len(stream) - 1
        if count < 1:
            raise ValueError(
                f"tokens: expected at least 2, one to read and one to predict, got {len(stream)}"
            )
        check_integer("batch_size", batch_size, 1)
        check_integer("num_steps", num_steps, 1)
        if carry_state:
            return cls(stream, min(batch_size, count), num_steps, batch_size, True)
        length = min(num_steps, count)
        return cls(stream, -(-count // length), length, batch_size, False)

    def total(self, model: nn.Module, chosen: range) -> Any:
        """Return the summed loss of some of the rows, side by side, where the model is."""
        return self._total_of_rows(model, chosen) if self.carries else self._total_of_windows(model, chosen)

    def score(self, total: float) -> Evaluation:
        """Return what the summed loss of all rows comes to."""
        count = len(self.stream) - 1
        return Evaluation(total / count, count, self.carries, self.rows)

    def _total_of_rows(self, model: nn.Module, chosen: range) -> Any:
        """Sum the loss over contiguous rows, whose lengths differ by one at most, the longer ones first."""
        length, longer = divmod(len(self.stream) - 1, self.rows)
        rows = np.arange(chosen.start, chosen.stop)
        starts = rows * length + np.minimum(rows, longer)
        longer = min(max(longer - chosen.start, 0), len(rows))
        total: Any = 0.0
        state = None
        for t in range(0, length if len(rows) else 0, self.num_steps):
            steps = min(self.num_steps, length - t)
            loss, state = _score(model, self.stream, starts + t, steps, state)
            total += loss
        if longer:
            state = map_tensors(lambda part: part[:, :longer], state)
            total += _score(model, self.stream, starts[:longer] + length, 1, state)[0]
        return total

    def _total_of_windows(self, model: nn.Module, chosen: range) -> Any:
        """Sum the loss over windows, `at_once` of them at a time; the last of the stream may be shorter."""
        whole, rest = divmod(len(self.stream) - 1, self.num_steps)
        starts = np.arange(whole)[chosen.start : chosen.stop] * self.num_steps
        total: Any = 0.0
        for i in range(0, len(starts), self.at_once):
            total += _score(model, self.stream, starts[i : i + self.at_once], self.num_steps, None)[0]
        if rest and whole in chosen:
            total += _score(model, self.stream, np.array([whole * self.num_steps]), rest, None)[0]
        return total


def _score(
    model: nn.Module, stream: TokenStream, starts: NDArray[np.int64], num_steps: int, state: CarriedState
) -> tuple[Any, CarriedState]:
    """Sum the loss of the `num_steps` predictions that follow each of `starts` (B,), where the model is."""
    windows = stream.windows(starts, num_steps + 1)
    losses, state = loss_of_tokens(
        model, np.ascontiguousarray(windows[:, :-1]), windows[:, 1:], state, reduction="none"
    )
    return losses._array.sum(dtype=np.float64), state
