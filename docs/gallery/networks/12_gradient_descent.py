"""
Gradient descent, drawn
=======================

A line through three points, found by batch, stochastic and mini-batch gradient descent, and the paths they
take over the surface of the loss: the first programs of "Naturally understanding deep learning". And a
saddle: a place where all derivatives are zero, not one of them, and where the surface bends both ways.
"""

# %%
# The loss
# --------
# The line w x + b through (1, 1), (2, 2), (3, 3), and the mean of its squared errors: least at w = 1, b = 0.
# At (0, 0) its gradient is (-28/3, -4), the mean of -2 y x and of -2 y.

import matplotlib.pyplot as plt
import numpy as np

from rondeau import data, nn, train
from rondeau import tensor as rt

x = rt.tensor([[1.0], [2.0], [3.0]], dtype=rt.float64)
y = x.clone()
loss_of = nn.MSELoss()


def line(w, b):
    """A linear layer with this weight and bias."""
    layer = nn.Linear(1, 1, dtype=rt.float64)
    layer.load_state_dict(
        {"weight": rt.tensor([[w]], dtype=rt.float64), "bias": rt.tensor([b], dtype=rt.float64)}
    )
    return layer


start = line(0.0, 0.0)
loss_of(start(x), y).backward()
print(f"gradient at (0, 0): ({start.weight.grad.item():.4f}, {start.bias.grad.item():.4f})")
assert abs(start.weight.grad.item() + 28 / 3) < 1e-12
assert abs(start.bias.grad.item() + 4) < 1e-12
assert loss_of(line(1.0, 0.0)(x), y).item() == 0

# %%
# Three ways down
# ---------------
# They differ in how many points each update sees: all N, one, or m. In an epoch that makes 1, N and ceil(N /
# m) updates. All of them take the same rate here.


def path(batch_size, epochs, targets=y, rate=0.05, at=(-0.6, 1.8)):
    """Where descent comes by: (w, b) before the first update and after each."""
    layer = line(*at)
    optimizer = train.optim.SGD(layer.parameters(), lr=rate)
    batches = data.DataLoader(data.TensorDataset(x, targets), batch_size=batch_size, shuffle=True, seed=1)
    places = [at]
    for _ in range(epochs):
        for inputs, wanted in batches:
            optimizer.zero_grad()
            loss_of(layer(inputs), wanted).backward()
            optimizer.step()
            places.append((layer.weight.item(), layer.bias.item()))
    return np.array(places)


ways = {"batch (3 points)": 3, "mini-batch (2)": 2, "stochastic (1)": 1}
paths = {name: path(size, epochs=60) for name, size in ways.items()}
for name, places in paths.items():
    print(f"{name:<17} {(len(places) - 1) // 60} updates an epoch, after 60 epochs {np.round(places[-1], 3)}")
assert [(len(places) - 1) // 60 for places in paths.values()] == [1, 2, 3]
distances = [np.linalg.norm(places[-1] - [1, 0]) for places in paths.values()]
assert distances[0] > distances[1] > distances[2]  # the more updates an epoch, the further it goes

w, b = np.meshgrid(np.linspace(-1, 2.6, 150), np.linspace(-1.5, 2.4, 150))


def loss_at(w, b):
    """The loss over all points, for arrays of weights and biases."""
    errors = w[..., None] * x.numpy()[:, 0] + b[..., None] - y.numpy()[:, 0]
    return (errors**2).mean(axis=-1)


fig = plt.figure(figsize=(7, 4.4), layout="constrained")
ax = fig.add_subplot(projection="3d")
ax.plot_surface(w, b, loss_at(w, b), cmap="viridis", alpha=0.5, linewidth=0)
places = paths["batch (3 points)"]
ax.plot(*places.T, loss_at(*places.T), "C3.-", markersize=5, label="batch descent")
ax.set(xlabel="w", ylabel="b", zlabel="loss", title="Batch descent on the surface of the loss")
ax.view_init(40, -70)
ax.legend()

# %%
# Seen from above. Batch descent follows the gradient of all points; the others jump to and fro across the
# valley, as the points pull, and come further along it.

fig, axes = plt.subplots(1, 3, figsize=(8, 3.4), layout="constrained", sharey=True)
for ax, (name, places) in zip(axes, paths.items(), strict=True):
    ax.contour(w, b, loss_at(w, b), levels=np.geomspace(0.01, 30, 12), cmap="viridis", linewidths=0.7)
    ax.plot(*places.T, "C3.-", markersize=3, linewidth=0.8, label="path")
    ax.plot(1, 0, "k*", markersize=10, label="minimum")
    ax.set(xlabel="w", title=name)
axes[0].set_ylabel("b")
axes[0].legend()

# %%
# The loss after each epoch, and after each update. An epoch of stochastic descent goes furthest; an update of
# it costs a third of one of batch descent, so that the comparison by epochs is the one of equal work.

fig, axes = plt.subplots(1, 2, figsize=(7, 3.6), layout="constrained", sharey=True)
for name, places in paths.items():
    losses = loss_at(*places.T)
    axes[0].semilogy(losses[:: (len(losses) - 1) // 60], label=name)
    axes[1].semilogy(losses[:61], label=name)
axes[0].set(xlabel="epoch", ylabel="loss over all points")
axes[1].set(xlabel="update")
axes[0].legend()
_ = fig.suptitle("Batch, stochastic and mini-batch descent")

# %%
# Where no line fits
# ------------------
# These three points lie on a line, so that the gradient of each of them is zero at the minimum, and
# stochastic descent comes to rest there. With targets 1.4, 1.2 and 3.4, which no line meets, it keeps
# wandering; batch descent does not. Nor does it wander around the minimum: an epoch takes each point once, so
# that the updates of an epoch depend on each other, and at this rate they settle .06 beside it. A falling rate
# is the cure for both.

noisy = y + rt.tensor([[0.4], [-0.8], [0.4]], dtype=rt.float64)
wandering, resting = (path(size, 1500, noisy, rate=0.02, at=(0.6, 0.6)) for size in (1, 3))
spread, rest = np.std(wandering[-300:], axis=0), np.std(resting[-20:], axis=0)
print(f"deviation of (w, b) at the end: stochastic {np.round(spread, 3)}, batch {np.round(rest, 5)}")
assert spread.min() > 0.01
assert rest.max() < 1e-3
centre = wandering[-900:].mean(axis=0)
print(
    f"stochastic descent is at {np.round(centre, 2)} in the mean, batch descent at {np.round(resting[-1], 2) + 0}"
)
assert np.allclose(centre, [1.03, -0.056], atol=0.01)
assert np.allclose(resting[-1], [1, 0], atol=1e-2)

fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(*wandering[-300:].T, ".-", markersize=3, linewidth=0.5, label="stochastic, last 100 epochs")
ax.plot(*centre, "C3D", label="stochastic, mean")
ax.plot(*resting.T, "-", linewidth=2, label="batch, all 1,500 epochs")
ax.plot(*resting[-1], "k*", markersize=10, label="minimum")
ax.set(xlabel="w", ylabel="b", title="Where no line fits: shuffled descent rests beside the minimum")
ax.legend()

# %%
# A saddle
# --------
# :math:`f(x, y) = x^2 - y^2` has a saddle at (0, 0): the whole gradient is zero, and the Hessian has
# eigenvalues of both signs. At (0, 1) the derivative by x is zero too, but the one by y is -2: descent goes
# on from there.


def saddle(point):
    return point[0] ** 2 - point[1] ** 2


def gradient_and_hessian(at):
    point = rt.tensor(at, dtype=rt.float64, requires_grad=True)
    (gradient,) = rt.grad(saddle(point), [point], create_graph=True)
    rows = [rt.grad(gradient[i], [point], retain_graph=True)[0].numpy() for i in range(2)]
    return gradient.detach().numpy(), np.array(rows)


gradient, hessian = gradient_and_hessian([0.0, 0.0])
print(f"at (0, 0): gradient {gradient + 0}, eigenvalues of the Hessian {np.linalg.eigvalsh(hessian)}")
assert np.array_equal(gradient, [0, 0])
assert np.array_equal(np.linalg.eigvalsh(hessian), [-2, 2])
assert np.array_equal(gradient_and_hessian([0.0, 1.0])[0], [0, -2])

# %%
# From (1, 0) descent runs into the saddle and stays. A thousandth beside it, its gradient shrinks for
# seventeen steps as if a minimum were near; then it leaves: the distance in y grows by the factor 1 + 2 rate
# at each step.


def descent(at, steps, rate=0.1):
    point = rt.tensor(at, dtype=rt.float64, requires_grad=True)
    optimizer = train.optim.SGD([point], lr=rate)
    places = [at]
    for _ in range(steps):
        optimizer.zero_grad()
        saddle(point).backward()
        optimizer.step()
        places.append(point.tolist())
    return np.array(places)


caught, escaped = descent([1.0, 0.0], 38), descent([1.0, 0.001], 38)
assert np.allclose(caught[-1], [0.8**38, 0])
assert np.allclose(escaped[-1], [0.8**38, 0.001 * 1.2**38])

norms = {
    name: np.linalg.norm(2 * p, axis=1) for name, p in (("from (1, 0)", caught), ("from (1, 0.001)", escaped))
}
assert norms["from (1, 0.001)"].argmin() == 17

across, along = np.meshgrid(np.linspace(-1.2, 1.2, 80), np.linspace(-1.2, 1.2, 80))
fig, axes = plt.subplots(1, 2, figsize=(8, 3.8), layout="constrained")
shown = axes[0].contourf(across, along, across**2 - along**2, levels=17, cmap="coolwarm", alpha=0.7)
fig.colorbar(shown, label="x² − y²")
for (name, norm), places, style in zip(norms.items(), (caught, escaped), ("o-", ".-"), strict=True):
    axes[0].plot(*places.T, style, markersize=4, label=name)
    axes[1].semilogy(norm, label=name)
axes[0].set(xlabel="x", ylabel="y")
axes[1].set(xlabel="step", ylabel="norm of the gradient")
axes[1].legend()
_ = fig.suptitle("Descent into a saddle, and past it")
