"""
What an embedding learns
========================

The notes on embeddings look up made-up vectors for five words. Here is their example, with its numbers, and
then vectors of 1,200 words trained on the plays of Shakespeare: their nearest neighbours, and a picture in
two dimensions.
"""

# %%
# Five words, three numbers each
# ------------------------------
# 苹果 是 一家 科技 公司, "Apple is a technology company": five words with the numbers 1 to 5. 0 stays free for
# padding.

# sphinx_gallery_thumbnail_number = 2
import re
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.data import datasets
from rondeau.nn import functional

sentence = ["苹果", "是", "一家", "科技", "公司"]
ids = {word: i for i, word in enumerate(sentence, start=1)}
assert list(ids.values()) == [1, 2, 3, 4, 5]

table = rt.zeros(6, 3)
table[ids["苹果"]] = rt.tensor([0.7, 0.1, 0.9])
table[ids["科技"]] = rt.tensor([0.3, 0.9, 0.4])
table[ids["公司"]] = rt.tensor([0.6, 0.2, 0.8])
embedding = nn.Embedding.from_pretrained(table, padding_idx=0)
vectors = embedding(rt.tensor([ids[word] for word in sentence]))
assert vectors.shape == (5, 3)


def cosine(one, other):
    u, v = vectors[ids[one] - 1], vectors[ids[other] - 1]
    return (u.dot(v) / (u.norm() * v.norm())).item()


# %%
# The cosine of the angle between two vectors is their likeness: Apple is near to company and far from
# technology. In the notes somebody chose these numbers; training has to find them from text.

for pair, expected in ((("苹果", "公司"), 0.9938), (("苹果", "科技"), 0.5601), (("科技", "公司"), 0.6476)):
    print(*pair, f"{cosine(*pair):.4f}")
    assert round(cosine(*pair), 4) == expected

# %%
# The notes then feed them to a recurrent network, :math:`h_t = \tanh(W_h h_{t-1} + W_x x_t + b)`, with one
# bias. ``nn.RNN`` has two, as PyTorch's; the second is set to zero.

rt.manual_seed(0)
layer = nn.RNN(3, 4)
nn.init.zeros_(layer.bias_hh_l0)
h = rt.zeros(4)
for x_t in vectors:
    h = (layer.weight_hh_l0 @ h + layer.weight_ih_l0 @ x_t + layer.bias_ih_l0).tanh()
_, h_n = layer(vectors)
assert rt.allclose(h_n[0], h, atol=1e-6)

# %%
# A real text
# -----------
# You know a word by the company it keeps. The 120 commonest words (the, and, to, ...) keep company with all
# others and are left out; of the next 1,200 each pair is counted that stands within five words of each other.

text = re.findall("[a-z']+", datasets.tinyshakespeare(stand_in=True).lower())
print(datasets.describe("tinyshakespeare"))
real = datasets.is_real("tinyshakespeare")
COMMON, SIZE, DIMENSIONS, WINDOW = 120, 1200, 32, 5
frequent = [word for word, _ in Counter(text).most_common()]
common = min(COMMON, len(frequent) // 10)
words = frequent[common : common + SIZE]
number = {word: i for i, word in enumerate(words)}
stream = np.array([number[word] for word in text if word in number])
counts = np.zeros((len(words), len(words)), dtype=np.float32)
for distance in range(1, WINDOW + 1):
    np.add.at(counts, (stream[:-distance], stream[distance:]), 1)
counts += counts.T
print(f"{len(text):,} words, {len(stream):,} kept; {counts.sum():,.0f} pairs of {len(words)} different words")
print("left out:", *frequent[: min(12, common)], "...")

# %%
# Training
# --------
# The skip-gram model: from the vector of a word, a linear layer and a softmax say which words stand around
# it. As the counts of all neighbours fit into one table, a step needs no sampling: the target of each word is
# the distribution of its neighbours, and the loss is the cross-entropy. It cannot fall below the entropy of
# that distribution.

totals = counts.sum(1, keepdims=True)
share = rt.tensor(totals[:, 0] / totals.sum())
neighbours = rt.tensor(counts / np.maximum(totals, 1))
with np.errstate(divide="ignore", invalid="ignore"):
    entropy = -np.nansum(neighbours.numpy() * np.log(neighbours.numpy()), axis=1) @ share.numpy()

rt.manual_seed(0)
vectors, head = nn.Embedding(len(words), DIMENSIONS), nn.Linear(DIMENSIONS, len(words))
for weight in (vectors.weight, head.weight):
    nn.init.normal_(weight, std=0.1)
optimizer = train.optim.Adam([*vectors.parameters(), *head.parameters()], lr=0.03)
losses = []
for _ in range(300):
    optimizer.zero_grad()
    by_word = functional.cross_entropy(head(vectors.weight), neighbours, reduction="none")
    loss = (by_word * share).sum()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(f"loss {losses[0]:.3f} to {losses[-1]:.3f} nats; the entropy of the neighbours is {entropy:.3f}")
assert entropy < losses[-1] < losses[0]

fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(losses, label="cross-entropy")
ax.axhline(entropy, color="C7", linestyle="--", label="entropy of the neighbours: the least there is")
ax.set(xlabel="training steps", ylabel="nats per neighbour", title="The vectors learn who stands where")
ax.legend()

# %%
# Nearest neighbours
# ------------------
# By cosine. Words come together that were nowhere side by side, if they keep the same company.

unit = vectors.weight.detach().numpy()
unit = unit - unit.mean(0)
unit /= np.linalg.norm(unit, axis=1, keepdims=True)


def nearest(word, count=6):
    order = np.argsort(-unit @ unit[number[word]])
    return [words[i] for i in order[1 : count + 1]]


asked = ["rome", "day", "eyes", "three", "son", "war", "sword", "mother"] if real else words[:6]
for word in asked:
    print(f"{word:>8}: {', '.join(nearest(word))}")
if real:
    assert {"coriolanus", "menenius", "cominius", "aufidius"} & set(nearest("rome"))
    assert "night" in nearest("day")
    assert {"sight", "cheeks", "tears"} & set(nearest("eyes"))
    assert {"two", "twenty", "four", "half"} & set(nearest("three", 8))

# %%
# A picture in two dimensions
# ---------------------------
# The principal components of the drawn words: the plane in which they lie farthest apart. It holds a part of
# what 32 numbers say, so that neighbours in the picture need not be neighbours.

groups = {
    "family": ["son", "father's", "heir", "daughter", "children", "mother", "wife", "age"],
    "time": ["day", "night", "morning", "hour", "morrow", "week", "year", "years"],
    "body": ["eyes", "cheeks", "face", "tears", "lips", "arms", "hand", "tongue"],
    "Rome": ["rome", "coriolanus", "menenius", "brutus", "tribunes", "volsces"],
    "war": ["war", "swords", "enemies", "army", "fight", "soldiers", "drums", "field"],
}
if not real:
    groups = {f"words {i} to {i + 7}": words[i : i + 8] for i in range(0, min(40, len(words)), 8)}
groups = {name: [word for word in members if word in number] for name, members in groups.items()}
members = [word for group in groups.values() for word in group]
chosen = unit[[number[word] for word in members]]
centre = chosen.mean(0)
_, spread, axes = np.linalg.svd(chosen - centre, full_matrices=False)
kept = (spread[:2] ** 2).sum() / (spread**2).sum()
fig, ax = plt.subplots(figsize=(7, 6), layout="constrained")
coloured = {}
for colour, (name, group) in enumerate(groups.items()):
    places = (unit[[number[word] for word in group]] - centre) @ axes[:2].T
    ax.plot(*places.T, "o", color=f"C{colour}", label=name)
    coloured |= {word: (place, f"C{colour}") for word, place in zip(group, places, strict=True)}
ax.set(
    xlabel="first component",
    ylabel="second component",
    title=f"{kept:.0%} of the variance of {len(members)} words",
)
ax.margins(0.15, 0.08)
fig.legend(loc="outside lower center", ncols=3)
fig.canvas.draw()
taken = []  # each word on the first side of its point where no other word stands
for word, (place, colour) in sorted(coloured.items(), key=lambda item: -item[1][0][1]):
    for offset, side in (((5, 3), "left"), ((-5, 3), "right"), ((5, -10), "left"), ((-5, -10), "right")):
        text = ax.annotate(
            word, place, textcoords="offset points", xytext=offset, ha=side, size=9, color=colour
        )
        extent = text.get_window_extent()
        if not any(extent.overlaps(other) for other in taken):
            break
        text.set_visible(False)
    text.set_visible(True)
    taken.append(extent)
if real:
    inside = np.mean(
        [unit[number[a]] @ unit[number[b]] for g in groups.values() for a in g for b in g if a != b]
    )
    everywhere = (chosen @ chosen.T)[~np.eye(len(members), dtype=bool)].mean()
    print(f"mean cosine within a group {inside:.2f}, of all drawn words {everywhere:.2f}")
    assert inside > everywhere + 0.1
