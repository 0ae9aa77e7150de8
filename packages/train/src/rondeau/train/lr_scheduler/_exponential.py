"""A fall at every step."""

from rondeau.train._checks import AT_LEAST_ZERO, check_number
from rondeau.train.lr_scheduler._scheduler import LRScheduler
from rondeau.train.optim import Optimizer


class ExponentialLR(LRScheduler):
    r"""The rate falls by `gamma` every step: :math:`\eta_t = \gamma\, \eta_{t-1}`.

    Parameters
    ----------
    optimizer : Optimizer
    gamma : float
    last_epoch : int

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> from rondeau.train.optim import SGD
    >>> optimizer = SGD([rt.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = ExponentialLR(optimizer, gamma=0.5)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [1.0, 0.5, 0.25, 0.125]
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def check_options(self) -> None:
        """Refuse a `gamma` out of its range."""
        check_number("gamma", self.gamma, AT_LEAST_ZERO)

    def get_lr(self) -> list[float]:
        """Scale the rates by `gamma`."""
        return self._scaled(1.0 if self._is_initial else self.gamma)
