"""A convolutional network: training step and forward of a LeNet-5, and convolutions alone."""

import numpy as np

from rondeau import nn
from rondeau import tensor as rt
from rondeau.train import optim

from .memory import peak_of


class LeNet:
    """64 images of 28 x 28; the first call, which may compile, is in setup."""

    params = (1, 2)
    param_names = ("threads",)

    def setup(self, threads):
        rt.set_num_threads(threads)
        self.model = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
            nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
        )  # fmt: skip
        rng = np.random.default_rng(0)
        self.images = rt.tensor(rng.random((64, 1, 28, 28), np.float32))
        self.labels = rt.tensor(rng.integers(0, 10, 64))
        self.optimizer = optim.SGD(self.model.parameters(), lr=0.01)
        self.train()
        self.train()

    def train(self):
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.model(self.images), self.labels).backward()
        self.optimizer.step()

    def time_training_step(self, threads):
        self.train()

    def time_forward(self, threads):
        with rt.no_grad():
            self.model(self.images)

    def track_peak_memory(self, threads):
        return peak_of(self.train)

    track_peak_memory.unit = "bytes"


class Convolution:
    """A layer of 3 x 3 windows and as many channels out as in, on 16 samples: forward and backward."""

    params = ([(16, 32), (64, 28), (256, 7)], [1, 2])
    param_names = ("channels, side", "threads")

    def setup(self, size, threads):
        rt.set_num_threads(threads)
        channels, side = size
        rng = np.random.default_rng(0)
        self.layer = nn.Conv2d(channels, channels, 3, padding=1)
        self.x = rt.tensor(rng.random((16, channels, side, side), np.float32), requires_grad=True)
        self.cotangent = rt.tensor(rng.random(self.x.shape, np.float32))
        self.train()

    def train(self):
        self.layer.zero_grad()
        self.x.grad = None
        self.layer(self.x).backward(self.cotangent)

    def time_forward_and_backward(self, size, threads):
        self.train()
