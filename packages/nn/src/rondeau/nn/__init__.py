"""Modules, layers, losses and the recurrent layers."""

from . import functional, init, utils
from ._activations import (
    GELU,
    Identity,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    Softmax,
    Softplus,
    Tanh,
)
from ._containers import ModuleDict, ModuleList, Sequential
from ._dropout import Dropout
from ._embedding import Embedding
from ._linear import Linear
from ._losses import CrossEntropyLoss, MSELoss, NLLLoss
from ._module import Module
from ._normalisation import LayerNorm
from ._parameter import Parameter
from ._safetensors import load_safetensors, save_safetensors

__version__ = "0.1.0"

__all__ = [
    "GELU",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Identity",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "functional",
    "init",
    "load_safetensors",
    "save_safetensors",
    "utils",
]
