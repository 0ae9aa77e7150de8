"""Programs that call a cell once a step, against the same in PyTorch: PyTorch's time / rondeau's time.

A loop of 20 steps with 32 sequences of 48 units, the loss of every step, and backward. Above 1, rondeau is faster.
"""

import argparse
import statistics
from typing import Any

from .. import arguments, report
from ..pairs import in_turn, ratio
from ..peers.stepped import PROGRAMS
from ..process import Process

COLUMNS = {
    "program": report.text("program"),
    "threads": report.text("threads"),
    "PyTorch / rondeau": report.times("ratio"),
    "range over pairs": report.span("ratio_range"),
    "rondeau, microseconds": report.microseconds("seconds"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    arguments.add_threads(parser)
    arguments.add_pairs(parser)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every program at every number of threads."""
    table = report.Table(COLUMNS)
    for threads in options.threads:
        with Process() as ours, Process() as theirs:
            for program in PROGRAMS:
                request = {"program": program, "threads": threads}
                ours.ask("prepare", peer="stepped", arguments=request | {"library": "rondeau"})
                theirs.ask("prepare", peer="stepped", arguments=request | {"library": "torch"})
                own, other = in_turn([(ours, ""), (theirs, "")], options.pairs)
                table.add(request | ratio(other, own) | {"seconds": statistics.median(own)})
    return table.rows
