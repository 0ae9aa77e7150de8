"""A straight line between two factors."""

from rondeau.train._checks import ABOVE_ZERO_UP_TO_ONE, UP_TO_ONE, check_integer, check_number
from rondeau.train.lr_scheduler._scheduler import LRScheduler
from rondeau.train.optim import Optimizer


class LinearLR(LRScheduler):
    r"""The factor of the rate goes in a straight line from `start_factor` to `end_factor`: a warm-up.

    .. math:: \eta_t = \eta_{t-1} \left(1 + \frac{e - s}{T s + (t - 1)(e - s)}\right), \quad t \le T

    with s and e the two factors and T `total_iters`.

    Parameters
    ----------
    optimizer : Optimizer
    start_factor : float
        In (0, 1].
    end_factor : float
        In [0, 1].
    total_iters : int
    last_epoch : int

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> from rondeau.train.optim import SGD
    >>> optimizer = SGD([rt.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [0.5, 0.75, 1.0, 1.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def check_options(self) -> None:
        """Refuse options out of their range."""
        check_number("start_factor", self.start_factor, ABOVE_ZERO_UP_TO_ONE)
        check_number("end_factor", self.end_factor, UP_TO_ONE)
        check_integer("total_iters", self.total_iters, 1, " step")

    def get_lr(self) -> list[float]:
        """Scale the rates by the ratio of two neighbouring points of the line; by 1 after `total_iters`."""
        if self.last_epoch == 0:
            return self._scaled(self.start_factor)
        if self._is_initial or self.last_epoch > self.total_iters:
            return self._scaled(1.0)
        rise = self.end_factor - self.start_factor
        before = self.total_iters * self.start_factor + (self.last_epoch - 1) * rise
        return self._scaled(max(1.0 + rise / before, 0.0))  # the last step to 0 may be rounded to less
