"""A program of either library that ends after one training step: a GRU over characters, with Adam."""

import importlib
import sys
from typing import Any

BATCH, STEPS, CHARACTERS, HIDDEN, RATE = 32, 35, 65, 256, 1e-3


def main(library: str) -> None:
    """Take the step, with the names that "rondeau" and "torch" share."""
    names = {
        "rondeau": ("rondeau.tensor", "rondeau.nn", "rondeau.train.optim"),
        "torch": ("torch", "torch.nn", "torch.optim"),
    }[library]
    tensors, nn, optim = (importlib.import_module(name) for name in names)
    tensors.manual_seed(0)
    layer, head = nn.GRU(CHARACTERS, HIDDEN), nn.Linear(HIDDEN, CHARACTERS)
    optimizer = optim.Adam([*layer.parameters(), *head.parameters()], lr=RATE)
    _step(tensors, nn, layer, head, optimizer)


def _step(tensors: Any, nn: Any, layer: Any, head: Any, optimizer: Any) -> None:
    ids = tensors.randint(0, CHARACTERS, (STEPS + 1, BATCH))
    x = nn.functional.one_hot(ids[:-1], CHARACTERS).to(tensors.float32)
    output, _ = layer(x)
    loss = nn.functional.cross_entropy(head(output.reshape(-1, HIDDEN)), ids[1:].reshape(-1))
    loss.backward()
    optimizer.step()


if __name__ == "__main__":
    main(*sys.argv[1:])
