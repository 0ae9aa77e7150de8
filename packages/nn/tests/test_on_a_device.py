"""Layers and losses on the stand-in for a GPU: the CPU's numbers, and nothing in a step that waits or copies.

The whole suite runs there too, by ``pytest packages/nn/tests --device cuda-stand-in``.
"""

import numpy as np
import pytest
from tools.device_arrays import no_transfers

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.ops import linear_cross_entropy

F = nn.functional
pytestmark = pytest.mark.host_only("it moves tensors to the device itself")


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


IDS = np.array([[2, 0, 2], [1, 3, 0]])
CLASSES = np.array([1, -100, 3, 0, 2])
ZERO_TO_ONE = np.random.default_rng(3).random((4, 3)).astype("float32")
WEIGHTS = np.array([1.0, 0.5, 2.0, 0.25], "float32")

MODULES = {
    "linear": (lambda: nn.Linear(4, 3), [drawn(2, 5, 4)]),
    "embedding": (lambda: nn.Embedding(4, 3, padding_idx=0), [IDS]),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding="same", groups=2), [drawn(2, 4, 7)]),
    "conv2d": (lambda: nn.Conv2d(2, 3, (3, 2), stride=2, padding=1), [drawn(2, 2, 6, 7)]),
    "conv2d reflected": (
        lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"),
        [drawn(1, 2, 4, 5)],
    ),
    "max_pool2d": (lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True), [drawn(2, 3, 6, 5)]),
    "avg_pool2d": (
        lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
        [drawn(2, 3, 6, 5)],
    ),
    "adaptive_avg_pool2d": (lambda: nn.AdaptiveAvgPool2d((2, 3)), [drawn(2, 3, 5, 4)]),
    "layer_norm": (lambda: nn.LayerNorm((2, 5)), [drawn(3, 2, 5)]),
    "batch_norm": (lambda: nn.BatchNorm2d(3), [drawn(4, 3, 2, 5) * 3 + 1]),
    "batch_norm evaluated": (lambda: nn.BatchNorm1d(3).eval(), [drawn(4, 3)]),
    "gelu": (nn.GELU, [drawn(3, 4)]),
    "input_decay": (
        lambda: nn.InputDecay(3),
        [drawn(4, 2, 3), ZERO_TO_ONE.reshape(4, 1, 3) < np.array([[0.5], [0.7]]), np.abs(drawn(4, 2, 3))],
    ),
    "spectral_norm": (lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)), [drawn(2, 4)]),
    "weight_norm": (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), [drawn(2, 4)]),
    "orthogonal": (
        lambda: nn.utils.parametrizations.orthogonal(nn.Linear(4, 3), orthogonal_map="householder"),
        [drawn(2, 4)],
    ),
    "cayley": (
        lambda: nn.utils.parametrizations.orthogonal(nn.Linear(3, 3), orthogonal_map="cayley"),
        [drawn(2, 3)],
    ),
}

LOGITS, OTHERS = drawn(5, 4), drawn(4, 3, seed=1)
LOSSES = {
    "cross_entropy": (F.cross_entropy, [LOGITS, CLASSES]),
    "cross_entropy weighted": (
        lambda x, t, w: F.cross_entropy(x, t, w.detach(), label_smoothing=0.1),
        [LOGITS, CLASSES, WEIGHTS],
    ),
    "cross_entropy of rows": (lambda x, t: F.cross_entropy(x, t, reduction="none"), [LOGITS, CLASSES]),
    "cross_entropy of planes": (F.cross_entropy, [drawn(2, 4, 3), IDS]),
    "cross_entropy of probabilities": (F.cross_entropy, [LOGITS, np.full((5, 4), 0.25, "float32")]),
    "linear_cross_entropy": (
        lambda x, t, w, b: F.linear_cross_entropy(x, w, t, linear_bias=b, label_smoothing=0.1),
        [drawn(5, 3), CLASSES, drawn(4, 3), WEIGHTS],
    ),
    "linear_cross_entropy of rows": (
        lambda x, t, w: F.linear_cross_entropy(x, w, t, reduction="none"),
        [drawn(5, 3), CLASSES, drawn(4, 3)],
    ),
    "nll_loss": (lambda x, t, w: F.nll_loss(F.log_softmax(x, 1), t, w.detach()), [LOGITS, CLASSES, WEIGHTS]),
    "mse_loss": (F.mse_loss, [OTHERS, ZERO_TO_ONE]),
    "l1_loss": (F.l1_loss, [OTHERS, ZERO_TO_ONE]),
    "smooth_l1_loss": (lambda x, t: F.smooth_l1_loss(x, t, beta=0.3), [OTHERS, ZERO_TO_ONE]),
    "binary_cross_entropy": (F.binary_cross_entropy, [ZERO_TO_ONE, ZERO_TO_ONE[::-1].copy()]),
    "binary_cross_entropy_with_logits": (
        lambda x, t, w: F.binary_cross_entropy_with_logits(x, t, pos_weight=w),
        [OTHERS, ZERO_TO_ONE, WEIGHTS[:3]],
    ),
    "kl_div": (lambda x, t: F.kl_div(x, t, reduction="batchmean"), [OTHERS, ZERO_TO_ONE]),
}


def gradients(function, arrays, parameters, device, twice):
    """Return a result, its gradients and, if asked for, gradients of their squares, without a wait or a copy."""
    leaves = [rt.tensor(array, device=device, requires_grad=array.dtype.kind == "f") for array in arrays]
    differentiable = [leaf for leaf in leaves if leaf.requires_grad] + parameters
    result = function(*leaves)  # regions of pooling are made, and sent, at the first call
    cotangent = rt.tensor(drawn(*result.shape, seed=2), device=device)
    with no_transfers():
        result = function(*leaves)
        found = rt.grad(result, differentiable, cotangent, create_graph=twice, allow_unused=True)
        found = [g for g in found if g is not None]
        if twice:
            length = sum((g * g).sum() for g in found)
            if length.requires_grad:
                of_length = rt.grad(length, differentiable, allow_unused=True)
                found += [g for g in of_length if g is not None]
    assert all(tensor.device.type == device for tensor in (result, *found))
    return [result, *found]


def compare(make, arrays, twice):
    on_cpu = gradients(*make("cpu"), "cpu", twice)
    on_gpu = gradients(*make("cuda"), "cuda", twice)
    assert len(on_gpu) == len(on_cpu) > 1
    for ours, expected in zip(on_gpu, on_cpu, strict=True):
        assert_close(ours, expected, of_largest=2e-5 if twice else 2e-6, least=1e-3)
    assert [tensor.dtype for tensor in on_gpu] == [tensor.dtype for tensor in on_cpu]


@pytest.mark.usefixtures("device_stand_in")
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("name", MODULES)
def test_a_layer(name, twice):
    build, arrays = MODULES[name]

    def make(device):
        rt.manual_seed(0)
        module = build().to(device)
        return module, arrays, list(module.parameters())

    compare(make, arrays, twice)


@pytest.mark.usefixtures("device_stand_in")
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss(name, twice):
    loss, arrays = LOSSES[name]
    compare(lambda device: (loss, arrays, []), arrays, twice)


@pytest.mark.usefixtures("device_stand_in")
@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics(momentum):
    statistics = {}
    for device in ("cpu", "cuda"):
        layer = nn.BatchNorm1d(3, momentum=momentum, device=device)
        for seed in range(2):
            layer(rt.tensor(drawn(5, 3, seed=seed), device=device))
        statistics[device] = layer.state_dict()
    assert_close(statistics["cuda"], statistics["cpu"], rtol=1e-6, atol=1e-7)


@pytest.mark.usefixtures("device_stand_in")
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("name", [name for name in LOSSES if name.startswith("linear_")])
def test_a_loss_in_blocks(monkeypatch, name, twice):
    monkeypatch.setattr(linear_cross_entropy, "is_blocked", lambda *sizes: True)
    monkeypatch.setattr(linear_cross_entropy.arrays, "_LOGITS", 8)  # two rows
    test_a_loss(name, twice)


@pytest.mark.usefixtures("device_stand_in")
def test_squares_beyond_float32_are_found_without_a_look():
    x = rt.tensor(1e30 * drawn(6, 3))
    expected = nn.BatchNorm1d(3)(x)
    x, layer = x.to("cuda"), nn.BatchNorm1d(3).to("cuda")
    with no_transfers():
        found = layer(x)
    assert_close(found, expected, rtol=1e-5)


@pytest.mark.usefixtures("device_stand_in")
def test_dropout_draws_there_what_it_draws_on_the_cpu():
    rt.manual_seed(5)
    expected = F.dropout(rt.ones(7, 5), 0.3)
    rt.manual_seed(5)
    x = rt.ones(7, 5, device="cuda")
    with no_transfers():
        found = F.dropout(x, 0.3)
    assert_same_bits(found, expected)


@pytest.mark.usefixtures("device_stand_in")
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: F.embedding(rt.tensor([1, 7]), rt.ones(3, 2)),
            IndexError,
            "embedding: id 7 is out of range",
        ),
        (lambda: F.one_hot(rt.tensor([-1]), 2), IndexError, "one_hot: id -1 is out of range"),
        (
            lambda: F.cross_entropy(rt.ones(2, 3), rt.tensor([0, 3])),
            IndexError,
            "cross_entropy: Target 3 is out of bounds: there are 3 classes, 0 to 2, and -100 is ignored",
        ),
        (
            lambda: F.nll_loss(rt.ones(1, 3), rt.tensor([-1])),
            IndexError,
            "nll_loss: Target -1 is out of bounds",
        ),
        (
            lambda: F.binary_cross_entropy(rt.tensor([1.5]), rt.ones(1)),
            ValueError,
            "all elements of input must be between 0 and 1, got 1.5 to 1.5",
        ),
    ],
)
def test_numbers_out_of_range_are_told_when_something_is_read(call, error, message):
    with rt.device("cuda"):
        result = call()
    with pytest.raises(error, match=message):
        result.tolist()


@pytest.mark.usefixtures("device_stand_in")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.linear(x, rt.ones(2, 3)), "linear: input is on cuda and weight is on cpu"),
        (lambda x: F.embedding(rt.tensor([1]), x), "embedding: input is on cpu and weight is on cuda"),
        (lambda x: F.layer_norm(x, 3, rt.ones(3)), "layer_norm: x is on cuda and weight is on cpu"),
        (
            lambda x: F.batch_norm(x, rt.ones(3), None),
            "batch_norm: input is on cuda and running_mean is on cpu",
        ),
        (
            lambda x: F.conv1d(x.unsqueeze(0), rt.ones(2, 2, 1)),
            "convolution: x is on cuda and weight is on cpu",
        ),
        (
            lambda x: F.cross_entropy(x, rt.tensor([0, 1])),
            "cross_entropy: input is on cuda and target is on cpu",
        ),
        (
            lambda x: F.nll_loss(x, np.array([0, 1])),
            "nll_loss: input is on cuda and target is on cpu",
        ),
        (lambda x: F.mse_loss(x, rt.ones(2, 3)), "mse_loss: input is on cuda and target is on cpu"),
        (
            lambda x: F.binary_cross_entropy(rt.ones(2, 3), rt.ones(2, 3), x),
            "binary_cross_entropy: input is on cpu and weight is on cuda",
        ),
        (
            lambda x: nn.InputDecay(3, device="cuda")(x, np.ones((2, 3), bool), x),
            "InputDecay: x is on cuda and mask is on cpu",
        ),
    ],
)
def test_two_devices_are_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}; move one, with"):
        call(rt.ones(2, 3, device="cuda"))
