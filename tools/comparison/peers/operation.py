"""One operation of either library on matrices, recorded for backward; or backward alone."""

import importlib
from collections.abc import Callable
from typing import Any

Matrix = Any

OPERATIONS: dict[str, Callable[[Any, Matrix, Matrix, Any], Any]] = {
    "x + y": lambda _, x, y, classes: x + y,
    "x * y": lambda _, x, y, classes: x * y,
    "x / y": lambda _, x, y, classes: x / y,
    "x.exp()": lambda _, x, y, classes: x.exp(),
    "x.tanh()": lambda _, x, y, classes: x.tanh(),
    "x.sigmoid()": lambda _, x, y, classes: x.sigmoid(),
    "x.relu()": lambda _, x, y, classes: x.relu(),
    "x.sum()": lambda _, x, y, classes: x.sum(),
    "x.sum(0)": lambda _, x, y, classes: x.sum(0),
    "x.mean(1)": lambda _, x, y, classes: x.mean(1),
    "x.softmax(1)": lambda _, x, y, classes: x.softmax(1),
    "x.log_softmax(1)": lambda _, x, y, classes: x.log_softmax(1),
    "x[3]": lambda _, x, y, classes: x[3],
    "x.unsqueeze(1)": lambda _, x, y, classes: x.unsqueeze(1),
    "x.reshape(-1)": lambda _, x, y, classes: x.reshape(-1),
    "x.T @ y": lambda _, x, y, classes: x.T @ y,
    "cat((x, y), 1)": lambda library, x, y, classes: library.cat((x, y), 1),
    "cross_entropy(x)": lambda library, x, y, classes: library.nn.functional.cross_entropy(x, classes),
}
"""Operations by what they look like."""


class Rondeau:
    """The package as one object whose names are those of PyTorch."""

    def __init__(self) -> None:
        self.nn = importlib.import_module("rondeau.nn")
        importlib.import_module("rondeau.nn.functional")
        self._tensors = importlib.import_module("rondeau.tensor")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tensors, name)


CALLS = 100
"""The calls that are timed together."""


def prepare(library: str, operation: str, rows: int, columns: int, backward: bool) -> Callable[[], None]:
    """Return `CALLS` calls of an operation of "rondeau" or "torch" on one thread, or of its backward."""
    tensors: Any = Rondeau() if library == "rondeau" else importlib.import_module("torch")
    tensors.set_num_threads(1)
    tensors.manual_seed(0)
    x, y = (tensors.rand(rows, columns).requires_grad_() for _ in range(2))
    classes, compute = tensors.randint(0, columns, (rows,)), OPERATIONS[operation]
    result = compute(tensors, x, y, classes)
    ones = tensors.ones_like(result)

    def forward() -> None:
        for _ in range(CALLS):
            compute(tensors, x, y, classes)

    def both() -> None:
        for _ in range(CALLS):
            x.grad = y.grad = None
            compute(tensors, x, y, classes).backward(ones)

    return both if backward else forward
