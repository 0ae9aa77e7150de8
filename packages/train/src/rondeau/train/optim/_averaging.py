"""How averaged weights take in new ones: one tensor at a time, or all tensors of a dtype."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from rondeau import tensor as rt
from rondeau.train._checks import UP_TO_ONE, check_number

Average: TypeAlias = Callable[[rt.Tensor, rt.Tensor, rt.Tensor], rt.Tensor]
"""``(averaged, current, num_averaged) -> averaged``, a new tensor."""

MultiAverage: TypeAlias = Callable[[Sequence[rt.Tensor], Sequence[rt.Tensor], rt.Tensor], None]
"""``(averaged, current, num_averaged)``: changes the averaged tensors, which have one dtype, in their place."""


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    r"""Return the update of an exponential moving average, of one tensor.

    .. math:: a \leftarrow \text{decay} \cdot a + (1 - \text{decay}) \cdot w

    Parameters
    ----------
    decay : float
        In [0, 1].

    Returns
    -------
    callable
        ``(averaged, current, num_averaged) -> averaged``.

    Raises
    ------
    TypeError, ValueError
        If `decay` is not a number in [0, 1].

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> get_ema_avg_fn(0.75)(rt.tensor(1.0), rt.tensor(5.0), rt.tensor(3)).item()
    2.0
    """
    check_number("decay", decay, UP_TO_ONE)
    return partial(_ema, decay)


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAverage:
    """Return the update of an exponential moving average, of many tensors in their place.

    Parameters
    ----------
    decay : float
        In [0, 1]; see `get_ema_avg_fn`.

    Returns
    -------
    callable
        ``(averaged, current, num_averaged) -> None`` of two lists of tensors of one dtype.

    Raises
    ------
    TypeError, ValueError
        If `decay` is not a number in [0, 1].

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> averaged = rt.tensor(1.0)
    >>> get_ema_multi_avg_fn(0.75)([averaged], [rt.tensor(5.0)], rt.tensor(3))
    >>> averaged.item()
    2.0
    """
    check_number("decay", decay, UP_TO_ONE)
    return partial(_ema_of_many, decay)


def get_swa_avg_fn() -> Average:
    r"""Return the update of the plain mean of all weights so far, of one tensor.

    .. math:: a \leftarrow a + (w - a) / (n + 1)

    where n is how many the mean is of already.

    Returns
    -------
    callable
        ``(averaged, current, num_averaged) -> averaged``.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> get_swa_avg_fn()(rt.tensor(1.0), rt.tensor(5.0), rt.tensor(3)).item()
    2.0
    """
    return _mean


def get_swa_multi_avg_fn() -> MultiAverage:
    """Return the update of the plain mean of all weights so far, of many tensors in their place.

    Returns
    -------
    callable
        ``(averaged, current, num_averaged) -> None`` of two lists of tensors of one dtype; see `get_swa_avg_fn`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> averaged = rt.tensor(1.0)
    >>> get_swa_multi_avg_fn()([averaged], [rt.tensor(5.0)], rt.tensor(3))
    >>> averaged.item()
    2.0
    """
    return _mean_of_many


# Functions of the module, not of the functions above: a model with averaged weights may be pickled.


@rt.no_grad()
def _ema(decay: float, averaged: rt.Tensor, current: rt.Tensor, num_averaged: rt.Tensor) -> rt.Tensor:
    return averaged * decay + current * (1 - decay)


@rt.no_grad()
def _ema_of_many(
    decay: float, averaged: Sequence[rt.Tensor], current: Sequence[rt.Tensor], num_averaged: rt.Tensor
) -> None:
    for mine, other in zip(averaged, current, strict=True):
        if mine.is_floating_point():
            _interpolate(mine, other, 1 - decay)
        else:
            mine.copy_(mine * decay + other * (1 - decay))


@rt.no_grad()
def _mean(averaged: rt.Tensor, current: rt.Tensor, num_averaged: rt.Tensor) -> rt.Tensor:
    return averaged + (current - averaged) / (num_averaged + 1)


@rt.no_grad()
def _mean_of_many(
    averaged: Sequence[rt.Tensor], current: Sequence[rt.Tensor], num_averaged: rt.Tensor
) -> None:
    if num_averaged.is_cuda:  # to read it would wait
        for mine, other in zip(averaged, current, strict=True):
            mine.copy_(_mean(mine, other, num_averaged))
        return
    count = int(num_averaged) + 1
    for mine, other in zip(averaged, current, strict=True):
        if mine.is_floating_point():
            _interpolate(mine, other, 1 / count)
        else:
            mine.copy_(mine + (other - mine) / count)


def _interpolate(start: rt.Tensor, end: rt.Tensor, weight: float) -> None:
    """Move `start` towards `end`, exactly onto it where the weight is 1: from the end that is nearer, as PyTorch's."""
    if weight < 0.5:
        start.add_(end - start, alpha=weight)
    else:
        start.copy_(end - (end - start) * (1 - weight))
