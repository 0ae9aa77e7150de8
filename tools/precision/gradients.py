"""The error of every gradient against float64, at "highest" and at "medium", by the kind of layer.

First weights; inputs and the gradient of the output drawn from N(0, 1); the norm of the difference over the norm. All
biases of a layer are one vector, and so are all gains.
"""

import argparse
import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rondeau import nn
from rondeau import tensor as rt

from ..comparison import report

B, T, H, CHANNELS, SIDE = 32, 35, 256, 16, 28
PRECISIONS = ("highest", "medium")

LAYERS: dict[str, tuple[Callable[[int], nn.Module], Callable[[int], tuple[int, ...]]]] = {
    "RNN": (lambda H: nn.RNN(H, H), lambda H: (T, B, H)),
    "GRU": (lambda H: nn.GRU(H, H), lambda H: (T, B, H)),
    "LSTM": (lambda H: nn.LSTM(H, H), lambda H: (T, B, H)),
    "LSTM, layer-normalised": (
        lambda H: nn.Recurrent(nn.cells.lstm_layer_norm, H, H),
        lambda H: (T, B, H),
    ),
    "Linear": (lambda H: nn.Linear(H, H), lambda H: (T * B, H)),
    "Conv2d, 3 x 3": (
        lambda H: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
        lambda H: (B, CHANNELS, SIDE, SIDE),
    ),
}
"""By its name a layer, and the shape of its input, both by H."""

COLUMNS = {
    "layer": report.text("layer"),
    "gradient of": lambda row: f"`{row['of']}`",
    "error at highest": report.exponent("highest"),
    "error at medium": report.exponent("medium"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS))
    parser.add_argument("--hidden", type=int, default=H, help=f"units, and inputs (default: {H})")


def measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a row for every gradient of every layer."""
    for name in options.layers:
        make, shape_of = LAYERS[name]
        rt.manual_seed(0)
        layer, shape = make(options.hidden), shape_of(options.hidden)
        right = _gradients(copy.deepcopy(layer).double(), shape, "highest")
        found = {precision: _gradients(layer, shape, precision) for precision in PRECISIONS}
        for of, wanted in right.items():
            errors = {p: float(np.linalg.norm(found[p][of] - wanted) / np.linalg.norm(wanted)) for p in found}
            yield {"layer": name, "of": of, "hidden": options.hidden} | errors


def _gradients(layer: nn.Module, shape: tuple[int, ...], precision: str) -> dict[str, Any]:
    """Return all gradients as vectors of float64, from the same numbers for every dtype and precision."""
    generator = np.random.default_rng(0)
    dtype = next(layer.parameters()).dtype

    def drawn(shape: tuple[int, ...], **options: Any) -> rt.Tensor:
        return rt.tensor(generator.standard_normal(shape, np.float32), dtype=dtype, **options)

    x = drawn(shape, requires_grad=True)
    with rt.float32_matmul_precision(precision):
        output = layer(x)
        output = output[0] if isinstance(output, tuple) else output
        named = {"input": x, **dict(layer.named_parameters())}
        found = rt.grad(output, list(named.values()), drawn(tuple(output.shape)))
    vectors: dict[str, list[Any]] = {}
    for name, gradient in zip(named, found, strict=True):
        vectors.setdefault(_kind_of(name), []).append(gradient.numpy().ravel())
    return {kind: np.concatenate(parts, dtype=np.float64) for kind, parts in vectors.items()}


def _kind_of(name: str) -> str:
    """Return what a row calls a gradient.

    Examples
    --------
    >>> _kind_of("weight_ih_l0"), _kind_of("bias_hh_l0")
    ('weight_ih', 'bias')
    """
    kind = name.split("_")[0]
    return kind if kind in ("bias", "gain") else name.removesuffix("_l0")
