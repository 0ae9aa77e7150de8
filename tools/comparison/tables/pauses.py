"""The first training steps after the process has idled / the time of a step in the steady state.

A pool's threads sleep meanwhile, caches are cold, and a virtual machine's idle core has to be started again.
"""

import argparse
import statistics
from itertools import product
from typing import Any

from .. import arguments, report
from ..process import Process
from ..sizes import Size
from .layers import CELLS

COLUMNS = {
    "cell": report.text("cell"),
    "size (B,T,I,H)": report.text("size"),
    "threads": report.text("threads"),
    "library": report.text("library"),
    "steady, us": report.microseconds("seconds"),
    "first step": report.times("first"),
    "mean of the first five": report.times("first_five"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    arguments.add_cells(parser, CELLS)
    arguments.add_sizes(parser, [Size(32, 35, 28, 256)])
    arguments.add_threads(parser, 2)
    parser.add_argument("--pause", type=float, default=0.25, metavar="SECONDS")
    parser.add_argument("--pauses", type=int, default=20, help="how often (default: 20)")


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every layer of both libraries."""
    table = report.Table(COLUMNS)
    chosen = product(options.threads, options.size, options.cells, ["rondeau", "torch"])
    for threads, size, cell, library in chosen:
        request = {"cell": cell, "size": size, "threads": threads}
        with Process() as process:
            process.ask("prepare", peer=library, arguments=request)
            steady = process.ask("measure")["seconds"]
            first = process.ask("measure_after_pauses", pause=options.pause, pauses=options.pauses)["seconds"]
        figures = {"first": first[0] / steady, "first_five": statistics.mean(first) / steady}
        table.add(request | {"size": str(size), "library": library, "seconds": steady} | figures)
    return table.rows
