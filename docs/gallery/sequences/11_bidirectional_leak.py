"""
Why a language model is not bidirectional
=========================================

d2l's language model multiplies its head's width by the number of directions, and so allows a bidirectional
layer. Such a model reads the characters that it is to predict, from the other side. Its perplexity looks like
a miracle, and it cannot write a word.
"""

# %%
# The library refuses it
# ----------------------
# The reverse direction reads from the end: its output at token t has read token t + 1 before, which is the
# target.

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
cut = int(0.9 * len(letters))
codec = data.Codec.fit(letters[:cut], data.CharTokenizer())
V = len(codec)
training, held_out = (data.TokenStream(codec.encode(part), V) for part in (letters[:cut], letters[cut:]))

try:
    nn.LanguageModel(V, recurrent=nn.GRU(V, 64, bidirectional=True))
except ValueError as error:
    refusal = str(error)
print(refusal)
assert "sees its target" in refusal

# %%
# The leak, shown once
# --------------------
# So we build one by hand. It takes ids (B, T) and gives logits (T*B, V), as ``Trainer`` and ``evaluate``
# expect it. A state cannot be carried: the reverse direction has its own end in every window.


class BidirectionalModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.GRU(V, 64, bidirectional=True)
        self.head = nn.Linear(2 * 64, V)

    def forward(self, ids, state=None):
        output, state = self.recurrent(rt.as_tensor(ids).transpose(0, 1))
        return self.head(output.reshape(-1, 2 * 64)), state


def fit(model):
    trainer = train.Trainer(
        model,
        train.optim.Adam(model.parameters(), lr=0.01),
        data.RandomBatches(training, batch_size=32, num_steps=35, seed=0),
        max_steps=400,
        clip_norm=1.0,
    )
    trainer.fit()
    return model


rt.manual_seed(0)
models = {
    "both directions": fit(BidirectionalModel()),
    "one direction": fit(nn.LanguageModel(V, recurrent="gru", hidden_size=64)),
}
score = {
    name: train.evaluate(model, held_out, batch_size=64, num_steps=35, carry_state=False).perplexity
    for name, model in models.items()
}
for name, perplexity in score.items():
    print(f"{name:<16} perplexity of the held-out text, in windows of 35: {perplexity:.3f}")

# %%
# A perplexity near 1 on text that was never seen: no honest model comes near that, for English has about one
# bit of surprise per character, a perplexity of 2, to anyone who reads from left to right.
#
# Where the surprise remains
# --------------------------
# The loss at each place of the window tells. In one direction the first characters are hard and the rest is
# alike. In both, every target but the last stands in the input; the last does not, and there the model, which
# had to predict at one place in 35 only, is worse than the honest one.

starts = np.arange(len(held_out) // 35 - 1) * 35
windows = held_out.windows(starts, 36)
losses = {}
with rt.no_grad():
    for name, model in models.items():
        logits, _ = model(np.ascontiguousarray(windows[:, :-1]))
        each = nn.functional.cross_entropy(logits, rt.tensor(windows[:, 1:].T.reshape(-1)), reduction="none")
        losses[name] = each.numpy().reshape(35, -1).mean(axis=1)
        print(
            f"{name:<16} perplexity of the first 34 characters {math.exp(losses[name][:-1].mean()):6.3f}, "
            f"of the last {math.exp(losses[name][-1]):6.3f}"
        )

both, one = losses["both directions"], losses["one direction"]
assert math.exp(both[:-1].mean()) < 1.1
assert both[-1] > one[-1] > 0

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, loss in losses.items():
    ax.semilogy(np.arange(1, 36), np.exp(loss), "o-", markersize=4, label=name)
ax.set(xlabel="place in the window (characters)", ylabel="held-out perplexity (log)")
ax.set_title("The reverse direction has read every target but the last")
_ = ax.legend(loc="center left")

# %%
# Writing is predicting the last place again and again. The same start, and the likeliest character each time:

for name, model in models.items():
    print(f"{name:<16} {'the time ' + ''.join(train.generate(model, codec, 'the time ', 50, temperature=0))}")

# %%
# Both directions are right where the whole input is there before the answer is asked for: classification,
# tagging, reading a question.
