"""A program of either library that calls a cell once a step: Python's loop over time, loss and backward."""

import importlib
from collections.abc import Callable
from typing import Any

STEPS, BATCH, UNITS, CLASSES, PLACES = 20, 32, 48, 20, 15
"""Steps, sequences, units and inputs alike, classes, and the places that the attention sees."""


class _Program:
    """Modules and data of a library whose names are those of PyTorch."""

    def __init__(self, tensors: Any, nn: Any, functional: Any) -> None:
        self.tensors, self.functional = tensors, functional
        self.x = tensors.randn(STEPS, BATCH, UNITS)
        self.classes = tensors.randint(0, CLASSES, (STEPS, BATCH))
        self.head = nn.Linear(UNITS, CLASSES)

    def __call__(self) -> Any:
        """Return the loss, after backward."""
        h, loss = self.tensors.zeros(BATCH, UNITS), 0
        for t in range(STEPS):
            h = self.step(self.x[t], h)
            loss = loss + self.functional.cross_entropy(self.head(h), self.classes[t])
        loss.backward()  # type: ignore[attr-defined]
        for module in vars(self).values():
            if hasattr(module, "zero_grad"):
                module.zero_grad()
        return loss

    def step(self, x: Any, h: Any) -> Any:
        """Return the next state."""
        raise NotImplementedError


class _CellLoop(_Program):
    """A GRU cell, called once a step."""

    def __init__(self, tensors: Any, nn: Any, functional: Any) -> None:
        super().__init__(tensors, nn, functional)
        self.cell = nn.GRUCell(UNITS, UNITS)

    def step(self, x: Any, h: Any) -> Any:
        """Return the next state."""
        return self.cell(x, h)


class _AttentionDecoder(_Program):
    """A decoder whose GRU cell also reads what additive attention (Bahdanau et al. 2015) returns."""

    def __init__(self, tensors: Any, nn: Any, functional: Any) -> None:
        super().__init__(tensors, nn, functional)
        self.encoded = tensors.randn(PLACES, BATCH, UNITS)
        self.match, self.score = nn.Linear(2 * UNITS, UNITS), nn.Linear(UNITS, 1)
        self.cell = nn.GRUCell(2 * UNITS, UNITS)

    def step(self, x: Any, h: Any) -> Any:
        """Return the next state."""
        cat, tanh = self.tensors.cat, self.tensors.tanh
        query = h.unsqueeze(0).expand(PLACES, BATCH, UNITS)
        scores = self.score(tanh(self.match(cat((query, self.encoded), 2)))).squeeze(2)
        weights = self.functional.softmax(scores, 0)
        context = (weights.unsqueeze(2) * self.encoded).sum(0)
        return self.cell(cat((x, context), 1), h)


PROGRAMS: dict[str, type[_Program]] = {"GRU cell": _CellLoop, "attention decoder": _AttentionDecoder}


def prepare(library: str, program: str, threads: int) -> Callable[[], Any]:
    """Return a program of "rondeau" or "torch"."""
    names = {"rondeau": ("rondeau.tensor", "rondeau.nn"), "torch": ("torch", "torch.nn")}[library]
    tensors, nn, functional = map(importlib.import_module, (*names, f"{names[1]}.functional"))
    tensors.set_num_threads(threads)
    tensors.manual_seed(0)
    return PROGRAMS[program](tensors, nn, functional)
