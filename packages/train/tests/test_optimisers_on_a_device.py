"""Optimisers and averaged weights on a GPU, for which `tools.device_arrays` stands, against those on the CPU."""

import copy

import numpy as np
import pytest
from tools.device_arrays import no_transfers

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.runtime.devices import is_of_device
from rondeau.kernels.runtime.transfers import on_host
from rondeau.train import optim
from rondeau.train.optim import swa_utils

pytestmark = pytest.mark.usefixtures("device_stand_in")

OPTIMISERS = {
    "SGD": lambda p: optim.SGD(p, 0.1, weight_decay=0.1),
    "momentum": lambda p: optim.SGD(p, 0.1, 0.9, dampening=0.2),
    "Nesterov": lambda p: optim.SGD(p, 0.1, 0.9, nesterov=True, maximize=True),
    "Adagrad": lambda p: optim.Adagrad(p, 0.1, initial_accumulator_value=0.5),
    "RMSprop": lambda p: optim.RMSprop(p, 0.1),
    "RMSprop, centered": lambda p: optim.RMSprop(p, 0.1, momentum=0.5, centered=True, weight_decay=0.1),
    "Adam": lambda p: optim.Adam(p, 0.1, weight_decay=0.1),
    "AMSGrad": lambda p: optim.Adam(p, 0.1, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, 0.1),
}
SHAPES = ((3, 4), (5,), (), (0, 2))


def parameters(device, dtype="float32"):
    rng = np.random.default_rng(0)
    return [rt.tensor(rng.normal(size=s).astype(dtype), device=device, requires_grad=True) for s in SHAPES]


def step(optimizer, weights, number):
    rng = np.random.default_rng(number)
    for weight in weights:
        weight.grad = rt.tensor(rng.normal(size=weight.shape).astype(weight.dtype), device=weight.device)
    optimizer.step()


def averages(optimizer):
    """The state, on the CPU."""
    return [{k: on_host(v) for k, v in state.items()} for state in optimizer.state.values()]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_steps_are_those_of_the_cpu_and_copy_nothing(name):
    here, there = parameters("cpu", "float64"), parameters("cuda", "float64")
    ours, theirs = OPTIMISERS[name](there), OPTIMISERS[name](here)
    for number in range(3):
        step(theirs, here, number)
        rng = np.random.default_rng(number)
        for weight in there:
            weight.grad = rt.tensor(rng.normal(size=weight.shape), device="cuda")
        with no_transfers():
            ours.step()
    assert {w.device for w in there} == {"cuda"}
    assert_close([w.detach().cpu() for w in there], [w.detach() for w in here], rtol=1e-12)
    assert_close(averages(ours), averages(theirs), rtol=1e-12)


@pytest.mark.parametrize("name", ["momentum", "Adam"])
def test_averages_follow_their_parameters(name):
    weights, alone = parameters("cpu"), parameters("cpu")
    moving, stays = OPTIMISERS[name](weights), OPTIMISERS[name](alone)
    for number, device in enumerate(("cpu", "cuda", "cpu")):
        for weight in weights:
            weight.grad = None
            weight.data = weight.detach().to(device)
        step(moving, weights, number)
        step(stays, alone, number)
        arrays = [a for state in moving.state.values() for a in state.values() if hasattr(a, "shape")]
        assert {is_of_device(a) for a in arrays} == {device == "cuda"}
    assert_close([w.detach() for w in weights], [w.detach() for w in alone], rtol=1e-6)


@pytest.mark.parametrize("source", ["cpu", "cuda"])
@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_states_are_loaded_where_the_parameters_are(source, target):
    saved = optim.Adam(parameters(source))
    step(saved, saved.param_groups[0]["params"], 0)
    weights = parameters(target)
    loaded = optim.Adam(weights)
    loaded.load_state_dict(copy.deepcopy(saved.state_dict()))
    assert_same_bits(averages(loaded), averages(saved))
    with no_transfers():
        for weight in weights:
            weight.grad = rt.ones_like(weight)
        loaded.step()


def test_a_gradient_on_another_device_is_refused():
    (weight, *_) = weights = parameters("cpu")
    step(optimizer := optim.SGD(weights), weights, 0)
    before = weight.detach().clone()
    weight.data = weight.detach().cuda()
    with pytest.raises(
        ValueError, match="a gradient must be on the device of its parameter, cuda, got one on cpu"
    ):
        optimizer.step()
    assert_same_bits(weight.detach().cpu(), before)


@pytest.mark.parametrize("kind", ["ema", "swa", "plain"])
def test_averaged_weights_are_kept_there_without_waiting(kind):
    options = {
        "ema": {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.75)},
        "swa": {"multi_avg_fn": swa_utils.get_swa_multi_avg_fn()},
        "plain": {},
    }[kind]
    results = []
    for device in ("cpu", "cuda"):
        rt.manual_seed(0)
        model = nn.Linear(3, 2).to(device)
        averaged = swa_utils.AveragedModel(model, device, **options)
        averaged.update_parameters(model)
        for number in range(3):
            nn.init.constant_(model.weight, float(number))
            if device == "cuda":
                with no_transfers():
                    averaged.update_parameters(model)
            else:
                averaged.update_parameters(model)
        results.append(averaged.cpu().state_dict())
    assert_close(results[1], results[0], rtol=1e-6)
    averaged.n_averaged.zero_()
    averaged.update_parameters(model.cpu())  # counts again
    assert_same_bits(averaged.module.weight.detach(), model.weight.detach())


def test_statistics_of_batch_normalisation_are_computed_there():
    batches = [rt.tensor([[0.0], [4.0]]), np.array([[2.0], [10.0]], np.float32)]
    model = nn.BatchNorm1d(1).cuda()
    swa_utils.update_bn(batches, model, "cuda")
    assert (model.running_mean.cpu().tolist(), model.running_var.cpu().tolist()) == ([4.0], [20.0])
