"""
Which book a passage is from
============================

The NumPy autograd text first uses embeddings to classify: words' vectors are averaged, and a linear layer
decides. Here 40 words of Shakespeare are told from 40 of The Time Machine and 40 of Python's language
reference. Windows drawn at random overlap, and a test on them asks for what was trained on; these passages
do not overlap, and the end of each book is held out.
"""

# %%
# Passages
# --------
# Lower-case words without signs, in blocks of 40, equally many of each book. The first 80 % of a book
# train, the rest tests. Words that occur once in training are unknown.

import re

import matplotlib.pyplot as plt
import numpy as np
from sklearn import metrics

from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.data import datasets

books = {
    "Shakespeare": datasets.tinyshakespeare(stand_in=True),
    "The Time Machine": datasets.timemachine(stand_in=True),
    "language reference": data.embedded_corpus(),
}
for name in ("tinyshakespeare", "timemachine"):
    print(datasets.describe(name))
real = datasets.is_real("tinyshakespeare") and datasets.is_real("timemachine")
words = {name: re.findall("[a-z]+", text.lower()) for name, text in books.items()}
count = min(800, *(len(found) // 40 for found in words.values()))
cut = int(0.8 * count)
passages = np.array([np.reshape(found[: 40 * count], (count, 40)) for found in words.values()])
training, test = passages[:, :cut].reshape(-1, 40), passages[:, cut:].reshape(-1, 40)
training_labels, test_labels = (np.repeat(np.arange(3), n) for n in (cut, count - cut))
print(
    f"{len(training)} passages to train on, {len(test)} to test; the first: {' '.join(training[0][:12])} ..."
)
assert not {" ".join(row) for row in training} & {" ".join(row) for row in test}

vocab = data.Vocab(training.ravel().tolist(), min_freq=2)
x, x_test = (vocab.indices(part.ravel()).reshape(-1, 40).astype("int64") for part in (training, test))
print(f"{len(vocab):,} words; {100 * (x_test == 0).mean():.0f} % of the words of the test are unknown")

# %%
# Averaged embeddings, four ways down
# -----------------------------------


class Averaged(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(len(vocab), 16)
        self.head = nn.Linear(16, 3)

    def forward(self, ids):  # (B, 40)
        return self.head(self.embedding(ids).mean(1))


def fit(model, optimizer, epochs, scheduler=None):
    generator = np.random.default_rng(0)
    losses = []
    for _ in range(epochs):
        total = 0.0
        for batch in np.array_split(generator.permutation(len(x)), len(x) // 32):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(rt.tensor(x[batch])), training_labels[batch])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        if scheduler:
            scheduler.step()
        losses.append(total / len(x))
    return losses


def predict(model):
    with rt.no_grad():
        return nn.functional.softmax(model(rt.tensor(x_test)), 1).numpy()


# %%
# Plain gradient descent; with momentum; with momentum and a rate that is halved every four epochs; and
# Adam, which gives each weight a step of its own. Each has a rate that suits it. The initial weights and
# the batches are the same.

optimisers = {
    "SGD": lambda weights: train.optim.SGD(weights, lr=0.5),
    "momentum": lambda weights: train.optim.SGD(weights, lr=0.5, momentum=0.9),
    "momentum, step decay": lambda weights: train.optim.SGD(weights, lr=0.5, momentum=0.9),
    "Adam": lambda weights: train.optim.Adam(weights, lr=0.01),
}
EPOCHS = 12
averaged, curves = {}, {}
for name, make in optimisers.items():
    rt.manual_seed(0)
    averaged[name] = Averaged()
    optimizer = make(averaged[name].parameters())
    decay = train.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.5) if "decay" in name else None
    curves[name] = fit(averaged[name], optimizer, EPOCHS, decay)
    accuracy = metrics.accuracy_score(test_labels, predict(averaged[name]).argmax(1))
    print(f"{name:<21} training loss {curves[name][-1]:.4f}, test accuracy {100 * accuracy:.1f} %")

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, curve in curves.items():
    ax.semilogy(range(1, EPOCHS + 1), curve, "o-", markersize=4, label=name)
ax.set(xlabel="epochs", ylabel="training loss (nats per passage)", title="The same network, four optimisers")
_ = ax.legend()
assert curves["momentum"][-1] < curves["SGD"][-1]
assert curves["Adam"][-1] < curves["SGD"][-1]
if real:
    assert curves["momentum"][-1] < curves["momentum, step decay"][-1]

# %%
# Momentum makes larger steps of many that agree. A falling rate pays where the noise of the batches keeps
# the loss from falling; here it costs progress.

# %%
# A recurrent reader
# ------------------
# A GRU reads the words in order, in both directions: a classifier has the whole passage before it answers.


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(len(vocab), 16)
        self.recurrent = nn.GRU(16, 16, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 3)

    def forward(self, ids):
        _, h_n = self.recurrent(self.embedding(ids))
        return self.head(rt.cat((h_n[0], h_n[1]), 1))


rt.manual_seed(0)
reader = Reader()
fit(reader, train.optim.Adam(reader.parameters(), lr=0.01), epochs=4)

# %%
# Accuracy, precision, recall, F1
# -------------------------------
# Of the passages given to a book, precision is the share that is from it; of the passages from a book,
# recall is the share that was given to it; F1 is their harmonic mean.

scores = {"averaged": predict(averaged["Adam"]), "recurrent": predict(reader)}
for name, probabilities in scores.items():
    print(f"--- {name}")
    print(
        metrics.classification_report(
            test_labels, probabilities.argmax(1), target_names=list(books), digits=3
        )
    )

# %%
# By hand, for one book, from three counts:

found = scores["recurrent"].argmax(1)
hits = ((found == 0) & (test_labels == 0)).sum()
precision, recall = hits / (found == 0).sum(), hits / (test_labels == 0).sum()
by_hand = [precision, recall, 2 * precision * recall / (precision + recall)]
library = metrics.precision_recall_fscore_support(test_labels, found)
assert np.allclose(by_hand, [column[0] for column in library[:3]])

# %%
# The ROC curve and its area
# --------------------------
# One book against the others: from a strict threshold to a lax one, the share of its passages that are
# found goes up, and so does the share of the others that are wrongly taken for it. The area under that
# curve is the probability that a passage of the book has a higher score than one of the others.

figure, axes = plt.subplots(1, 2, figsize=(7, 4), sharey=True, layout="constrained")
areas = {}
for ax, (model, probabilities) in zip(axes, scores.items(), strict=True):
    for label, book in enumerate(books):
        false_alarms, found_share, _ = metrics.roc_curve(test_labels == label, probabilities[:, label])
        areas[model, book] = metrics.auc(false_alarms, found_share)
        ax.plot(false_alarms, found_share, label=f"{book}: {areas[model, book]:.4f}")
    ax.set(xlabel="false positive rate", title=model, xlim=(-0.01, 0.3))
    ax.legend(title="area", loc="lower right", fontsize="small")
axes[0].set_ylabel("true positive rate")

own, others = (scores["averaged"][:, 0][test_labels == 0], scores["averaged"][:, 0][test_labels != 0])
pairs = (own[:, None] > others).mean() + 0.5 * (own[:, None] == others).mean()
assert np.isclose(pairs, areas["averaged", "Shakespeare"])
if real:
    accuracies = {name: metrics.accuracy_score(test_labels, p.argmax(1)) for name, p in scores.items()}
    assert accuracies["averaged"] > accuracies["recurrent"] - 0.01 > 0.9
    assert min(areas.values()) > 0.95

# %%
# For this task the words matter, and their order hardly does: the average does as well as the reader, and
# is cheaper. How to choose its numbers without looking at the test:
# :ref:`sphx_glr_generated_gallery_autograd_06_model_selection.py`.
