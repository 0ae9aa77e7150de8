"""Gradient clipping, parameters as a vector, parametrised weights, and batches of sequences of different lengths."""

from . import parametrizations, parametrize, rnn
from ._clip import clip_grad_norm_, clip_grad_value_, get_total_norm
from ._vector import parameters_to_vector, vector_to_parameters

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "get_total_norm",
    "parameters_to_vector",
    "parametrizations",
    "parametrize",
    "rnn",
    "vector_to_parameters",
]
