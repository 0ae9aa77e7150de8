"""
How much noise a decision withstands
====================================

The size of the noise in a step is a number of the run, not of the compiled code. Here one network is trained without
noise and one with much of it. Both are then tested with thirteen sizes, from none to far more than either has seen, by
a kernel that is compiled once.
"""

# %%
# A layer with noise
# ------------------
# Two channels carry evidence for left and for right, as on :ref:`the page about a decision
# <sphx_glr_generated_gallery_sciences_22_perceptual_decision.py>`, but without noise of their own: all noise here is in
# the units. The last state answers.

import json
import os
import tempfile
from pathlib import Path
from unittest import mock

import matplotlib.pyplot as plt
import numpy as np
from numba.core import event

from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.nn import cell_math as m

STEPS, UNITS = 40, 32
COHERENCES = np.array([-0.64, -0.32, -0.16, -0.08, -0.04, 0.04, 0.08, 0.16, 0.32, 0.64])


def evidence(coherence):
    """Constant inputs (T, B, 2) for signed coherences (B,), positive for right."""
    channels = np.stack([0.5 - coherence / 2, 0.5 + coherence / 2], axis=-1)
    return rt.tensor(np.repeat(channels[None].astype(np.float32), STEPS, axis=0))


class Decision(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.Recurrent(nn.cells.ctrnn, 2, UNITS)
        self.head = nn.Linear(UNITS, 1)

    def forward(self, x):
        """The logit of right (B,)."""
        return self.head(self.recurrent(x)[0][-1])[:, 0]


layer = Decision().recurrent
print(layer.hyperparameters)
forward = str(layer.explain()).split("\n\ndef ")[1]
print(*[line for line in forward.splitlines() if "noise" in line or "normal" in line], sep="\n")

# %%
# These lines belong to the source that is compiled. It reads ``noise`` in each call, and draws the number of a
# sequence, step and unit by its position.
#
# Training without noise and with it
# ----------------------------------


def train_with(noise):
    rt.manual_seed(0)
    generator = np.random.default_rng(0)
    model = Decision()
    model.recurrent.hyperparameters["noise"] = noise
    optimizer = train.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(400):
        coherence = generator.choice(COHERENCES, 64)
        right = rt.tensor((coherence > 0).astype(np.float32))
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(model(evidence(coherence)), right)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    print(f"noise {noise}: loss {loss.item():.3f}")
    return model


models = {noise: train_with(noise) for noise in (0.0, 0.5)}

# %%
# The sweep
# ---------
# A size is set between two calls, and that is all. Numba reports everything that it compiles to a recorder: nothing,
# during 26 evaluations of 6,000 trials. To show that the recorder works, it also watches a step in which the size is a
# constant: each size would be another step. An empty cache folder stands for a machine on which it never ran.

SIZES = [0.0, *np.geomspace(0.01, 2.0, 12).tolist()]
TESTED, REPEATS = np.linspace(-0.55, 0.55, 12), 500
x = evidence(np.tile(TESTED, REPEATS))


def answers(model, noise):
    """The share of answers "right" for each coherence."""
    model.recurrent.hyperparameters["noise"] = noise
    with rt.no_grad():
        return (model(x).numpy() > 0).reshape(REPEATS, -1).mean(0)


with event.install_recorder("numba:compile") as compiled:
    curves = {name: np.array([answers(model, size) for size in SIZES]) for name, model in models.items()}
print(len(compiled.buffer), "events in the sweep")
assert not compiled.buffer


@nn.recurrent_cell(gates=("h",), states=("h",))
def constant_noise(x, r, s):
    return 0.8 * s.h + 0.2 * m.relu(x.h + r.h + 0.3 * m.normal())


with (
    tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as empty,
    mock.patch.dict(os.environ, RONDEAU_CACHE=empty),
    event.install_recorder("numba:compile") as compiled,
):
    nn.Recurrent(constant_noise, 2, UNITS)(x)
print(len(compiled.buffer), "events for another step")
assert compiled.buffer

# %%
# What noise does
# ---------------
# The network that was trained without noise is right without it, and errs more and more as the noise grows, until it
# guesses. The other hardly errs up to the size that it was trained with, and withstands more.

correct = {name: np.where(TESTED > 0, curve, 1 - curve).mean(1) for name, curve in curves.items()}
for noise in models:
    shares = "  ".join(
        f"{share:.0%} at {size:.2f}" for size, share in zip(SIZES[::4], correct[noise][::4], strict=True)
    )
    print(f"trained with noise {noise}: {shares}")
assert correct[0.0][0] > 0.95
assert correct[0.5][0] > 0.95
within = [size < 0.6 for size in SIZES]
assert correct[0.5][within].min() > 0.9
assert correct[0.5][-4] > correct[0.0][-4] + 0.2

figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained", sharey=True)
for noise in models:
    axes[0].plot(SIZES, correct[noise], ".-", label=f"trained with noise {noise}")
axes[0].set_xscale("symlog", linthresh=0.01)
axes[0].set(
    xlabel="size of the noise", ylabel="share", title="Right answers, all coherences", ylim=(-0.02, 1.02)
)
axes[0].legend(fontsize="small", loc="lower left")
for ax, noise in zip(axes[1:], models, strict=True):
    for index in (0, 4, 8, 10, 12):
        ax.plot(TESTED, curves[noise][index], ".-", label=f"{SIZES[index]:.2f}")
    ax.set(xlabel="coherence, positive for right", title=f'Answers "right", trained with noise {noise}')
    ax.legend(fontsize="small", loc="lower right", title="tested with")

# %%
# The same noise again
# --------------------
# A seed gives the same numbers, whatever runs before the call and however many threads share the work. Here the bytes
# of all states are compared.

recurrent = models[0.5].recurrent


def states(seed, threads):
    rt.set_num_threads(threads)
    rt.manual_seed(seed)
    with rt.no_grad():
        return recurrent(x)[0].numpy().tobytes()


threads = rt.get_num_threads()
first = states(seed=0, threads=1)
assert states(seed=0, threads=1) == first
assert states(seed=0, threads=2) == first
assert states(seed=1, threads=1) != first
rt.set_num_threads(threads)
print(f"{len(first):,} bytes are the same")

# %%
# The same as a loop
# ------------------
# A loop in PyTorch has nothing to compile either, but pays for every operation of every step. Recorded here is a
# training step of this page's size, forward and backward, next to such a loop, carefully written. Each runs in a
# process of its own; they are measured in turn.

folder = Path(globals().get("__file__", "23_noise_swept.py")).resolve().parent.parent / "recorded"
if folder.exists():  # it is not part of a downloaded script
    recorded = json.loads((folder / "23_noise.json").read_text())
    (row,) = recorded["rows"]
    print(*recorded["commands"])
    print(f"{recorded['machine']['processor']}, threads: {row['threads']}, {row['size']}")
    least, most = row["eager_range"]
    print(f"rondeau {1e3 * row['seconds']:.1f} ms")
    print(
        f"the loop in PyTorch {row['eager']:.1f} times as long, from {least:.1f} to {most:.1f} in single pairs"
    )
    assert row["eager"] > 1.6
