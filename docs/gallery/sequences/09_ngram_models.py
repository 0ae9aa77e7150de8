"""
N-gram models with smoothing, and the recurrent model that must beat them
=========================================================================

The simplest language model counts which token follows which. d2l's chapter gives the formula for its
smoothing and turns away from it, for counts are few and know nothing of meaning; it never says how good such
a model is. Here it is measured, on words and characters, and a recurrent model has to beat it on the same
held-out text.
"""

# %%
# Counts alone
# ------------
# The vocabulary is built on the first nine tenths of the book, here and below, so that a new word of the last
# tenth is unknown, as it would be in use. A bigram model of mere counts gives many pairs of the held-out text the
# probability 0: its perplexity is infinite.

from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogFormatter

from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.data import datasets

text = datasets.timemachine(stand_in=True)
print(datasets.describe("timemachine"))
real = datasets.is_real("timemachine")

tokens = data.WordTokenizer(normalise="d2l").split(text)
cut = len(tokens) * 9 // 10
vocab = data.Vocab(tokens[:cut])
words, held_out_words = (
    data.TokenStream(vocab.indices(part), len(vocab)) for part in (tokens[:cut], tokens[cut:])
)

pairs = Counter(zip(words[:-1].tolist(), words[1:].tolist(), strict=True))
histories = Counter(words[:-1].tolist())
before, after = held_out_words[:-1].tolist(), held_out_words[1:].tolist()
pair_counts = np.array([pairs[pair] for pair in zip(before, after, strict=True)])
history_counts = np.array([histories[word] for word in before])
print(f"{(pair_counts == 0).mean():.0%} of the held-out pairs of words were never seen")

# %%
# Smoothing
# ---------
# The chapter adds :math:`\epsilon` times the probability of the word alone to each count,
#
# .. math:: p(x' \mid x) = \frac{n(x, x') + \epsilon\, p(x')}{n(x) + \epsilon},
#
# and leaves :math:`\epsilon` to the reader. Witten and Bell take the number of distinct words that have
# followed x: a word with many different successors is likely to have a new one. ``data.NgramModel`` does
# that, at every order, and has no parameter to tune. It beats every constant here, even the best one, which
# only the held-out text itself could name.

alone = data.NgramModel(words, order=1).probabilities([])[after]
epsilons = np.logspace(-2, 5, 29)
constant = [
    np.exp(-np.log((pair_counts + epsilon * alone) / (history_counts + epsilon)).mean())
    for epsilon in epsilons
]
witten_bell = data.NgramModel(words, order=2).perplexity(held_out_words)
print(
    f"best constant {epsilons[np.argmin(constant)]:.0f}: {min(constant):.1f}; Witten-Bell: {witten_bell:.1f}"
)
if real:
    assert witten_bell < min(constant)

# %%
# The order
# ---------
# Perplexity of the part that was counted, and of the part that was not. The longer the history, the better
# the first, until the table knows the book by heart; the second turns round early. Whoever looks at the
# training text alone picks the worst model. All of these are exact: no seed, no training.

book = "".join(data.d2l_lines(text))
cut = int(0.9 * len(book))
characters = data.Codec.fit(book[:cut], data.CharTokenizer())
letters, held_out_letters = (
    data.TokenStream(characters.encode(part), len(characters)) for part in (book[:cut], book[cut:])
)

tables = {}
for name, training, held_out, orders in [
    ("words", words, held_out_words, range(1, 5)),
    ("characters", letters, held_out_letters, range(1, 9)),
]:
    print(f"\n{name:<12} counted   held out   (even guessing: {training.vocab_size:,})")
    tables[name] = []
    for order in orders:
        model = data.NgramModel(training, order)
        tables[name].append((order, model.perplexity(training), model.perplexity(held_out)))
        print("order {} {:>11.2f} {:>10.2f}".format(*tables[name][-1]))

best = {name: min(rows, key=lambda row: row[2]) for name, rows in tables.items()}
if real:
    assert [best[name][0] for name in tables] == [2, 5]
    assert round(best["characters"][2], 3) == 4.695

# %%
# The recurrent model
# -------------------
# Two layers of 256 gated units on the same characters. The state has no fixed length of history; dropout
# keeps the model from learning the book by heart. Both are scored on the same tokens: every held-out
# character but the first.

rt.manual_seed(0)
model = nn.LanguageModel(len(characters), recurrent="gru", hidden_size=256, num_layers=2, dropout=0.3)
optimizer = train.optim.Adam(model.parameters(), lr=5e-3)
batches = data.SequentialBatches(letters, batch_size=32, num_steps=35, seed=0)
epochs = 8 if real else 2
trainer = train.Trainer(
    model,
    optimizer,
    batches,
    scheduler=train.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * len(batches)),
    max_epochs=epochs,
    clip_norm=1.0,
)
trainer.fit()
recurrent = train.evaluate(model, held_out_letters, batch_size=16)
print("two layers of GRU:", recurrent.describe("character"))
print(f"best table, order {best['characters'][0]}: perplexity {best['characters'][2]:.3f}")
if real:
    assert recurrent.num_tokens == len(held_out_letters) - 1
    assert recurrent.perplexity < best["characters"][2]

# %%
# It does beat the table, but not by far: a book of 170,000 characters is little to learn English from, and a
# table of counts is a serious opponent on little text.

figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
axes[0].loglog(epsilons, constant, label="a constant for all words")
axes[0].axhline(witten_bell, color="C1", linestyle="--", label="Witten-Bell")
axes[0].set(xlabel=r"$\epsilon$", ylabel="held-out perplexity (log)", title="Smoothing bigrams of words")
for ax, (name, rows) in zip(axes[1:], tables.items(), strict=True):
    orders, counted, held_out = zip(*rows, strict=True)
    ax.semilogy(orders, counted, "o-", label="counted part")
    ax.semilogy(orders, held_out, "s-", label="held-out part")
    ax.set(xlabel="order (tokens)", ylabel="perplexity (log)", title=f"Order, for {name}", xticks=orders)
axes[2].axhline(recurrent.perplexity, color="C2", linestyle="--", label="GRU, held-out part")
for ax in axes:
    ax.yaxis.set_major_formatter(LogFormatter())
    ax.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
    ax.legend()
