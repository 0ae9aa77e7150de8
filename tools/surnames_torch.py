"""The PyTorch twin of the surname recipe: the same model, split, batches and rate, in torch alone.

    python tools/surnames_torch.py FOLDER --seed 0

FOLDER holds a text file for each language, one surname a line. A seed draws a permutation of all surnames, of which the
first 80 % train and the last 20 % test, and then the batches of every epoch. Characters are embedded, read by a GRU in
both directions over packed rows, and classified from the two last states. Prints one JSON line: the share of the
test surnames that are classified right, after every epoch, and the time.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

EMBEDDING, HIDDEN, BATCH, RATE = 64, 64, 64, 2e-3


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
    files = sorted(folder.glob("*.txt"))
    samples = [
        (line.strip(), language)
        for language, file in enumerate(files)
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(samples))
    cut = int(0.8 * len(samples))
    training, test = order[:cut], order[cut:]
    known = sorted({character for i in training for character in samples[i][0]})
    index = {
        character: i + 1 for i, character in enumerate(known)
    }  # 0: a character that no training name has
    ids = [torch.tensor([index.get(character, 0) for character in name]) for name, _ in samples]
    labels = torch.tensor([language for _, language in samples])

    torch.manual_seed(seed)
    model = Classifier(len(known) + 1, len(files))
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    started = time.perf_counter()
    accuracies = []
    for _ in range(epochs):
        for batch in np.array_split(generator.permutation(training), -(-cut // BATCH)):
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(model([ids[i] for i in batch]), labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        with torch.no_grad():
            right = (model([ids[i] for i in test]).argmax(1) == labels[test]).sum().item()
        accuracies.append(right / len(test))
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
