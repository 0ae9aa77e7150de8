"""The PyTorch twin of the Shakespeare recipe: the same model, data, batches and schedule, in torch alone.

    python -m tools.shakespeare.torch_twin CORPUS --cell gru --seed 0

One recurrent layer over one-hot characters and a linear head. The first 90 % of the characters train, the
last 10 % are held out. Each epoch starts at a random offset with a zero state, which is then carried from
batch to batch. Adam, its rate decayed by a cosine to 5 % over all steps; the gradient norm is clipped at 5;
an LSTM's forget bias starts at 1. Prints one JSON line: the held-out loss in nats per character and the time.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from .recipe import BATCH, CLIP, FINAL_RATE, HIDDEN, RATE, STEPS

State = torch.Tensor | tuple[torch.Tensor, ...]


class CharacterModel(torch.nn.Module):
    """One-hot characters, one recurrent layer, a linear head."""

    def __init__(self, cell: str, vocabulary: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        layer = {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
        self.recurrent = layer(vocabulary, hidden)
        self.head = torch.nn.Linear(hidden, vocabulary)
        self.vocabulary = vocabulary
        if cell == "lstm":
            forget = slice(hidden, 2 * hidden)  # gates i, f, g, o
            with torch.no_grad():
                self.recurrent.bias_ih_l0[forget] = 1.0
                self.recurrent.bias_hh_l0[forget] = 0.0

    def forward(self, ids: torch.Tensor, state: State | None = None) -> tuple[torch.Tensor, State]:
        """Logits (T*B, V) and state for `ids` (T, B)."""
        one_hot = torch.nn.functional.one_hot(ids, self.vocabulary).float()
        output, state = self.recurrent(one_hot, state)
        return self.head(output.flatten(0, 1)), state


def detach(state: State) -> State:
    """Cut the graph at a carried state."""
    return tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()


def epoch_batches(tokens: torch.Tensor, offset: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pairs (X, Y) of shape (STEPS, BATCH); column i of a batch continues column i of the batch before."""
    per_row = (len(tokens) - offset - 1) // BATCH
    x = tokens[offset : offset + BATCH * per_row].reshape(BATCH, per_row).T
    y = tokens[offset + 1 : offset + 1 + BATCH * per_row].reshape(BATCH, per_row).T
    for start in range(0, per_row - STEPS + 1, STEPS):
        yield x[start : start + STEPS], y[start : start + STEPS]


def held_out_loss(model: CharacterModel, tokens: torch.Tensor) -> float:
    """Mean negative log-likelihood in nats over the whole stream, read as one row with its state carried."""
    total, state = 0.0, None
    with torch.no_grad():
        for start in range(0, len(tokens) - 1, 1024):
            stop = min(start + 1024, len(tokens) - 1)
            logits, state = model(tokens[start:stop, None], state)
            target = tokens[start + 1 : stop + 1]
            total += torch.nn.functional.cross_entropy(logits, target, reduction="sum").item()
    return total / (len(tokens) - 1)


def train(corpus: Path, cell: str, seed: int, epochs: int) -> dict[str, object]:
    """Train the recipe and return its held-out loss and times."""
    text = corpus.read_text(encoding="utf-8")
    cut = int(0.9 * len(text))
    index = {character: i for i, character in enumerate(sorted(set(text[:cut])))}
    if unseen := set(text[cut:]) - index.keys():
        raise SystemExit(f"the training part lacks {''.join(unseen)!r}, and the twin has no unknown token")
    tokens = torch.tensor([index[character] for character in text])
    train_tokens, held_out = tokens[:cut], tokens[cut:]

    torch.manual_seed(seed)
    offsets = np.random.default_rng(seed).integers(0, STEPS, epochs)
    model = CharacterModel(cell, len(index))
    steps = sum(sum(1 for _ in epoch_batches(train_tokens, int(offset))) for offset in offsets)
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE[cell])
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * step / steps)),
    )
    started = time.perf_counter()
    curve = []
    for offset in offsets:
        state = None
        for x, y in epoch_batches(train_tokens, int(offset)):
            optimiser.zero_grad()
            logits, state = model(x, state)
            state = detach(state)
            loss = torch.nn.functional.cross_entropy(logits, y.reshape(-1))
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimiser.step()
            schedule.step()
        curve.append((time.perf_counter() - started, held_out_loss(model, held_out)))
    trained = time.perf_counter() - started
    return {
        "library": f"torch {torch.__version__}",
        "cell": cell,
        "seed": seed,
        "threads": torch.get_num_threads(),
        "steps": steps,
        "held_out_nats": curve[-1][1],
        "curve": curve,
        "train_seconds": trained,
    }


def main() -> None:
    """Run the twin once, as the command line says."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--cell", choices=sorted(RATE), default="gru")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(json.dumps(train(arguments.corpus, arguments.cell, arguments.seed, arguments.epochs)), flush=True)


if __name__ == "__main__":
    main()
