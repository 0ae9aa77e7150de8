"""What one of rondeau's operations on matrices does on arrays: NumPy's passes, or the library's own kernels.

With one tensor and its node in the graph that is the least it can take with these passes; the rest are checks.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from rondeau.kernels import product
from rondeau.kernels.ops import cross_entropy
from rondeau.kernels.runtime import threads
from rondeau.tensor import Tensor
from rondeau.tensor.operations import Op, record

from .operation import CALLS, Matrix


def _sigmoid(x: Matrix) -> Matrix:
    y = np.negative(x)
    np.exp(y, out=y)
    return np.reciprocal(np.add(y, np.float32(1), out=y), out=y)


def _relu(x: Matrix) -> Matrix:
    zeros = np.zeros_like(x)
    return np.maximum(x, zeros, out=zeros)


def _shifted(x: Matrix) -> Matrix:
    return np.subtract(x, np.maximum.reduce(x, axis=1, keepdims=True))


def _softmax(x: Matrix) -> Matrix:
    e = _shifted(x)
    np.exp(e, out=e)
    return np.divide(e, np.add.reduce(e, axis=1, keepdims=True), out=e)


def _log_softmax(x: Matrix) -> Matrix:
    shifted = _shifted(x)
    total = np.add.reduce(np.exp(shifted), axis=1, keepdims=True)
    return np.subtract(shifted, np.log(total), out=shifted)


def _cross_entropy(x: Matrix, classes: Any) -> Matrix:
    losses, saved = cross_entropy.forward(x, classes)
    return cross_entropy.reduce(losses, saved, "mean")[0]


ON_ARRAYS: dict[str, Callable[[Matrix, Matrix, Any], Any]] = {
    "x + y": lambda x, y, classes: np.add(x, y),
    "x * y": lambda x, y, classes: np.multiply(x, y),
    "x / y": lambda x, y, classes: np.divide(x, y),
    "x.exp()": lambda x, y, classes: np.exp(x),
    "x.tanh()": lambda x, y, classes: np.tanh(x),
    "x.sigmoid()": lambda x, y, classes: _sigmoid(x),
    "x.relu()": lambda x, y, classes: _relu(x),
    "x.sum()": lambda x, y, classes: np.add.reduce(x, axis=None),
    "x.sum(0)": lambda x, y, classes: np.add.reduce(x, axis=0),
    "x.mean(1)": lambda x, y, classes: np.divide(np.add.reduce(x, axis=1), np.float32(x.shape[1])),
    "x.softmax(1)": lambda x, y, classes: _softmax(x),
    "x.log_softmax(1)": lambda x, y, classes: _log_softmax(x),
    "x[3]": lambda x, y, classes: x[3],
    "x.unsqueeze(1)": lambda x, y, classes: x[:, np.newaxis],
    "x.reshape(-1)": lambda x, y, classes: x.reshape(-1),
    "x.T @ y": lambda x, y, classes: product.matmul(x.T, y),
    "cat((x, y), 1)": lambda x, y, classes: np.concatenate((x, y), 1),
    "cross_entropy(x)": lambda x, y, classes: _cross_entropy(x, classes),
}
"""What each of the `OPERATIONS` does on arrays, by what that looks like on tensors."""


_NODE = Op("node", lambda g, _out, _x: g)


def prepare(operation: str, rows: int, columns: int, recorded: bool) -> Callable[[], None]:
    """Return `CALLS` calls on arrays alone, or with a tensor over each result that is a node of the graph."""
    threads.set_num_threads(1)
    rng, compute = np.random.default_rng(0), ON_ARRAYS[operation]
    x, y = (rng.random((rows, columns), np.float32) for _ in range(2))
    classes, leaf = rng.integers(0, columns, rows), Tensor(x, requires_grad=True)

    def on_arrays() -> None:
        for _ in range(CALLS):
            compute(x, y, classes)

    def with_nodes() -> None:
        for _ in range(CALLS):
            record(_NODE, compute(x, y, classes), (leaf,))

    return with_nodes if recorded else on_arrays
