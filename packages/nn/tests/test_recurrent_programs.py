"""Programs of the texts with recurrent layers, by hand and with the numbers that the texts give."""

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .recurrent_layers import LAYERS, as_tuple, assert_near, randn


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
    assert_same_bits(h_n[1], padded[0, :, H:])
    for row, length in enumerate(lengths):
        assert_same_bits(h_n[0, row], padded[length - 1, row, :H])
        assert not padded[length:, row].detach().numpy().any()
