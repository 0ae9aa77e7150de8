"""Dropout between stacked recurrent layers."""

import numpy as np

from comparing import assert_same_bits
from rondeau import nn
from rondeau import tensor as rt

from .recurrent_layers import randn


def stack(dropout):
    rt.manual_seed(3)
    return nn.GRU(3, 4, num_layers=2, dropout=dropout, dtype="float64")


def test_dropout_of_nothing_and_of_everything():
    x = randn(5, 2, 3)
    plain = stack(0.0)
    assert_same_bits(stack(0.0)(x)[0], plain(x)[0])
    everything = stack(1.0)
    above = nn.GRU(4, 4, dtype="float64")
    above.load_state_dict({n.replace("l1", "l0"): p for n, p in everything.state_dict().items() if "l1" in n})
    assert_same_bits(everything(x)[0], above(rt.zeros(5, 2, 4, dtype="float64"))[0])
    assert_same_bits(everything.eval()(x)[0], plain(x)[0])


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
    output = layer(x)[0].detach().numpy()
    assert set(np.unique(output)) == {0.0, 1 / (1 - p)}
    dropped = output == 0
    n = output.size
    assert abs(dropped.mean() - p) < 4 * np.sqrt(p * (1 - p) / n)
    for axis in range(3):  # no unit, row or step has a share of its own
        others = tuple(a for a in range(3) if a != axis)
        share = dropped.mean(axis=others)
        assert np.abs(share - p).max() < 5 * np.sqrt(p * (1 - p) / (n / output.shape[axis]))
    assert (layer(x)[0].detach().numpy() != output).any()
    rt.manual_seed(7)
    first = layer(x)[0]
    rt.manual_seed(7)
    assert_same_bits(layer(x)[0], first)
