"""
Bigrams of names: counted, and learned by a network
===================================================

makemore's first model writes a name letter by letter and looks at nothing but the letter before. Counting
gives it, and so does gradient descent on a single matrix. The notes stop at the loss of the names that were
counted; on a name with a pair that never occurred, plain counts give an infinite one.
"""

# %%
# The names
# ---------
# One line end stands between two names, so that it is also what starts and ends each: one stream of 27
# tokens holds exactly the pairs of makemore.

import matplotlib.pyplot as plt
import numpy as np

from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.data import datasets

names = datasets.names(stand_in=True)
print(datasets.describe("names"))
real = datasets.is_real("names")
print(f"{len(names):,} names, {min(map(len, names))} to {max(map(len, names))} letters, first {names[:5]}")


def text_of(names):
    return "\n" + "".join(name + "\n" for name in names)


codec = data.Codec.fit(text_of(names), data.CharTokenizer(), unk_token=None, order="token")
V = len(codec)
ids = codec.encode(text_of(names))
if real:
    assert (len(names), V, len(ids) - 1) == (32_033, 27, 228_146)
    assert (min(map(len, names)), max(map(len, names))) == (2, 15)
    assert " ".join(names[:10]) == "emma olivia ava isabella sophia charlotte mia amelia harper evelyn"

# %%
# Counting
# --------
# ``counts[i, j]`` says how often token j came after token i, and a row divided by its sum how probable that
# is.

counts = np.zeros((V, V))
np.add.at(counts, (ids[:-1], ids[1:]), 1)
probabilities = counts / counts.sum(axis=1, keepdims=True)
letters = ["end", *list(codec.vocab)[1:]]

figure, ax = plt.subplots(figsize=(7, 6), layout="constrained")
image = ax.imshow(probabilities, cmap="Blues")
ax.set_xticks(range(V), ["end", *letters[1:]], fontsize=8)
ax.set_yticks(range(V), ["start", *letters[1:]], fontsize=8)
ax.set(xlabel="next letter", ylabel="letter", title="How names go on")
_ = figure.colorbar(image, label="probability")

# %%
# The loss of a pair is minus the logarithm of its probability. Its mean over all pairs is what every later
# model has to beat; guessing would cost log 27 = 3.296.

seen = counts > 0
counted_loss = -(counts[seen] * np.log(probabilities[seen])).sum() / counts.sum()
print(f"counted pairs: {counted_loss:.4f} nats a letter, guessing: {np.log(V):.4f}")
assert not real or round(counted_loss, 3) == 2.454

# %%
# Its names are pronounceable in parts, and no more:

generator = np.random.default_rng(0)


def draw_name():
    token, name = 0, ""
    while token := generator.choice(V, p=probabilities[token]):
        name += codec.decode([token])
    return name


print(*(draw_name() for _ in range(10)))

# %%
# The network
# -----------
# A one-hot letter times a matrix is a row of the matrix; those are the logits of the next letter. So the
# whole network is an ``Embedding`` from 27 tokens to 27 numbers. The loss has one minimum, which is where
# the softmax of each row is the row of relative frequencies. Plain gradient descent with makemore's rate of
# 50, and Adam, over all pairs at once:

before, after = (rt.tensor(part.astype("int64")) for part in (ids[:-1], ids[1:]))


def fit(make_optimizer, steps):
    rt.manual_seed(0)
    network = nn.Embedding(V, V)
    optimizer = make_optimizer(network.parameters())
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(before), after)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return network, losses


runs = {
    "gradient descent, rate 50": fit(lambda weights: train.optim.SGD(weights, lr=50), 100),
    "Adam, rate 0.2": fit(lambda weights: train.optim.Adam(weights, lr=0.2), 150),
}
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for label, (_, losses) in runs.items():
    print(f"{label}: {losses[-1]:.4f}")
    ax.plot(losses, label=label)
ax.axhline(counted_loss, color="black", linestyle=":", label="counted")
ax.set(
    xlabel="steps",
    ylabel="loss (nats per letter)",
    title="Towards the loss of the counts",
    ylim=(counted_loss - 0.05, np.log(V)),
)
_ = ax.legend()
network, losses = runs["Adam, rate 0.2"]
assert 0 < losses[-1] - counted_loss < (3e-3 if real else 0.1)
assert not real or round(losses[-1], 3) == 2.454

# %%
# At the relative frequencies themselves the gradient is zero. (A probability of 0 needs a logit of minus
# infinity, which no descent reaches; minus 30 does as well.)

logits = rt.tensor(np.log(np.maximum(probabilities, np.exp(-30))), requires_grad=True)
loss = nn.functional.cross_entropy(logits[before], after)
loss.backward()
print(f"loss {loss.item():.4f}, largest element of its gradient {np.abs(logits.grad.numpy()).max():.1e}")
assert abs(loss.item() - counted_loss) < 1e-9
assert np.abs(logits.grad.numpy()).max() < 1e-9

# %%
# Names that were not counted
# ---------------------------
# Every tenth name is held out. Where a pair occurs in none of the others, the loss of its name is infinite.
# Smoothing gives such a pair a small probability. makemore adds 1 to each count; ``NgramModel`` goes by how
# many different letters were seen after a letter.

held_out = codec.encode(text_of(names[::10]))
counted_names = text_of(name for i, name in enumerate(names) if i % 10)
assert set(counted_names) == set(codec.vocab), "the vocabulary of these is that of all"
rest = codec.encode(counted_names)
table = np.zeros((V, V))
np.add.at(table, (rest[:-1], rest[1:]), 1)
new_pairs = (table[held_out[:-1], held_out[1:]] == 0).sum()
plus_one = (table + 1) / (table + 1).sum(axis=1, keepdims=True)
plus_one_loss = -np.log(plus_one[held_out[:-1], held_out[1:]]).mean()
infinite = ": an infinite loss" if new_pairs else ""
print(f"{new_pairs} of {len(held_out) - 1:,} held-out pairs were never counted{infinite}")
print(f"one added to each count: {plus_one_loss:.4f}")
training = data.TokenStream(rest, V)
by_order = [data.NgramModel(training, order).negative_log_likelihood(held_out) for order in range(1, 7)]
for order, loss in enumerate(by_order, 1):
    print(f"{order - 1} letters before, Witten-Bell: {loss:.4f}")
if real:
    assert new_pairs > 0
    assert round(plus_one_loss, 2) == 2.46

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(range(6), by_order, "o-", label="counts with smoothing")
ax.axhline(plus_one_loss, color="C1", linestyle="--", label="pairs, one added")
ax.set(
    xlabel="letters looked at before",
    ylabel="held-out loss (nats per letter)",
    title="More letters, fewer counts",
)
_ = ax.legend()

# %%
# More letters before help, until most of what is asked for has not been counted. Models that share what
# they learn between histories come next: :ref:`sphx_glr_generated_gallery_notes_19_names.py`.
