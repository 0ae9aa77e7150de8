"""Text from a language model, token by token."""

import math
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt
from rondeau.data import Codec
from rondeau.kernels.runtime.transfers import on_host
from rondeau.nn.freezing import is_as_built
from rondeau.train._checks import ABOVE_ZERO_UP_TO_ONE, AT_LEAST_ZERO, check_integer, check_is, check_number
from rondeau.train._diverged import DivergedError
from rondeau.train._tasks.task import device_of, evaluating, sent_ids


def generate(
    model: nn.Module,
    codec: Codec,
    prompt: str,
    length: int,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    on_unknown: Literal["error", "unk"] = "error",
    weights: Literal["float32", "int8"] = "float32",
) -> "Pieces":
    """Continue a text: read `prompt`, then feed the model its own draws.

    Parameters
    ----------
    model : Module
        Called as `nn.LanguageModel`: ``model(ids (B, T), state) -> (logits (T*B, V) time-major, state)``. One that is a
        `nn.LanguageModel` itself reads the prompt and is then frozen: its stepper gives the same text faster, and
        training between two pieces does not change it. On a GPU, the logits of each token are copied to the CPU, where
        it is drawn.
    codec : Codec
        Tokenizer and vocabulary that the model was trained with.
    prompt : str
        At least one token.
    length : int
        How many tokens to draw.
    temperature : float
        The logits are divided by it: below 1 is safer, above 1 wilder, and 0 takes the likeliest token each time.
    top_k : int, optional
        Draw among the `top_k` likeliest tokens only.
    top_p : float, optional
        Draw among the fewest likeliest tokens whose probabilities, after `top_k`, sum to at least `top_p`
        (Holtzman et al., "The curious case of neural text degeneration", 2020).
    seed : int, optional
        Of the draws, and of the noise where a cell draws any; the same seed gives the same text. None: another text
        each time. Either way the library's own generator is left alone, so a sample changes nothing in a training.
    on_unknown : {"error", "unk"}
        What becomes of a token of the prompt that is not in the vocabulary: an error, or the unknown token.
    weights : {"float32", "int8"}
        With int8, a `nn.LanguageModel` on the CPU keeps its matrices in a quarter of the memory after the prompt, and
        large layers draw several times as fast; the logits are a little off (`nn.Stepper`). By default the weights are
        used as they are.

    Returns
    -------
    Pieces
        An iterator of str: the text after the prompt, in pieces, each as soon as it is drawn.
        ``prompt + "".join(pieces)`` is the whole, with a space between two words where the tokenizer joins them so. The
        unknown token is never drawn.

    Raises
    ------
    TypeError
        If an argument is of another type.
    ValueError
        If the prompt is empty or holds unknown tokens, a number is out of its range, or `weights` is neither format, or
        int8 for another model than a float32 `nn.LanguageModel` on the CPU.
    DivergedError
        From the iterator, if the model predicts nothing: its logits are NaN, or infinite.

    Examples
    --------
    >>> from rondeau import data, nn, tensor as rt, train
    >>> _ = rt.manual_seed(0)
    >>> text = "abc" * 40
    >>> codec = data.Codec.fit(text, data.CharTokenizer())
    >>> model = nn.LanguageModel(len(codec), recurrent="gru", hidden_size=8)
    >>> optimizer = train.optim.Adam(model.parameters(), lr=0.05)
    >>> batches = data.SequentialBatches(data.TokenStream(codec.encode(text), len(codec)), 2, 5)
    >>> train.Trainer(model, optimizer, batches, max_epochs=10).fit()
    >>> "".join(train.generate(model, codec, "ab", length=7, temperature=0))
    'cabcabc'
    """
    check_is("model", model, nn.Module)
    check_is("codec", codec, Codec)
    check_is("prompt", prompt, str)
    check_integer("length", length, 0, " tokens")
    _check_choice(temperature, top_k, top_p)
    if seed is not None:
        check_integer("seed", seed, 0, most=None)
    ids = _encode_prompt(codec, prompt, on_unknown)
    _check_weights(model, weights)
    choice = temperature, top_k, top_p
    draws = _draw(model, ids, length, choice, codec.vocab.unk, rt.Generator(seed), weights)
    return Pieces(_continue_text(codec, prompt, ids, draws))


class Pieces(Iterator[str]):
    """The text that `generate` draws, piece by piece: an iterator that is consumed once.

    Examples
    --------
    >>> pieces = Pieces(iter(["to ", "be"]))
    >>> pieces
    <text yet to be drawn: write "".join(...) for the whole, or loop over its pieces as they come>
    >>> next(pieces)
    'to '
    >>> "".join(pieces)
    'be'
    """

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces

    def __next__(self) -> str:
        return next(self._pieces)

    def __repr__(self) -> str:
        return (
            '<text yet to be drawn: write "".join(...) for the whole, or loop over its pieces as they come>'
        )


def token_probabilities(
    logits: NDArray[Any], temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> NDArray[np.float64]:
    """Return the probabilities from which the next token is drawn.

    Parameters
    ----------
    logits : ndarray of shape (V,)
    temperature, top_k, top_p
        As for `generate`. Of equally likely tokens, the first ones in the vocabulary are kept.

    Returns
    -------
    ndarray of float64, shape (V,)

    Raises
    ------
    TypeError
        If an argument is of another type.
    ValueError
        If a number is out of its range, the logits are not a vector, or no probabilities follow from them: one is NaN
        or infinity, or all are minus infinity.

    Examples
    --------
    >>> logits = np.log([0.5, 0.3, 0.2])
    >>> token_probabilities(logits, top_k=2).round(3).tolist()
    [0.625, 0.375, 0.0]
    >>> token_probabilities(logits, top_p=0.4).tolist()
    [1.0, 0.0, 0.0]
    >>> token_probabilities(logits, temperature=0).tolist()
    [1.0, 0.0, 0.0]
    """
    _check_choice(temperature, top_k, top_p)
    try:
        scores = np.asarray(logits, dtype=np.float64)
    except (TypeError, ValueError):
        raise TypeError(f"logits: expected an array of numbers, got {type(logits).__name__}") from None
    if scores.ndim != 1 or not scores.size:
        raise ValueError(f"logits: expected shape (V,) with V at least 1, got {scores.shape}")
    useless = _why_useless(scores)
    if useless:
        raise ValueError(f"logits: expected numbers, or minus infinity for some, but {useless}")
    return _probabilities(scores, temperature, top_k, top_p)


def _why_useless(scores: NDArray[np.float64]) -> str | None:
    """Say why no probabilities follow from logits; None if they do."""
    largest = scores.max()  # NaN if one is
    if math.isfinite(largest):
        return None
    return "all are -inf" if largest == -math.inf else f"one is {largest}"


def _check_choice(temperature: float, top_k: int | None, top_p: float | None) -> None:
    check_number("temperature", temperature, AT_LEAST_ZERO)
    if top_k is not None:
        check_integer("top_k", top_k, 1)
    if top_p is not None:
        check_number("top_p", top_p, ABOVE_ZERO_UP_TO_ONE)


def _probabilities(
    scores: NDArray[np.float64], temperature: float, top_k: int | None, top_p: float | None
) -> NDArray[np.float64]:
    probabilities = np.zeros_like(scores)
    if temperature == 0:
        probabilities[scores.argmax()] = 1.0
        return probabilities
    order = np.argsort(-scores, kind="stable")[:top_k]
    with np.errstate(over="ignore"):  # to minus infinity, of which exp is 0
        kept = np.exp((scores[order] - scores[order[0]]) / temperature)
    kept /= kept.sum()
    if top_p is not None:
        enough = int(np.searchsorted(np.cumsum(kept), top_p)) + 1
        order, kept = order[:enough], kept[:enough] / kept[:enough].sum()
    probabilities[order] = kept
    return probabilities


def _encode_prompt(codec: Codec, prompt: str, on_unknown: str) -> NDArray[np.int64]:
    if on_unknown not in ("error", "unk"):
        raise ValueError(f"on_unknown: expected 'error' or 'unk', got {on_unknown!r}")
    unknown = sorted({token for token in codec.tokenizer.split(prompt) if token not in codec.vocab})
    if unknown and (on_unknown == "error" or codec.vocab.unk is None):
        remedy = "" if codec.vocab.unk is None else f", or let them be {codec.vocab.tokens[codec.vocab.unk]}"
        raise ValueError(
            f"the prompt holds {', '.join(map(repr, unknown[:5]))}{', ...' * (len(unknown) > 5)}, not among the "
            f"{len(codec)} tokens of the vocabulary; leave them out{remedy}"
        )
    ids = codec.encode(prompt).astype(np.int64)
    if not len(ids):
        raise ValueError("the prompt holds no token; give at least one for the model to continue")
    return ids


def _continue_text(codec: Codec, prompt: str, ids: NDArray[np.int64], draws: Iterator[int]) -> Iterator[str]:
    """Yield the text of `draws` as it reads behind the prompt: between words it begins with a space."""
    known = codec.decode(ids)
    skipped = len(known)
    pieces = codec.decode_stream(chain(ids.tolist(), draws))
    # Whether the prompt's own last space is not a token.
    has_space = prompt[-1:].isspace() and not known[-1:].isspace()
    for piece in pieces:
        rest = piece[skipped:]
        skipped = max(0, skipped - len(piece))
        if rest and has_space:
            rest, has_space = rest.removeprefix(" "), False
        if rest:
            yield rest


def _draw(
    model: nn.Module,
    prompt: NDArray[np.int64],
    length: int,
    choice: tuple[float, int | None, float | None],
    never: int | None,
    generator: rt.Generator,
    weights: str,
) -> Iterator[int]:
    """Yield the index of each drawn token; the choice is by temperature, `top_k` and `top_p`."""
    if length == 0:
        return
    with generator.as_default(), evaluating(model):  # not around the yield: the caller's code runs there
        logits, state = model(sent_ids(prompt[None, :]), None)
    step = _step_of(model, generator, weights)
    scores = _scores(logits)
    for remaining in range(length - 1, -1, -1):
        if never is not None:
            scores[never] = -np.inf
        useless = _why_useless(scores)
        if useless:
            read = len(prompt) + length - 1 - remaining
            raise DivergedError(
                f"the model predicts no token after the first {read}: of its logits {useless}; has training diverged?"
            )
        cumulated = np.cumsum(_probabilities(scores, *choice))
        token = int(np.searchsorted(cumulated, generator.numpy.random() * cumulated[-1], side="right"))
        yield token
        if remaining:
            logits, state = step(np.array([token]), state)
            scores = _scores(logits)


def _scores(logits: rt.Tensor) -> NDArray[np.float64]:
    """Return the last row of logits, on the CPU, where tokens are drawn: the same seed draws them on every device."""
    scores: NDArray[np.float64] = on_host(logits._array[-1]).astype(np.float64)
    return scores


def _can_step(model: nn.Module) -> TypeGuard[nn.LanguageModel]:
    """Return whether a stepper computes what the model does: no part has a forward of its own, or hooks."""
    if not isinstance(model, nn.LanguageModel):
        return False
    parts = {
        nn.LanguageModel: model, nn.Embedding: model.embedding, nn.Dropout: model.dropout,
        nn.Recurrent: model.recurrent, nn.Linear: model.head,
    }  # fmt: skip
    return all(part is None or is_as_built(part, kind) for kind, part in parts.items())


def _check_weights(model: nn.Module, weights: str) -> None:
    """Raise ValueError unless a model can draw with weights in a format."""
    if weights not in ("float32", "int8"):
        raise ValueError(f"weights: expected 'float32' or 'int8', got {weights!r}")
    if weights == "float32":
        return
    if not _can_step(model):
        raise ValueError(
            "weights: int8 is for an nn.LanguageModel whose parts have the forwards of their classes and no forward "
            f"hooks, got {type(model).__name__}"
        )
    device, dtype = device_of(model), model.head.weight.dtype
    if device != "cpu" or dtype != np.float32:
        raise ValueError(f"weights: int8 is for a model of float32 on the CPU, got {dtype} on {device}")


def _step_of(
    model: nn.Module, generator: rt.Generator, weights: str
) -> Callable[[NDArray[np.int64], Any], tuple[rt.Tensor, Any]]:
    """Return what reads one token a call, as ids (1,), and gives logits (1, V) and the state."""
    if _can_step(model):
        with generator.as_default():
            stepper = model.stepper(weights)
        device = device_of(model)
        if device == "cpu":
            return stepper
        return lambda ids, state: stepper(rt.tensor(ids, device=device), state)

    def step(ids: NDArray[np.int64], state: Any) -> tuple[rt.Tensor, Any]:
        with generator.as_default(), evaluating(model):
            logits, state = model(sent_ids(ids[None, :]), state)
        return logits, state

    return step
