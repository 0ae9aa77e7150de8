"""
Rainfall, runoff, and what a catchment is like
==============================================

The same rain makes one river rise within hours and another within weeks. So a network for many catchments has to know
their soils and slopes. In the EA-LSTM of Kratzert et al. (2019) these static attributes set the input gate of an LSTM.
Here it learns from generated catchments, and is tested on some that it has not seen.
"""

# %%
# Catchments of three reservoirs
# ------------------------------
# A conceptual model of the kind that hydrologists use. Soil takes up rain, the less the wetter it is, and gives water
# back to the air. What it does not take up goes to two linear reservoirs, which lose a constant share of their water
# every day: a fast one, the surface, and a slow one, the groundwater. Four attributes describe a catchment: how much
# its soil holds, the time constants of both reservoirs, and the share of the water that goes to the slow one.

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt

DAYS, WARM_UP = 3 * 365, 365


class Catchments:
    """Daily forcing (T, B, 2), runoff in mm (T, B), and attributes (B, 4) of B catchments."""

    def __init__(self, generator, size):
        capacity = generator.uniform(50, 300, size)  # mm
        fast, slow = (np.exp(generator.uniform(*np.log(days), size)) for days in ((1, 5), (20, 100)))
        to_slow = generator.uniform(0.1, 0.9, size)
        self.attributes = np.stack([capacity, np.log(fast), np.log(slow), to_slow], axis=-1)

        shape = DAYS, size
        rain = np.where(generator.random(shape) < 0.35, generator.exponential(9, shape), 0)  # mm a day
        season = 1.5 + 1.5 * np.sin(2 * np.pi * np.arange(DAYS) / 365)[:, None]
        evaporation = (season + 0.3 * generator.normal(size=shape)).clip(0)  # mm a day, from full soil
        self.forcing = np.stack([rain / 10, evaporation / 3], axis=-1)
        self.runoff = np.empty(shape)
        soil, surface, groundwater = capacity / 2, np.zeros(size), np.full(size, 30.0)
        for day in range(DAYS):
            taken = np.minimum(rain[day] * (1 - (soil / capacity) ** 2), capacity - soil)
            soil = soil + taken
            soil = (soil - evaporation[day] * soil / capacity).clip(0)
            surface = surface + (1 - to_slow) * (rain[day] - taken)
            groundwater = groundwater + to_slow * (rain[day] - taken)
            leaving = surface * (1 - np.exp(-1 / fast)), groundwater * (1 - np.exp(-1 / slow))
            surface, groundwater = surface - leaving[0], groundwater - leaving[1]
            self.runoff[day] = sum(leaving)


generator = np.random.default_rng(0)
training, held_out = Catchments(generator, 200), Catchments(generator, 60)
centre, deviation = training.attributes.mean(0), training.attributes.std(0)
unit = training.runoff.std()


def standardised(catchments):
    return rt.tensor(((catchments.attributes - centre) / deviation).astype(np.float32))


# %%
# Three networks
# --------------
# The cell is ``nn.cells.ea_lstm``. Its input ``gate`` is one vector for each sequence, which a linear layer and a
# sigmoid make of the attributes. It is compared with an LSTM that does not know them, and with one that reads them
# every day along with the weather. Forget gates start open, with a bias of 3, because groundwater remembers months.

UNITS = 32


class EALSTM(nn.Module):
    forget = slice(0, UNITS)  # gates f, g, o

    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(4, UNITS)
        self.recurrent = nn.Recurrent(nn.cells.ea_lstm, 2, UNITS)
        self.head = nn.Linear(UNITS, 1)

    def forward(self, forcing, attributes):
        output, _ = self.recurrent(forcing, inputs={"gate": self.gate(attributes).sigmoid()})
        return self.head(output)[..., 0]


class PlainLSTM(nn.Module):
    forget = slice(UNITS, 2 * UNITS)  # gates i, f, g, o

    def __init__(self, num_attributes=0):
        super().__init__()
        self.num_attributes = num_attributes
        self.recurrent = nn.LSTM(2 + num_attributes, UNITS)
        self.head = nn.Linear(UNITS, 1)

    def forward(self, forcing, attributes):
        every_day = attributes[:, : self.num_attributes].expand(len(forcing), -1, -1)
        return self.head(self.recurrent(rt.cat([forcing, every_day], dim=-1))[0])[..., 0]


# %%
# They are trained on stretches of 200 days, of which the first half only fills the reservoirs.

STRETCH, BATCH, UPDATES = 200, 64, 300


def trained(network):
    rt.manual_seed(0)
    generator = np.random.default_rng(0)
    model = network()
    model.recurrent.bias_ih_l0.data[model.forget] = 3.0
    optimizer = train.optim.Adam(model.parameters(), lr=0.02)
    schedule = train.lr_scheduler.CosineAnnealingLR(optimizer, T_max=UPDATES)
    attributes = standardised(training)
    for _ in range(UPDATES):
        places = generator.integers(len(attributes), size=BATCH)
        days = generator.integers(DAYS - STRETCH, size=BATCH) + np.arange(STRETCH)[:, None]
        forcing = rt.tensor(training.forcing[days, places].astype(np.float32))
        runoff = rt.tensor((training.runoff[days, places] / unit).astype(np.float32))
        optimizer.zero_grad()
        estimate = model(forcing, attributes[places])
        loss = nn.functional.mse_loss(estimate[STRETCH // 2 :], runoff[STRETCH // 2 :])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model


models = {
    "LSTM without attributes": trained(PlainLSTM),
    "EA-LSTM": trained(EALSTM),
    "LSTM, attributes every day": trained(lambda: PlainLSTM(4)),
}

# %%
# Catchments that were not seen
# -----------------------------
# The measure is Nash and Sutcliffe's efficiency: 1 minus the mean squared error over the variance of a catchment's
# runoff. It is 1 for a perfect estimate, and 0 for the mean. Two years count, after one to warm up.


def runoff_by(model, attributes):
    forcing = rt.tensor(held_out.forcing.astype(np.float32))
    with rt.no_grad():
        return model(forcing, attributes).numpy() * unit


def efficiency(estimate):
    """Nash-Sutcliffe efficiency of each held-out catchment (B,)."""
    observed = held_out.runoff[WARM_UP:]
    squares = ((estimate[WARM_UP:] - observed) ** 2).sum(0)
    return 1 - squares / ((observed - observed.mean(0)) ** 2).sum(0)


own = standardised(held_out)
shuffled = own[np.roll(np.arange(len(own)), 1)]
estimates = {name: runoff_by(model, own) for name, model in models.items()}
estimates["EA-LSTM, attributes of another"] = runoff_by(models["EA-LSTM"], shuffled)
efficiencies = {name: efficiency(estimate) for name, estimate in estimates.items()}
medians = {name: np.median(values) for name, values in efficiencies.items()}
for name, values in efficiencies.items():
    print(f"{name:<31} median {medians[name]:.3f}, a tenth is below {np.quantile(values, 0.1):.3f}")

# %%
# Attributes matter. Without them a network can only learn what is common to all catchments; with those of another
# catchment the EA-LSTM does worse than that, because it trusts them. An LSTM that reads the attributes every day is
# better still. The advantage of the static gate is that it can be interpreted: one vector for each catchment, and
# similar catchments have similar vectors.

assert medians["EA-LSTM"] > medians["LSTM without attributes"] + 0.05
assert medians["EA-LSTM, attributes of another"] < medians["LSTM without attributes"]
assert (efficiencies["EA-LSTM"] > efficiencies["LSTM without attributes"]).mean() > 0.75
assert medians["LSTM, attributes every day"] > medians["EA-LSTM"]

with rt.no_grad():
    gates = rt.sigmoid(models["EA-LSTM"].gate(own)).numpy()
centred = gates - gates.mean(0)
directions = np.linalg.svd(centred, full_matrices=False)[2][:2]

figure, axes = plt.subplots(1, 3, figsize=(14, 4), layout="constrained", width_ratios=(4, 5, 4))
for name, values in efficiencies.items():
    axes[0].plot(np.sort(values), np.linspace(0, 1, len(values)), label=name)
axes[0].set(xlabel="efficiency", ylabel="share of catchments below", title="Held-out catchments", xlim=(0, 1))
axes[0].legend(fontsize="small", loc="upper left")
shown = np.argsort(efficiencies["LSTM without attributes"])[len(own) // 4]
days = slice(WARM_UP, WARM_UP + 120)
axes[1].plot(held_out.runoff[days, shown], color="black", label="generated")
for name in ("LSTM without attributes", "EA-LSTM"):
    axes[1].plot(estimates[name][days, shown], label=name)
axes[1].set(xlabel="day", ylabel="runoff (mm a day)", title="One of them")
axes[1].legend(fontsize="small")
points = axes[2].scatter(*(centred @ directions.T).T, c=held_out.attributes[:, 3], cmap="viridis")
figure.colorbar(points, label="share that goes to the groundwater")
axes[2].set(xlabel="first component", ylabel="second component", title="Input gates of the EA-LSTM")

# %%
# The same as a loop
# ------------------
# neuralhydrology, the library of the paper's authors, has the EA-LSTM as a loop over the days in PyTorch. Recorded
# here is a training step of this page's size, forward and backward, next to such a loop, carefully written. Each runs
# in a process of its own; they are measured in turn.

folder = Path(globals().get("__file__", "25_catchments.py")).resolve().parent.parent / "recorded"
if folder.exists():  # it is not part of a downloaded script
    recorded = json.loads((folder / "25_catchments.json").read_text())
    (row,) = recorded["rows"]
    print(*recorded["commands"])
    print(f"{recorded['machine']['processor']}, threads: {row['threads']}, {row['size']}")
    least, most = row["eager_range"]
    print(f"rondeau {1e3 * row['seconds']:.1f} ms")
    print(
        f"the loop in PyTorch {row['eager']:.1f} times as long, from {least:.1f} to {most:.1f} in single pairs"
    )
    assert row["eager"] > 1.6
