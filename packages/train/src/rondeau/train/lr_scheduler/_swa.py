"""From the present rate to the constant one of averaged weights."""

import math

from rondeau.train._checks import AT_LEAST_ZERO, check_integer, check_is, check_number, checked_list
from rondeau.train.lr_scheduler._scheduler import LRScheduler
from rondeau.train.optim import Optimizer


class SWALR(LRScheduler):
    r"""The rate goes to `swa_lr` within `anneal_epochs` steps, and stays there, while weights are averaged.

    .. math:: \eta_t = \alpha_t \, \eta_\text{swa} + (1 - \alpha_t) \, \eta_0

    with :math:`\alpha_t` from 0 to 1 along half a cosine, or a straight line.

    Parameters
    ----------
    optimizer : Optimizer
    swa_lr : float or sequence of float
        One for all groups, or one each; kept in them as ``"swa_lr"``.
    anneal_epochs : int
        Steps; with 0 the rate is `swa_lr` at once.
    anneal_strategy : {"cos", "linear"}
    last_epoch : int

    Raises
    ------
    TypeError
        If an argument is of another type.
    ValueError
        If one is out of its range, or the rates are not one for each group.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> from rondeau.train.optim import SGD
    >>> optimizer = SGD([rt.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = SWALR(optimizer, swa_lr=0.5, anneal_epochs=2, anneal_strategy="linear")
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [1.0, 0.75, 0.5, 0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float] | tuple[float, ...],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ) -> None:
        check_is("optimizer", optimizer, Optimizer)
        groups = optimizer.param_groups
        rates = (
            checked_list("swa_lr", swa_lr, "numbers")
            if isinstance(swa_lr, (list, tuple))
            else [swa_lr] * len(groups)
        )
        for i, rate in enumerate(rates):
            check_number("swa_lr" if rates[0] is swa_lr else f"swa_lr[{i}]", rate, AT_LEAST_ZERO)
        if len(rates) != len(groups):
            raise ValueError(
                f"swa_lr: expected {len(groups)} rates, one for each parameter group, got {len(rates)}"
            )
        self.anneal_epochs, self._anneal_strategy = anneal_epochs, anneal_strategy
        self.check_options()
        for group, rate in zip(groups, rates, strict=True):
            group["swa_lr"] = float(rate)
        super().__init__(optimizer, last_epoch)

    def check_options(self) -> None:
        """Refuse options out of their range."""
        check_integer("anneal_epochs", self.anneal_epochs, 0, " steps")
        if self._anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy: expected 'cos' or 'linear', got {self._anneal_strategy!r}")

    def get_lr(self) -> list[float]:
        """Return the rates on the way; where each began follows from where it is."""
        step = max(1, self.last_epoch) if self.anneal_epochs == 0 else self.last_epoch
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            end = group["swa_lr"]
            start = end if before == 1 else (group["lr"] - before * end) / (1 - before)
            rates.append(end * now + start * (1 - now))
        return rates

    def _share(self, step: int) -> float:
        """Return how much of the way is done after a step."""
        way = max(0, min(1, step / max(1, self.anneal_epochs)))
        return way if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * way)) / 2
