"""
A network with Dale's law decides and remembers
===============================================

Do more dots move to the left or to the right? A continuous-time network of excitatory and inhibitory units, with noise
in its rates, learns to judge and to hold its judgement until it is asked, as in Song, Yang and Wang (2016). Then its
step is studied as a map: where does it rest, and what lies between the two choices?
"""

# %%
# The task
# --------
# A step is 20 ms. Two channels carry the evidence for left and for right: noise around means that differ by the
# coherence, as moving dots excite two pools of neurons. Then there is nothing to see for up to 0.8 s. While the
# fixation cue is on, the network has to wait; when it goes off, the network has to answer.

import json
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.nn.utils.parametrize import register_parametrization

WAIT, EVIDENCE, DELAY, ANSWER = 5, 30, 40, 10  # steps; the delay is drawn from 0 to this number
OVER, STEPS = WAIT + EVIDENCE, WAIT + EVIDENCE + DELAY + ANSWER
COHERENCES = np.array([0.04, 0.08, 0.16, 0.32, 0.64])
SENSORY_NOISE = 0.5  # standard deviation of a channel in a step
FIXATE, LEFT, RIGHT = range(3)


def trials(generator, size, coherence=None):
    """Inputs (T, B, 3), the right answer at each step (T, B), and the signed coherence (B,), positive for right."""
    right = generator.random(size) < 0.5
    signed = np.where(right, 1, -1) * (generator.choice(COHERENCES, size) if coherence is None else coherence)
    means = np.stack([0.5 - signed / 2, 0.5 + signed / 2], axis=-1)
    waiting = np.arange(STEPS)[:, None] < OVER + generator.integers(0, DELAY + 1, size)
    x = np.zeros((STEPS, size, 3), np.float32)
    x[:, :, 0] = waiting
    x[WAIT:OVER, :, 1:] = generator.normal(means, SENSORY_NOISE, (EVIDENCE, size, 2))
    return rt.tensor(x), np.where(waiting, FIXATE, np.where(right, RIGHT, LEFT)), signed


# %%
# The network
# -----------
# ``nn.cells.ctrnn`` is an Euler step of the rates, with noise inside the rectifier. Of 64 units four fifths excite and
# the others inhibit: column j of the recurrent matrix, which is what unit j sends, has one sign. No unit projects to
# itself, and only excitatory units are read. Signs and missing connections are one matrix of 1, -1 and 0, by which a
# parametrisation multiplies the weight: whatever Adam does, the layer obeys.

UNITS, EXCITATORY = 64, 51
connections = np.ones((UNITS, UNITS), np.float32)
connections[:, EXCITATORY:] = -1
np.fill_diagonal(connections, 0)


class DalesLaw(nn.Module):
    def __init__(self, connections):
        super().__init__()
        self.register_buffer("connections", rt.tensor(connections))

    def forward(self, weight):
        return weight.abs() * self.connections


class Network(nn.Module):
    def __init__(self, generator):
        super().__init__()
        self.recurrent = nn.Recurrent(nn.cells.ctrnn, 3, UNITS)
        self.head = nn.Linear(EXCITATORY, 3)
        weight = generator.gamma(2, size=(UNITS, UNITS))
        weight[:, EXCITATORY:] *= EXCITATORY / (UNITS - EXCITATORY)  # inhibition balances excitation
        radius = np.abs(np.linalg.eigvals(weight * connections)).max()
        self.recurrent.weight_hh_l0.data[...] = weight / radius
        register_parametrization(self.recurrent, "weight_hh_l0", DalesLaw(connections))

    def forward(self, x):
        rates, _ = self.recurrent(x)
        return self.head(rates[..., :EXCITATORY]), rates


# %%
# Training
# --------
# Cross-entropy at every step, with a lower weight while waiting, and a penalty on the square of the rates. The penalty
# matters for what follows: without it, rates may grow as long as a trial lasts, and never come to rest.

rt.manual_seed(1)
generator = np.random.default_rng(1)
model = Network(generator)
BATCH, UPDATES = 64, 800
optimizer = train.optim.Adam(model.parameters(), lr=0.01)
schedule = train.lr_scheduler.CosineAnnealingLR(optimizer, T_max=UPDATES)
weight = rt.tensor([0.2, 1.0, 1.0])
for update in range(1, UPDATES + 1):
    x, targets, _ = trials(generator, BATCH)
    optimizer.zero_grad()
    logits, rates = model(x)
    loss = nn.functional.cross_entropy(logits.reshape(-1, 3), targets.reshape(-1), weight)
    (loss + 0.1 * rates.square().mean()).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()
    if update % 200 == 0:
        right = (logits.detach().numpy()[-1].argmax(-1) == targets[-1]).mean()
        print(f"update {update}: cross-entropy {loss.item():.3f}, {right:.0%} of the batch right")

learned = model.recurrent.weight_hh_l0.detach().numpy()
assert (learned[:, :EXCITATORY] >= 0).all()
assert (learned[:, EXCITATORY:] <= 0).all()
assert (np.diag(learned) == 0).all()

# %%
# How often is it right? No one who sees the two channels can be right more often than an observer who adds up all their
# differences, and is right with probability :math:`\Phi(c \sqrt{T / 2} / \sigma)` for coherence c, T steps and noise
# :math:`\sigma`.


def choices(x):
    with rt.no_grad():
        return model(x)[0].numpy()[-1].argmax(-1)


def ideal(coherence):
    return 0.5 + 0.5 * math.erf(coherence * math.sqrt(EVIDENCE) / (2 * SENSORY_NOISE))


shares = []
for coherence in COHERENCES:
    x, targets, _ = trials(generator, 2000, coherence)
    shares.append((choices(x) == targets[-1]).mean())
    print(f"coherence {coherence:.2f}: {shares[-1]:.1%} right, ideal observer {ideal(coherence):.1%}")
    assert shares[-1] < ideal(coherence) + 0.05  # five standard errors
assert shares[2] > 0.8
assert shares[-1] > 0.97

# %%
# Where the state rests
# ---------------------
# Without noise and with a constant input, a step maps the state to the next one. ``fixed_points`` searches for states
# that the map does not move, starting from states that trials passed through. First the input of the delay: the cue
# alone.

recurrent = model.recurrent
x, targets, signed = trials(generator, 400)
with rt.no_grad():
    logits, rates = (tensor.numpy() for tensor in model(x))
choice = logits[-1].argmax(-1)
visited = rates[WAIT : OVER + 10].reshape(-1, UNITS)  # during the evidence and shortly after
recurrent.hyperparameters["noise"] = 0.0  # a step with noise has no fixed points


def preference(states):
    """The logit of right less that of left."""
    with rt.no_grad():
        logits = model.head(rt.tensor(states[:, :EXCITATORY].astype(np.float32))).numpy()
    return logits[:, RIGHT] - logits[:, LEFT]


delay = nn.dynamics.fixed_points(recurrent, [1.0, 0.0, 0.0], visited[::97])
print(delay)
largest = np.abs(delay.eigenvalues[:, 0])
for unstable, modulus, right in zip(delay.num_unstable, largest, preference(delay.points), strict=True):
    print(f"unstable directions: {unstable}, largest eigenvalue {modulus:.3f}, right less left {right:+.1f}")
attractors = preference(delay.points[delay.is_stable])
assert attractors.min() < 0 < attractors.max()
assert 1 in delay.num_unstable

# %%
# Two attractors hold the two answers for as long as it takes. Between them lies a saddle, stable in all directions but
# one, along which states leave it to either side. Not every search leads to a point: some get stuck at the kink of the
# rectifier, where it has no derivative.
#
# Evidence moves these points. With enough constant evidence for one side, the attractor of the other side meets the
# saddle, both vanish, and one answer is left.

coherences = np.linspace(-0.4, 0.4, 25)
seeing = [
    nn.dynamics.fixed_points(recurrent, [1.0, 0.5 - c / 2, 0.5 + c / 2], visited[::301]) for c in coherences
]
for found, sign in ((seeing[0], -1), (seeing[-1], 1)):
    assert (sign * preference(found.points[found.is_stable]) > 0).all()

centre = visited.mean(0)
components = np.linalg.svd(visited - centre, full_matrices=False)[2][:2]


def draw_points(ax, horizontal, vertical, stable):
    for kind, face, label in ((stable, "black", "stable"), (~stable, "white", "unstable")):
        ax.scatter(horizontal[kind], vertical[kind], 36, face, edgecolors="black", zorder=3, label=label)


figure, (plane, branches) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
for side, name, colour in ((LEFT, "left", "C0"), (RIGHT, "right", "C1")):
    hard = np.flatnonzero((np.abs(signed) <= 0.16) & (choice == side))[:12]
    for trial in hard:
        answered = np.flatnonzero(targets[:, trial])[0]
        path = (rates[WAIT - 1 : answered, trial] - centre) @ components.T
        plane.plot(*path.T, color=colour, linewidth=0.7, label=f"answer {name}" if trial == hard[0] else None)
        plane.plot(*path[-1], ".", color=colour)
draw_points(plane, *((delay.points - centre) @ components.T).T, delay.is_stable)
plane.set(xlabel="first component", ylabel="second component", title="Trials until the cue goes off")
plane.legend(fontsize="small")
heights = [preference(found.points) for found in seeing]
across = np.repeat(coherences, [len(height) for height in heights])
draw_points(branches, across, np.concatenate(heights), np.concatenate([found.is_stable for found in seeing]))
branches.set(xlabel="coherence, positive for right", ylabel="logit of right less left")
branches.set_title("Fixed points of constant evidence")
_ = branches.legend(fontsize="small")

# %%
# The same as a loop
# ------------------
# PsychRNN, a tool for such networks, and scripts in PyTorch loop over the steps, and every operation of a step is a
# call. Recorded here is a training step of this page's size, forward and backward, next to a carefully written loop of
# the same step in PyTorch. Each runs in a process of its own; they are measured in turn.

folder = Path(globals().get("__file__", "22_perceptual_decision.py")).resolve().parent.parent / "recorded"
if folder.exists():  # it is not part of a downloaded script
    recorded = json.loads((folder / "22_decision.json").read_text())
    (row,) = recorded["rows"]
    print(*recorded["commands"])
    print(f"{recorded['machine']['processor']}, threads: {row['threads']}, {row['size']}")
    least, most = row["eager_range"]
    print(f"rondeau {1e3 * row['seconds']:.1f} ms")
    print(
        f"the loop in PyTorch {row['eager']:.1f} times as long, from {least:.1f} to {most:.1f} in single pairs"
    )
    assert row["eager"] > 1.6
