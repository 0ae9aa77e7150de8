"""The adding problem: thirty numbers, two of them marked, one in each half, are to be added.

Hochreiter and Schmidhuber, "Long short-term memory" (1997), experiment 4, with numbers from 0 to 1.
"""

import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt

LENGTH, UNITS, BATCH, RATE, LAST = 30, 64, 64, 5e-3, 100
CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


def error(cell: str, seed: int, steps: int) -> float:
    """Train, and return the mean square error of the last steps, each of which has fresh numbers."""
    rt.manual_seed(seed)
    generator = np.random.default_rng(seed)
    layer, head = CELLS[cell](2, UNITS), nn.Linear(UNITS, 1)
    parameters = [*layer.parameters(), *head.parameters()]
    optimizer = train.optim.Adam(parameters, lr=RATE)
    losses = []
    for _ in range(steps):
        values = generator.random((LENGTH, BATCH), dtype=np.float32)
        marks = np.zeros_like(values)
        for first, end in ((0, LENGTH // 2), (LENGTH // 2, LENGTH)):
            marks[generator.integers(first, end, BATCH), np.arange(BATCH)] = 1
        optimizer.zero_grad()
        outputs, _ = layer(rt.tensor(np.stack([values, marks], axis=-1)))
        loss = nn.functional.mse_loss(head(outputs[-1])[:, 0], rt.tensor((values * marks).sum(0)))
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
    return float(np.mean(losses[-LAST:]))
