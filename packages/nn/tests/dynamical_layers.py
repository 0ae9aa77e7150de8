"""Layers of known dynamics, for the tests of `rondeau.nn.dynamics`."""

import numpy as np

from rondeau import nn


def with_weights(layer, **weights):
    """Return a layer whose first layer has these weights, and zeros for those that are not given."""
    state = {name: np.zeros(parameter.shape, parameter.dtype) for name, parameter in layer.named_parameters()}
    for name, value in weights.items():
        state[f"{name}_l0"] = np.asarray(value, layer.weight_ih_l0.dtype)
    layer.load_state_dict(state)
    return layer


def linear(matrix, bias=None):
    """Return a layer with the step ``h' = matrix h + bias``, of one input that it ignores."""
    matrix = np.asarray(matrix)
    layer = nn.Recurrent(nn.cells.linear_rnn, 1, len(matrix), dtype="float64")
    return with_weights(layer, weight_hh=matrix, **({} if bias is None else {"bias_ih": bias}))


def one_tanh_unit(weight, bias=0.0):
    """Return a layer with the step ``h' = tanh(weight h + bias)``."""
    return with_weights(nn.RNN(1, 1, dtype="float64"), weight_hh=[[weight]], bias_ih=[bias])
