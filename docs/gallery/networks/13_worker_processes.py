"""
A loader with worker processes
==============================

"Naturally understanding deep learning" reads its batches with four worker processes. They change nothing but
the time that it takes: a loader gives the same batches, in the same order, whatever their number.
"""

# %%
# What a worker needs
# -------------------
# Workers are started afresh (spawned), not forked: each imports the script that starts them, and gets a copy
# of the data set. So the script must start them only under ``if __name__ == "__main__":``, which a worker's
# import skips, and the data set must be of a class that can be imported. ``data.TensorDataset`` is one; a
# class of your own belongs at the top level of the script or, for notebooks and pages such as this one, into
# a module.

import time

import matplotlib.pyplot as plt
import numpy as np

from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.data import datasets


def standardised_samples():
    features, labels = datasets.pima_diabetes(stand_in=True)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    return data.TensorDataset(scaled.astype(np.float32), labels.astype(np.float32)[:, None])


# %%
# The same training, read here and by four workers
# ------------------------------------------------
# The network of the page on diabetes, for three epochs. ``persistent_workers`` keeps the processes from one
# epoch to the next. Losses and weights are equal to the last bit.


def trained(loader, epochs=3):
    rt.manual_seed(0)
    layers = nn.Linear(8, 6), nn.Sigmoid(), nn.Linear(6, 4), nn.Sigmoid(), nn.Linear(4, 1), nn.Sigmoid()
    network, loss_of = nn.Sequential(*layers), nn.BCELoss()
    optimizer = train.optim.SGD(network.parameters(), lr=0.5)
    losses, seconds = [], []
    for _ in range(epochs):
        start = time.perf_counter()
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = loss_of(network(rt.from_numpy(inputs)), rt.from_numpy(targets))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    return network, losses, seconds


if __name__ == "__main__":
    samples = standardised_samples()
    print(datasets.describe("pima_diabetes"))
    trained(data.DataLoader(samples, 32), epochs=1)  # compiled now, so that no time below has a part of it
    alone, losses, seconds = trained(data.DataLoader(samples, 32, shuffle=True))
    ahead = data.DataLoader(samples, 32, shuffle=True, num_workers=4, persistent_workers=True)
    by_workers, same_losses, worker_seconds = trained(ahead)
    print(f"{len(losses)} losses, the last {losses[-1]:.6f}, by workers {same_losses[-1]:.6f}")
    assert losses == same_losses
    for parameter, same in zip(alone.parameters(), by_workers.parameters(), strict=True):
        assert rt.equal(parameter, same)

# %%
# What it costs
# -------------
# The first epoch waits for four processes to start, which import NumPy and rondeau. After that a batch comes
# through a pipe, which for rows of an array gains nothing. Workers pay where a sample is slow to read: a file
# to open, an image to decode, a text to cut.

if __name__ == "__main__":
    for name, times in {"no workers": seconds, "four workers": worker_seconds}.items():
        print(f"{name}: " + ", ".join(f"{1000 * t:.0f} ms" for t in times))
    fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
    epochs = np.arange(1, 4)
    ax.bar(epochs - 0.2, seconds, width=0.4, label="no workers")
    ax.bar(epochs + 0.2, worker_seconds, width=0.4, label="four workers")
    ax.set(xlabel="epoch", ylabel="time (s)", yscale="log", xticks=epochs, title="The time of an epoch")
    ax.legend()
