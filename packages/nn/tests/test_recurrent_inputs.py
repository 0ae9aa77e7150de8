"""Named inputs of a step: a layer that reads them against one to which they are gates of its input.

A gate whose weights are the identity on some columns of x, and without a bias or a recurrent part, is those columns. So
every feature of a layer must treat a named input as it treats such columns.
"""

import copy
import re

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import cell_math as m

from .recurrent_layers import assert_same_numbers

T, B, I, H = 6, 3, 2, 4  # noqa: E741 - the letters of the field


def step(a, dt, g, s):
    keep = m.exp(-m.relu(dt))
    return m.where(g > 0.3, keep, g) * s + (1 - keep) * m.tanh(a) * (1 + g * dt)


@nn.recurrent_cell(gates=("h",), states=("h",), inputs={"dt": "step", "g": "sequence"})
def reading(x, r, s, u):
    return step(x.h + r.h, u.dt, u.g, s.h)


@nn.recurrent_cell(gates=("h", "dt", "g"), states=("h",))
def gated(x, r, s):
    return step(x.h + r.h, x.dt, x.g, s.h)


def numbers(*shape, seed=0):
    return rt.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


def wide(value):
    """Return an input with one number for each unit."""
    return value if value.shape[-1] == H else rt.stack([value] * H, -1)


class Pair:
    """A layer that reads inputs, and one that has them as gates, with the same weights."""

    def __init__(self, **options):
        self.reading = nn.Recurrent(reading, I, H, dtype="float64", **options)
        self.gated = nn.Recurrent(gated, I + 2 * H, H, dtype="float64", **options)
        with rt.no_grad():
            for name, weight in self.gated.named_parameters():
                own = getattr(self.reading, name)
                if name.startswith("weight_ih"):
                    weight.zero_()
                    weight[:H, :I] = own
                    weight[H:, I:] = rt.eye(2 * H, dtype="float64")
                elif name.startswith("bias_ih"):
                    weight.zero_()
                    weight[:H] = own
                else:
                    weight[...] = own

    def compare(self, x, dt, g, inputs, joined, **features):
        """Compare outputs, states and gradients: those of `reading` for `inputs`, of `gated` for `joined`."""
        leaves = [tensor for tensor in (x, dt, g) if tensor.requires_grad]
        found = []
        for layer, first, more in (
            (self.reading, x, {"inputs": inputs}),
            (self.gated, joined, {}),
        ):
            rt.manual_seed(5)
            output, state = layer(first, **more, **features)
            output = output.data if isinstance(output, nn.utils.rnn.PackedSequence) else output
            loss = (output * numbers(*output.shape, seed=8)).sum() + (
                state * numbers(*state.shape, seed=9)
            ).sum()
            parameters = list(layer.parameters())
            gradients = rt.grad(loss, [*leaves, *parameters])
            for k, (_, parameter) in enumerate(layer.named_parameters(), len(leaves)):
                gradients = list(gradients)
                if parameter.ndim and parameter.shape[0] == 3 * H:
                    gradients[k] = gradients[k][:H, :I] if parameter.ndim == 2 else gradients[k][:H]
            found.append([output, state, *gradients])
        for ours, expected in zip(*found, strict=True):
            assert_close(ours.detach().numpy(), expected.detach().numpy(), rtol=1e-10, atol=1e-12)


def over_time(g):
    """Return a sequence input at every step, (T, B, H)."""
    return rt.stack([wide(g)] * T, 0)


FEATURES = {
    "plain": ({}, {}),
    "lengths": ({}, {"lengths": [4, 0, 6]}),
    "reset": ({}, {"reset": np.random.default_rng(1).random((T, B)) < 0.3}),
    "both": ({}, {"lengths": [4, 0, 6], "reset": np.random.default_rng(1).random((T, B)) < 0.3}),
    "bidirectional": ({"bidirectional": True}, {"lengths": [4, 1, 6]}),
    "recomputed": ({"recompute_every": 2}, {}),
    "recomputed with lengths": ({"recompute_every": 4}, {"lengths": [5, 0, 6]}),
    "truncated": ({"bptt_truncate": 2}, {"lengths": [4, 0, 6]}),
    "zoneout": ({"zoneout": 0.3}, {}),
    "recurrent dropout": ({"recurrent_dropout": 0.4}, {}),
    "DropConnect": ({"weight_dropout": 0.4}, {}),
    "heads": ({"num_heads": 2}, {}),
}


@pytest.mark.parametrize("form", ["units", "numbers", "one constant"])
@pytest.mark.parametrize("name", FEATURES)
def test_every_feature_treats_an_input_as_columns_of_x(name, form):
    options, features = FEATURES[name]
    x, dt, g = numbers(T, B, I), numbers(T, B, H, seed=1), numbers(B, H, seed=2)
    if form != "units":
        dt, g = numbers(T, B, seed=1), numbers(B, seed=2)
    if form == "one constant":
        dt = dt.detach()
    joined = rt.cat([x, wide(dt), over_time(g)], -1)
    Pair(**options).compare(x, dt, g, {"dt": dt, "g": g}, joined, **features)


def test_batch_first():
    x, dt, g = numbers(B, T, I), numbers(B, T, seed=1), numbers(B, H, seed=2)
    joined = rt.cat([x, wide(dt), over_time(g).transpose(0, 1)], -1)
    Pair(batch_first=True).compare(x, dt, g, {"dt": dt, "g": g}, joined)


@pytest.mark.parametrize("shapes", [((T, H), (H,)), ((T,), ())])
def test_without_a_batch(shapes):
    x, dt, g = numbers(T, I), numbers(*shapes[0], seed=1), numbers(*shapes[1], seed=2)
    g_units = g if shapes[1] else rt.stack([g] * H, 0)
    joined = rt.cat([x, wide(dt), rt.stack([g_units] * T, 0)], -1)
    Pair().compare(x, dt, g, {"dt": dt, "g": g}, joined)


@pytest.mark.parametrize("shape", [(T, B, H), (T, B)])
def test_packed(shape):
    x, dt, g = numbers(T, B, I), numbers(*shape, seed=1), numbers(B, H, seed=2)

    def pack(padded):
        return nn.utils.rnn.pack_padded_sequence(padded, [3, 6, 1], enforce_sorted=False)

    pair = Pair(bidirectional=True)
    joined = pack(rt.cat([x, wide(dt), over_time(g)], -1))
    leaves, cotangents, found = [x, dt, g], {}, []
    for layer, first, more in (
        (pair.reading, pack(x), {"inputs": {"dt": pack(dt), "g": g}}),
        (pair.gated, joined, {}),
    ):
        output, state = layer(first, **more)
        loss = (output.data * numbers(*output.data.shape, seed=8)).sum()
        loss = loss + (state * numbers(*state.shape, seed=9)).sum()
        found.append([output.data, state, *rt.grad(loss, leaves)])
    assert not cotangents
    for ours, expected in zip(*found, strict=True):
        assert_close(ours.detach().numpy(), expected.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_layers_share_inputs_or_have_their_own():
    x = numbers(T, B, I)
    dts, gs = [numbers(T, B, seed=k) for k in (1, 2)], [numbers(B, H, seed=k) for k in (3, 4)]
    both = nn.Recurrent(reading, I, H, 2, dtype="float64")
    first, second = nn.Recurrent(reading, I, H, dtype="float64"), nn.Recurrent(reading, H, H, dtype="float64")
    first.load_state_dict({n: p for n, p in both.state_dict().items() if n.endswith("l0")})
    second.load_state_dict({n[:-1] + "0": p for n, p in both.state_dict().items() if n.endswith("l1")})
    for of_layers in (
        [{"dt": dt, "g": g} for dt, g in zip(dts, gs, strict=True)],
        [{"dt": dts[0], "g": gs[0]}] * 2,
    ):
        shared = of_layers[0] is of_layers[1]
        output, states = both(x, inputs=of_layers[0] if shared else of_layers)
        middle, state = first(x, inputs=of_layers[0])
        expected, last = second(middle, inputs=of_layers[1])
        assert_same_bits(output.detach().numpy(), expected.detach().numpy())
        assert_same_bits(states.detach().numpy(), rt.cat([state, last]).detach().numpy())
        leaves = [*of_layers[0].values()]
        for ours, theirs in zip(rt.grad(output.sum(), leaves), rt.grad(expected.sum(), leaves), strict=True):
            assert_same_bits(ours.numpy(), theirs.numpy())


def test_first_and_second_derivatives():
    layer = nn.Recurrent(reading, I, H, 2, dtype="float64", bidirectional=True)
    for shapes in (((3, 2, H), (2, H)), ((3, 2), (2,))):
        given = (numbers(3, 2, I), numbers(*shapes[0], seed=1), numbers(*shapes[1], seed=2))

        def run(x, dt, g):
            output, state = layer(x, inputs={"dt": dt, "g": g}, lengths=[3, 2])
            return output, state

        assert rt.gradcheck(run, given)
        assert rt.gradgradcheck(run, given)


@pytest.mark.host_only("about the CPU's threads")
def test_the_same_bits_for_any_number_of_threads_and_with_recomputation():
    layer = nn.Recurrent(reading, 8, 40, dtype="float32")
    random = np.random.default_rng(0)
    x, dt, g = (
        rt.tensor(random.standard_normal(shape), dtype="float32", requires_grad=True)
        for shape in ((30, 7, 8), (30, 7), (7, 40))
    )
    before, found = rt.get_num_threads(), []
    try:
        for threads, every in ((1, None), (2, None), (3, 7), (1, 4)):
            rt.set_num_threads(threads)
            layer.recompute_every = every
            output, _ = layer(x, inputs={"dt": dt, "g": g})
            loss = (output * output).sum()
            found.append([output.detach().numpy(), *(t.numpy() for t in rt.grad(loss, [x, dt, g]))])
    finally:
        rt.set_num_threads(before)
    for other in found[1:]:
        assert_same_bits(found[0], other)


@pytest.mark.parametrize("widths", [(None, None), (H, None), (H, H)])
def test_a_single_step_and_a_stepper_have_the_bits_of_the_layer(widths):
    layer = nn.Recurrent(reading, I, H, 2)
    x = rt.randn(T, B, I)
    dt, g = (
        rt.rand(*shape) if w is None else rt.rand(*shape, w)
        for shape, w in zip(((T, B), (B,)), widths, strict=True)
    )
    expected, _ = layer(x, inputs={"dt": dt, "g": g})
    stepper, state = layer.stepper(), None
    for t in range(T):
        given = {"dt": dt[t], "g": g.numpy()}
        y, state = stepper(x[t], state, inputs=given if t % 2 else [given] * 2)
        assert_same_numbers(y, expected[t])
    run = layer.stepper().run
    assert_same_numbers(run(x, None, {"dt": dt.numpy(), "g": g})[0], expected)
    alone = run(x[:, 1].numpy(), None, [{"dt": dt[:, 1], "g": g[1]}] * 2)[0]
    assert_close(alone.numpy(), expected[:, 1].detach().numpy(), rtol=1e-6)
    with pytest.raises(ValueError, match=r"'dt' of cell .* is a step input: it must have shape"):
        run(x, None, {"dt": dt[0], "g": g})
    one = layer.stepper()(x[0, 1], inputs={"dt": dt[0, 1], "g": g[1]})[0]
    assert_close(one.numpy(), expected[0, 1].detach().numpy(), rtol=1e-6)
    alone, single = nn.Recurrent(reading, I, H), nn.RecurrentCell(reading, I, H)
    single.load_state_dict({name[: -len("_l0")]: value for name, value in alone.state_dict().items()})
    output, _ = alone(x, inputs={"dt": dt, "g": g})
    h = None
    for t in range(T):
        h = single(x[t], h, {"dt": dt[t], "g": g})
        assert_close(h.detach().numpy(), output[t].detach().numpy(), rtol=1e-6)
    assert single(x[0, 1], None, {"dt": dt[0, 1], "g": g[1]}).shape == (H,)


def test_layers_with_inputs_are_copied():
    layer = nn.Recurrent(reading, I, H)
    inputs = {"dt": rt.rand(T, B), "g": rt.rand(B)}
    x = rt.randn(T, B, I)
    assert_same_bits(
        copy.deepcopy(layer)(x, inputs=inputs)[0].detach().numpy(),
        layer(x, inputs=inputs)[0].detach().numpy(),
    )


GOOD = {"dt": rt.ones(T, B), "g": rt.ones(B)}


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (
            None,
            ValueError,
            "cell reading needs its step input 'dt': pass inputs={'dt': tensor}",
        ),
        (
            {"dt": rt.ones(T, B)},
            ValueError,
            "needs its sequence input 'g': pass inputs={'g': tensor}",
        ),
        ({**GOOD, "dts": 1}, ValueError, "has no input 'dts', its inputs are dt, g: did you mean 'dt'?"),
        (
            {**GOOD, "dt": rt.ones(B, T)},
            ValueError,
            "input 'dt' of cell reading is a step input: it must have shape (T, B), which is (6, 3) here, or "
            "(T, B, H), which is (6, 3, 4), got (3, 6)",
        ),
        ({**GOOD, "g": rt.ones(B, H + 1)}, ValueError, "or (B, H), which is (3, 4), got (3, 5)"),
        (
            {**GOOD, "g": rt.ones(B).double()},
            TypeError,
            "has dtype float64, which does not match the weights' float32: write g.to('float32')",
        ),
        ({**GOOD, "g": 1.0}, TypeError, "input 'g' of cell reading must be a Tensor, got float"),
        (
            {**GOOD, "dt": nn.utils.rnn.pack_padded_sequence(rt.ones(T, B), [6, 3, 2])},
            TypeError,
            "got PackedSequence: only step inputs are packed, and only where the input x is",
        ),
        ([GOOD], ValueError, "a list with one for each layer (2), got 1"),
        (3, TypeError, "inputs must be a mapping of names to tensors"),
    ],
)
def test_wrong_inputs_are_named(inputs, error, message):
    layer = nn.Recurrent(reading, I, H, 2)
    with pytest.raises(error, match=re.escape(message)):
        layer(rt.ones(T, B, I), inputs=inputs)


def test_a_cell_without_inputs_refuses_them():
    with pytest.raises(ValueError, match="cell lstm has no input 'dt', it has none"):
        nn.LSTM(I, H)(rt.ones(T, B, I), inputs={"dt": rt.ones(T, B)})
    with pytest.raises(ValueError, match="cell gru has no input 'dt', it has none"):
        nn.GRU(I, H).stepper()(rt.ones(B, I), inputs={"dt": rt.ones(B)})


def test_packed_inputs_are_packed_alike():
    layer = nn.Recurrent(reading, I, H)

    def pack(padded, lengths):
        return nn.utils.rnn.pack_padded_sequence(padded, lengths, enforce_sorted=False)

    x = pack(rt.ones(T, B, I), [3, 6, 1])
    with pytest.raises(
        TypeError, match="input 'dt' of cell reading must be a PackedSequence like the input x"
    ):
        layer(x, inputs={"dt": rt.ones(T, B), "g": rt.ones(B)})
    for lengths in ([3, 6, 2], [6, 3, 1]):
        with pytest.raises(ValueError, match="must be packed as the input x is"):
            layer(x, inputs={"dt": pack(rt.ones(T, B), lengths), "g": rt.ones(B)})


@pytest.mark.parametrize("sorted_by_caller", ["x", "dt"])
def test_inputs_of_the_same_order_are_packed_alike_whoever_sorted_them(sorted_by_caller):
    def pack(name, padded):
        return nn.utils.rnn.pack_padded_sequence(padded, [6, 3, 1], enforce_sorted=name == sorted_by_caller)

    layer, x, dt, g = nn.Recurrent(reading, I, H), rt.randn(T, B, I), rt.randn(T, B), rt.randn(B)
    packed, _ = layer(pack("x", x), inputs={"dt": pack("dt", dt), "g": g})
    same, _ = layer(pack("dt", x), inputs={"dt": pack("dt", dt), "g": g})
    assert_same_bits(packed.data.detach().numpy(), same.data.detach().numpy())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": {"dt": "steps"}}, "input dt must be of the kind 'step' or 'sequence', got 'steps'"),
        ({"inputs": {"a b": "step"}}, "input 'a b' is not a name that can follow a dot"),
        ({"inputs": {"dt": "step", "g": "step"}}, "input g is declared but never read"),
        ({}, "a step that reads inputs u needs inputs="),
    ],
)
def test_wrong_definitions_are_refused(options, message):
    with pytest.raises(nn.CellError, match=re.escape(message)):
        nn.recurrent_cell(gates=("h",), states=("h",), **options)(lambda x, r, s, u: x.h + u.dt)
    with pytest.raises(TypeError, match="inputs must be a mapping of names to kinds"):
        nn.recurrent_cell(gates=("h",), states=("h",), inputs="dt")


@pytest.mark.parametrize("units", [H, 1])
def test_an_input_that_a_recurrent_matrix_multiplies_may_be_one_number(units):
    @nn.recurrent_cell(gates=("a", "b"), states=("h",), inputs={"dt": "step", "g": "sequence"})
    def multiplied(x, r, s, u):
        return m.tanh(x.a + r.a(m.exp(-u.dt)) + r.b(u.g * s.h))

    layer = nn.Recurrent(multiplied, I, units, dtype="float64")
    x, dt, g = numbers(T, B, I), numbers(T, B, seed=1), numbers(B, seed=2)
    given = {"dt": dt, "g": g}
    expected, _ = layer(x, inputs={name: rt.stack([value] * units, -1) for name, value in given.items()})
    output, _ = layer(x, inputs=given)
    assert_close(output.detach().numpy(), expected.detach().numpy(), rtol=1e-13)
    pairs = zip(rt.grad(output.sum(), [dt, g]), rt.grad(expected.sum(), [dt, g]), strict=True)
    for ours, theirs in pairs:
        assert_close(ours.numpy(), theirs.numpy(), rtol=1e-11, atol=1e-13)
    y, _ = layer.stepper()(x[0], inputs={"dt": dt[0], "g": g})
    assert_same_bits(y.numpy(), output[0].detach().numpy())
