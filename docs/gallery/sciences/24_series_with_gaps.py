"""
A series with gaps: GRU-D and a GRU
===================================

Patients are measured when somebody sees a reason to: at irregular times, and never everything at once. In the GRU-D of
Che et al. (2018), old measurements fade with their age, in the input and in the state. Here it is compared with a GRU
that is told the same, on generated series whose best possible estimate is known.
"""

# %%
# A series that is seldom observed
# --------------------------------
# Six quantities wander about their means and forget where they were, the first within 2 hours, the last within 64:
# Ornstein-Uhlenbeck processes. Visits come at irregular times, 2 hours apart on average, and at each one four in ten
# quantities are measured, with an error. A quarter of the measurements is withheld from the networks, which have to
# estimate them from what was measured at this visit and before.

import json
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt

MEMORY = np.array([2, 4, 8, 16, 32, 64])  # hours
VISITS, QUANTITIES, ERROR = 60, len(MEMORY), 0.2


class Visits:
    """Arrays (T, B, I): measurements, which of them are shown or withheld, the last shown values and their ages."""

    def __init__(self, generator, size):
        shape = VISITS, size, QUANTITIES
        gaps = generator.exponential(2, (VISITS, size, 1))  # hours since the visit before
        self.hours = gaps[..., 0].cumsum(axis=0)
        self.kept = np.exp(-gaps / MEMORY)
        true = generator.normal(size=shape)
        for t in range(1, VISITS):
            true[t] = self.kept[t] * true[t - 1] + np.sqrt(1 - self.kept[t] ** 2) * true[t]
        self.values = true + ERROR * generator.normal(size=shape)
        measured, chosen = generator.random(shape) < 0.4, generator.random(shape) < 0.25
        self.shown, self.withheld = measured & ~chosen, measured & chosen
        self.last, self.age = np.zeros(shape), np.zeros(shape)  # the mean, before the first measurement
        last, age = np.zeros(shape[1:]), np.zeros(shape[1:])
        for t in range(VISITS):
            age = age + gaps[t]
            last = np.where(self.shown[t], self.values[t], last)
            self.last[t], self.age[t] = last, age
            age = np.where(self.shown[t], 0.0, age)

    def tensors(self, batch=slice(None)):
        """The inputs of the networks for some sequences, and their targets: float32 tensors."""
        arrays = self.last, self.shown, self.age, self.values, self.withheld
        return [rt.tensor(array[:, batch].astype(np.float32)) for array in arrays]


generator = np.random.default_rng(0)
training, held_out = Visits(generator, 2000), Visits(generator, 1000)
print(f"{held_out.shown.mean():.0%} of the values are shown, {held_out.withheld.mean():.0%} withheld")


def error(estimate, visits=held_out):
    """Mean square over the withheld measurements."""
    return np.mean((estimate - visits.values)[visits.withheld] ** 2)


# %%
# If the generating process is known, a Kalman filter gives the best possible estimate. If nothing is known, there
# remain the mean, 0, and the last value.


def kalman(visits):
    mean, variance = np.zeros(visits.values.shape[1:]), np.ones(visits.values.shape[1:])
    estimates = []
    for kept, value, shown in zip(visits.kept, visits.values, visits.shown, strict=True):
        mean, variance = kept * mean, kept**2 * variance + 1 - kept**2
        gain = np.where(shown, variance / (variance + ERROR**2), 0)
        mean, variance = mean + gain * (value - mean), (1 - gain) * variance
        estimates.append(mean)
    return np.stack(estimates)


best = kalman(held_out)
errors = {"the mean": error(0), "the last value": error(held_out.last), "Kalman filter": error(best)}

# %%
# Two networks
# ------------
# GRU-D reads the mask, and values in which ``nn.InputDecay`` lets the last measurement of each quantity fade to its
# mean at a learned rate. Its step has one input besides x: ``elapsed``, by which the state fades, a linear layer of the
# ages. The GRU reads last value, mask and age, and has to find out for itself what age means.

UNITS = 32


class GRUD(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_decay = nn.InputDecay(QUANTITIES)
        self.elapsed = nn.Linear(QUANTITIES, UNITS)
        self.recurrent = nn.Recurrent(nn.cells.gru_d, 2 * QUANTITIES, UNITS)
        self.head = nn.Linear(UNITS, QUANTITIES)

    def forward(self, last, shown, age):
        faded = self.input_decay(last, shown, age)
        x = rt.cat([faded, shown], dim=-1)
        output, _ = self.recurrent(x, inputs={"elapsed": self.elapsed(age)})
        return self.head(output)


class PlainGRU(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.GRU(3 * QUANTITIES, UNITS)
        self.head = nn.Linear(UNITS, QUANTITIES)

    def forward(self, last, shown, age):
        output, _ = self.recurrent(rt.cat([last, shown, age / 10], dim=-1))
        return self.head(output)


def trained(network, seed, updates=400):
    rt.manual_seed(seed)
    generator = np.random.default_rng(seed)
    model = network()
    optimizer = train.optim.Adam(model.parameters(), lr=5e-3)
    schedule = train.lr_scheduler.CosineAnnealingLR(optimizer, T_max=updates)
    for _ in range(updates):
        *features, values, withheld = training.tensors(generator.integers(2000, size=64))
        optimizer.zero_grad()
        loss = ((model(*features) - values).square() * withheld).sum() / withheld.sum()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model


estimates, models = {}, {}
for name, network in (("GRU", PlainGRU), ("GRU-D", GRUD)):
    for seed in (0, 1):
        models[name] = trained(network, seed)
        with rt.no_grad():
            estimates[name] = models[name](*held_out.tensors()[:3]).numpy()
        errors[f"{name}, seed {seed}"] = error(estimates[name])
for name, value in errors.items():
    print(f"{name:<15} {value:.3f}")

# %%
# The GRU comes close to the filter and GRU-D closer: about a third of the GRU's distance is left.

distance = {name: value - errors["Kalman filter"] for name, value in errors.items()}
for seed in (0, 1):
    assert 0 < distance[f"GRU-D, seed {seed}"] < 0.7 * distance[f"GRU, seed {seed}"]
    assert errors[f"GRU, seed {seed}"] < 0.8 * errors["the last value"]

# %%
# The gain is largest just after a measurement, when the state has to take over what the input says. On the right is one
# quantity of one held-out sequence.

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", width_ratios=(2, 3))
edges = np.geomspace(0.5, 64, 8)
middles = np.sqrt(edges[1:] * edges[:-1])
age, withheld = held_out.age, held_out.withheld
for name, estimate in estimates.items():
    excess = (estimate - held_out.values) ** 2 - (best - held_out.values) ** 2
    in_bins = [excess[withheld & (a <= age) & (age < b)].mean() for a, b in pairwise(edges)]
    left.semilogx(middles, in_bins, ".-", label=name)
left.axhline(0, color="0.5", linewidth=1)
left.set(xlabel="age of the last measurement (hours)", ylabel="mean square error above the filter's")
left.set_title("Withheld measurements")
left.legend()

sequence, quantity = 0, 3
hours, values = held_out.hours[:, sequence], held_out.values[:, sequence, quantity]
for name, estimate in {"Kalman filter": best, **estimates}.items():
    colour = {"Kalman filter": "0.6", "GRU": "C0", "GRU-D": "C1"}[name]
    right.plot(hours, estimate[:, sequence, quantity], color=colour, linewidth=1, label=name)
for name, mask, face in (("shown", held_out.shown, "black"), ("withheld", withheld, "white")):
    mask = mask[:, sequence, quantity]
    right.scatter(hours[mask], values[mask], 20, face, edgecolors="black", zorder=3, label=name)
right.set(xlabel="hours", ylabel="value", title=f"A quantity that remembers {MEMORY[quantity]} hours")
_ = right.legend(fontsize="small", ncols=2)

# %%
# The same as a loop
# ------------------
# PyTorch has no GRU-D, and its users loop over the visits. Recorded here is a training step of this page's size,
# forward and backward, next to such a loop, carefully written. Each runs in a process of its own; they are measured in
# turn.

folder = Path(globals().get("__file__", "24_series_with_gaps.py")).resolve().parent.parent / "recorded"
if folder.exists():  # it is not part of a downloaded script
    recorded = json.loads((folder / "24_gaps.json").read_text())
    (row,) = recorded["rows"]
    print(*recorded["commands"])
    print(f"{recorded['machine']['processor']}, threads: {row['threads']}, {row['size']}")
    least, most = row["eager_range"]
    print(f"rondeau {1e3 * row['seconds']:.1f} ms")
    print(
        f"the loop in PyTorch {row['eager']:.1f} times as long, from {least:.1f} to {most:.1f} in single pairs"
    )
    assert row["eager"] > 1.6
