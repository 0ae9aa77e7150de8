"""Schedules against torch's, step by step."""

import json
import math

import numpy as np
import pytest

from comparing import assert_close
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


def optimizers(groups=2):
    """Groups with rates of their own, ours and torch's."""

    def make(zeros):
        return [{"params": [zeros(1, requires_grad=True)], "lr": rate} for rate in (0.1, 0.03)[:groups]]

    return optim.SGD(make(rt.zeros)), torch.optim.SGD(make(torch.zeros))


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def assert_same_rates(mine, other, where=""):
    """To the bit."""
    assert [rate.hex() for rate in rates(mine)] == [float(rate).hex() for rate in rates(other)], where


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")
def test_seventy_steps_as_torch(name):
    mine, other = optimizers()
    my_schedule, other_schedule = MAKERS[name](ours, mine), MAKERS[name](theirs, other)
    for step in range(70):
        if name == "warm-up and cosine":  # torch begins the second schedule by its closed form, which rounds
            assert_close(rates(mine), rates(other), rtol=1e-14, what=f"step {step}")
        else:
            assert_same_rates(mine, other, f"step {step}")
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
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    resumed.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    for _ in range(40):
        assert_same_rates(second, first)
        schedule.step()
        resumed.step()


# The options of each kind, drawn.
DRAWN = {
    "ConstantLR": lambda rng: {"factor": rng.uniform(0.05, 1), "total_iters": int(rng.integers(1, 9))},
    "StepLR": lambda rng: {"step_size": int(rng.integers(1, 9)), "gamma": rng.uniform(0.1, 1.2)},
    "ExponentialLR": lambda rng: {"gamma": rng.uniform(0.8, 1.05)},
    "LinearLR": lambda rng: {
        "start_factor": rng.uniform(0.05, 1),
        "end_factor": rng.uniform(0.05, 1),
        "total_iters": int(rng.integers(1, 15)),
    },
    "CosineAnnealingLR": lambda rng: {"T_max": int(rng.integers(1, 25))},
    "LambdaLR": lambda rng: {"lr_lambda": [lambda step: 1 / (1 + 0.1 * step), lambda step: 0.9**step]},
}


def drawn_schedules(rng, mine, other):
    """From one to three schedules of one optimiser, ours and torch's."""
    pairs = []
    for name in rng.choice(list(DRAWN), size=rng.integers(1, 4)):
        options = DRAWN[name](rng)
        pairs.append((getattr(ours, name)(mine, **options), getattr(theirs, name)(other, **options)))
    return pairs


@pytest.mark.parametrize("seed", range(150))
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")
def test_drawn_chains_as_torch(seed):
    """Several schedules, rates set by hand, states loaded, groups added, in any order."""
    rng = np.random.default_rng(seed)
    mine, other = optimizers()
    pairs = drawn_schedules(rng, mine, other)
    # torch refuses a group that is added under a LambdaLR, and cannot take it where a cosine turns.
    takes_groups = not any(isinstance(pair[0], ours.LambdaLR | ours.CosineAnnealingLR) for pair in pairs)
    other.step()
    for step in range(40):
        where = f"step {step} of {[type(pair[0]).__name__ for pair in pairs]}"
        assert_same_rates(mine, other, where)
        event = rng.random()
        if event < 0.05:
            rate, group = rng.uniform(0.001, 1), rng.integers(2)
            mine.param_groups[group]["lr"] = other.param_groups[group]["lr"] = rate
        elif event < 0.08:
            mine.load_state_dict(json.loads(json.dumps(mine.state_dict())))
            for schedule, _ in pairs:
                schedule.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
        elif event < 0.11 and len(mine.param_groups) == 2:  # torch's state has no base rate of an added group
            mine.load_state_dict(other.state_dict())
            for schedule, torch_schedule in pairs:
                schedule.load_state_dict(torch_schedule.state_dict())
        elif event < 0.13 and takes_groups and len(mine.param_groups) == 2:
            mine.add_param_group({"params": [rt.zeros(1, requires_grad=True)], "lr": 0.5})
            other.add_param_group({"params": [torch.zeros(1, requires_grad=True)], "lr": 0.5})
        for i in rng.permutation(len(pairs)):
            pairs[i][0].step()
            pairs[i][1].step()
            assert pairs[i][0].get_last_lr() == pairs[i][1].get_last_lr(), where


def test_two_schedules_multiply():
    optimizer = optim.SGD([rt.zeros(1, requires_grad=True)], lr=1.0)
    schedules = ours.ExponentialLR(optimizer, 0.5), ours.StepLR(optimizer, 2, 0.1)
    seen = []
    for _ in range(3):
        seen += rates(optimizer)
        for schedule in schedules:
            schedule.step()
    assert seen == [1.0, 0.5, 0.025]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")
def test_drawn_sequences_as_torch(seed):
    rng = np.random.default_rng(seed)
    mine, other = optimizers()
    pairs = drawn_schedules(rng, mine, other)
    steps = sorted(rng.choice(np.arange(1, 40), len(pairs) - 1, replace=False).tolist())
    schedule = ours.SequentialLR(mine, [pair[0] for pair in pairs], steps)
    torch_schedule = theirs.SequentialLR(other, [pair[1] for pair in pairs], list(steps))
    other.step()
    for step in range(50):
        assert_close(rates(mine), rates(other), rtol=1e-13, what=f"step {step}")
        if step == 20:
            mine.load_state_dict(other.state_dict())
            schedule.load_state_dict(torch_schedule.state_dict())
        schedule.step()
        torch_schedule.step()


def test_a_sequence_may_be_part_of_another():
    optimizer = optim.SGD([rt.zeros(1, requires_grad=True)], lr=1.0)
    inner = ours.SequentialLR(
        optimizer, [ours.ConstantLR(optimizer, 0.5, 9), ours.ExponentialLR(optimizer, 0.5)], [2]
    )
    outer = ours.SequentialLR(optimizer, [ours.ConstantLR(optimizer, 0.25, 9), inner], [3])
    seen = []
    for _ in range(8):
        seen += rates(optimizer)
        outer.step()
    assert seen == [0.25, 0.25, 0.25, 0.5, 0.5, 1.0, 0.5, 0.25]
    state = json.loads(json.dumps(outer.state_dict()))
    outer.step()
    outer.load_state_dict(state)
    assert inner.last_epoch == 5
    assert outer.last_epoch == 8


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("last_epoch", [0, 4, 45])
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")
def test_continues_from_a_last_epoch_as_torch(name, last_epoch):
    options = DRAWN[name](np.random.default_rng(3))
    for make in (getattr(ours, name), getattr(theirs, name)):
        optimizer = optimizers()[make is getattr(theirs, name)]
        with pytest.raises(
            KeyError, match=r"param 'initial_lr' is not specified in param_groups\[0\] when resuming"
        ):
            make(optimizer, **options, last_epoch=last_epoch)
        assert "initial_lr" not in optimizer.param_groups[1]
    mine, other = optimizers()
    for optimizer in (mine, other):
        for group, base in zip(optimizer.param_groups, (0.4, 0.2), strict=True):
            group["initial_lr"] = base
    schedule = getattr(ours, name)(mine, **options, last_epoch=last_epoch)
    torch_schedule = getattr(theirs, name)(other, **options, last_epoch=last_epoch)
    for step in range(30):
        assert_same_rates(mine, other, f"step {step}")
        schedule.step()
        torch_schedule.step()


@pytest.mark.parametrize("name", MAKERS)
def test_a_state_restores_the_options(name):
    """The schedule that loads a state goes on as the one that gave it, whatever it was made with."""
    first, _ = optimizers()
    schedule = MAKERS[name](ours, first)
    second, _ = optimizers()
    made = {
        ours.ConstantLR: lambda o: ours.ConstantLR(o, 0.9, 3),
        ours.StepLR: lambda o: ours.StepLR(o, 2, 0.3),
        ours.ExponentialLR: lambda o: ours.ExponentialLR(o, 0.2),
        ours.LinearLR: lambda o: ours.LinearLR(o, 0.7, 0.6, 3),
        ours.CosineAnnealingLR: lambda o: ours.CosineAnnealingLR(o, 3, 0.5),
    }
    other = made.get(type(schedule), lambda o: MAKERS[name](ours, o))(second)
    for _ in range(5):
        schedule.step()
        other.step()
    second.load_state_dict(first.state_dict())
    other.load_state_dict(schedule.state_dict())
    for _ in range(45):
        schedule.step()
        other.step()
        assert_same_rates(second, first)


class Fall:
    """A function with something to remember."""

    def __init__(self, speed):
        self.speed = speed

    def __call__(self, step):
        return self.speed**step


def test_what_a_callable_object_holds_is_state():
    mine, other = optimizers()
    schedule = ours.LambdaLR(mine, [Fall(0.5), lambda step: 1.0])
    torch_schedule = theirs.LambdaLR(other, [Fall(0.5), lambda step: 1.0])
    assert schedule.state_dict()["lr_lambdas"] == torch_schedule.state_dict()["lr_lambdas"]
    functions = [Fall(0.9), lambda step: 1.0]
    resumed = ours.LambdaLR(optimizers()[0], functions)
    resumed.load_state_dict(torch_schedule.state_dict())
    assert functions[0].speed == 0.5
    with pytest.raises(ValueError, match=r"state of lr_lambda\[1\]: expected None for a function"):
        resumed.load_state_dict(schedule.state_dict() | {"lr_lambdas": [None, {"speed": 1}]})


def added_group(optimizer, **options):
    optimizer.add_param_group({"params": [rt.zeros(1, requires_grad=True)], **options})


def test_a_group_that_is_added_later_is_driven_too():
    for make, expected in (
        (lambda o: ours.LambdaLR(o, lambda step: 1 / (1 + step)), 0.8 / 3),
        (
            lambda o: ours.CosineAnnealingLR(o, 4),
            0.8 * (1 + math.cos(math.pi / 2)) / (1 + math.cos(math.pi / 4)),
        ),
        (
            lambda o: ours.SequentialLR(
                o, [ours.ConstantLR(o, 0.5), ours.LambdaLR(o, lambda step: 0.25)], [2]
            ),
            0.8 / 4,
        ),
    ):
        optimizer, _ = optimizers()
        schedule = make(optimizer)
        schedule.step()
        added_group(optimizer, lr=0.8)
        schedule.step()
        assert rates(optimizer)[2] == pytest.approx(expected, rel=1e-15)
        schedule.load_state_dict(schedule.state_dict())
        for _ in range(10):
            schedule.step()
    optimizer.param_groups.pop()
    with pytest.raises(ValueError, match="drives 3 parameter groups, but its optimizer now has 2"):
        schedule.step()


@pytest.mark.parametrize("name", [*MAKERS, "plateau"])
def test_a_step_that_fails_changes_nothing(name):
    """A function that fails, a rate beyond float64, a removed group: the states and rates stay what they were."""
    optimizer, _ = optimizers()
    make = MAKERS.get(name, lambda lib, o: lib.ReduceLROnPlateau(o, patience=0, min_lr=[0.0, 0.0]))
    schedule = make(ours, optimizer)
    arguments = (1.0,) if name == "plateau" else ()
    for _ in range(3):
        schedule.step(*arguments)
    if name == "plateau":
        added_group(optimizer)
    else:
        optimizer.param_groups.pop()
    before = repr((vars(schedule), optimizer.param_groups))
    with pytest.raises(ValueError, match="parameter groups, but"):
        schedule.step(*arguments)
    assert repr((vars(schedule), optimizer.param_groups)) == before


@pytest.mark.parametrize(
    "make",
    [
        lambda o, failing: ours.LambdaLR(o, [lambda step: 0.5**step, failing]),
        lambda o, failing: ours.SequentialLR(
            o, [ours.ExponentialLR(o, 0.5), ours.LambdaLR(o, [lambda step: 1.0, failing])], [4]
        ),
    ],
)
def test_a_function_that_fails_changes_nothing(make):
    optimizer, _ = optimizers()
    factor = 1.0
    schedule = make(optimizer, lambda step: 1 / factor)
    for _ in range(3):
        schedule.step()
    before = repr((schedule.state_dict(), optimizer.param_groups))
    factor = 0.0
    with pytest.raises(ZeroDivisionError):
        schedule.step()
    assert repr((schedule.state_dict(), optimizer.param_groups)) == before
    factor = math.nan
    with pytest.raises(
        ValueError, match=r"what lr_lambda gave for step \d: expected a finite number, got nan"
    ):
        schedule.step()
    assert repr((schedule.state_dict(), optimizer.param_groups)) == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda o: ours.ExponentialLR(o, 1e99),
            r"ExponentialLR: rates at step 4\[0\]: .* number >= 0, got inf",
        ),
        # The other schedule has taken the rate below eta_min, from where the cosine leads down; torch follows it.
        (
            lambda o: ours.CosineAnnealingLR(o, 6, eta_min=0.01),
            r"CosineAnnealingLR: rates at .* >= 0, got -0",
        ),
    ],
)
def test_a_rate_that_no_update_can_use_is_refused(make, message):
    optimizer, _ = optimizers()
    schedules = make(optimizer), ours.StepLR(optimizer, 3, 0.05)
    with pytest.raises(ValueError, match=message):  # noqa: PT012  # which step it is, the message says
        while True:
            for schedule in schedules:
                before = repr((schedule.state_dict(), optimizer.param_groups))
                schedule.step()
    assert repr((schedules[0].state_dict(), optimizer.param_groups)) == before


def test_a_schedule_that_cannot_begin_changes_nothing():
    optimizer, _ = optimizers()
    before = repr(optimizer.param_groups)
    for make in (
        lambda: ours.LambdaLR(optimizer, [lambda step: 1.0, lambda step: -1.0]),
        lambda: ours.StepLR(optimizer, 1, math.nan),
        lambda: ours.LambdaLR(optimizer, [lambda step: 1.0]),
    ):
        with pytest.raises(ValueError):  # noqa: PT011  # each has its test
            make()
        assert repr(optimizer.param_groups) == before


def test_numbers_of_numpy_can_be_written_as_json():
    optimizer = optim.SGD([rt.zeros(1, requires_grad=True)], lr=np.float32(0.5), momentum=np.int64(0))
    schedule = ours.StepLR(optimizer, np.int64(3), np.float32(0.5))
    plateau = ours.ReduceLROnPlateau(optimizer, patience=np.int64(1), min_lr=[np.float32(0.25)])
    for _ in range(4):
        schedule.step()
        plateau.step(np.float32(1.0))
    json.dumps(
        [optimizer.state_dict()["param_groups"], schedule.state_dict(), plateau.state_dict()], allow_nan=False
    )
    assert rates(optimizer) == [0.25]
    json.dumps(ours.ReduceLROnPlateau(optimizer).state_dict(), allow_nan=False)


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
        if step == 50:
            my_schedule = ours.ReduceLROnPlateau(mine)
            my_schedule.load_state_dict(other_schedule.state_dict())
            assert my_schedule.min_lrs == other_schedule.min_lrs
        value = 1 / (1 + step // 20) + 0.05 * rng.standard_normal()
        my_schedule.step(value)
        other_schedule.step(value)
        assert_same_rates(mine, other, f"step {step}")
        assert my_schedule.get_last_lr() == rates(mine)
        assert my_schedule.num_bad_epochs == other_schedule.num_bad_epochs


def test_plateau_resumes_exactly():
    first, second = optimizers()[0], optimizers()[0]
    schedule = ours.ReduceLROnPlateau(first, patience=1, factor=0.5, cooldown=1)
    resumed = ours.ReduceLROnPlateau(second, patience=1, factor=0.5, cooldown=1)
    for value in (1.0, 1.0, 1.0, 1.0, 0.9, 1.0):
        schedule.step(value)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    resumed.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    for _ in range(10):
        assert_same_rates(second, first)
        schedule.step(1.0)
        resumed.step(1.0)


def test_a_plateau_takes_a_group_that_is_added_later():
    optimizer, _ = optimizers()
    schedule = ours.ReduceLROnPlateau(optimizer, patience=0, factor=0.5, min_lr=0.02)
    added_group(optimizer, lr=0.8)
    for _ in range(2):
        schedule.step(1.0)
    assert rates(optimizer) == [0.05, 0.02, 0.4]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda o: ours.StepLR(o, 0), ValueError, "step_size: expected at least 1 step, got 0"),
        (lambda o: ours.CosineAnnealingLR(o, 0), ValueError, "T_max: expected at least 1 step, got 0"),
        (
            lambda o: ours.LinearLR(o, start_factor=0),
            ValueError,
            r"start_factor: expected a number in \(0, 1\], got 0",
        ),
        (
            lambda o: ours.LinearLR(o, end_factor=2),
            ValueError,
            r"end_factor: expected a number in \[0, 1\], got 2",
        ),
        (lambda o: ours.LinearLR(o, total_iters=0), ValueError, "total_iters: expected at least 1 step"),
        (lambda o: ours.ConstantLR(o, factor=2), ValueError, r"factor: expected a number in \[0, 1\], got 2"),
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
            r"schedulers\[0\]: expected a schedule that is stepped without a value, got Red",
        ),
        (
            lambda o: ours.ReduceLROnPlateau(o, factor=1),
            ValueError,
            r"factor: expected a number in \[0, 1\), got 1",
        ),
        (lambda o: ours.ReduceLROnPlateau(o, mode="best"), ValueError, "mode 'best' is unknown"),
        (
            lambda o: ours.ReduceLROnPlateau(o, threshold_mode="x"),
            ValueError,
            "threshold mode 'x' is unknown",
        ),
        (lambda o: ours.ReduceLROnPlateau(o, min_lr=[0.1]), ValueError, "expected 2 min_lrs, got 1"),
        (
            lambda o: ours.StepLR(o, 1).load_state_dict(ours.StepLR(optimizers(1)[0], 1).state_dict()),
            ValueError,
            "expected base rates of 2 parameter groups, got 1",
        ),
    ],
)
def test_mistakes(make, error, message):
    with pytest.raises(error, match=message):
        make(optimizers()[0])


@pytest.mark.parametrize("steps", [4, 5, 7, 30, 52])
def test_a_line_to_zero_ends_at_zero(steps):
    """With rounding, its last step can be a hair below: no rate at all."""
    optimizer = optim.SGD([rt.zeros(1, requires_grad=True)], lr=0.1)
    schedule = ours.LinearLR(optimizer, start_factor=0.1, end_factor=0.0, total_iters=steps)
    rates = []
    for _ in range(steps + 2):
        rates += schedule.get_last_lr()
        schedule.step()
    expected = [0.1 * 0.1 * max(1 - step / steps, 0) for step in range(steps + 2)]
    assert_close(np.array(rates), expected, atol=1e-16)
    assert min(rates) >= 0
