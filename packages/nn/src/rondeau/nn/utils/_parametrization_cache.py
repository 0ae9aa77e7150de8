"""`cached`: parametrised weights that are computed once inside a ``with`` block."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from rondeau.tensor import Tensor, is_grad_enabled

from .._module import Module

__all__ = ["cached", "computed_once", "forget"]


class _Computed(NamedTuple):
    """A weight, and what identifies the values of the originals that it was computed from."""

    weight: Tensor
    versions: list[tuple[Any, int]]


class _Cache(threading.local):
    """The weights computed since this thread of Python entered `cached`, which may be nested.

    Weights are kept by parametrisation, and by whether operations were recorded: one computed under `no_grad` has no
    gradient.
    """

    def __init__(self) -> None:
        self.depth = 0
        self.weights: dict[tuple[Module, bool], _Computed] = {}


_cache = _Cache()


@contextmanager
def cached() -> Iterator[None]:
    """Compute each parametrised weight only once inside a ``with`` block: at its first use.

    A layer computes its weights once per call, so this saves time where a weight has several uses: in a loop over a
    single-step cell, or in layers that are called repeatedly. If an optimiser or an assignment changes the originals
    inside the block, the weight is computed again. Add up losses that share a weight before backward, or retain the
    graph in all but the last.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> from rondeau.nn.utils import parametrizations, parametrize
    >>> cell, h = parametrizations.orthogonal(nn.RNNCell(3, 3), "weight_hh"), rt.zeros(1, 3)
    >>> with parametrize.cached():
    ...     for x in rt.ones(5, 1, 3):
    ...         h = cell(x, h)
    ...     cell.weight_hh is cell.weight_hh
    True
    >>> cell.weight_hh is cell.weight_hh
    False
    """
    _cache.depth += 1
    try:
        yield
    finally:
        _cache.depth -= 1
        if not _cache.depth:
            _cache.weights.clear()


def computed_once(
    owner: Module, originals: Callable[[], Sequence[Tensor]], compute: Callable[[], Tensor]
) -> Tensor:
    """Return the weight that `owner` computes; inside `cached` the first one, as long as no original changes."""
    if not _cache.depth:
        return compute()
    versions = [(t._array, 0 if t._memory is None else t._memory.changed) for t in originals()]
    key = owner, is_grad_enabled()
    kept = _cache.weights.get(key)
    if kept is None or any(
        a is not b or m != n for (a, m), (b, n) in zip(kept.versions, versions, strict=True)
    ):
        kept = _cache.weights[key] = _Computed(compute(), versions)
    return kept.weight


def forget(owner: Module) -> None:
    """Compute the weight of `owner` again at its next use, inside `cached` too."""
    for is_recorded in (False, True):
        _cache.weights.pop((owner, is_recorded), None)
