"""Schedules that drive one optimiser in turns, with rates set by hand, states loaded and groups added between."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

from rondeau import tensor as rt
from rondeau.train import lr_scheduler, optim

from ..drawing import NONSENSE, Draw
from ..verdict import Finding, attempt

Factor = Callable[[int], float]

#: Class, what its options may be, and its factor of the base rate at a step where nothing else changes the rate.
SCHEDULES: tuple[tuple[Any, dict[str, tuple[Any, ...]], Callable[[dict[str, Any], int], float]], ...] = (
    (
        lr_scheduler.ConstantLR,
        {"factor": (0.5, 0.125, 1.0), "total_iters": (1, 3, 5)},
        lambda o, t: o["factor"] if t < o["total_iters"] else 1.0,
    ),
    (
        lr_scheduler.StepLR,
        {"step_size": (1, 2, 5), "gamma": (0.5, 0.9, 1.5)},
        lambda o, t: float(o["gamma"] ** (t // o["step_size"])),
    ),
    (lr_scheduler.ExponentialLR, {"gamma": (0.5, 0.9, 1.01)}, lambda o, t: float(o["gamma"] ** t)),
    (
        lr_scheduler.LinearLR,
        {"start_factor": (0.1, 1.0), "end_factor": (0.25, 1.0), "total_iters": (1, 4, 30)},
        lambda o, t: (
            o["start_factor"]
            + (o["end_factor"] - o["start_factor"]) * min(t, o["total_iters"]) / o["total_iters"]
        ),
    ),
    (
        lr_scheduler.CosineAnnealingLR,
        {"T_max": (50, 77)},  # beyond the number of steps: after a rate of 0 there is no ratio
        lambda o, t: (1 + math.cos(math.pi * t / o["T_max"])) / 2,
    ),
)
WRONG: tuple[Any, ...] = (math.nan, math.inf, -1.0, 10**400, 10**5000, *NONSENSE)
"""What no option of a schedule can be."""


def schedules(draw: Draw) -> None:
    """Step up to three schedules in any order: each multiplies the rate that it finds by the ratio of its factors."""
    base = [draw.choose((0.1, 1.0, 0.003)) for _ in range(draw.random.randint(1, 2))]
    optimiser = optim.SGD([{"params": [rt.zeros(1)], "lr": lr} for lr in base])
    rates, made = list(base), []
    for _ in range(draw.random.randint(1, 3)):
        kind, possible, factor = draw.choose(SCHEDULES)
        options = {name: draw.choose(values) for name, values in possible.items()}
        given = dict(options)
        if draw.spoil("an option beyond its range"):
            given[draw.choose(list(options))] = draw.choose(WRONG)
        draw.note("schedule", (kind.__name__, given))
        of_step: Factor = partial(factor, options)
        made.append((attempt(draw, partial(_made, kind, optimiser, given)), of_step))
        rates = [rate * of_step(0) for rate in rates]
    for _ in range(draw.random.randint(1, 40)):
        event = draw.choose(("step", "step", "step", "step", "by hand", "state", "group"))
        scheduler, of_step = draw.choose(made)
        if event == "step":
            before = scheduler.last_epoch
            attempt(draw, scheduler.step, last=False)
            rates = [rate * (of_step(before + 1) / of_step(before)) for rate in rates]
        elif event == "by hand":
            rates[0] = optimiser.param_groups[0]["lr"] = draw.choose((0.5, 0.02))
        elif event == "group" and len(rates) < 3:
            optimiser.add_param_group({"params": [rt.zeros(1)], "lr": 0.25})
            rates.append(0.25)
        elif event == "state":
            _load(draw, scheduler)
        found = [group["lr"] for group in optimiser.param_groups]
        if not all(math.isclose(a, b, rel_tol=1e-10) for a, b in zip(found, rates, strict=True)):
            raise Finding("wrong result", f"the rates are {found}, should be {rates}", "rates of schedules")


def _made(kind: Any, optimiser: optim.Optimizer, options: dict[str, Any]) -> Any:
    return kind(optimiser, **options)


def _load(draw: Draw, scheduler: Any) -> None:
    """Load a schedule's own state, as JSON would keep it, or one that is refused and changes nothing."""
    state = json.loads(json.dumps(scheduler.state_dict(), allow_nan=False))
    before = scheduler.state_dict()
    if draw.spoil("a state beyond its range"):
        state[draw.choose(list(state))] = draw.choose(WRONG)
        try:
            attempt(draw, partial(scheduler.load_state_dict, state))
        finally:
            if scheduler.state_dict() != before:
                raise Finding("changed its input", "a refused state was loaded", "a refused state")
    scheduler.load_state_dict(state)
    if scheduler.state_dict() != before:
        raise Finding("wrong result", f"{before} became {scheduler.state_dict()}", "a state that was loaded")
