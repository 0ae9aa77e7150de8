"""A training step of rondeau's layer."""

import numpy as np

from rondeau import tensor as rt

from ..sizes import Size
from .cells import layer_of
from .step_inputs import draw_inputs
from .training_step import TrainingStep


def prepare(
    cell: str,
    size: list[int],
    threads: int,
    recompute_every: int | None = None,
    precision: str | None = None,
) -> TrainingStep:
    """Return the training step of a layer of `cell`.

    With `recompute_every` it recomputes; `precision` is that of its products.
    """
    batch, steps, inputs, hidden = Size(*size)
    rt.set_num_threads(threads)
    rng = np.random.default_rng(0)
    layer = layer_of(cell, inputs, hidden, recompute_every=recompute_every)
    layer.float32_matmul_precision = precision
    x = rt.tensor(rng.standard_normal((steps, batch, inputs), np.float32), requires_grad=True)
    cotangent = rt.tensor(rng.standard_normal((steps, batch, hidden), np.float32))
    drawn = draw_inputs(cell, Size(*size))
    given = {name: rt.tensor(u.values, requires_grad=u.needs_gradient) for name, u in drawn.items()}
    leaves = [tensor for tensor in given.values() if tensor.requires_grad]
    return TrainingStep(layer, x, cotangent, {"inputs": given} if given else None, leaves)
