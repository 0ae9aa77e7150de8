r"""
MNIST with a multilayer network
===============================

Softmax, its loss and a network of five layers on 70,000 handwritten digits, from "Naturally understanding
deep learning". The text's recipe, ten epochs of SGD with momentum, gives more than 97 % on the test digits;
Adam with a falling rate gives more than 97.5 %. The text says that standardised pixels lie in [0, 1]: they do
not.

Two epochs of each recipe are trained on this page. The ten epochs in the last picture are recorded, by the
command that is printed there.
"""

# %%
# Softmax, log-softmax, NLL
# -------------------------
# Softmax makes probabilities of scores, and the loss is the negative logarithm of the right one's. It is
# computed as log-softmax and NLL (negative log-likelihood), which ``CrossEntropyLoss`` joins: the same
# number.

import itertools
import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.data import datasets

scores = rt.tensor([[2.0, 1.0, 0.1], [-1.0, 3.0, 0.5]], requires_grad=True)
targets = rt.tensor([0, 2])
in_two = nn.NLLLoss()(nn.LogSoftmax(dim=1)(scores), targets)
in_one = nn.CrossEntropyLoss()(scores, targets)
by_hand = -np.log(np.exp([2.0, 0.5]) / np.exp(scores.detach().numpy()).sum(axis=1)).mean()
print(f"NLL of log-softmax {in_two.item():.6f}, CrossEntropyLoss {in_one.item():.6f}, by hand {by_hand:.6f}")
assert abs(in_two.item() - in_one.item()) < 1e-6
assert abs(in_one.item() - by_hand) < 1e-6

# %%
# Its gradient is softmax minus one-hot, over the number of rows. The logarithm of a softmax is another thing:
# where the probability rounds to zero, the loss is infinite, while log-softmax has the true value.

in_one.backward()
one_hot = nn.functional.one_hot(targets, 3)
assert np.allclose(scores.grad.numpy(), (scores.detach().softmax(1) - one_hot).numpy() / 2, atol=1e-6)

far = rt.tensor([[0.0, 200.0]])
with np.errstate(divide="ignore"):
    naive = -far.softmax(1).log()[0, 0].item()
print(f"scores 0 and 200: -log(softmax) {naive}, -log_softmax {-far.log_softmax(1)[0, 0].item()}")
assert naive == np.inf
assert far.log_softmax(1)[0, 0].item() == -200

# %%
# The digits
# ----------
# Pixels are divided by 255, then standardised by the mean and standard deviation of the training pixels,
# .1307 and .3081. That maps background to -.424 and full ink to 2.821: a mean of 0 and a deviation of 1, not
# a range of [0, 1].

digits, real = datasets.mnist(stand_in=True), datasets.is_real("mnist")
print(datasets.describe("mnist"))
if real:
    ink = digits.train_images / np.float32(255)
    assert (round(float(ink.mean()), 4), round(float(ink.std()), 4)) == (0.1307, 0.3081)


def standardised(images):
    """Pixels (N, 28, 28) of 0 to 255 as rows (N, 784) for the network."""
    return ((images.reshape(len(images), 784) / 255 - 0.1307) / 0.3081).astype(np.float32)


test_inputs, test_labels = standardised(digits.test_images), digits.test_labels
samples = data.TensorDataset(standardised(digits.train_images), digits.train_labels)
print(f"pixels from {test_inputs.min():.3f} to {test_inputs.max():.3f}")
assert (round(float(test_inputs.min()), 3), round(float(test_inputs.max()), 3)) == (-0.424, 2.821)

fig, axes = plt.subplots(2, 8, figsize=(7, 2.3), layout="constrained")
for ax, image, label in zip(axes.flat, digits.train_images, digits.train_labels, strict=False):
    ax.imshow(image, cmap="gray_r")
    ax.set_title(f"{label}", size=9)
    ax.axis("off")

# %%
# The network and its two recipes
# -------------------------------
# The text's: SGD, rate .01, momentum .5, batches of 64. Momentum keeps a velocity, :math:`v \leftarrow \mu v
# + g`, and steps along it: after two steps along the same gradient g, the weight has moved by .01 (1 + 1.5)
# g. The better one: Adam, its rate falling from .001 to 0 along a cosine.

weight = rt.zeros(1, requires_grad=True)
momentum = train.optim.SGD([weight], lr=0.01, momentum=0.5)
for _ in range(2):
    momentum.zero_grad()
    (3 * weight).sum().backward()
    momentum.step()
assert abs(weight.item() + 0.01 * (1 + 1.5) * 3) < 1e-7


def multilayer_network():
    sizes = (784, 512, 256, 128, 64, 10)
    layers = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


EPOCHS = 10
loss_of = nn.CrossEntropyLoss()


def by_the_text(network):
    return train.optim.SGD(network.parameters(), lr=0.01, momentum=0.5), None


def by_adam(network):
    optimizer = train.optim.Adam(network.parameters(), lr=0.001)
    steps = EPOCHS * -(-len(samples) // 64)
    return optimizer, train.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)


def accuracy_of(network):
    with rt.no_grad():
        predicted = network(rt.from_numpy(test_inputs)).argmax(1).numpy()
    return float((predicted == test_labels).mean())


def curve(recipe, epochs):
    """The network after some epochs, and the accuracy on the test digits after each."""
    rt.manual_seed(0)
    network = multilayer_network()
    optimizer, schedule = recipe(network)
    batches = data.DataLoader(samples, batch_size=64, shuffle=True)
    accuracies = []
    for epoch in range(epochs):
        for inputs, labels in batches:
            optimizer.zero_grad()
            loss_of(network(rt.from_numpy(inputs)), rt.from_numpy(labels)).backward()
            optimizer.step()
            if schedule:
                schedule.step()
        accuracies.append(accuracy_of(network))
        print(f"{recipe.__name__}, epoch {epoch + 1:2}: {accuracies[-1]:.2%} of the test digits right")
    return network, accuracies


number = sum(parameter.numel() for parameter in multilayer_network().parameters())
print(f"{number:,} parameters")
assert number == 575_050

# %%
# Two epochs of each
# ------------------

recording = "--record" in sys.argv
epochs = EPOCHS if recording else 2 if real else 8
_, text_accuracies = curve(by_the_text, epochs)
network, adam_accuracies = curve(by_adam, epochs)
if real:
    assert text_accuracies[1] > 0.92
    assert adam_accuracies[1] > 0.96
assert adam_accuracies[-1] > 0.9

# %%
# What is still mistaken
# ----------------------
# The first sixteen test digits that the better network has wrong: what it says, and what is right.

with rt.no_grad():
    predicted = network(rt.from_numpy(test_inputs)).argmax(1).numpy()
wrong = np.flatnonzero(predicted != test_labels)[:16]
fig, axes = plt.subplots(2, 8, figsize=(7, 2.3), layout="constrained")
for ax in axes.flat:
    ax.axis("off")
for ax, index in zip(axes.flat, wrong, strict=False):
    ax.imshow(digits.test_images[index], cmap="gray_r")
    ax.set_title(f"{predicted[index]}, not {test_labels[index]}", size=8)

# %%
# Ten epochs, recorded
# --------------------
# Over the recorded curves lie the epochs that were trained on this page.

COMMAND = "python docs/gallery/networks/14_mnist.py --record"
here = {"by_the_text": text_accuracies, "by_adam": adam_accuracies}
recorded_file = Path(sys.argv[0]).resolve().parents[1] / "recorded" / "14_mnist.json"
if recording:
    recorded_file.write_text(json.dumps({"command": COMMAND, "accuracies": here}, indent=1) + "\n")
if recorded_file.exists():  # it is not part of a downloaded script
    recorded = json.loads(recorded_file.read_text())
    print(recorded["command"])
    assert recorded["command"] == COMMAND
    curves = recorded["accuracies"]
    assert curves["by_the_text"][-1] >= 0.970
    assert curves["by_adam"][-1] >= 0.975

    fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    titles = {"by_the_text": "SGD .01, momentum .5 (the text)", "by_adam": "Adam, cosine"}
    for colour, (name, title) in zip(("C0", "C1"), titles.items(), strict=True):
        print(f"{title}: {curves[name][-1]:.2%} of the test digits right")
        ax.plot(range(1, EPOCHS + 1), curves[name], color=colour, label=f"{title}, recorded")
        if real:
            assert np.allclose(here[name], curves[name][: len(here[name])], atol=0.02)
            ax.plot(range(1, len(here[name]) + 1), here[name], "o", color=colour, label=f"{title}, this page")
    for level, style in ((0.97, ":"), (0.975, "--")):
        ax.axhline(level, color="grey", linestyle=style, linewidth=1, label=f"{level:.1%}")
    ax.set(xlabel="epoch", ylabel="share of the test digits right", ylim=(0.89, 0.99))
    ax.set_title("Two recipes for one network")
    ax.legend()
