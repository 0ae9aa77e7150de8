"""The PyTorch twin of makemore's models: cells as Linear layers in a Python loop over the letters, as it has them.

    python -m tools.makemore.torch_twin NAMES --model gru

Prints one JSON line: the mean loss of the held-out characters at the end, in nats, and the seconds of the training
steps. Batches are drawn in this process: makemore's own come from four worker processes, through pipes.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .recipe import BATCH, BETAS, DECAY, EMBEDDING, HIDDEN, IGNORED, RATE, STEPS, first_names


class WindowModel(nn.Module):
    """A multilayer network on the embeddings of the tokens so far, the last one first (Bengio et al., 2003)."""

    def __init__(self, tokens: int, block: int) -> None:
        super().__init__()
        self.blank, self.block = tokens, block  # one more token stands before the start
        self.embedding = nn.Embedding(tokens + 1, EMBEDDING)
        self.network = nn.Sequential(
            nn.Linear(block * EMBEDDING, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, tokens)
        )

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (B, T, V) of the tokens after `ids` (B, T)."""
        embedded = []
        for _ in range(self.block):
            embedded.append(self.embedding(ids))
            ids = torch.roll(ids, 1, 1)
            ids[:, 0] = self.blank
        logits: Tensor = self.network(torch.cat(embedded, -1))
        return logits


class ElmanCell(nn.Module):
    """h = tanh(W [x, h] + b)."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(EMBEDDING + HIDDEN, HIDDEN)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Return the next state."""
        return torch.tanh(self.hidden(torch.cat([x, h], 1)))


class GatedCell(nn.Module):
    """The GRU as published: reset before the product."""

    def __init__(self) -> None:
        super().__init__()
        self.reset, self.update, self.candidate = (nn.Linear(EMBEDDING + HIDDEN, HIDDEN) for _ in range(3))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Return the next state."""
        both = torch.cat([x, h], 1)
        r, z = torch.sigmoid(self.reset(both)), torch.sigmoid(self.update(both))
        return (1 - z) * h + z * torch.tanh(self.candidate(torch.cat([x, r * h], 1)))


class LoopModel(nn.Module):
    """Embedding, a cell from letter to letter with a learned first state, scores."""

    def __init__(self, tokens: int, cell: nn.Module) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(1, HIDDEN))
        self.embedding, self.cell = nn.Embedding(tokens, EMBEDDING), cell
        self.head = nn.Linear(HIDDEN, tokens)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (B, T, V) of the tokens after `ids` (B, T)."""
        embedded = self.embedding(ids)
        h, states = self.start.expand(len(ids), -1), []
        for t in range(ids.shape[1]):
            h = self.cell(embedded[:, t], h)
            states.append(h)
        logits: Tensor = self.head(torch.stack(states, 1))
        return logits


def train(file: Path, name: str, steps: int, seed: int) -> dict[str, float]:
    """Train; the held-out loss and the seconds."""
    names = first_names(file)
    inputs, targets = torch.tensor(names.inputs), torch.tensor(names.targets)
    torch.manual_seed(seed)
    model: nn.Module
    if name == "mlp":
        model = WindowModel(names.num_tokens, names.block)
    else:
        model = LoopModel(names.num_tokens, GatedCell() if name == "gru" else ElmanCell())

    def loss_of(rows: NDArray[np.int64]) -> Tensor:
        scores = model(inputs[rows]).flatten(0, 1)
        return nn.functional.cross_entropy(scores, targets[rows].flatten(), ignore_index=IGNORED)

    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY, betas=BETAS)
    generator = np.random.default_rng(seed)
    started = time.perf_counter()
    for _ in range(steps):
        batch = names.training[generator.integers(len(names.training), size=BATCH)]
        optimiser.zero_grad(set_to_none=True)
        loss = loss_of(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        loss.item()
    seconds = time.perf_counter() - started
    with torch.no_grad():
        return {"held_out_loss": loss_of(names.held_out).item(), "seconds": seconds}


def main() -> None:
    """Run the twin once, as the command line says."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("names", type=Path)
    parser.add_argument("--model", choices=["mlp", "rnn", "gru"], required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(json.dumps(train(options.names, options.model, options.steps, options.seed)), flush=True)


if __name__ == "__main__":
    main()
