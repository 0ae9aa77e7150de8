"""A training at "highest", and at every step the loss and the gradient at "medium", from the same weights and batch.

The Shakespeare recipe with a constant rate: one layer, characters as one-hot rows, the state carried on from batch to
batch. The error of the gradient of all weights, as one vector, is the norm of the difference over the norm.
"""

import argparse
from collections.abc import Iterator
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np

from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.data import datasets

from ..comparison import report
from ..shakespeare.recipe import BATCH, CLIP, RATE, STEPS

COLUMNS = {
    "cell": report.text("cell"),
    "steps": report.text("steps"),
    "loss at the end": report.digits("loss", 4),
    "difference of losses, mean": report.exponent("mean_difference"),
    "largest difference": report.exponent("largest_difference"),
    "error of the gradient, mean": report.exponent("mean_error"),
    "largest error": report.exponent("largest_error"),
    "angle between gradients, mean": report.degrees("mean_angle"),
    "largest angle": report.degrees("largest_angle"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("folder", type=Path, metavar="DATA", help="where tinyshakespeare.txt is")
    parser.add_argument("--cells", nargs="+", choices=RATE, default=list(RATE))
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--steps", type=int, default=400, help="of the training (default: 400)")


def measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a row for every cell."""
    text = datasets.tinyshakespeare(options.folder, download=False)
    vocab = data.Vocab(text, unk_token=None, order="token")
    ids = data.Codec(data.CharTokenizer(), vocab).encode(text)
    for cell in options.cells:
        stream = data.TokenStream(ids, len(vocab))
        yield {"cell": cell, "hidden": options.hidden} | followed(stream, cell, options.hidden, options.steps)


def followed(stream: data.TokenStream, cell: str, hidden: int, steps: int) -> dict[str, Any]:
    """Train, and compare losses and gradients at every step."""
    rt.manual_seed(0)
    model = nn.LanguageModel(stream.vocab_size, cell, hidden)
    parameters = list(model.parameters())
    optimizer = train.optim.Adam(parameters, lr=RATE[cell])
    batches = data.SequentialBatches(stream, BATCH, STEPS)
    state: Any = None
    losses, errors, angles = [], [], []
    for X, Y in islice(chain.from_iterable(repeat(batches)), steps):
        gradients = []
        for precision in ("medium", "highest"):
            with rt.float32_matmul_precision(precision):
                loss, after = model(X, state, targets=Y)
                found = rt.grad(loss, parameters)
            losses.append(loss.item())
            gradients.append(np.concatenate([g.numpy().ravel() for g in found], dtype=np.float64))
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        state = tuple(s.detach() for s in after) if isinstance(after, tuple) else after.detach()
        medium, highest = gradients
        lengths = [np.linalg.norm(g) for g in gradients]
        errors.append(np.linalg.norm(medium - highest) / lengths[1])
        # The angle by its half: the arc cosine of a number near 1 would lose half of the digits.
        half = np.linalg.norm(medium / lengths[0] - highest / lengths[1]) / 2
        angles.append(np.degrees(2 * np.arcsin(half)))
    differences = np.abs(np.subtract(losses[::2], losses[1::2]))
    return {"steps": steps, "loss": losses[-1]} | {
        f"{kind}_{name}": float(reduce(values))
        for name, values in (("difference", differences), ("error", errors), ("angle", angles))
        for kind, reduce in (("mean", np.mean), ("largest", np.max))
    }
