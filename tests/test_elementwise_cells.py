"""What is known in closed form of the cells without a recurrent matrix: `rg_lru`, `hgrn`, `min_lstm`."""

import numpy as np
import pytest

from comparing import assert_close
from rondeau import nn
from rondeau import tensor as rt


def layer_of(cell, H, *, bias=(), **vectors):
    """Return a layer of one input and H units that reads nothing of its input, only the given biases and vectors."""
    layer = nn.Recurrent(cell, 1, H)
    layer.weight_ih_l0.data[...] = 0
    layer.bias_ih_l0.data[...] = np.repeat(bias, H)
    for name, values in vectors.items():
        getattr(layer, f"{name}_l0").data[...] = values
    return layer


@pytest.mark.parametrize("cell", [nn.cells.hgrn, nn.cells.min_gru, nn.cells.min_lstm, nn.cells.rg_lru])
def test_there_is_no_recurrent_matrix(cell):
    names = {name for name, _ in nn.Recurrent(cell, 2, 3).named_parameters()}
    assert names == {"weight_ih_l0", "bias_ih_l0", *(f"{vector}_l0" for vector in cell.params)}


def test_decays_of_rg_lru_begin_uniform():
    """a**8 in [0.9, 0.999]; a is 1/(1 + exp(-logit_a))."""
    layer = nn.Recurrent(nn.cells.rg_lru, 1, 2000)
    decays = (1 + np.exp(-layer.logit_a_l0.detach().numpy().astype(np.float64))) ** -8
    assert 0.9 <= decays.min() < 0.9005
    assert 0.9985 < decays.max() <= 0.9990001
    assert decays.mean() == pytest.approx(0.9495, abs=0.002)  # three standard errors


def test_rg_lru_keeps_the_digits_of_a_slow_decay():
    """1 - a_t**2 with a_t = 1 - 1.2e-9 has none in float32, where it is computed as it is written."""
    layer = layer_of(nn.cells.rg_lru, 1, bias=(0.0, 40.0, 1.0), logit_a=22.0)
    output, _ = layer(rt.zeros(1, 1, 1))
    log_a = -4 * np.log1p(np.exp(-22.0))
    assert output.item() == pytest.approx(np.sqrt(-np.expm1(2 * log_a)), rel=1e-6)


def test_rg_lru_with_a_closed_gate_keeps_its_state_and_has_a_gradient():
    """r_t = 0 to the last bit: h_t = h_{t-1}, and of d sqrt(1 - a**2) only the limit, which is 0."""
    layer = layer_of(nn.cells.rg_lru, 1, bias=(-1000.0, 0.0, 1.0), logit_a=0.0)
    h_0 = rt.tensor(np.full((1, 1, 1), 0.3, np.float32), requires_grad=True)
    output, _ = layer(rt.zeros(4, 1, 1), h_0)
    assert_close(output.detach().numpy(), np.full((4, 1, 1), 0.3), atol=1e-7)
    output.sum().backward()
    assert h_0.grad.item() == 4
    assert_close(layer.bias_ih_l0.grad.numpy(), np.zeros(3), atol=1e-13)
    assert layer.logit_a_l0.grad.item() == 0


@pytest.mark.parametrize("shift", [0.0, 30.0, 1000.0])
def test_min_lstm_weighs_its_gates_even_if_both_are_closed(shift):
    """f / (f + i) of two closed gates is exp(f~ - i~) / (1 + exp(f~ - i~)), not 0/0."""
    layer = layer_of(nn.cells.min_lstm, 1, bias=(-shift, -shift - 2.0, 0.0))
    h_0 = rt.tensor(np.ones((1, 1, 1), np.float32), requires_grad=True)
    output, _ = layer(rt.zeros(1, 1, 1), h_0)
    f, i = (0.5, 1 / (1 + np.exp(2.0))) if shift == 0 else (1.0, np.exp(-2.0))
    assert output.item() == pytest.approx(f / (f + i), rel=1e-5)
    output.backward()
    assert all(np.isfinite(p.grad.numpy()).all() for p in layer.parameters())


def test_hgrn_without_forgetting_turns_its_state():
    """gamma = 1: h_t = exp(i theta t) h_0; the angles begin at 1, 10000**(-2/H), ..."""
    H, T = 4, 6
    layer = layer_of(nn.cells.hgrn, H, bias=(0.0, 1.0, 1.0), logit_gamma=200.0)
    theta = layer.theta_l0.detach().numpy()
    assert_close(theta, 10000.0 ** (-2 * np.arange(H) / H), of_largest=1e-6)
    re, im = (rt.tensor(np.full((1, 1, H), value, np.float32)) for value in (0.6, -0.8))
    (every_re, every_im), _ = layer.all_states(rt.zeros(T, 1, 1), (re, im))
    expected = np.exp(1j * theta * np.arange(1, T + 1)[:, None, None]) * (0.6 - 0.8j)
    assert_close(every_re.detach().numpy(), expected.real, atol=1e-6)
    assert_close(every_im.detach().numpy(), expected.imag, atol=1e-6)


def test_a_batch_without_rows():
    """The values of learned vectors have no row to be kept in."""
    layer = nn.Recurrent(nn.cells.hgrn, 2, 3)
    output, _ = layer(rt.zeros(4, 0, 2))
    assert output.shape == (4, 0, 3)
    output.sum().backward()
    assert not layer.theta_l0.grad.numpy().any()
