"""
Linear and logistic regression
==============================

The smallest trainings of "Naturally understanding deep learning": a line through three points, and a class
told from one number. The text sums the errors; that at rate η is exactly the mean at rate N η, which is why
its rate has to shrink when data are added.
"""

# %%
# Linear regression
# -----------------
# y = 2 x at 1, 2, 3; one linear unit, the sum of squared errors, SGD at .01, 1000 epochs.

import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt

x = rt.tensor([[1.0], [2.0], [3.0]])
y = rt.tensor([[2.0], [4.0], [6.0]])


def fitted(model, loss_of, targets, rate, epochs=1000):
    """Train the model; return the weight, the bias and the loss before each update."""
    optimizer = train.optim.SGD(model.parameters(), lr=rate)
    rows = []
    for _ in range(epochs):
        loss = loss_of(model(x), targets)
        rows.append((*(parameter.item() for parameter in model.parameters()), loss.item()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return np.array(rows)


rt.manual_seed(0)
line = nn.Linear(1, 1)
start = {name: value.clone() for name, value in line.state_dict().items()}
by_sum = fitted(line, nn.MSELoss(reduction="sum"), y, rate=0.01)
w, b = line.weight.item(), line.bias.item()
at_4 = line(rt.tensor([[4.0]])).item()
print(f"w = {w:.4f}, b = {b:.4f}, prediction at 4: {at_4:.4f}")
assert abs(w - 2) < 0.01
assert abs(b) < 0.02
assert abs(at_4 - 8) < 0.01

fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.semilogy(by_sum[:, 2], label="sum of squared errors")
ax.semilogy(np.abs(by_sum[:, 0] - 2), "--", label="|w - 2|")
ax.set(xlabel="epoch", ylabel="loss; distance of w", title="The loss falls fast, then along its valley")
_ = ax.legend()

# %%
# The loss falls fast at first, along the direction in which the surface is steep, then slowly along its
# valley, where too large a weight and too small a bias make up for each other.
#
# Sum and mean
# ------------
# The mean's gradient is the sum's, divided by N = 3; a rate three times as large makes the same steps. The
# mean at the same rate is three times slower, and the sum at the larger rate leaves every bound.


def again(reduction, rate, epochs=1000):
    model = nn.Linear(1, 1)
    model.load_state_dict(start)
    return fitted(model, nn.MSELoss(reduction=reduction), y, rate, epochs)


by_mean = again("mean", 0.03)
print(f"largest difference of the parameters: {np.abs(by_sum[:, :2] - by_mean[:, :2]).max():.1e}")
assert np.allclose(by_sum[:, :2], by_mean[:, :2], atol=1e-5)
assert np.allclose(by_sum[:, 2], 3 * by_mean[:, 2], atol=1e-4)
too_fast = again("sum", 0.07, epochs=60)
assert too_fast[-1, 2] > 1e3

fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.semilogy(by_sum[:60, 2], label="sum, rate .01", linewidth=4, alpha=0.4)
ax.semilogy(3 * by_mean[:60, 2], "--", label="mean, rate .03 (drawn times 3)")
ax.semilogy(3 * again("mean", 0.01, epochs=60)[:, 2], ":", label="mean, rate .01 (drawn times 3)")
ax.semilogy(too_fast[:, 2], "-.", label="sum, rate .07")
ax.set(xlabel="epoch", ylabel="sum of squared errors", ylim=(1e-4, 1e6), title="Sum and mean")
_ = ax.legend()

# %%
# Logistic regression
# -------------------
# Now the target is a class: 0, 0, 1. A sigmoid makes a probability of the linear unit's score, and the loss
# is the binary cross-entropy, -log of the probability that the right class gets, summed.
# ``BCEWithLogitsLoss`` has the sigmoid inside, where it is safe from rounding.

classes = rt.tensor([[0.0], [0.0], [1.0]])
rt.manual_seed(0)
logistic = nn.Sequential(nn.Linear(1, 1), nn.Sigmoid())
untrained = logistic(x)
by_hand = -np.log(
    np.where(classes.numpy() == 1, untrained.detach().numpy(), 1 - untrained.detach().numpy())
).sum()
loss = nn.BCELoss(reduction="sum")(untrained, classes)
assert abs(loss.item() - by_hand) < 1e-5
assert abs(nn.BCEWithLogitsLoss(reduction="sum")(logistic[0](x), classes).item() - by_hand) < 1e-5

curve = fitted(logistic, nn.BCELoss(reduction="sum"), classes, rate=0.01)
probabilities = logistic(x).detach().numpy()[:, 0]
print(f"after 1000 epochs: {np.round(probabilities, 3)}, loss {curve[-1, 2]:.3f}")
assert ((probabilities > 0.5) == [False, False, True]).all()

# %%
# Where it crosses one half
# -------------------------
# At x = -b/w. The three points can be told apart, so that no weight is the best one: the longer the training,
# the steeper the curve, and the loss goes on towards 0.

places = rt.linspace(0, 6, 121).unsqueeze(1)
fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
boundary = -logistic[0].bias.item() / logistic[0].weight.item()
ax.plot(places[:, 0].tolist(), logistic(places)[:, 0].tolist(), label="after 1,000 epochs")
ax.axvline(boundary, color="grey", linestyle=":", label=f"one half at {boundary:.2f}")
more = fitted(logistic, nn.BCELoss(reduction="sum"), classes, rate=0.1, epochs=3000)
ax.plot(places[:, 0].tolist(), logistic(places)[:, 0].tolist(), "--", label="after 3,000 more, at rate .1")
ax.plot(x[:, 0].tolist(), classes[:, 0].tolist(), "ko", label="samples")
ax.set(xlabel="x", ylabel="probability of class 1", title="Logistic regression on three samples")
ax.legend()
print(f"w: {curve[-1, 0]:.2f}, later {more[-1, 0]:.2f}; loss: {curve[-1, 2]:.3f}, later {more[-1, 2]:.3f}")
assert 2 < boundary < 3
assert more[-1, 0] > curve[-1, 0]
assert more[-1, 2] < 0.5 * curve[-1, 2]
