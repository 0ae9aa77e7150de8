"""The Jacobian of a step: of linear maps, of PyTorch's cells, and of every kind of layer."""

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt

from .dynamical_layers import linear, with_weights

RNG = np.random.default_rng(5)


def central_differences(layer, vectors, x, epsilon=1e-6):
    """The Jacobian (N, D, D) by moving every number of the state, through the layer itself."""

    def step(moved):
        _, after = layer(rt.tensor(x)[None], nn.dynamics.split_states(layer, moved))
        return nn.dynamics.stack_states(layer, after)

    columns = [
        (step(vectors + epsilon * unit) - step(vectors - epsilon * unit)) / (2 * epsilon)
        for unit in np.eye(vectors.shape[1])
    ]
    return np.stack(columns, axis=2)


def test_of_a_linear_map_is_its_matrix():
    matrix = RNG.standard_normal((5, 5))
    layer = linear(matrix, RNG.standard_normal(5))
    found = nn.dynamics.jacobian(layer, RNG.standard_normal((7, 5)), np.zeros(1))
    assert_same_bits(found, np.broadcast_to(matrix, (7, 5, 5)))
    weight = RNG.standard_normal((5, 1))
    with_weights(layer, weight_ih=weight)
    assert_same_bits(nn.dynamics.input_jacobian(layer, np.zeros(5), [0.0]), weight)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_equals_that_of_torch(kind):
    torch = pytest.importorskip("torch")
    H, size, N = 6, 3, 4
    theirs = getattr(torch.nn, f"{kind}Cell")(size, H).double()
    ours = getattr(nn, kind)(size, H, dtype="float64")
    ours.load_state_dict({f"{name}_l0": value.numpy() for name, value in theirs.state_dict().items()})
    vectors, x = RNG.standard_normal((N, (2 if kind == "LSTM" else 1) * H)), RNG.standard_normal((N, size))

    def step(vector, x):
        state = tuple(vector.split(H)) if kind == "LSTM" else vector
        after = theirs(x, state)
        return torch.cat(after) if kind == "LSTM" else after

    pairs = list(zip(torch.from_numpy(vectors), torch.from_numpy(x), strict=True))
    found = [torch.autograd.functional.jacobian(step, pair) for pair in pairs]
    for k, function in enumerate((nn.dynamics.jacobian, nn.dynamics.input_jacobian)):
        expected = np.stack([of_row[k].numpy() for of_row in found])
        assert_close(function(ours, vectors, x), expected, of_largest=1e-14)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.LSTM(2, 4, num_layers=3, dtype="float64"),
        lambda: nn.LSTM(2, 4, num_layers=2, proj_size=3, dtype="float64"),
        lambda: nn.Recurrent(nn.cells.gru_layer_norm, 2, 4, num_layers=2, dtype="float64"),
        lambda: nn.Recurrent(nn.cells.mgu, 2, 4, num_heads=2, dtype="float64"),
        lambda: nn.Recurrent(nn.cells.indrnn, 2, 4, dtype="float64"),
        lambda: nn.GRU(2, 4, zoneout=0.25, dtype="float64").eval(),
    ],
    ids=["layers", "projected", "normalised", "heads", "without recurrent matrix", "zoneout"],
)
def test_equals_central_differences(make):
    layer = make()
    D = nn.dynamics.stack_states(layer, layer.begin_state()).size
    vectors, x = RNG.standard_normal((3, D)), RNG.standard_normal((3, 2))
    expected = central_differences(layer, vectors, x)
    assert_close(nn.dynamics.jacobian(layer, vectors, x), expected, atol=1e-8)


def test_of_several_layers_is_block_triangular():
    layer = nn.GRU(2, 3, num_layers=2, dtype="float64")
    found = nn.dynamics.jacobian(layer, RNG.standard_normal(6), np.zeros(2))
    assert (found[:3, 3:] == 0).all()
    assert (found[3:, :3] != 0).all()


@pytest.mark.parametrize("proj_size", [0, 2], ids=["elementwise", "projected"])
def test_blocks_do_not_change_a_row(monkeypatch, proj_size):
    from rondeau.nn.dynamics import _pulled_back, _step_map

    layer = nn.LSTM(2, 3, num_layers=2, proj_size=proj_size, dtype="float64")
    D = nn.dynamics.stack_states(layer, layer.begin_state()).size
    vectors, x = RNG.standard_normal((5, D)), RNG.standard_normal((5, 2))
    whole = nn.dynamics.jacobian(layer, vectors, x), nn.dynamics.input_jacobian(layer, vectors, x)
    monkeypatch.setattr(_step_map, "_NUMBERS_OF_A_BLOCK", 2 * D**2)  # rows 2 + 2 + 1
    for numbers in (
        3,
        3 * 2 * 3,
        10**6,
    ):  # of the new state in a backward pass: 1, 3 (or 6 for the last row), all
        monkeypatch.setattr(_pulled_back, "_NUMBERS_OF_A_BLOCK", numbers)
        found = nn.dynamics.jacobian(layer, vectors, x), nn.dynamics.input_jacobian(layer, vectors, x)
        assert_close(found, whole, of_largest=1e-15)


@pytest.mark.host_only("it takes the arrays of a layer as NumPy's")
@pytest.mark.parametrize("cell", ["rnn_relu", "gru", "lstm_peephole", "slstm", "indrnn"])
@pytest.mark.parametrize("num_heads", [1, 2])
def test_the_derived_graph_and_the_backward_of_the_kernels_agree(cell, num_heads):
    from rondeau.nn.dynamics._elementwise import ElementwiseStep, is_elementwise
    from rondeau.nn.dynamics._pulled_back import PulledBackStep

    rt.manual_seed(2)
    layer = nn.Recurrent(getattr(nn.cells, cell), 3, 4, num_heads=num_heads, zoneout=0.25, dtype="float64")
    regularised, [weights], settings = layer._in_evaluation()
    assert is_elementwise(regularised, weights)
    x = RNG.standard_normal((5, 3))
    states = tuple(RNG.uniform(0.1, 1, (5, 4)) for _ in regularised.states)
    found = ElementwiseStep.of(regularised, weights, settings).derivatives(x, states, (), by_input=True)
    expected = PulledBackStep(regularised, weights, settings).derivatives(x, states, (), by_input=True)
    assert_close(found, expected, of_largest=1e-14)


def test_cells_whose_units_meet_elsewhere_are_not_elementwise():
    from rondeau.nn.dynamics._elementwise import is_elementwise

    layers = [
        nn.Recurrent(nn.cells.gru_layer_norm, 2, 4),
        nn.Recurrent(nn.cells.mgu, 2, 4),
        nn.Recurrent(nn.cells.gru_original, 2, 4),
        nn.LSTM(2, 4, proj_size=2),
    ]
    for layer in layers:
        cell, [weights], _ = layer._in_evaluation()
        assert not is_elementwise(cell, weights)


def test_options_of_training_do_not_count():
    plain = nn.LSTM(2, 4, num_layers=2, dtype="float64")
    layer = nn.LSTM(
        2, 4, 2, dropout=0.5, recurrent_dropout=0.5, weight_dropout=0.5, bptt_truncate=0, dtype="float64"
    )
    layer.load_state_dict(plain.state_dict())
    vectors = RNG.standard_normal((2, 16))
    assert layer.training
    assert_same_bits(
        nn.dynamics.jacobian(layer, vectors, np.ones(2)), nn.dynamics.jacobian(plain, vectors, np.ones(2))
    )


def test_a_parametrised_weight_counts_as_it_is_computed():
    layer = nn.RNN(2, 4, dtype="float64")
    nn.utils.parametrizations.orthogonal(layer, "weight_hh_l0")
    effective = layer.weight_hh_l0.detach().numpy()
    h = RNG.standard_normal(4)
    new = layer(rt.zeros(1, 2, dtype="float64"), rt.tensor(h)[None])[1].detach().numpy()[0]
    found = nn.dynamics.jacobian(layer, h, np.zeros(2))
    assert_close(found, (1 - new**2)[:, None] * effective, of_largest=1e-14)


def test_a_layer_of_float32_is_differentiated_in_float64():
    layer = nn.GRU(2, 4)
    before = {name: value.numpy().copy() for name, value in layer.state_dict().items()}
    wide = nn.GRU(2, 4, dtype="float64")
    wide.load_state_dict({name: value.astype("float64") for name, value in before.items()})
    vectors = RNG.standard_normal((2, 4))
    found = nn.dynamics.jacobian(layer, vectors, np.ones(2))
    assert_same_bits(found, nn.dynamics.jacobian(wide, vectors, np.ones(2)))
    assert_same_bits({name: value.numpy() for name, value in layer.state_dict().items()}, before)


def test_states_and_inputs_in_every_form():
    layer = nn.LSTM(2, 3, num_layers=2, dtype="float64")
    x = rt.randn(4, 2, dtype="float64")
    h, c = (rt.randn(2, 4, 3, dtype="float64") for _ in range(2))
    vectors = nn.dynamics.stack_states(layer, (h, c))
    ours = vectors.reshape(4, 2, 2, 3)  # sequence, layer, state, unit
    assert_same_bits(ours[:, :, 0], h.numpy().transpose(1, 0, 2))
    assert_same_bits(ours[:, :, 1], c.numpy().transpose(1, 0, 2))
    assert_same_bits(nn.dynamics.split_states(layer, vectors), (h, c))
    expected = nn.dynamics.jacobian(layer, vectors, x)
    assert expected.shape == (4, 12, 12)
    assert_same_bits(nn.dynamics.jacobian(layer, (h, c), x), expected)
    one = nn.dynamics.jacobian(layer, (h[:, 1], c[:, 1]), x[1])
    assert_close(one, expected[1], of_largest=1e-15)
    for state, input in ((vectors[1], np.stack([x[1].numpy()] * 3)), (np.stack([vectors[1]] * 3), x[1])):
        assert_close(nn.dynamics.jacobian(layer, state, input), np.stack([one] * 3), of_largest=1e-15)
    gru = nn.GRU(2, 3, dtype="float64")
    h = rt.randn(1, 4, 3, dtype="float64")
    assert_same_bits(nn.dynamics.jacobian(gru, h, x), nn.dynamics.jacobian(gru, h[0], x))
    assert nn.dynamics.jacobian(gru, np.zeros((0, 3)), np.zeros(2)).shape == (0, 3, 3)


def test_refusals():
    lstm = nn.LSTM(2, 3)
    zeros = np.zeros(6)

    class Doubled(nn.GRU):
        def forward(self, input, hx=None):
            output, state = super().forward(input, hx)
            return 2 * output, state

    replaced = nn.GRU(2, 3)
    replaced.forward = lambda input, hx=None: (input, hx)
    broken = nn.GRU(2, 3)
    broken.weight_hh_l0.data[0, 0] = np.nan
    cases = [
        (nn.Linear(2, 3), zeros, [0, 0], TypeError, "layer must be an nn.Recurrent, .* got Linear"),
        (nn.LSTMCell(2, 3), zeros, [0, 0], TypeError, "layer must be an nn.Recurrent, .* got LSTMCell"),
        (Doubled(2, 3), np.zeros(3), [0, 0], TypeError, "Doubled has a forward of its own"),
        (replaced, np.zeros(3), [0, 0], TypeError, "GRU has a forward of its own"),
        (nn.GRU(2, 3, bidirectional=True), zeros, [0, 0], ValueError, "bidirectional layer is not a map"),
        (broken, np.zeros(3), [0, 0], ValueError, "weight_hh_l0 of the layer has elements that are NaN"),
        (lstm, np.zeros(3), [0, 0], ValueError, r"state must be state vectors \(N, 6\) or \(6,\), where 6 = 3 \+ 3"),
        (lstm, np.zeros((1, 1, 6)), [0, 0], ValueError, r"got shape \(1, 1, 6\)"),
        (lstm, zeros + np.nan, [0, 0], ValueError, "state must be finite numbers"),
        (lstm, zeros, [0, np.inf], ValueError, "input must be finite numbers"),
        (lstm, "rest", [0, 0], TypeError, "state must be a Tensor or an array of numbers, got str"),
        (lstm, rt.zeros(1, 2, 3), [0, 0], TypeError, r"one tensor for each state of the cell \(h, c\), got 1"),
        (lstm, (rt.zeros(1, 4, 3), rt.zeros(1, 5, 3)), [0, 0], ValueError, r"c must have shape \(1, 4, 3\)"),
        (lstm, (rt.zeros(2, 4, 3),) * 2, [0, 0], ValueError, r"h must have shape \(1, N, 3\), got \(2, 4, 3\)"),
        (lstm, (rt.zeros(3),) * 2, [0, 0], ValueError, r"h must have shape \(1, N, 3\), got \(3,\)"),
        (lstm, zeros, [0, 0, 0], ValueError, r"input must have shape \(N, I\) or \(I,\) with I = 2, .* got \(3,\)"),
        (lstm, zeros, 0.0, ValueError, r"input must have shape .* got \(\)"),
        (lstm, np.zeros((4, 6)), np.zeros((3, 2)), ValueError, "one row for each of the 4 states, got 3 rows"),
    ]  # fmt: skip
    for layer, state, input, error, message in cases:
        for function in (nn.dynamics.jacobian, nn.dynamics.input_jacobian):
            with pytest.raises(error, match=message):
                function(layer, state, input)
    with pytest.raises(ValueError, match="vectors must be state vectors"):
        nn.dynamics.split_states(lstm, np.zeros(5))
    with pytest.raises(TypeError, match="states must have one tensor for each state"):
        nn.dynamics.stack_states(lstm, rt.zeros(1, 4, 3))
