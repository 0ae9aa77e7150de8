"""Handwritten digits: by a network of five layers, and by an LSTM that reads a digit row by row.

Batches of 64, Adam, its rate falling to 0 along a cosine.
"""

from itertools import chain, islice, pairwise, repeat

import numpy as np
from numpy.typing import NDArray

from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.data.datasets import Mnist

SIZES, UNITS, BATCH, RATE = (784, 512, 256, 128, 64, 10), 128, 64, 1e-3
MEAN, DEVIATION = 0.1307, 0.3081
"""Of the pixels of the training digits, from 0 to 1."""


class RowByRow(nn.Module):
    """An LSTM over the rows of an image, and a linear layer on its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.head = nn.LSTM(28, UNITS, batch_first=True), nn.Linear(UNITS, 10)

    def forward(self, images: rt.Tensor) -> rt.Tensor:
        """Return logits (B, 10) of images (B, 28, 28)."""
        _, (h_n, _) = self.recurrent(images)
        logits: rt.Tensor = self.head(h_n[-1])
        return logits


def five_layers() -> nn.Module:
    """Return the multilayer network of the gallery."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in pairwise(SIZES):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


NETWORKS = {"five layers": five_layers, "lstm": RowByRow}


def accuracy(digits: Mnist, network: str, seed: int, steps: int) -> float:
    """Train, and return the share of the test digits that are classified right."""
    rt.manual_seed(seed)
    model = NETWORKS[network]()
    optimizer = train.optim.Adam(model.parameters(), lr=RATE)
    schedule = train.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    samples = data.TensorDataset(_standardised(digits.train_images), digits.train_labels)
    batches = data.DataLoader(samples, batch_size=BATCH, shuffle=True)
    for images, labels in islice(chain.from_iterable(repeat(batches)), steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(rt.from_numpy(images)), rt.from_numpy(labels)).backward()
        optimizer.step()
        schedule.step()
    with rt.no_grad():
        found = model(rt.from_numpy(_standardised(digits.test_images))).argmax(1).numpy()
    return float((found == digits.test_labels).mean())


def _standardised(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return ((images / np.float32(255) - np.float32(MEAN)) / np.float32(DEVIATION)).astype(np.float32)
