"""A convolutional network against PyTorch's, a training step of LeNet-5: PyTorch's time / rondeau's time.

Forward, loss, backward, and a step of gradient descent, on images of 28 x 28. Above 1, rondeau is faster.
"""

import argparse
import statistics
from typing import Any

from .. import arguments, report
from ..pairs import in_turn, ratio
from ..process import Process

COLUMNS = {
    "batch": report.text("batch"),
    "threads": report.text("threads"),
    "PyTorch / rondeau": report.times("ratio"),
    "range over pairs": report.span("ratio_range"),
    "rondeau, microseconds": report.microseconds("seconds"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--batch", nargs="+", type=int, default=[64], help="images in a step (default: 64)")
    arguments.add_threads(parser)
    arguments.add_pairs(parser)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every batch at every number of threads."""
    table = report.Table(COLUMNS)
    for threads in options.threads:
        with Process() as ours, Process() as theirs:
            for batch in options.batch:
                request = {"batch": batch, "threads": threads}
                ours.ask("prepare", peer="LeNet", arguments=request | {"library": "rondeau"})
                theirs.ask("prepare", peer="LeNet", arguments=request | {"library": "torch"})
                own, other = in_turn([(ours, ""), (theirs, "")], options.pairs)
                table.add(request | ratio(other, own) | {"seconds": statistics.median(own)})
    return table.rows
