"""
Two samples through two layers, by hand
=======================================

The worked example of "Naturally understanding deep learning": a network of two hidden units, two samples, one
step of gradient descent. Every number of it is computed with NumPy as the chain rule says, and then by
``backward``.
"""

# %%
# Forward
# -------
# Rows of X are samples and rows of W1 are units, so that the hidden sums are Z = X W1ᵀ + b1. Then ReLU, and
# one output unit. The loss is half the mean of the squares: L = 1/(2N) Σ (ŷ - y)².

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt

X, y = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([10.0, 20.0])
W1, b1 = np.array([[1.0, -1.0], [2.0, 0.0]]), np.array([0.5, -0.5])
W2, b2 = np.array([1.0, 2.0]), 0.0


def forward(W1, b1, W2, b2):
    Z = X @ W1.T + b1
    A = np.maximum(Z, 0)
    prediction = A @ W2 + b2
    return Z, A, prediction, ((prediction - y) ** 2).sum() / (2 * len(y))


Z, A, prediction, loss = forward(W1, b1, W2, b2)
print(f"Z = {Z.tolist()}\nA = {A.tolist()}\nŷ = {prediction.tolist()}, L = {loss}")
assert Z.tolist() == [[-0.5, 1.5], [-0.5, 5.5]]
assert prediction.tolist() == [3, 11]
assert loss == 32.5

# %%
# Backward
# --------
# From the loss to the weights, each line by the chain rule from those before. The first unit is below zero
# for both samples: ReLU lets nothing through to it, neither forward nor backward, and its weights do not
# move.

d_prediction = (prediction - y) / len(y)
d_w2, d_b2 = d_prediction @ A, d_prediction.sum()
d_a = np.outer(d_prediction, W2)
d_z = d_a * (Z > 0)
d_w1, d_b1 = d_z.T @ X, d_z.sum(axis=0)
print(f"dŷ = {d_prediction.tolist()}\ndW2 = {(d_w2 + 0).tolist()}, db2 = {d_b2}")
print(f"dW1 = {(d_w1 + 0).tolist()}, db1 = {(d_b1 + 0).tolist()}")
assert np.array_equal(d_w2, [0, -30])
assert d_b2 == -8
assert np.array_equal(d_w1, [[0, 0], [-34, -50]])
assert np.array_equal(d_b1, [0, -16])

# %%
# One step
# --------
# At rate .01 the loss falls from 32.5 to 2.280584.

rate = 0.01
stepped = W1 - rate * d_w1, b1 - rate * d_b1, W2 - rate * d_w2, b2 - rate * d_b2
*_, new_loss = forward(*stepped)
for name, value in zip(("W1", "b1", "W2", "b2"), stepped, strict=True):
    print(f"{name} = {np.round(value, 10).tolist()}")
print(f"new loss {new_loss:.6f}")
assert np.allclose(stepped[0], [[1, -1], [2.34, 0.5]])
assert np.allclose(stepped[1], [0.5, -0.34])
assert np.allclose(stepped[2], [1, 2.3])
assert np.isclose(stepped[3], 0.08)
assert round(new_loss, 6) == 2.280584

# %%
# The same by layers
# ------------------
# ``nn.Linear`` holds its weight as the text does, a row for each unit. ``MSELoss`` has no half, so it is put
# there.

network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)).double()
weights = {"0.weight": W1, "0.bias": b1, "2.weight": W2[None], "2.bias": np.array([b2])}
network.load_state_dict({name: rt.tensor(value) for name, value in weights.items()})
optimizer = train.optim.SGD(network.parameters(), lr=rate)
inputs, targets = rt.tensor(X), rt.tensor(y[:, None])

first = nn.MSELoss()(network(inputs), targets) / 2
first.backward()
gradients = {"0.weight": d_w1, "0.bias": d_b1, "2.weight": d_w2[None], "2.bias": np.array([d_b2])}
for name, parameter in network.named_parameters():
    assert np.allclose(parameter.grad.numpy(), gradients[name], rtol=1e-12), name
optimizer.step()
second = nn.MSELoss()(network(inputs), targets) / 2
print(f"loss {first.item()}, after the step {second.item():.6f}")
assert first.item() == 32.5
assert round(second.item(), 6) == 2.280584

ax = rt.plot_graph(first, names=dict(network.named_parameters()))
ax.set_title("The recorded graph of the loss")

# %%
# How far is good?
# ----------------
# The loss along that step, over the rate. .01 is close to the best; .02 overshoots so far that next to
# nothing is gained, and a little more makes it worse than before.

rates = np.linspace(0, 0.025, 101)
along = [forward(W1 - r * d_w1, b1 - r * d_b1, W2 - r * d_w2, b2 - r * d_b2)[3] for r in rates]
best = rates[np.argmin(along)]
print(f"least loss {min(along):.4f} at rate {best:.5f}; at rate .02 it is {along[80]:.1f}")
assert 0.010 < best < 0.012
assert 31 < along[80] < loss
assert along[-1] > loss

fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(rates, along, label="loss after one step")
ax.plot(rate, new_loss, "o", label=f"rate .01: {new_loss:.6f}")
ax.axhline(loss, color="grey", linestyle="--", linewidth=1, label=f"before: {loss}")
ax.set(xlabel="rate", ylabel="L", title="The loss after one step, by its rate")
_ = ax.legend()
