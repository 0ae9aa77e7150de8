"""Workloads: what is timed, by both libraries, in the order of importance."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

from rondeau.kernels.runtime.precision import OPERANDS

__all__ = ["BATCH_SIZES", "FORMATS", "HIDDEN", "KINDS", "VOCABULARY", "Workload", "workloads_of"]

FORMATS = {"highest": "float32", "high": "TF32", "medium": "bfloat16", "half": "float16"}
"""What a library multiplies in, by the name of the precision; PyTorch alone has ``half``."""
HIDDEN, BATCH_SIZES = (64, 128, 256, 512, 768, 1024), (16, 32, 64)
"""The sizes of layers."""
KINDS = {"lstm": "LSTM", "gru": "GRU", "lstm_layer_norm": "layer-normalised LSTM"}
"""The kinds of layers by their cells. PyTorch has the first two."""
VOCABULARY = 65
"""The characters of the Shakespeare recipe."""


class Workload(NamedTuple):
    """What is timed.

    Attributes
    ----------
    kind : {"LSTM", "GRU", "layer-normalised LSTM", "four gates", "compiled four gates", "recipe"}
        A layer of the library; `of_rondeau.four_gates`, which PyTorch runs as a loop over time, or as a compiled one; a
        training step of the Shakespeare recipe.
    hidden, batch, steps : int
        H, B and T; the input has H features.
    precision : str
        One of `FORMATS`.
    """

    kind: str
    hidden: int
    batch: int
    steps: int
    precision: str

    def __str__(self) -> str:
        return (
            f"{self.kind}, H {self.hidden}, B {self.batch}, T {self.steps}, {FORMATS.get(self.precision, '')}"
        )


def workloads_of(library: str, precision: str, tiny: bool = False) -> list[Workload]:
    """Return the workloads of a library, ``"rondeau"`` or ``"torch"``, at a precision of its own process.

    With tiny, a few of sizes that an emulator can do.
    """
    if library == "rondeau" and precision not in OPERANDS:
        return []
    workloads = dict.fromkeys(Workload(*size, precision) for size in (_tiny if tiny else _sizes)(precision))
    if library == "rondeau":
        return [workload for workload in workloads if not workload.kind.startswith("compiled")]
    # Of a large layer cuDNN has a kernel of all steps for float16 alone.
    largest = Workload("LSTM", *_CUDNNS, "medium")
    theirs = [workload for workload in workloads if workload.kind != KINDS["lstm_layer_norm"]]
    return [workload._replace(precision="half") if workload == largest else workload for workload in theirs]


_CUDNNS = (768, 16, 1024)


def _sizes(precision: str) -> Iterator[tuple[str, int, int, int]]:
    layers = ("LSTM", "GRU")
    for kind, hidden in itertools.product(layers, (512, 256)):
        yield kind, hidden, 32, 256
    if precision == "medium":
        yield ("LSTM", *_CUDNNS)
    if precision == "highest":
        yield from (
            ("four gates", hidden, 32, steps) for hidden, steps in ((256, 256), (512, 256), (256, 64))
        )
        yield "recipe", 512, 512, 64
    # First what has a bar, then the other sizes; of the layer-normalised one those of the predictions.
    hidden_first, batch_first = _from(HIDDEN, 256, 512), _from(BATCH_SIZES, 32)
    for kind, hidden, steps, batch in itertools.product(layers, hidden_first, (1024, 256), batch_first):
        yield kind, hidden, batch, steps
    for hidden in hidden_first:
        yield KINDS["lstm_layer_norm"], hidden, 32, 1024
    if precision == "highest":
        yield "compiled four gates", 256, 32, 64  # last: it compiles for minutes


def _from(sizes: tuple[int, ...], *first: int) -> list[int]:
    """Return sizes with some of them before the others."""
    return [*first, *(size for size in sizes if size not in first)]


def _tiny(precision: str) -> Iterator[tuple[str, int, int, int]]:
    yield "LSTM", 8, 2, 3
    if precision == "highest":
        yield "four gates", 8, 2, 3
        yield "recipe", 8, 2, 3
        yield "compiled four gates", 8, 2, 3
