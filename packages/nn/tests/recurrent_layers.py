"""The recurrent layers and cells under test, what they are given, and how results are compared."""

import numpy as np

from rondeau import nn
from rondeau import tensor as rt

LAYERS = [nn.RNN, nn.GRU, nn.LSTM]
CELLS = [nn.RNNCell, nn.GRUCell, nn.LSTMCell]


def randn(*shape, seed=0, dtype="float64", requires_grad=False):
    values = np.random.default_rng([seed, *shape]).standard_normal(shape)
    return rt.tensor(values, dtype=dtype, requires_grad=requires_grad)


def as_tuple(states):
    return states if isinstance(states, tuple) else (states,)


def assert_equal(ours, theirs):
    np.testing.assert_array_equal(ours.data, theirs.data)


def assert_near(ours, theirs, tolerance=1e-12):
    theirs = theirs if isinstance(theirs, np.ndarray) else theirs.data
    np.testing.assert_allclose(ours.data, theirs, rtol=0, atol=tolerance * max(1.0, np.abs(theirs).max()))
