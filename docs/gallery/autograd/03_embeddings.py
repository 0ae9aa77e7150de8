"""
Embeddings and cross-entropy
============================

Words become vectors by looking up rows of a matrix, and a network's scores become a loss by cross-entropy.
Both are in the NumPy autograd text. Its loss is the logarithm of a softmax, which breaks down where scores
are large; this page shows where.
"""

# %%
# A row for each word
# -------------------
# ``nn.Embedding`` starts with normal numbers of variance 1, as PyTorch's. The text draws them from the small
# interval ±0.5 / dimensions instead, which is one call of ``nn.init``:

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.nn import functional

rt.manual_seed(0)
DIM = 4
embedding = nn.Embedding(5, DIM)
nn.init.uniform_(embedding.weight, -0.5 / DIM, 0.5 / DIM)
assert embedding.weight.abs().max().item() <= 0.125

# %%
# A lookup is the product of a one-hot row with the matrix, without the zeros.

words = rt.tensor([1, 3, 1, 1])
looked_up = embedding(words)
assert rt.equal(looked_up, embedding.weight.index_select(0, words))
assert rt.equal(looked_up, functional.one_hot(words, 5).float() @ embedding.weight)

# %%
# The gradient of a lookup
# ------------------------
# Each place that looked up a row sends it a gradient, and they add. Word 1 is read three times here. NumPy's
# ``gradient[words] += sent`` would count it once, since it writes the same row three times.

sent = rt.tensor([[1.0] * DIM, [10.0] * DIM, [100.0] * DIM, [1000.0] * DIM])
looked_up.backward(sent)
assert embedding.weight.grad[:, 0].tolist() == [0, 1101, 0, 10, 0]

wrong = np.zeros((5, DIM))
wrong[words.numpy()] += sent.numpy()
right = np.zeros((5, DIM))
np.add.at(right, words.numpy(), sent.numpy())
assert wrong[:, 0].tolist() == [0, 1000, 0, 10, 0]
assert np.array_equal(right, embedding.weight.grad.numpy())

# %%
# Cross-entropy from scores
# -------------------------
# The loss of a row of scores, or logits, z with the right class k is -log softmax(z)[k] = log(sum exp z) -
# z[k]. Three ways to the same number; the first is what to use.

logits = rt.tensor([[2.0, 1.0, 0.1], [0.5, 2.5, 0.3]], requires_grad=True)
classes = rt.tensor([0, 1])
from_logits = nn.CrossEntropyLoss()(logits, classes)
in_two_steps = nn.NLLLoss()(functional.log_softmax(logits, 1), classes)
from_softmax = -logits.softmax(1).log()[rt.arange(2), classes].mean()
print(from_logits.item(), in_two_steps.item(), from_softmax.item())
assert rt.allclose(from_logits, in_two_steps)
assert rt.allclose(from_logits, from_softmax)

# %%
# Its gradient is short: the softmax minus the one-hot target, over the number of rows.

from_logits.backward()
assert rt.allclose(logits.grad, (logits.softmax(1) - functional.one_hot(classes, 3)) / 2)

# %%
# Where the text's softmax overflows
# ----------------------------------
# A softmax by its formula takes exp of every score. In float32 exp(x) is infinite from x = 88.73 on, and
# infinite over infinite is no number; in float64 that happens at 709.79. Subtracting the row's maximum first
# cures the overflow. The logarithm after it still fails at the other end: exp(-104) is zero in float32, and
# its logarithm infinite. Log-softmax, z - max - log(sum exp(z - max)), takes no logarithm of anything below
# 1.


def text_loss(z):
    with np.errstate(all="ignore"):
        powers = np.exp(z)
        return -np.log(powers / powers.sum(-1, keepdims=True))[..., 1]


def shifted_loss(z):
    return text_loss(z - z.max(-1, keepdims=True))


def loss_from_logits(z):
    return functional.cross_entropy(rt.tensor(z), rt.ones(len(z), dtype=rt.int64), reduction="none").numpy()


gap = np.linspace(0, 140, 1401, dtype=np.float32)
scores = np.stack([gap, np.zeros_like(gap)], axis=1)  # two classes; the right one has score 0
ways = {
    "softmax by its formula, then log": text_loss,
    "maximum subtracted, then log": shifted_loss,
    "log-softmax": loss_from_logits,
}
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for (name, way), width in zip(ways.items(), (9, 5, 1.5), strict=True):
    loss = way(scores)
    finite = np.isfinite(loss)
    end = "no end" if finite.all() else f"up to {gap[finite][-1]:.1f}"
    print(f"{name}: {end}")
    ax.plot(gap[finite], loss[finite], linewidth=width, label=f"{name}: {end}", solid_capstyle="butt")
ax.set(xlabel="score of the wrong class minus score of the right one", ylabel="loss (nats)", title="float32")
ax.legend()
assert np.isfinite(text_loss(np.float32([[88.7, 0]]))).all()
assert not np.isfinite(text_loss(np.float32([[88.8, 0]]))).any()
assert np.isfinite(text_loss(np.array([[709.7, 0]]))).all()
assert not np.isfinite(text_loss(np.array([[709.8, 0]]))).any()
assert np.isinf(shifted_loss(np.float32([[104, 0]]))).all()
assert np.array_equal(loss_from_logits(np.float32([[1e4, 0]])), [1e4])

# %%
# Classes or probabilities
# ------------------------
# The target is a class, or a probability for each class. A one-hot row is the same as its class. Other rows
# say what is uncertain: half cat, half dog.

one_hot = functional.one_hot(classes, 3).float()
criterion = nn.CrossEntropyLoss()
assert rt.allclose(criterion(logits, classes), criterion(logits, one_hot))
uncertain = rt.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
print(criterion(logits, uncertain).item())
smoothed = nn.CrossEntropyLoss(label_smoothing=0.1)(logits, classes)
assert rt.allclose(smoothed, criterion(logits, 0.9 * one_hot + 0.1 / 3))

# %%
# What the gradient does to the words
# -----------------------------------
# Six words of two kinds, two numbers each, and a linear layer that tells the kinds apart. The words start in
# a heap, within ±0.25, and move into two: only those that a batch looked up move in a step.

rt.manual_seed(0)
kinds = rt.tensor([0, 0, 0, 1, 1, 1])
embedding, head = nn.Embedding(6, 2), nn.Linear(2, 2)
nn.init.uniform_(embedding.weight, -0.25, 0.25)
optimizer = train.optim.SGD([*embedding.parameters(), *head.parameters()], lr=0.5)
paths = [embedding.weight.detach().numpy().copy()]
for _ in range(200):
    batch = rt.randint(0, 6, (4,))
    optimizer.zero_grad()
    functional.cross_entropy(head(embedding(batch)), kinds[batch]).backward()
    optimizer.step()
    paths.append(embedding.weight.detach().numpy().copy())
moved = paths[-1] != paths[-2]
assert set(np.flatnonzero(moved.any(1))) == set(batch.tolist())
assert head(embedding.weight).argmax(1).tolist() == kinds.tolist()

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for word, path in enumerate(np.stack(paths, axis=1)):
    colour = f"C{kinds[word].item()}"
    ax.plot(*path.T, color=colour, linewidth=1)
    ax.plot(*path[-1], "o", color=colour)
    ax.annotate(f"{word}", path[-1], textcoords="offset points", xytext=(6, -3))
ax.plot(*paths[0].T, ".", color="C7", label="start")
ax.set(xlabel="first number of the vector", ylabel="second number", title="Six words in 200 steps")
ax.legend()
