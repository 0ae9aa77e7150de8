"""A language model of many words against PyTorch's, a training step: PyTorch's time / rondeau's time.

Embedding, two LSTM layers, head, cross-entropy, clipping and a step of gradient descent. Above 1, rondeau is faster:
once with the loss in blocks of rows, as `LanguageModel` computes it, once with the whole matrix of logits.
"""

import argparse
import statistics
from typing import Any

from .. import arguments, report
from ..pairs import in_turn, ratio
from ..process import Process

COLUMNS = {
    "words": report.text("words"),
    "hidden": report.text("hidden"),
    "batch": report.text("batch"),
    "steps": report.text("steps"),
    "threads": report.text("threads"),
    "PyTorch / rondeau": report.times("ratio"),
    "range over pairs": report.span("ratio_range"),
    "PyTorch / rondeau, whole logits": report.times("whole"),
    "rondeau, microseconds": report.microseconds("seconds"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--words", type=int, default=10_000, help="size of the vocabulary (default: 10000)")
    parser.add_argument(
        "--hidden", type=int, default=200, help="units of a layer, and of the embedding (default: 200)"
    )
    parser.add_argument(
        "--batch", nargs="+", type=int, default=[20], help="sequences in a step (default: 20)"
    )
    parser.add_argument("--steps", type=int, default=20, help="words of a sequence in a step (default: 20)")
    arguments.add_threads(parser)
    arguments.add_pairs(parser)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every batch at every number of threads."""
    table = report.Table(COLUMNS)
    libraries = "rondeau", "rondeau, whole logits", "torch"
    for threads in options.threads:
        for batch in options.batch:
            size = {"words": options.words, "hidden": options.hidden, "batch": batch, "steps": options.steps}
            request = size | {"threads": threads}
            with Process() as first, Process() as second, Process() as third:
                processes = (first, second, third)
                for process, library in zip(processes, libraries, strict=True):
                    own = request | {"layers": 2, "library": library}
                    process.ask("prepare", peer="language model", arguments=own)
                blocks, whole, theirs = in_turn([(process, "") for process in processes], options.pairs)
            row = request | ratio(theirs, blocks) | ratio(theirs, whole, "whole")
            table.add(row | {"seconds": statistics.median(blocks)})
    return table.rows
