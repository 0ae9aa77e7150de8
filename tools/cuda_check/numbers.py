"""Random numbers: the same words on both devices, and noise inside a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.numerics import draws
from rondeau.kernels.runtime.devices import load_cupy
from rondeau.nn import cell_math as m

from .cases import Case

__all__ = ["CASES"]

CASES: list[Case] = []
_KEYS = (0, 7, 2**63 + 12345, 2**64 - 1)


def _draw(name: str, draw: Callable[[Any, int], Any]) -> None:
    def run(device: str) -> Any:
        library = np if device == "cpu" else load_cupy()
        return [rt.Tensor(draw(library, key)) for key in _KEYS]

    CASES.append(Case(name, run))


_draw("words of Philox", lambda library, key: draws.words(library, key, 1001).astype(np.int64))
_draw("integers", lambda library, key: draws.integers(library, key, -3, 50, (7, 11)))
_draw("uniform, float32", lambda library, key: draws.uniform(library, key, (7, 11), np.float32))
_draw("uniform, float64", lambda library, key: draws.uniform(library, key, (7, 11), np.float64))
_draw("normal, float32", lambda library, key: draws.normal(library, key, (7, 11), np.float32))
_draw("normal, float64", lambda library, key: draws.normal(library, key, (7, 11), np.float64))


@nn.recurrent_cell(gates=("a",), states=("normal", "uniform"))
def _only_noise(x: Any, r: Any, s: Any) -> Any:
    """Return numbers that are drawn, and nothing else."""
    return m.normal() + 0 * x.a, m.uniform() + 0 * r.a


def _noise(dtype: str) -> Callable[[str], Any]:
    def run(device: str) -> Any:
        rt.manual_seed(3)
        layer = nn.Recurrent(_only_noise, 2, 40, dtype=dtype).to(device)
        _, states = layer(rt.zeros(6, 3, 2, dtype=dtype, device=device))
        return states

    return run


CASES.append(Case("noise of a step, float32", _noise("float32")))
CASES.append(Case("noise of a step, float64", _noise("float64")))


def _seeded(device: str) -> Any:
    """Draw uniform numbers from the default generator: those of a GPU are the CPU's."""
    rt.manual_seed(1)
    like = rt.zeros(4, 5, device=device)
    return rt.rand(30, device=device), rt.rand(3, dtype="float64", device=device), rt.rand_like(like)


CASES.append(Case("rand rand_like of a seed", _seeded))


def _drawn(device: str) -> Any:
    """Draw by every function: shapes, dtypes and ranges."""
    rt.manual_seed(1)
    like = rt.zeros(4, 5, device=device)
    chances = rt.full((50,), 0.5, device=device)
    made = (
        rt.rand(4, 5, device=device), rt.randn(4, 5, device=device), rt.rand_like(like), rt.randn_like(like),
        rt.randint(9, (4, 5), device=device), rt.randperm(20, device=device), rt.bernoulli(chances),
        rt.multinomial(chances, 5), rt.normal(0.0, 1.0, (4, 5), device=device),
    )  # fmt: skip
    assert all(tensor.device == like.device for tensor in made)
    return [
        [rt.tensor(tuple(tensor.shape)), rt.isfinite(tensor).all(), abs(tensor).max() < 60] for tensor in made
    ]


CASES.append(Case("rand randn rand_like randn_like randint randperm bernoulli multinomial normal", _drawn))
