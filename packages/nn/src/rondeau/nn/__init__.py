"""Modules, layers, losses and the recurrent layers."""

from rondeau.kernels.cell import CellError

from . import cell_math, cells, functional, init, utils
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
from ._language_model import LanguageModel
from ._linear import Linear
from ._losses import CrossEntropyLoss, MSELoss, NLLLoss
from ._module import Module
from ._normalisation import LayerNorm
from ._parameter import Parameter
from ._recurrent import Recurrent
from ._recurrent_cell import recurrent_cell
from ._safetensors import load_safetensors, save_safetensors
from ._stepper import Stepper
from .rnn import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell

__version__ = "0.1.0"

__all__ = [
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "CellError",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "GRUCell",
    "Identity",
    "LSTMCell",
    "LanguageModel",
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
    "RNNCell",
    "ReLU",
    "Recurrent",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Stepper",
    "Tanh",
    "cell_math",
    "cells",
    "functional",
    "init",
    "load_safetensors",
    "recurrent_cell",
    "save_safetensors",
    "utils",
]
