"""Parameters and options of the recurrent layers: names, values, copies, and how they show."""

import copy
import pickle

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import cell_math as m

from .recurrent_layers import randn


def test_names_shapes_and_initial_values_are_pytorchs():
    torch = pytest.importorskip("torch")
    options = {"num_layers": 2, "bidirectional": True, "proj_size": 2}
    ours, theirs = nn.LSTM(3, 4, **options), torch.nn.LSTM(3, 4, **options)
    assert [(n, p.shape) for n, p in ours.named_parameters()] == [
        (n, tuple(p.shape)) for n, p in theirs.named_parameters()
    ]
    assert [[p.shape for p in layer] for layer in ours.all_weights] == [
        [tuple(p.shape) for p in layer] for layer in theirs.all_weights
    ]
    rt.manual_seed(0)
    layer = nn.GRU(50, 100)
    values = np.concatenate([p.detach().numpy().ravel() for p in layer.parameters()])
    assert np.abs(values).max() <= 0.1
    assert np.abs(values).max() > 0.0999
    assert abs(values.mean()) < 0.001
    assert abs(values.var() - 0.1**2 / 3) < 5e-5


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"])
def test_a_torch_state_dict_loads_and_shows_as_torch_does(name):
    torch = pytest.importorskip("torch")
    for arguments in ({}, {"bias": False}):
        ours, theirs = getattr(nn, name)(3, 4, **arguments), getattr(torch.nn, name)(3, 4, **arguments)
        ours.load_state_dict(theirs.state_dict())
        x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
        result, expected = ours(rt.tensor(x)), theirs(torch.tensor(x))
        while isinstance(result, tuple):
            result, expected = result[0], expected[0]
        assert_close(result, expected, rtol=1e-5, atol=1e-6)
        assert repr(ours) == repr(theirs)


def test_repr_names_what_is_not_default():
    layer = nn.LSTM(
        4, 5, num_layers=2, bias=False, batch_first=True, dropout=0.2, bidirectional=True, proj_size=3
    )
    assert repr(layer) == (
        "LSTM(4, 5, proj_size=3, num_layers=2, bias=False, batch_first=True, dropout=0.2, bidirectional=True)"
    )
    assert repr(nn.Recurrent(nn.cells.gru, 4, 5)) == "Recurrent(gru, 4, 5)"


def test_positional_arguments_are_pytorchs():
    layer = nn.RNN(4, 5, 2, "relu", False, True, 0.5, True)
    assert (layer.num_layers, layer.nonlinearity, layer.bias, layer.batch_first) == (2, "relu", False, True)
    assert (layer.dropout, layer.bidirectional) == (0.5, True)
    layer = nn.LSTM(4, 5, 2, False, True, 0.5, True, 3)
    assert (layer.bias, layer.batch_first, layer.dropout, layer.bidirectional) == (False, True, 0.5, True)
    assert layer.proj_size == 3
    cell = nn.RNNCell(4, 5, False, "relu")
    assert (cell.bias, cell.nonlinearity) == (False, "relu")


def test_numbers_of_numpy_are_options():
    three, half = np.int64(3), np.float32(0.5)
    layer = nn.RNN(
        three, np.int32(6), np.int16(2), proj_size=np.int64(0), num_heads=np.int64(2), recompute_every=three,
        zoneout=half, weight_dropout=half, recurrent_dropout=half, dropout=half,
    )  # fmt: skip
    layer(rt.ones(5, 2, 3))[0].sum().backward()
    nn.RNN(3, 4, bptt_truncate=np.int64(2))(rt.ones(5, 2, 3))[0].sum().backward()
    assert nn.LSTM(3, 4, proj_size=np.int64(2))(rt.ones(5, 2, 3))[0].shape == (5, 2, 2)
    assert "recompute_every=3" in repr(layer)


def test_forget_bias():
    layer = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    before = {name: p.detach().numpy().copy() for name, p in layer.named_parameters()}
    assert nn.init.forget_bias_(layer, 1.5) is layer
    for name, p in layer.named_parameters():
        expected = before[name]
        if name.startswith("bias"):
            expected[4:8] = 1.5 if name.startswith("bias_ih") else 0.0
        assert_same_bits(p, expected)
    with pytest.raises(ValueError, match="expects a cell with a gate 'f'; gru has the gates r, z, n"):
        nn.init.forget_bias_(nn.GRU(3, 4))
    with pytest.raises(ValueError, match="has no biases"):
        nn.init.forget_bias_(nn.LSTM(3, 4, bias=False))


def test_flatten_parameters_does_nothing():
    layer = nn.LSTM(3, 4)
    before = layer.weight_ih_l0
    assert layer.flatten_parameters() is None
    assert layer.weight_ih_l0 is before


def test_a_deep_copy_computes_the_same():
    layer = nn.GRU(3, 4, dtype="float64")
    twin = copy.deepcopy(layer)
    x = randn(5, 2, 3)
    assert_same_bits(twin(x)[0], layer(x)[0])
    with rt.no_grad():
        twin.weight_ih_l0.zero_()
    assert layer.weight_ih_l0.detach().numpy().any()


def bare_step(x, r, s):
    return m.tanh(x.h - r.h)


@nn.recurrent_cell(gates=("h",), states=("h",))
def decorated_step(x, r, s):
    return m.sigmoid(x.h - r.h)


@pytest.mark.parametrize(
    ("cell", "is_shared"),
    [
        (nn.cells.lstm, True),
        (decorated_step, True),
        (nn.recurrent_cell(gates=("h",), states=("h",))(bare_step), False),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_pickled_layer_computes_the_same(cell, is_shared):
    layer = nn.Recurrent(cell, 3, 4, num_layers=2, dtype="float64")
    twin = pickle.loads(pickle.dumps(layer))
    x = randn(5, 2, 3)
    assert_same_bits(twin(x)[0], layer(x)[0])
    assert (twin.cell is cell) == is_shared
    assert repr(twin) == repr(layer)


def test_begin_state():
    layer = nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2, dtype="float64")
    h, c = layer.begin_state(5)
    assert (h.shape, c.shape, c.dtype) == ((4, 5, 2), (4, 5, 4), np.float64)
    assert nn.GRU(3, 4).begin_state().shape == (1, 4)


def test_the_former_name_of_recompute_every_is_taken_with_a_warning_at_the_caller():
    with pytest.warns(
        DeprecationWarning, match="checkpoint_every was renamed: use recompute_every"
    ) as caught:
        layer = nn.GRU(4, 5, checkpoint_every=3)
    assert layer.recompute_every == 3
    assert caught[0].filename == __file__
    with pytest.raises(TypeError, match="the former name of recompute_every: pass only the latter"):
        nn.GRU(4, 5, checkpoint_every=3, recompute_every=3)
