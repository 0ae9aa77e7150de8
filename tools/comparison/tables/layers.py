"""rondeau's RNN, GRU and LSTM against PyTorch's, a training step: PyTorch's time / rondeau's time.

Above 1, rondeau is faster. The last column is the share of the machine's peak that rondeau reached: the step's
multiplications against a register-only loop of multiply-adds timed in the same process.
"""

import argparse
import statistics
from collections.abc import Iterable
from typing import Any

from .. import arguments, report
from ..pairs import in_turn, ratio
from ..process import Process
from ..sizes import SIZES, Size
from ..work import step_flops

CELLS = ["RNN", "GRU", "LSTM"]
COLUMNS = {
    "cell": report.text("cell"),
    "size": report.text("size"),
    "threads": report.text("threads"),
    "PyTorch / rondeau": report.times("ratio"),
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
    """Measure every cell at every size and number of threads."""
    table = report.Table(COLUMNS)
    for threads in options.threads:
        with Process() as ours, Process() as theirs:
            for cell in options.cells:
                for size in options.size:
                    request = {"cell": cell, "size": size, "threads": threads}
                    ours.ask("prepare", peer="rondeau", arguments=request)
                    theirs.ask("prepare", peer="torch", arguments=request)
                    own, other = in_turn([(ours, ""), (theirs, "")], options.pairs)
                    table.add(request | {"size": str(size)} | ratio(other, own) | speed(request, own, ours))
    print_means(table.rows, "ratio", "PyTorch / rondeau")
    return table.rows


def speed(request: dict[str, Any], seconds: list[float], process: Process) -> dict[str, Any]:
    """Return the arithmetic per second of a training step, and its share of the peak of as many cores."""
    peak = process.ask("peak")["flops"] * request["threads"]
    reached = step_flops(request["cell"], Size(*request["size"])) / statistics.median(seconds)
    return {
        "seconds": statistics.median(seconds),
        "gflops": reached / 1e9,
        "peak_gflops": peak / 1e9,
        "peak_share": reached / peak,
    }


def print_means(rows: Iterable[dict[str, Any]], name: str, of: str) -> None:
    """Print the geometric mean over the sizes, and the range, of each cell and number of threads."""
    by_cell: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        if row.get(name) is not None:
            by_cell.setdefault((row["cell"], row["threads"]), []).append(row[name])
    for (cell, threads), ratios in by_cell.items():
        mean = statistics.geometric_mean(ratios)
        print(
            f"{cell}, threads {threads}: {of}: geometric mean {mean:.2f}, "
            f"from {min(ratios):.2f} to {max(ratios):.2f}"
        )
