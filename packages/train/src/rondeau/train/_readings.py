"""The numbers of a training's steps, which stay on the model's device until a row of metrics needs them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rondeau import tensor as rt

NAMES = {"losses": "the loss", "grad_norms": "the norm of the gradients"}
"""What is read, by its name in checkpoints, as messages call it; in the order in which a step computes it."""


_MOST_UNREAD = 1000
"""From so many on they are read: a training without rows of metrics must not collect them on the device."""


class _Unread(NamedTuple):
    name: str
    step: int
    value: rt.Tensor


class Readings:
    """Losses and norms of gradients since the last row of metrics.

    On the CPU each number is read as soon as it is added. On a GPU, that would stop the host until the step is done, so
    numbers wait there until all are read at once.

    Parameters
    ----------
    diverged : callable
        ``(what, value, step) -> Exception``: what to raise for a number that is not finite.

    Examples
    --------
    >>> readings = Readings(lambda what, value, step: ValueError(f"{what} became {value} at step {step}"))
    >>> readings.add("losses", rt.tensor(0.5), 1)
    >>> readings.read("losses")
    [0.5]
    >>> readings.add("losses", float("nan"), 2)
    Traceback (most recent call last):
    ...
    ValueError: the loss became nan at step 2
    """

    def __init__(self, diverged: Callable[[str, float, int], Exception]) -> None:
        self._diverged = diverged
        self._read: dict[str, list[float]] = {name: [] for name in NAMES}
        self._unread: list[_Unread] = []

    def add(self, name: str, value: rt.Tensor | float, step: int) -> None:
        """Add the number of a step.

        Raises
        ------
        Exception
            What `diverged` makes of a number that is not finite, where it is read now.
        """
        if not isinstance(value, rt.Tensor):
            self._keep(name, value, step)
        elif value.is_cuda:
            self._unread.append(_Unread(name, step, value.detach()))
            if len(self._unread) >= _MOST_UNREAD:
                self.read(name)
        else:
            self._keep(name, value.item(), step)

    def read(self, name: str) -> list[float]:
        """Return the numbers of a name, after all that are still on the device have been copied in one transfer.

        Raises
        ------
        Exception
            What `diverged` makes of the first that is not finite.
        """
        order = list(NAMES)
        unread = sorted(self._unread, key=lambda number: (number.step, order.index(number.name)))
        self._unread = []
        for (of, step, _), value in zip(unread, numbers_of([u.value for u in unread]), strict=True):
            self._keep(of, value, step)
        return self._read[name]

    def clear(self) -> None:
        """Forget all numbers: a row of metrics has been made of them."""
        self._read = {name: [] for name in NAMES}

    def restore(self, numbers: Mapping[str, Sequence[float]]) -> None:
        """Take over the numbers of a checkpoint."""
        self._read, self._unread = {name: list(numbers[name]) for name in NAMES}, []

    def _keep(self, name: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise self._diverged(NAMES[name], value, step)
        self._read[name].append(value)


def numbers_of(scalars: Sequence[rt.Tensor]) -> list[float]:
    """Return the numbers of tensors of one element each, which are on one device, in one transfer.

    Examples
    --------
    >>> numbers_of([rt.tensor(0.5), rt.tensor([2.0], dtype="float64")])
    [0.5, 2.0]
    """
    if not scalars:
        return []
    numbers: list[float] = rt.stack([scalar.detach().double().reshape(()) for scalar in scalars]).tolist()
    return numbers
