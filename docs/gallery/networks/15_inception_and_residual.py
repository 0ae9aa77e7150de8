"""
An Inception block and a residual network
=========================================

The two shapes with which convolutional networks grew deep, from "Naturally understanding deep learning":
branches side by side, joined on their channels, and branches that are added to their own input. Both networks
here are small, and learn MNIST's digits from a tenth of them in one epoch.
"""

# %%
# The digits
# ----------
# Of 28 x 28 pixels. The first 6,000 train, the first 2,000 of the test digits test.

import matplotlib.pyplot as plt
import numpy as np

from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.data import datasets

digits = datasets.mnist(stand_in=True)
print(datasets.describe("mnist"))


def standardised(images):
    """Pixels (N, 28, 28) of 0 to 255 as planes (N, 1, 28, 28)."""
    return ((images[:, None] / 255 - 0.1307) / 0.3081).astype(np.float32)


samples = data.TensorDataset(standardised(digits.train_images[:6000]), digits.train_labels[:6000])
test_samples = data.TensorDataset(standardised(digits.test_images[:2000]), digits.test_labels[:2000])

# %%
# An Inception block
# ------------------
# Four branches see the same planes: 1 x 1; 1 x 1 then 5 x 5; 1 x 1 then 3 x 3 twice; the mean of 3 x 3, then
# 1 x 1. All keep the size of the planes, so that their outputs can be joined on the channels: 16 + 24 + 24 +
# 24 = 88.


class Inception(nn.Module):
    """From planes (N, C, H, W) to (N, 88, H, W)."""

    def __init__(self, channels):
        super().__init__()
        self.by_1 = nn.Conv2d(channels, 16, 1)
        self.by_5 = nn.Sequential(nn.Conv2d(channels, 16, 1), nn.Conv2d(16, 24, 5, padding=2))
        self.by_3 = nn.Sequential(
            nn.Conv2d(channels, 16, 1),
            nn.Conv2d(16, 24, 3, padding=1),
            nn.Conv2d(24, 24, 3, padding=1),
        )
        self.pooled = nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1), nn.Conv2d(channels, 24, 1))

    def forward(self, planes):
        branches = self.by_1(planes), self.by_5(planes), self.by_3(planes), self.pooled(planes)
        return rt.cat(branches, dim=1)


rt.manual_seed(0)
block = Inception(10)
joined = block(rt.zeros(2, 10, 12, 12))
print(f"(2, 10, 12, 12) to {tuple(joined.shape)}")
assert joined.shape == (2, 88, 12, 12)

inception_network = nn.Sequential(
    nn.Conv2d(1, 10, 5), nn.MaxPool2d(2), nn.ReLU(), Inception(10),
    nn.Conv2d(88, 20, 5), nn.MaxPool2d(2), nn.ReLU(), Inception(20),
    nn.Flatten(), nn.Linear(88 * 4 * 4, 10),
)  # fmt: skip

# %%
# A residual block with batch normalisation
# -----------------------------------------
# H(x) = F(x) + x, and then ReLU: F has two convolutions, each normalised over the batch. What F has to learn
# is the difference to its input. With F = 0 the block passes on what it gets; for a plain block that is
# something to be learnt.


class Residual(nn.Module):
    """From planes (N, C, H, W) to as many."""

    def __init__(self, channels):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, planes):
        return (self.branch(planes) + planes).relu()


nothing = Residual(4)
nn.init.zeros_(nothing.branch[4].weight)
positive = rt.rand(2, 4, 6, 6)
assert rt.equal(nothing(positive), positive)

residual_network = nn.Sequential(
    nn.Conv2d(1, 16, 5), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), Residual(16),
    nn.Conv2d(16, 32, 5), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2), Residual(32),
    nn.Flatten(), nn.Linear(32 * 4 * 4, 10),
)  # fmt: skip

# %%
# Batch normalisation in training gives each channel the mean 0 and the variance 1 over the batch and all
# places. It keeps running averages of both, which take their place once ``eval`` says that the training is
# over: then a row's output no longer depends on the rows beside it.

normalise = nn.BatchNorm2d(3)
planes = rt.randn(8, 3, 5, 5) * 4 + 7
output = normalise(planes)
print(f"means {np.round(output.mean(dim=(0, 2, 3)).tolist(), 3)}, running {normalise.running_mean.tolist()}")
assert np.allclose(output.detach().mean(dim=(0, 2, 3)).numpy(), 0, atol=1e-5)
assert np.allclose(output.detach().var(dim=(0, 2, 3), correction=0).numpy(), 1, atol=1e-3)
assert np.allclose(normalise.running_mean.numpy(), 0.1 * planes.mean(dim=(0, 2, 3)).numpy(), rtol=1e-5)
assert not rt.allclose(normalise(planes[:2]), output[:2])
normalise.eval()
assert rt.allclose(normalise(planes)[:2], normalise(planes[:2]))

# %%
# One epoch of each
# -----------------
# SGD with momentum, batches of 50.


def trained(network):
    """Train for one epoch; return the losses and the share of test digits that are right."""
    loss_of = nn.CrossEntropyLoss()
    optimizer = train.optim.SGD(network.parameters(), lr=0.05, momentum=0.5)
    losses = []
    network.train()
    for inputs, labels in data.DataLoader(samples, batch_size=50, shuffle=True):
        optimizer.zero_grad()
        loss = loss_of(network(rt.from_numpy(inputs)), rt.from_numpy(labels))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    network.eval()
    right = 0
    with rt.no_grad():
        for inputs, labels in data.DataLoader(test_samples, batch_size=200):
            right += int((network(rt.from_numpy(inputs)).argmax(1).numpy() == labels).sum())
    return losses, right / len(test_samples)


fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, network in {"Inception": inception_network, "residual": residual_network}.items():
    number = sum(parameter.numel() for parameter in network.parameters())
    losses, share = trained(network)
    print(f"{name}: {number:,} parameters, {share:.1%} of the test digits right")
    assert share > 0.85
    ax.semilogy(losses, linewidth=0.8, label=f"{name}: {share:.1%} of the test digits right")
ax.set(xlabel="step", ylabel="cross-entropy (nats)", title="Inception and residual blocks learn digits")
_ = ax.legend()
