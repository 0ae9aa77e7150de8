"""Modules, layers, losses and the recurrent layers."""

from rondeau.kernels.cell import CellError

from . import cell_math, cells, dynamics, functional, init, utils
from ._absolute_losses import L1Loss, SmoothL1Loss
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
from ._average_pooling import AdaptiveAvgPool2d, AvgPool2d
from ._batch_normalisation import BatchNorm1d, BatchNorm2d
from ._binary_cross_entropy import BCELoss, BCEWithLogitsLoss
from ._containers import ModuleDict, ModuleList, Sequential
from ._convolution import Conv1d, Conv2d
from ._dropout import Dropout
from ._embedding import Embedding
from ._flatten import Flatten
from ._input_decay import InputDecay
from ._kl_divergence import KLDivLoss
from ._language_model import LanguageModel
from ._linear import Linear
from ._linear_cross_entropy import LinearCrossEntropyLoss
from ._losses import CrossEntropyLoss, MSELoss, NLLLoss
from ._max_pooling import MaxPool2d
from ._module import Module
from ._normalisation import LayerNorm
from ._parameter import Parameter
from ._recurrent.decorator import recurrent_cell
from ._recurrent.layer import Recurrent
from ._recurrent.single_step import GRUCell, LSTMCell, RecurrentCell, RNNCell
from ._recurrent.stepper import Stepper
from ._safetensors import load_safetensors, save_safetensors
from .rnn import GRU, LSTM, RNN

__version__ = "0.1.0"

__all__ = [
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "CellError",
    "Conv1d",
    "Conv2d",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "Identity",
    "InputDecay",
    "KLDivLoss",
    "L1Loss",
    "LSTMCell",
    "LanguageModel",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LinearCrossEntropyLoss",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "RNNCell",
    "ReLU",
    "Recurrent",
    "RecurrentCell",
    "Sequential",
    "Sigmoid",
    "SmoothL1Loss",
    "Softmax",
    "Softplus",
    "Stepper",
    "Tanh",
    "cell_math",
    "cells",
    "dynamics",
    "functional",
    "init",
    "load_safetensors",
    "recurrent_cell",
    "save_safetensors",
    "utils",
]


def __dir__() -> list[str]:
    return __all__
