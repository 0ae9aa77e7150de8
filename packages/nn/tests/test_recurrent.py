"""The recurrent layers' behaviour: programs with known numbers, forms of input, dropout, memory, refusals."""

import copy
import gc
import pickle
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels import sequence
from rondeau.kernels.cell import CellError
from rondeau.nn import _recurrent_function
from rondeau.nn import cell_math as m
from rondeau.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence

LAYERS = [nn.RNN, nn.GRU, nn.LSTM]
CELLS = [nn.RNNCell, nn.GRUCell, nn.LSTMCell]


def randn(*shape, seed=0, dtype="float64", requires_grad=False):
    values = np.random.default_rng([seed, *shape]).standard_normal(shape)
    return rt.tensor(values, dtype=dtype, requires_grad=requires_grad)


def as_tuple(states):
    return states if isinstance(states, tuple) else (states,)


def assert_equal(ours, theirs):
    np.testing.assert_array_equal(ours.data, theirs.data)


def assert_near(ours, theirs, tolerance=1e-12):
    theirs = theirs if isinstance(theirs, np.ndarray) else theirs.data
    np.testing.assert_allclose(ours.data, theirs, rtol=0, atol=tolerance * max(1.0, np.abs(theirs).max()))


# -- programs of the texts -------------------------------------------------------------------------


def test_program_4_three_linear_layers_are_an_rnn():
    """An RNN from input-hidden, hidden-hidden and hidden-output layers, and nn.RNN with the same weights."""
    rt.manual_seed(4)
    T, B, I, H, V = 6, 3, 4, 5, 7  # noqa: E741
    to_hidden, hidden, to_output = (nn.Linear(*sizes, dtype="float64") for sizes in ((I, H), (H, H), (H, V)))
    x = randn(T, B, I, requires_grad=True)
    cotangent = randn(T, B, V, seed=1)

    h = rt.zeros(B, H, dtype="float64")
    by_hand = []
    for t in range(T):
        h = rt.tanh(to_hidden(x[t]) + hidden(h))
        by_hand.append(to_output(h))
    by_hand = rt.stack(by_hand)
    by_hand.backward(cotangent)
    expected = [x.grad, to_hidden.weight.grad, hidden.weight.grad, to_hidden.bias.grad, hidden.bias.grad]
    x.grad = None

    layer = nn.RNN(I, H, dtype="float64")
    layer.load_state_dict(
        {
            "weight_ih_l0": to_hidden.weight,
            "weight_hh_l0": hidden.weight,
            "bias_ih_l0": to_hidden.bias,
            "bias_hh_l0": hidden.bias,
        }
    )
    output, h_n = layer(x)
    logits = to_output(output)
    assert_near(logits, by_hand)
    assert_near(h_n[0], h)
    logits.backward(cotangent)
    for ours, theirs in zip([x.grad, *(p.grad for p in layer.parameters())], expected, strict=True):
        assert_near(ours, theirs)


def scalar_rnn(w):
    layer = nn.RNN(1, 1, bias=False, dtype="float64")
    layer.load_state_dict({"weight_ih_l0": [[1.0]], "weight_hh_l0": [[w]]})
    return layer


def test_program_16_terms_of_backpropagation_through_time():
    """dL/dw of h_t = tanh(w h_{t-1} + x_t), L = h_3^2 / 2, whole and step by step."""
    x = rt.tensor([[[1.0]], [[-0.5]], [[0.25]]], dtype="float64")
    h0 = rt.tensor([[[0.5]]], dtype="float64")
    whole = scalar_rnn(0.8)
    _, h3 = whole(x, h0)
    (h3**2 / 2).sum().backward()
    assert round(whole.weight_hh_l0.grad.item(), 6) == 0.315216

    steps = [scalar_rnn(0.8) for _ in range(3)]  # a weight of its own for every step: its gradient is a term
    h = h0
    for layer, x_t in zip(steps, x, strict=True):
        _, h = layer(x_t[None], h)
    (h**2 / 2).sum().backward()
    terms = [round(layer.weight_hh_l0.grad.item(), 6) for layer in steps]
    assert terms == [0.021983, 0.225106, 0.068127]


def test_program_16_negated_update_gate_is_the_texts_gru():
    """The text's GRU, h' = (1 - z) h + z n, on a diagonal U: its reset inside the product is then ours outside."""
    T, I, H = 5, 3, 4  # noqa: E741
    rng = np.random.default_rng(16)
    W = {gate: rng.standard_normal((H, I)) for gate in "rzn"}
    U = {gate: np.diag(rng.standard_normal(H)) for gate in "rzn"}
    x = rng.standard_normal((T, I))

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    h = np.zeros(H)
    expected = []
    for x_t in x:
        z = sigmoid(W["z"] @ x_t + U["z"] @ h)
        r = sigmoid(W["r"] @ x_t + U["r"] @ h)
        n = np.tanh(W["n"] @ x_t + U["n"] @ (r * h))
        h = (1 - z) * h + z * n
        expected.append(h)
    layer = nn.GRU(I, H, bias=False, dtype="float64")
    layer.load_state_dict(
        {
            "weight_ih_l0": np.concatenate([W["r"], -W["z"], W["n"]]),
            "weight_hh_l0": np.concatenate([U["r"], -U["z"], U["n"]]),
        }
    )
    assert_near(layer(rt.tensor(x))[0], np.array(expected), 1e-14)


@pytest.mark.parametrize("layer_class", LAYERS)
def test_program_17_the_backward_state_is_where_each_row_begins(layer_class):
    H, lengths = 4, [2, 5, 1]
    layer = layer_class(3, H, bidirectional=True, dtype="float64")
    packed = pack_padded_sequence(randn(5, 3, 3), lengths, enforce_sorted=False)
    output, state = layer(packed)
    h_n = as_tuple(state)[0]
    padded, _ = pad_packed_sequence(output)
    assert_equal(h_n[1], padded[0, :, H:])
    for row, length in enumerate(lengths):
        assert_equal(h_n[0, row], padded[length - 1, row, :H])
        assert not padded[length:, row].data.any()


# -- forms of input --------------------------------------------------------------------------------


@pytest.mark.parametrize("layer_class", LAYERS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_packed_row_is_the_row_alone(layer_class, bidirectional):
    """Outputs, states and gradients of every row equal those of a run over that row without a batch."""
    layer = layer_class(3, 5, num_layers=2, bidirectional=bidirectional, dtype="float64")
    rows = [randn(n, 3, seed=n, requires_grad=True) for n in (2, 6, 1, 4, 6)]
    D = 2 if bidirectional else 1
    hx = tuple(randn(2 * D, 5, 5, seed=s, requires_grad=True) for s in range(len(layer.cell.states)))
    output, state = layer(pack_sequence(rows, enforce_sorted=False), hx if len(hx) > 1 else hx[0])
    padded, lengths = pad_packed_sequence(output)
    assert lengths.tolist() == [2, 6, 1, 4, 6]
    weight = randn(*padded.shape, seed=9)
    loss = (padded * weight).sum() + sum((s**2).sum() for s in as_tuple(state))
    together = rt.grad(loss, [*rows, *hx, *layer.parameters()])

    loss = 0.0
    for i, row in enumerate(rows):
        alone = tuple(s[:, i] for s in hx)
        output, end = layer(row, alone if len(alone) > 1 else alone[0])
        assert_near(padded[: len(row), i], output)
        for s, whole in zip(as_tuple(end), as_tuple(state), strict=True):
            assert_near(whole[:, i], s)
        loss = loss + (output * weight[: len(row), i]).sum() + sum((s**2).sum() for s in as_tuple(end))
    for ours, theirs in zip(together, rt.grad(loss, [*rows, *hx, *layer.parameters()]), strict=True):
        assert_near(ours, theirs)


@pytest.mark.parametrize("layer_class", LAYERS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_unbatched_input_is_a_batch_of_one(layer_class, batch_first):
    layer = layer_class(3, 5, num_layers=2, bidirectional=True, batch_first=batch_first, dtype="float64")
    x = randn(4, 3)
    output, state = layer(x)
    batched, batched_state = layer(x.unsqueeze(0 if batch_first else 1))
    assert_equal(output, batched.squeeze(0 if batch_first else 1))
    for s, b in zip(as_tuple(state), as_tuple(batched_state), strict=True):
        assert_equal(s, b.squeeze(1))


@pytest.mark.parametrize("layer_class", LAYERS)
def test_empty_batch(layer_class):
    layer = layer_class(3, 5, num_layers=2, bidirectional=True)
    x = rt.zeros(4, 0, 3, requires_grad=True)
    output, state = layer(x)
    assert output.shape == (4, 0, 10)
    assert all(s.shape == (4, 0, 5) for s in as_tuple(state))
    output.sum().backward()
    assert x.grad.shape == x.shape
    assert all(p.grad.shape == p.shape and not p.grad.data.any() for p in layer.parameters())


@pytest.mark.parametrize("layer_class", LAYERS)
def test_integers_are_one_hot_rows(layer_class):
    layer = layer_class(6, 5, num_layers=2, bidirectional=True, batch_first=True, dtype="float64")
    ids = rt.tensor(np.random.default_rng(0).integers(0, 6, (3, 4)))
    one_hot = rt.tensor(np.eye(6)[ids.data])
    cotangent = randn(3, 4, 10)
    output, _ = layer(ids)
    expected, _ = layer(one_hot)
    assert_near(output, expected)
    ours = rt.grad((output * cotangent).sum(), list(layer.parameters()))
    for g, e in zip(ours, rt.grad((expected * cotangent).sum(), list(layer.parameters())), strict=True):
        assert_near(g, e)
    assert_near(layer(ids[0])[0], expected[0])
    packed = pack_padded_sequence(ids, [4, 2, 1], batch_first=True)
    packed_one_hot = pack_padded_sequence(one_hot, [4, 2, 1], batch_first=True)
    assert_near(layer(packed)[0].data, layer(packed_one_hot)[0].data)


@pytest.mark.parametrize("layer_class", LAYERS)
def test_non_contiguous_input_and_weights(layer_class):
    layer = layer_class(3, 5, dtype="float64")
    x, h = randn(4, 2, 6), tuple(randn(1, 4, 5) for _ in layer.cell.states)
    hx = tuple(s[:, ::2] for s in h)
    output, _ = layer(x[:, :, ::2], hx if len(hx) > 1 else hx[0])
    copies = tuple(rt.tensor(s.data.copy()) for s in hx)
    expected, _ = layer(rt.tensor(x.data[:, :, ::2].copy()), copies if len(hx) > 1 else copies[0])
    assert_equal(output, expected)


# -- gradients that nobody needs -------------------------------------------------------------------


@pytest.mark.parametrize("layer_class", LAYERS)
def test_only_what_requires_a_gradient_gets_one(layer_class):
    layer = layer_class(3, 5, num_layers=2, dtype="float64")
    x = randn(4, 2, 3, requires_grad=True)
    layer(x)[0].sum().backward()
    expected = {name: p.grad for name, p in layer.named_parameters()}
    layer.zero_grad()
    layer.weight_ih_l1.requires_grad_(False)
    layer.weight_hh_l0.requires_grad_(False)
    layer(x.detach())[0].sum().backward()
    for name, p in layer.named_parameters():
        if p.requires_grad:
            assert_equal(p.grad, expected[name])
        else:
            assert p.grad is None


def test_no_grad_records_nothing():
    layer = nn.LSTM(3, 5)
    with rt.no_grad():
        output, (h, c) = layer(rt.ones(4, 2, 3))
    assert output.grad_fn is None
    assert not output.requires_grad
    assert not h.requires_grad
    assert not c.requires_grad


@pytest.mark.parametrize("layer_class", LAYERS)
def test_a_graph_may_be_walked_twice(layer_class):
    layer = layer_class(3, 5, num_layers=2, bidirectional=True, dtype="float64")
    output, _ = layer(randn(4, 2, 3))
    loss = (output**2).sum()
    parameters = list(layer.parameters())
    first = rt.grad(loss, parameters, retain_graph=True)
    for once, twice in zip(first, rt.grad(loss, parameters), strict=True):
        assert_equal(once, twice)
    with pytest.raises(RuntimeError, match="retain_graph"):
        rt.grad(loss, parameters)


def test_a_weight_changed_in_place_before_backward_is_refused():
    layer = nn.GRU(3, 5)
    output, _ = layer(rt.ones(4, 2, 3))
    with rt.no_grad():
        layer.weight_hh_l0.zero_()
    with pytest.raises(RuntimeError, match="in place"):
        output.sum().backward()


def test_an_output_changed_in_place_before_backward_is_refused():
    layer = nn.GRU(3, 5)
    output, _ = layer(rt.ones(4, 2, 3))
    output.mul_(2.0)
    with pytest.raises(RuntimeError, match="changed in place"):
        output.sum().backward()


def test_the_output_is_not_copied(monkeypatch):
    """One layer in one direction: the result is over the memory that the kernel wrote."""
    written = []

    def forward(*arguments, **options):
        result = sequence.forward(*arguments, **options)
        written.append(result.every[0])
        return result

    monkeypatch.setattr(_recurrent_function, "sequence", SimpleNamespace(forward=forward))
    output, _ = nn.GRU(3, 5)(rt.ones(4, 2, 3))
    assert np.shares_memory(output.data, written[0])


# -- parameters ------------------------------------------------------------------------------------


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
    values = np.concatenate([p.data.ravel() for p in layer.parameters()])
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
        np.testing.assert_allclose(result.data, expected.detach().numpy(), rtol=1e-5, atol=1e-6)
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


def test_forget_bias():
    layer = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    before = {name: p.data.copy() for name, p in layer.named_parameters()}
    assert nn.init.forget_bias_(layer, 1.5) is layer
    for name, p in layer.named_parameters():
        expected = before[name]
        if name.startswith("bias"):
            expected[4:8] = 1.5 if name.startswith("bias_ih") else 0.0
        np.testing.assert_array_equal(p.data, expected)
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
    assert_equal(twin(x)[0], layer(x)[0])
    with rt.no_grad():
        twin.weight_ih_l0.zero_()
    assert layer.weight_ih_l0.data.any()


@pytest.mark.parametrize("function", [rt.tanh, nn.functional.softplus, nn.functional.gelu])
def test_a_function_of_tensors_in_a_step_is_an_error_at_its_line(function):
    with pytest.raises(
        CellError,
        match=r"test_recurrent\.py.*\n +return function\(x\.h\)\nfunction cannot take a symbol; use the fun",
    ):

        @nn.recurrent_cell(gates=("h",), states=("h",))
        def step(x, r, s):
            return function(x.h)


class Misled:
    """Steps that compute on Tensors."""

    tanh = staticmethod(lambda x, r, s: rt.tanh(x.h))
    maximum = staticmethod(lambda x, r, s: m.tanh(rt.maximum(x.h, 0.0) + r.h))
    where = staticmethod(lambda x, r, s: rt.where(x.h > 0, x.h, r.h))
    softplus = staticmethod(lambda x, r, s: nn.functional.softplus(x.h))
    module = staticmethod(lambda x, r, s: nn.Sigmoid()(x.h))

    @staticmethod
    def two_lines(x, r, s):
        return rt.maximum(
            x.h,
            r.h,
        )


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Misled.tanh, r"rt\.tanh cannot take a symbol; use cell_math\.tanh"),
        (Misled.maximum, r"rt\.maximum cannot take a symbol; use cell_math\.maximum"),
        (Misled.where, r"rt\.where cannot take a symbol; use cell_math\.where"),
        (Misled.softplus, r"nn\.functional\.softplus cannot take a symbol; use cell_math\.softplus"),
        (Misled.module, r"nn\.Sigmoid\(\) cannot take a symbol; use cell_math\.sigmoid"),
        (Misled.two_lines, r"rt\.maximum cannot take a symbol; use cell_math\.maximum"),
        (
            lambda x, r, s: rt.ones(3) * x.h,
            "a step takes symbols and numbers, not Tensors; arrays and learned",
        ),
        (lambda x, r, s: x.h + rt.ones(3), "add takes symbols and numbers, not Tensor"),
    ],
)
def test_a_function_of_tensors_is_named_beside_what_to_use(step, message):
    with pytest.raises(CellError, match=r"test_recurrent\.py.*\n.*\n" + message):
        nn.recurrent_cell(gates=("h",), states=("h",))(step)


def test_a_function_of_tensors_in_a_step_without_source():
    namespace = {"rt": rt}
    exec("def step(x, r, s): return rt.tanh(x.h)", namespace)
    with pytest.raises(
        CellError, match="a function of Tensors cannot take a symbol; use the functions of cell_math"
    ):
        nn.recurrent_cell(gates=("h",), states=("h",))(namespace["step"])


def test_a_function_that_cell_math_does_not_have():
    with pytest.raises(
        AttributeError, match=r"cell_math has no function 'sigmoyd', it has abs, .*; did you mean sigm"
    ):
        nn.recurrent_cell(gates=("h",), states=("h",))(lambda x, r, s: m.sigmoyd(x.h))


def plain_step(x, r, s):
    return m.tanh(x.h - r.h)


@nn.recurrent_cell(gates=("h",), states=("h",))
def decorated_step(x, r, s):
    return m.sigmoid(x.h - r.h)


@pytest.mark.parametrize(
    ("cell", "is_shared"),
    [
        (nn.cells.lstm, True),
        (decorated_step, True),
        (nn.recurrent_cell(gates=("h",), states=("h",))(plain_step), False),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_pickled_layer_computes_the_same(cell, is_shared):
    layer = nn.Recurrent(cell, 3, 4, num_layers=2, dtype="float64")
    twin = pickle.loads(pickle.dumps(layer))
    x = randn(5, 2, 3)
    assert_equal(twin(x)[0], layer(x)[0])
    assert (twin.cell is cell) == is_shared
    assert repr(twin) == repr(layer)


def test_begin_state():
    layer = nn.LSTM(3, 4, num_layers=2, bidirectional=True, proj_size=2, dtype="float64")
    h, c = layer.begin_state(5)
    assert (h.shape, c.shape, c.dtype) == ((4, 5, 2), (4, 5, 4), np.float64)
    assert nn.GRU(3, 4).begin_state().shape == (1, 4)


# -- dropout between layers ------------------------------------------------------------------------


def stack(dropout):
    rt.manual_seed(3)
    return nn.GRU(3, 4, num_layers=2, dropout=dropout, dtype="float64")


def test_dropout_of_nothing_and_of_everything():
    x = randn(5, 2, 3)
    plain = stack(0.0)
    assert_equal(stack(0.0)(x)[0], plain(x)[0])
    everything = stack(1.0)
    above = nn.GRU(4, 4, dtype="float64")
    above.load_state_dict({n.replace("l1", "l0"): p for n, p in everything.state_dict().items() if "l1" in n})
    assert_equal(everything(x)[0], above(rt.zeros(5, 2, 4, dtype="float64"))[0])
    assert_equal(everything.eval()(x)[0], plain(x)[0])


def test_dropout_drops_its_share_and_scales_the_rest():
    """Seen through a second layer that hands its input on: relu of a positive number, no recurrence."""
    T, B, H, p = 50, 40, 16, 0.3
    rt.manual_seed(0)
    layer = nn.RNN(1, H, num_layers=2, nonlinearity="relu", dropout=p, dtype="float64")
    zeros, eye = np.zeros((H, H)), np.eye(H)
    layer.load_state_dict(
        {
            "weight_ih_l0": np.ones((H, 1)),
            "weight_ih_l1": eye,
            **{f"weight_hh_l{k}": zeros for k in (0, 1)},
            **{f"bias_{part}_l{k}": np.zeros(H) for part in ("ih", "hh") for k in (0, 1)},
        }
    )
    x = rt.ones(T, B, 1, dtype="float64")
    output = layer(x)[0].data
    assert set(np.unique(output)) == {0.0, 1 / (1 - p)}
    dropped = output == 0
    n = output.size
    assert abs(dropped.mean() - p) < 4 * np.sqrt(p * (1 - p) / n)
    for axis in range(3):  # no unit, row or step has a share of its own
        others = tuple(a for a in range(3) if a != axis)
        share = dropped.mean(axis=others)
        assert np.abs(share - p).max() < 5 * np.sqrt(p * (1 - p) / (n / output.shape[axis]))
    assert (layer(x)[0].data != output).any()
    rt.manual_seed(7)
    first = layer(x)[0]
    rt.manual_seed(7)
    assert_equal(layer(x)[0], first)


# -- single steps ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("cell_class", "layer_class"), [*zip(CELLS, LAYERS, strict=True)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_chain_of_single_steps_is_the_layer(cell_class, layer_class, bias):
    layer = layer_class(3, 5, bias=bias, dtype="float64")
    cell = cell_class(3, 5, bias=bias, dtype="float64")
    cell.load_state_dict({name.removesuffix("_l0"): w for name, w in layer.state_dict().items()})
    x = randn(6, 2, 3, requires_grad=True)
    hx = tuple(randn(1, 2, 5, seed=s, requires_grad=True) for s in range(len(layer.cell.states)))
    cotangent = randn(6, 2, 5, seed=5)
    output, _ = layer(x, hx if len(hx) > 1 else hx[0])
    expected = rt.grad((output * cotangent).sum(), [x, *hx, *layer.parameters()])

    states = tuple(s[0] for s in hx)
    outputs = []
    for t in range(6):
        states = as_tuple(cell(x[t], states if len(states) > 1 else states[0]))
        outputs.append(states[0])
    chained = rt.stack(outputs)
    assert_near(chained, output)
    ours = rt.grad((chained * cotangent).sum(), [x, *hx, *cell.parameters()])
    for g, e in zip(ours, expected, strict=True):
        assert_near(g, e)


@pytest.mark.parametrize("cell_class", CELLS)
def test_a_single_step_without_a_batch_or_a_state(cell_class):
    cell = cell_class(3, 5, dtype="float64")
    x = randn(2, 3)
    for one, both in zip(as_tuple(cell(x[0])), as_tuple(cell(x)), strict=True):
        assert one.shape == (5,)
        assert_near(one, both[0])


# -- cells of the user's ---------------------------------------------------------------------------


@nn.recurrent_cell(gates=("z", "n"), states=("h", "e"))
def slow_and_fast(x, r, s):
    """Two states, a comparison, and a gate read apart from its recurrent part."""
    z = m.sigmoid(x.z + r.z)
    h = z * s.h + (1 - z) * m.tanh(x.n * r.n + 0.5)
    return h, m.where(h > s.e, h, 0.9 * s.e + 0.1 * h)


def test_a_cell_documents_itself_as_its_step_does():
    assert slow_and_fast.__doc__.startswith("Two states, a comparison")
    assert nn.cells.gru.__doc__.startswith("Step the gated recurrent unit")


def test_a_users_cell_by_hand():
    T, B, I, H = 5, 2, 3, 4  # noqa: E741
    layer = nn.Recurrent(slow_and_fast, I, H, dtype="float64")
    x = randn(T, B, I)
    output, (h_n, e_n) = layer(x)
    W, R, b, c = (p.data for p in layer.parameters())
    h, e = np.zeros((B, H)), np.zeros((B, H))
    for t in range(T):
        into, back = x.data[t] @ W.T + b, h @ R.T + c
        z = 1 / (1 + np.exp(-(into[:, :H] + back[:, :H])))
        h = z * h + (1 - z) * np.tanh(into[:, H:] * back[:, H:] + 0.5)
        e = np.where(h > e, h, 0.9 * e + 0.1 * h)
        assert_near(output[t], h, 1e-14)
    assert_near(h_n[0], h, 1e-14)
    assert_near(e_n[0], e, 1e-14)


def test_the_built_in_layers_are_recurrent_layers_of_the_public_cells():
    for layer, cell in (
        (nn.RNN(3, 5), nn.cells.rnn_tanh),
        (nn.GRU(3, 5), nn.cells.gru),
        (nn.LSTM(3, 5), nn.cells.lstm),
    ):
        assert isinstance(layer, nn.Recurrent)
        assert layer.cell is cell
        general = nn.Recurrent(cell, 3, 5)
        general.load_state_dict(layer.state_dict())
        assert_equal(general(rt.ones(4, 2, 3))[0], layer(rt.ones(4, 2, 3))[0])


def test_a_projected_cell_of_the_users():
    @nn.recurrent_cell(gates=("a",), states=("h",))
    def leaky(x, r, s):
        return m.relu(x.a + r.a) + 0.1 * x.a

    layer = nn.Recurrent(leaky, 3, 5, proj_size=2, dtype="float64")
    x = randn(4, 2, 3)
    W, R, b, c, P = (p.data for p in layer.parameters())
    h = np.zeros((2, 2))
    output, h_n = layer(x)
    for t in range(4):
        into = x.data[t] @ W.T + b
        h = (np.maximum(into + h @ R.T + c, 0) + 0.1 * into) @ P.T
        assert_near(output[t], h, 1e-14)
    assert_near(h_n[0], h, 1e-14)


def test_errors_of_a_step_show_its_line():
    with pytest.raises(CellError, match=r"if x\.a > 0"):

        @nn.recurrent_cell(gates=("a",), states=("h",))
        def branching(x, r, s):
            if x.a > 0:
                return x.a
            return r.a


@pytest.mark.parametrize(
    ("cell", "hint"),
    [
        (plain_step, r"decorate the step with @nn\.recurrent_cell"),
        ("lstm", r"got 'lstm': did you mean nn\.cells\.lstm\?"),
        ("LSTM", r"did you mean nn\.cells\.lstm\?"),
        (nn.LSTM, r"did you mean nn\.cells\.lstm\?"),
        (nn.RNN, r"did you mean nn\.cells\.rnn_tanh\?"),
        ("transformer", "nn.cells has gru, "),
        (None, "got None: decorate the step"),
    ],
)
def test_what_is_no_cell_is_refused(cell, hint):
    with pytest.raises(TypeError, match=hint):
        nn.Recurrent(cell, 3, 4)


def test_the_decorator_needs_its_brackets():
    with pytest.raises(TypeError, match=r"write @nn\.recurrent_cell\(gates=\.\.\., states=\.\.\.\)"):

        @nn.recurrent_cell
        def step(x, r, s):
            return x.h


def test_a_declared_gate_or_vector_is_read():
    with pytest.raises(CellError, match="gate z is declared and never read"):
        nn.recurrent_cell(gates=("h", "z"), states=("h",))(plain_step)
    with pytest.raises(CellError, match="parameter v is declared and never read"):
        nn.recurrent_cell(gates=("h",), states=("h",), params={"v": nn.init.zeros_})(lambda x, r, s, p: x.h)


def vector_added(x, r, s, p):
    return m.tanh(x.h + p.v)


def with_initialiser(initialiser):
    return nn.recurrent_cell(gates=("h",), states=("h",), params={"v": initialiser})(vector_added)


def test_a_vector_is_initialised_in_place_and_unrecorded():
    layer = nn.Recurrent(with_initialiser(lambda vector: vector.fill_(1.5)), 2, 3)
    assert layer.v_l0.tolist() == [1.5] * 3
    assert layer.v_l0.is_leaf
    assert layer.v_l0.requires_grad


@pytest.mark.parametrize("initialiser", [lambda v: None, lambda v: rt.ones(3), lambda v: v[1:].fill_(1.0)])
def test_an_initialiser_that_leaves_elements_unset(initialiser):
    with pytest.raises(
        ValueError, match="initialiser of the parameter v of cell vector_added left elements unset"
    ):
        nn.Recurrent(with_initialiser(initialiser), 2, 3)


@pytest.mark.parametrize("option", ["recurrent_dropout", "weight_dropout"])
def test_what_acts_on_recurrent_matrices_needs_some(option):
    with pytest.raises(
        ValueError,
        match=f"cell indrnn has no recurrent matrices, so {option} has nothing to act on; use zoneout",
    ):
        nn.Recurrent(nn.cells.indrnn, 3, 4, **{option: 0.9})
    nn.Recurrent(nn.cells.indrnn, 3, 4, **{option: 0.0})


def test_numbers_of_numpy_are_options():
    three, half = np.int64(3), np.float32(0.5)
    layer = nn.RNN(
        three, np.int32(6), np.int16(2), proj_size=np.int64(0), num_heads=np.int64(2), checkpoint_every=three,
        zoneout=half, weight_dropout=half, recurrent_dropout=half, dropout=half,
    )  # fmt: skip
    layer(rt.ones(5, 2, 3))[0].sum().backward()
    nn.RNN(3, 4, bptt_truncate=np.int64(2))(rt.ones(5, 2, 3))[0].sum().backward()
    assert nn.LSTM(3, 4, proj_size=np.int64(2))(rt.ones(5, 2, 3))[0].shape == (5, 2, 2)
    assert "checkpoint_every=3" in repr(layer)


def test_a_tensor_of_torch_is_called_so():
    torch = pytest.importorskip("torch")
    layer, x = nn.LSTM(3, 4), torch.zeros(5, 2, 3)
    with pytest.raises(
        TypeError, match=r"should be a Tensor or a PackedSequence, got torch\.Tensor: wrap it in rt\.tensor"
    ):
        layer(x)
    with pytest.raises(
        TypeError, match=r"hx should be a tuple of 2 Tensors \(h, c\), got \(torch\.Tensor, Tensor\)"
    ):
        layer(rt.tensor(x), (torch.zeros(1, 2, 4), zeros(1, 2, 4)))
    with pytest.raises(TypeError, match=r"x_t should be a Tensor, an array or an id, got torch\.Tensor"):
        layer.stepper()(x[0])


@pytest.mark.parametrize(
    ("arguments", "step", "message"),
    [
        ({"gates": 1}, plain_step, r"gates expected a tuple of names, got 1: write @nn\.recurrent_cell"),
        ({"gates": "h"}, plain_step, "gates expected a tuple of names, got 'h'"),
        ({"states": None}, plain_step, "states expected a tuple of names, got None"),
        ({"params": ["peephole"]}, plain_step, "params expected a mapping of names to what initialises them"),
        (
            {"params": {"v": 1.0}},
            vector_added,
            r"params\['v'\] expected a function that fills the vector in place, as nn.init.zeros_ .* got 1.0",
        ),
        ({"name": 7}, plain_step, "name expected a string, got 7"),
        ({}, "nonsense", "a cell is made of a function step.x, r, s., got 'nonsense'"),
        ({}, None, "a cell is made of a function"),
    ],
)
def test_what_no_cell_is_made_of_is_refused(arguments, step, message):
    with pytest.raises(TypeError, match=message):
        nn.recurrent_cell(**{"gates": ("h",), "states": ("h",)} | arguments)(step)


# -- memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer_class", LAYERS)
def test_a_steps_memory_returns_by_reference_count(layer_class):
    layer = layer_class(3, 5, num_layers=2, bidirectional=True)
    layer(rt.ones(4, 2, 3))[0].sum().backward()  # what is compiled or loaded at a first step may leave cycles
    layer.zero_grad()
    gc.collect()
    gc.disable()
    try:
        output, state = layer(rt.ones(4, 2, 3))
        loss = output.sum() + as_tuple(state)[0].sum()
        watched = [weakref.ref(t) for t in (output, *as_tuple(state), loss)]
        loss.backward()
        del output, state, loss
        assert [ref() for ref in watched] == [None] * len(watched)
        layer.zero_grad()
        assert gc.collect() == 0, "the step left reference cycles"
    finally:
        gc.enable()


# -- refusals --------------------------------------------------------------------------------------


def zeros(*shape, dtype="float32"):
    return rt.zeros(*shape, dtype=dtype)


@pytest.mark.parametrize("value", [None, 0.5, "leak", np.ones(2)])
def test_hyperparameters_set_to_what_is_no_mapping(value):
    layer = nn.GRU(4, 5)
    layer.hyperparameters = value
    for call in (lambda: layer(zeros(3, 2, 4)), layer.stepper):
        with pytest.raises(TypeError, match="hyperparameters should be a mapping of names to numbers"):
            call()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: nn.GRU(4, 5, proj_size=2),
            ValueError,
            "proj_size argument is only supported for LSTM, not RNN or GRU",
        ),
        (
            lambda: nn.RNN(4, 5, proj_size=2),
            ValueError,
            "proj_size argument is only supported for LSTM, not RNN or GRU",
        ),
        (lambda: nn.LSTM(4, 5, proj_size=5), ValueError, "proj_size has to be smaller than hidden_size"),
        (lambda: nn.LSTM(4, 5, proj_size=-1), ValueError, "proj_size should be a positive integer or zero"),
        (
            lambda: nn.Recurrent(nn.cells.gru, 4, 5, proj_size=2),
            ValueError,
            r"proj_size=2 needs a cell that does not read its first state, which is projected: cell gru reads",
        ),
        (lambda: nn.LSTM(4, 0), ValueError, "hidden_size must be greater than zero, got 0"),
        (lambda: nn.LSTM(0, 5), ValueError, "input_size must be greater than zero, got 0"),
        (lambda: nn.LSTM(4, 5, 0), ValueError, "num_layers must be greater than zero, got 0"),
        (lambda: nn.LSTM(4, 5.0), TypeError, "hidden_size should be of type int, got: float"),
        (lambda: nn.GRU(4, 5, bias=[1, 2]), TypeError, r"bias should be True or False, got \[1, 2\]"),
        (lambda: nn.GRU(4, 5, 1, True, "yes"), TypeError, "batch_first should be True or False, got 'yes'"),
        (lambda: nn.GRUCell(4, 5, None), TypeError, "bias should be True or False, got None"),
        (
            lambda: nn.RNN(4, 5, nonlinearity=["tanh"]),
            ValueError,
            r"Unknown nonlinearity '\['tanh'\]'. Select from 'tanh' or 'relu'.",
        ),
        (
            lambda: nn.RNN(4, 5, proj_size=np.ones(2)),
            ValueError,
            "proj_size argument is only supported for LSTM",
        ),
        (
            lambda: nn.LSTM(4, 5, proj_size="one"),
            ValueError,
            "proj_size should be a positive integer or zero",
        ),
        (
            lambda: nn.LSTM(4, 5, zoneout=[0.5]),
            ValueError,
            r"zoneout should be a number in range .* got \[0.5\]",
        ),
        (
            lambda: nn.LSTM(4, 5, zoneout=1.5),
            ValueError,
            r"\[0, 1\] representing the probability of a unit keeping its old state, got 1.5",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(3, 2, 4), lengths=[3.0, 1]),
            TypeError,
            r"lengths should be 2 integers, got floats \(float64\)",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(3, 2, 4), lengths=[True, True]),
            TypeError,
            r"lengths should be 2 integers, got truth values \(bool\)",
        ),
        (lambda: nn.LSTM(4, 5, zoneout=np.complex64(0.5)), ValueError, "zoneout should be a number in range"),
        (lambda: nn.LSTM(4, 5, zoneout={"h": "often"}), ValueError, "zoneout should be a number in range"),
        (
            lambda: nn.LSTM(4, 5, hyperparameters=0.5),
            TypeError,
            "hyperparameters should be a mapping of names to numbers, got 0.5; the scalars of cell lstm are: none",
        ),
        (
            lambda: nn.LSTM(4, 5, hyperparameters="leak"),
            TypeError,
            "hyperparameters should be a mapping of names to numbers, got 'leak'",
        ),
        (
            lambda: nn.LSTM(4, 5, proj_size=2, zoneout=0.25),
            ValueError,
            "zoneout of the state h keeps old values .*: name the other states",
        ),
        (
            lambda: nn.GRU(4, 5, bptt_truncate=[1]),
            ValueError,
            "bptt_truncate should be None or a number of steps",
        ),
        (
            lambda: nn.GRU(4, 5, checkpoint_every=0),
            ValueError,
            "checkpoint_every should be None or a number of steps, at least 1, got 0",
        ),
        (lambda: nn.GRU(4, 5).begin_state(-1), ValueError, "batch_size must be at least 0, got -1"),
        (lambda: nn.GRU(4, 5).begin_state("two"), TypeError, "batch_size should be of type int, got: str"),
        (
            lambda: nn.GRU(4, 5)(zeros(3, 2, 4), lengths=[[1], [2, 3]]),
            TypeError,
            "lengths should be a Tensor or an array of numbers, got a list that is none: its rows differ",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(3, 2, 4), reset=[[True], [True, False]]),
            TypeError,
            "reset should be a Tensor or an array of numbers, got a list that is none: its rows differ",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(3, 2, 4), lengths="ab"),
            TypeError,
            "lengths should be a Tensor or an array of numbers, got str",
        ),
        (
            lambda: nn.GRU(4, 5).all_states([[1.0]]),
            TypeError,
            "input should be a Tensor or a PackedSequence, got list",
        ),
        (lambda: nn.GRU(4, 5)(zeros(3, 2, 4), {}), TypeError, r"hx should be a Tensor, got dict"),
        (
            lambda: nn.RNN(4, 5, nonlinearity="x"),
            ValueError,
            "Unknown nonlinearity 'x'. Select from 'tanh' or 'relu'.",
        ),
        (
            lambda: nn.RNNCell(4, 5, nonlinearity="x"),
            ValueError,
            "Unknown nonlinearity 'x'. Select from 'tanh' or 'relu'.",
        ),
        (lambda: nn.GRU(4, 5, 2, dropout=2), ValueError, r"dropout should be a number in range \[0, 1\]"),
        (lambda: nn.GRU(4, 5, 2, dropout=True), ValueError, r"dropout should be a number in range \[0, 1\]"),
        (lambda: nn.GRU(4, 5, dropout=0.5), UserWarning, "dropout=0.5 and num_layers=1"),
        (
            lambda: nn.RNN(4, 5)(np.zeros((3, 2, 4))),
            TypeError,
            r"should be a Tensor or a PackedSequence, got numpy\.ndarray",
        ),
        (
            lambda: nn.RNN(4, 5)(zeros(4)),
            ValueError,
            "RNN: Expected input to be 2D or 3D, got 1D tensor instead",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(1, 2, 3, 4)),
            ValueError,
            "GRU: Expected input to be 2D or 3D, got 4D tensor instead",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(1, 2, 3, dtype="int64")),
            ValueError,
            "GRU: Expected input of integers to be 1D or 2D, got 3D tensor instead",
        ),
        (
            lambda: nn.RNN(4, 5)(zeros(3, 2, 6)),
            RuntimeError,
            r"input.size\(-1\) must be equal to input_size. Expected 4, got 6",
        ),
        (
            lambda: nn.RNN(4, 5)(zeros(3, 2, 4, dtype="float64")),
            TypeError,
            r"RNN input dtype \(float64\) does not match weight dtype \(float32\). "
            r"Convert input: input.to\('float32'\), or convert model: model.to\('float64'\)",
        ),
        (
            lambda: nn.LSTM(4, 5)(PackedSequence(zeros(3, 6), rt.tensor([2, 1]))),
            RuntimeError,
            "Expected 4, got 6",
        ),
        (
            lambda: nn.RNN(4, 5)(zeros(0, 2, 4)),
            RuntimeError,
            "Expected sequence length to be larger than 0 in RNN",
        ),
        (
            lambda: nn.RNN(4, 5)(zeros(3, 2, 4), zeros(1, 5)),
            RuntimeError,
            "For batched 3-D input, hx should also be 3-D but got 2-D tensor",
        ),
        (
            lambda: nn.RNN(4, 5)(zeros(3, 4), zeros(1, 1, 5)),
            RuntimeError,
            "For unbatched 2-D input, hx should also be 2-D but got 3-D tensor",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(3, 2, 4), zeros(1, 3, 5)),
            RuntimeError,
            r"Expected hidden size \(1, 2, 5\), got \[1, 3, 5\]",
        ),
        (
            lambda: nn.LSTM(4, 5)(zeros(3, 2, 4), (zeros(1, 2, 5), zeros(1, 3, 5))),
            RuntimeError,
            r"Expected hidden\[1\] size \(1, 2, 5\), got \[1, 3, 5\]",
        ),
        (
            lambda: nn.LSTM(4, 5, proj_size=2)(zeros(3, 2, 4), (zeros(1, 2, 5), zeros(1, 2, 5))),
            RuntimeError,
            r"Expected hidden\[0\] size \(1, 2, 2\), got \[1, 2, 5\]",
        ),
        (
            lambda: nn.LSTM(4, 5)(zeros(3, 2, 4), zeros(1, 2, 5)),
            TypeError,
            r"hx should be a tuple of 2 Tensors \(h, c\), got Tensor$",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(3, 2, 4), (zeros(1, 2, 5), zeros(1, 2, 5))),
            TypeError,
            r"hx should be a Tensor, got \(Tensor, Tensor\)",
        ),
        (
            lambda: nn.GRU(4, 5)(zeros(3, 2, 4), zeros(1, 2, 5, dtype="float64")),
            TypeError,
            r"hidden dtype \(float64\) does not match weight dtype \(float32\)",
        ),
        (lambda: nn.GRU(4, 5)(rt.tensor([[1], [4]])), IndexError, "expected ids from 0 to 3 .* got 4"),
        (
            lambda: nn.GRUCell(4, 5)(zeros(2, 6)),
            RuntimeError,
            "input has inconsistent input_size: got 6 expected 4",
        ),
        (
            lambda: nn.GRUCell(4, 5)(zeros(1, 2, 4)),
            ValueError,
            "GRUCell: Expected input to be 1D or 2D, got 3D instead",
        ),
        (
            lambda: nn.RNNCell(4, 5)(zeros(2, 4), zeros(3, 5)),
            RuntimeError,
            "Input batch size 2 doesn't match hidden0 batch size 3",
        ),
        (
            lambda: nn.LSTMCell(4, 5)(zeros(2, 4), (zeros(2, 5), zeros(2, 6))),
            RuntimeError,
            "hidden1 has inconsistent hidden_size: got 6, expected 5",
        ),
        (
            lambda: nn.LSTMCell(4, 5)(zeros(2, 4), zeros(2, 5)),
            TypeError,
            r"hx should be a pair of Tensors \(h, c\), got Tensor",
        ),
        (
            lambda: nn.RNNCell(4, 5)(zeros(2, 4), zeros(5)),
            RuntimeError,
            "hidden0 should be 2D like the input, got 1D",
        ),
        (lambda: nn.RNNCell(4, 5)(np.zeros((2, 4))), TypeError, "input should be a Tensor, got ndarray"),
        (
            lambda: nn.RNNCell(4, 5)(zeros(2, 4, dtype="float64")),
            TypeError,
            r"RNNCell input dtype \(float64\) does not match weight dtype \(float32\)",
        ),
        (
            lambda: nn.RNNCell(4, 5)(zeros(2, 4), zeros(2, 5, dtype="float64")),
            TypeError,
            r"hidden0 dtype \(float64\) does not match weight dtype \(float32\)",
        ),
        (
            lambda: nn.RNNCell(4, 5)(zeros(2, 4), np.zeros((2, 5))),
            TypeError,
            "hidden0 should be a Tensor, got ndarray",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()
