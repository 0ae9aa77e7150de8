"""Operations on small matrices against PyTorch's, eager, on one thread: PyTorch's time / rondeau's time.

Forward alone is recorded for backward. Above 1, rondeau is faster. *On arrays* is what the same passes of NumPy, or the
same kernels, take; *with a node*, what they take with one tensor and its node in the graph.
"""

import argparse
from itertools import product
from typing import Any

from .. import arguments, report
from ..pairs import in_turn, ratio
from ..peers.operation import CALLS, OPERATIONS
from ..process import Process

COLUMNS = {
    "operation": report.text("operation"),
    "rows": report.text("rows"),
    "columns": report.text("columns"),
    "forward": report.times("ratio"),
    "microseconds": report.microseconds("seconds", 1),
    "on arrays": report.microseconds("seconds_on_arrays", 1),
    "with a node": report.microseconds("seconds_with_a_node", 1),
    "with backward": report.times("ratio_with_backward"),
}
SECONDS = ("seconds", "seconds_on_arrays", "seconds_with_a_node")
SIZES = [(10, 10), (64, 1000)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--operations", nargs="+", choices=list(OPERATIONS), default=list(OPERATIONS))
    arguments.add_pairs(parser)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every operation at every size."""
    table = report.Table(COLUMNS)
    with Process() as ours, Process() as theirs, Process() as arrays:
        libraries = [(ours, "rondeau"), (theirs, "torch")]
        both, alone = [(ours, ""), (theirs, "")], [(arrays, "alone"), (arrays, "with a node")]
        for (rows, columns), operation in product(SIZES, options.operations):
            row = {"operation": operation, "rows": rows, "columns": columns}
            for process, name in alone:
                given = row | {"recorded": name != "alone"}
                process.ask("prepare", peer="operation on arrays", arguments=given, name=name)
            for process, library in libraries:
                given = row | {"library": library, "backward": False}
                process.ask("prepare", peer="operation", arguments=given)
            own, other, *on_arrays = in_turn([*both, *alone], options.pairs)
            seconds = zip(SECONDS, (own, *on_arrays), strict=True)
            found = ratio(other, own) | {name: min(times) / CALLS for name, times in seconds}
            for process, library in libraries:
                given = row | {"library": library, "backward": True}
                process.ask("prepare", peer="operation", arguments=given)
            own, other = in_turn(both, options.pairs)
            found["ratio_with_backward"] = ratio(other, own)["ratio"]
            table.add(row | found)
    return table.rows
