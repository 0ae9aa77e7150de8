"""Whole trainings at "highest" and at "medium" from several seeds, which should not differ by more than seeds do.

A seed draws the first weights and the batches, the same at both precisions.
"""

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rondeau import tensor as rt

from ..comparison import report
from .programs import PROGRAMS


def _ends(precision: str) -> report.Column:
    """Show the mean over the seeds, and its range."""

    def shown(row: dict[str, Any]) -> str:
        ends = row[precision]
        return f"{statistics.mean(ends):.4f} ({min(ends):.4f} - {max(ends):.4f})"

    return shown


COLUMNS = {
    "program": report.text("program"),
    "at its end": report.text("figure"),
    'mean at "highest" (range over seeds)': _ends("highest"),
    'mean at "medium"': _ends("medium"),
    "difference of the means": lambda row: f"{row['difference']:+.4f}",
    "spread of seeds": report.digits("spread", 4),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("folder", type=Path, metavar="DATA", help="where the data sets are")
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--shorten", type=int, default=1, metavar="N", help="take an N-th of the steps (default: all)"
    )


def measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a row for every program."""
    for name in options.programs:
        program = PROGRAMS[name]
        length = max(program.length // options.shorten, 1)
        ends: dict[str, list[float]] = {"highest": [], "medium": []}
        for seed in options.seeds:
            for precision, found in ends.items():
                with rt.float32_matmul_precision(precision):
                    found.append(program.end(options.folder, seed, length))
        yield (
            {"program": name, "figure": program.figure, "length": length, "seeds": options.seeds}
            | ends
            | {
                "difference": statistics.mean(ends["medium"]) - statistics.mean(ends["highest"]),
                "spread": max(ends["highest"]) - min(ends["highest"]),
            }
        )
