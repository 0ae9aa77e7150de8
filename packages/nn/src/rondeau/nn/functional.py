"""The computations of the layers and losses, as functions."""

from rondeau.tensor import gelu, leaky_relu, log_softmax, relu, sigmoid, softmax, softplus, tanh

from ._absolute_losses import l1_loss, smooth_l1_loss
from ._average_pooling import adaptive_avg_pool2d, avg_pool2d
from ._batch_normalisation import batch_norm
from ._binary_cross_entropy import binary_cross_entropy, binary_cross_entropy_with_logits
from ._convolution import conv1d, conv2d
from ._dropout import dropout
from ._embedding import embedding, one_hot
from ._kl_divergence import kl_div
from ._linear import linear
from ._linear_cross_entropy import linear_cross_entropy
from ._losses import cross_entropy, mse_loss, nll_loss
from ._max_pooling import max_pool2d
from ._normalisation import layer_norm

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "conv1d",
    "conv2d",
    "cross_entropy",
    "dropout",
    "embedding",
    "gelu",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "linear_cross_entropy",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "relu",
    "sigmoid",
    "smooth_l1_loss",
    "softmax",
    "softplus",
    "tanh",
]
