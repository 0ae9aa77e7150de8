"""
Pictures: unrolled, in both directions, padded and packed
=========================================================

The pictures with which "Naturally understanding deep learning" explains recurrent layers, drawn from what the
layers compute. An unrolled network looks as if it had as many cells as steps; it has one cell, with one set
of weights, and the picture repeats it.
"""

# %%
# The unrolled network
# --------------------
# Each box is the same cell at another step.

import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

rt.manual_seed(0)


def box(ax, x, y, text, colour):
    ax.text(
        x, y, text, ha="center", va="center", bbox={"boxstyle": "round,pad=0.5", "fc": colour, "alpha": 0.35}
    )


def arrow(ax, start, end, text="", **style):
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "shrinkA": 14, "shrinkB": 14, **style})
    ax.text((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.12, text, ha="center", va="bottom")


fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.set_title("One cell, unrolled over four steps")
for t in range(1, 5):
    box(ax, t, 0, f"$x_{t}$", "C0")
    box(ax, t, 1, "cell", "C1")
    box(ax, t, 2, f"$h_{t}$", "C2")
    arrow(ax, (t, 0), (t, 1))
    arrow(ax, (t, 1), (t, 2))
    arrow(ax, (t - 1, 1), (t, 1), f"$h_{t - 1}$")
box(ax, 0, 1, "$h_0$", "C7")
ax.text(4.55, 1, "R and W are\nthe same\nin every cell", va="center")
ax.set(xlim=(-0.4, 5.5), ylim=(-0.4, 2.4))
ax.axis("off")

# %%
# That it is one cell: calling ``nn.RNNCell`` four times with the layer's weights is the layer.

layer, cell = nn.RNN(2, 3), nn.RNNCell(2, 3)
cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in layer.state_dict().items()})
x = rt.randn(4, 1, 2)
output, h_n = layer(x)
h = rt.zeros(1, 3)
for t in range(4):
    h = cell(x[t], h)
    assert rt.allclose(output[t], h, atol=1e-6)
assert rt.allclose(h_n[0], h, atol=1e-6)

# %%
# Both directions
# ---------------
# A second cell, with weights of its own, reads from the end. The outputs stand side by side, so that the
# output at a step has seen all of the sequence. What is called the *last* state of the backward cell is the
# one at the first step.

fig, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
ax.set_title("A second cell reads from the end")
for t in range(1, 5):
    box(ax, t, 0, f"$x_{t}$", "C0")
    box(ax, t - 0.2, 1, "→", "C1")
    box(ax, t + 0.2, 1.9, "←", "C4")
    box(ax, t, 3, f"$[\\vec h_{t}, \\overleftarrow{{h}}_{t}]$", "C2")
    arrow(ax, (t, 0), (t - 0.2, 1))
    arrow(ax, (t, 0), (t + 0.2, 1.9))
    arrow(ax, (t - 0.2, 1), (t, 3))
    arrow(ax, (t + 0.2, 1.9), (t, 3))
    if t > 1:
        arrow(ax, (t - 1.2, 1), (t - 0.2, 1), color="C1")
        arrow(ax, (t + 0.2, 1.9), (t - 0.8, 1.9), color="C4")
ax.text(4.6, 1, "ends at 4: h_n[-2]", va="center", color="C1")
ax.text(4.6, 1.9, "ends at 1: h_n[-1]", va="center", color="C4")
ax.set(xlim=(0.4, 6), ylim=(-0.4, 3.4))
ax.axis("off")

both = nn.RNN(2, 3, bidirectional=True)
output, h_n = both(x)
assert output.shape == (4, 1, 6)
assert rt.equal(h_n[-2], output[-1, :, :3])
assert rt.equal(h_n[-1], output[0, :, 3:])

# %%
# Padded and packed
# -----------------
# Sequences of a batch differ in length. Padding makes a rectangle; packing takes the rectangle's columns step
# by step, the longest sequence first, and leaves out the padding.

words = ["anna", "bo", "christine", "dave"]
ids = [rt.tensor([ord(c) - ord("a") for c in word]) for word in words]
lengths = [len(word) for word in words]
padded = pad_sequence(ids, padding_value=-1)
packed = pack_padded_sequence(padded, lengths, enforce_sorted=False)
print("rows of the packed batch at each step:", packed.batch_sizes.tolist())
assert padded.shape == (9, 4)
assert packed.batch_sizes.tolist() == [4, 4, 3, 3, 1, 1, 1, 1, 1]
assert packed.sorted_indices.tolist() == [2, 0, 3, 1]
assert "".join(chr(i + ord("a")) for i in packed.data.tolist()) == "cadbhnaornviaestine"

fig, (above, below) = plt.subplots(2, figsize=(7, 4.6), layout="constrained", height_ratios=(4, 1.2))


def cell_of(ax, column, row, text, colour):
    ax.add_patch(plt.Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="C7", alpha=0.35))
    ax.text(column + 0.5, row + 0.5, text, ha="center", va="center")


for row, sequence in enumerate(packed.sorted_indices.tolist()):
    for t in range(9):
        letter = words[sequence][t : t + 1]
        cell_of(above, t, row, letter, f"C{sequence}" if letter else "none")
above.set(xlim=(0, 9), ylim=(4, 0), xlabel="step", title=f"padded: {9 * 4} places for {sum(lengths)} letters")
above.set_xticks(np.arange(9) + 0.5, range(9))
above.set_yticks(np.arange(4) + 0.5, [f"sequence {i}" for i in packed.sorted_indices.tolist()])
place = 0
for t, size in enumerate(packed.batch_sizes.tolist()):
    for sequence in packed.sorted_indices.tolist()[:size]:
        cell_of(below, place, 0, words[sequence][t], f"C{sequence}")
        place += 1
    below.axvline(place, color="C7", linewidth=2)
below.set(xlim=(0, place), ylim=(1, 0), xticks=[], yticks=[], title="packed: step after step, longest first")

# %%
# A layer runs the packed rows without computing any padding, and ``h_n`` is the state at each sequence's own
# end. A padded run would end with states that went on through the padding.

embedding, layer = nn.Embedding(26, 3), nn.GRU(3, 4)
at_own_end = layer(pack_padded_sequence(embedding(padded.clamp(min=0)), lengths, enforce_sorted=False))
back, back_lengths = pad_packed_sequence(at_own_end[0])
assert back_lengths.tolist() == lengths
for i, word in enumerate(ids):
    alone, h_alone = layer(embedding(word))
    assert rt.allclose(back[: lengths[i], i], alone, atol=1e-6)
    assert rt.allclose(at_own_end[1][:, i], h_alone, atol=1e-6)
_, through_padding = layer(embedding(padded.clamp(min=0)))
assert (through_padding - at_own_end[1])[0, 1].abs().max() > 0.01  # bo, and seven steps of padding
