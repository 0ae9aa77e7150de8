"""A training step of a language model of words of either library, with clipping and a step of gradient descent."""

from collections.abc import Callable

import numpy as np

LEARNING_RATE, LARGEST_NORM = 0.1, 5.0


def prepare(
    library: str, words: int, hidden: int, layers: int, batch: int, steps: int, threads: int
) -> Callable[[], object]:
    """Return the step of "rondeau", of "rondeau, whole logits" or of "torch" on random words; the state is carried."""
    ids = np.random.default_rng(0).integers(0, words, (batch, steps + 1))
    make = _torch if library == "torch" else _rondeau
    return make(ids, words, hidden, layers, threads, library == "rondeau, whole logits")


def _rondeau(
    ids: np.ndarray, words: int, hidden: int, layers: int, threads: int, whole: bool
) -> Callable[[], object]:
    from rondeau import nn, train
    from rondeau import tensor as rt

    rt.set_num_threads(threads)
    model = nn.LanguageModel(words, "lstm", hidden, layers, embedding_size=hidden)
    optimizer = train.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    inputs, targets, state = ids[:, :-1].copy(), ids[:, 1:].copy(), None

    def step() -> object:
        nonlocal state
        optimizer.zero_grad()
        if whole:
            logits, state = model(inputs, state)
            loss = nn.functional.cross_entropy(logits, targets.T.reshape(-1))
        else:
            loss, state = model(inputs, state, targets)
        state = tuple(part.detach() for part in state)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM)
        optimizer.step()
        return loss

    return step


def _torch(
    ids: np.ndarray, words: int, hidden: int, layers: int, threads: int, whole: bool
) -> Callable[[], object]:
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    model = nn.ModuleDict(
        {
            "embedding": nn.Embedding(words, hidden),
            "recurrent": nn.LSTM(hidden, hidden, layers),
            "head": nn.Linear(hidden, words),
        }
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    tokens = torch.from_numpy(ids)
    inputs, targets, state = tokens[:, :-1], tokens[:, 1:].T.reshape(-1), None

    def step() -> object:
        nonlocal state
        optimizer.zero_grad()
        output, state = model["recurrent"](model["embedding"](inputs.T), state)
        loss = nn.functional.cross_entropy(model["head"](output.reshape(-1, hidden)), targets)
        state = tuple(part.detach() for part in state)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), LARGEST_NORM)
        optimizer.step()
        return loss

    return step
