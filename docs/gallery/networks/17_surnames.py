"""
Which language a surname is from
================================

The last program of "Naturally understanding deep learning": the letters of a surname, a GRU in both
directions over a packed batch, and a classifier on its two last states. A random split puts some surnames on
both sides; this page counts them and scores the others by themselves.
"""

# %%
# The surnames
# ------------
# A seed draws the split: 80 % to train, 20 % to test. A vocabulary is made of the training letters alone.

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import ConfusionMatrixDisplay

from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.data import datasets
from rondeau.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

SEED, EPOCHS, BATCH, SIZE = 0, 5, 64, 64

by_language = datasets.names_by_language(stand_in=True)
print(datasets.describe("names_by_language"))
languages = list(by_language)
surnames = [name for names in by_language.values() for name in names]
labels = np.array([i for i, names in enumerate(by_language.values()) for _ in names])
generator = np.random.default_rng(SEED)
order = generator.permutation(len(surnames))
training, test = np.split(order, [int(0.8 * len(order))])
letters = sorted({letter for i in training for letter in surnames[i]})
index = {letter: i + 1 for i, letter in enumerate(letters)}  # 0: a letter that no training name has
ids = [rt.tensor([index.get(letter, 0) for letter in name]) for name in surnames]
if datasets.is_real("names_by_language"):
    assert (len(surnames), len(languages), len(training), len(test)) == (20_074, 18, 16_059, 4_015)

# %%
# The model
# ---------
# ``h_n`` holds the states at the ends: ``h_n[-2]`` of the forward direction, after the last letter, and
# ``h_n[-1]`` of the backward one, after the first.


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(len(letters) + 1, SIZE)
        self.recurrent = nn.GRU(SIZE, SIZE, bidirectional=True)
        self.head = nn.Linear(2 * SIZE, len(languages))

    def run(self, ids):
        lengths = [len(row) for row in ids]
        embedded = self.embedding(pad_sequence(ids))
        return self.recurrent(pack_padded_sequence(embedded, lengths, enforce_sorted=False))

    def forward(self, ids):
        _, h_n = self.run(ids)
        return self.head(rt.cat((h_n[-2], h_n[-1]), dim=1))


rt.manual_seed(SEED)
model = Classifier()

# %%
# The backward state is the backward half of the output at the first letter, for packed rows too: the backward
# run of a name starts at its own last letter and not in the padding. The forward state is at each name's own
# end.

packed, h_n = model.run([ids[i] for i in training[:5]])
output, lengths = pad_packed_sequence(packed)
assert len(set(lengths.tolist())) > 1
assert rt.equal(h_n[-1], output[0, :, SIZE:])
for row, length in enumerate(lengths.tolist()):
    assert rt.equal(h_n[-2][row], output[length - 1, row, :SIZE])

# %%
# Training
# --------
# Five epochs with Adam.

optimizer = train.optim.Adam(model.parameters(), lr=2e-3)
accuracies = []
for _ in range(EPOCHS):
    for batch in np.array_split(generator.permutation(training), -(-len(training) // BATCH)):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model([ids[i] for i in batch]), labels[batch]).backward()
        optimizer.step()
    with rt.no_grad():
        found = model([ids[i] for i in test]).argmax(1).numpy()
    accuracies.append((found == labels[test]).mean())
print("accuracy on the test surnames after each epoch:", *(f"{100 * a:.1f} %" for a in accuracies))

# %%
# Seen and unseen
# ---------------
# Some surnames are in the files more than once, so that a random split puts copies on both sides. Here this
# makes the accuracy no better: many copies are Arabic names, which are listed over and over and easy to know
# by heart, but others are names of two languages or more, for which a training set that says English is wrong
# about the German one.

files_of = {}
for i in training:
    files_of.setdefault(surnames[i], set()).add(labels[i])
new = np.array([surnames[i] not in files_of for i in test])
elsewhere = np.array([bool(files_of.get(surnames[i], set()) - {labels[i]}) for i in test])
right = found == labels[test]
print(f"{(~new).mean():.1%} of the test surnames are in the training set as well,")
print(f"{elsewhere.mean():.1%} under another language")
print(f"right: {right.mean():.1%} of all, {right[new].mean():.1%} of those not seen")
most_common = np.bincount(labels[training]).argmax()
majority = (labels[test] == most_common).mean()
print(f"always {languages[most_common]}: {majority:.1%}")
if datasets.is_real("names_by_language"):
    assert right.mean() > 0.80
    assert right[new].mean() > 0.80
assert right.mean() > majority + 0.1

# %%
# The confusion matrix
# --------------------
# Each row, a language, sums to 1. Russian and Japanese stand apart; the small languages are taken for English
# and for their neighbours.

fig, ax = plt.subplots(figsize=(7, 6.5), layout="constrained")
ConfusionMatrixDisplay.from_predictions(
    labels[test],
    found,
    labels=range(len(languages)),
    display_labels=languages,
    normalize="true",
    include_values=False,
    xticks_rotation="vertical",
    ax=ax,
)
ax.set(xlabel="found", ylabel="language of the file", title="Share of a language's test surnames")

# %%
# Names of one's own:


def top(name, count=3):
    known = rt.tensor([index.get(letter, 0) for letter in name])
    with rt.no_grad():
        probabilities, places = model([known]).softmax(1)[0].topk(count)
    return ", ".join(
        f"{languages[i]} {p:.2f}" for p, i in zip(probabilities.tolist(), places.tolist(), strict=True)
    )


for name in ("Satoshi", "Jackson", "Rossi", "Dovesky"):
    print(f"{name}: {top(name)}")

# %%
# Three seeds, and PyTorch
# ------------------------
# The recorded run: eight epochs for each of three seeds, by rondeau and by the same model in PyTorch, with
# the same splits and batches. It was made by the command that is printed here.

here = Path(globals().get("__file__", "17_surnames.py")).resolve().parent
file = here.parent / "recorded" / "17_surnames.json"
if file.exists():  # it is not part of a downloaded script
    recorded = json.loads(file.read_text())
    print(recorded["command"])
    fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    last = []
    for row in recorded["rows"]:
        for library, curve, style in zip(("rondeau", "PyTorch"), row["accuracies"], ("-", "--"), strict=True):
            name = f"{library}, seed {row['seed']}"
            ax.plot(
                range(1, len(curve) + 1), 100 * np.array(curve), style, color=f"C{row['seed']}", label=name
            )
        last.append([100 * curve[-1] for curve in row["accuracies"]])
    ours, twin = np.mean(last, axis=0)
    ax.set(
        xlabel="epoch",
        ylabel="test surnames classified right (%)",
        title=f"Means: {ours:.2f} %, PyTorch {twin:.2f} %",
    )
    ax.legend(ncols=3)
    assert abs(ours - twin) < 1
