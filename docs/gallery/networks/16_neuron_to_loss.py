"""
Pictures: from two neurons to a loss
====================================

The smaller pictures of "Naturally understanding deep learning": two recurrent neurons with their four
connections, the sigmoid, and the way from scores over a softmax to a loss against a one-hot target.
"""

# %%
# Two neurons
# -----------
# A recurrent layer of two neurons. Both read the input, and both read both states of the step before: the
# matrix R has four weights, of which those on the diagonal are the loops.

import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import functional

W, R = [[0.9], [-0.4]], [[0.5, -0.7], [0.3, 0.8]]
layer = nn.RNN(1, 2, bias=False)
layer.load_state_dict({"weight_ih_l0": rt.tensor(W), "weight_hh_l0": rt.tensor(R)})

fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.set_title("Two units that read themselves and each other")
places = {"x": (0, 0), "h1": (2, 0.9), "h2": (2, -0.9)}
for (name, (x, y)), colour in zip(places.items(), ("C0", "C1", "C2"), strict=True):
    ax.text(
        x,
        y,
        f"${name[0]}_{name[1:]}$" if name[1:] else "$x$",
        ha="center",
        va="center",
        size=14,
        bbox={"boxstyle": "circle,pad=0.6", "fc": colour, "alpha": 0.35},
    )


def connect(start, end, bend, label, at):
    style = {"arrowstyle": "->", "connectionstyle": f"arc3,rad={bend}", "shrinkA": 22, "shrinkB": 22}
    ax.annotate("", end, start, arrowprops=style)
    ax.text(*at, label, ha="center", va="center")


connect(places["x"], places["h1"], 0, f"{W[0][0]}", (0.9, 0.62))
connect(places["x"], places["h2"], 0, f"{W[1][0]}", (0.9, -0.62))
connect(places["h1"], places["h2"], 0.3, f"{R[1][0]}", (1.55, 0))
connect(places["h2"], places["h1"], 0.3, f"{R[0][1]}", (2.45, 0))
for name, weight in (("h1", R[0][0]), ("h2", R[1][1])):
    x, y = places[name]
    connect((x + 0.25, y + 0.1), (x + 0.25, y - 0.1), -3.5, "", (x, y))
    ax.text(x + 0.75, y, f"{weight}", ha="center", va="center")
ax.set(xlim=(-0.6, 3.8), ylim=(-1.6, 1.6))
ax.axis("off")

# %%
# Three steps by hand, :math:`h_t = \tanh(W x_t + R h_{t-1})`, and by the layer:

inputs = [1.0, 0.5, -1.0]
h = np.zeros(2)
states = []
for x_t in inputs:
    h = np.tanh(np.array(W)[:, 0] * x_t + np.array(R) @ h)
    states.append(h)
output, _ = layer(rt.tensor(inputs).reshape(3, 1, 1))
print(np.round(states, 4))
assert np.allclose(output[:, 0].detach().numpy(), states, atol=1e-6)

# %%
# The sigmoid
# -----------
# It maps scores to the interval from 0 to 1. Its slope is s (1 - s), at most 1/4, at 0: a chain of sigmoids
# shrinks the gradient by a factor of 4 or more at each one. tanh is the same curve, stretched: tanh(z) = 2
# sigmoid(2z) - 1.

z = rt.linspace(-6, 6, 241, dtype=rt.float64, requires_grad=True)
s = z.sigmoid()
s.sum().backward()
assert rt.allclose(z.grad, s * (1 - s))
assert z.grad.max().item() == 0.25
assert rt.allclose(z.tanh(), 2 * (2 * z).sigmoid() - 1)

fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(z.tolist(), s.tolist(), label="sigmoid(z)")
ax.plot(z.tolist(), z.grad.tolist(), "--", label="its slope")
ax.plot(z.tolist(), z.tanh().tolist(), ":", label="tanh(z)")
ax.set(xlabel="z", ylabel="value", title="Sigmoid, its slope, and tanh")
ax.legend()

# %%
# Softmax, one-hot, -log
# ----------------------
# Three scores become probabilities; the one-hot target picks one of them; its negative logarithm is the loss.
# Only the probability of the right class counts directly, the others by what they leave for it.

scores = rt.tensor([2.0, 1.0, 0.1], dtype=rt.float64)
probabilities = scores.softmax(0)
one_hot = functional.one_hot(rt.tensor(0), 3).double()
losses = -probabilities.log() * one_hot
loss = functional.cross_entropy(scores, rt.tensor(0))
print(f"probabilities {np.round(probabilities.numpy(), 4)}, loss {loss.item():.4f}")
assert np.allclose(probabilities.numpy(), [0.6590, 0.2424, 0.0986], atol=5e-5)
assert abs(losses.sum().item() - loss.item()) < 1e-12
assert round(loss.item(), 4) == 0.4170

fig, axes = plt.subplots(1, 4, figsize=(7, 3), layout="constrained")
bars = {"scores": scores, "softmax": probabilities, "one-hot": one_hot, "−log, picked": losses}
for ax, (name, values) in zip(axes, bars.items(), strict=True):
    drawn = ax.bar(["cat", "dog", "fish"], values.tolist(), color=["C0", "C1", "C2"])
    ax.bar_label(drawn, [f"{value:.2f}" for value in values.tolist()])
    ax.set(title=name, ylim=(0, 2.3 if name == "scores" else 1.15))

# %%
# The loss over the probability of the right class: 0 where it is 1, without bound where it goes to 0.

p = np.linspace(0.005, 1, 400)
fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(p, -np.log(p), label="$-\\log p$")
ax.plot(
    probabilities[0].item(),
    loss.item(),
    "o",
    label=f"p = {probabilities[0].item():.3f}: {loss.item():.3f} nats",
)
ax.set(xlabel="probability of the right class", ylabel="loss (nats)", title="Cross-entropy")
ax.legend()
