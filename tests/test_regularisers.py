"""Recurrent dropout, zoneout, DropConnect, and dropout between layers: inside the kernels, and the same backward.

Masks are functions of a call's key and of a position; `oracles.masks` reads them one number at a time.
"""

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt

from .oracles.cells import STEPS
from .oracles.comparison import Ours, as_tuple, assert_same_run, compare, draw_parameters, draw_states
from .oracles.masks import Masks, expected_zoneout

RATES = {
    "recurrent_dropout": {"recurrent_dropout": 0.4},
    "zoneout": {"zoneout": 0.3},
    "weight_dropout": {"weight_dropout": 0.4},
    "dropout": {"dropout": 0.5},
    "all": {"recurrent_dropout": 0.25, "zoneout": 0.2, "weight_dropout": 0.3, "dropout": 0.1},
}
# Regularisers are woven into a step, so each cell with each set of them is compiled.
WOVEN = [("lstm", what) for what in RATES]
WOVEN += [(name, "all") for name in ("gru_original", "lstm_layer_norm", "slstm")]
WITHIN = {name: rate for name, rate in RATES["all"].items() if name != "dropout"}  # for a single layer


def make(name, rng, I=3, H=5, **options):  # noqa: E741
    options.setdefault("dtype", "float64")
    layer = nn.Recurrent(getattr(nn.cells, name), I, H, **options)
    draw_parameters(layer, rng)
    return layer


def ours(layer, x, initial=None, seed=0, **features):
    rt.manual_seed(seed)
    return Ours(layer, x, initial, all_states=True, **features)


# -- the explicit loop -----------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "what"), WOVEN)
def test_equals_the_loop_with_the_same_masks(name, what):
    """Two layers, both directions, lengths, resets and initial states; outputs, all states and all gradients."""
    rng = np.random.default_rng([1, *name.encode(), *what.encode()])
    T, B = 5, 4
    layer = make(name, rng, num_layers=2, bidirectional=True, **RATES[what])
    x, initial = rng.standard_normal((T, B, 3)), draw_states(layer, B, rng)
    features = {"lengths": [4, 0, 5, 2], "reset": rng.random((T, B)) < 0.2}
    oracle = Masks(layer, B, 5).oracle
    compare(layer, STEPS[name], x, initial, oracle=oracle, seed=5, what=f"{name}, {what}", **features)


def test_zoneout_of_one_state():
    """A rate for each state that is named; the others are not zoned out."""
    rng = np.random.default_rng(2)
    layer = make("lstm", rng, zoneout={"c": 0.5})
    x, initial = rng.standard_normal((5, 3, 3)), draw_states(layer, 3, rng)
    assert layer.zoneout == {"c": 0.5}
    compare(layer, STEPS["lstm"], x, initial, oracle=Masks(layer, 3, 6).oracle, seed=6)


@pytest.mark.parametrize("truncate", [1, 3])
def test_truncation_meets_the_same_masks(truncate):
    rng = np.random.default_rng(3)
    layer = make("lstm", rng, bidirectional=True, bptt_truncate=truncate, **WITHIN)
    x, initial = rng.standard_normal((6, 3, 3)), draw_states(layer, 3, rng)
    oracle = Masks(layer, 3, 7).oracle | {"bptt_truncate": truncate}
    compare(layer, STEPS["lstm"], x, initial, oracle=oracle, seed=7, lengths=[6, 4, 1])


PROJECTED = {"proj_size": 2, "recurrent_dropout": 0.4, "zoneout": {"c": 0.2}, "weight_dropout": 0.3}


def test_projected_features_are_masked_as_the_loop_masks_them():
    """The mask is of what the recurrent matrices multiply: the P features of the projection."""
    rng = np.random.default_rng(31)
    T, B = 5, 4
    layer = make("lstm", rng, num_layers=2, bidirectional=True, dropout=0.1, **PROJECTED)
    x, initial = rng.standard_normal((T, B, 3)), draw_states(layer, B, rng)
    features = {"lengths": [4, 0, 5, 2], "reset": rng.random((T, B)) < 0.2}
    oracle = Masks(layer, B, 5).oracle
    compare(layer, STEPS["lstm_projected"], x, initial, oracle=oracle, seed=5, **features)


@pytest.mark.parametrize("truncate", [1, 3])
def test_truncation_meets_the_masks_of_projected_features(truncate):
    rng = np.random.default_rng(32)
    layer = make("lstm", rng, bidirectional=True, bptt_truncate=truncate, **PROJECTED)
    x, initial = rng.standard_normal((6, 3, 3)), draw_states(layer, 3, rng)
    oracle = Masks(layer, 3, 7).oracle | {"bptt_truncate": truncate}
    compare(layer, STEPS["lstm_projected"], x, initial, oracle=oracle, seed=7, lengths=[6, 4, 1])


@pytest.mark.parametrize("steps", [1, 2])
def test_checkpoints_meet_the_masks_of_projected_features(steps):
    x = np.random.default_rng(33).standard_normal((5, 3, 3))
    plain = make("lstm", np.random.default_rng(34), **PROJECTED)
    kept = make("lstm", np.random.default_rng(34), recompute_every=steps, **PROJECTED)
    assert_same_run(ours(plain, x, lengths=[5, 3, 1]), ours(kept, x, lengths=[5, 3, 1]))


def test_masks_of_projected_features_do_not_depend_on_threads(set_num_threads):
    rng = np.random.default_rng(35)
    layer = make("lstm", rng, I=32, H=64, dtype="float32", **{**PROJECTED, "proj_size": 48})
    x = rng.standard_normal((6, 21, 32)).astype(np.float32)
    set_num_threads(1)
    alone = ours(layer, x)
    for count in (2, 3):
        set_num_threads(count)
        assert_same_run(alone, ours(layer, x))


def test_masks_of_projected_features_are_drawn_again_backward():
    rng = np.random.default_rng(36)
    layer = make("lstm", rng, I=2, H=3, **PROJECTED)
    initial = [rt.tensor(state, requires_grad=True) for state in draw_states(layer, 2, rng)]
    x = rt.tensor(rng.standard_normal((3, 2, 2)), requires_grad=True)

    def call(x, h, c, *weights):
        rt.manual_seed(8)
        output, (h_n, c_n) = layer(x, (h, c), lengths=[3, 2])
        return output, h_n, c_n

    varied = (x, *initial, layer.weight_hh_l0, layer.weight_hr_l0)
    assert rt.gradcheck(call, varied)
    assert rt.gradgradcheck(call, varied)


def test_evaluation_masks_no_projected_feature():
    rng = np.random.default_rng(37)
    options = {name: value for name, value in PROJECTED.items() if name != "recurrent_dropout"}
    dropped, plain = make("lstm", rng, **PROJECTED).eval(), make("lstm", rng, **options).eval()
    plain.load_state_dict(dropped.state_dict())
    x = rng.standard_normal((4, 2, 3))
    assert_same_run(ours(dropped, x), ours(plain, x))
    step, _ = dropped.stepper()(x[0])
    assert_same_bits(step, plain(rt.tensor(x[:1]))[0][0].detach().numpy())


# -- replay ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "what"), WOVEN)
def test_backward_replays_the_masks_of_forward(name, what):
    """Central differences with the key fixed; second derivatives draw the same masks once more."""
    rng = np.random.default_rng([4, *name.encode(), *what.encode()])
    layer = make(name, rng, I=2, H=2, num_layers=2, **RATES[what])
    initial = [rt.tensor(state, requires_grad=True) for state in draw_states(layer, 2, rng)]
    x = rt.tensor(rng.standard_normal((3, 2, 2)), requires_grad=True)

    def call(x, *rest):
        rt.manual_seed(8)
        states = rest[: len(initial)]
        sequences, final = layer.all_states(x, states if len(states) > 1 else states[0], lengths=[3, 2])
        return (*sequences, *as_tuple(final))

    varied = (x, *initial, layer.weight_hh_l0, layer.weight_ih_l1)
    assert rt.gradcheck(call, varied)
    if name == "gru_original" or what == "dropout":
        assert rt.gradgradcheck(call, varied)


# -- evaluation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gru_original", "lstm", "lstm_layer_norm"])
def test_evaluation_is_the_expectation(name):
    """Zoneout averages, with its gradients; dropout and DropConnect do nothing; nothing is drawn."""
    rng = np.random.default_rng([5, *name.encode()])
    layer = make(name, rng, num_layers=2, bidirectional=True, **RATES["all"]).eval()
    x, initial = rng.standard_normal((5, 3, 3)), draw_states(layer, 3, rng)
    before = rt.default_generator().get_state()
    layer(rt.tensor(x), lengths=[5, 0, 2])
    assert rt.default_generator().get_state() == before
    oracle = {"after_step": expected_zoneout(layer)}
    compare(layer, STEPS[name], x, initial, oracle=oracle, what=name, lengths=[5, 0, 2])


def test_evaluation_without_zoneout_is_the_plain_layer():
    rng = np.random.default_rng(6)
    layer = make("lstm", rng, recurrent_dropout=0.5, weight_dropout=0.5)
    plain = make("lstm", rng)
    plain.load_state_dict(layer.state_dict())
    x = rng.standard_normal((5, 3, 3))
    assert_same_run(ours(layer.eval(), x), ours(plain, x))


def test_a_layer_without_regularisers_draws_nothing():
    """So a run that has none keeps its random numbers for what has."""
    layer = make("lstm", np.random.default_rng(7), num_layers=2)
    rt.manual_seed(0)
    before = rt.default_generator().get_state()
    layer(rt.tensor(np.ones((3, 2, 3))))
    assert rt.default_generator().get_state() == before


# -- what masks depend on --------------------------------------------------------------------------


def test_the_seed_alone_decides_and_every_call_draws_anew():
    layer = make("lstm", np.random.default_rng(8), **WITHIN)
    x = rt.tensor(np.random.default_rng(9).standard_normal((4, 3, 3)))
    rt.manual_seed(1)
    first, second = layer(x)[0].detach().numpy(), layer(x)[0].detach().numpy()
    assert first.tobytes() != second.tobytes()
    state = rt.manual_seed(1).get_state()
    assert_same_bits(layer(x)[0].detach().numpy(), first)
    rt.default_generator().set_state(state)
    assert_same_bits(layer(x)[0].detach().numpy(), first)
    assert_same_bits(layer(x)[0].detach().numpy(), second)


def test_a_row_does_not_see_its_neighbours():
    """Fewer rows, fewer steps, other lengths beside it, another order inside the layer: the same row, the same bits."""
    rng = np.random.default_rng(10)
    layer = make("lstm", rng, bidirectional=True, **WITHIN)
    x = rng.standard_normal((6, 5, 3))
    whole = ours(layer, x, lengths=[6, 2, 4, 6, 3]).values["every h"]
    fewer = ours(layer, x[:, :3], lengths=[6, 2, 4]).values["every h"]
    assert_same_bits(whole[:, :3], fewer)
    other = ours(layer, x, lengths=[1, 2, 4, 0, 6]).values["every h"]
    assert_same_bits(whole[:, 1:3], other[:, 1:3])
    shorter = ours(layer, x[:4], lengths=[4, 2, 4, 4, 3]).values["every h"]
    assert_same_bits(whole[:4, 1:3], shorter[:, 1:3])


def test_masks_do_not_depend_on_the_type_of_number():
    rng = np.random.default_rng(11)
    layer = make("lstm", rng, **WITHIN)
    x = rng.standard_normal((5, 3, 3))
    double = ours(layer, x).values["every h"]
    single = ours(layer.to("float32"), x).values["every h"]
    assert_close(single, double, atol=1e-5)


@pytest.mark.parametrize("name", ["gru_original", "lstm", "lstm_layer_norm"])
def test_masks_do_not_depend_on_threads(name, set_num_threads):
    rng = np.random.default_rng(12)
    layer = make(name, rng, H=33, bidirectional=True, **WITHIN)
    for B in (1, 5):
        x, results = rng.standard_normal((4, B, 3)), []
        for count in (1, 2, 3):
            set_num_threads(count)
            results.append(ours(layer, x))
        assert_same_run(results[0], results[1])
        assert_same_run(results[0], results[2])


# -- the masks themselves, seen through layers that show them --------------------------------------


def showing(H, T, B, options, *, W=0.0, num_layers=1, bidirectional=False, seed=0):
    """Run h_t = W x_t + h_{t-1}, x = 1, from h_0 = 1, whose regularisers can be read off the output (T, B, D*H)."""
    options = options | {"num_layers": num_layers, "bidirectional": bidirectional, "bias": False}
    layer = nn.Recurrent(nn.cells.linear_rnn, 1, H, dtype="float64", **options)
    for name, parameter in layer.named_parameters():
        parameter.data[:] = np.eye(H) if name.startswith("weight_hh") else W
    h_0 = rt.tensor(np.ones((num_layers * layer.num_directions, B, H)))
    rt.manual_seed(seed)
    output, _ = layer(rt.tensor(np.ones((T, B, 1))), h_0)
    return output.detach().numpy()


def assert_rate(hits, rate):
    """A frequency within four standard deviations."""
    assert abs(hits.mean() - rate) < 4 * np.sqrt(rate * (1 - rate) / hits.size), (hits.mean(), rate)


def assert_independent(one, other):
    """A correlation within four standard deviations of none."""
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(one.size)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_recurrent_dropout_is_one_mask_for_all_steps(rate):
    B, H = 200, 50
    shown = showing(H, 3, B, {"recurrent_dropout": rate})
    mask = shown[0]
    assert_rate(mask == 0, rate)
    assert_close(mask[mask != 0], 1 / (1 - rate), rtol=1e-15)
    assert_close(shown, [mask, mask**2, mask**3], rtol=1e-14)
    assert_independent(mask[:-1], mask[1:])
    assert_independent(mask[:, :-1], mask[:, 1:])


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_zoneout_draws_anew_at_every_step(rate):
    T, B, H = 4, 100, 40
    shown = showing(H, T, B, {"zoneout": rate}, W=1.0)
    held = np.diff(shown, axis=0, prepend=1.0) == 0
    assert_rate(held, rate)
    assert_same_bits(shown[-1], 1.0 + (~held).sum(0))
    for axis in range(3):
        pairs = np.moveaxis(held, axis, 0)
        assert_independent(pairs[:-1], pairs[1:])


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_weight_dropout_is_one_mask_for_a_call(rate):
    """Row b begins with unit vector b, so after a step the batch shows the matrix."""
    H = 120
    layer = nn.Recurrent(nn.cells.linear_rnn, 1, H, bias=False, dtype="float64", weight_dropout=rate)
    layer.weight_ih_l0.data[:] = 0
    layer.weight_hh_l0.data[:] = 1
    rt.manual_seed(0)
    output, _ = layer(rt.tensor(np.ones((2, H, 1))), rt.tensor(np.eye(H)[None]))
    matrix = output.detach().numpy()[0].T
    assert_rate(matrix == 0, rate)
    assert_close(matrix[matrix != 0], 1 / (1 - rate), rtol=1e-15)
    assert_independent(matrix[:-1], matrix[1:])
    assert_independent(matrix[:, :-1], matrix[:, 1:])
    assert_close(output.detach().numpy()[1].T, matrix @ matrix, rtol=1e-12)


@pytest.mark.parametrize("regulariser", ["recurrent_dropout", "zoneout"])
def test_directions_layers_and_seeds_have_masks_of_their_own(regulariser):
    B, H = 60, 40

    def dropped(**arguments):
        """Tell which units were dropped, or held, in the last layer's first step."""
        zoned = (
            regulariser == "zoneout"
        )  # with W = 1 they are those that are still 1, without it those that are 0
        return showing(H, 1, B, {regulariser: 0.5}, W=float(zoned), **arguments)[0] == zoned

    both = dropped(bidirectional=True)
    assert_independent(both[:, :H], both[:, H:])
    assert_independent(both, dropped(bidirectional=True, seed=1))
    one, two = dropped(), dropped(num_layers=2)
    assert_rate(two, 0.5)
    assert_independent(one, two)


def test_states_have_masks_of_their_own():
    """Of an LSTM that only adds, which units of h and of c kept their old value."""
    B, H = 60, 40
    layer = nn.Recurrent(nn.cells.lstm, 1, H, dtype="float64", zoneout=0.5)
    draw_parameters(layer, np.random.default_rng(13))
    zeros = tuple(rt.tensor(np.zeros((1, B, H))) for _ in range(2))
    rt.manual_seed(0)
    (h, c), _ = layer.all_states(rt.tensor(np.ones((1, B, 1))), zeros)
    assert_rate(h.detach().numpy() == 0, 0.5)
    assert_rate(c.detach().numpy() == 0, 0.5)
    assert_independent(h.detach().numpy() == 0, c.detach().numpy() == 0)


# -- the ends of the range -------------------------------------------------------------------------


def test_dropping_everything_leaves_the_recurrent_biases():
    rng = np.random.default_rng(14)
    x = rng.standard_normal((4, 2, 3))
    for options in ({"recurrent_dropout": 1.0}, {"weight_dropout": 1.0}):
        layer = make("gru", rng, **options)
        plain = make("gru", rng)
        plain.load_state_dict(layer.state_dict())
        plain.weight_hh_l0.data[:] = 0
        found, expected = ours(layer, x), ours(plain, x)
        assert_close(found.values["every h"], expected.values["every h"], atol=1e-15)
        assert not found.gradients["weight_hh_l0"].any()
        assert_close(found.gradients["x"], expected.gradients["x"], atol=1e-15)


@pytest.mark.parametrize("training", [True, False])
def test_zoneout_of_everything_keeps_the_initial_states(training):
    rng = np.random.default_rng(15)
    layer = make("lstm", rng, zoneout=1.0).train(training)
    x, initial = rng.standard_normal((4, 2, 3)), draw_states(layer, 2, rng)
    found = ours(layer, x, initial)
    for name, start in zip("hc", initial, strict=True):
        assert_same_bits(found.values[f"every {name}"], np.broadcast_to(start, (4, 2, 5)))
    assert not found.gradients["x"].any()
    assert not found.gradients["weight_hh_l0"].any()


def test_rates_of_zero_are_the_plain_layer():
    rng = np.random.default_rng(16)
    layer = make("lstm", rng, recurrent_dropout=0.0, zoneout={"h": 0.0}, weight_dropout=0)
    plain = make("lstm", rng)
    plain.load_state_dict(layer.state_dict())
    x = rng.standard_normal((5, 3, 3))
    assert_same_run(ours(layer, x), ours(plain, x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recurrent_dropout": 1.5}, "recurrent_dropout"),
        ({"recurrent_dropout": True}, "recurrent_dropout"),
        ({"zoneout": -0.1}, "zoneout"),
        ({"zoneout": {"h": 2}}, "zoneout"),
        ({"zoneout": {"k": 0.5}}, "zoneout.*k.*h, c"),
        ({"weight_dropout": "much"}, "weight_dropout"),
        ({"weight_dropout": np.nan}, "weight_dropout"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        nn.Recurrent(nn.cells.lstm, 3, 5, **options)
