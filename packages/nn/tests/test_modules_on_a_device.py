"""Modules on a GPU, for which `tools.device_arrays` stands: they move, load, and are initialised and clipped there."""

import copy
import math
import pickle

import numpy as np
import pytest
from tools.device_arrays import no_transfers, transfers

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn.utils import parametrizations, parametrize

pytestmark = [
    pytest.mark.usefixtures("device_stand_in"),
    pytest.mark.host_only("it moves tensors to the device itself"),
]


def model():
    rt.manual_seed(0)
    made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    made.register_buffer("table", rt.arange(3), persistent=False)
    return made


def devices_of(module):
    return {str(t.device) for t in (*module.parameters(), *module.buffers())}


def test_a_module_moves_with_gradients_and_buffers_and_keeps_its_parameters():
    moved, stays = model(), model()
    moved(rt.ones(5, 3)).sum().backward()
    stays(rt.ones(5, 3)).sum().backward()
    parameters = list(moved.parameters())
    for move in (lambda m: m.cuda(), lambda m: m.cpu(), lambda m: m.to("cuda:0"), lambda m: m.cuda("cuda")):
        assert move(moved) is moved
    assert devices_of(moved) == {p.grad.device for p in parameters} == {"cuda"}
    assert all(p is q for p, q in zip(parameters, moved.parameters(), strict=True))
    for ours, theirs in zip(parameters, stays.parameters(), strict=True):
        assert_same_bits(ours.grad.cpu(), theirs.grad)
    assert_same_bits(moved.cpu().state_dict(), stays.state_dict())
    assert moved.to("cuda", rt.float64)[0].weight.dtype == rt.float64
    assert (moved[1].num_batches_tracked.dtype, moved.table.dtype) == ("int64", "int64")
    assert moved.to(rt.ones(1))[0].weight.device == "cpu"
    with pytest.raises(ValueError, match="expected the GPU, 'cuda' or 0, got device 'cpu'"):
        moved.cuda("cpu")


def test_a_module_whose_copy_does_not_fit_stays_whole(device_stand_in, monkeypatch):
    moved = model()
    asarray, calls = device_stand_in.asarray, []

    def full(*args, **options):
        calls.append(args)
        if len(calls) == 3:
            raise MemoryError
        return asarray(*args, **options)

    monkeypatch.setitem(vars(device_stand_in), "asarray", full)
    with pytest.raises(MemoryError):
        moved.cuda()
    assert devices_of(moved) == {"cpu"}


def test_state_dicts_are_loaded_where_the_parameters_are(tmp_path):
    here, there = model(), model().cuda()
    rt.manual_seed(1)
    for parameter in here.parameters():
        nn.init.normal_(parameter)
    nn.save_safetensors(here.state_dict(), tmp_path / "here.safetensors")
    for state in (
        here.state_dict(),
        tmp_path / "here.safetensors",
        {k: v.double() for k, v in here.state_dict().items()},
    ):
        there.load_state_dict(model().state_dict())
        there.load_state_dict(state)
        assert devices_of(there) == {"cuda"}
        assert_same_bits(copy.deepcopy(there).cpu().state_dict(), here.state_dict())
    nn.save_safetensors(there.state_dict(), tmp_path / "there.safetensors")
    fresh = model()
    fresh.load_state_dict(tmp_path / "there.safetensors")
    assert_same_bits(fresh.state_dict(), here.state_dict())
    fresh = model()
    fresh.load_state_dict(there.state_dict())
    assert devices_of(fresh) == {"cpu"}
    fresh.load_state_dict(there.state_dict(), assign=True)
    assert fresh[0].weight.device == "cuda"
    with pytest.raises(RuntimeError, match=r"size mismatch for 0\.weight"):
        there.load_state_dict({**here.state_dict(), "0.weight": rt.ones(1, device="cuda")})
    beyond = {**here.state_dict(), "0.bias": rt.full((4,), 1e300, dtype="float64", device="cuda")}
    with pytest.raises(RuntimeError, match=r"0\.bias: 1e\+300 is out of range for float32"):
        there.load_state_dict(beyond)


def test_copies_and_pickles_stay_on_the_device():
    there = model().cuda()
    for twin in (copy.deepcopy(there), pickle.loads(pickle.dumps(there))):
        assert devices_of(twin) == {"cuda"}
        assert_same_bits(twin.cpu().state_dict(), model().state_dict())


@pytest.mark.parametrize("parametrization", ["weight_norm", "spectral_norm", "orthogonal"])
def test_parametrised_weights_move(parametrization):
    rt.manual_seed(0)
    layer = getattr(parametrizations, parametrization)(nn.Linear(3, 3))
    layer.eval()
    expected = layer.weight.detach()
    layer.cuda()
    assert devices_of(layer) == {"cuda"}
    assert layer.weight.device == "cuda"
    assert_close(layer.weight.detach().cpu(), expected, rtol=1e-6, atol=1e-7)
    layer.weight.sum().backward()
    assert {p.grad.device for p in layer.parametrizations.parameters()} == {"cuda"}
    parametrize.remove_parametrizations(layer, "weight")
    assert layer.weight.device == "cuda"


INITIALISERS = {
    "uniform_": lambda w: nn.init.uniform_(w, -1, 1),
    "normal_": lambda w: nn.init.normal_(w, 1, 2),
    "constant_": lambda w: nn.init.constant_(w, 3),
    "eye_": nn.init.eye_,
    "xavier_uniform_": nn.init.xavier_uniform_,
    "xavier_normal_": nn.init.xavier_normal_,
    "kaiming_uniform_": nn.init.kaiming_uniform_,
    "kaiming_normal_": nn.init.kaiming_normal_,
}


@pytest.mark.parametrize("name", INITIALISERS)
def test_weights_are_initialised_there(name):
    weight = rt.empty(40, 50, device="cuda")
    with no_transfers():
        assert INITIALISERS[name](weight) is weight
    here = INITIALISERS[name](rt.empty(40, 50))
    for moment in (lambda w: w.mean(), lambda w: w.std()):
        assert_close(moment(weight.cpu()), moment(here), rtol=0.1, atol=0.1)
    assert abs(weight.cpu().numpy()).max() <= abs(here.numpy()).max() * 2


def test_orthogonal_weights_are_those_of_the_cpu():
    here, there = (
        nn.init.orthogonal_(rt.empty(3, 5, device=device), generator=rt.Generator(0))
        for device in ("cpu", "cuda")
    )
    assert there.device == "cuda"
    assert_same_bits(there.cpu(), here)


def test_layers_are_made_there():
    with no_transfers():
        layer = nn.Linear(3, 4, device="cuda", dtype="float64")
    assert (devices_of(layer), layer.weight.dtype) == ({"cuda"}, "float64")
    with rt.device("cuda"):
        assert devices_of(nn.Sequential(nn.Linear(3, 4), nn.Embedding(5, 2), nn.BatchNorm1d(4))) == {"cuda"}


@pytest.mark.parametrize("power", [2.0, 1.0, 3.5, math.inf])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30, 0.0])
def test_gradients_are_clipped_there_without_waiting(power, scale):
    rng = np.random.default_rng(0)
    gradients = [(scale * rng.normal(size=shape)).astype(np.float32) for shape in ((3, 4), (5,), (0,), ())]
    here, there = ([], [])
    for device, weights in (("cpu", here), ("cuda", there)):
        for gradient in gradients:
            weights.append(rt.zeros(gradient.shape, device=device, requires_grad=True))
            weights[-1].grad = rt.tensor(gradient, device=device)
    expected = nn.utils.clip_grad_norm_(here, 0.5, power)
    with no_transfers():
        found = nn.utils.clip_grad_norm_(there, 0.5, power)
        nn.utils.clip_grad_value_(there, 0.4)
    nn.utils.clip_grad_value_(here, 0.4)
    assert_close(found.cpu(), expected, rtol=3e-7)
    for ours, theirs in zip(there, here, strict=True):
        assert_close(ours.grad.cpu(), theirs.grad, rtol=1e-6)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_norm_that_is_not_finite(wrong):
    weights = {device: rt.zeros(2, device=device, requires_grad=True) for device in ("cpu", "cuda")}
    for device, weight in weights.items():
        weight.grad = rt.tensor([1.0, wrong], device=device)
    with pytest.raises(RuntimeError, match=f"the total norm of order 2.0 is {wrong}"), transfers() as seen:
        nn.utils.clip_grad_norm_(weights["cuda"], 1.0, error_if_nonfinite=True)
    assert len(seen.waits) == 1
    norms = [nn.utils.clip_grad_norm_(weight, 1.0).cpu() for weight in weights.values()]
    assert_same_bits(norms[1], norms[0])
    assert_close(weights["cuda"].grad.cpu(), weights["cpu"].grad)
    with pytest.raises(
        ValueError, match="must be on one device, got some on cpu and some on cuda: move the module"
    ):
        nn.utils.clip_grad_norm_(weights.values(), 1.0)
