"""Buffers that a forward changes: each shard begins with those of the step, and all ranks end with the same.

Running statistics of batch normalisation take the shards in order, as if each were a batch. Other buffers, such as the
vectors of spectral normalisation, which every forward changes alike, become those of the first shard that has rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from numpy.typing import NDArray

from rondeau import nn
from rondeau import tensor as rt

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class Changes(NamedTuple):
    """What a batch made of buffers: means and variances by the name of their layer, and other arrays by theirs."""

    statistics: dict[str, tuple[NDArray[Any], NDArray[Any]]]
    others: dict[str, NDArray[Any]]


class Buffers:
    """The buffers of a model.

    Parameters
    ----------
    model : Module
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._norms = {
            name: layer
            for name, layer in model.named_modules()
            if isinstance(layer, _NORMS) and layer.running_mean is not None and layer.track_running_stats
        }
        of_norms = {_full_name(name, buffer) for name in self._norms for buffer in _STATISTICS}
        self._others = [name for name, _ in model.named_buffers() if name not in of_norms]

    @contextmanager
    def of_one_batch(self, changes: list[Changes]) -> Iterator[None]:
        """Add to `changes` what forward and backward inside make of the buffers, which are put back.

        Raises
        ------
        ValueError
            If a layer of batch normalisation is applied more than once in it.
        """
        if not (self._norms or self._others):
            yield
            return
        momenta = {name: layer.momentum for name, layer in self._norms.items()}
        kept = {name: tensor._array.copy() for name, tensor in self.model.named_buffers()}
        for layer in self._norms.values():
            layer.momentum = 1.0  # the statistics of this batch alone
        try:
            yield
            changes.append(self._changes(kept))
        finally:
            for name, layer in self._norms.items():
                layer.momentum = momenta[name]
            for name, tensor in self.model.named_buffers():
                tensor._array[...] = kept[name]

    def _changes(self, kept: Mapping[str, NDArray[Any]]) -> Changes:
        now = {name: tensor._array for name, tensor in self.model.named_buffers()}
        found: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
        for name in self._norms:
            mean, var, count = (_full_name(name, buffer) for buffer in _STATISTICS)
            times = int(now[count]) - int(kept[count])
            if times > 1:
                raise ValueError(
                    f"{name or 'the model'}: applied {times} times in one forward; with shards, expected a layer of "
                    "batch normalisation to be applied once, so that its statistics have an order"
                )
            if times:
                found[name] = (now[mean].copy(), now[var].copy())
        others = {name: now[name].copy() for name in self._others if not _same(now[name], kept[name])}
        return Changes(found, others)

    def take(self, changes: list[list[Changes]]) -> None:
        """Make all changes, those of one shard after those of another; see `of_one_batch`."""
        first = next(filter(None, changes), [])
        for of_batch in first:
            for name, array in of_batch.others.items():
                self._named(name)._array[...] = array
        for of_shard in changes:
            for of_batch in of_shard:
                self._update_statistics(of_batch.statistics)

    def _update_statistics(self, found: Mapping[str, tuple[NDArray[Any], NDArray[Any]]]) -> None:
        buffers = dict(self.model.named_buffers())
        for name, of_batch in found.items():
            *running, count = (buffers[_full_name(name, buffer)] for buffer in _STATISTICS)
            count._array[...] += 1
            momentum = self._norms[name].momentum
            if momentum is None:
                momentum = 1.0 / int(count.item())
            for tensor, array in zip(running, of_batch, strict=True):
                tensor._array[...] = tensor._array * (1 - momentum) + array * momentum

    def _named(self, name: str) -> rt.Tensor:
        return dict(self.model.named_buffers())[name]


def _full_name(layer: str, buffer: str) -> str:
    return f"{layer}.{buffer}" if layer else buffer


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.shape == other.shape and one.tobytes() == other.tobytes()
