"""The dynamics of cells with named inputs, and of cells that draw noise."""

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import cell_math as m
from rondeau.nn.dynamics import fixed_points, input_jacobian, jacobian, lyapunov_exponents

from .dynamical_layers import with_weights

RNG = np.random.default_rng(8)


@nn.recurrent_cell(gates=("h",), states=("h",), inputs={"dt": "step", "rate": "sequence"})
def leaky(x, r, s, u, *, noise=0.0):
    return s.h + u.dt * u.rate * (m.tanh(x.h + r.h) - s.h) + noise * m.sqrt(u.dt) * m.normal()


@nn.recurrent_cell(gates=("h",), states=("h",), inputs={"gain": "sequence"})
def gained(x, r, s, u):
    return m.tanh(x.h + r.h(u.gain * s.h))


@nn.recurrent_cell(gates=("h",), states=("h",), inputs={"dt": "step", "rate": "sequence"})
def linear(x, r, s, u):
    return s.h + u.dt * u.rate * (x.h + r.h - s.h)


def weights_of(layer):
    return [
        p.detach().numpy()
        for p in (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0 + layer.bias_hh_l0)
    ]


def test_the_jacobian_of_a_leaky_unit_with_a_step_and_a_rate():
    layer = nn.Recurrent(leaky, 2, 4, dtype="float64")
    W, R, b = weights_of(layer)
    h, x, dt, rate = (RNG.uniform(0.1, 1, shape) for shape in ((3, 4), (3, 2), (3,), (3, 4)))
    slope = (1 - np.tanh(x @ W.T + h @ R.T + b) ** 2) * dt[:, None] * rate
    expected = slope[:, :, None] * R + np.eye(4) * (1 - dt[:, None] * rate)[:, :, None]
    found = jacobian(layer, h, x, inputs={"dt": dt, "rate": rt.tensor(rate)})
    assert_close(found, expected, of_largest=1e-14)
    by_x = input_jacobian(layer, h, x, inputs={"dt": dt, "rate": rate})
    assert_close(by_x, slope[:, :, None] * W, of_largest=1e-14)
    one = jacobian(layer, h[1], x[1], inputs={"dt": float(dt[1]), "rate": rate[1]})
    assert_close(one, expected[1], of_largest=1e-14)
    same = jacobian(layer, h, x[1], inputs={"dt": 0.5, "rate": 1})
    assert_same_bits(same, jacobian(layer, h, x[1], inputs={"dt": np.full(3, 0.5), "rate": np.ones((3, 4))}))


@pytest.mark.parametrize("cell", [leaky, gained], ids=["elementwise", "pulled back"])
def test_equals_central_differences_with_inputs_of_each_layer(cell):
    layer = nn.Recurrent(cell, 2, 3, num_layers=2, dtype="float64")
    inputs = [{name: RNG.uniform(0.5, 1, (4, 3)) for name in cell.inputs} for _ in range(2)]
    of_call = [
        {
            name: rt.tensor(value[None] if cell.inputs[name] == "step" else value)
            for name, value in of_layer.items()
        }
        for of_layer in inputs
    ]
    h, x, epsilon = RNG.standard_normal((4, 6)), RNG.standard_normal((4, 2)), 1e-6

    def step(h):
        _, after = layer(rt.tensor(x)[None], nn.dynamics.split_states(layer, h), inputs=of_call)
        return nn.dynamics.stack_states(layer, after)

    columns = [(step(h + epsilon * e) - step(h - epsilon * e)) / (2 * epsilon) for e in np.eye(6)]
    assert_close(jacobian(layer, h, x, inputs=inputs), np.stack(columns, axis=2), atol=1e-8)


def test_where_a_leaky_network_rests_does_not_depend_on_its_step():
    network = nn.RNN(2, 4, dtype="float64")
    layer = nn.Recurrent(leaky, 2, 4, dtype="float64")
    layer.load_state_dict(network.state_dict())
    with rt.no_grad():
        for each in (network, layer):
            each.weight_hh_l0.mul_(4.0)
    x, starts = RNG.standard_normal(2), RNG.uniform(-1, 1, (30, 4))
    expected = fixed_points(network, x, starts)
    rate = RNG.uniform(0.5, 1, 4)
    found = fixed_points(layer, x, starts, inputs={"dt": 0.1, "rate": rate})
    assert expected.is_fixed.any()
    for point in found.points:
        assert np.linalg.norm(expected.points - point, axis=1).min() < 1e-8
    J = jacobian(layer, found.points, x, inputs={"dt": 0.1, "rate": np.tile(rate, (len(found.points), 1))})
    assert_close(np.sort(np.abs(found.eigenvalues)), np.sort(np.abs(np.linalg.eigvals(J))), atol=1e-12)


@pytest.mark.parametrize("batch_first", [False, True])
def test_exponents_of_a_linear_unit_with_steps_of_several_lengths(batch_first):
    """Of ``h' = h + dt rate (w h - h)``: the mean of log |1 + dt rate (w - 1)|."""
    T, B, weight = 12, 3, 2.5
    layer = nn.Recurrent(linear, 1, 1, batch_first=batch_first, dtype="float64")
    with_weights(layer, weight_hh=[[weight]])
    dt, rate = RNG.uniform(0.1, 1, (T, B)), RNG.uniform(0.5, 1, B)
    expected = np.log(np.abs(1 + dt * rate * (weight - 1)))[2:].mean(0)
    x = np.zeros((T, B, 1))
    turned = (1, 0) if batch_first else (0, 1)
    inputs = {"dt": dt.transpose(turned), "rate": rate}
    found = lyapunov_exponents(layer, x.transpose(*turned, 2), inputs=inputs, burn_in=2)
    assert_close(found, expected[:, None], atol=1e-14)
    one = lyapunov_exponents(layer, x[:, 0], inputs={"dt": dt[:, 1], "rate": float(rate[1])}, burn_in=2)
    assert_close(one, expected[1:2], atol=1e-14)


def test_noise_must_be_set_to_zero():
    layer = nn.Recurrent(leaky, 2, 3, hyperparameters={"noise": 0.1}, dtype="float64")
    arguments, inputs = (np.zeros((4, 3)), np.zeros(2)), {"dt": 0.1, "rate": 1.0}
    message = r"the step of cell leaky draws noise, .* set the scalar that multiplies the noise to zero.* noise=0\.1"
    calls = [
        lambda: jacobian(layer, *arguments, inputs=inputs),
        lambda: fixed_points(layer, *arguments[::-1], inputs=inputs),
        lambda: lyapunov_exponents(layer, np.zeros((5, 2)), inputs=inputs),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()
    layer.hyperparameters["noise"] = 0.0
    rt.manual_seed(0)
    first, then = [call() for call in calls], rt.rand(3)
    rt.manual_seed(1)
    again = [call() for call in calls]
    for one, other in zip(first, again, strict=True):
        assert_same_bits(getattr(one, "points", one), getattr(other, "points", other))
    rt.manual_seed(0)
    assert_same_bits(rt.rand(3), then)  # nothing was drawn


def test_state_vectors_are_converted_whatever_the_noise():
    """Trials with noise can begin at points that were found without it."""
    layer = nn.Recurrent(leaky, 2, 3, 2, hyperparameters={"noise": 0.1})
    vectors = np.arange(24.0).reshape(4, 6)
    states = nn.dynamics.split_states(layer, vectors)
    assert states.shape == (2, 4, 3)
    assert_same_bits(nn.dynamics.stack_states(layer, states), vectors)


@pytest.mark.parametrize(
    ("step", "counts"),
    [
        (lambda x, r, s, *, noise: x.h + noise * m.normal(), False),
        (lambda x, r, s, *, noise: x.h + m.sqrt(2 * noise) * s.h * (m.uniform() - 0.5) / 3, False),
        (lambda x, r, s, *, noise: x.h - (noise * m.normal() + noise * m.uniform()), False),
        (lambda x, r, s, *, noise: x.h + (1 - noise) * m.normal(), True),
        (lambda x, r, s, *, noise: m.where(m.uniform() < noise, s.h, x.h), True),
        (lambda x, r, s, *, noise: x.h + noise * m.normal() + 0.1 * m.normal(), True),
        (lambda x, r, s, *, noise: m.tanh(x.h + m.exp(noise) * m.uniform()), True),
    ],
    ids=["scaled", "scaled in parts", "sum", "one minus zero", "compared", "one of two", "exp of zero"],
)  # fmt: skip
def test_noise_counts_unless_all_of_it_is_multiplied_by_zero(step, counts):
    from rondeau.kernels.sequence import Cell
    from rondeau.nn.dynamics._noise import noise_counts

    step.__kwdefaults__ = {"noise": 0.0}
    cell = Cell(step, ("h",), ("h",), "noisy")
    assert noise_counts(cell.graph, {("k", "noise"): 0.0}) is counts
    assert noise_counts(cell.graph, {("k", "noise"): 0.1})


def test_refusals():
    layer = nn.Recurrent(leaky, 2, 3, dtype="float64")
    good = {"dt": 0.1, "rate": 1.0}
    cases = [
        (None, ValueError, "cell leaky needs its step input 'dt'"),
        ({"dt": 0.1}, ValueError, "cell leaky needs its sequence input 'rate'"),
        (good | {"gain": 1.0}, ValueError, "cell leaky has no input 'gain'"),
        (good | {"dt": [0.1, 0.2]}, ValueError, r"input 'dt' of cell leaky .* got \(2,\)"),
        (good | {"rate": np.nan}, ValueError, "input 'rate' must be finite numbers"),
        (good | {"rate": "fast"}, TypeError, "input 'rate' must be a Tensor or an array of numbers, got str"),
        (
            [good, good],
            ValueError,
            r"inputs must be one mapping .* one for each layer \(1\), got 2",
        ),
        (0.1, TypeError, "inputs must be a mapping of names to tensors"),
    ]
    for inputs, error, message in cases:
        for call in (
            lambda inputs: jacobian(layer, np.zeros((4, 3)), np.zeros(2), inputs=inputs),
            lambda inputs: fixed_points(layer, np.zeros(2), np.zeros((4, 3)), inputs=inputs),
            lambda inputs: lyapunov_exponents(layer, np.zeros((5, 4, 2)), inputs=inputs),
        ):
            with pytest.raises(error, match=message):
                call(inputs)
    with pytest.raises(ValueError, match="cell gru has no input 'dt', it has none"):
        jacobian(nn.GRU(2, 3), np.zeros(3), np.zeros(2), inputs={"dt": 0.1})
