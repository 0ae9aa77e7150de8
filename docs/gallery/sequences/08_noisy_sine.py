"""
A window or a state: predicting a noisy sine
============================================

d2l introduces sequence models with a noisy sine: a small network sees the last four values, predicts the next
one well, and loses its way when it must feed itself. The chapter compares it with nothing. Here it stands
beside repeating the last value, linear autoregression, and a network that keeps a state instead of a window.
"""

# %%
# The series
# ----------
# 1,000 values of a sine with noise of standard deviation 0.2: no forecast of the next value can have a
# smaller root mean squared error than that. The first 600 values train the models, the rest tests them.

import matplotlib.pyplot as plt
import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt

rt.manual_seed(0)
NOISE, TRAIN, TAU = 0.2, 600, 4
time = np.arange(1, 1001)
clean = np.sin(0.01 * time)
series = (clean + NOISE * np.random.default_rng(0).normal(size=len(time))).astype(np.float32)

# %%
# A window: the last tau values
# -----------------------------
# A Markov model of order tau sees tau values and nothing before them. Its training pairs are all windows of
# the training span, and each model of this kind is a function from windows (n, tau) to the next values (n,).
# Linear autoregression is least squares; the network is the chapter's, with ten hidden units.

windows = np.lib.stride_tricks.sliding_window_view(series, TAU + 1)[: TRAIN - TAU]
inputs, targets = windows[:, :-1], windows[:, -1]


def linear_autoregression(inputs, targets):
    weights = np.linalg.lstsq(np.c_[inputs, np.ones(len(inputs))], targets)[0]
    return lambda windows: windows @ weights[:-1] + weights[-1]


network = nn.Sequential(nn.Linear(TAU, 10), nn.ReLU(), nn.Linear(10, 1))
optimizer = train.optim.Adam(network.parameters(), lr=0.01)
generator = np.random.default_rng(0)
for _ in range(20):
    order = generator.permutation(len(inputs))
    for batch in np.array_split(order, len(order) // 16):
        optimizer.zero_grad()
        predicted = network(rt.tensor(inputs[batch])).reshape(-1)
        nn.functional.mse_loss(predicted, rt.tensor(targets[batch])).backward()
        optimizer.step()


def network_on_window(windows):
    with rt.no_grad():
        return network(rt.tensor(windows.astype(np.float32))).numpy()[:, 0]


window_models = {
    "linear autoregression": linear_autoregression(inputs, targets),
    "network on a window": network_on_window,
}

# %%
# A state: everything so far, summed up
# -------------------------------------
# A recurrent network reads one value at a time and keeps what it needs of the past. It is trained on
# stretches of 100 values to predict the next value at each step.


class StateModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.GRU(1, 16)
        self.head = nn.Linear(16, 1)

    def forward(self, values, state=None):
        output, state = self.recurrent(values, state)
        return self.head(output), state


state_model = StateModel()
optimizer = train.optim.Adam(state_model.parameters(), lr=0.01)
stretches = np.lib.stride_tricks.sliding_window_view(series[:TRAIN], 101).T[:, :, None]
for _ in range(300):
    columns = generator.integers(stretches.shape[1], size=32)
    x, y = stretches[:-1, columns], stretches[1:, columns]
    optimizer.zero_grad()
    predicted, _ = state_model(rt.tensor(x))
    nn.functional.mse_loss(
        predicted[20:], rt.tensor(y[20:])
    ).backward()  # the first steps have too little past
    optimizer.step()

# %%
# k steps ahead
# -------------
# A model that predicts one step predicts k by feeding itself. All origins of the test span are done at once:
# the windows at all of them are one batch, and so are the states. The result has one row for each origin and
# one column for each step.

STEPS = (1, 4, 16, 64)


def forecast_by_window(model, origins):
    history = np.stack([series[origin - TAU + 1 : origin + 1] for origin in origins])
    forecast = []
    for _ in range(max(STEPS)):
        following = model(history)
        forecast.append(following)
        history = np.c_[history[:, 1:], following]
    return np.stack(forecast, axis=1)


def forecast_by_state(origins):
    with rt.no_grad():
        states, _ = state_model.recurrent(rt.tensor(series[:, None, None]))
        state = states[origins].transpose(0, 1)  # (1, origins, units): the state after each origin
        value = state_model.head(state)
        forecast = [value.numpy().reshape(-1)]
        for _ in range(max(STEPS) - 1):
            value, state = state_model(value, state)
            forecast.append(value.numpy().reshape(-1))
    return np.stack(forecast, axis=1)


origins = np.arange(TRAIN - 1, len(series) - 1)
forecasts = {"repeat the last value": np.repeat(series[origins][:, None], max(STEPS), axis=1)}
forecasts |= {name: forecast_by_window(model, origins) for name, model in window_models.items()}
forecasts["network with a state"] = forecast_by_state(origins)


def error(forecast, k):
    """Root mean squared error k steps ahead, over all origins whose k-th step lies in the series."""
    known = origins + k < len(series)
    return np.sqrt(np.mean((forecast[known, k - 1] - series[origins[known] + k]) ** 2))


errors = {name: [error(forecast, k) for k in STEPS] for name, forecast in forecasts.items()}
print("root mean squared error".ljust(26), *(f"k = {k:<4}" for k in STEPS))
for name, row in errors.items():
    print(name.ljust(26), *(f"{value:<8.3f}" for value in row))

# %%
# One step ahead the state is at the limit that the noise sets, while four noisy values cannot tell where on
# the sine one is. Errors then build up as each model reads its own. The chapter's network falls behind even
# the repeated last value: at 16 and 64 steps the naive forecast wins against it. Linear autoregression, with
# five numbers to learn, is better at every k.

state_errors = errors["network with a state"]
assert state_errors[0] < 1.1 * NOISE
for row in errors.values():
    assert all(ours <= other for ours, other in zip(state_errors, row, strict=True))
naive, network_errors = errors["repeat the last value"], errors["network on a window"]
assert network_errors[0] < naive[0]
assert network_errors[2] > naive[2]
assert all(a < b for a, b in zip(errors["linear autoregression"], network_errors, strict=True))

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), width_ratios=(3, 2), layout="constrained")
left.plot(time, series, ".", markersize=2, color="0.6", label="series")
left.axvline(TRAIN, color="0.5", linewidth=1)
left.text(TRAIN + 8, -1.7, "test span", color="0.5")
for number, name in enumerate(("network on a window", "network with a state"), start=2):
    for origin in range(0, len(origins) - max(STEPS), 84):
        ahead = time[origins[origin]] + 1 + np.arange(max(STEPS))
        label = name if origin == 0 else None
        left.plot(ahead, forecasts[name][origin], color=f"C{number}", label=label)
left.set(xlabel="time (steps)", ylabel="value", title="64 steps ahead from four origins")
left.legend(loc="lower left")
every = np.arange(1, max(STEPS) + 1)
for name, forecast in forecasts.items():
    right.plot(every, [error(forecast, k) for k in every], label=name)
right.axhline(NOISE, color="0.5", linewidth=1)
right.text(64, NOISE - 0.03, "noise", color="0.5", horizontalalignment="right")
right.set(xlabel="k (steps ahead)", ylabel="root mean squared error", ylim=(0.1, None), title="Test span")
_ = right.legend()
