"""The PyTorch twin of the surname recipe: the same model, split, batches and rate, in torch alone.

    python -m tools.surnames.torch_twin FOLDER --seed 0

Characters are embedded, read by a GRU in both directions over packed rows, and classified from the two last states.
Prints one JSON line: the share of the test surnames that are classified right, after every epoch, and the time.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from .recipe import EMBEDDING, HIDDEN, RATE, Surnames


class Classifier(torch.nn.Module):
    """Embedded characters, a bidirectional GRU, a linear layer on its two last states."""

    def __init__(self, characters: int, languages: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(characters, EMBEDDING)
        self.recurrent = torch.nn.GRU(EMBEDDING, HIDDEN, bidirectional=True)
        self.head = torch.nn.Linear(2 * HIDDEN, languages)

    def forward(self, ids: list[torch.Tensor]) -> torch.Tensor:
        """Logits (B, languages) for rows of character indices."""
        lengths = [len(row) for row in ids]
        embedded = self.embedding(pad_sequence(ids))
        _, h_n = self.recurrent(pack_padded_sequence(embedded, lengths, enforce_sorted=False))
        logits: torch.Tensor = self.head(torch.cat((h_n[-2], h_n[-1]), 1))
        return logits


def train(folder: Path, seed: int, epochs: int) -> dict[str, object]:
    """Train the recipe and return its accuracies and time."""
    surnames = Surnames(folder, seed)
    ids, labels = [torch.tensor(row) for row in surnames.ids], torch.tensor(surnames.labels)

    torch.manual_seed(seed)
    model = Classifier(surnames.num_characters, surnames.num_languages)
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    started = time.perf_counter()
    accuracies = []
    for _ in range(epochs):
        for batch in surnames.epoch():
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(model([ids[i] for i in batch]), labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        with torch.no_grad():
            right = (model([ids[i] for i in surnames.test]).argmax(1) == labels[surnames.test]).sum().item()
        accuracies.append(right / len(surnames.test))
    return {"accuracies": accuracies, "seconds": time.perf_counter() - started}


def main() -> None:
    """Run the twin once, as the command line says."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(json.dumps(train(arguments.folder, arguments.seed, arguments.epochs)), flush=True)


if __name__ == "__main__":
    main()
