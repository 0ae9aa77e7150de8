"""Learned initial states: where sequences begin with them, and their gradients."""

import copy
import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import cell_math as m
from rondeau.nn.utils import parametrize

from .recurrent_layers import assert_same_numbers

KINDS = {
    "gru": {"cell": nn.cells.gru, "hidden_size": 3},
    "lstm": {"cell": nn.cells.lstm, "hidden_size": 3},
    "projected": {"cell": nn.cells.lstm, "hidden_size": 4, "proj_size": 2},
}


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def layer_of(kind="lstm", **options):
    """Return a layer of 2 features whose initial states are not zero."""
    layer = nn.Recurrent(input_size=2, learn_initial_state=True, dtype="float64", **KINDS[kind], **options)
    with rt.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("initial_"):
                parameter.copy_(rt.tensor(drawn(len(name), *parameter.shape)))
    return layer


def plain(layer):
    """Return the layer without learned states, with the same weights."""
    kind = {"cell": layer.cell, "input_size": 2, "hidden_size": layer.hidden_size, "dtype": "float64"}
    options = {name: getattr(layer, name) for name in ("num_layers", "bidirectional", "proj_size")}
    other = nn.Recurrent(**kind, **options)
    other.load_state_dict(layer.state_dict(), strict=False)
    return other


def initial_names(layer):
    """Return the names of the parameters of each state, layer after layer and direction after direction."""
    suffixes = [
        f"_l{k}{s}" for k in range(layer.num_layers) for s in ("", "_reverse")[: layer.num_directions]
    ]
    return [[f"initial_{state}{suffix}" for suffix in suffixes] for state in layer.cell.states]


def by_sequence(layer, other, x, hx, lengths, reset):
    """Run another layer over each sequence between resets, given its states; return outputs, and the final states."""
    T, B, _ = x.shape
    learned = [[getattr(layer, name) for name in names] for names in initial_names(layer)]
    D, outputs, finals = layer.num_directions, [], []
    for b in range(B):
        before = [
            [hx[s][k, b] if hx else v for k, v in enumerate(vectors)] for s, vectors in enumerate(learned)
        ]
        n = int(lengths[b])
        cuts = [0, *(t for t in range(1, n) if reset[t, b]), n] if n else [0]
        rows, ends = [], [list(states) for states in before]
        for first, end in pairwise(cuts):
            begins = (
                first == 0 and not reset[0, b],
                end == n,
            )  # forward, reverse: continues the state before
            given = [
                rt.stack([before[s][k] if begins[k % D] else v for k, v in enumerate(vectors)])
                for s, vectors in enumerate(learned)
            ]
            y, after = other(x[first:end, b], given[0] if len(given) == 1 else tuple(given))
            rows.append(y)
            for s, state in enumerate(after if isinstance(after, tuple) else (after,)):
                for k in range(len(ends[s])):
                    if (end == n) if k % D == 0 else (first == 0):
                        ends[s][k] = state[k]
        outputs.append(
            rt.cat([*rows, x.new_zeros(T - n, layer.num_directions * (layer.proj_size or layer.hidden_size))])
        )
        finals.append([rt.stack(states) for states in ends])
    return rt.stack(outputs, 1), [rt.stack(states, 1) for states in zip(*finals, strict=True)]


@settings(max_examples=25)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    num_layers=st.integers(1, 2),
    bidirectional=st.booleans(),
    batch_first=st.booleans(),
    is_given=st.booleans(),
    lengths=st.none() | st.lists(st.integers(0, 5), min_size=3, max_size=3),
    marks=st.none() | st.lists(st.booleans(), min_size=15, max_size=15),
)
@example("lstm", 2, True, True, True, [5, 0, 3], [True] * 15)
@example("projected", 1, False, False, False, None, None)
@example("gru", 1, True, False, True, [4, 4, 5], [i % 4 == 1 for i in range(15)])
@example("gru", 1, False, False, False, [0, 0, 0], None)  # the output depends on nothing
def test_sequences_begin_with_them(kind, num_layers, bidirectional, batch_first, is_given, lengths, marks):
    layer = layer_of(kind, num_layers=num_layers, bidirectional=bidirectional, batch_first=batch_first)
    other = plain(layer)
    x = rt.tensor(drawn(1, 5, 3, 2), requires_grad=True)
    hx = None
    if is_given:
        states = layer.begin_state(3)
        states = states if isinstance(states, tuple) else (states,)
        hx = [rt.tensor(drawn(2 + k, *state.shape), requires_grad=True) for k, state in enumerate(states)]
    reset = None if marks is None else np.array(marks).reshape(5, 3)
    form = None if hx is None else hx[0] if len(hx) == 1 else tuple(hx)
    y, after = layer(
        x.transpose(0, 1) if batch_first else x,
        form,
        lengths=lengths,
        reset=reset.T if reset is not None and batch_first else reset,
    )
    y = y.transpose(0, 1) if batch_first else y
    found = [y, *(after if isinstance(after, tuple) else (after,))]
    steps = [5] * 3 if lengths is None else lengths
    marked = np.zeros((5, 3), bool) if reset is None else reset
    expected_y, expected_after = by_sequence(layer, other, x, hx, steps, marked)
    expected = [expected_y, *expected_after]
    cotangents = [rt.tensor(drawn(10 + k, *result.shape)) for k, result in enumerate(found)]
    names = [name for names in initial_names(layer) for name in names]
    leaves = [x, *(getattr(layer, name) for name in names), *(hx or [])]
    gradients = []
    for results, weights in ((found, layer), (expected, other)):
        wanted = leaves + [getattr(weights, name) for name, _ in other.named_parameters()]
        pairs = [(r, c) for r, c in zip(results, cotangents, strict=True) if r.requires_grad]
        gradients.append(rt.grad([r for r, _ in pairs], wanted, [c for _, c in pairs], allow_unused=True))
    for result, right in zip(found, expected, strict=True):
        assert_close(result, right, atol=1e-12)
    for leaf, got, right in zip(wanted, *gradients, strict=True):
        zeros = np.zeros(leaf.shape)
        assert_close(
            zeros if got is None else got, zeros if right is None else right, of_largest=1e-10, least=1.0
        )


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_that_forward_starts_from_can_be_asked_for(kind):
    layer = layer_of(kind, num_layers=2, bidirectional=True)
    x = rt.tensor(drawn(1, 5, 3, 2))
    for size, input in ((3, x), (None, x[:, 0])):
        begun = layer.begin_state(size)
        given, default = layer(input, begun), layer(input)
        assert_same_bits(given, default)
        parameters = list(layer.parameters())
        assert_close(rt.grad(given[0].sum(), parameters), rt.grad(default[0].sum(), parameters), rtol=1e-12)
        first = begun if kind == "gru" else begun[0]
        width = 2 if kind == "projected" else 3
        assert first.shape == ((4, width) if size is None else (4, size, width))
        with rt.no_grad():
            first.fill_(7.0)  # is not the parameters' memory
        assert_same_bits(layer(input)[0], default[0])


@pytest.mark.parametrize("kind", KINDS)
def test_packed_sequences_begin_with_them(kind):
    layer = layer_of(kind, num_layers=2, bidirectional=True)
    x, lengths = rt.tensor(drawn(1, 5, 3, 2)), [3, 5, 1]
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
    output, after = layer(packed)
    padded, _ = nn.utils.rnn.pad_packed_sequence(output)
    assert_close((padded, after), layer(x, lengths=lengths), atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stepper_begins_with_them(kind):
    layer = layer_of(kind, num_layers=2)
    x = rt.tensor(drawn(1, 1, 3, 2))
    stepper = layer.stepper()
    assert_same_bits(stepper(x[0]), (layer(x)[0][0], layer(x)[1]))
    y, after = layer(x[:, 0])
    assert_same_bits(stepper(x[0, 0]), (y[0], after))
    assert_same_bits(stepper(x[0], layer.begin_state(3)), stepper(x[0]))


def test_they_are_zero_at_first_and_bear_plain_names():
    layer = nn.LSTM(2, 4, num_layers=2, bidirectional=True, proj_size=3, learn_initial_state=True)
    names = [name for name, _ in layer.named_parameters() if name.startswith("initial")]
    assert names == [f"initial_{s}_l{k}{r}" for k in (0, 1) for r in ("", "_reverse") for s in ("h", "c")]
    assert layer.initial_h_l1_reverse.shape == (3,)
    assert layer.initial_c_l0.shape == (4,)
    x = rt.randn(5, 2, 2)
    other = nn.LSTM(2, 4, num_layers=2, bidirectional=True, proj_size=3)
    assert other.load_state_dict(layer.state_dict(), strict=False).unexpected_keys == names
    assert_close(layer(x)[0], other(x)[0], atol=1e-6)
    assert not any(name in names for part in layer.all_weights for name in part)
    with rt.no_grad():
        layer.initial_c_l0.fill_(1.0)
    layer.reset_parameters()
    assert not layer.initial_c_l0.any()
    assert "learn_initial_state=True" in repr(layer)
    assert "learn_initial_state" not in repr(other)


@nn.recurrent_cell(gates=("h",), states=("h",), inputs={"dt": "step", "scale": "sequence"})
def timed(x, r, s, u):
    """A state that moves by the time between two steps, and by noise."""
    return s.h + u.dt * m.tanh(x.h + r.h) + u.scale * m.normal()


def test_they_go_with_inputs_and_noise():
    layer = nn.Recurrent(timed, 2, 3, num_layers=2, learn_initial_state=True, dtype="float64")
    other = nn.Recurrent(timed, 2, 3, num_layers=2, dtype="float64")
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    other.load_state_dict(layer.state_dict(), strict=False)
    x, dt, scale = rt.tensor(drawn(1, 5, 2, 2)), rt.tensor(drawn(2, 5, 2)), rt.zeros(2, dtype="float64")
    reset = np.zeros((5, 2), bool)
    reset[3] = True
    y, after = layer(x, inputs={"dt": dt, "scale": scale}, reset=reset)
    pieces = []
    for part in (slice(0, 3), slice(3, 5)):
        given = {"dt": dt[part], "scale": scale}
        piece, expected_after = other(x[part], layer.begin_state(2), inputs=given)
        pieces.append(piece)
    assert_close((y, after), (rt.cat(pieces), expected_after), atol=1e-13)
    results = []
    for states in (None, layer.begin_state(2)):
        rt.manual_seed(2)
        results.append(layer(x, states, inputs={"dt": dt, "scale": scale + 1}))
    assert_same_bits(*results)
    assert not np.allclose(results[0][0].detach(), layer(x, inputs={"dt": dt, "scale": scale})[0].detach())


def test_given_states_without_resets_leave_them_without_a_gradient():
    layer = layer_of()
    y, _ = layer(
        rt.tensor(drawn(1, 5, 3, 2)), nn.LSTM(2, 3, dtype="float64").begin_state(3), lengths=[5, 2, 3]
    )
    y.sum().backward()
    assert layer.initial_h_l0.grad is None
    assert layer.weight_hh_l0.grad is not None


@pytest.mark.parametrize("options", [{"recompute_every": 2}, {"bptt_truncate": 5}], ids=str)
def test_recomputed_and_truncated_layers_give_the_same(options):
    results = []
    x, reset = rt.tensor(drawn(1, 5, 3, 2)), drawn(2, 5, 3) > 0.3
    for chosen in ({}, options):
        layer = layer_of(num_layers=2, **chosen)
        rt.manual_seed(0)
        layer.load_state_dict(
            {name: rt.tensor(drawn(len(name), *v.shape)) for name, v in layer.state_dict().items()}
        )
        y, states = layer(x, reset=reset)
        y.square().sum().backward()
        results.append((y, states, {name: p.grad for name, p in layer.named_parameters()}))
    compare = (
        assert_same_numbers if "recompute_every" in options else lambda *pair: assert_close(*pair, rtol=1e-10)
    )
    compare(*results)


@pytest.mark.parametrize(
    "options", [{"zoneout": 0.3}, {"recurrent_dropout": 0.3, "weight_dropout": 0.3}], ids=str
)
def test_regularised_sequences_begin_with_them(options):
    layer, x = layer_of("gru", num_layers=2, **options), rt.tensor(drawn(1, 5, 3, 2))
    at_first = np.zeros((5, 3), bool)
    at_first[0] = True
    calls = [(None, None), (layer.begin_state(3), None), (rt.tensor(drawn(2, 2, 3, 3)), at_first)]
    results = []
    for hx, reset in calls:
        rt.manual_seed(0)
        y, after = layer(x, hx, reset=reset)
        (gradient,) = rt.grad(y.square().sum() + after.sum(), [layer.initial_h_l0])
        results.append(((y, after), gradient))
    for found, gradient in results[1:]:
        assert_same_bits(found, results[0][0])
        assert_close(gradient, results[0][1], rtol=1e-12)


def test_a_window_of_truncation_ends_before_them():
    layer = layer_of(bptt_truncate=1)
    y, _ = layer(rt.tensor(drawn(1, 5, 3, 2)))
    y[2:].sum().backward()
    assert not layer.initial_c_l0.grad.any()


def test_derivatives_of_both_orders_are_those_of_differences():
    layer = layer_of("gru", bidirectional=True)
    x = rt.tensor(drawn(1, 3, 2, 2))
    reset = np.array([[True, False], [False, True], [False, False]])
    leaves = [layer.initial_h_l0, layer.initial_h_l0_reverse, layer.weight_hh_l0]
    run = lambda *_: layer(x, reset=reset, lengths=[3, 2])  # noqa: E731
    assert rt.gradcheck(run, leaves)
    assert rt.gradgradcheck(run, leaves)


@pytest.mark.host_only("about the CPU's threads")
def test_the_bits_do_not_depend_on_the_number_of_threads():
    layer = nn.GRU(8, 32, learn_initial_state=True)
    x, reset = rt.randn(20, 70, 8), rt.randn(20, 70) > 1
    before, found = rt.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            rt.set_num_threads(n)
            y, _ = layer(x, reset=reset)
            found.append((y, rt.grad(y.square().sum(), [layer.initial_h_l0, layer.weight_hh_l0])))
    finally:
        rt.set_num_threads(before)
    assert_same_bits(found[1], found[0])
    assert_same_bits(found[2], found[0])


def test_they_may_be_parametrised_and_copied():
    layer = layer_of()
    before = layer.initial_h_l0.detach().clone()
    parametrize.register_parametrization(layer, "initial_h_l0", nn.Tanh())
    x = rt.tensor(drawn(1, 4, 3, 2))
    expected = plain(layer)(x, (before.tanh().expand(1, 3, 3), layer.initial_c_l0.expand(1, 3, 3)))
    for each in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert_same_bits(each(x), expected)
    assert_same_bits(layer.stepper()(x[0])[0], layer(x[:1])[0][0])


def test_a_language_model_learns_what_a_text_begins_with():
    model = nn.LanguageModel(5, "lstm", 4, num_layers=2, learn_initial_state=True)
    ids = rt.tensor([[1, 2, 3], [4, 0, 1]])
    with rt.no_grad():
        model.recurrent.initial_c_l1.copy_(rt.randn(4))
    logits, _ = model(ids)
    assert_same_bits(model(ids, model.begin_state(2))[0], logits)
    logits.square().sum().backward()
    assert model.recurrent.initial_h_l0.grad.any()
    assert_same_bits(model.stepper()(1)[0], model(rt.tensor([[1]]))[0][0])


def test_mistakes_are_named():
    with pytest.raises(TypeError, match="learn_initial_state must be True or False"):
        nn.GRU(2, 3, learn_initial_state=1)

    @nn.recurrent_cell(gates=("h",), states=("h",), params={"initial_h": nn.init.zeros_})
    def cell(x, r, s, p):
        return m.tanh(x.h + r.h + p.initial_h)

    assert nn.Recurrent(cell, 2, 3).initial_h_l0.shape == (3,)
    with pytest.raises(ValueError, match="initial_h, which is a learned vector of cell cell: rename that"):
        nn.Recurrent(cell, 2, 3, learn_initial_state=True)
