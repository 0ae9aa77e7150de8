"""Learning-rate schedules: torch's names, arguments and values.

Each schedule is a function of the step alone, ``rate(base, step)``, so it does not drift, and resuming one needs
nothing but the step. (torch multiplies the group's rate step by step instead: the values agree up to rounding,
but a rate that was set by hand meanwhile is overwritten here.) Only one schedule may drive a group; chain them
with `SequentialLR`.
"""

import bisect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rondeau.train._checks import check_integer, check_is, check_number, check_state, checked_list
from rondeau.train.optim import Optimizer

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


class LRScheduler(ABC):
    """Base of the schedules that are a function of the step.

    Parameters
    ----------
    optimizer : Optimizer
        Its groups' ``"lr"`` are driven. Their rates now are the base rates, and are kept as ``"initial_lr"``.
    last_epoch : int
        The step before the first one: -1 begins at step 0, which is applied at once.

    Attributes
    ----------
    base_lrs : list of float
        One for each group.
    last_epoch : int
        The present step. (torch's name: a step may be an epoch or a batch.)

    Examples
    --------
    A schedule of one's own is its `rate`:

    >>> from rondeau import tensor as rt, train
    >>> class InverseSquareRoot(train.lr_scheduler.LRScheduler):
    ...     def rate(self, base, step, group=0):
    ...         return base / (1 + step) ** 0.5
    >>> optimizer = train.optim.SGD([rt.zeros(1, requires_grad=True)], lr=0.1)
    >>> scheduler = InverseSquareRoot(optimizer)
    >>> for _ in range(3):
    ...     scheduler.step()
    >>> scheduler.get_last_lr()
    [0.05]
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        check_is("optimizer", optimizer, Optimizer)
        check_integer("last_epoch", last_epoch, -1)
        self.optimizer = optimizer
        self.base_lrs: list[float] = []
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            self.base_lrs.append(group["initial_lr"])
        self.last_epoch = last_epoch
        self.step()

    @abstractmethod
    def rate(self, base: float, step: int, group: int = 0) -> float:
        """Return the rate of parameter group number `group`, whose base rate is `base`, at `step`."""

    def step(self) -> None:
        """Go to the next step and set every group's rate."""
        self.last_epoch += 1
        self._apply()

    def _apply(self) -> None:
        pairs = zip(self.optimizer.param_groups, self.base_lrs, strict=True)
        for i, (group, base) in enumerate(pairs):
            group["lr"] = self.rate(base, self.last_epoch, i)

    def get_last_lr(self) -> list[float]:
        """Return the present rate of every group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the base rates and the step."""
        return {"base_lrs": list(self.base_lrs), "last_epoch": self.last_epoch}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`, and set every group's rate.

        Raises
        ------
        TypeError
            If it, or a part of it, is not of the type that `state_dict` has there.
        ValueError
            If it comes from an optimiser with another number of groups, or of another schedule.
        """
        check_state("a schedule", state_dict, {"base_lrs", "last_epoch"})
        base = _rates("base_lrs", state_dict["base_lrs"])
        if len(base) != len(self.base_lrs):
            raise ValueError(f"expected base rates of {len(self.base_lrs)} parameter groups, got {len(base)}")
        check_integer("last_epoch", state_dict["last_epoch"], 0)
        self.base_lrs = base
        self.last_epoch = int(state_dict["last_epoch"])
        self._apply()


def _rates(name: str, values: Any) -> list[float]:
    rates = checked_list(name, values, "numbers")
    for i, rate in enumerate(rates):
        check_number(f"{name}[{i}]", rate)
    return rates


class ConstantLR(LRScheduler):
    """``factor`` times the base rate for the first `total_iters` steps, then the base rate.

    Parameters
    ----------
    optimizer : Optimizer
    factor : float
        In [0, 1].
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
        check_number("factor", factor)
        check_integer("total_iters", total_iters, 0, " steps")
        if not 0 <= factor <= 1:
            raise ValueError(f"factor: expected 0 <= factor <= 1, got {factor}")
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, step: int, group: int = 0) -> float:
        """Return ``factor base``, or ``base`` from `total_iters` on."""
        return base * self.factor if step < self.total_iters else base


class StepLR(LRScheduler):
    """The rate falls by `gamma` every `step_size` steps: ``base gamma^floor(t / step_size)``.

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
        check_integer("step_size", step_size, 1, " step")
        check_number("gamma", gamma)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, step: int, group: int = 0) -> float:
        """Return ``base gamma^floor(step / step_size)``."""
        return float(base * self.gamma ** (step // self.step_size))


class ExponentialLR(LRScheduler):
    """The rate falls by `gamma` every step: ``base gamma^t``.

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
        check_number("gamma", gamma)
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, step: int, group: int = 0) -> float:
        """Return ``base gamma^step``."""
        return float(base * self.gamma**step)


class LinearLR(LRScheduler):
    """A straight line from ``start_factor base`` to ``end_factor base`` over `total_iters` steps: a warm-up.

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
        check_number("start_factor", start_factor)
        check_number("end_factor", end_factor)
        if not 0 < start_factor <= 1:
            raise ValueError(f"start_factor: expected 0 < start_factor <= 1, got {start_factor}")
        if not 0 <= end_factor <= 1:
            raise ValueError(f"end_factor: expected 0 <= end_factor <= 1, got {end_factor}")
        check_integer("total_iters", total_iters, 1, " step")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, step: int, group: int = 0) -> float:
        """Return the point of the line at `step`; its end from `total_iters` on."""
        part = min(step, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * part)


class CosineAnnealingLR(LRScheduler):
    r"""Half a cosine from the base rate to `eta_min` (Loshchilov, Hutter 2017, eq. 5, without restarts).

    .. math:: \eta_t = \eta_{min} + \tfrac12 (\eta_0 - \eta_{min}) (1 + \cos(\pi t / T_{max}))

    Beyond `T_max` the rate rises again, as torch's.

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
        check_integer("T_max", T_max, 1, " step")
        check_number("eta_min", eta_min)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, step: int, group: int = 0) -> float:
        """Return the cosine's value at `step`."""
        return self.eta_min + (base - self.eta_min) * (1 + math.cos(math.pi * step / self.T_max)) / 2


class LambdaLR(LRScheduler):
    """The base rate times a function of the step.

    Parameters
    ----------
    optimizer : Optimizer
    lr_lambda : callable or sequence of callable
        Step -> factor; one for all groups, or one for each.
    last_epoch : int

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> from rondeau.train.optim import SGD
    >>> optimizer = SGD([rt.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = LambdaLR(optimizer, lambda step: 1 / (1 + step))
    >>> schedule.step()
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        check_is("optimizer", optimizer, Optimizer)
        groups = len(optimizer.param_groups)
        lambdas = (
            [lr_lambda] * groups if callable(lr_lambda) else checked_list("lr_lambda", lr_lambda, "functions")
        )
        for i, function in enumerate(lambdas):
            check_is(f"lr_lambda[{i}]", function, Callable)  # type: ignore[arg-type]
        if len(lambdas) != groups:
            raise ValueError(
                f"lr_lambda: expected {groups} functions, one for each group, got {len(lambdas)}"
            )
        self.lr_lambdas = lambdas
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, step: int, group: int = 0) -> float:
        """Return ``base lr_lambda(step)``."""
        factor = self.lr_lambdas[group](step)
        check_number(f"what lr_lambda gave for step {step}", factor)
        return base * factor


class SequentialLR(LRScheduler):
    """One schedule after the other: a warm-up, then a decay.

    Parameters
    ----------
    optimizer : Optimizer
    schedulers : sequence of LRScheduler
        All of this `optimizer`. Each one counts from 0 when its turn comes.
    milestones : sequence of int
        The step at which the second, third, ... takes over; ascending.
    last_epoch : int

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> from rondeau.train.optim import SGD
    >>> optimizer = SGD([rt.zeros(1, requires_grad=True)], lr=1.0)
    >>> warm_up = LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> schedule = SequentialLR(optimizer, [warm_up, CosineAnnealingLR(optimizer, T_max=2)], milestones=[2])
    >>> rates = []
    >>> for _ in range(5):
    ...     rates += schedule.get_last_lr()
    ...     schedule.step()
    >>> rates
    [0.5, 0.75, 1.0, 0.5, 0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        drivers = checked_list("schedulers", schedulers, "schedules")
        steps = checked_list("milestones", milestones, "steps")
        for i, milestone in enumerate(steps):
            check_integer(f"milestones[{i}]", milestone, 0)
        if len(drivers) < 1 or len(steps) != len(drivers) - 1:
            raise ValueError(
                "expected one milestone less than schedulers, "
                f"got {len(drivers)} schedulers and {len(steps)} milestones"
            )
        if steps != sorted(steps):
            raise ValueError(f"milestones: expected ascending steps, got {steps}")
        for i, scheduler in enumerate(drivers):
            if not isinstance(scheduler, LRScheduler):
                raise TypeError(
                    f"schedulers[{i}]: expected a function of the step, got {type(scheduler).__name__}"
                )
            if scheduler.optimizer is not optimizer:
                raise ValueError(f"schedulers[{i}] drives another optimizer")
        self.schedulers: list[LRScheduler] = drivers
        self.milestones: list[int] = steps
        super().__init__(optimizer, last_epoch)

    def rate(self, base: float, step: int, group: int = 0) -> float:
        """Return the rate of the schedule whose turn it is."""
        turn = bisect.bisect_right(self.milestones, step)
        start = self.milestones[turn - 1] if turn else 0
        return self.schedulers[turn].rate(base, step - start, group)


class ReduceLROnPlateau:
    """Multiply the rate by `factor` when a measured value has stopped improving.

    As torch's class of the same name. `step` takes the value; the next reduction comes after `patience` values in
    a row that were not better than the best by `threshold`, not counting `cooldown` values after a reduction.

    Parameters
    ----------
    optimizer : Optimizer
    mode : {"min", "max"}
        What is better: a smaller value, or a larger one.
    factor : float
        Below 1.
    patience : int
    threshold : float
    threshold_mode : {"rel", "abs"}
        Whether `threshold` is a share of the best value, or a difference.
    cooldown : int
    min_lr : float or sequence of float
        Lower bound, for all groups or for each.
    eps : float
        A reduction smaller than this is not made.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> from rondeau.train.optim import SGD
    >>> optimizer = SGD([rt.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):  # the second value that is no better makes one more than `patience`
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        check_is("optimizer", optimizer, Optimizer)
        for name, value in (("factor", factor), ("threshold", threshold), ("eps", eps)):
            check_number(name, value)
        check_integer("patience", patience, 0)
        check_integer("cooldown", cooldown, 0)
        if factor >= 1.0:
            raise ValueError(f"Factor should be < 1.0, got {factor}")
        if mode not in ("min", "max"):
            raise ValueError(f"mode {mode!r} is unknown; expected 'min' or 'max'")
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold mode {threshold_mode!r} is unknown; expected 'rel' or 'abs'")
        groups = len(optimizer.param_groups)
        given = min_lr if isinstance(min_lr, list | tuple) else [min_lr] * groups
        self.min_lrs = _rates("min_lr", given)
        if len(self.min_lrs) != groups:
            raise ValueError(f"expected {groups} min_lrs, got {len(self.min_lrs)}")
        self.optimizer = optimizer
        self.mode, self.threshold, self.threshold_mode = mode, threshold, threshold_mode
        self.factor, self.patience, self.cooldown, self.eps = factor, patience, cooldown, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self.last_epoch = 0

    def step(self, metrics: float) -> None:
        """Take the next measured value, and reduce the rates if it is time."""
        try:
            value = float(metrics)
        except (TypeError, ValueError):
            raise TypeError(f"metrics: expected one number, got {type(metrics).__name__}") from None
        self.last_epoch += 1
        if self._is_better(value):
            self.best, self.num_bad_epochs = value, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                reduced = max(group["lr"] * self.factor, least)
                if group["lr"] - reduced > self.eps:
                    group["lr"] = reduced
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _is_better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "rel":
            return sign * value < sign * self.best * (1 - sign * self.threshold)
        return sign * value < sign * self.best - self.threshold

    def get_last_lr(self) -> list[float]:
        """Return the present rate of every group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, the counters and the present rates."""
        return {
            "best": self.best,
            "num_bad_epochs": self.num_bad_epochs,
            "cooldown_counter": self.cooldown_counter,
            "last_epoch": self.last_epoch,
            "lrs": self.get_last_lr(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`.

        Raises
        ------
        TypeError
            If it, or a part of it, is not of the type that `state_dict` has there.
        ValueError
            If it comes from an optimiser with another number of groups, or of another schedule.
        """
        check_state("a schedule", state_dict, set(self.state_dict()))
        check_number("best", state_dict["best"])
        for name in ("num_bad_epochs", "cooldown_counter", "last_epoch"):
            check_integer(name, state_dict[name], 0)
        rates = _rates("lrs", state_dict["lrs"])
        if len(rates) != len(self.min_lrs):
            raise ValueError(
                f"lrs: expected the rates of {len(self.min_lrs)} parameter groups, got {len(rates)}"
            )
        self.best = float(state_dict["best"])
        self.num_bad_epochs = int(state_dict["num_bad_epochs"])
        self.cooldown_counter = int(state_dict["cooldown_counter"])
        self.last_epoch = int(state_dict["last_epoch"])
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr
