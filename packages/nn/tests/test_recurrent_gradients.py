"""First and second derivatives of the recurrent layers against central differences, in float64, every element."""

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import cell_math as m
from rondeau.nn.utils.rnn import pack_padded_sequence


@nn.recurrent_cell(gates=("z", "n"), states=("h", "e"))
def mixed(x, r, s):
    """Two states, most of the language, and a gate whose parts are read apart."""
    z = m.sigmoid(x.z + r.z)
    n = m.tanh(x.n * r.n) / (1 + m.exp(-m.sqrt(1 + x.n * x.n)))
    h = z * s.h + (1 - z) * n
    return h, m.maximum(0.9 * s.e, m.softplus(h)) + m.log(2 + m.abs(s.e)) * m.where(h > s.e, h, 0.5)


CELLS = {"tanh": nn.cells.rnn_tanh, "gru": nn.cells.gru, "lstm": nn.cells.lstm, "mixed": mixed}


def problem(cell, rng, T=3, B=2, I=2, H=3, **options):  # noqa: E741
    """A layer, and all that its result depends on: x, the initial states and the weights."""
    layer = nn.Recurrent(cell, I, H, dtype="float64", **options)
    for parameter in layer.parameters():
        parameter.data = rt.tensor(rng.standard_normal(parameter.shape))
    D = 2 if layer.bidirectional else 1
    x = rt.tensor(rng.standard_normal((T, B, I)), requires_grad=True)
    shapes = [(layer.num_layers * D, B, layer.proj_size or H)] + [(layer.num_layers * D, B, H)] * (
        len(cell.states) - 1
    )
    states = [rt.tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes]
    return layer, (x, *states, *layer.parameters())


def run(layer, lengths=None):
    """The layer as a function of all its inputs; the weights among them are the layer's own."""

    def call(x, *rest):
        states = rest[: len(layer.cell.states)]
        data = x if lengths is None else pack_padded_sequence(x, lengths, enforce_sorted=False)
        output, final = layer(data, states if len(states) > 1 else states[0])
        output = output if lengths is None else output.data
        return (output, *(final if isinstance(final, tuple) else (final,)))

    return call


OPTIONS = {
    "plain": ({}, None),
    "two layers": ({"num_layers": 2, "bias": False}, None),
    "both directions, lengths": ({"bidirectional": True}, [1, 3]),
    "lengths": ({}, [2, 3]),
}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("what", OPTIONS)
def test_gradients(name, what):
    options, lengths = OPTIONS[what]
    layer, inputs = problem(CELLS[name], np.random.default_rng(1), **options)
    assert rt.gradcheck(run(layer, lengths), inputs)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("what", OPTIONS)
def test_gradients_of_gradients(name, what):
    options, lengths = OPTIONS[what]
    layer, inputs = problem(CELLS[name], np.random.default_rng(1), T=3, B=2, I=1, H=2, **options)
    assert rt.gradgradcheck(run(layer, lengths), inputs)


@pytest.mark.parametrize("name", ["gru", "lstm"])
@pytest.mark.parametrize("form", ["padded", "unbatched", "packed"])
def test_no_initial_states_are_zeros_in_both_derivatives(name, form):
    layer, (x, *_) = problem(CELLS[name], np.random.default_rng(0), num_layers=2, bidirectional=True)
    zeros = [
        rt.zeros((4, 3) if form == "unbatched" else (4, 2, 3), dtype="float64") for _ in layer.cell.states
    ]

    def results(hx):
        forms = {"padded": x, "unbatched": x[:, 0], "packed": pack_padded_sequence(x, [3, 1])}
        output, final = layer(forms[form], hx)
        output = output.data if form == "packed" else output
        final = final if isinstance(final, tuple) else (final,)
        loss = (output * output).sum() + sum((state**3).sum() for state in final)
        wanted = [x, *layer.parameters()]
        first = rt.grad(loss, wanted, create_graph=True)
        second = rt.grad(sum((d * d).sum() for d in first), wanted)
        return [t.detach().numpy() for t in (output, *final, *first, *second)]

    assert_same_bits(results(None), results(tuple(zeros) if len(zeros) > 1 else zeros[0]))


def test_projection():
    layer, inputs = problem(nn.cells.lstm, np.random.default_rng(2), bidirectional=True, proj_size=2)
    assert rt.gradcheck(run(layer, [3, 1]), inputs)
    layer, inputs = problem(nn.cells.lstm, np.random.default_rng(3), H=2, proj_size=1)
    assert rt.gradgradcheck(run(layer), inputs)


def test_relu_away_from_its_kink():
    """Second derivatives of a piecewise linear network exist and are those of its products alone."""
    layer, inputs = problem(nn.cells.rnn_relu, np.random.default_rng(4), num_layers=2)
    assert rt.gradcheck(run(layer), inputs)
    assert rt.gradgradcheck(run(layer), inputs)


def test_one_hot_input_has_second_derivatives():
    rng = np.random.default_rng(5)
    layer, (_, *inputs) = problem(nn.cells.gru, rng, I=4)
    ids = rt.tensor(rng.integers(0, 4, (3, 2)))
    by_ids = run(layer)

    def call(*rest):
        return by_ids(ids, *rest)

    assert rt.gradcheck(call, inputs)
    assert rt.gradgradcheck(call, inputs)


def test_dropout_has_the_same_mask_in_every_derivative():
    layer, inputs = problem(nn.cells.gru, np.random.default_rng(6), num_layers=2, dropout=0.5)

    def call(*inputs):
        rt.manual_seed(0)
        return run(layer)(*inputs)

    assert rt.gradcheck(call, inputs)
    assert rt.gradgradcheck(call, inputs)


@pytest.mark.parametrize("name", ["tanh", "gru", "lstm"])
def test_second_derivatives_of_a_shared_layer_equal_pytorchs(name):
    """A gradient penalty through a layer applied twice: the weights are reached by two ways."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(7)
    ours = {"tanh": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[name](3, 3, dtype="float64")
    theirs = getattr(torch.nn, type(ours).__name__)(3, 3, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    x = rng.standard_normal((4, 2, 3))

    def penalty(layer, x, grad):
        twice, _ = layer(layer(x)[0])
        (d_x, *d_weights) = grad((twice**3).sum(), [x, *layer.parameters()], create_graph=True)
        return (d_x**2).sum() + sum((d**2).sum() for d in d_weights)

    ours_x = rt.tensor(x, requires_grad=True)
    theirs_x = torch.tensor(x, requires_grad=True)
    value, expected = penalty(ours, ours_x, rt.grad), penalty(theirs, theirs_x, torch.autograd.grad)
    assert_close(value.item(), expected.item(), rtol=1e-10)
    value.backward()
    expected.backward()
    pairs = [(ours_x.grad, theirs_x.grad)]
    pairs += [(p.grad, q.grad) for p, q in zip(ours.parameters(), theirs.parameters(), strict=True)]
    for g, e in pairs:
        assert_close(g, e, atol=1e-10 * np.abs(e.numpy()).max())


@pytest.mark.parametrize(
    ("B", "keywords"),
    [
        (0, {}),
        (0, {"lengths": []}),
        (0, {"reset": np.zeros((3, 0), bool)}),
        (2, {"lengths": [0, 0]}),
    ],
)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_batch_without_a_step_differentiated_twice(B, keywords, bidirectional):
    layer = nn.LSTM(2, 3, 2, bidirectional=bidirectional, dtype="float64")
    x = rt.ones(3, B, 2, dtype="float64", requires_grad=True)
    start = tuple(state.requires_grad_() for state in layer.begin_state(B))
    output, ends = layer(x, start, **keywords)
    leaves = [x, *layer.parameters()]
    loss = output.sum() + sum((end**2).sum() for end in ends)
    *found, d_h, d_c = rt.grad(loss, [*leaves, *start], create_graph=True)
    for gradient, leaf in zip(found, leaves, strict=True):
        assert gradient.shape == leaf.shape
        assert not gradient.detach().numpy().any()
    (d_h.sum() + d_c.sum()).backward()
    for state in start:
        assert_same_bits(state.grad, np.full(state.shape, 2.0))


def test_a_batch_without_a_step_or_a_state_differentiated_twice():
    layer = nn.GRU(2, 3)
    output, h_n = layer(rt.ones(3, 2, 2), lengths=[0, 0])
    for gradient in rt.grad([output.sum(), h_n.sum()], list(layer.parameters()), create_graph=True):
        assert not gradient.numpy().any()


@pytest.mark.parametrize("scale", [0.0, 0.3, 0.9])
def test_numbers_of_the_run_are_the_same_in_kernels_in_second_derivatives_and_in_jacobians(scale):
    @nn.recurrent_cell(gates=("h",), states=("h",))
    def divided(x, r, s, *, scale=0.5):
        new = m.tanh(x.h + r.h) / (1 + 1 / m.exp(1 / scale))  # 1 / 0 is infinite
        return m.where(~(scale > 0.5), new, 0.5 * s.h + x.h * x.h)

    layer = nn.Recurrent(divided, 3, 4, dtype="float64", hyperparameters={"scale": scale})
    x = rt.randn(1, 2, 3, dtype="float64", requires_grad=True)
    h = rt.randn(1, 2, 4, dtype="float64", requires_grad=True)
    output, _ = layer(x, h)
    expected = rt.grad(output.sum(), [x, h], retain_graph=True)
    found = rt.grad(output.sum(), [x, h], create_graph=True)
    for gradient, right in zip(found, expected, strict=True):
        assert_close(gradient.detach().numpy(), right.numpy(), rtol=1e-12, atol=1e-14)
    jacobian = nn.dynamics.jacobian(layer, h.detach(), x[0].detach())
    assert_close(jacobian.sum(1), expected[1][0].numpy(), rtol=1e-12, atol=1e-14)
