"""The recurrent layers and cells under test, what they are given, and how results are compared."""

import numpy as np

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt

LAYERS = [nn.RNN, nn.GRU, nn.LSTM]
CELLS = [nn.RNNCell, nn.GRUCell, nn.LSTMCell]


def randn(*shape, seed=0, dtype="float64", requires_grad=False):
    values = np.random.default_rng([seed, *shape]).standard_normal(shape)
    return rt.tensor(values, dtype=dtype, requires_grad=requires_grad)


def as_tuple(states):
    return states if isinstance(states, tuple) else (states,)


def assert_same_numbers(ours, theirs):
    """Compare by bits on the CPU, and closely on a GPU: it rounds a product by the number of rows beside it."""
    if rt.get_default_device() == "cpu":
        assert_same_bits(ours, theirs)
    else:
        assert_near(ours, theirs, 1e-6)


def assert_near(ours, theirs, tolerance=1e-12):
    """Compare within a tolerance of the largest number, or of 1."""
    assert_close(ours, theirs, of_largest=tolerance, least=1.0)
