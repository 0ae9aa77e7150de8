"""A fall every so many steps."""

from rondeau.train._checks import AT_LEAST_ZERO, check_integer, check_number
from rondeau.train.lr_scheduler._scheduler import LRScheduler
from rondeau.train.optim import Optimizer


class StepLR(LRScheduler):
    r"""The rate falls by `gamma` every `step_size` steps.

    .. math:: \eta_t = \gamma\, \eta_{t-1} \text{ where } t \text{ is a multiple of the step size, else } \eta_{t-1}

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int
        Steps from fall to fall.
    gamma : float
    last_epoch : int

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> from rondeau.train.optim import SGD
    >>> optimizer = SGD([rt.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = StepLR(optimizer, step_size=2, gamma=0.5)
    >>> rates = []
    >>> for _ in range(5):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def check_options(self) -> None:
        """Refuse options out of their range."""
        check_integer("step_size", self.step_size, 1, " step")
        check_number("gamma", self.gamma, AT_LEAST_ZERO)

    def get_lr(self) -> list[float]:
        """Scale the rates by `gamma` at multiples of `step_size`."""
        falls = self.last_epoch != 0 and self.last_epoch % self.step_size == 0
        return self._scaled(self.gamma if falls else 1.0)
