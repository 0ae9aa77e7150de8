"""Layers, losses, functions of `rondeau.nn.functional`, optimisers and clipping."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.nn import functional

from .cases import Case, gradients, send

__all__ = ["CASES", "WITHOUT_A_CASE"]

Array = NDArray[Any]

WITHOUT_A_CASE = frozenset({
    # Recurrent layers, of which `cells` has all cells, and what is no layer.
    "CellError", "GRU", "GRUCell", "Identity", "LSTM", "LSTMCell", "Module", "ModuleDict", "ModuleList", "Parameter",
    "RNN", "RNNCell", "Recurrent", "RecurrentCell", "Stepper", "cell_math", "cells", "dynamics", "functional", "init",
    "load_safetensors", "recurrent_cell", "save_safetensors", "utils",
    # In `training`.
    "LanguageModel",
})  # fmt: skip
"""The public names of `rondeau.nn` that have no case, each for its reason."""

CASES: list[Case] = []


def _numbers(*shape: int, low: float = -1.5, high: float = 1.5) -> Array:
    return np.random.default_rng([3, *shape]).uniform(low, high, shape).astype(np.float32)


def _layer(name: str, build: Callable[[], nn.Module], *arrays: Array, looser: float = 2.0) -> None:
    """Add a layer: outputs, and the gradients of inputs and parameters."""

    def run(device: str) -> Any:
        rt.manual_seed(11)
        layer = build().to(device)
        inputs = [send(array, device) for array in arrays]
        leaves = [*layer.named_parameters(), *((f"input {i}", x) for i, x in enumerate(inputs))]
        found = gradients(layer(*inputs), leaves)
        return found | {"buffers": dict(layer.named_buffers())}

    CASES.append(Case(name, run, looser))


def _function(name: str, function: Callable[..., Any], *arrays: Array) -> None:
    """Add a function: outputs, and the gradients of inputs."""

    def run(device: str) -> Any:
        inputs = [send(array, device) for array in arrays]
        return gradients(function(*inputs), [(f"input {i}", x) for i, x in enumerate(inputs)])

    CASES.append(Case(name, run, 2.0))


X = _numbers(6, 5)
IMAGES = _numbers(2, 3, 9, 8)
PROBABILITIES = _numbers(6, 5, low=0.05, high=0.95)
CLASSES = np.array([0, 4, 2, 2, 1, 3])
IDS = np.array([[1, 0, 3], [3, 3, 2]])

_layer("Linear", lambda: nn.Linear(5, 4), X)
_layer("Linear of three dimensions, without bias", lambda: nn.Linear(5, 4, bias=False), _numbers(2, 3, 5))
_layer("Embedding", lambda: nn.Embedding(4, 3), IDS)
_layer("Embedding, padded", lambda: nn.Embedding(4, 3, padding_idx=0), IDS)
_layer("LayerNorm", lambda: nn.LayerNorm(5), X)
_layer("BatchNorm1d", lambda: nn.BatchNorm1d(5), X)
_layer("BatchNorm1d, in evaluation", lambda: nn.BatchNorm1d(5).eval(), X)
_layer("BatchNorm2d", lambda: nn.BatchNorm2d(3), IMAGES)
_layer("Conv1d", lambda: nn.Conv1d(3, 4, 3, stride=2, padding=1), _numbers(2, 3, 11))
_layer("Conv2d", lambda: nn.Conv2d(3, 4, 3, stride=2, padding=1), IMAGES)
_layer("MaxPool2d", lambda: nn.MaxPool2d(3, stride=2, padding=1), IMAGES)
_layer("AvgPool2d", lambda: nn.AvgPool2d(3, stride=2, padding=1), IMAGES)
_layer("AdaptiveAvgPool2d", lambda: nn.AdaptiveAvgPool2d((2, 3)), IMAGES)
_layer(
    "Sequential, Flatten and ReLU", lambda: nn.Sequential(nn.Flatten(), nn.Linear(216, 3), nn.ReLU()), IMAGES
)
_layer("Dropout", lambda: nn.Dropout(0.4), X)
for _activation in ("GELU", "LeakyReLU", "Sigmoid", "Softplus", "Tanh"):
    _layer(_activation, getattr(nn, _activation), X)
for _activation in ("LogSoftmax", "Softmax"):
    _layer(_activation, partial(getattr(nn, _activation), dim=-1), X)
_layer(
    "InputDecay",
    lambda: nn.InputDecay(5, rt.zeros(5)),
    _numbers(4, 6, 5),
    _numbers(4, 6, 5) > 0,
    np.abs(_numbers(4, 6, 5)),
)

for _loss in ("L1Loss", "MSELoss", "SmoothL1Loss"):
    _layer(_loss, getattr(nn, _loss), X, _numbers(6, 5, low=-1))
_layer("BCELoss", nn.BCELoss, PROBABILITIES, PROBABILITIES[::-1].copy())
_layer("BCEWithLogitsLoss", nn.BCEWithLogitsLoss, X, PROBABILITIES)
_layer("KLDivLoss", lambda: nn.KLDivLoss(reduction="batchmean"), np.log(PROBABILITIES), PROBABILITIES)
_layer("CrossEntropyLoss", nn.CrossEntropyLoss, X, CLASSES)
_layer(
    "CrossEntropyLoss, smoothed", lambda: nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=2), X, CLASSES
)
_layer("LinearCrossEntropyLoss", lambda: nn.LinearCrossEntropyLoss(5, 5, bias=True), X, CLASSES)
_layer("NLLLoss", nn.NLLLoss, np.log(PROBABILITIES), CLASSES)

_W, _B = _numbers(4, 5), _numbers(4)
for _name in ("gelu", "leaky_relu", "relu", "sigmoid", "softplus", "tanh"):
    _function(f"functional.{_name}", getattr(functional, _name), X)
for _name in ("log_softmax", "softmax"):
    _function(f"functional.{_name}", partial(getattr(functional, _name), dim=1), X)
for _name in ("l1_loss", "mse_loss", "smooth_l1_loss"):
    _function(f"functional.{_name}", getattr(functional, _name), X, PROBABILITIES)
_function("functional.linear", functional.linear, X, _W, _B)
_function(
    "functional.linear_cross_entropy",
    lambda x, w, b, t: functional.linear_cross_entropy(x, w, t, linear_bias=b),
    X,
    _W,
    _B,
    CLASSES % 4,
)
_function(
    "functional.layer_norm",
    lambda x, w, b: functional.layer_norm(x, (5,), w, b),
    X,
    _W[0].copy(),
    _W[1].copy(),
)
_function("functional.embedding", functional.embedding, IDS, _numbers(4, 3))
_function("functional.one_hot", lambda ids: functional.one_hot(ids, 5), CLASSES)
_function("functional.dropout", lambda x: functional.dropout(x, 0.0), X)
_function("functional.cross_entropy", functional.cross_entropy, X, CLASSES)
_function("functional.nll_loss", functional.nll_loss, X, CLASSES)
_function("functional.binary_cross_entropy", functional.binary_cross_entropy, PROBABILITIES, PROBABILITIES)
_function(
    "functional.binary_cross_entropy_with_logits",
    functional.binary_cross_entropy_with_logits,
    X,
    PROBABILITIES,
)
_function("functional.kl_div", lambda x, y: functional.kl_div(x, y, reduction="sum"), X, PROBABILITIES)
_function("functional.conv1d", functional.conv1d, _numbers(2, 3, 11), _numbers(4, 3, 3))
_function("functional.conv2d", functional.conv2d, IMAGES, _numbers(4, 3, 3, 3))
_function("functional.max_pool2d", lambda x: functional.max_pool2d(x, 2), IMAGES)
_function("functional.avg_pool2d", lambda x: functional.avg_pool2d(x, 2), IMAGES)
_function("functional.adaptive_avg_pool2d", lambda x: functional.adaptive_avg_pool2d(x, 3), IMAGES)
_function("functional.batch_norm", lambda x: functional.batch_norm(x, None, None, training=True), X)


def _optimizer(name: str, build: Callable[[Any], Any]) -> None:
    """Add an optimiser: parameters and its state after some steps, with clipped gradients."""

    def run(device: str) -> Any:
        rt.manual_seed(5)
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1)).to(device)
        optimizer = build(model.parameters())
        x, norms = rt.tensor(X, device=device), []
        for _ in range(5):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            norms.append(nn.utils.clip_grad_norm_(model.parameters(), 0.1))
            optimizer.step()
        moved = copy.deepcopy(model).to("cpu")
        return {"model": model.state_dict(), "moved": moved.state_dict(), "norms": norms}

    CASES.append(Case(name, run, 10.0))


_OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "SGD": lambda p: train.optim.SGD(p, lr=0.1),
    "SGD, momentum": lambda p: train.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adagrad": lambda p: train.optim.Adagrad(p, lr=0.1),
    "Adam": lambda p: train.optim.Adam(p, lr=0.01),
    "AdamW": lambda p: train.optim.AdamW(p, lr=0.01, amsgrad=True),
    "RMSprop": lambda p: train.optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5),
}
for _name, _build in _OPTIMIZERS.items():
    _optimizer(f"optim.{_name}", _build)
