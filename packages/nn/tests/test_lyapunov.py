"""Lyapunov exponents: of linear maps, of Lorenz's equations, and of random networks, against the method in NumPy."""

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn.dynamics import lyapunov_exponents

from .dynamical_layers import linear, one_tanh_unit, with_weights

RNG = np.random.default_rng(3)


def test_of_a_linear_map_are_the_logarithms_of_its_eigenvalues():
    basis = RNG.standard_normal((4, 4))
    eigenvalues = np.array([1.5, -0.9, 0.5, 0.1])
    layer = linear(basis @ np.diag(eigenvalues) @ np.linalg.inv(basis))
    found = lyapunov_exponents(layer, np.zeros((500, 1)), burn_in=250)
    assert_close(found, np.log(np.abs(eigenvalues)), atol=1e-12)
    two = lyapunov_exponents(layer, np.zeros((500, 1)), 2, burn_in=250)
    assert_close(two, found[:2], atol=1e-13)


def test_a_rotation_has_zeros_and_a_singular_map_minus_infinity():
    angle = 0.7
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert_close(lyapunov_exponents(linear(rotation), np.zeros((50, 1))), np.zeros(2), atol=1e-15)
    singular = linear([[0.5, 0.0], [0.0, 0.0]])
    assert_same_bits(lyapunov_exponents(singular, np.zeros((10, 1))), np.array([np.log(0.5), -np.inf]))


def test_at_a_fixed_point_are_the_logarithms_of_the_eigenvalues_there():
    layer = one_tanh_unit(1.5)
    found = nn.dynamics.fixed_points(layer, [0.0], [[1.0]])
    exponents = lyapunov_exponents(layer, np.zeros((300, 1)), state=[1.0], burn_in=200)
    assert_close(exponents, np.log(np.abs(found.eigenvalues[0])), atol=1e-12)


@nn.recurrent_cell(gates=("drive",), states=("x", "y", "z"))
def lorenz(x, r, s, *, dt=0.01):
    """One step of Lorenz's equations by the classical Runge-Kutta method; the drive is added to x."""

    def slope(x, y, z):
        return 10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z

    def moved(by, slopes):
        return [state + by * k for state, k in zip((s.x, s.y, s.z), slopes, strict=True)]

    k1 = slope(s.x, s.y, s.z)
    k2 = slope(*moved(dt / 2, k1))
    k3 = slope(*moved(dt / 2, k2))
    k4 = slope(*moved(dt, k3))
    mean = [(a + 2.0 * b + 2.0 * c + d) / 6.0 for a, b, c, d in zip(k1, k2, k3, k4, strict=True)]
    new_x, new_y, new_z = moved(dt, mean)
    return new_x + x.drive, new_y, new_z


def test_of_lorenz_equations():
    """Per unit of time 0.9056, 0 and -14.5723 (Sprott 2003); their sum is the divergence, -(10 + 1 + 8/3), exactly.

    100 trajectories of 20 units of time, after 10 that are not counted: the means have standard errors of up to 0.008,
    and the bound is six of these.
    """
    dt, T, B = 0.01, 3000, 100
    layer = with_weights(nn.Recurrent(lorenz, 1, 1, dtype="float64"))
    start = RNG.standard_normal((B, 3)) * 5 + [0, 0, 25]
    found = lyapunov_exponents(layer, np.zeros((T, B, 1)), state=start, burn_in=1000, qr_every=10) / dt
    assert_close(found.sum(1), np.full(B, -(10 + 1 + 8 / 3)), atol=1e-3)
    exponents, error = found.mean(0), found.std(0) / np.sqrt(B)
    assert (error < 0.02).all()
    assert_close(exponents, np.array([0.9056, 0.0, -14.5723]), atol=0.05)


@pytest.mark.parametrize("qr_every", [1, 3])
def test_of_a_random_network_equal_numpy(qr_every):
    """A chaotic tanh network, driven; the loop below is the method in its simplest form."""
    rng, H, size, T, burn_in = np.random.default_rng(4), 8, 2, 60, 10
    layer = with_weights(
        nn.RNN(size, H, dtype="float64"),
        weight_ih=0.3 * rng.standard_normal((H, size)),
        weight_hh=2.0 / np.sqrt(H) * rng.standard_normal((H, H)),
        bias_ih=0.1 * rng.standard_normal(H),
    )
    W, R, b = (p.detach().numpy() for p in (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0))
    x, start = rng.standard_normal((T, size)), rng.standard_normal(H)
    h, Q, logs = start, np.eye(H), []
    for x_t in x:
        h = np.tanh(W @ x_t + b + R @ h)
        Q, upper = np.linalg.qr((1 - h**2)[:, None] * R @ Q)
        logs.append(np.log(np.abs(np.diag(upper))))
    expected = np.sort(np.mean(logs[burn_in:], axis=0))[::-1]
    found = lyapunov_exponents(layer, x, state=start, burn_in=burn_in, qr_every=qr_every)
    # Between decompositions the directions turn into the fastest one, and the others keep only what rounding leaves.
    assert_close(found, expected, atol=1e-14 * np.exp(qr_every * (expected[0] - expected[-1])))


def test_of_several_layers_and_sequences(monkeypatch):
    from rondeau.nn.dynamics import _lyapunov

    rt.manual_seed(1)
    layer = nn.LSTM(2, 3, num_layers=2, batch_first=True)
    x, state = RNG.standard_normal((4, 30, 2)), RNG.standard_normal((4, 12))
    whole = lyapunov_exponents(layer, x, 5, state=state, burn_in=4)
    assert whole.shape == (4, 5)
    monkeypatch.setattr(_lyapunov, "_NUMBERS_OF_A_BLOCK", 7 * 4 * 12**2)
    assert_close(lyapunov_exponents(layer, x, 5, state=state, burn_in=4), whole, atol=1e-12)
    hx = nn.dynamics.split_states(layer.double(), state)
    assert_close(lyapunov_exponents(layer, x, 5, state=hx, burn_in=4), whole, atol=1e-12)
    one = lyapunov_exponents(layer, x[2], 5, state=state[2], burn_in=4)
    assert_close(one, whole[2], atol=1e-12)
    h = nn.dynamics.stack_states(
        layer, layer(rt.tensor(x), hx)[1]
    )  # the same by hand, from the layer and jacobian
    Q, growth = np.broadcast_to(np.eye(12, 5), (4, 12, 5)), 0.0
    for t in range(30):
        J = nn.dynamics.jacobian(layer, hx, x[:, t])
        _, hx = layer(rt.tensor(x[:, t : t + 1]), hx)
        Q, R = np.linalg.qr(J @ Q)
        growth = growth + (t >= 4) * np.log(np.abs(np.diagonal(R, axis1=1, axis2=2)))
    assert_close(nn.dynamics.stack_states(layer, hx), h, atol=1e-14)
    assert_close(whole, -np.sort(-growth / 26, axis=1), atol=1e-12)


def test_begins_with_the_learned_state():
    layer = nn.LSTM(2, 3, num_layers=2, learn_initial_state=True, dtype="float64")
    with rt.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-1, 1)
    x = RNG.standard_normal((3, 2, 2))
    found = lyapunov_exponents(layer, x, 3)
    assert_close(found, lyapunov_exponents(layer, x, 3, state=layer.begin_state(2)), atol=1e-14)
    zeros = lyapunov_exponents(layer, x, 3, state=np.zeros(12))
    assert np.abs(found - zeros).max() > 1e-3


@nn.recurrent_cell(gates=("h",), states=("h",))
def squared(x, r, s):
    return s.h * s.h + x.h


@nn.recurrent_cell(gates=("h",), states=("h",))
def rooted(x, r, s):
    return (s.h + x.h) ** 0.5


def test_refusals():
    layer = nn.GRU(2, 3)
    good = {"layer": layer, "input": np.zeros((10, 2))}
    cases = [
        ({"layer": nn.GRU(2, 3, bidirectional=True)}, ValueError, "bidirectional layer is not a map"),
        ({"input": np.zeros(2)}, ValueError, r"input must have shape \(T, B, I\) or \(T, I\) with I = 2"),
        ({"input": np.zeros((10, 3))}, ValueError, r"with I = 2, .* got \(10, 3\)"),
        (
            {"input": np.zeros((0, 2))},
            ValueError,
            "burn_in must leave some of the 0 steps of the input, got 0",
        ),
        ({"input": np.zeros((10, 0, 2))}, ValueError, r"at least one sequence, got shape \(10, 0, 2\)"),
        ({"input": np.full((10, 2), np.nan)}, ValueError, "input must be finite numbers"),
        ({"count": 4}, ValueError, "count must be at most 3, the width of the state, got 4"),
        ({"count": 0}, ValueError, "count must be greater than zero"),
        ({"burn_in": 10}, ValueError, "burn_in must leave some of the 10 steps of the input, got 10"),
        ({"burn_in": -1}, ValueError, "burn_in must be at least 0"),
        ({"qr_every": 0}, ValueError, "qr_every must be greater than zero"),
        ({"qr_every": 2.0}, TypeError, "qr_every should be of type int"),
        ({"state": np.zeros(4)}, ValueError, "state must be state vectors"),
        ({"state": np.zeros((2, 3))}, ValueError, "one for each of the 1 sequences, got 2"),
        (
            {
                "layer": with_weights(nn.Recurrent(squared, 2, 3, dtype="float64")),
                "input": np.zeros((20, 2)),
                "state": np.full(3, 10.0),
            },
            ValueError,
            "the states overflow at step 8 of the input",  # 10 to the power 2**9 is beyond 1e308
        ),
        (
            {"layer": with_weights(nn.Recurrent(rooted, 2, 3, dtype="float64"))},
            ValueError,
            "the Jacobian of step 0 of the input has elements that are NaN or infinite",
        ),
    ]
    for changed, error, message in cases:
        with pytest.raises(error, match=message):
            lyapunov_exponents(**(good | changed))
