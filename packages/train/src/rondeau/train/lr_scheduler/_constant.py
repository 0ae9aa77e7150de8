"""A constant factor for a while."""

from rondeau.train._checks import UP_TO_ONE, check_integer, check_number
from rondeau.train.lr_scheduler._scheduler import LRScheduler
from rondeau.train.optim import Optimizer


class ConstantLR(LRScheduler):
    """The rate times `factor` for the first `total_iters` steps, then divided by it again.

    Parameters
    ----------
    optimizer : Optimizer
    factor : float
        In [0, 1]. After a factor of 0, which cannot be divided by, the base rate follows.
    total_iters : int
    last_epoch : int

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> from rondeau.train.optim import SGD
    >>> optimizer = SGD([rt.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = ConstantLR(optimizer, factor=0.5, total_iters=2)
    >>> rates = []
    >>> for _ in range(3):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [0.5, 0.5, 1.0]
    """

    def __init__(
        self, optimizer: Optimizer, factor: float = 1.0 / 3, total_iters: int = 5, last_epoch: int = -1
    ) -> None:
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def check_options(self) -> None:
        """Refuse options out of their range."""
        check_number("factor", self.factor, UP_TO_ONE)
        check_integer("total_iters", self.total_iters, 0, " steps")

    def get_lr(self) -> list[float]:
        """Scale the rates at the first step, and back at step `total_iters`."""
        if self.total_iters == 0 or self.last_epoch not in (0, self.total_iters):
            return self._scaled(1.0)
        if self.last_epoch == 0:
            return self._scaled(self.factor)
        return self._scaled(1.0 / self.factor) if self.factor else list(self.base_lrs)
