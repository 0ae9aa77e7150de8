"""Half a cosine."""

import math

from rondeau.train._checks import AT_LEAST_ZERO, check_integer, check_number
from rondeau.train.lr_scheduler._scheduler import LRScheduler
from rondeau.train.optim import Optimizer


class CosineAnnealingLR(LRScheduler):
    r"""Half a cosine from the base rate to `eta_min` (Loshchilov, Hutter 2017, eq. 5, without restarts).

    .. math:: \eta_t = \eta_{min} + \frac{1 + \cos(\pi t / T_{max})}{1 + \cos(\pi (t - 1) / T_{max})}
              (\eta_{t-1} - \eta_{min})

    which is :math:`\eta_{min} + \frac12 (\eta_0 - \eta_{min}) (1 + \cos(\pi t / T_{max}))` where nothing else changes
    the rate. Beyond `T_max` the rate rises again, as PyTorch's.

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int
        Steps to the minimum.
    eta_min : float
    last_epoch : int

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> from rondeau.train.optim import SGD
    >>> optimizer = SGD([rt.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = CosineAnnealingLR(optimizer, T_max=2)
    >>> rates = []
    >>> for _ in range(3):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [1.0, 0.5, 0.0]
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1) -> None:
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def check_options(self) -> None:
        """Refuse options out of their range."""
        check_integer("T_max", self.T_max, 1, " step")
        check_number("eta_min", self.eta_min, AT_LEAST_ZERO)

    def get_lr(self) -> list[float]:
        """Scale the rates' distances from `eta_min` by the ratio of two neighbouring points of the cosine."""
        if self._is_initial:
            return self._scaled(1.0)
        groups = self.optimizer.param_groups
        if (self.last_epoch - 1 - self.T_max) % (
            2 * self.T_max
        ) == 0:  # the point before is 0: up from it by addition
            return [
                group["lr"] + (base - self.eta_min) * (1 - math.cos(math.pi / self.T_max)) / 2
                for group, base in zip(groups, self.base_lrs, strict=True)
            ]
        ratio = self._height(self.last_epoch) / self._height(self.last_epoch - 1)
        return [ratio * (group["lr"] - self.eta_min) + self.eta_min for group in groups]

    def _height(self, step: int) -> float:
        return 1 + math.cos(math.pi * step / self.T_max)
