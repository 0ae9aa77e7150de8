"""
Names from a window and from recurrent networks
===============================================

makemore goes on from pairs of letters to a multilayer network that sees a whole window, an RNN and a GRU;
an LSTM is added here. It chooses names to hold out at random, but many first names are both girls' and
boys' and stand in its file twice, so that some of the names held out are also trained on.
"""

# %%
# Names as sequences
# ------------------
# A tenth of the names, at most 1000, is held out at random; the letters are those of the others. A name is read
# from token 0 on, and what is to be predicted is the name and then token 0. Shorter names are padded, and
# targets of -1 count for nothing.

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.data import datasets

names = datasets.names(stand_in=True)
print(datasets.describe("names"))
real = datasets.is_real("names")
order = np.random.default_rng(0).permutation(len(names))
held_out, training = np.split(order, [min(1000, len(names) // 10)])
trained_on = {names[i] for i in training}
codec = data.Codec.fit(["\n", *trained_on], data.CharTokenizer(), unk_token=None, order="token")
V, T = len(codec), max(map(len, names)) + 1

inputs = np.zeros((len(names), T), dtype=np.int64)
targets = np.full((len(names), T), -1)
for row, name in enumerate(names):
    inputs[row, : len(name) + 1] = codec.encode("\n" + name)
    targets[row, : len(name) + 1] = codec.encode(name + "\n")
print(inputs[0], targets[0], sep="\n")
if real:
    assert (len(names), V, T) == (32_033, 27, 16)

# %%
# How many of the names that are held out are new?

unseen = np.array([i for i in held_out if names[i] not in trained_on])
print(f"{len(set(names)):,} of {len(names):,} names are different")
print(f"{len(held_out) - len(unseen)} of the {len(held_out)} held-out names are also trained on")
if real:
    assert len(set(names)) == 29_494
    assert len(unseen) < len(held_out)

# %%
# Four models
# -----------
# The recurrent ones are ``nn.LanguageModel`` with embeddings of 64 and 64 units. makemore's GRU is the
# published one, ``gru_original``. The window is as long as the longest name: its embeddings, side by side,
# go through one hidden layer. Logits are time-major in all, (T*B, V).


class WindowModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(V + 1, 64)  # token V stands before the start
        self.network = nn.Sequential(nn.Linear(T * 64, 64), nn.Tanh(), nn.Linear(64, V))

    def forward(self, ids, state=None):
        padded = np.pad(ids, ((0, 0), (T - 1, 0)), constant_values=V)
        windows = np.lib.stride_tricks.sliding_window_view(padded, T, axis=1)  # (B, steps, T)
        rows = windows.transpose(1, 0, 2).reshape(-1, T)
        return self.network(self.embedding(rt.tensor(rows)).reshape(len(rows), -1)), state


def loss_of(model, rows):
    logits, _ = model(inputs[rows])
    return nn.functional.cross_entropy(logits, targets[rows].T.reshape(-1), ignore_index=-1)


def fit(model, steps=1000):
    optimizer = train.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01, betas=(0.9, 0.99))
    schedule = train.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    generator = np.random.default_rng(0)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model, generator.choice(training, 32))
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


rt.manual_seed(0)
cells = {"RNN": "rnn", "GRU": "gru_original", "LSTM": "lstm"}
models = {"MLP": WindowModel()}
models |= {name: nn.LanguageModel(V, cell, hidden_size=64, embedding_size=64) for name, cell in cells.items()}
curves = {name: fit(model) for name, model in models.items()}

# %%
# The held-out loss, of all held-out names and of those that are not trained on. Pairs of letters stand at
# 2.45.

losses = {}
with rt.no_grad():
    for name, model in models.items():
        losses[name] = loss_of(model, held_out).item()
        print(f"{name:<5} held out {losses[name]:.3f}, never seen {loss_of(model, unseen).item():.3f}")
if real:
    assert max(losses.values()) < 2.25

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for name, curve in curves.items():
    ax.plot(np.arange(25, 1001, 50), np.reshape(curve, (-1, 50)).mean(axis=1), label=name)
ax.set(
    xlabel="steps of 32 names", ylabel="training loss (nats per letter)", title="1000 steps", ylim=(None, 2.8)
)
_ = ax.legend()

# %%
# Sampled names
# -------------
# All names grow at once, by a letter drawn from the softmax of each one's last logits, until token 0 ends
# them.


def sample(model, count):
    ids = np.zeros((count, 1), dtype=np.int64)
    with rt.no_grad():
        for _ in range(T):
            logits, _ = model(ids)
            drawn = rt.multinomial(nn.functional.softmax(logits[-count:], 1), 1).numpy()
            ids = np.hstack([ids, drawn])
    return [codec.decode(row[1:]).split("\n")[0] for row in ids]


known = set(names)
for name, model in models.items():
    drawn = sample(model, 500)
    share = np.mean([one in known for one in drawn])
    print(f"{name:<5} {100 * share:.0f} % are names of the file; of the others: ", end="")
    print(*[one for one in drawn if one not in known][:8])

# %%
# 20,000 steps
# ------------
# These are makemore's defaults: AdamW with the rate 0.0005, decay 0.01, betas 0.9 and 0.99. makemore itself
# then reports held-out losses of 2.030 (MLP), 2.054 (RNN) and 1.999 (GRU). The curves were recorded by
# ``tools.makemore``, which holds out the same 1000 names as makemore and, beside ours, timed its models in PyTorch,
# with cells that are a Python loop over the letters, as makemore has them; both on one thread.

REPORTED = {"mlp": 2.030, "rnn": 2.054, "gru": 1.999}
folder = Path(globals().get("__file__", "19_names.py")).resolve().parent.parent / "recorded"
if folder.exists():  # it is not part of a downloaded script
    figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    for name in ("mlp", "rnn", "gru", "lstm"):
        recorded = json.loads((folder / f"19_{name}.json").read_text())
        steps, _, loss = np.transpose(recorded["curve"])
        (line,) = ax.plot(steps, loss, ".-", label=name.upper())
        print(f"{name}: {loss[-1]:.3f} after {int(steps[-1]):,} steps by: {recorded['command']}")
        if name in REPORTED:
            seconds, in_torch = recorded["seconds"], recorded["twin"]["seconds"]
            print(f"    {seconds:.0f} s; makemore's model in PyTorch {in_torch:.0f} s")
            assert seconds < in_torch
            assert loss[-1] < REPORTED[name] + 0.03
            ax.plot(
                20_000,
                REPORTED[name],
                "x",
                color=line.get_color(),
                label=f"{name.upper()}, reported by makemore",
            )
    ax.set(xlabel="steps of 32 names", ylabel="held-out loss (nats per letter)", ylim=(1.95, 2.25))
    ax.set_title("20,000 steps, recorded")
    ax.legend(fontsize="small")
