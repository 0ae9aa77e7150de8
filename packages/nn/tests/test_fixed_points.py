"""Fixed and slow points: of linear maps, of one tanh unit at its pitchfork and fold, of a ring, of trained shapes."""

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import cell_math as m
from rondeau.nn.dynamics import fixed_points

from .dynamical_layers import linear, one_tanh_unit, with_weights

RNG = np.random.default_rng(9)


def test_of_a_linear_map_is_the_solution_of_its_equations():
    matrix, bias = 0.4 * RNG.standard_normal((6, 6)), RNG.standard_normal(6)
    found = fixed_points(linear(matrix, bias), [0.0], 10 * RNG.standard_normal((2000, 6)))
    assert_close(found.points, np.linalg.solve(np.eye(6) - matrix, bias)[None], of_largest=1e-11)
    eigenvalues = np.linalg.eigvals(matrix)
    assert_close(np.sort_complex(found.eigenvalues[0]), np.sort_complex(eigenvalues), atol=1e-13)
    assert (np.diff(np.abs(found.eigenvalues[0])) <= 1e-15).all()
    assert found.is_stable == (np.abs(eigenvalues).max() < 1)
    assert found.num_unstable == np.count_nonzero(np.abs(eigenvalues) > 1)
    assert (found.point_of_start == 0).all()
    assert (found.residual_of_start <= 1e-12 * (1 + np.linalg.norm(found.points))).all()


@pytest.mark.parametrize("weight", [0.5, 0.99, 1.01, 1.5, 4.0])
def test_the_pitchfork_of_one_tanh_unit(weight):
    """Of ``h' = tanh(w h)``: 0 alone is fixed for w < 1; for w > 1 also +-h, which are stable, and 0 is not."""
    found = fixed_points(one_tanh_unit(weight), [0.0], np.linspace(-2, 2, 41)[:, None])
    assert found.is_fixed.all()
    assert found.unconverged.size == 0
    points = found.points.ravel()
    order = np.argsort(points)
    assert_close(found.eigenvalues.ravel(), (weight * (1 - points**2)).astype(complex), atol=1e-9)
    if weight < 1:
        assert_close(points, np.zeros(1), atol=1e-10)
        assert found.is_stable.tolist() == [True]
        return
    h = 1.0
    for _ in range(
        100
    ):  # the map of w' = 1 / weight on log-odds: Newton's method for atanh(h) = weight h, from above
        h -= (np.tanh(weight * h) - h) / (weight / np.cosh(weight * h) ** 2 - 1)
    assert_close(points[order], [-h, 0.0, h], atol=1e-9)
    assert found.is_stable[order].tolist() == [True, False, True]
    assert found.num_unstable[order].tolist() == [0, 1, 0]
    assert_same_bits(np.sign(points[found.point_of_start[[0, 20, 40]]]), np.array([-1.0, 0.0, 1.0]))


def test_at_the_pitchfork_itself_the_point_is_neutral():
    """At w = 1 the derivative of the motion vanishes at 0; ``|g| = h^3 / 3`` is below 1e-12 for h below 1.5e-4."""
    found = fixed_points(one_tanh_unit(1.0), [0.0], [[0.5]])
    assert found.is_fixed.tolist() == [True]
    assert abs(found.points[0, 0]) < 1.5e-4
    assert_close(found.eigenvalues, np.ones((1, 1), complex), atol=3e-8)


def test_the_ghost_of_a_fold_is_a_slow_point():
    """Just past the fold of ``h' = tanh(w h + b)`` two fixed points are gone, and the motion has a minimum there.

    At the minimum the derivative w (1 - tanh(u)^2) - 1 of the motion is 0, with u = w h + b.
    """
    weight = 2.0
    tanh_u = -np.sqrt(1 - 1 / weight)
    u = np.arctanh(tanh_u)
    fold = u - weight * tanh_u
    ghost = (u - (fold + 0.01)) / weight
    layer, starts = one_tanh_unit(weight, fold + 0.01), np.array([[-1.2], [ghost + 1e-3], [1.0]])
    plain = fixed_points(layer, [0.0], starts)
    assert plain.points.shape == (1, 1)
    assert plain.unconverged.tolist() == [0, 1]
    assert_close(plain.residual_of_start[:2], np.full(2, tanh_u - ghost), rtol=1e-9)
    found = fixed_points(layer, [0.0], starts, max_speed=1e-4)
    assert_close(found.points, np.array([plain.points[0], [ghost]]), atol=1e-6)
    assert found.is_fixed.tolist() == [True, False]
    assert_close(found.speeds[1:], np.array([(tanh_u - ghost) ** 2 / 2]), rtol=1e-9)
    assert_close(found.eigenvalues[1], np.ones(1, complex), atol=1e-6)
    assert found.point_of_start.tolist() == [1, 1, 0]
    assert fixed_points(layer, [0.0], starts, max_speed=1e-6).points.shape == (1, 1)


@nn.recurrent_cell(gates=("h", "square"), states=("h",))
def ring(x, r, s):
    return s.h + 0.5 * (1 - r.square(s.h * s.h)) * s.h + 0.0 * x.h


def test_a_ring_is_neutral_along_itself():
    """Of ``h' = h + (1 - |h|^2) h / 2`` the circle is fixed: 1 along it, 0 across; the centre is unstable: 1.5."""
    layer = with_weights(nn.Recurrent(ring, 1, 2, dtype="float64"), weight_hh=np.ones((2, 2)))
    directions = RNG.standard_normal((40, 2))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    starts = directions * RNG.uniform(0.8, 2, (40, 1))
    found = fixed_points(layer, [0.0], np.concatenate([starts, np.zeros((1, 2))]))
    assert found.is_fixed.all()
    assert len(found.points) == 41
    assert_close(found.points[:40], directions, atol=1e-11)  # each start leads to the nearest point
    assert_close(found.eigenvalues[:40], np.broadcast_to([1.0 + 0j, 0], (40, 2)), atol=1e-10)
    assert_close(found.eigenvalues[40], np.full(2, 1.5 + 0j), atol=1e-14)
    assert not found.is_stable.any()
    assert found.num_unstable.tolist() == [0] * 40 + [2]


def test_a_rotation_is_neutral():
    angle = 0.3
    matrix = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    found = fixed_points(linear(matrix), [0.0], RNG.standard_normal((5, 2)))
    assert_close(found.points, np.zeros((1, 2)), atol=1e-11)
    assert_close(np.abs(found.eigenvalues), np.ones((1, 2)), atol=1e-14)
    assert_close(np.sort(np.angle(found.eigenvalues)), np.array([[-angle, angle]]), atol=1e-14)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.GRU(2, 5, num_layers=2),
        lambda: nn.LSTM(2, 5, proj_size=3, dtype="float64"),
    ],
    ids=["two layers of float32", "projected"],
)
def test_a_step_of_the_layer_stays_at_the_points(make):
    rt.manual_seed(0)
    layer = make()
    with rt.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(3.0)
    size = nn.dynamics.stack_states(layer, layer.begin_state()).size
    x = RNG.standard_normal(2)
    found = fixed_points(layer, x, RNG.standard_normal((50, size)))
    assert found.is_fixed.any()
    wide = layer.double()
    states = nn.dynamics.split_states(wide, found.points)
    _, after = wide(rt.tensor(np.broadcast_to(x, (1, len(found.points), 2)).copy()), states)
    moved = np.linalg.norm(nn.dynamics.stack_states(wide, after) - found.points, axis=1)
    assert (moved <= 1e-12 * (1 + np.linalg.norm(found.points, axis=1))).all()
    assert_close(moved, found.residuals, atol=1e-14)
    eigenvalues = np.linalg.eigvals(nn.dynamics.jacobian(wide, states, x))
    assert_close(np.sort(np.abs(found.eigenvalues)), np.sort(np.abs(eigenvalues)), of_largest=1e-12)


def test_starts_that_converge_nowhere_are_reported():
    drift = linear([[1.0]], [1.0])  # h' = h + 1
    found = fixed_points(drift, [0.0], np.zeros((3, 1)))
    assert found.points.shape == found.eigenvalues.shape == (0, 1)
    assert found.unconverged.tolist() == [0, 1, 2]
    assert_same_bits(found.residual_of_start, np.ones(3))
    assert repr(found) == (
        "FixedPoints(0 fixed points, 0 of them stable, and 0 slow points from 3 starts; 3 starts led to none)"
    )
    hasty = fixed_points(one_tanh_unit(1.5), [0.0], [[0.5], [0.0]], iterations=1)
    assert hasty.unconverged.tolist() == [0]
    assert hasty.point_of_start.tolist() == [-1, 0]
    overflowing = fixed_points(linear([[1e10]]), [0.0], [[1e300], [1.0]])
    assert overflowing.unconverged.tolist() == [0]
    assert overflowing.residual_of_start[0] == np.inf


def test_near_ends_are_one_point():
    layer = one_tanh_unit(1.001)  # fixed at 0 and +-0.0547
    starts = np.linspace(-0.1, 0.1, 11)[:, None]
    assert len(fixed_points(layer, [0.0], starts).points) == 3
    one = fixed_points(layer, [0.0], starts, merge_distance=0.2)
    assert len(one.points) == 1
    assert (one.point_of_start == 0).all()
    assert one.residuals[0] == one.residual_of_start.min()


def test_blocks_of_starts_do_not_change_what_is_found(monkeypatch):
    from rondeau.nn.dynamics import _slowest

    layer, starts = one_tanh_unit(1.5, 0.05), np.linspace(-1, 1, 7)[:, None]
    whole = fixed_points(layer, [0.0], starts)
    monkeypatch.setattr(_slowest, "_NUMBERS_OF_A_BLOCK", 3)
    found = fixed_points(layer, [0.0], starts)
    assert_close(found.points, whole.points, atol=1e-12)
    assert found.point_of_start.tolist() == whole.point_of_start.tolist()


def test_the_number_of_threads_changes_no_bit():
    rt.manual_seed(3)
    layer, starts = nn.LSTM(2, 24, num_layers=2), RNG.uniform(-1, 1, (40, 96))
    before, found = rt.get_num_threads(), []
    for threads in (1, 2):
        rt.set_num_threads(threads)
        points = fixed_points(layer, np.ones(2), starts)
        found.append((points.points, points.residual_of_start, points.eigenvalues))
    rt.set_num_threads(before)
    assert_same_bits(*found)


@nn.recurrent_cell(gates=("h",), states=("h",))
def rooted(x, r, s):
    return m.sqrt(s.h) + 0.0 * x.h


def test_where_the_jacobian_is_infinite_the_eigenvalues_are_nan():
    layer = with_weights(nn.Recurrent(rooted, 1, 1, dtype="float64"))
    found = fixed_points(layer, [0.0], [[0.0], [0.3]])
    assert_close(found.points, np.array([[0.0], [1.0]]), atol=1e-11)
    assert np.isnan(found.eigenvalues[0]).all()
    assert_close(found.eigenvalues[1], np.array([0.5 + 0j]), atol=1e-11)
    assert found.is_stable.tolist() == [False, True]


def test_refusals():
    layer = nn.GRU(2, 3)
    good = {"layer": layer, "input": np.zeros(2), "starts": np.zeros((4, 3))}
    cases = [
        ({"layer": "gru"}, TypeError, "layer must be an nn.Recurrent, .* got str"),
        ({"layer": nn.GRU(2, 3, bidirectional=True)}, ValueError, "bidirectional layer is not a map"),
        ({"input": np.zeros((4, 2))}, ValueError, r"input must have shape \(I,\) with I = 2, .* got \(4, 2\)"),
        ({"input": [0, np.nan]}, ValueError, "input must be finite numbers"),
        ({"starts": np.zeros((0, 3))}, ValueError, r"starts must be at least one state vector, .* got shape \(0, 3\)"),
        ({"starts": np.zeros(3)}, ValueError, r"starts must be at least one state vector, of shape \(N, 3\)"),
        ({"starts": np.zeros((4, 2))}, ValueError, "starts must be state vectors"),
        ({"starts": np.full((4, 3), np.inf)}, ValueError, "starts must be finite numbers"),
        ({"tolerance": -1.0}, ValueError, "tolerance must be a finite number of at least 0, got -1.0"),
        ({"tolerance": "tight"}, TypeError, "tolerance must be a number, got str"),
        ({"merge_distance": np.nan}, ValueError, "merge_distance must be a finite number"),
        ({"max_speed": np.inf}, ValueError, "max_speed must be a finite number"),
        ({"iterations": 0}, ValueError, "iterations must be greater than zero, got 0"),
        ({"iterations": 1.5}, TypeError, "iterations should be of type int"),
    ]  # fmt: skip
    for changed, error, message in cases:
        with pytest.raises(error, match=message):
            fixed_points(**(good | changed))
