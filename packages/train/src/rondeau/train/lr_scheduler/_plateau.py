"""Falls where a measured value no longer improves."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

from rondeau.train._checks import (
    ANY,
    AT_LEAST_ZERO,
    BELOW_ONE,
    check_integer,
    check_is,
    check_number,
    check_state,
    plain,
)
from rondeau.train.lr_scheduler._scheduler import checked_last_rates, checked_rates
from rondeau.train.optim import Optimizer


class ReduceLROnPlateau:
    """Multiply the rate by `factor` when a measured value has stopped improving.

    As PyTorch's class of the same name. `step` takes the value; the next reduction comes after `patience` values in
    a row that were not better than the best by `threshold`, not counting `cooldown` values after a reduction.

    Parameters
    ----------
    optimizer : Optimizer
    mode : {"min", "max"}
        What is better: a smaller value, or a larger one.
    factor : float
        In [0, 1).
    patience : int
    threshold : float
    threshold_mode : {"rel", "abs"}
        Whether `threshold` is a share of the best value, or a difference.
    cooldown : int
    min_lr : float or sequence of float
        Lower bound, for all groups, those added later too, or for each.
    eps : float
        A reduction smaller than this is not made.

    Raises
    ------
    TypeError
        If an argument is of another type.
    ValueError
        If an option is out of its range.

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
        self.optimizer = optimizer
        self.mode, self.threshold, self.threshold_mode = mode, threshold, threshold_mode
        self.factor, self.patience, self.cooldown, self.eps = factor, patience, cooldown, eps
        groups = len(optimizer.param_groups)
        self.default_min_lr: float | None = None
        if isinstance(min_lr, Sequence):
            self.min_lrs = checked_rates("min_lr", min_lr)
        else:
            check_number("min_lr", min_lr, AT_LEAST_ZERO)
            self.default_min_lr, self.min_lrs = min_lr, [min_lr] * groups
        self._check_options()
        if len(self.min_lrs) != groups:
            raise ValueError(f"expected {groups} min_lrs, got {len(self.min_lrs)}")
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        self.last_epoch = 0
        self._last_lr = self._present()

    def _check_options(self) -> None:
        check_number("factor", self.factor, BELOW_ONE)
        check_number("threshold", self.threshold)
        check_number("eps", self.eps, AT_LEAST_ZERO)
        check_integer("patience", self.patience, 0)
        check_integer("cooldown", self.cooldown, 0)
        if self.mode not in ("min", "max"):
            raise ValueError(f"mode {self.mode!r} is unknown; expected 'min' or 'max'")
        if self.threshold_mode not in ("rel", "abs"):
            raise ValueError(f"threshold mode {self.threshold_mode!r} is unknown; expected 'rel' or 'abs'")

    def step(self, metrics: float) -> None:
        """Take the next measured value, and reduce the rates if it is time.

        Raises
        ------
        TypeError
            If it is not a number.
        ValueError
            If the rates are to be reduced, and the groups of the optimiser are no longer those that `min_lr` was given
            for. Nothing has changed then.
        """
        try:
            value = float(metrics)
        except (TypeError, ValueError):
            raise TypeError(f"metrics: expected one number, got {type(metrics).__name__}") from None
        best, bad, pause = self.best, self.num_bad_epochs + 1, self.cooldown_counter
        if self._is_better(value):
            best, bad = value, 0
        if pause > 0:
            bad, pause = 0, pause - 1
        if bad > self.patience:
            bad, pause = 0, self.cooldown
            self._reduce()
        self.last_epoch += 1
        self.best, self.num_bad_epochs, self.cooldown_counter = best, bad, pause
        self._last_lr = self._present()

    def _reduce(self) -> None:
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            if self.default_min_lr is None:
                raise ValueError(
                    f"min_lr was given for {len(self.min_lrs)} parameter groups, but the optimizer now has "
                    f"{len(groups)}: set the schedule's min_lrs to one number for each group"
                )
            self.min_lrs = [self.default_min_lr] * len(groups)
        reduced = [
            max(group["lr"] * self.factor, low) for group, low in zip(groups, self.min_lrs, strict=True)
        ]
        for group, rate in zip(groups, reduced, strict=True):
            if group["lr"] - rate > self.eps:
                group["lr"] = rate

    def _is_better(self, value: float) -> bool:
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "rel":
            return sign * value < sign * self.best * (1 - sign * self.threshold)
        return sign * value < sign * self.best - self.threshold

    def _present(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def get_last_lr(self) -> list[float]:
        """Return the rates of all groups as the last step left them."""
        return list(self._last_lr)

    def state_dict(self) -> dict[str, Any]:
        """Return copies of all attributes but the optimizer, whose own state holds the present rates.

        ``"best"`` is None before the first value, since JSON has no infinity.
        """
        state = {name: plain(value) for name, value in vars(self).items() if name != "optimizer"}
        return state | {"best": self.best if math.isfinite(self.best) else None}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a `state_dict`, ours or PyTorch's, options included.

        The rates are left as they are: they come with the optimiser's state.

        Raises
        ------
        TypeError
            If it, or a part of it, is not of the type that `state_dict` has there.
        ValueError
            If it comes from an optimiser with another number of groups, or of another schedule, or an option is out of
            its range. Nothing has changed then.
        """
        names = set(self.state_dict())
        check_state("a schedule", state_dict, names)
        state = {name: copy.copy(state_dict[name]) for name in names}
        for name in ("num_bad_epochs", "cooldown_counter", "last_epoch"):
            check_integer(name, state[name], 0)
        state["_last_lr"] = checked_last_rates(state["_last_lr"], len(self.optimizer.param_groups))
        state["min_lrs"] = checked_rates("min_lrs", state["min_lrs"])
        if len(state["min_lrs"]) != len(self.min_lrs):
            raise ValueError(
                f"min_lrs: expected the bounds of {len(self.min_lrs)} parameter groups, got {len(state['min_lrs'])}"
            )
        if state["default_min_lr"] is not None:
            check_number("default_min_lr", state["default_min_lr"], AT_LEAST_ZERO)
        loaded = copy.copy(self)
        vars(loaded).update(state)
        loaded._check_options()
        if state["best"] is None:
            state["best"] = math.inf if loaded.mode == "min" else -math.inf
        check_number("best", state["best"], ANY)
        vars(self).update(state)
