"""The models of makemore and their training, by rondeau."""

import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau import nn, train
from rondeau import tensor as rt

from .recipe import BATCH, BETAS, DECAY, EMBEDDING, HIDDEN, IGNORED, RATE, FirstNames


class WindowModel(nn.Module):
    """A multilayer network on the embeddings of the tokens so far, the last one first (Bengio et al., 2003)."""

    def __init__(self, tokens: int, block: int) -> None:
        super().__init__()
        self.blank, self.block = tokens, block  # one more token stands before the start
        self.embedding = nn.Embedding(tokens + 1, EMBEDDING)
        self.network = nn.Sequential(
            nn.Linear(block * EMBEDDING, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, tokens)
        )

    def forward(self, ids: NDArray[np.int64], state: None = None) -> tuple[rt.Tensor, None]:
        """Return logits (T*B, V) of the tokens after `ids` (B, T), time-major as `nn.LanguageModel` gives them."""
        padded = np.pad(ids, ((0, 0), (self.block - 1, 0)), constant_values=self.blank)
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.block, axis=1)[:, :, ::-1]
        rows = np.ascontiguousarray(windows.transpose(1, 0, 2)).reshape(-1, self.block)
        return self.network(self.embedding(rt.tensor(rows)).reshape(len(rows), -1)), None


CELLS = {"rnn": nn.cells.rnn_tanh, "gru": nn.cells.gru_original, "lstm": nn.cells.lstm}
"""By the name of the model; makemore's GRU is the published one."""


def loss_of(model: nn.Module, names: FirstNames, rows: NDArray[np.int64]) -> rt.Tensor:
    """Return the mean loss of the characters, in nats."""
    logits, _ = model(names.inputs[rows])
    loss: rt.Tensor = nn.functional.cross_entropy(
        logits, names.targets[rows].T.reshape(-1), ignore_index=IGNORED
    )
    return loss


class Row(NamedTuple):
    """Where a training stands.

    Attributes
    ----------
    step : int
    training_loss : float
        The mean since the row before, in nats.
    held_out_loss : float
        Of all held-out names, in nats.
    seconds : float
        What all steps so far took, without evaluations.
    """

    step: int
    training_loss: float
    held_out_loss: float
    seconds: float


def run(names: FirstNames, name: str, steps: int, seed: int, every: int) -> Iterator[Row]:
    """Train the model of a name; yield a row every so many steps, and at the end."""
    rt.manual_seed(seed)
    model = (
        WindowModel(names.num_tokens, names.block)
        if name == "mlp"
        else nn.LanguageModel(names.num_tokens, CELLS[name], hidden_size=HIDDEN, embedding_size=EMBEDDING)
    )
    optimizer = train.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY, betas=BETAS)
    generator = np.random.default_rng(seed)
    losses, seconds = [], 0.0
    for step in range(1, steps + 1):
        started = time.perf_counter()
        batch = names.training[generator.integers(len(names.training), size=BATCH)]
        optimizer.zero_grad()
        loss = loss_of(model, names, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        seconds += time.perf_counter() - started
        if step % every == 0 or step == steps:
            with rt.no_grad():
                held_out_loss = loss_of(model, names, names.held_out).item()
            yield Row(step, float(np.mean(losses)), held_out_loss, seconds)
            losses = []
