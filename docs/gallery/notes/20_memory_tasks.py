"""
What an LSTM remembers that an RNN forgets
==========================================

Two tasks from the paper that introduced the LSTM and from its successors, for the notes on RNN and LSTM: say
again what was seen twenty steps ago, and add two numbers that are far apart. It is said for short that an RNN
has no long memory. It can have one, but gradient descent hardly finds it.
"""

# %%
# Two networks that are alike but for their cell: 64 units, a linear layer, Adam with the same rate, clipping
# at norm 1. The LSTM's forget gates start open, with a bias of 3: it begins by keeping what it has.

import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt

UNITS, BATCH = 64, 64


class Memory(nn.Module):
    def __init__(self, cell, input_size, output_size):
        super().__init__()
        self.recurrent = cell(input_size, UNITS)
        self.head = nn.Linear(UNITS, output_size)
        if cell is nn.LSTM:
            forget = slice(UNITS, 2 * UNITS)  # gates i, f, g, o
            self.recurrent.bias_ih_l0.data[forget] = 3.0
            self.recurrent.bias_hh_l0.data[forget] = 0.0

    def forward(self, x, last=1):
        output, _ = self.recurrent(x)
        return self.head(output[-last:])


def trained(cell, sizes, loss_of, steps, rate):
    """Train on fresh batches; the model and its losses."""
    rt.manual_seed(0)
    generator = np.random.default_rng(0)
    model = Memory(cell, *sizes)
    optimizer = train.optim.Adam(model.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model, generator)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return model, losses


def draw(losses, floor, floor_name, title, unit):
    _, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    for name, values in losses.items():
        ax.semilogy(np.convolve(values, np.ones(20) / 20, "valid"), label=name)
    ax.axhline(floor, color="C7", linestyle="--", label=floor_name)
    ax.set(xlabel="training steps", ylabel=f"loss ({unit}), mean of 20 steps", title=title)
    ax.legend()


# %%
# The copy task
# -------------
# Three symbols of four kinds, nineteen blanks, a signal; then the three symbols are to be said in their
# order. Who has forgotten them says each with probability 1/4, at log 4 = 1.386 nats.

SYMBOLS, KINDS, DELAY = 3, 4, 20
BLANK, SIGNAL = KINDS, KINDS + 1


def copy_batch(generator, delay=DELAY):
    symbols = generator.integers(0, KINDS, (SYMBOLS, BATCH))
    x = np.full((2 * SYMBOLS + delay, BATCH), BLANK)
    x[:SYMBOLS] = symbols
    x[SYMBOLS + delay - 1] = SIGNAL
    return rt.tensor(x), symbols


x, symbols = copy_batch(np.random.default_rng(0))
print(
    "one sequence:",
    "".join("abcd.?"[i] for i in x[:, 1].tolist()),
    "->",
    "".join("abcd"[i] for i in symbols[:, 1]),
)


def copy_loss(model, generator):
    x, symbols = copy_batch(generator)  # ids are one-hot rows to a recurrent layer
    return nn.functional.cross_entropy(model(x, last=SYMBOLS).reshape(-1, KINDS), symbols.reshape(-1))


def least(losses):
    """The least mean of twenty steps: single batches jump."""
    return np.convolve(losses, np.ones(20) / 20, "valid").min()


# %%
# The RNN gets a second chance with a lower rate, which suits it better.

models, losses = {}, {}
for name, cell, rate in (("RNN", nn.RNN, 5e-3), ("RNN, lower rate", nn.RNN, 2e-3), ("LSTM", nn.LSTM, 5e-3)):
    models[name], losses[name] = trained(cell, (KINDS + 2, KINDS), copy_loss, steps=800, rate=rate)
    print(f"{name}: at best {least(losses[name]):.4f} nats")
draw(
    losses, np.log(KINDS), "guessing: log 4", f"Copy {SYMBOLS} symbols over {DELAY} steps", "nats per symbol"
)
assert least(losses["LSTM"]) < 0.1
assert min(least(losses["RNN"]), least(losses["RNN, lower rate"])) > 2 * least(losses["LSTM"])

# %%
# The same networks, without more training, where the wait is shorter or longer than they were trained on. The
# LSTM holds the symbols for some steps more. It has not learnt to wait for the signal, though: in training
# the wait was always the same. The better RNN keeps them in an oscillation, which is in phase at some delays
# only.

delays = range(2, 61, 2)
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, model in models.items():
    shares = []
    for delay in delays:
        x, symbols = copy_batch(np.random.default_rng(1), delay)
        with rt.no_grad():
            shares.append((model(x, last=SYMBOLS).argmax(2).numpy() == symbols).mean())
    ax.plot(delays, shares, marker=".", label=name)
ax.axvline(DELAY, color="C7", linestyle=":", label="the delay of the training")
ax.axhline(1 / KINDS, color="C7", linestyle="--", label="guessing")
ax.set(xlabel="delay (steps)", ylabel="share of symbols right", ylim=(0, 1.05))
ax.set_title("Other delays than in training")
ax.legend()

# %%
# The adding problem
# ------------------
# Thirty numbers between 0 and 1, two of them marked, one in each half: what is the sum of the two? Who always
# says 1 is wrong by 1/6 in the mean square, the variance of a sum of two such numbers.

LENGTH = 30


def adding_loss(model, generator):
    values = generator.random((LENGTH, BATCH), dtype=np.float32)
    marks = np.zeros_like(values)
    for first, end in ((0, LENGTH // 2), (LENGTH // 2, LENGTH)):
        marks[generator.integers(first, end, BATCH), np.arange(BATCH)] = 1
    said = model(rt.tensor(np.stack([values, marks], axis=-1)))
    return nn.functional.mse_loss(said[0, :, 0], rt.tensor((values * marks).sum(0)))


losses = {}
for name, cell in (("RNN", nn.RNN), ("LSTM", nn.LSTM)):
    _, losses[name] = trained(cell, (2, 1), adding_loss, steps=800, rate=5e-3)
    print(f"{name}: mean square error at best {least(losses[name]):.4f}")
draw(losses, 1 / 6, "always saying 1: 1/6", f"Adding two of {LENGTH} numbers", "mean square")
assert least(losses["LSTM"]) < 0.05
assert least(losses["RNN"]) > 0.1
