"""What is fuzzed: each target draws a call, makes it, and compares what comes out with what is right."""

from __future__ import annotations

from collections.abc import Callable

from ..drawing import Draw
from . import layers, operators, optimisers, packing, sliding
from .batch_norm import batch_norm
from .entering_numbers import entering_numbers
from .extreme_numbers import extreme_numbers
from .jacobians import jacobians
from .loops import loops
from .losses import loss
from .mixed_indices import mixed_indices
from .product import product
from .recurrent import recurrent
from .schedules import schedules
from .sequence import sequence
from .single_step import single_step
from .stale_views import stale_views
from .stepping import stepping
from .typed_reductions import typed_reductions

#: By name: the target, and how often it is drawn relative to the others.
TARGETS: dict[str, tuple[Callable[[Draw], None], float]] = {
    "recurrent": (recurrent, 10.0),
    "sequence": (sequence, 4.0),
    "single_step": (single_step, 1.5),
    "stepping": (stepping, 1.5),
    "jacobians": (jacobians, 0.7),
    "product": (product, 3.0),
    "linear": (layers.linear, 1.0),
    "linear_layer": (layers.linear_layer, 0.2),
    "embedding": (layers.embedding, 1.0),
    "cross_entropy": (layers.cross_entropy, 1.0),
    "layer_norm": (layers.layer_norm, 1.0),
    "convolution": (sliding.convolution, 2.0),
    "max_pooling": (sliding.max_pooling, 1.0),
    "average_pooling": (sliding.average_pooling, 1.0),
    "adaptive_pooling": (sliding.adaptive_pooling, 0.7),
    "batch_norm": (batch_norm, 1.0),
    "loss": (loss, 1.5),
    "loops": (loops, 0.5),
    "padding": (packing.padding, 0.7),
    "packing": (packing.packing, 1.0),
    "packed_by_hand": (packing.packed_by_hand, 0.5),
    "optimiser": (optimisers.optimiser, 1.5),
    "optimiser kernel": (optimisers.kernel, 0.3),
    "schedules": (schedules, 0.5),
    "elementwise": (operators.elementwise, 1.0),
    "binary": (operators.binary, 1.0),
    "reduction": (operators.reduction, 1.0),
    "shaping": (operators.shaping, 1.0),
    "matrices": (operators.matrices, 0.7),
    "einsum": (operators.einsum, 0.4),
    "indexing": (operators.indexing, 1.0),
    "reading": (operators.reading, 0.7),
    "ordering": (operators.ordering, 0.5),
    "creation": (operators.creation, 0.4),
    "add_rows": (operators.in_place, 0.5),
    "stale_views": (stale_views, 2.0),
    "mixed_indices": (mixed_indices, 1.0),
    "typed_reductions": (typed_reductions, 0.5),
    "entering_numbers": (entering_numbers, 0.5),
    "extreme_numbers": (extreme_numbers, 0.7),
}
