"""
Two moons
=========

The second example of micrograd: a network of 337 numbers learns to tell two interlocked half circles apart,
with the loss of a support vector machine. micrograd walks through a graph of tens of thousands of scalars for
each step; with tensors the graph has some twenty nodes, and the whole training takes a fraction of a second.
"""

# %%
# The data
# --------
# Fifty points on each of two half circles, with normal noise of 0.1. Their labels are 1 and -1.

# sphinx_gallery_thumbnail_number = 3
import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt

rt.manual_seed(0)
angle = np.linspace(0, np.pi, 50)
upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], axis=1)
points = np.concatenate([upper, lower]) + np.random.default_rng(0).normal(0, 0.1, (100, 2))
labels = np.repeat([1.0, -1.0], 50)

# %%
# The network
# -----------
# Two layers of 16 units with ReLU and one score. As in micrograd, weights start between -1 and 1 and biases
# at 0.

network = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
for parameter in network.parameters():
    if parameter.ndim == 2:
        nn.init.uniform_(parameter, -1, 1)
    else:
        nn.init.zeros_(parameter)
number = sum(parameter.numel() for parameter in network.parameters())
print(f"{number} parameters")
assert number == 337

# %%
# The loss
# --------
# A score counts as good when it has the label's sign and is at least 1 away from zero; what is missing is the
# loss: max(0, 1 - label * score), the max-margin loss. On top of it come 0.0001 times the squares of all
# parameters, which keep the boundary smooth.

inputs = rt.tensor(points, dtype=rt.float32)
signs = rt.tensor(labels, dtype=rt.float32)


def loss_of(scores):
    margin_loss = (1 - signs * scores).relu().mean()
    squares = sum((parameter**2).sum() for parameter in network.parameters())
    return margin_loss + 1e-4 * squares


ax = rt.plot_graph((1 - signs * network(inputs)[:, 0]).relu().mean(), names=dict(network.named_parameters()))
ax.set_title("The margin loss, for all hundred points at once")

# %%
# The training
# ------------
# A hundred steps over all points. The rate falls in a line from 1 to 0.1.

optimizer = train.optim.SGD(network.parameters(), lr=1.0)
schedule = train.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - 0.9 * step / 100)
losses, accuracies = [], []
for step in range(100):
    scores = network(inputs)[:, 0]
    loss = loss_of(scores)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    losses.append(loss.item())
    accuracies.append(np.mean(np.sign(scores.detach().numpy()) == labels))
    if step % 20 == 0 or step == 99:
        print(f"step {step:2}: loss {losses[-1]:.4f}, accuracy {accuracies[-1]:.0%}")
assert accuracies[-1] == 1
assert losses[-1] < 0.05

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(losses, label="loss")
ax.plot(accuracies, label="accuracy")
ax.set(xlabel="step", ylabel="loss; share of points with the right sign", title="Training")
ax.legend()

# %%
# The boundary
# ------------
# Where the score is zero. Between the thin lines, where it lies within -1 and 1, the loss pushes points out.
# ReLU makes the boundary a chain of straight pieces.

x, y = np.meshgrid(np.linspace(-1.8, 2.8, 200), np.linspace(-1.3, 1.8, 200))
grid = rt.tensor(np.stack([x.ravel(), y.ravel()], axis=1), dtype=rt.float32)
with rt.no_grad():
    score = network(grid).numpy().reshape(x.shape)
fig, ax = plt.subplots(figsize=(7, 4.6), layout="constrained")
shown = ax.contourf(x, y, score.clip(-4, 4), levels=np.linspace(-4, 4, 17), cmap="RdBu", alpha=0.7)
ax.contour(x, y, score, levels=[-1, 0, 1], colors="black", linewidths=[0.6, 1.8, 0.6], linestyles="-")
for sign, marker, colour in ((1, "o", "#1f4e8c"), (-1, "s", "#8c1f2b")):
    ax.plot(*points[labels == sign].T, marker, color=colour, markeredgecolor="white", label=f"label {sign}")
fig.colorbar(shown, label="score, cut at ±4")
ax.set(xlabel="first coordinate", ylabel="second coordinate", title="What the network says of every place")
ax.legend()
