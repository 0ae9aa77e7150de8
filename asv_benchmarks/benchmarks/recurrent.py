"""Forward and training step of the recurrent layers, their peak memory, and one step at a time."""

import inspect

import numpy as np

from rondeau import nn
from rondeau import tensor as rt

from .memory import peak_of

# (batch, time steps, inputs, hidden units)
SIZES = {
    "B32 T35 I28 H256": (32, 35, 28, 256),
    "B32 T16 I512 H512": (32, 16, 512, 512),
    "B50 T50 I65 H128": (50, 50, 65, 128),
    "B50 T50 I65 H512": (50, 50, 65, 512),
}
CELLS = ["RNN", "GRU", "LSTM"]


def make_layer(cell, inputs, hidden, **options):
    """Give a layer by its class in nn, or by its cell in nn.cells."""
    if hasattr(nn, cell):
        return getattr(nn, cell)(inputs, hidden, **options)
    if cell == "lstm_projected":
        options["proj_size"] = hidden // 2
    return nn.Recurrent(getattr(nn.cells, cell), inputs, hidden, **options)


class Layer:
    """One layer, its input and a random cotangent; the first call, which may compile, is in setup."""

    params = (CELLS, list(SIZES), [1, 2])
    param_names = ("cell", "size", "threads")

    def setup(self, cell, size, threads):
        rt.set_num_threads(threads)
        batch, steps, inputs, hidden = SIZES[size]
        self.prepare(make_layer(cell, inputs, hidden), steps, batch)

    def prepare(self, layer, steps, batch):
        rng = np.random.default_rng(0)
        self.layer = layer
        self.x = rt.tensor(
            rng.standard_normal((steps, batch, layer.input_size), np.float32), requires_grad=True
        )
        shapes = {"step": (steps, batch), "sequence": (batch, layer.hidden_size)}
        inputs = {name: rt.rand(shapes[kind]) for name, kind in layer.cell.inputs.items()}
        self.given = {"inputs": inputs} if inputs else {}
        with rt.no_grad():
            output, _ = layer(self.x, **self.given)
        self.cotangent = rt.tensor(rng.standard_normal(output.shape, np.float32))
        self.train()
        self.train()

    def train(self):
        self.layer.zero_grad()
        self.x.grad = None
        output, _ = self.layer(self.x, **self.given)
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
        return peak_of(self.train)


class EveryCell(Layer):
    """A training step of every built-in cell at the first size."""

    params = (nn.cells.__all__, list(SIZES)[:1], [2])

    def time_training_step(self, cell, size, threads):
        self.train()


class LongSequence(Layer):
    """A training step of 100 and of 1,000 steps, keeping every state or every 32nd."""

    params = ([100, 1000], [None, 32])
    param_names = ("steps", "checkpoint_every")

    def setup(self, steps, checkpoint_every):
        rt.set_num_threads(2)
        self.prepare(make_layer("lstm", 28, 256, recompute_every=checkpoint_every), steps, 32)

    def time_training_step(self, steps, checkpoint_every):
        self.train()

    def track_peak_memory(self, steps, checkpoint_every):
        return peak_of(self.train)

    track_peak_memory.unit = "bytes"


class Stepping:
    """One step at a time, batch 1, as text is generated: 65 inputs, a linear head."""

    params = ((1, 2), (512, 1024, 2048), ("float32", "int8"))
    param_names = ("threads", "hidden", "weights")

    def setup(self, threads, hidden, weights):
        rt.set_num_threads(threads)
        layer = nn.LSTM(65, hidden)
        if not hasattr(layer, "stepper"):
            raise NotImplementedError
        options = {} if weights == "float32" else {"weights": weights}
        if options and "weights" not in inspect.signature(layer.stepper).parameters:
            raise NotImplementedError
        self.stepper = layer.stepper(nn.Linear(hidden, 65), **options)
        self.x = rt.tensor(np.random.default_rng(0).standard_normal((1, 65), np.float32))
        _, self.state = self.stepper(self.x, None)

    def time_step(self, threads, hidden, weights):
        _, self.state = self.stepper(self.x, self.state)
