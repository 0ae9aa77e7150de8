"""
Cross-entropy by hand
=====================

The notes on cross-entropy, with their numbers: what it costs, in nats, to expect q where the data come from
p. The loss of a perfect prediction is often said to be 0. It is the entropy of p, which is 0 only where p is
one-hot.
"""

# %%
# Three kinds of candy
# --------------------
# A bag holds 60 % red, 20 % green and 20 % blue candy: p. A model believes in 50 %, 30 %, 20 %: q. The
# cross-entropy :math:`H(p, q) = -\sum_i p_i \log q_i` is the loss; it splits into the entropy of the bag,
# which no model can change, and the divergence :math:`\mathrm{KL}(p \,\|\, q)`, which is what training
# reduces.

import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.nn import functional

p, q = np.array([0.6, 0.2, 0.2]), np.array([0.5, 0.3, 0.2])
cross_entropy = -(p * np.log(q)).sum()
entropy = -(p * np.log(p)).sum()
divergence = (p * np.log(p / q)).sum()
print(f"H(p, q) = {cross_entropy:.6f}, H(p) = {entropy:.6f}, KL(p || q) = {divergence:.6f} nats")
assert [round(value, 6) for value in (cross_entropy, entropy, divergence)] == [0.978570, 0.950271, 0.028300]
assert np.isclose(cross_entropy, entropy + divergence)

# %%
# The library's loss takes scores instead of probabilities. Logarithms of probabilities are scores whose
# softmax is those probabilities, so that the loss gives the same number; divided by log 2, in bits.

loss = functional.cross_entropy(rt.tensor(np.log(q)), rt.tensor(p))
assert round(loss.item(), 6) == 0.978570
print(f"{loss.item():.6f} nats are {loss.item() / np.log(2):.6f} bits")

# %%
# Cat or dog
# ----------
# The picture shows a cat: p = (1, 0); the model says q = (.8, .2). With a one-hot p one term is left, -log
# .8. The other is 0 times a logarithm, and counts as 0 even where q is 0 as well, which plain floating point
# gets wrong:

cat, belief = np.array([1.0, 0.0]), np.array([0.8, 0.2])
loss = functional.cross_entropy(rt.tensor(np.log(belief)), rt.tensor(0))
print(f"H(p, q) = {loss.item():.6f} nats")
assert round(loss.item(), 6) == 0.223144
assert functional.cross_entropy(rt.tensor(np.log(belief)), rt.tensor(cat)).item() == loss.item()

with np.errstate(divide="ignore", invalid="ignore"):
    assert np.isnan(-(cat * np.log(cat)).sum())
limit = np.array([0.1, 0.01, 0.001, 1e-300])
print("x log x for x to 0:", limit * np.log(limit))
certain = rt.tensor([1000.0, -1000.0], dtype=rt.float64)  # q = (1, 0), exactly: exp(-2000) is 0
assert certain.softmax(0).tolist() == [1.0, 0.0]
assert functional.cross_entropy(certain, rt.tensor(0)).item() == 0.0
assert functional.cross_entropy(certain, rt.tensor(cat)).item() == 0.0

# %%
# The minimum is H(p), at q = p
# -----------------------------
# All beliefs about the candy, red to the right and green upwards; blue is the rest.

red, green = np.meshgrid(np.linspace(0.005, 0.99, 198), np.linspace(0.005, 0.99, 198))
blue = 1 - red - green
inside = blue > 0.004
beliefs = np.stack([red[inside], green[inside], blue[inside]], axis=1)
values = np.full(red.shape, np.nan)
values[inside] = functional.cross_entropy(
    rt.tensor(np.log(beliefs)), rt.tensor(np.broadcast_to(p, beliefs.shape).copy()), reduction="none"
).numpy()
assert np.nanmin(values) >= entropy

# %%
# Gradient descent on three scores, from q = (.2, .2, .6), finds it: the gradient is q - p.

scores = nn.Parameter(rt.tensor(np.log([0.2, 0.2, 0.6])))
optimizer = train.optim.SGD([scores], lr=1.0)
path = []
for _ in range(200):
    path.append(scores.softmax(0).tolist())
    optimizer.zero_grad()
    loss = functional.cross_entropy(scores, rt.tensor(p))
    loss.backward()
    assert rt.allclose(scores.grad, scores.softmax(0) - rt.tensor(p))
    optimizer.step()
print(f"loss after 200 steps {loss.item():.6f}, q = {np.round(path[-1], 6)}")
assert round(loss.item(), 6) == round(entropy, 6) == 0.950271
assert np.allclose(path[-1], p, atol=1e-5)

fig, ax = plt.subplots(figsize=(7, 4.6), layout="constrained")
levels = entropy + np.array([0.01, 0.0283, 0.1, 0.3, 0.6, 1.0, 1.6])
contours = ax.contour(red, green, values, levels=levels, cmap="viridis")
ax.clabel(contours, fmt="%.2f")
ax.plot([0, 1], [1, 0], color="C7")
ax.plot(*np.array(path)[:, :2].T, ".-", color="C1", label="gradient descent")
ax.plot(*p[:2], "*", color="C3", markersize=12, label=f"q = p: {entropy:.4f} nats")
ax.plot(*q[:2], "o", color="C0", label=f"the example's q: {cross_entropy:.4f} nats")
ax.set(xlabel="q(red)", ylabel="q(green)", title="H(p, q) in nats", xlim=(0, 1), ylim=(0, 1))
ax.legend()

# %%
# One belief changed alone: the share of red in q, the rest split evenly. Between the two curves lies the
# divergence.

share = np.linspace(0.02, 0.98, 193)
curve = -(p[0] * np.log(share) + (p[1] + p[2]) * np.log((1 - share) / 2))
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(share, curve, label="H(p, q)")
ax.axhline(entropy, color="C7", linestyle="--", label=f"H(p) = {entropy:.4f}")
ax.fill_between(share, entropy, curve, alpha=0.15, label="KL(p || q)")
ax.plot(p[0], entropy, "*", color="C3", markersize=12)
ax.set(xlabel="q(red)", ylabel="nats per candy", ylim=(0, 3), title="One belief changed alone")
ax.legend()
