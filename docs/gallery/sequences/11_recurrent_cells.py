"""
RNN, GRU, LSTM and stacked layers as language models
====================================================

d2l's later sections replace the recurrent layer of its language model by a GRU, an LSTM and two layers, and
report the perplexity of the text trained on. Here they are compared on text that none of them has seen, and
against a table of counts, in equal numbers of updates.
"""

# %%
# The text
# --------
# Letters and spaces, as in the chapter. The last tenth is held out, and the vocabulary is that of the rest.

import matplotlib.pyplot as plt

from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.data import datasets

text = datasets.timemachine(stand_in=True)
print(datasets.describe("timemachine"))
real = datasets.is_real("timemachine")
letters = "".join(data.d2l_lines(text))
cut = int(0.9 * len(letters))
codec = data.Codec.fit(letters[:cut], data.CharTokenizer())
training, held_out = (
    data.TokenStream(codec.encode(part), len(codec)) for part in (letters[:cut], letters[cut:])
)

# %%
# Four models
# -----------
# All have 256 units a layer and see the same batches. Adam's rate falls to zero along half a cosine.


def fit(recurrent, num_layers, lr):
    rt.manual_seed(0)
    model = nn.LanguageModel(len(codec), recurrent, hidden_size=256, num_layers=num_layers)
    optimizer = train.optim.Adam(model.parameters(), lr=lr)
    history = train.History()
    trainer = train.Trainer(
        model,
        optimizer,
        data.SequentialBatches(training, batch_size=32, num_steps=35, seed=0),
        scheduler=train.lr_scheduler.CosineAnnealingLR(optimizer, T_max=400),
        held_out=held_out,
        max_steps=400,
        evaluate_every=100,
        clip_norm=1.0,
        callbacks=[history],
    )
    trainer.fit()
    return model, history.curve("held_out_perplexity")


choices = {
    "RNN": ("rnn", 1, 2e-3),
    "GRU": ("gru", 1, 6e-3),
    "LSTM": ("lstm", 1, 1e-2),
    "GRU, two layers": ("gru", 2, 5e-3),
}
models = {name: fit(*choice) for name, choice in choices.items()}

# %%
# Training text and held-out text
# -------------------------------
# Gates help at once. The distance between the two columns is what the perplexity of the training text alone
# keeps silent about; it grows with the size of the model and the number of updates.

print("perplexity            training   held out")
for name, (model, _) in models.items():
    scores = [train.evaluate(model, part, batch_size=32).perplexity for part in (training, held_out)]
    print(f"{name:<20} {scores[0]:>9.2f} {scores[1]:>10.2f}")
for order in (2, 3):
    counts = data.NgramModel(training, order)
    print(
        f"{f'counts, {order}-grams':<20} {counts.perplexity(training):>9.2f} {counts.perplexity(held_out):>10.2f}"
    )

last = {name: perplexities[-1] for name, (_, (_, perplexities)) in models.items()}
if real:
    assert max(last["GRU"], last["LSTM"]) < last["RNN"]
    assert last["GRU, two layers"] < data.NgramModel(training, 3).perplexity(held_out)

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, (_, curve) in models.items():
    ax.plot(*curve, "o-", markersize=4, label=name)
ax.set(xlabel="updates", ylabel="held-out perplexity", title="256 units a layer, the same batches")
_ = ax.legend()

# %%
# What they write
# ---------------
# The same prefix, continued by the likeliest character each time.

for name, (model, _) in models.items():
    print(
        f"{name:<16} {'time traveller ' + ''.join(train.generate(model, codec, 'time traveller ', 60, temperature=0))}"
    )

# %%
# These are short runs. :ref:`sphx_glr_generated_gallery_sequences_09_ngram_models.py` trains the two layers
# longer, until they beat the best table of counts.
