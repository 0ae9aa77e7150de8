"""``rondeau warm``."""

import time
from collections.abc import Sequence
from typing import Literal

from rondeau.train._parser import CommandParser
from rondeau.train._showing import say
from rondeau.train._usage_error import UsageError

_USUAL = ("rnn", "gru", "lstm")
_SHARED = 1024
"""Hidden units of which threads share a step."""


def _parser() -> CommandParser:
    parser = CommandParser(
        "warm",
        "[CELL ...]",
        "Compile the kernels of cells ahead of time, and keep them on disk, so that the first step of a later program "
        "takes no longer than its second. Kernels that are there already are not compiled again.",
    )
    parser.add_argument(
        "cells",
        metavar="CELL",
        nargs="*",
        help=f"names of cells, as --cell of `rondeau train` lists them; by default {', '.join(_USUAL)}",
    )
    parser.add_argument(
        "--precision",
        type=Literal["highest", "high", "medium"],
        default="highest",
        help="the precision of products, as for rondeau train",
    )
    return parser


def run(argv: Sequence[str]) -> int:
    """Use every kernel once, cell by cell; return the exit status."""
    arguments = _parser().parse(argv)
    from rondeau.nn import LanguageModel

    cells = arguments.cells or _USUAL
    for cell in cells:
        if cell not in LanguageModel.CELLS:
            raise UsageError(f"CELL: expected some of {', '.join(LanguageModel.CELLS)}, got {cell}")
    for cell in cells:
        start = time.perf_counter()
        _use(cell, arguments.precision)
        say(f"{cell:16} {time.perf_counter() - start:5.1f} s")
    return 0


def _use(cell: str, precision: str) -> None:
    """Use a cell in a tiny language model, trained, evaluated and stepped, also by several threads, and by itself."""
    from rondeau import nn
    from rondeau import tensor as rt
    from rondeau.train.optim import Adam

    ids = rt.zeros(4, 2, dtype=rt.int64)
    model = nn.LanguageModel(8, cell, 16)
    model.float32_matmul_precision = precision
    optimizer = Adam(model.parameters())
    for _ in range(2):
        logits, _ = model(ids)
        nn.functional.cross_entropy(logits, ids.flatten()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    with rt.no_grad():
        model(ids)
        model.stepper()(0)
        nn.LanguageModel(8, cell, _SHARED).stepper()(0)
    step = nn.RecurrentCell(nn.LanguageModel.CELLS[cell], 8, 16)
    step.float32_matmul_precision = precision
    state = step(rt.randn(4, 8))
    (state if isinstance(state, rt.Tensor) else state[0]).sum().backward()
