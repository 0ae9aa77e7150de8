"""
Many to many, many to one
=========================

Two uses of one recurrent layer, after "Naturally understanding deep learning": an output at every step
(tomorrow's temperature, each day), and one output at the end (the language of a surname). The text trains on
one sample after the other and then on mini-batches; the summed gradient of both is the same, for sequences of
different lengths as well.
"""

# %%
# Many to many: temperatures
# --------------------------
# Ten years of daily minimum temperatures in Melbourne. The last two are for testing; the scaling is by the
# mean and the deviation of the others.

import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.data import datasets
from rondeau.nn.utils.rnn import pack_sequence

rt.manual_seed(0)
celsius = datasets.min_temperatures(stand_in=True).values.astype(np.float32)
print(datasets.describe("min_temperatures"))
cut = len(celsius) - 730
mean, deviation = celsius[:cut].mean(), celsius[:cut].std()
scaled = (celsius - mean) / deviation
if datasets.is_real("min_temperatures"):
    assert len(celsius) == 3650

# %%
# At every step the network reads a day and says the next: inputs x[0..T-1], targets x[1..T]. A batch has
# windows of 60 days. In testing the state goes through all days before, as a weather service would do it.


class NextDay(nn.Module):
    def __init__(self, size=32):
        super().__init__()
        self.recurrent = nn.GRU(1, size)
        self.head = nn.Linear(size, 1)

    def forward(self, x):
        output, _ = self.recurrent(x)  # (T, B, size): one output for each step
        return x + self.head(output)  # the change to the day after


STEPS, BATCH = 60, 32
model = NextDay()
optimizer = train.optim.Adam(model.parameters(), lr=3e-3)
generator = np.random.default_rng(0)
for _ in range(300):
    starts = generator.integers(0, cut - STEPS, BATCH)
    windows = scaled[starts + np.arange(STEPS + 1)[:, None]][..., None]
    optimizer.zero_grad()
    nn.functional.mse_loss(model(rt.tensor(windows[:-1])), rt.tensor(windows[1:])).backward()
    optimizer.step()

with rt.no_grad():
    said = model(rt.tensor(scaled[:-1].reshape(-1, 1, 1))).numpy().ravel() * deviation + mean
error = np.sqrt(np.mean((said - celsius[1:])[cut - 1 :] ** 2))
same_again = np.sqrt(np.mean((celsius[:-1] - celsius[1:])[cut - 1 :] ** 2))
print(f"error on the last two years: {error:.2f} °C; saying today's again: {same_again:.2f} °C")
assert error < same_again

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
days = np.arange(cut, cut + 90)
ax.plot(days, celsius[days], label="measured")
ax.plot(days, said[days - 1], "--", label="said the day before")
ax.set(xlabel="day", ylabel="minimum temperature (°C)", title=f"Root mean square error {error:.2f} °C")
ax.legend()

# %%
# Many to one: surnames
# ---------------------
# The letters of a surname go in one by one; the state after the last one decides between three languages.

by_language = datasets.names_by_language(stand_in=True)
print(datasets.describe("names_by_language"))
languages = ["Greek", "Italian", "Japanese"]
surnames = [name for language in languages for name in dict.fromkeys(by_language[language])]
labels = np.array([i for i, language in enumerate(languages) for _ in dict.fromkeys(by_language[language])])
letters = sorted(set("".join(surnames)))
ids = [rt.tensor([letters.index(letter) for letter in name]) for name in surnames]


class LanguageOf(nn.Module):
    def __init__(self, size=64):
        super().__init__()
        self.embedding = nn.Embedding(len(letters), 16)
        self.recurrent = nn.RNN(16, size)
        self.head = nn.Linear(size, len(languages))

    def forward(self, ids):
        packed = pack_sequence(ids, enforce_sorted=False)
        _, h_n = self.recurrent(packed._replace(data=self.embedding(packed.data)))
        return self.head(h_n[-1])  # (B, languages): one output for each sequence


order = generator.permutation(len(surnames))
training, test = np.split(order, [int(0.8 * len(order))])
classifier = LanguageOf()
optimizer = train.optim.Adam(classifier.parameters(), lr=2e-3)
accuracies = []
for _ in range(8):
    for batch in np.array_split(generator.permutation(training), -(-len(training) // 32)):
        optimizer.zero_grad()
        nn.functional.cross_entropy(classifier([ids[i] for i in batch]), labels[batch]).backward()
        optimizer.step()
    with rt.no_grad():
        found = classifier([ids[i] for i in test]).argmax(1).numpy()
    accuracies.append((found == labels[test]).mean())
majority = np.bincount(labels[test]).max() / len(test)
print(
    f"right: {accuracies[-1]:.1%} of {len(test)} test surnames; always the commonest language: {majority:.1%}"
)
assert accuracies[-1] > majority + 0.1

# %%
# What the network thinks after each letter: the same head on every state of the way. Only the last one was
# trained.


def after_each_letter(name):
    with rt.no_grad():
        embedded = classifier.embedding(rt.tensor([letters.index(letter) for letter in name]))
        output, _ = classifier.recurrent(embedded)
        return classifier.head(output).softmax(1).numpy()


shown = [
    surnames[next(i for i in test if labels[i] == k and found[list(test).index(i)] == k)] for k in range(3)
]
fig, axes = plt.subplots(1, 3, figsize=(7, 3.2), layout="constrained", sharey=True)
for ax, name in zip(axes, shown, strict=True):
    for language, curve in zip(languages, after_each_letter(name).T, strict=True):
        ax.plot(curve, marker="o", label=language)
    ax.set(xlabel="after the letter", ylim=(-0.05, 1.05))
    ax.set_xticks(range(len(name)), name)
axes[0].set_ylabel("probability")
fig.suptitle("What is believed after each letter")
_ = fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)

# %%
# One by one or as a batch
# ------------------------
# Sixteen surnames of different lengths: each by itself, gradients added up, and all in one packed batch with
# the losses summed. The same, up to rounding, since the gradient of a sum is the sum of the gradients and
# packing keeps rows apart. What differs is when the weights change: after each sample, or once for all.

classifier = classifier.double()
chosen = training[:16]
print("lengths:", [len(ids[i]) for i in chosen])
classifier.zero_grad()
for i in chosen:
    nn.functional.cross_entropy(classifier([ids[i]]), labels[[i]], reduction="sum").backward()  # grad adds up
one_by_one = [p.grad.clone() for p in classifier.parameters()]
classifier.zero_grad()
nn.functional.cross_entropy(classifier([ids[i] for i in chosen]), labels[chosen], reduction="sum").backward()
for alone, p in zip(one_by_one, classifier.parameters(), strict=True):
    assert rt.allclose(alone, p.grad, rtol=1e-9, atol=1e-12)

# %%
# With the mean instead of the sum, the batch's gradient is a sixteenth of it, and so a batch wants a higher
# rate.

summed = [p.grad.clone() for p in classifier.parameters()]
classifier.zero_grad()
nn.functional.cross_entropy(classifier([ids[i] for i in chosen]), labels[chosen]).backward()
for total, p in zip(summed, classifier.parameters(), strict=True):
    assert rt.allclose(total / 16, p.grad, rtol=1e-9, atol=1e-12)
