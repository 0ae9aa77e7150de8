"""
Random and sequential batches of a long text
============================================

A text is one long row of tokens; a network is trained on short windows of it. d2l's chapter cuts them in two
ways, at random and in sequence, and prints both for the numbers 0 to 34. The page has those tables, and then
what the choice does to training, which the chapter leaves open.
"""

# %%
# Windows of 5 of the numbers 0 to 34
# -----------------------------------
# X is a batch of two windows, Y the same windows one token later: what is to be predicted. Every epoch drops
# its first few tokens, from 0 to 4 of them here, drawn again each time, so that no token stands forever at the
# end of a window. To print a table of the text, the offset must be its own, and for random batches the order
# as well; both can be given.

import matplotlib.pyplot as plt
import numpy as np

from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.data import datasets

numbers = data.TokenStream(np.arange(35))


def show(batches):
    for X, Y in batches:
        for row, target in zip(X.tolist(), Y.tolist(), strict=True):
            print("X:", *(f"{i:>3}" for i in row), "   Y:", *(f"{i:>3}" for i in target))
        print()
        assert (Y == X + 1).all()


# %%
# Sequential
# ----------
# The stream is cut into as many rows as a batch has, and each row goes on where it stopped in the batch
# before. So the hidden state after one batch is the right one to begin the next with.

sequential = data.SequentialBatches(numbers, batch_size=2, num_steps=5, offset=0)
show(sequential)
assert [X[:, 0].tolist() for X, _ in sequential] == [[0, 17], [5, 22], [10, 27]]

# %%
# Random
# ------
# The stream is cut into windows side by side, which are shuffled: neighbours in a batch, or in time, have
# nothing to do with each other. The text's drawing drops three tokens, so that windows start at 3, 8, ...,
# 28; its order is that below.

windows = data.RandomBatches(numbers, batch_size=2, num_steps=5, offset=3, order=[2, 5, 0, 3, 1, 4])
show(windows)
assert [X[:, 0].tolist() for X, _ in windows] == [[13, 28], [3, 18], [8, 23]]

# %%
# Without an order and an offset, both are drawn from the seed: here the starts of three epochs.

drawn = data.RandomBatches(numbers, batch_size=2, num_steps=5, seed=0)
for epoch in range(3):
    starts = [X[:, 0].tolist() for X, _ in drawn]
    print(f"epoch {epoch + 1}: {starts}")
    assert len({start % 5 for batch in starts for start in batch}) == 1

# %%
# Which batch reads which token
# -----------------------------
# One row of the picture is the stream from left to right; the colour is the number of the batch. White tokens
# are in none: the offset at the start, the rest at the end, and between the rows of sequential batches what
# fills no window.

figure, axes = plt.subplots(2, 1, figsize=(8, 2.8), sharex=True, layout="constrained")
for ax, (name, batches) in zip(axes, [("sequential", sequential), ("random", windows)], strict=True):
    batch_of = np.full((1, len(numbers)), np.nan)
    for number, (X, _) in enumerate(batches):
        batch_of[0, X.reshape(-1)] = number + 1
    image = ax.imshow(batch_of, aspect="auto", cmap=plt.get_cmap("viridis", 3), vmin=0.5, vmax=3.5)
    for boundary in np.flatnonzero(np.diff(np.nan_to_num(batch_of[0]))) + 0.5:
        ax.axvline(boundary, color="0.5", linewidth=1)
    ax.set(yticks=[], title=name)
axes[1].set_xlabel("position in the stream (tokens)")
_ = figure.colorbar(image, ax=axes, ticks=[1, 2, 3], label="batch")

# %%
# What the choice does to training
# --------------------------------
# The same character model with the same number of updates, three seeds each. With random batches every window
# begins with a state of zeros. With sequential ones ``Trainer`` carries the state from batch to batch,
# detached: gradients still reach back one window, but the state holds what was read long before. Windows are
# short here, 8 characters, for it is then that the difference is large. The last tenth of the book is held
# out, and the vocabulary is that of the rest.

text = datasets.timemachine(stand_in=True)
print(datasets.describe("timemachine"))
real = datasets.is_real("timemachine")
letters = "".join(data.d2l_lines(text))
cut = int(0.9 * len(letters))
codec = data.Codec.fit(letters[:cut], data.CharTokenizer())
training, held_out = (
    data.TokenStream(codec.encode(part), len(codec)) for part in (letters[:cut], letters[cut:])
)


def fit(sampler, num_steps, seed):
    rt.manual_seed(seed)
    model = nn.LanguageModel(len(codec), recurrent="gru", hidden_size=128)
    history = train.History()
    trainer = train.Trainer(
        model,
        train.optim.Adam(model.parameters(), lr=4e-3),
        sampler(training, batch_size=32, num_steps=num_steps, seed=seed),
        held_out=held_out,
        max_steps=800,
        evaluate_every=100,
        clip_norm=1.0,
        callbacks=[history],
    )
    trainer.fit()
    return model, history.curve("held_out_perplexity")


samplers = {"random": data.RandomBatches, "sequential": data.SequentialBatches}
results = {name: [fit(sampler, 8, seed) for seed in range(3)] for name, sampler in samplers.items()}

# %%
# Each model is scored twice: as the random one was trained, from zeros every 8 characters, and as both will
# be used, with a state carried along the text. Random batches win the first, for that is what they practise;
# sequential ones win the second. Carrying the state helps the other model too, though it never saw a state
# older than a window; it does not help it as much. So: sequential batches where the text is one, random ones
# where rows are independent anyway.

scores = {}
for name, models in results.items():
    for carry in (False, True):
        scores[name, carry] = np.mean(
            [
                train.evaluate(model, held_out, batch_size=64, num_steps=8, carry_state=carry).loss
                for model, _ in models
            ]
        )
for carry, words in [(False, "state of zeros every 8 characters"), (True, "state carried over the text")]:
    random, carried = (np.exp(scores[name, carry]) for name in ("random", "sequential"))
    print(f"held-out perplexity, {words:<34} random {random:6.3f}, sequential {carried:6.3f}")
if real:
    assert scores["random", False] < scores["sequential", False]
    assert scores["sequential", True] < scores["random", True] < scores["random", False]

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, models in results.items():
    steps, _ = models[0][1]
    curves = np.array([perplexities for _, (_, perplexities) in models])
    (line,) = ax.plot(steps, curves.mean(axis=0), label=name)
    ax.fill_between(steps, curves.min(axis=0), curves.max(axis=0), alpha=0.3, color=line.get_color())
ax.set(xlabel="updates", ylabel="held-out perplexity (each scored as it trains)")
ax.set_title("Windows of 8 characters, mean and range of three seeds")
_ = ax.legend()
