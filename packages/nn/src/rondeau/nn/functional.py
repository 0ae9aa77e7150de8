"""What the layers and losses compute, as functions."""

from rondeau.tensor import gelu, leaky_relu, log_softmax, relu, sigmoid, softmax, softplus, tanh

from ._dropout import dropout
from ._embedding import embedding, one_hot
from ._linear import linear
from ._losses import cross_entropy, mse_loss, nll_loss
from ._normalisation import layer_norm

__all__ = [
    "cross_entropy",
    "dropout",
    "embedding",
    "gelu",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "relu",
    "sigmoid",
    "softmax",
    "softplus",
    "tanh",
]
