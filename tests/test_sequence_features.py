"""Lengths, resets, directions, truncation and recompute of every kind of cell, against plain PyTorch loops."""

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .oracles import loop
from .oracles.cells import STEPS, torch
from .oracles.comparison import (
    Ours,
    as_tuple,
    assert_same_run,
    compare,
    draw_inputs,
    draw_parameters,
    draw_states,
)

# One of each kind: one product and two, row sums, no recurrent matrix, four states, a projection, a split gate.
CELLS = (
    "gru",
    "gru_original",
    "indrnn",
    "lstm",
    "lstm_layer_norm",
    "lstm_projected",
    "mlstm",
    "slstm",
)


def make(name, rng, I=3, H=5, **options):  # noqa: E741
    options.setdefault("dtype", "float64")
    if name == "lstm_projected":
        options["proj_size"] = 2
    layer = nn.Recurrent(getattr(nn.cells, name), I, H, **options)
    draw_parameters(layer, rng)
    return layer


def rebuilt(layer, **options):
    """Return a layer like another with other options, and the same weights."""
    kept = ("num_layers", "bias", "bidirectional", "proj_size", "num_heads", "recurrent_dropout", "zoneout")
    arguments = {name: getattr(layer, name) for name in kept} | {"dtype": layer.weight_ih_l0.dtype} | options
    other = nn.Recurrent(layer.cell, layer.input_size, layer.hidden_size, **arguments)
    other.load_state_dict(layer.state_dict())
    return other


def draw_lengths(rng, T, B):
    """Return lengths of which one is 0, one is T, and others are between."""
    lengths = rng.integers(0, T + 1, B)
    lengths[rng.permutation(B)[:2]] = (0, T)
    return lengths


def two_runs(layer, x, initial, **features):
    """Return the results and gradients of a call and of all states."""
    runs = []
    for every in (False, True):
        rt.manual_seed(0)
        runs.append(Ours(layer, x, initial, all_states=every, **features))
    return runs


# -- lengths and resets, one at a time -------------------------------------------------------------


@pytest.mark.parametrize("name", CELLS)
def test_rows_past_their_length(name):
    """Outputs past a length are 0, final states are the last valid ones, and length 0 gives back h_0."""
    rng = np.random.default_rng([1, *name.encode()])
    layer = make(name, rng, num_layers=2, bidirectional=True)
    lengths = [2, 0, 4, 1]
    x, initial = rng.standard_normal((4, 4, 3)), draw_states(layer, 4, rng)
    output, states = layer(rt.tensor(x), as_states(initial), lengths=lengths)
    for b, length in enumerate(lengths):
        assert not output.detach().numpy()[length:, b].any()
        alone = [state[:, b : b + 1] for state in initial]
        if length == 0:
            for state, start in zip(as_tuple(states), alone, strict=True):
                assert_same_bits(state.detach().numpy()[:, b : b + 1], start)
        else:
            row, ends = layer(rt.tensor(x[:length, b : b + 1]), as_states(alone))
            assert_close(output.detach().numpy()[:length, b], row.detach().numpy()[:, 0], atol=1e-14)
            for state, end in zip(as_tuple(states), as_tuple(ends), strict=True):
                assert_close(state.detach().numpy()[:, b], end.detach().numpy()[:, 0], atol=1e-14)
    compare(layer, STEPS[name], x, initial, what=name, lengths=lengths)


def as_states(arrays):
    states = tuple(rt.tensor(array) for array in arrays)
    return states if len(states) > 1 else states[0]


@pytest.mark.parametrize("name", ["gru", "lstm", "slstm"])
def test_no_row_has_a_step(name):
    layer = make(name, np.random.default_rng(2), bidirectional=True)
    initial = draw_states(layer, 2, np.random.default_rng(3))
    x = rt.tensor(np.ones((3, 2, 3)), requires_grad=True)
    output, states = layer(x, as_states(initial), lengths=[0, 0])
    assert output.shape == (3, 2, 10)
    assert not output.detach().numpy().any()
    for state, start in zip(as_tuple(states), initial, strict=True):
        assert_same_bits(state, start)
    (output.sum() + sum(state.sum() for state in as_tuple(states))).backward()
    assert not x.grad.numpy().any()
    assert not layer.weight_ih_l0.grad.numpy().any()


@pytest.mark.parametrize("name", ["gru", "lstm_layer_norm", "slstm"])
def test_lengths_are_a_packed_batch(name):
    """To the last bit: a `PackedSequence` is a view of the same rows."""
    rng = np.random.default_rng(4)
    layer = make(name, rng, num_layers=2, bidirectional=True)
    lengths, x = [2, 5, 3], rt.tensor(rng.standard_normal((5, 3, 3)))
    output, states = layer(x, lengths=lengths)
    packed, ends = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
    padded, _ = pad_packed_sequence(packed)
    assert_same_bits(output, padded)
    for state, end in zip(as_tuple(states), as_tuple(ends), strict=True):
        assert_same_bits(state, end)


def test_what_stands_past_a_length_is_not_read():
    layer = make("lstm", np.random.default_rng(5), bidirectional=True)
    x = np.random.default_rng(6).standard_normal((4, 2, 3))
    spoilt = x.copy()
    spoilt[2:, 0] = np.nan
    expected, found = (two_runs(layer, data, None, lengths=[2, 4]) for data in (x, spoilt))
    for one, other in zip(expected, found, strict=True):
        assert_same_run(one, other)


def test_lengths_with_batch_first():
    rng = np.random.default_rng(7)
    layer = make("lstm", rng, bidirectional=True)
    turned = nn.Recurrent(nn.cells.lstm, 3, 5, bidirectional=True, batch_first=True, dtype="float64")
    turned.load_state_dict(layer.state_dict())
    x, lengths, reset = rng.standard_normal((4, 3, 3)), [4, 0, 2], rng.random((4, 3)) < 0.4
    output, (h_n, c_n) = layer(rt.tensor(x), lengths=lengths, reset=reset)
    other, (h, c) = turned(rt.tensor(x.swapaxes(0, 1)), lengths=lengths, reset=reset.T)
    assert_same_bits(other, output.detach().numpy().swapaxes(0, 1))
    assert_same_bits(h, h_n)
    assert_same_bits(c, c_n)


@pytest.mark.parametrize("name", CELLS)
def test_a_reset_cuts_a_row_in_two(name):
    """Both ways, what stands on one side of the boundary is run from zeros, and not from h_0."""
    rng = np.random.default_rng([8, *name.encode()])
    layer = make(name, rng, bidirectional=True)
    T, cut = 5, 2
    x, initial = rng.standard_normal((T, 1, 3)), draw_states(layer, 1, rng)
    reset = np.zeros((T, 1), bool)
    reset[cut] = True
    output, states = layer(rt.tensor(x), as_states(initial), reset=reset)
    P = output.shape[-1] // 2
    zeros = [np.zeros_like(state) for state in initial]

    def part(begin, end, direction, start):
        """Run a part of the row from `start`, and return one direction's output and final states."""
        y, ends = layer(rt.tensor(x[begin:end]), as_states(start))
        half = slice(P * direction, P * (direction + 1))
        return y.detach().numpy()[..., half], [e.detach().numpy()[direction] for e in as_tuple(ends)]

    before, _ = part(0, cut, 0, initial)
    after, ends = part(cut, T, 0, zeros)
    assert_close(output.detach().numpy()[..., :P], np.concatenate([before, after]), atol=1e-14)
    for state, end in zip(as_tuple(states), ends, strict=True):
        assert_close(state.detach().numpy()[0], end, atol=1e-14)
    after, _ = part(cut, T, 1, initial)
    before, ends = part(0, cut, 1, zeros)
    assert_close(output.detach().numpy()[..., P:], np.concatenate([before, after]), atol=1e-14)
    for state, end in zip(as_tuple(states), ends, strict=True):
        assert_close(state.detach().numpy()[1], end, atol=1e-14)
    compare(layer, STEPS[name], x, initial, what=name, reset=reset)


def test_a_reset_before_the_first_step_takes_the_place_of_h_0():
    rng = np.random.default_rng(9)
    layer = make("gru", rng)
    x, initial = rng.standard_normal((3, 2, 3)), draw_states(layer, 2, rng)
    reset = np.zeros((3, 2), bool)
    reset[0, 0] = True
    ours = Ours(layer, x, initial, all_states=False, reset=reset)
    begun = [state.copy() for state in initial]
    begun[0][:, 0] = 0
    plain = Ours(layer, x, begun, all_states=False)
    assert_close(ours.values["output"], plain.values["output"], atol=1e-15)
    assert not ours.gradients["initial h"][:, 0].any()
    assert ours.gradients["initial h"][:, 1].all()


@pytest.mark.parametrize("bidirectional", [False, True])
def test_resets_past_a_length_mark_nothing(bidirectional):
    """There is no step past a row's end, so no boundary before it, and none that the reverse direction would meet."""
    rng = np.random.default_rng(10)
    layer = make("lstm", rng, bidirectional=bidirectional)
    x, initial = rng.standard_normal((4, 3, 3)), draw_states(layer, 3, rng)
    lengths, reset = [2, 0, 3], np.zeros((4, 3), bool)
    plain = two_runs(layer, x, initial, lengths=lengths)
    for b, length in enumerate(lengths):
        reset[length:, b] = True
    for one, other in zip(plain, two_runs(layer, x, initial, lengths=lengths, reset=reset), strict=True):
        for name in one.values:
            assert_close(one.values[name], other.values[name], atol=1e-14)
        for name in one.gradients:
            assert_close(one.gradients[name], other.gradients[name], atol=1e-13)


@pytest.mark.parametrize("kind", [np.asarray, rt.tensor, list])
def test_lengths_and_resets_may_be_of_any_kind(kind):
    rng = np.random.default_rng(11)
    layer = make("gru", rng)
    x = rt.tensor(rng.standard_normal((4, 2, 3)))
    lengths, reset = np.array([2, 4]), rng.random((4, 2)) < 0.5
    expected, _ = layer(x, lengths=lengths, reset=reset)
    given = {"lengths": kind(lengths.tolist()), "reset": kind(reset.tolist())}
    assert_same_bits(layer(x, **given)[0].detach().numpy(), expected)


# -- everything at once ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", CELLS)
def test_drawn_features_equal_the_loop(name, seed):
    """Layers, directions, lengths, resets, truncation, heads and initial states together."""
    rng = np.random.default_rng([12, seed, *name.encode()])
    T, B, H = int(rng.integers(2, 8)), int(rng.integers(2, 6)), int(rng.choice([4, 6, 16]))
    truncate = None if rng.random() < 0.4 else int(rng.integers(0, T + 2))
    heads = 2 if rng.random() < 0.4 and name != "lstm_projected" else 1
    options = {"num_layers": int(rng.integers(1, 3)), "bidirectional": bool(rng.random() < 0.6)}
    layer = make(name, rng, H=H, num_heads=heads, bptt_truncate=truncate, **options)
    x = rng.standard_normal((T, B, 3))
    initial = draw_states(layer, B, rng) if rng.random() < 0.7 else None
    features = {}
    if rng.random() < 0.7:
        features["lengths"] = draw_lengths(rng, T, B)
    if rng.random() < 0.7:
        features["reset"] = rng.random((T, B)) < 0.3
    what = f"{name} (T {T}, B {B}, H {H}, heads {heads}, truncate {truncate}, {options}, {features})"
    compare(layer, STEPS[name], x, initial, what=what, oracle={"bptt_truncate": truncate}, **features)


# -- truncation ------------------------------------------------------------------------------------


def scalar_rnn(truncate):
    layer = nn.Recurrent(nn.cells.rnn_tanh, 1, 1, bias=False, dtype="float64", bptt_truncate=truncate)
    layer.load_state_dict({"weight_ih_l0": [[1.0]], "weight_hh_l0": [[0.8]]})
    return layer


@pytest.mark.parametrize(
    ("truncate", "expected"),
    [(0, 0.337930), (1, 0.580040), (2, 0.602023), (3, 0.602023), (99, 0.602023), (None, 0.602023)],
)
def test_program_21_truncated_backpropagation_through_time(truncate, expected):
    """h_t = tanh(.8 h_{t-1} + x_t), h_0 = .5, x = (1, -.5, .25), L = sum_t h_t^2 / 2: dL/dw."""
    x = rt.tensor([[[1.0]], [[-0.5]], [[0.25]]], dtype="float64")
    h_0 = rt.tensor([[[0.5]]], dtype="float64")
    layer = scalar_rnn(truncate)
    output, _ = layer(x, h_0)
    (output**2 / 2).sum().backward()
    assert round(layer.weight_hh_l0.grad.item(), 6) == expected


def test_the_loop_truncates_as_program_21():
    """The oracle's numbers, from PyTorch."""
    found = []
    for truncate in (0, 1, 2, None):
        w = torch.tensor([[0.8]], dtype=torch.float64, requires_grad=True)
        named = {"weight_ih_l0": torch.ones(1, 1, dtype=torch.float64), "weight_hh_l0": w}
        x = torch.tensor([[[1.0]], [[-0.5]], [[0.25]]], dtype=torch.float64)
        h_0 = torch.tensor([[[0.5]]], dtype=torch.float64)
        (output,), _ = loop.run(scalar_rnn(None), STEPS["rnn_tanh"], named, x, [h_0], bptt_truncate=truncate)
        (output**2 / 2).sum().backward()
        found.append(round(w.grad.item(), 6))
    assert found == [0.337930, 0.580040, 0.602023, 0.602023]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_how_far_a_truncated_gradient_reaches(bidirectional):
    """With k = 2 the output of step t depends, to the gradient, on x_{t-2} to x_t; reverse: on x_t to x_{t+2}."""
    T, k = 7, 2
    layer = make("lstm", np.random.default_rng(13), I=1, bidirectional=bidirectional, bptt_truncate=k)
    x = rt.tensor(np.random.default_rng(14).standard_normal((T, 1, 1)), requires_grad=True)
    states = tuple(rt.tensor(np.ones((1 + bidirectional, 1, 5)), requires_grad=True) for _ in range(2))
    output, _ = layer(x, states)
    for direction in range(1 + bidirectional):
        side = output[..., 5 * direction : 5 * direction + 5]
        for t in range(T):
            d_x, d_h, d_c = rt.grad(side[t].sum(), [x, *states], retain_graph=True)
            lag = np.arange(T) - t if direction else t - np.arange(T)
            assert_same_bits(d_x.numpy().ravel() != 0, (lag >= 0) & (lag <= k))
            steps_before = T - 1 - t if direction else t
            assert d_h.numpy()[direction].all() == d_c.numpy()[direction].all() == (steps_before < k)
            assert d_h.numpy()[direction].any() == (steps_before < k)


def test_truncation_does_not_change_what_is_computed():
    rng = np.random.default_rng(15)
    layer = make("gru_original", rng, bidirectional=True)
    x, initial = rng.standard_normal((6, 3, 3)), draw_states(layer, 3, rng)
    plain = Ours(layer, x, initial, all_states=True)
    for truncate in (0, 2, 5):
        cut = Ours(rebuilt(layer, bptt_truncate=truncate), x, initial, all_states=True)
        for name, value in plain.values.items():
            assert_same_bits(cut.values[name], value, name)
    # k = 6 reaches everything, in another order of summation.
    whole = Ours(rebuilt(layer, bptt_truncate=6), x, initial, all_states=True)
    for name, gradient in plain.gradients.items():
        assert_close(whole.gradients[name], gradient, atol=1e-12, what=name)


# -- recompute -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", nn.cells.__all__)
def test_recompute_gives_the_same_bits(name, dtype):
    """Of every cell: outputs, all states, and all gradients, however long the pieces."""
    rng = np.random.default_rng([16, *name.encode()])
    T, B = 7, 3
    layer = make(name, rng, H=17, num_layers=2, bidirectional=True, dtype=dtype)
    x, initial = rng.standard_normal((T, B, 3)), draw_states(layer, B, rng)
    inputs = draw_inputs(layer, T, B, rng)
    features = {"lengths": [3, 7, 0], "reset": rng.random((T, B)) < 0.2}
    for given in ({"inputs": inputs}, features | {"inputs": inputs}):
        plain = two_runs(layer, x, initial, **given)
        for every in (1, 3, 4, T, 50) if dtype == "float32" else (2,):
            recomputed = two_runs(rebuilt(layer, recompute_every=every), x, initial, **given)
            for one, other in zip(plain, recomputed, strict=True):
                assert_same_run(one, other, f"of {name}, recompute_every {every}, {given}")


@pytest.mark.parametrize("name", ["gru_original", "lstm_layer_norm"])
def test_recompute_draws_the_same_masks(name):
    """Dropout and zoneout are functions of the position: a recomputed step meets the same ones."""
    rng = np.random.default_rng([17, *name.encode()])
    layer = make(name, rng, bidirectional=True, recurrent_dropout=0.4, zoneout=0.3)
    x, lengths = rng.standard_normal((6, 3, 3)), [6, 0, 4]
    other = rebuilt(layer, recompute_every=2)
    results = []
    for one in (layer, other):
        rt.manual_seed(0)
        results.append(two_runs(one, x, None, lengths=lengths))
    for a, b in zip(*results, strict=True):
        assert_same_run(a, b)


# -- threads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("truncate", [None, 2])
@pytest.mark.parametrize("B", [1, 5])
@pytest.mark.parametrize("name", CELLS)
def test_any_number_of_threads_gives_the_same_bits(name, B, truncate, set_num_threads):
    """For a batch that threads share by rows, and for one row, whose units they share."""
    rng = np.random.default_rng([18, *name.encode()])
    T = 5
    layer = make(name, rng, H=33, bidirectional=True, dtype="float32", bptt_truncate=truncate)
    x, initial = rng.standard_normal((T, B, 3)), draw_states(layer, B, rng)
    features = {"lengths": draw_lengths(rng, T, B) if B > 1 else [T], "reset": rng.random((T, B)) < 0.2}
    results = []
    for count in (1, 2, 3):
        set_num_threads(count)
        results.append(two_runs(layer, x, initial, **features))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_same_run(a, b)


# -- derivatives of derivatives --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gru_original", "lstm_layer_norm"])
def test_second_derivatives_with_lengths_and_resets(name):
    rng = np.random.default_rng([19, *name.encode()])
    layer = make(name, rng, I=1, H=2, bidirectional=True)
    initial = draw_states(layer, 2, rng)
    reset = np.array([[False, True], [True, False], [False, False]])

    def call(x, *rest):
        states = rest[: len(initial)]
        sequences, final = layer.all_states(
            x, states if len(states) > 1 else states[0], lengths=[3, 1], reset=reset
        )
        return (*sequences, *as_tuple(final))

    inputs = [rt.tensor(value, requires_grad=True) for value in (rng.standard_normal((3, 2, 1)), *initial)]
    inputs += [layer.weight_ih_l0, layer.weight_hh_l0_reverse]
    assert rt.gradcheck(call, inputs)
    assert rt.gradgradcheck(call, inputs)


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"lengths": [1, 2]}, "lengths must be 3 integers, got int64 of shape"),
        ({"lengths": [1, 2, 5]}, "lengths must be from 0 to 4, .* got 1 to 5"),
        ({"lengths": [1, -1, 2]}, "lengths must be from 0 to 4, .* got -1 to 2"),
        (
            {"reset": np.zeros((4, 2), bool)},
            r"reset must be .* of shape \(4, 3\), got bool of shape \(4, 2\)",
        ),
        ({"reset": np.zeros((3, 4), bool)}, r"reset must be .* of shape \(4, 3\)"),
    ],
)
def test_what_is_refused(features, message):
    layer = make("gru", np.random.default_rng(20))
    with pytest.raises(ValueError, match=message):
        layer(rt.tensor(np.zeros((4, 3, 3))), **features)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"lengths": [1.0, 2.0, 3.0]}, r"lengths must be 3 integers, got floats \(float64\)"),
        ({"reset": np.zeros((4, 3))}, r"reset must be truth values \(bool\) .* got float64"),
    ],
)
def test_features_of_another_dtype_are_refused(features, message):
    layer = make("gru", np.random.default_rng(20))
    with pytest.raises(TypeError, match=message):
        layer(rt.tensor(np.zeros((4, 3, 3))), **features)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bptt_truncate": -1}, "bptt_truncate"),
        ({"bptt_truncate": 1.5}, "bptt_truncate"),
        ({"recompute_every": 0}, "recompute_every"),
        ({"recompute_every": True}, "recompute_every"),
        ({"num_heads": 2}, "num_heads"),
        ({"num_heads": 0}, "num_heads"),
    ],
)
def test_what_no_layer_can_be_made_of(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        nn.Recurrent(nn.cells.lstm, 3, 5, **options)
