"""Forward and training step of every built-in cell at four sizes, and their peak memory."""

import numpy as np

from rondeau import nn
from rondeau import tensor as rt

from .memory import peak_of_step

# (batch, time steps, inputs, hidden units)
SIZES = {
    "B32 T35 I28 H256": (32, 35, 28, 256),
    "B32 T16 I512 H512": (32, 16, 512, 512),
    "B50 T50 I65 H128": (50, 50, 65, 128),
    "B50 T50 I65 H512": (50, 50, 65, 512),
}
CELLS = ["RNN", "GRU", "LSTM"]


class Layer:
    """One layer, its input and a random cotangent; the first call, which may compile, is in setup."""

    params = (CELLS, list(SIZES), [1, 2])
    param_names = ("cell", "size", "threads")

    def setup(self, cell, size, threads):
        rt.set_num_threads(threads)
        batch, steps, inputs, hidden = SIZES[size]
        rng = np.random.default_rng(0)
        self.layer = getattr(nn, cell)(inputs, hidden)
        self.x = rt.tensor(rng.standard_normal((steps, batch, inputs), np.float32), requires_grad=True)
        self.cotangent = rt.tensor(rng.standard_normal((steps, batch, hidden), np.float32))
        self.train()
        self.train()

    def train(self):
        self.layer.zero_grad()
        self.x.grad = None
        output, _ = self.layer(self.x)
        output.backward(self.cotangent)


class TrainingStep(Layer):
    """Forward and backward to every weight and the input."""

    def time_training_step(self, cell, size, threads):
        self.train()


class Forward(Layer):
    """Forward without a graph."""

    def time_forward(self, cell, size, threads):
        with rt.no_grad():
            self.layer(self.x)


class Memory(Layer):
    """Peak memory of a training step over the level before it."""

    params = (CELLS, list(SIZES), [2])
    unit = "bytes"

    def track_peak_memory(self, cell, size, threads):
        return peak_of_step(self.train)
