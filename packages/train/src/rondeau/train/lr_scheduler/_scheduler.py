"""What the schedules share: the step, the base rates and the state dictionary."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from rondeau.train._checks import (
    AT_LEAST_ZERO,
    check_integer,
    check_is,
    check_number,
    check_state,
    checked_list,
    plain,
)
from rondeau.train.optim import Optimizer


class LRScheduler(ABC):
    """Base of the schedules that are stepped without a measured value.

    Parameters
    ----------
    optimizer : Optimizer
        Its groups' ``"lr"`` are driven. Their rates now are the base rates and are kept as ``"initial_lr"``, unless
        another schedule has done so before.
    last_epoch : int
        The step before the first one. -1 begins at step 0, which is applied at once. Another value continues a
        schedule: the groups must then have their ``"initial_lr"``, from `Optimizer.load_state_dict`.

    Attributes
    ----------
    base_lrs : list of float
        One for each group.
    last_epoch : int
        The present step. (PyTorch's name: a step may be an epoch or a batch.)

    Raises
    ------
    TypeError
        If an argument is of another type.
    ValueError
        If an option, or a rate that follows from it, is out of its range.
    KeyError
        If `last_epoch` is not -1 and a group has no ``"initial_lr"``.

    Notes
    -----
    A group that is added to the optimiser later is driven from the next step on; its base rate is its ``"initial_lr"``
    if it has one, and else its rate at that step. A call that raises has changed nothing.

    Examples
    --------
    A schedule of one's own is its `get_lr`:

    >>> from rondeau import tensor as rt, train
    >>> class InverseSquareRoot(train.lr_scheduler.LRScheduler):
    ...     def get_lr(self):
    ...         return [base / (1 + self.last_epoch) ** 0.5 for base in self.base_lrs]
    >>> optimizer = train.optim.SGD([rt.zeros(1, requires_grad=True)], lr=0.1)
    >>> scheduler = InverseSquareRoot(optimizer)
    >>> for _ in range(3):
    ...     scheduler.step()
    >>> scheduler.get_last_lr()
    [0.05]
    """

    # Whether the rates asked for are the first ones of this object, which come before any step of it.
    _is_initial = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_is("optimizer", optimizer, Optimizer)
        check_integer("last_epoch", last_epoch, -1)
        self.optimizer = optimizer
        self.check_options()
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch != -1 and "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming a schedule with "
                    f"last_epoch={last_epoch}: load the optimizer's state first, or begin with last_epoch=-1"
                )
        self.base_lrs: list[float] = []
        self.last_epoch = last_epoch
        self._go_to(last_epoch + 1, is_initial=True)

    def check_options(self) -> None:  # noqa: B027  # a schedule without options has nothing to check
        """Raise TypeError for an option of a wrong type and ValueError for one out of its range."""

    @abstractmethod
    def get_lr(self) -> list[float]:
        """Return every group's rate at step `last_epoch`, from ``base_lrs`` or the present rates of the groups."""

    def step(self) -> None:
        """Go to the next step and set every group's rate.

        Raises
        ------
        ValueError
            If a rate is not a finite number of at least 0, or a group has been removed from the optimiser.
        """
        self._go_to(self.last_epoch + 1)

    def _go_to(self, step: int, is_initial: bool = False) -> None:
        before = self.last_epoch, self.base_lrs
        try:
            self.base_lrs = self._all_base_lrs()
            self.last_epoch, self._is_initial = step, is_initial
            rates = self._checked(self.get_lr())
        except BaseException:
            self.last_epoch, self.base_lrs = before
            raise
        finally:
            self.__dict__.pop("_is_initial", None)
        for group, base, rate in zip(self.optimizer.param_groups, self.base_lrs, rates, strict=True):
            group.setdefault("initial_lr", base)
            group["lr"] = rate
        self._last_lr = rates

    def _restart(self) -> None:
        """Go to step 0, with the base rates for present ones."""
        present = [group["lr"] for group in self.optimizer.param_groups]
        try:
            for group, base in zip(self.optimizer.param_groups, self._all_base_lrs(), strict=True):
                group["lr"] = base
            self._go_to(0, is_initial=True)
        except BaseException:
            for group, rate in zip(self.optimizer.param_groups, present, strict=True):
                group["lr"] = rate
            raise

    def _all_base_lrs(self) -> list[float]:
        """Return the base rates, those of groups added since the last step too."""
        groups, known = self.optimizer.param_groups, len(self.base_lrs)
        if known > len(groups):
            raise ValueError(
                f"the schedule drives {known} parameter groups, but its optimizer now has {len(groups)}: groups may "
                "be added, not removed; make a new schedule"
            )
        for i, group in enumerate(groups[known:], known):
            if "lr" not in group:
                raise ValueError(
                    f"parameter group {i} of the optimizer has no 'lr' that a schedule could drive"
                )
        return self.base_lrs + [
            group["initial_lr" if "initial_lr" in group else "lr"] for group in groups[known:]
        ]

    def _checked(self, rates: Any) -> list[float]:
        name = f"{type(self).__name__}: rates at step {self.last_epoch}"
        given = checked_rates(name, rates)
        if len(given) != len(self.optimizer.param_groups):
            groups = len(self.optimizer.param_groups)
            raise ValueError(f"{name}: expected {groups}, one for each parameter group, got {len(given)}")
        return given

    def _scaled(self, factor: float) -> list[float]:
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def get_last_lr(self) -> list[float]:
        """Return the rates that this schedule set last, one for each group."""
        return list(self._last_lr)

    def state_dict(self) -> dict[str, Any]:
        """Return copies of all attributes but the optimizer, whose own state holds the present rates."""
        self.base_lrs = self._all_base_lrs()
        return {name: plain(value) for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`, ours or PyTorch's of the same class, options included.

        The rates are left as they are: they come with the optimiser's state.

        Raises
        ------
        TypeError
            If it, or a part of it, is not of the type that `state_dict` has there.
        ValueError
            If it comes from an optimiser with another number of groups, or of another schedule, or an option is out of
            its range. Nothing has changed then.
        """
        self._take_over(self._checked_state(state_dict))

    def _checked_state(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return the part of a state that this schedule has, after checking it."""
        names = set(self.state_dict())
        check_state("a schedule", state_dict, names)
        state = {name: copy.copy(state_dict[name]) for name in names}
        check_integer("last_epoch", state["last_epoch"], -1)  # -1 in PyTorch's states of what is yet to begin
        groups = len(self.optimizer.param_groups)
        state["_last_lr"] = checked_last_rates(state["_last_lr"], groups)
        if "base_lrs" in names:
            state["base_lrs"] = checked_rates("base_lrs", state["base_lrs"])
            if len(state["base_lrs"]) != groups:
                raise ValueError(
                    f"expected base rates of {groups} parameter groups, got {len(state['base_lrs'])}"
                )
        loaded = copy.copy(self)
        vars(loaded).update(state)
        loaded.check_options()
        return state

    def _take_over(self, state: dict[str, Any]) -> None:
        """Continue from a state that has been checked."""
        vars(self).update(state)


def checked_rates(name: str, values: Any) -> list[float]:
    """Return rates as a list of float, or raise unless all are finite numbers of at least 0.

    Examples
    --------
    >>> checked_rates("min_lr", [0.1, float("nan")])
    Traceback (most recent call last):
    ...
    ValueError: min_lr[1]: expected a finite number >= 0, got nan
    """
    rates = checked_list(name, values, "numbers")
    for i, rate in enumerate(rates):
        check_number(f"{name}[{i}]", rate, AT_LEAST_ZERO)
    return [float(rate) for rate in rates]


def checked_last_rates(values: Any, groups: int) -> list[float]:
    """Return the rates that a saved schedule set last: of all groups, but for those that were added after that.

    Examples
    --------
    >>> checked_last_rates([], 2)
    Traceback (most recent call last):
    ...
    ValueError: _last_lr: expected the rates of 1 to 2 parameter groups, got 0
    """
    rates = checked_rates("_last_lr", values)
    if not 1 <= len(rates) <= groups:
        raise ValueError(f"_last_lr: expected the rates of 1 to {groups} parameter groups, got {len(rates)}")
    return rates
