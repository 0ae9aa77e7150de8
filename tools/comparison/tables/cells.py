"""Cells against our own layer of as many gates: a cell's time of a training step / that layer's, in one process.

What the cell costs beyond the products that it shares with an RNN, a minimal gated unit, a GRU or an LSTM.
"""

import argparse
from typing import Any

from .. import arguments, report
from ..pairs import in_turn, ratio
from ..process import Process
from ..work import COUNTS
from .layers import print_means, speed
from .loops import SIZES_OF

CELLS = [cell for cell in SIZES_OF if cell != "highway"]
BASELINES = {COUNTS[cell].gates: cell for cell in ("RNN", "MGU", "GRU", "LSTM")}
"""The built-in cell of each number of gates."""
COLUMNS = {
    "cell": report.text("cell"),
    "size": report.text("size"),
    "threads": report.text("threads"),
    "baseline": lambda row: row.get("baseline", "LSTM"),
    "cell / baseline": report.times("ratio"),
    "range over pairs": report.span("ratio_range"),
    "share of peak": report.share("peak_share"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    arguments.add_cells(parser, CELLS)
    arguments.add_sizes(parser)
    arguments.add_threads(parser)
    arguments.add_pairs(parser)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every cell and its baseline in turn, at every size and number of threads."""
    table = report.Table(COLUMNS)
    for threads in options.threads:
        with Process() as process:
            for cell in options.cells:
                baseline = BASELINES[COUNTS[cell].gates]
                for size in options.size or SIZES_OF[cell]:
                    request = {"cell": cell, "size": size, "threads": threads}
                    for name in (cell, baseline):
                        process.ask("prepare", peer="rondeau", arguments=request | {"cell": name}, name=name)
                    own, other = in_turn([(process, cell), (process, baseline)], options.pairs)
                    figures = ratio(own, other) | speed(request, own, process)
                    table.add(request | {"size": str(size), "baseline": baseline} | figures)
    print_means(table.rows, "ratio", "cell / baseline")
    return table.rows
