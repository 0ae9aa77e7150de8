"""
One network, trained three ways
===============================

A network of two layers learns from four points, with gradients written by hand, with gradients from autograd,
and by an optimiser: an early program of the NumPy autograd text. They agree only when they differentiate the
same loss. The text's hand-written delta leaves out a factor of 2: it is the gradient of half the loss that
the text prints. Here are both losses, each three ways.
"""

# %%
# The points and the weights
# --------------------------
# The answer is the second input. The first layer has three units with ReLU, the second has one; there are no
# biases.

import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt

X = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
y = np.array([[0.0], [1], [0], [1]])
random = np.random.RandomState(0)  # the numbers that follow np.random.seed(0)
W = random.random_sample((2, 3))
V = random.random_sample((3, 1))
RATE, STEPS = 0.1, 30

# %%
# By hand
# -------
# The loss is the sum of (prediction - y)². Its derivative by the prediction is 2 (prediction - y), and the
# chain rule does the rest. The text begins with prediction - y instead: ``factor`` 1, which is right for half
# the loss.


def by_hand(factor):
    w, v, losses = W.copy(), V.copy(), []
    for _ in range(STEPS):
        hidden = np.maximum(X @ w, 0)
        prediction = hidden @ v
        losses.append(float(((prediction - y) ** 2).sum()))
        delta = factor * (prediction - y)
        hidden_delta = (delta @ v.T) * (hidden > 0)
        v -= RATE * (hidden.T @ delta)
        w -= RATE * (X.T @ hidden_delta)
    return losses


# %%
# By autograd
# -----------
# Now the same loss, times ``factor`` / 2, says everything. ``backward`` finds the gradients, we take the
# step.


def by_autograd(factor):
    w, v = rt.tensor(W, requires_grad=True), rt.tensor(V, requires_grad=True)
    points, answers, losses = rt.tensor(X), rt.tensor(y), []
    for _ in range(STEPS):
        loss = ((points.mm(w).relu().mm(v) - answers) ** 2).sum()
        losses.append(loss.item())
        (factor / 2 * loss).backward()
        with rt.no_grad():
            for weight in (w, v):
                weight -= RATE * weight.grad
                weight.grad = None
    return losses


# %%
# By an optimiser
# ---------------
# Layers hold the weights, a loss module the loss, and ``SGD`` takes the step. A ``Linear`` keeps its weight
# as (outputs, inputs), the transpose of ours.


def by_optimiser(factor):
    network = nn.Sequential(
        nn.Linear(2, 3, bias=False, dtype=rt.float64),
        nn.ReLU(),
        nn.Linear(3, 1, bias=False, dtype=rt.float64),
    )
    network.load_state_dict({"0.weight": rt.tensor(W.T), "2.weight": rt.tensor(V.T)})
    criterion = nn.MSELoss(reduction="sum")
    optimizer = train.optim.SGD(network.parameters(), lr=RATE)
    losses = []
    for _ in range(STEPS):
        loss = criterion(network(rt.tensor(X)), rt.tensor(y))
        losses.append(loss.item())
        optimizer.zero_grad()
        (factor / 2 * loss).backward()
        optimizer.step()
    return losses


# %%
# The same numbers
# ----------------
# The loss before steps 1, 2 and 10, with the gradient of the loss and with that of half of it:

MARKS = {"by hand": "o", "autograd": "x", "optimiser": "-"}
runs = {factor: [way(factor) for way in (by_hand, by_autograd, by_optimiser)] for factor in (2, 1)}
expected = {2: [5.06644, 1.72524, 0.02613], 1: [5.06644, 0.49599, 0.11614]}
for factor, losses in runs.items():
    for way, one in zip(MARKS, losses, strict=True):
        shown = [round(one[i], 5) for i in (0, 1, 9)]
        print(f"{way:>10}, delta = {factor} (prediction - y): {shown}")
        assert shown == expected[factor]
        assert np.allclose(one, losses[0], rtol=1e-12, atol=1e-15)

# %%
# Half the loss with the rate 0.1 is the whole loss with the rate 0.05. Compare methods only where they
# differentiate the same function.

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for factor, colour in ((2, "C0"), (1, "C1")):
    whole = "the loss: delta = 2 (prediction - y)" if factor == 2 else "half the loss: delta = prediction - y"
    for (way, mark), one in zip(MARKS.items(), runs[factor], strict=True):
        ax.plot(range(1, STEPS + 1), one, mark, color=colour, fillstyle="none", label=f"{whole}, {way}")
ax.set(yscale="log", xlabel="step", ylabel="sum of squared errors", title="Two losses, three ways each")
ax.legend(fontsize="small")

# %%
# What autograd recorded
# ----------------------

w, v = rt.tensor(W, requires_grad=True), rt.tensor(V, requires_grad=True)
ax = rt.plot_graph(((rt.tensor(X).mm(w).relu().mm(v) - rt.tensor(y)) ** 2).sum(), names={"W": w, "V": v})
ax.set_title("From the weights to the loss")
