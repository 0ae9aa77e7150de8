"""The error of gradients against float64, at every precision of recurrent products."""

from __future__ import annotations

import copy
import functools
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.runtime.precision import OPERANDS

from .report import Row
from .workloads import FORMATS

__all__ = ["measured", "prepared"]

BOUNDS = {"highest": 1e-5, "high": 1e-3, "medium": 1e-2}
"""The largest norm of an error, as a part of the norm of the gradient."""
_LAYERS, _HIDDEN, _BATCH, _STEPS = ("LSTM", "GRU"), (256, 512, 128, 1024), 32, 64


def prepared() -> Iterator[Callable[[], object]]:
    """Yield what compiles the kernels: two steps of everything."""
    for hidden, layer, precision in itertools.product(_HIDDEN, _LAYERS, OPERANDS):
        yield functools.partial(_gradients, layer, hidden, _BATCH, 2, "cuda", "float32", precision)


def measured(stand_in: bool, end: float) -> Iterator[Row]:
    """Yield the largest error among the gradients of a layer, for layers, sizes and precisions."""
    steps, batch, sizes = (3, 2, (8,)) if stand_in else (_STEPS, _BATCH, _HIDDEN)
    for hidden in sizes:
        for layer in _LAYERS:
            expected = None
            for precision in OPERANDS:
                began = time.monotonic()
                name = f"{layer}, H {hidden}, B {batch}, T {steps}, {FORMATS[precision]}"
                if began > end:
                    yield Row("gradient error", name, "skipped", "the minutes were over", 0.0)
                    continue
                if expected is None:
                    expected = _gradients(layer, hidden, batch, steps, "cpu", "float64")
                got = _gradients(layer, hidden, batch, steps, "cuda", "float32", precision)
                errors = {
                    key: float(np.linalg.norm(got[key] - right) / np.linalg.norm(right))
                    for key, right in expected.items()
                }
                worst = max(errors, key=lambda key: (np.isnan(errors[key]), errors[key]))
                outcome = "right" if errors[worst] <= BOUNDS[precision] else "WRONG"
                detail = f"{errors[worst]:.1e} of {worst}, at most {BOUNDS[precision]:.0e}"
                figures = {
                    "layer": layer, "hidden": hidden, "precision": precision, "error": errors[worst],
                }  # fmt: skip
                yield Row("gradient error", name, outcome, detail, time.monotonic() - began, figures)


def _gradients(
    name: str, hidden: int, batch: int, steps: int, device: str, dtype: str, precision: str = "highest"
) -> dict[str, Any]:
    """Return the output and all gradients as float64, from the same numbers for every device and dtype."""
    rng = np.random.default_rng(6)
    rt.manual_seed(7)
    layer = copy.deepcopy(getattr(nn, name)(hidden, hidden)).to(device=device, dtype=dtype)

    def drawn() -> rt.Tensor:
        numbers = rng.standard_normal((steps, batch, hidden)).astype(np.float32)
        return rt.tensor(numbers.astype(dtype), device=device, requires_grad=True)

    x, cotangent = drawn(), drawn().detach()
    before = rt.get_float32_matmul_precision()
    rt.set_float32_matmul_precision(precision)
    try:
        output, _ = layer(x)
        output.backward(cotangent)
    finally:
        rt.set_float32_matmul_precision(before)
    found = {"output": output.detach(), "x": x.grad}
    found |= {key: parameter.grad for key, parameter in layer.named_parameters()}
    return {key: tensor.cpu().numpy().astype(np.float64) for key, tensor in found.items()}
