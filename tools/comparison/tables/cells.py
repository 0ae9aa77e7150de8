"""Cells against our own LSTM: a cell's time of a training step / the LSTM's, in one process.

What the cell costs beyond the four products that it shares with the LSTM.
"""

import argparse
from typing import Any

from .. import arguments, report
from ..pairs import in_turn, ratio
from ..process import Process
from ..sizes import SIZES
from .layers import print_means, speed

CELLS = ["peephole", "slstm"]
COLUMNS = {
    "cell": report.text("cell"),
    "size": report.text("size"),
    "threads": report.text("threads"),
    "cell / LSTM": report.times("ratio"),
    "range over pairs": report.span("ratio_range"),
    "share of peak": report.share("peak_share"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    arguments.add_cells(parser, CELLS)
    arguments.add_sizes(parser, SIZES)
    arguments.add_threads(parser)
    arguments.add_pairs(parser)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every cell beside the LSTM at every size and number of threads."""
    table = report.Table(COLUMNS)
    for threads in options.threads:
        with Process() as process:
            for cell in options.cells:
                for size in options.size:
                    request = {"cell": cell, "size": size, "threads": threads}
                    for name in (cell, "LSTM"):
                        process.ask("prepare", peer="rondeau", arguments=request | {"cell": name}, name=name)
                    own, lstm = in_turn([(process, cell), (process, "LSTM")], options.pairs)
                    figures = ratio(own, lstm) | speed(request, own, process)
                    table.add(request | {"size": str(size)} | figures)
    print_means(table.rows, "ratio", "cell / LSTM")
    return table.rows
