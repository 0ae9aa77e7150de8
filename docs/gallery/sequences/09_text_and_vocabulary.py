"""
Text, tokens and a vocabulary
=============================

The Time Machine by H. G. Wells is cut into lines, characters and words, and each token gets a number, as
d2l's chapter on recurrent networks does it. The chapter joins the lines without a separator, so that words
run together, and it builds the vocabulary on the whole book. Both are shown here, and what they do.
"""

# %%
# The book
# --------
# The data set is read from a folder that holds it (``RONDEAU_DATA``), else from the cache or the network.

import matplotlib.pyplot as plt

from rondeau import data
from rondeau.data import datasets

text = datasets.timemachine(stand_in=True)
print(datasets.describe("timemachine"))
real = datasets.is_real("timemachine")

# %%
# Lines
# -----
# In each line every run of other characters than letters becomes one space, and the letters become
# lower-case. Empty lines stay: they are lines of no characters.

lines = data.d2l_lines(text)
print(f"{len(lines):,} lines")
for number in (0, 10):
    print(f"{number:>4}: {lines[number]!r}")
if real:
    assert len(lines) == 3221
    assert lines[0] == "the time machine by h g wells"

# %%
# Characters
# ----------
# A codec is a tokenizer together with the vocabulary that it finds. Index 0 is ``<unk>``, which stands for
# whatever the vocabulary does not hold; then come the characters by falling frequency. The order depends on
# the counts alone, so that every process gives a character the same index.

characters = data.Codec.fit(text, data.CharTokenizer(normalise="d2l"))
ids = characters.encode(text)
print(f"{len(ids):,} characters, {len(characters) - 1} distinct, and {characters.vocab.tokens[0]}")
print("by falling frequency:", " ".join(map(repr, characters.vocab.tokens[1:11])), "...")
print("the time machine ->", characters.encode("the time machine"))
if real:
    assert (len(ids), len(characters)) == (170_580, 27 + 1)

# %%
# Words
# -----
# The same lines, cut at spaces.

words = data.Codec.fit(text, data.WordTokenizer(normalise="d2l"))
word_ids = words.encode(text)
print(f"{len(word_ids):,} words, {len(words) - 1:,} distinct")
for word in words.vocab.tokens[1:11]:
    print(f"{words.vocab[word]:>4}  {word:<6} {words.vocab.counts[word]:>5,}")
if real:
    assert (len(word_ids), len(words)) == (32_775, 4579 + 1)
    assert [words.vocab.counts[word] for word in ("the", "i", "and")] == [2261, 1267, 1245]

# %%
# What joining without a separator does
# -------------------------------------
# The 170,580 characters are the lines joined by nothing, as in the chapter. So the last word of each line and
# the first one of the next become one: a character model learns words that nobody wrote, and one character of
# each line end, which it could have predicted, is gone. Kept here because every published number for this
# corpus counts it so.

joined = "".join(lines)
spaced = " ".join(line for line in lines if line)
glued = set(joined.split()) - set(spaced.split())
print(
    f"{len(spaced.split()) - len(joined.split()):,} words ran into their neighbour, such as",
    sorted(glued)[100:104],
)
assert joined == characters.decode(ids)
assert spaced == words.decode(word_ids)

# %%
# A long row of small integers
# ----------------------------
# What models are trained on is a ``TokenStream``: indices in the smallest type that holds them, split into a
# part to train on and one that is held out.

stream = data.TokenStream(word_ids, vocab_size=len(words))
training, held_out = stream.split(0.9)
print(
    f"characters as {ids.dtype}, words as {stream.dtype}: {len(training):,} to train on, {len(held_out):,} held out"
)
assert ids.dtype == "uint8"

# %%
# Rare words
# ----------
# More than half of the vocabulary occurs once. Such words cannot be learned, and a vocabulary that is built
# on the training part, as it must be if the held-out part is to be new, misses some of the held-out words
# however large it is. ``min_freq`` makes ``<unk>`` of whatever is seen less often. It buys a small model with
# a hidden price: ``<unk>`` becomes a frequent word, easy to predict, and perplexities of different
# vocabularies cannot be compared.

once = sum(count == 1 for count in words.vocab.counts.values())
print(f"{once:,} of {len(words) - 1:,} words occur once: {once / (len(words) - 1):.1%}")
if real:
    assert once == 2397

training_words, held_out_words = words.vocab.to_tokens(training[:]), words.vocab.to_tokens(held_out[:])
thresholds = [1, 2, 3, 5, 10, 20, 50, 100]
sizes, unknown = [], []
for min_freq in thresholds:
    vocab = data.Vocab(training_words, min_freq=min_freq)
    sizes.append(len(vocab))
    unknown.append((vocab.indices(held_out_words) == vocab.unk).mean())
    print(f"min_freq {min_freq:>3}: {sizes[-1]:>5,} tokens, {unknown[-1]:.1%} of the held-out words unknown")
assert sizes == sorted(sizes, reverse=True)
assert unknown == sorted(unknown)

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
top = words.vocab.tokens[1:21]
left.bar(range(len(top)), [words.vocab.counts[word] for word in top])
left.set_xticks(range(len(top)), top, rotation=90)
left.set(ylabel="count in the book", title="The most frequent words")
right.semilogx(thresholds, [size / sizes[0] for size in sizes], "o-", label="tokens kept, of all")
right.semilogx(thresholds, unknown, "s-", label="held-out words unknown")
right.set(xlabel="min_freq (occurrences in the training part)", ylabel="share", ylim=(0, 1))
right.set_title("A smaller vocabulary and its price")
_ = right.legend()
