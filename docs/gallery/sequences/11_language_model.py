"""
A recurrent language model, on its training text and on new text
================================================================

d2l's character model of The Time Machine: one-hot characters, 256 tanh units, a linear head, trained with
clipped gradient descent. The chapter ends with a perplexity of 1.0. That is the perplexity of the 10,000
characters that the model was trained on; here the one of text it has not seen stands beside it.
"""

# %%
# The pieces and their shapes
# ---------------------------
# A batch has B = 32 rows of T = 35 characters. A one-hot vector times a matrix is a column of it, so that
# neither ``nn.LanguageModel`` nor ``nn.RNN`` makes these vectors: both take indices. One-hot vectors give the
# same. The vocabulary is that of the 10,000 characters that are trained on, which hold every letter; the chapter
# counts those of the whole book.

import math

import matplotlib.pyplot as plt
import numpy as np

from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.data import datasets

text = datasets.timemachine(stand_in=True)
print(datasets.describe("timemachine"))
real = datasets.is_real("timemachine")
letters = "".join(data.d2l_lines(text))
codec = data.Codec.fit(letters[:10_000], data.CharTokenizer())
stream = data.TokenStream(codec.encode(letters), vocab_size=len(codec))

B, T, H, V = 32, 35, 256, len(codec)
rt.manual_seed(0)
model = nn.LanguageModel(V, recurrent="rnn", hidden_size=H)

X, Y = next(iter(data.SequentialBatches(stream, B, T)))
output, state = model.recurrent(rt.tensor(X.T), model.begin_state(batch_size=B))
print("hidden states:", output.shape, "last state:", state.shape)
assert output.shape == (T, B, H)
assert state.shape == (1, B, H)
one_hot = nn.functional.one_hot(rt.tensor(X.T.astype("int64")), V).float()
assert rt.allclose(model.recurrent(one_hot)[0], output, atol=1e-6)

logits, state = model(X, model.begin_state(batch_size=B))
print("logits:", logits.shape)
assert logits.shape == (T * B, V)

# %%
# An LSTM has a pair of states, and each layer its own.

h, c = nn.LanguageModel(V, recurrent="lstm", hidden_size=H, num_layers=2).begin_state(batch_size=B)
assert h.shape == c.shape == (2, B, H)

# %%
# Perplexity
# ----------
# The exponential of the mean negative log-likelihood of the next token: 1 for a model that is always right
# and sure, V for one that guesses evenly, without bound for one that is sure and wrong.

for name, wanted, scores in [
    ("sure and right", 1.0, [100.0, 0.0, 0.0, 0.0]),
    ("even guessing", 4.0, [0.0, 0.0, 0.0, 0.0]),
    ("sure and wrong", math.exp(100.0), [0.0, 100.0, 0.0, 0.0]),
]:
    perplexity = math.exp(nn.functional.cross_entropy(rt.tensor([scores]), rt.tensor([0])).item())
    print(f"{name}: {perplexity:.3g}")
    assert math.isclose(perplexity, wanted, rel_tol=1e-3)

before = train.evaluate(model, stream.section(0, 10_000), batch_size=16)
print("before training:", before.describe("character"))
assert abs(before.perplexity - V) < 0.2 * V

# %%
# Predicting with a prefix
# ------------------------
# The model reads the prefix, which warms its state up, and then its own predictions, the likeliest character
# each time. Before training that is nonsense.


def continued(model, prefix):
    return prefix + "".join(train.generate(model, codec, prefix, length=50, temperature=0))


print(repr(continued(model, "time traveller ")))

# %%
# Training as in the chapter
# --------------------------
# The first 10,000 characters, plain gradient descent with a rate of 1, the gradient's norm clipped to 1, 500
# epochs of 8 batches. ``History`` notes the loss of the characters just trained on; ``held_out`` are the
# 10,000 that follow.

seen, unseen = stream.section(0, 10_000), stream.section(10_000, 20_000)
history = train.History()
trainer = train.Trainer(
    model,
    train.optim.SGD(model.parameters(), lr=1.0),
    data.SequentialBatches(seen, B, T, seed=0),
    held_out=unseen,
    max_epochs=500,
    evaluate_every=160,
    log_every=160,
    clip_norm=1.0,
    callbacks=[history],
)
trainer.fit()
steps, losses = history.curve("train_loss")
_, unseen_perplexities = history.curve("held_out_perplexity")
seen_perplexities = np.exp(losses)

# %%
# Side by side
# ------------
# The left column is the one whose end the chapter gives as 1.0: the model knows its 10,000 characters nearly
# by heart. On the next 10,000 it is worse than one that guesses evenly, for it has learned to be sure. A bigram
# table of the same 10,000 characters does far better there. The best moment came early, at the lowest point of
# the dashed line, which nobody sees who only looks at the training text.

unseen_at_the_end = train.evaluate(model, unseen, batch_size=16).perplexity
bigrams = data.NgramModel(seen, order=2)
print(f"perplexity                     seen    unseen   (even guessing: {V})")
print(f"RNN after 500 epochs       {seen_perplexities[-1]:>8.2f} {unseen_at_the_end:>9.2f}")
print(f"RNN, best on unseen text   {unseen_perplexities.min():>18.2f}")
print(f"bigram table               {bigrams.perplexity(seen):>8.2f} {bigrams.perplexity(unseen):>9.2f}")
print(repr(continued(model, "time traveller ")))
print(repr(continued(model, "traveller ")))
if real:
    assert seen_perplexities[-1] < 1.6
    assert unseen_at_the_end > V > bigrams.perplexity(unseen) > unseen_perplexities.min()

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
epochs = steps / len(trainer.batches)
ax.semilogy(epochs, seen_perplexities, label="10,000 characters trained on")
ax.semilogy(epochs, unseen_perplexities, "--", label="the 10,000 that follow")
ax.axhline(V, color="0.5", linewidth=1)
ax.text(500, V * 1.1, "even guessing", horizontalalignment="right", color="0.5")
ax.set(
    xlabel="epochs", ylabel="perplexity (log)", title="A tanh RNN with 256 units, trained as in the chapter"
)
_ = ax.legend()

# %%
# With the book instead of a page
# -------------------------------
# The cure is more text: the same network with Adam on the first nine tenths of the book, 800 updates instead
# of 4,000, and scored on the last tenth. The two numbers are now close together.
# :ref:`sphx_glr_generated_gallery_sequences_11_recurrent_cells.py` shows what GRU and LSTM make of the same
# text.

training, held_out = stream.split(0.9)
rt.manual_seed(0)
model = nn.LanguageModel(V, recurrent="rnn", hidden_size=H)
trainer = train.Trainer(
    model,
    train.optim.Adam(model.parameters(), lr=1e-3),
    data.SequentialBatches(training, B, T, seed=0),
    max_steps=800,
    clip_norm=1.0,
)
trainer.fit()
for name, part in [("training part", training), ("held-out part", held_out)]:
    print(f"{name}: {train.evaluate(model, part, batch_size=16).describe('character')}")
print(repr(continued(model, "time traveller ")))
