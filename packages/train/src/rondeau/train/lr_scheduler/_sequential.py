"""One schedule after the other."""

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

from rondeau.train._checks import check_integer, check_is, check_state, checked_list
from rondeau.train.lr_scheduler._scheduler import LRScheduler
from rondeau.train.optim import Optimizer


class SequentialLR(LRScheduler):
    """One schedule after the other: a warm-up, then a decay.

    Parameters
    ----------
    optimizer : Optimizer
    schedulers : sequence of LRScheduler
        All of this `optimizer`. Each one begins at step 0, from the base rates, when its turn comes.
    milestones : sequence of int
        The step at which the second, third, ... takes over; ascending.
    last_epoch : int
        Only -1: `load_state_dict` continues the schedules.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> from rondeau.train.lr_scheduler import CosineAnnealingLR, LinearLR
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
        check_is("optimizer", optimizer, Optimizer)
        check_integer("last_epoch", last_epoch, -1)
        if last_epoch != -1:
            raise ValueError(f"last_epoch: expected -1, got {last_epoch}; continue with load_state_dict")
        self._schedulers: list[LRScheduler] = checked_list("schedulers", schedulers, "schedules")
        self._milestones: list[int] = checked_list("milestones", milestones, "steps")
        self.optimizer = optimizer
        self.check_options()
        for i, scheduler in enumerate(self._schedulers):
            if not isinstance(scheduler, LRScheduler):
                raise TypeError(
                    f"schedulers[{i}]: expected a schedule that is stepped without a value, "
                    f"got {type(scheduler).__name__}"
                )
            if scheduler.optimizer is not optimizer:
                raise ValueError(f"schedulers[{i}] drives another optimizer")
        self._restart()

    def check_options(self) -> None:
        """Refuse milestones that do not fit the schedules."""
        steps = checked_list("milestones", self._milestones, "steps")
        for i, milestone in enumerate(steps):
            check_integer(f"milestones[{i}]", milestone, 0)
        if not self._schedulers or len(steps) != len(self._schedulers) - 1:
            raise ValueError(
                "expected one milestone less than schedulers, "
                f"got {len(self._schedulers)} schedulers and {len(steps)} milestones"
            )
        if steps != sorted(steps):
            raise ValueError(f"milestones: expected ascending steps, got {steps}")

    def get_lr(self) -> list[float]:
        """Return the rates of the schedule whose turn it is."""
        return self._at(self.last_epoch).get_lr()

    def _at(self, step: int) -> LRScheduler:
        return self._schedulers[bisect.bisect_right(self._milestones, step)]

    def step(self) -> None:
        """Step the schedule whose turn it is, or begin the next one.

        Raises
        ------
        ValueError
            If a rate is not a finite number of at least 0, or a group has been removed from the optimiser.
        """
        step = self.last_epoch + 1
        scheduler = self._at(step)
        if step in self._milestones:
            scheduler._restart()
        else:
            scheduler.step()
        self.last_epoch, self._last_lr = step, scheduler.get_last_lr()

    def _restart(self) -> None:
        first = self._at(0)
        first._restart()
        self.last_epoch, self._last_lr = 0, first.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Return the step, the milestones, the rates set last and the states of the schedules."""
        return {
            "last_epoch": self.last_epoch,
            "_last_lr": list(self._last_lr),
            "_milestones": list(self._milestones),
            "_schedulers": [scheduler.state_dict() for scheduler in self._schedulers],
        }

    def _checked_state(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        check_state("a schedule", state_dict, set(self.state_dict()))
        states = checked_list("_schedulers", state_dict["_schedulers"], "states of schedules")
        if len(states) != len(self._schedulers):
            raise ValueError(f"expected the states of {len(self._schedulers)} schedules, got {len(states)}")
        own = super()._checked_state({**state_dict, "_schedulers": self._schedulers})
        parts = [part._checked_state(state) for part, state in zip(self._schedulers, states, strict=True)]
        return own | {"_schedulers": parts}

    def _take_over(self, state: dict[str, Any]) -> None:
        for scheduler, part in zip(self._schedulers, state.pop("_schedulers"), strict=True):
            scheduler._take_over(part)
        super()._take_over(state)
