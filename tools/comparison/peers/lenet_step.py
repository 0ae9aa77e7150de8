"""A training step of a LeNet-5 of either library: forward, loss, backward, and a step of gradient descent."""

import importlib
from typing import Any

import numpy as np

SIDE, CLASSES = 28, 10


class LeNetStep:
    """LeNet-5 (LeCun et al. 1998, fig. 2) with ReLU and max pooling, as it is trained today.

    Parameters
    ----------
    nn, optim : module
        Of rondeau or of PyTorch: the names are the same.
    images, labels : tensor
        Shapes (N, 1, 28, 28) and (N,).
    """

    def __init__(self, nn: Any, optim: Any, images: Any, labels: Any) -> None:
        self.model = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, CLASSES),
        )  # fmt: skip
        self.loss = nn.CrossEntropyLoss()
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.01)
        self.images, self.labels = images, labels

    def __call__(self) -> Any:
        """Return the loss."""
        self.optimizer.zero_grad()
        loss = self.loss(self.model(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss

    def release(self) -> None:
        """Drop the gradients of the call before."""
        self.optimizer.zero_grad()


def prepare(library: str, batch: int, threads: int) -> LeNetStep:
    """Return the step of "rondeau" or "torch" on random images."""
    rng = np.random.default_rng(0)
    images = rng.random((batch, 1, SIDE, SIDE), np.float32)
    labels = rng.integers(0, CLASSES, batch)
    if library == "rondeau":
        names = "rondeau.tensor", "rondeau.nn", "rondeau.train.optim"
    else:
        names = "torch", "torch.nn", "torch.optim"
    tensors, nn, optim = (importlib.import_module(name) for name in names)
    tensors.set_num_threads(threads)
    return LeNetStep(nn, optim, tensors.tensor(images), tensors.tensor(labels))
