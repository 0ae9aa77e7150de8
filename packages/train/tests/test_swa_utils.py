"""Averaged weights against torch's."""

import copy
import pickle

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.train import optim
from rondeau.train.optim import swa_utils as ours

torch = pytest.importorskip("torch")
theirs = torch.optim.swa_utils

WAYS = {
    "plain mean": lambda lib: {},
    "mean, given": lambda lib: {"avg_fn": lib.get_swa_avg_fn()},
    "mean of many": lambda lib: {"multi_avg_fn": lib.get_swa_multi_avg_fn()},
    "ema": lambda lib: {"avg_fn": lib.get_ema_avg_fn(0.9)},
    "ema of many": lambda lib: {"multi_avg_fn": lib.get_ema_multi_avg_fn(0.9)},
    "short ema of many": lambda lib: {"multi_avg_fn": lib.get_ema_multi_avg_fn(0.3)},
    "one of one's own": lambda lib: {
        "avg_fn": lambda averaged, current, n: (averaged * n + current) / (n + 1)
    },
}


def pair(dtype="float32"):
    """A model with weights and buffers of two dtypes, ours and torch's."""
    other = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    mine = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    if dtype == "float64":
        other, mine = other.double(), mine.double()
    mine.load_state_dict(other.state_dict())
    return mine, other


def change(mine, other, rng):
    """Train both on a batch, as it were: new weights, and statistics of another batch."""
    state = {
        name: rng.standard_normal(tuple(value.shape)).astype(np.asarray(value).dtype)
        if value.is_floating_point()
        else np.asarray(rng.integers(1, 50))
        for name, value in other.state_dict().items()
    }
    other.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    mine.load_state_dict({name: rt.from_numpy(value) for name, value in state.items()})


@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_averages_are_those_of_torch(way, use_buffers, dtype):
    rng = np.random.default_rng(0)
    mine, other = pair(dtype)
    averaged = ours.AveragedModel(mine, use_buffers=use_buffers, **WAYS[way](ours))
    # PyTorch's mean of many rounds 1 / (n + 1) to float32, and fails for integers: the plain mean is its oracle.
    same = "plain mean" if way == "mean of many" else way
    expected = theirs.AveragedModel(other, use_buffers=use_buffers, **WAYS[same](theirs))
    for _ in range(5):
        change(mine, other, rng)
        averaged.update_parameters(mine)
        expected.update_parameters(other)
        assert sorted(averaged.state_dict()) == sorted(expected.state_dict())
        rounding = np.finfo(dtype).eps
        assert_close(averaged.state_dict(), expected.state_dict(), rtol=4 * rounding, atol=rounding)
    assert averaged.n_averaged.item() == 5
    twin = ours.AveragedModel(mine)
    twin.load_state_dict(expected.state_dict())
    assert_same_bits(twin.state_dict(), expected.state_dict())


def test_the_average_is_independent_of_the_model_and_computes_what_it_does():
    mine, _ = pair()
    averaged = ours.AveragedModel(mine)
    averaged.update_parameters(mine)
    x = rt.tensor(np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32))
    expected = mine.eval()(x)
    assert_same_bits(averaged.eval()(x), expected)
    optimizer = optim.SGD(mine.parameters(), lr=1.0)
    mine(x).square().sum().backward()
    optimizer.step()
    assert_same_bits(averaged(x), expected)
    assert all(parameter.is_leaf and parameter.requires_grad for parameter in averaged.parameters())


@pytest.mark.parametrize("way", [way for way in WAYS if way != "one of one's own"])
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copy_averages_as_the_original_does(way, duplicate):
    rng = np.random.default_rng(0)
    mine, other = pair()
    averaged = ours.AveragedModel(mine, **WAYS[way](ours))
    averaged.update_parameters(mine)
    twin = duplicate(averaged)
    change(mine, other, rng)
    for model in (averaged, twin):
        model.update_parameters(mine)
    assert_same_bits(twin.state_dict(), averaged.state_dict())


def test_tied_weights_stay_tied():
    model = nn.LanguageModel(5, "gru", 4, embedding_size=4, tie_weights=True)
    averaged = ours.AveragedModel(model, multi_avg_fn=ours.get_ema_multi_avg_fn(0.5))
    averaged.update_parameters(model)
    averaged.update_parameters(model)
    assert averaged.module.head.weight is averaged.module.embedding.weight
    assert_close(averaged.module.head.weight, model.head.weight, rtol=1e-6)


def test_statistics_of_batch_normalisation_are_those_of_torch():
    rng = np.random.default_rng(0)
    mine, other = pair()
    batches = [(rng.standard_normal((n, 3)).astype(np.float32), "a target") for n in (4, 7)]
    mine[1].momentum = other[1].momentum = 0.3
    mine.eval()
    other.eval()
    ours.update_bn(batches, mine)
    theirs.update_bn([(torch.from_numpy(x), y) for x, y in batches], other)
    assert_close(mine.state_dict(), other.state_dict(), rtol=1e-5, atol=1e-6)
    assert (mine.training, mine[1].momentum) == (False, 0.3)
    with pytest.raises(ValueError, match="BatchNorm1d: input"):
        ours.update_bn([np.zeros((2, 5, 5, 5), np.float32)], nn.Sequential(mine[1]).train())
    assert mine[1].momentum == 0.3


@pytest.mark.parametrize("strategy", ["cos", "linear"])
@pytest.mark.parametrize("epochs", [0, 1, 6])
def test_rates_are_those_of_torch(strategy, epochs):
    def make(lib, zeros):
        groups = [{"params": [zeros(1, requires_grad=True)], "lr": rate} for rate in (0.1, 0.03)]
        return lib.SGD(groups)

    mine, other = make(optim, rt.zeros), make(torch.optim, torch.zeros)
    schedule = ours.SWALR(mine, [0.05, 0.2], epochs, strategy)
    expected = theirs.SWALR(other, [0.05, 0.2], epochs, strategy)
    for step in range(9):
        if step == 4:  # from another object, and from torch's state
            for group in mine.param_groups:
                group["initial_lr"] = group["lr"]
            schedule = ours.SWALR(mine, 1.0, 3)
            for group, theirs_ in zip(mine.param_groups, other.param_groups, strict=True):
                group |= {name: theirs_[name] for name in ("lr", "swa_lr", "initial_lr")}
            schedule.load_state_dict(copy.deepcopy(expected.state_dict()))
        for group, theirs_ in zip(mine.param_groups, other.param_groups, strict=True):
            assert group["lr"] == pytest.approx(theirs_["lr"], rel=1e-14)
        schedule.step()
        other.step()  # PyTorch warns where the schedule is first
        expected.step()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ours.get_ema_avg_fn(1.5), ValueError, r"decay: expected a number in \[0, 1\], got 1.5"),
        (lambda: ours.get_ema_multi_avg_fn("high"), TypeError, "decay: expected a number, got str"),
        (lambda: ours.AveragedModel(3), TypeError, "model: expected Module, got int"),
        (
            lambda: ours.AveragedModel(nn.Linear(1, 1), avg_fn=0.9),
            TypeError,
            "avg_fn: expected a function, got float",
        ),
        (
            lambda: ours.AveragedModel(
                nn.Linear(1, 1), None, ours.get_swa_avg_fn(), ours.get_swa_multi_avg_fn()
            ),
            ValueError,
            "expected one of them at most, got both",
        ),
        (
            lambda: ours.AveragedModel(nn.Linear(2, 1)).update_parameters(nn.Linear(3, 1)),
            ValueError,
            r"its weight is float32 of shape \(1, 2\), the model's is float32 of shape \(1, 3\)",
        ),
        (
            lambda: ours.AveragedModel(nn.Linear(2, 1, bias=False)).update_parameters(nn.Linear(2, 1)),
            ValueError,
            r"its bias is none, the model's is float32 of shape \(1,\)",
        ),
        (
            lambda: ours.SWALR(optim.SGD([rt.zeros(1)], lr=1.0), [0.1, 0.2]),
            ValueError,
            "swa_lr: expected 1 rates, one for each parameter group, got 2",
        ),
        (
            lambda: ours.SWALR(optim.SGD([rt.zeros(1)], lr=1.0), 0.1, anneal_strategy="square"),
            ValueError,
            "anneal_strategy: expected 'cos' or 'linear', got 'square'",
        ),
        (lambda: ours.update_bn([], 3), TypeError, "model: expected Module, got int"),
    ],
)
def test_wrong_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
