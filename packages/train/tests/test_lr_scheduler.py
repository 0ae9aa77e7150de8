"""Schedules against torch's, step by step."""

import json
import math
import warnings

import numpy as np
import pytest

from rondeau import tensor as rt
from rondeau.train import lr_scheduler as ours
from rondeau.train import optim

torch = pytest.importorskip("torch")
theirs = torch.optim.lr_scheduler

MAKERS = {
    "constant": lambda lib, o: lib.ConstantLR(o, factor=0.25, total_iters=7),
    "step": lambda lib, o: lib.StepLR(o, step_size=7, gamma=0.5),
    "exponential": lambda lib, o: lib.ExponentialLR(o, gamma=0.95),
    "linear": lambda lib, o: lib.LinearLR(o, start_factor=0.1, end_factor=0.9, total_iters=30),
    "cosine": lambda lib, o: lib.CosineAnnealingLR(o, T_max=40, eta_min=0.001),
    "cosine, beyond its end": lambda lib, o: lib.CosineAnnealingLR(o, T_max=15),
    "lambda": lambda lib, o: lib.LambdaLR(o, lambda step: 1 / (1 + step)),
    "lambda for each group": lambda lib, o: lib.LambdaLR(o, [lambda step: 0.9**step, lambda step: 1 + step]),
    "warm-up and cosine": lambda lib, o: lib.SequentialLR(
        o,
        [lib.LinearLR(o, start_factor=0.01, total_iters=10), lib.CosineAnnealingLR(o, T_max=60)],
        milestones=[10],
    ),
    "three in a row": lambda lib, o: lib.SequentialLR(
        o,
        [
            lib.ConstantLR(o, factor=0.1, total_iters=4),
            lib.ExponentialLR(o, gamma=0.9),
            lib.StepLR(o, step_size=5),
        ],
        milestones=[4, 30],
    ),
}


def optimizers():
    """Two groups with rates of their own, ours and torch's."""
    make = lambda zeros: [  # noqa: E731
        {"params": [zeros(1, requires_grad=True)]},
        {"params": [zeros(1, requires_grad=True)], "lr": 0.03},
    ]
    return optim.SGD(make(rt.zeros), lr=0.1), torch.optim.SGD(make(torch.zeros), lr=0.1)


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


@pytest.mark.parametrize("name", MAKERS)
def test_seventy_steps_as_torch(name):
    mine, other = optimizers()
    my_schedule = MAKERS[name](ours, mine)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # torch's SequentialLR uses what torch deprecates, and warns of step order
        other_schedule = MAKERS[name](theirs, other)
        for step in range(70):
            np.testing.assert_allclose(
                rates(mine), rates(other), rtol=1e-10, atol=1e-15, err_msg=f"step {step}"
            )
            assert my_schedule.get_last_lr() == rates(mine)
            my_schedule.step()
            other.step()
            other_schedule.step()


@pytest.mark.parametrize("name", MAKERS)
def test_resumes_exactly(name):
    first, _ = optimizers()
    schedule = MAKERS[name](ours, first)
    for _ in range(13):
        schedule.step()
    second, _ = optimizers()
    resumed = MAKERS[name](ours, second)
    resumed.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    for _ in range(40):
        assert rates(first) == rates(second)
        schedule.step()
        resumed.step()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mode": "max", "patience": 2},
        {"factor": 0.5, "patience": 1, "cooldown": 3, "min_lr": 0.004},
        {"threshold": 0.05, "threshold_mode": "abs", "patience": 3, "min_lr": [0.01, 0.02]},
        {"mode": "max", "threshold_mode": "abs", "threshold": 0.1, "patience": 0, "eps": 1e-3},
    ],
    ids=str,
)
def test_plateau_as_torch(options):
    mine, other = optimizers()
    my_schedule, other_schedule = (
        ours.ReduceLROnPlateau(mine, **options),
        theirs.ReduceLROnPlateau(other, **options),
    )
    rng = np.random.default_rng(0)
    for step in range(100):
        value = 1 / (1 + step // 20) + 0.05 * rng.standard_normal()
        my_schedule.step(value)
        other_schedule.step(value)
        np.testing.assert_allclose(rates(mine), rates(other), rtol=1e-12, err_msg=f"step {step}")
        assert my_schedule.get_last_lr() == rates(mine)
        assert my_schedule.num_bad_epochs == other_schedule.num_bad_epochs


def test_plateau_resumes_exactly():
    first, second = optimizers()[0], optimizers()[0]
    schedule = ours.ReduceLROnPlateau(first, patience=1, factor=0.5, cooldown=1)
    resumed = ours.ReduceLROnPlateau(second, patience=1, factor=0.5, cooldown=1)
    for value in (1.0, 1.0, 1.0, 1.0, 0.9, 1.0):
        schedule.step(value)
    resumed.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    for _ in range(10):
        assert rates(first) == rates(second)
        schedule.step(1.0)
        resumed.step(1.0)
    assert math.isclose(rates(first)[0], rates(second)[0], rel_tol=0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda o: ours.StepLR(o, 0), ValueError, "step_size: expected at least 1 step, got 0"),
        (lambda o: ours.CosineAnnealingLR(o, 0), ValueError, "T_max: expected at least 1 step, got 0"),
        (lambda o: ours.LinearLR(o, start_factor=0), ValueError, "expected 0 < start_factor <= 1, got 0"),
        (lambda o: ours.LinearLR(o, end_factor=2), ValueError, "expected 0 <= end_factor <= 1, got 2"),
        (lambda o: ours.LinearLR(o, total_iters=0), ValueError, "total_iters: expected at least 1 step"),
        (lambda o: ours.ConstantLR(o, factor=2), ValueError, "expected 0 <= factor <= 1, got 2"),
        (lambda o: ours.LambdaLR(o, [abs]), ValueError, "expected 2 functions, one for each group, got 1"),
        (lambda o: ours.StepLR("adam", 1), TypeError, "optimizer: expected Optimizer, got str"),
        (lambda o: ours.SequentialLR(o, [], []), ValueError, "one milestone less than schedulers"),
        (
            lambda o: ours.SequentialLR(o, [ours.StepLR(o, 1)] * 3, [5, 2]),
            ValueError,
            r"milestones: expected ascending steps, got \[5, 2\]",
        ),
        (
            lambda o: ours.SequentialLR(o, [ours.StepLR(optimizers()[0], 1)], []),
            ValueError,
            r"schedulers\[0\] drives another optimizer",
        ),
        (
            lambda o: ours.SequentialLR(o, [ours.ReduceLROnPlateau(o)], []),
            TypeError,
            r"schedulers\[0\]: expected a function of the step, got ReduceLROnPlateau",
        ),
        (lambda o: ours.ReduceLROnPlateau(o, factor=1), ValueError, "Factor should be < 1.0, got 1"),
        (lambda o: ours.ReduceLROnPlateau(o, mode="best"), ValueError, "mode 'best' is unknown"),
        (
            lambda o: ours.ReduceLROnPlateau(o, threshold_mode="x"),
            ValueError,
            "threshold mode 'x' is unknown",
        ),
        (lambda o: ours.ReduceLROnPlateau(o, min_lr=[0.1]), ValueError, "expected 2 min_lrs, got 1"),
        (
            lambda o: ours.StepLR(o, 1).load_state_dict({"base_lrs": [1.0], "last_epoch": 0}),
            ValueError,
            "expected base rates of 2 parameter groups, got 1",
        ),
    ],
)
def test_mistakes(make, error, message):
    with pytest.raises(error, match=message):
        make(optimizers()[0])
