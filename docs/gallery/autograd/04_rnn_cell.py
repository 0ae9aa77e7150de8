"""
A recurrent cell from three linear layers
=========================================

The NumPy autograd text builds its recurrent network by hand: one linear layer reads the input, one reads the
hidden state, one makes the output. This page does so too, and gets the same numbers from ``nn.RNN`` and a
``Linear``: outputs, gradients and a whole training.
"""

# %%
# The cell
# --------
# h' = tanh(W x + b + R h + c), output = V h' + d. Both layers that feed the tanh have a bias, so b and c only
# matter as a sum. Texts with one bias are the case c = 0.

# sphinx_gallery_thumbnail_number = 3
import time

import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt


class Cell(nn.Module):
    def __init__(self, input_size, hidden_size, output_size):
        super().__init__()
        self.hidden_size = hidden_size
        self.input_hidden = nn.Linear(input_size, hidden_size, dtype=rt.float64)
        self.hidden_hidden = nn.Linear(hidden_size, hidden_size, dtype=rt.float64)
        self.hidden_output = nn.Linear(hidden_size, output_size, dtype=rt.float64)

    def init_hidden(self, batch_size):
        return rt.zeros(batch_size, self.hidden_size, dtype=rt.float64)

    def forward(self, x, hidden):
        hidden = (self.input_hidden(x) + self.hidden_hidden(hidden)).tanh()
        return self.hidden_output(hidden), hidden


def unrolled(cell, inputs):
    hidden, outputs = cell.init_hidden(inputs.shape[1]), []
    for x in inputs:
        output, hidden = cell(x, hidden)
        outputs.append(output)
    return rt.stack(outputs), hidden


# %%
# The same as layers of the library
# ---------------------------------
# ``nn.RNN`` runs over all steps in one call. Its weights have PyTorch's names; we copy those of the cell.


class Network(nn.Module):
    def __init__(self, input_size, hidden_size, output_size):
        super().__init__()
        self.rnn = nn.RNN(input_size, hidden_size, dtype=rt.float64)
        self.head = nn.Linear(hidden_size, output_size, dtype=rt.float64)

    def forward(self, inputs):
        states, last = self.rnn(inputs)
        return self.head(states), last[0]


NAMES = {
    "rnn.weight_ih_l0": "input_hidden.weight",
    "rnn.bias_ih_l0": "input_hidden.bias",
    "rnn.weight_hh_l0": "hidden_hidden.weight",
    "rnn.bias_hh_l0": "hidden_hidden.bias",
    "head.weight": "hidden_output.weight",
    "head.bias": "hidden_output.bias",
}


def network_of(cell):
    """Return a network with the weights of a cell."""
    outputs, hidden = cell.hidden_output.weight.shape
    network = Network(cell.input_hidden.weight.shape[1], hidden, outputs)
    weights = cell.state_dict()
    network.load_state_dict({own: weights[its] for own, its in NAMES.items()})
    return network


rt.manual_seed(0)
cell = Cell(3, 4, 2)
network = network_of(cell)
inputs = rt.randn(6, 5, 3, dtype=rt.float64)  # 6 steps of 5 sequences of 3 numbers
by_cell, by_network = unrolled(cell, inputs), network(inputs)
for ours, theirs in zip(by_cell, by_network, strict=True):
    assert rt.allclose(ours, theirs, rtol=0, atol=1e-12)
print(f"outputs {by_cell[0].shape}, hidden state {by_cell[1].shape}: equal")

# %%
# The gradients are equal too. They are compared under random weights, since a plain sum can hide errors that
# cancel.

weights = rt.randn(*by_cell[0].shape, dtype=rt.float64)
(by_cell[0] * weights).sum().backward()
(by_network[0] * weights).sum().backward()
parameters = dict(cell.named_parameters())
for name, parameter in network.named_parameters():
    assert rt.allclose(parameter.grad, parameters[NAMES[name]].grad, rtol=0, atol=1e-12)

# %%
# One bias or two
# ---------------
# The two biases get the same gradient, so the pair moves twice as fast as one would. Without the second one:

assert rt.allclose(network.rnn.bias_ih_l0.grad, network.rnn.bias_hh_l0.grad, rtol=0, atol=1e-12)
both = network.rnn.bias_ih_l0 + network.rnn.bias_hh_l0
one_bias = network_of(cell)
with rt.no_grad():
    one_bias.rnn.bias_ih_l0.copy_(both)
    one_bias.rnn.bias_hh_l0.zero_()
assert rt.allclose(one_bias(inputs)[0], by_network[0], rtol=0, atol=1e-12)

# %%
# What autograd records
# ---------------------
# Two steps of the cell, operation by operation: the weights are read at each step, so their gradients are
# sums over the steps. ``nn.RNN`` is recorded as one operation, whatever the number of steps.

x = inputs[:2, :1]
names = dict(zip(("W", "b", "R", "c", "V", "d"), cell.parameters(), strict=True))
ax = rt.plot_graph(unrolled(cell, x)[1], names=names)
ax.set_title("Two steps, operation by operation")
names = dict(zip(("W", "R", "b", "c", "V", "d"), network.parameters(), strict=True))
ax = rt.plot_graph(network(x)[1], names=names)
ax.set_title("Two steps of nn.RNN")

# %%
# A training
# ----------
# Both learn to say the next character of a rhyme, from the same weights, and their losses stay the same up to
# rounding, which a training magnifies a little.

rhyme = "row row row your boat gently down the stream "
letters = sorted(set(rhyme))
ids = rt.tensor([letters.index(letter) for letter in rhyme])
one_hot = nn.functional.one_hot(ids, len(letters)).double()[:-1].unsqueeze(1)
cell = Cell(len(letters), 32, len(letters))
network = network_of(cell)


def losses_of(model, call):
    optimizer = train.optim.SGD(model.parameters(), lr=0.3)
    losses = []
    for _ in range(120):
        loss = nn.functional.cross_entropy(call(one_hot)[0][:, 0], ids[1:])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


start = time.perf_counter()
cell_losses = losses_of(cell, lambda x: unrolled(cell, x))
middle = time.perf_counter()
network_losses = losses_of(network, network)
end = time.perf_counter()
print(f"largest difference {np.abs(np.subtract(cell_losses, network_losses)).max():.1e}")
print(f"the cell took {middle - start:.1f} s, nn.RNN {end - middle:.1f} s")
assert np.allclose(cell_losses, network_losses, rtol=0, atol=1e-4)
assert network_losses[-1] < 0.5 < 2 < network_losses[0]

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(cell_losses, linewidth=5, label="three linear layers")
ax.plot(network_losses, linewidth=1.5, label="nn.RNN and Linear")
ax.set(xlabel="step", ylabel="loss (nats per character)", title="The same training")
ax.legend()
