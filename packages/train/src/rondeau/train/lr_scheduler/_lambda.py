"""A function of one's own."""

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rondeau.train._checks import check_is, check_number, checked_list
from rondeau.train.lr_scheduler._scheduler import LRScheduler
from rondeau.train.optim import Optimizer


class LambdaLR(LRScheduler):
    """The base rate times a function of the step, whatever other schedules have made of the rate.

    Parameters
    ----------
    optimizer : Optimizer
    lr_lambda : callable or sequence of callable
        Step -> factor; one for all groups, or one for each. The attributes of a callable object are part of the
        schedule's state, functions are not.
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
        self._is_one_for_all = callable(lr_lambda)
        groups = len(optimizer.param_groups)
        lambdas = (
            [lr_lambda] * groups if callable(lr_lambda) else checked_list("lr_lambda", lr_lambda, "functions")
        )
        for i, function in enumerate(lambdas):
            check_is(f"lr_lambda[{i}]", function, Callable)  # type: ignore[arg-type]
        self.lr_lambdas: list[Callable[[int], float]] = lambdas
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:
        """Return ``base lr_lambda(last_epoch)`` for every group."""
        groups = len(self.base_lrs)
        if self._is_one_for_all:
            self.lr_lambdas += [self.lr_lambdas[0]] * (groups - len(self.lr_lambdas))
        if len(self.lr_lambdas) != groups:
            raise ValueError(
                f"lr_lambda: expected {groups} functions, one for each group, got {len(self.lr_lambdas)}"
            )
        factors = [function(self.last_epoch) for function in self.lr_lambdas]
        for factor in factors:
            check_number(f"what lr_lambda gave for step {self.last_epoch}", factor)
        return [base * float(factor) for base, factor in zip(self.base_lrs, factors, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Return copies of all attributes but the optimizer; of ``lr_lambdas`` what callable objects hold."""
        state = super().state_dict()
        del state["_is_one_for_all"]
        return state | {"lr_lambdas": [_attributes(function) for function in self.lr_lambdas]}

    def _checked_state(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        state = super()._checked_state(state_dict)
        held = checked_list("lr_lambdas", state["lr_lambdas"], "states of functions")
        if len(held) != len(self.lr_lambdas):
            raise ValueError(f"expected the states of {len(self.lr_lambdas)} lr_lambdas, got {len(held)}")
        for i, (function, attributes) in enumerate(zip(self.lr_lambdas, held, strict=True)):
            if attributes is not None:
                check_is(f"state of lr_lambda[{i}]", attributes, Mapping)
                if _attributes(function) is None:
                    raise ValueError(f"state of lr_lambda[{i}]: expected None for a function, got attributes")
        return state | {"lr_lambdas": held}

    def _take_over(self, state: dict[str, Any]) -> None:
        held = state.pop("lr_lambdas")
        super()._take_over(state)
        for function, attributes in zip(self.lr_lambdas, held, strict=True):
            vars(function).update(attributes or {})


def _attributes(function: Callable[[int], float]) -> dict[str, Any] | None:
    """Return what a callable object holds; None for a function."""
    plain = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, type)
    return None if isinstance(function, plain) or not hasattr(function, "__dict__") else dict(vars(function))
