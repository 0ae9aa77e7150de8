"""The recurrent layers on every form of input, and their single steps."""

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import tensor as rt
from rondeau.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

from .recurrent_layers import CELLS, LAYERS, as_tuple, assert_near, randn


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
    assert_same_bits(output, batched.squeeze(0 if batch_first else 1))
    for s, b in zip(as_tuple(state), as_tuple(batched_state), strict=True):
        assert_same_bits(s, b.squeeze(1))


@pytest.mark.parametrize("layer_class", LAYERS)
def test_empty_batch(layer_class):
    layer = layer_class(3, 5, num_layers=2, bidirectional=True)
    x = rt.zeros(4, 0, 3, requires_grad=True)
    output, state = layer(x)
    assert output.shape == (4, 0, 10)
    assert all(s.shape == (4, 0, 5) for s in as_tuple(state))
    output.sum().backward()
    assert x.grad.shape == x.shape
    assert all(p.grad.shape == p.shape and not p.grad.numpy().any() for p in layer.parameters())


@pytest.mark.parametrize("layer_class", LAYERS)
def test_integers_are_one_hot_rows(layer_class):
    layer = layer_class(6, 5, num_layers=2, bidirectional=True, batch_first=True, dtype="float64")
    ids = rt.tensor(np.random.default_rng(0).integers(0, 6, (3, 4)))
    one_hot = rt.tensor(np.eye(6)[ids.numpy()])
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
    copies = tuple(rt.tensor(s.numpy().copy()) for s in hx)
    expected, _ = layer(rt.tensor(x.numpy()[:, :, ::2].copy()), copies if len(hx) > 1 else copies[0])
    assert_same_bits(output, expected)


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
