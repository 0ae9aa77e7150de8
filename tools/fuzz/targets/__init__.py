"""What is fuzzed: each target draws a call, makes it, and compares what comes out with what is right."""

from __future__ import annotations

from collections.abc import Callable

from ..drawing import Draw
from . import layers
from .product import product
from .recurrent import recurrent

#: By name: the target, and how often it is drawn relative to the others.
TARGETS: dict[str, tuple[Callable[[Draw], None], float]] = {
    "recurrent": (recurrent, 6.0),
    "product": (product, 2.0),
    "linear": (layers.linear, 1.0),
    "linear layer": (layers.linear_layer, 0.1),
    "embedding": (layers.embedding, 1.0),
    "cross entropy": (layers.cross_entropy, 1.0),
    "layer norm": (layers.layer_norm, 1.0),
}
