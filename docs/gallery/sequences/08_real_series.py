"""
Sunspots, passengers and temperatures
=====================================

What d2l's chapter tries on a sine, on three real series: a network that sees a window, one that keeps a
state, linear autoregression, and repeating the last value. Nothing of the test span enters the models, their
scaling included; on a short and growing series that is easily got wrong.
"""

# %%
# Three series
# ------------
# The first part of each trains the models, the rest tests them. The horizon is up to 64 steps: months, months
# and days.

import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.data import datasets

STEPS = (1, 4, 16, 64)
SPECS = {  # values to train on, length of the window (two years, a year, a month), what is measured, step
    "sunspots": (datasets.sunspots, 2000, 24, "sunspots (monthly mean)", "months"),
    "airline_passengers": (datasets.airline_passengers, 72, 12, "passengers (thousands)", "months"),
    "min_temperatures": (datasets.min_temperatures, 2555, 30, "daily minimum (°C)", "days"),
}
series = {}
for name, (load, *_) in SPECS.items():
    series[name] = load(stand_in=True).values
    print(datasets.describe(name))
real = all(map(datasets.is_real, SPECS))

figure, axes = plt.subplots(3, 1, figsize=(8, 7), layout="constrained")
for ax, (name, (_, count, _, unit, step)) in zip(axes, SPECS.items(), strict=True):
    ax.plot(series[name], linewidth=0.8)
    ax.axvspan(count, len(series[name]), alpha=0.15, label="test span")
    ax.set(xlabel=f"time ({step})", ylabel=unit, xlim=(0, len(series[name])))
axes[1].legend(loc="upper left")
_ = figure.suptitle("Three series, and the span that each is tested on")

# %%
# Scaling
# -------
# Networks want values around 0 with a standard deviation near 1. The numbers for that come from the training
# span: those of all passengers would tell the model in 1954 that six years of growth are to come.

for name, (_, count, *_) in SPECS.items():
    known, everything = series[name][:count], series[name]
    print(
        f"{name:<19} training span: {known.mean():6.1f} ± {known.std():5.1f}   "
        f"all: {everything.mean():6.1f} ± {everything.std():5.1f}"
    )

# %%
# Four forecasts
# --------------
# Each is a function from the origins (n,) to forecasts (n, 64). A model that predicts one step feeds itself
# for more.


def repeat_last(values, count, tau, origins):
    return np.repeat(values[origins][:, None], max(STEPS), axis=1)


def with_window(fit):
    """Return the forecast of a model of the windows (n, tau): `fit` makes it of inputs and targets."""

    def forecast(values, count, tau, origins):
        windows = np.lib.stride_tricks.sliding_window_view(values[:count], tau + 1)
        model = fit(windows[:, :-1], windows[:, -1])
        history = values[origins[:, None] + np.arange(1 - tau, 1)]
        steps = []
        for _ in range(max(STEPS)):
            steps.append(model(history))
            history = np.c_[history[:, 1:], steps[-1]]
        return np.stack(steps, axis=1)

    return forecast


def linear_autoregression(inputs, targets):
    weights = np.linalg.lstsq(np.c_[inputs, np.ones(len(inputs))], targets)[0]
    return lambda windows: windows @ weights[:-1] + weights[-1]


def window_network(inputs, targets):
    network = nn.Sequential(nn.Linear(inputs.shape[1], 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = train.optim.Adam(network.parameters(), lr=3e-3)
    generator = np.random.default_rng(0)
    for _ in range(1000):
        rows = generator.integers(len(inputs), size=32)
        optimizer.zero_grad()
        predicted = network(rt.tensor(inputs[rows])).reshape(-1)
        nn.functional.mse_loss(predicted, rt.tensor(targets[rows])).backward()
        optimizer.step()

    def predict(windows):
        with rt.no_grad():
            return network(rt.tensor(windows)).numpy()[:, 0]

    return predict


def with_state(values, count, tau, origins):
    recurrent, head = nn.GRU(1, 32), nn.Linear(32, 1)
    parameters = [*recurrent.parameters(), *head.parameters()]
    optimizer = train.optim.Adam(parameters, lr=5e-3)
    stretches = np.lib.stride_tricks.sliding_window_view(values[:count], 49).T[:, :, None]
    generator = np.random.default_rng(0)
    for _ in range(500):
        columns = generator.integers(stretches.shape[1], size=32)
        optimizer.zero_grad()
        output, _ = recurrent(rt.tensor(stretches[:-1, columns]))
        nn.functional.mse_loss(head(output)[8:], rt.tensor(stretches[9:, columns])).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    with rt.no_grad():
        states, _ = recurrent(rt.tensor(values[:, None, None]))
        state = states[origins].transpose(0, 1)  # the state after each origin, (1, origins, units)
        value = head(state)
        steps = [value.numpy().reshape(-1)]
        for _ in range(max(STEPS) - 1):
            output, state = recurrent(value, state)
            value = head(output)
            steps.append(value.numpy().reshape(-1))
    return np.stack(steps, axis=1)


MODELS = {
    "repeat the last value": repeat_last,
    "linear autoregression": with_window(linear_autoregression),
    "network on a window": with_window(window_network),
    "network with a state": with_state,
}

# %%
# Errors in the test span
# -----------------------
# The origins begin at the last value of the training span, so that every predicted value lies in the test
# span.

errors, forecasts = {}, {}
for name, (_, count, tau, unit, _) in SPECS.items():
    values = series[name]
    mean, std = values[:count].mean(), values[:count].std()
    scaled = ((values - mean) / std).astype(np.float32)
    origins = np.arange(count - 1, len(values) - 1)
    print(f"\n{name}, root mean squared error in {unit}")
    print("".ljust(24), *(f"k = {k:<4}" for k in STEPS))
    for model, forecast in MODELS.items():
        rt.manual_seed(0)
        predicted = forecast(scaled, count, tau, origins) * std + mean
        row = []
        for k in STEPS:
            known = origins + k < len(values)
            row.append(np.sqrt(np.mean((predicted[known, k - 1] - values[origins[known] + k]) ** 2)))
        errors[name, model], forecasts[name, model] = row, predicted
        print(model.ljust(24), *(f"{value:<8.2f}" for value in row))
    best = [min(MODELS, key=lambda model: errors[name, model][i]) for i in range(len(STEPS))]
    print("best:", "; ".join(f"k = {k}: {model}" for k, model in zip(STEPS, best, strict=True)))

# %%
# Who wins
# --------
# Least squares on a window, nearly everywhere; the network with a state is level with it on the temperatures
# for a few days. The naive forecast is no straw man either: a month ahead on the sunspots it is hardly worse,
# it beats the window network there at 64 months, and the state network at 64 days of temperature. On the
# passengers it beats both networks at every k: they have seen 72 months, all below most of the test span, and
# a network that has learned a range of values does not leave it, while a line continues. A network's place is
# where there is more data than this, or many such series.

if real:
    for name in SPECS:
        row = {model: errors[name, model] for model in MODELS}
        assert all(
            a < b for a, b in zip(row["linear autoregression"], row["repeat the last value"], strict=True)
        )
    naive = errors["airline_passengers", "repeat the last value"]
    for model in ("network on a window", "network with a state"):
        assert all(a > b for a, b in zip(errors["airline_passengers", model], naive, strict=True))
    assert errors["sunspots", "network with a state"][2] < errors["sunspots", "network on a window"][2]

figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
for ax, (name, (_, count, _, unit, step)) in zip(axes, SPECS.items(), strict=True):
    values = series[name]
    for model in MODELS:
        squares = [
            (forecasts[name, model][: len(values) - count - k + 1, k - 1] - values[count + k - 1 :]) ** 2
            for k in range(1, max(STEPS) + 1)
        ]
        ax.plot(range(1, max(STEPS) + 1), [np.sqrt(square.mean()) for square in squares], label=model)
    ax.set(xlabel=f"k ({step} ahead)", ylabel=unit, title=name.replace("_", " "), ylim=(0, None))
axes[0].legend(fontsize="small")
_ = figure.suptitle("Root mean squared error in the test span")
