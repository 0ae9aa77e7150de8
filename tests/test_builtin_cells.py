"""Every built-in cell against a PyTorch loop of a step written by hand, and against central differences."""

import copy

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt

from .oracles import loop
from .oracles.cells import STEPS, torch
from .oracles.comparison import as_tuple, compare, draw_inputs, draw_parameters, draw_states

CELLS = {name: getattr(nn.cells, name) for name in nn.cells.__all__}
SIZES = (1, 15, 16, 17, 33)  # on both sides of a vector and of a tile
SEEDS = range(6)


def test_every_cell_has_an_oracle():
    assert sorted(nn.cells.__all__) == sorted(STEPS)


# -- the oracle itself -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM", "projected LSTM"])
def test_the_loop_gives_what_pytorchs_layers_give(name):
    """Two layers, both directions, ragged rows: so far as PyTorch has the cell, the oracle is checked too."""
    rng = np.random.default_rng(0)
    T, B, I, H = 5, 4, 3, 6  # noqa: E741
    lengths = [3, 5, 1, 4]
    options = {"num_layers": 2, "bidirectional": True, "dtype": "float64"}
    options |= {"proj_size": 2} if name == "projected LSTM" else {}
    kind = name.split()[-1]
    step = STEPS[{"RNN": "rnn_tanh", "GRU": "gru", "LSTM": "lstm", "projected LSTM": "lstm_projected"}[name]]
    ours = getattr(nn, kind)(I, H, **options)
    theirs = getattr(torch.nn, kind)(I, H, **options | {"dtype": torch.float64})
    x, initial = rng.standard_normal((T, B, I)), draw_states(ours, B, rng)
    named = dict(theirs.named_parameters())
    states = [torch.tensor(state) for state in initial]
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.tensor(x), lengths, enforce_sorted=False)
    output, final = theirs(packed, tuple(states) if len(states) > 1 else states[0])
    output, _ = torch.nn.utils.rnn.pad_packed_sequence(output)
    sequences, ends = loop.run(ours, step, named, torch.tensor(x), states, lengths=lengths)
    assert_close(sequences[0], output, atol=1e-13)
    for end, expected in zip(ends, as_tuple(final), strict=True):
        assert_close(end, expected, atol=1e-13)


# -- parity ----------------------------------------------------------------------------------------


def draw(name, seed, dtype):
    """Draw a layer of a cell, its input and its initial states or None, and describe them."""
    rng = np.random.default_rng([seed, *name.encode()])
    cell = CELLS[name]
    I, H = (int(size) for size in rng.choice(SIZES, 2))  # noqa: E741
    T, B = int(rng.integers(1, 8)), int(rng.integers(1, 6))
    options = {
        "num_layers": int(rng.choice([1, 1, 2])),
        "bidirectional": seed % 2 == 1,
        "bias": bool(rng.random() < 0.7),
        "dtype": dtype,
    }
    if name == "lstm_projected":
        H = max(H, 2)
        options["proj_size"] = int(rng.integers(1, H))
    elif rng.random() < 0.4:
        options["num_heads"] = int(rng.choice([heads for heads in range(1, H + 1) if H % heads == 0]))
    layer = nn.Recurrent(cell, I, H, **options)
    draw_parameters(layer, rng)
    x = rng.standard_normal((T, B, I))
    initial = draw_states(layer, B, rng) if seed % 3 else None
    features = {"inputs": draw_inputs(layer, T, B, rng)} if cell.inputs else {}
    what = f"{name} (T {T}, B {B}, I {I}, H {H}, states {initial is not None}, {options})"
    return layer, (x, initial), features, what


# Near zero variance a normalisation multiplies rounding by up to 1 / sqrt(eps) = 316.
LOOSER = {"gru_layer_norm": 2e-3, "li_gru": 2e-3, "lstm_layer_norm": 2e-3}


@pytest.mark.sampled(48)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CELLS)
def test_equals_the_loop(name, seed):
    """Outputs, every state at every step, final states, and all gradients for random cotangents."""
    layer, given, features, what = draw(name, seed, "float64")
    compare(layer, STEPS[name], *given, what=what, **features)


@pytest.mark.sampled(12)
@pytest.mark.parametrize("seed", [6, 7])
@pytest.mark.parametrize("name", CELLS)
def test_equals_the_loop_in_float32(name, seed):
    layer, given, features, what = draw(name, seed, "float32")
    compare(layer, STEPS[name], *given, what=what, tolerance=LOOSER.get(name), **features)


def test_the_draw_covers_what_it_should():
    drawn = [draw(name, seed, "float64") for name in CELLS for seed in SEEDS]
    layers = [layer for layer, *_ in drawn]
    assert {layer.hidden_size for layer in layers} == {*SIZES, 2}
    assert {layer.input_size for layer in layers} == set(SIZES)
    assert {len(x) for _, (x, _), *_ in drawn} == set(range(1, 8))
    assert {x.shape[1] for _, (x, _), *_ in drawn} == set(range(1, 6))
    assert {u.ndim for *_, features, _ in drawn for u in features.get("inputs", {}).values()} == {1, 2, 3}
    assert any(1 < layer.num_heads < layer.hidden_size for layer in layers)
    assert any(1 < layer.num_heads == layer.hidden_size for layer in layers)
    assert {layer.num_layers for layer in layers} == {1, 2}
    assert {layer.bias for layer in layers} == {True, False}


# -- central differences ---------------------------------------------------------------------------


def problem(name, rng, T, B, I, H, **options):  # noqa: E741
    """A layer as a function of all it depends on, and those: x, the initial states, named inputs, the parameters."""
    if name == "lstm_projected":
        options["proj_size"] = H - 1
    layer = nn.Recurrent(CELLS[name], I, H, dtype="float64", **options)
    draw_parameters(layer, rng)
    x = rt.tensor(rng.standard_normal((T, B, I)), requires_grad=True)
    names = list(layer.cell.inputs)
    inputs = [rt.tensor(u, requires_grad=True) for u in draw_inputs(layer, T, B, rng).values()]
    initial = [rt.tensor(state, requires_grad=True) for state in draw_states(layer, B, rng)]

    def call(x, *rest):
        states, given = rest[: len(initial)], rest[len(initial) : len(initial) + len(inputs)]
        named = {"inputs": dict(zip(names, given, strict=True))} if names else {}
        sequences, final = layer.all_states(x, states if len(states) > 1 else states[0], **named)
        return (*sequences, *as_tuple(final))

    return call, (x, *initial, *inputs, *layer.parameters())


@pytest.mark.parametrize("name", CELLS)
def test_gradients(name):
    options = {} if name == "lstm_projected" else {"num_heads": 2}
    call, inputs = problem(name, np.random.default_rng([1, *name.encode()]), T=3, B=2, I=2, H=4, **options)
    assert rt.gradcheck(call, inputs)


@pytest.mark.parametrize("name", CELLS)
def test_gradients_of_gradients(name):
    call, inputs = problem(name, np.random.default_rng([2, *name.encode()]), T=2, B=1, I=1, H=2)
    assert rt.gradgradcheck(call, inputs)


# -- what a cell is known for ----------------------------------------------------------------------


def layer_of(name, I, H, seed=0, **options):  # noqa: E741
    layer = nn.Recurrent(CELLS[name], I, H, dtype="float64", **options)
    draw_parameters(layer, np.random.default_rng(seed))
    return layer


def randn(*shape, seed=0):
    return rt.tensor(np.random.default_rng([seed, *shape]).standard_normal(shape))


def gru_of(original):
    """Return torch's kind of GRU with the original's weights, those of its update gate negated."""
    H = original.hidden_size
    other = nn.GRU(original.input_size, H, bias=original.bias, dtype="float64")
    named = {name: p.detach().numpy().copy() for name, p in original.named_parameters()}
    for values in named.values():
        values[H : 2 * H] *= -1  # r, z, n
    other.load_state_dict(named)
    return other


def test_program_16_the_texts_gru():
    """z = sigma(W_z x + U_z h), r likewise, n = tanh(W x + U (r h)), h' = (1 - z) h + z n, without biases."""
    T, I, H = 6, 3, 5  # noqa: E741
    layer = layer_of("gru_original", I, H, bias=False)
    W_r, W_z, W = np.split(layer.weight_ih_l0.detach().numpy(), 3)
    U_r, U_z, U = np.split(layer.weight_hh_l0.detach().numpy(), 3)
    x = randn(T, I)

    def sigma(a):
        return 1 / (1 + np.exp(-a))

    h, expected = np.zeros(H), []
    for x_t in x.numpy():
        z, r = sigma(W_z @ x_t + U_z @ h), sigma(W_r @ x_t + U_r @ h)
        h = (1 - z) * h + z * np.tanh(W @ x_t + U @ (r * h))
        expected.append(h)
    assert_close(layer(x)[0].detach().numpy(), expected, atol=1e-14)


def test_program_16_negated_update_gate_maps_one_gru_onto_the_other_where_the_reset_commutes():
    """r * (U h) = U (r * h) for a diagonal U, or where r is 1; for another U the two are different cells."""
    x, H = randn(6, 2, 3), 4
    full = layer_of("gru_original", 3, H)
    output, other = full(x)[0], gru_of(full)(x)[0]
    assert np.abs(output.detach().numpy() - other.detach().numpy()).max() > 1e-2

    diagonal = copy.deepcopy(full)
    diagonal.weight_hh_l0.data[2 * H :] *= np.eye(H)
    diagonal.bias_hh_l0.data[2 * H :] = 0  # torch's reset gate multiplies the bias too
    assert_close(diagonal(x)[0], gru_of(diagonal)(x)[0], atol=1e-14)

    open_reset = copy.deepcopy(full)
    open_reset.weight_ih_l0.data[:H] = 0
    open_reset.weight_hh_l0.data[:H] = 0
    open_reset.bias_ih_l0.data[:H] = 50  # sigmoid(50) is 1 to the last bit
    assert_close(open_reset(x)[0], gru_of(open_reset)(x)[0], atol=1e-14)


def test_the_linear_network_is_one_linear_map():
    """h_T = sum_t R^(T-t) W x_t + R^T h_0, and its gradient by h_0 is a power of R."""
    T, I, H = 5, 3, 4  # noqa: E741
    layer = layer_of("linear_rnn", I, H, bias=False)
    W, R = layer.weight_ih_l0.detach().numpy(), layer.weight_hh_l0.detach().numpy()
    x, h_0 = randn(T, 1, I), rt.tensor(randn(1, 1, H).numpy(), requires_grad=True)
    _, h_n = layer(x, h_0)
    terms = [np.linalg.matrix_power(R, T - 1 - t) @ W @ x.numpy()[t, 0] for t in range(T)]
    expected = sum(terms) + np.linalg.matrix_power(R, T) @ h_0.detach().numpy()[0, 0]
    assert_close(h_n.detach().numpy()[0, 0], expected, atol=1e-13)
    cotangent = randn(1, 1, H, seed=1)
    h_n.backward(cotangent)
    expected = np.linalg.matrix_power(R.T, T) @ cotangent.numpy()[0, 0]
    assert_close(h_0.grad.numpy()[0, 0], expected, atol=1e-13)


def test_peepholes_begin_as_none():
    layer = nn.Recurrent(nn.cells.lstm_peephole, 3, 4, dtype="float64")
    plain = nn.LSTM(3, 4, dtype="float64")
    names = {name for name, _ in plain.named_parameters()}
    assert {name for name, _ in layer.named_parameters()} - names == {"p_i_l0", "p_f_l0", "p_o_l0"}
    plain.load_state_dict({name: p for name, p in layer.named_parameters() if name in names})
    x = randn(5, 2, 3)
    assert_close(layer(x)[0], plain(x)[0], atol=1e-14)


def test_the_projected_lstm_is_nn_lstm_with_a_projection():
    layer = layer_of("lstm_projected", 3, 5, num_layers=2, bidirectional=True, proj_size=2)
    plain = nn.LSTM(3, 5, num_layers=2, bidirectional=True, proj_size=2, dtype="float64")
    plain.load_state_dict(layer.state_dict())
    x = randn(4, 3, 3)
    assert_same_bits(layer(x)[0].detach().numpy(), plain(x)[0].detach().numpy())


def test_the_coupled_lstm_is_an_lstm_whose_forget_gate_is_negated():
    H = 4
    layer = layer_of("lstm_coupled", 3, H)
    plain = nn.LSTM(3, H, dtype="float64")
    named = {}
    for name, p in layer.named_parameters():
        i, g, o = np.split(p.detach().numpy(), 3)
        named[name] = np.concatenate([i, -i, g, o])
    plain.load_state_dict(named)
    x = randn(5, 2, 3)
    assert_close(layer(x)[0], plain(x)[0], atol=1e-14)


def test_indrnn_has_no_recurrent_matrix_and_bounded_weights():
    layer = nn.Recurrent(nn.cells.indrnn, 3, 200, num_layers=2)
    assert {name.split("_l")[0] for name, _ in layer.named_parameters()} == {"weight_ih", "bias_ih", "u"}
    u = layer.u_l1.detach().numpy()
    assert u.shape == (200,)
    assert 0 <= u.min() < 0.1 < 0.9 < u.max() < 1


@pytest.mark.parametrize("name", ["gru_layer_norm", "li_gru", "lstm_layer_norm"])
def test_gains_begin_as_ones_and_biases_as_zeros(name):
    layer = nn.Recurrent(CELLS[name], 3, 4, bidirectional=True)
    vectors = {n: p.detach().numpy() for n, p in layer.named_parameters() if n.startswith(("gain", "bias"))}
    vectors = {n: v for n, v in vectors.items() if not n.startswith(("bias_ih", "bias_hh"))}
    assert any(n.endswith("_l0_reverse") for n in vectors)
    for n, values in vectors.items():
        assert_same_bits(values, np.full(4, float(n.startswith("gain")), np.float32), n)


@pytest.mark.parametrize("name", ["gru_layer_norm", "lstm_layer_norm"])
def test_a_normalised_cell_does_not_see_the_scale_of_its_input_weights(name):
    """Ba, Kiros, Hinton (2016), section 5.1: invariant under re-scaling of the weight matrix, up to eps."""
    layer = layer_of(name, 3, 8, bias=False)
    x = randn(5, 2, 3)
    output = layer(x)[0].detach().numpy()
    layer.weight_ih_l0.data *= 7
    assert_close(layer(x)[0].detach().numpy(), output, atol=1e-4)


def test_num_heads_of_one_unit_each_is_a_diagonal_recurrent_matrix():
    H = 5
    heads, plain = layer_of("mgu", 3, H, num_heads=H), layer_of("mgu", 3, H)
    named = {name: p.detach().numpy() for name, p in heads.named_parameters()}
    assert named["weight_hh_l0"].shape == (2 * H, 1)
    named["weight_hh_l0"] = np.concatenate([np.diag(u[:, 0]) for u in np.split(named["weight_hh_l0"], 2)])
    plain.load_state_dict(named)
    x = randn(5, 2, 3)
    assert_close(heads(x)[0], plain(x)[0], atol=1e-14)


# -- sLSTM: what its stabiliser does ---------------------------------------------------------------


def unstabilised(layer, x):
    """Equations 8 to 14 of the paper, whose exponentials overflow: for small arguments the same h."""
    W, R = layer.weight_ih_l0.detach().numpy(), layer.weight_hh_l0.detach().numpy()
    bias = layer.bias_ih_l0.detach().numpy() + layer.bias_hh_l0.detach().numpy()
    h = c = n = np.zeros(layer.hidden_size)
    outputs = []
    for x_t in x:
        i, f, z, o = np.split(W @ x_t + R @ h + bias, 4)
        f = 1 / (1 + np.exp(-f))
        c = f * c + np.exp(i) * np.tanh(z)
        n = f * n + np.exp(i)
        h = c / n / (1 + np.exp(-o))
        outputs.append(h)
    return np.array(outputs)


def test_slstm_stabilised_equals_unstabilised():
    layer, x = layer_of("slstm", 3, 6), randn(12, 3)
    assert_close(layer(x)[0].detach().numpy(), unstabilised(layer, x.numpy()), atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shift", [-1000.0, -90.0, 0.0, 90.0, 1000.0])
def test_slstm_has_no_input_gate_it_cannot_bear(shift, dtype):
    """From zero states h does not change when every i~ is shifted and nothing is forgotten; nothing is 0/0."""
    H = 5
    layer = layer_of("slstm", 3, H)
    layer.bias_ih_l0.data[H : 2 * H] = 1e4  # the forget gate is 1, so both sums have the factor exp(shift)
    x = randn(6, 2, 3)
    expected = layer(x)[0].detach().numpy()
    layer.bias_ih_l0.data[:H] += shift
    layer = layer.to(dtype)
    x = rt.tensor(x.numpy().astype(dtype), requires_grad=True)
    (h, c, n, stabiliser), _ = layer.all_states(x)
    tolerance = 1e-10 if dtype == "float64" else 1e-3  # i~ itself is rounded to 1000's last bit
    assert_close(h, expected, atol=tolerance)
    assert n.detach().numpy().min() >= 1 - 1e-6
    assert (n.detach().numpy()[0] == 1).all()
    (h.sum() + c.sum()).backward()
    assert np.isfinite(x.grad.numpy()).all()
    assert all(np.isfinite(p.grad.numpy()).all() for p in layer.parameters())
    assert np.isfinite(stabiliser.detach().numpy()).all()


def test_slstm_learns_initial_states_that_are_zero():
    """The gradient by c_0 and n_0 at zero is that of h = o (f c_0 + i z) / (f n_0 + i)."""
    layer, x = layer_of("slstm", 2, 3), randn(3, 1, 2)
    states = [rt.tensor(np.zeros((1, 1, 3)), requires_grad=True) for _ in range(4)]
    output, _ = layer(x, tuple(states))
    weighting = randn(3, 1, 3, seed=1)
    d_c, d_n = rt.grad((output * weighting).sum(), states[1:3])

    def at(which, unit, value):
        moved = [np.zeros((1, 1, 3)) for _ in range(4)]
        moved[which][0, 0, unit] = value
        result, _ = layer(x, tuple(rt.tensor(state) for state in moved))
        return (result * weighting).sum().item()

    for which, found in ((1, d_c), (2, d_n)):
        for unit in range(3):
            slope = (at(which, unit, 1e-6) - at(which, unit, -1e-6)) / 2e-6
            assert slope == pytest.approx(found.numpy()[0, 0, unit], rel=1e-6), (which, unit)


def test_all_states_are_those_of_the_call():
    """The first sequence is the output to the last bit, and the last valid steps are the final states."""
    layer, x = layer_of("slstm", 3, 6, num_layers=2, bidirectional=True), randn(5, 4, 3)
    lengths = [5, 0, 3, 1]
    output, final = layer(x, lengths=lengths)
    sequences, ends = layer.all_states(x, lengths=lengths)
    assert_same_bits(sequences[0], output)
    for sequence, state, end in zip(sequences, final, ends, strict=True):
        assert_same_bits(state, end)
        forward, backward = np.split(sequence.data, 2, axis=-1)
        for b, length in enumerate(lengths):
            assert not sequence.data[length:, b].any()
            if length:
                assert_same_bits(forward[length - 1, b], state.detach().numpy()[2, b])
                assert_same_bits(backward[0, b], state.detach().numpy()[3, b])
