"""
Zipf's law for words, bigrams and trigrams
==========================================

How often the words, bigrams and trigrams of The Time Machine occur, against their rank, as in d2l's chapter.
The chapter draws the lines and calls the exponents smaller for longer n-grams; it fits none. An exponent
means little without the range of ranks it was fitted on, so here both are given.
"""

# %%
# Counts
# ------
# ``count_ngrams`` counts runs of n neighbouring tokens of a stream. The most frequent words say little about
# the book, the trigrams already name who is in it.

import matplotlib.pyplot as plt
import numpy as np

from rondeau import data
from rondeau.data import datasets

text = datasets.timemachine(stand_in=True)
print(datasets.describe("timemachine"))
real = datasets.is_real("timemachine")
words = data.Codec.fit(text, data.WordTokenizer(normalise="d2l"))
stream = data.TokenStream(words.encode(text), vocab_size=len(words))

names = {1: "words", 2: "bigrams", 3: "trigrams"}
tables = {n: data.count_ngrams(stream, n) for n in names}
for n, table in tables.items():
    print(f"\n{names[n]}: {len(table):,} distinct, {(table.counts == 1).mean():.0%} of them seen once")
    for ngram, count in table.most_common(5, words.vocab):
        print(f"{count:>6,}  {' '.join(ngram)}")

if real:
    assert [len(tables[n]) for n in names] == [4579, 20_234, 29_882]
    assert tables[1].most_common(3, words.vocab) == [(("the",), 2261), (("i",), 1267), (("and",), 1245)]
    assert tables[2].most_common(1, words.vocab) == [(("of", "the"), 309)]
    assert tables[3].most_common(1, words.vocab) == [(("the", "time", "traveller"), 59)]

# %%
# The law, and the range of its fit
# ---------------------------------
# Zipf's law says that the count of the i-th most frequent token falls as a power of its rank, :math:`\log n_i
# = -\alpha \log i + c`. We fit it by least squares over the ranks 10 to 500: the first ten are function
# words, which lie below the line, and the far end is a stair, whose last step are the n-grams seen once. For
# trigrams that end is near: rank 500 has been seen twice.

FIRST, LAST = 10, min(500, *(len(table) for table in tables.values()))
fits = {n: data.fit_zipf(table.counts, FIRST, LAST) for n, table in tables.items()}
residuals = {}
for n, fit in fits.items():
    ranks = np.arange(FIRST, LAST + 1)
    line = fit.intercept - fit.exponent * np.log(ranks)
    residuals[n] = np.sqrt(np.mean((np.log(tables[n].counts[FIRST - 1 : LAST]) - line) ** 2))
    print(
        f"{names[n]:<8} ranks {FIRST} to {LAST}: alpha = {fit.exponent:.3f}, residual {residuals[n]:.3f} nats"
    )

if real:
    assert [round(fit.exponent, 3) for fit in fits.values()] == [1.030, 0.671, 0.449]
    assert residuals[2] < residuals[1] < residuals[3]

# %%
# Longer n-grams give flatter lines. That of the bigrams is also straighter than that of the words, and so
# would that of the trigrams be in a longer book: here their counts are so small that they come in visible
# steps.

figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
for n, table in tables.items():
    (points,) = ax.loglog(np.arange(1, len(table) + 1), table.counts, ".", markersize=3)
    ranks = np.array([FIRST, LAST])
    fitted = np.exp(fits[n].intercept) * ranks.astype(float) ** -fits[n].exponent
    label = rf"{names[n]}: $\alpha$ = {fits[n].exponent:.2f}"
    ax.loglog(ranks, fitted, color=points.get_color(), linewidth=2, label=label)
ax.set(xlabel="rank (most frequent first)", ylabel="count in the book")
ax.set_title(f"Counts against rank; lines fitted to ranks {FIRST} to {LAST}")
_ = ax.legend()

# %%
# Another range, another exponent
# -------------------------------
# The same counts of words give anything from 0.89 to 1.04. Over all ranks the fit is ruled by the words seen
# once, over half of them. Whoever quotes an exponent of a text must quote its range.

for first, last in [(1, 100), (10, 100), (10, 500), (10, 1000), (1, len(tables[1]))]:
    if last <= len(tables[1]):
        print(
            f"words, ranks {first} to {last}: alpha = {data.fit_zipf(tables[1].counts, first, last).exponent:.3f}"
        )
