import math

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import init

GAINS = [
    ("linear", None),
    ("identity", None),
    ("conv2d", None),
    ("sigmoid", None),
    ("tanh", None),
    ("relu", None),
]
GAINS += [("selu", None), ("leaky_relu", None), ("leaky_relu", 0.3)]


@pytest.mark.parametrize(("name", "slope"), GAINS)
def test_gain_agrees_with_torch(torch, name, slope):
    if name == "identity":
        assert init.calculate_gain(name) == 1.0
    else:
        assert init.calculate_gain(name, slope) == pytest.approx(torch.nn.init.calculate_gain(name, slope))


def test_unknown_gain():
    with pytest.raises(
        ValueError, match="Unsupported nonlinearity 'swish'; expected one of leaky_relu, linear"
    ):
        init.calculate_gain("swish")


# Name, options, and the bound or standard deviation for a tensor of (out, in) = (200, 300).
UNIFORM = [
    ("uniform_", {"a": -2.0, "b": 2.0}, 2.0),
    ("xavier_uniform_", {}, math.sqrt(6 / 500)),
    ("xavier_uniform_", {"gain": 5 / 3}, 5 / 3 * math.sqrt(6 / 500)),
    ("kaiming_uniform_", {}, math.sqrt(6 / 300)),
    ("kaiming_uniform_", {"a": math.sqrt(5)}, 1 / math.sqrt(300)),
    ("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "relu"}, math.sqrt(6 / 200)),
]
NORMAL = [
    ("normal_", {"std": 3.0}, 3.0),
    ("xavier_normal_", {}, math.sqrt(2 / 500)),
    ("kaiming_normal_", {"nonlinearity": "relu"}, math.sqrt(2 / 300)),
    ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "linear"}, math.sqrt(1 / 200)),
]


@pytest.mark.parametrize(("name", "options", "bound"), UNIFORM)
def test_uniform_draws(dtype, name, options, bound):
    rt.manual_seed(0)
    w = nn.Parameter(rt.empty(200, 300, dtype=dtype))
    assert getattr(init, name)(w, **options) is w
    values = w.detach().numpy()
    assert values.dtype == dtype
    assert 0.999 * bound < np.abs(values).max() <= bound * (1 + 1e-6)
    assert values.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert abs(values.mean()) < 0.02 * bound
    assert w.requires_grad
    assert w.is_leaf


@pytest.mark.parametrize(("name", "options", "std"), NORMAL)
def test_normal_draws(dtype, name, options, std):
    rt.manual_seed(0)
    values = getattr(init, name)(rt.empty(200, 300, dtype=dtype), **options).numpy()
    assert values.dtype == dtype
    assert values.std() == pytest.approx(std, rel=0.02)
    assert abs(values.mean()) < 0.02 * std
    # A normal distribution has 31.7 % of its mass beyond one standard deviation, and kurtosis 3.
    assert (np.abs(values) > std).mean() == pytest.approx(0.3173, abs=0.01)
    assert ((values / std) ** 4).mean() == pytest.approx(3, rel=0.05)


def test_fans_count_the_field_of_a_convolution(torch):
    w, theirs = rt.empty(50, 20, 3, 3), torch.empty(50, 20, 3, 3)
    ours = init.kaiming_uniform_(w).numpy()
    assert np.abs(ours).max() == pytest.approx(
        torch.nn.init.kaiming_uniform_(theirs).abs().max().item(), rel=0.01
    )


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7), (4, 2, 3), (1, 1)])
def test_orthogonal(dtype, shape):
    q = init.orthogonal_(rt.empty(*shape, dtype=dtype), gain=2.0).numpy().reshape(shape[0], -1)
    product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    assert_close(product, 4 * np.eye(len(product)), rtol=1e-7, atol=1e-5 if dtype == "float32" else 1e-12)
    assert init.orthogonal_(rt.empty(0, 3)).shape == (0, 3)


def test_orthogonal_is_uniform_over_signs():
    rt.manual_seed(0)
    signs = [init.orthogonal_(rt.empty(1, 1)).item() for _ in range(200)]
    assert set(signs) == {-1.0, 1.0}


def test_constants():
    w = rt.empty(2, 3)
    assert init.constant_(w, 2.5).tolist() == [[2.5] * 3] * 2
    assert init.zeros_(w).tolist() == [[0.0] * 3] * 2
    assert init.ones_(w).tolist() == [[1.0] * 3] * 2
    assert init.eye_(w).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


def test_generator_of_its_own():
    rt.manual_seed(0)
    before = init.uniform_(rt.empty(4)).tolist()
    rt.manual_seed(0)
    own = init.uniform_(rt.empty(4), generator=rt.Generator(9)).tolist()
    assert init.uniform_(rt.empty(4), generator=rt.Generator(9)).tolist() == own
    assert init.uniform_(rt.empty(4)).tolist() == before


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.LSTM(3, 2, num_layers=2, bidirectional=True),
        lambda: nn.LSTM(3, 4, proj_size=2),
        lambda: nn.LSTMCell(3, 2),
    ],
)
def test_forget_bias_opens_the_forget_gates_alone(layer):
    layer = layer()
    before = {name: parameter.detach().numpy().copy() for name, parameter in layer.named_parameters()}
    assert init.forget_bias_(layer, 0.5) is layer
    H = layer.hidden_size
    for name, parameter in layer.named_parameters():
        expected = before[name]
        if name.startswith("bias"):
            expected[H : 2 * H] = 0.5 if "_ih" in name else 0.0  # gates i, f, g, o
        assert_same_bits(parameter, expected, name)
        assert parameter.is_leaf


def test_forget_bias_needs_a_forget_gate_and_biases():
    with pytest.raises(ValueError, match="expects a cell with a gate 'f'; gru has the gates r, z, n"):
        init.forget_bias_(nn.GRU(3, 2))
    with pytest.raises(ValueError, match="expects a layer made with bias=True; this one has no biases"):
        init.forget_bias_(nn.LSTM(3, 2, bias=False))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: init.uniform_(w, 2.0, 1.0), "expects a <= b, got a=2.0 and b=1.0"),
        (lambda w: init.normal_(w, std=-1.0), "expects std >= 0, got -1.0"),
        (lambda w: init.kaiming_uniform_(w, mode="fan"), 'mode must be "fan_in" or "fan_out", got \'fan\''),
        (lambda w: init.xavier_uniform_(w[0]), r"at least 2 dimensions, got shape \(3,\)"),
        (lambda w: init.orthogonal_(w[0]), r"at least 2 dimensions, got shape \(3,\)"),
        (lambda w: init.eye_(w[0]), r"2 dimensions, got shape \(3,\)"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(rt.zeros(2, 3))
