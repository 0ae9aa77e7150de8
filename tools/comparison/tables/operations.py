"""Operations on small matrices against PyTorch's, eager, on one thread: PyTorch's time / rondeau's time.

Forward alone is recorded for backward. Above 1, rondeau is faster. *On arrays alone* is what the same passes of NumPy,
or the same kernels, take: the rest is the tensor, its node in the graph, and the checks.
"""

import argparse
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
    "on arrays alone": report.microseconds("seconds_on_arrays", 1),
    "with backward": report.times("ratio_with_backward"),
}
SIZES = [(10, 10), (64, 1000)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--operations", nargs="+", choices=list(OPERATIONS), default=list(OPERATIONS))
    arguments.add_pairs(parser)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every operation at every size."""
    table = report.Table(COLUMNS)
    with Process() as ours, Process() as theirs, Process() as arrays:
        for rows, columns in SIZES:
            for operation in options.operations:
                request = {"operation": operation, "rows": rows, "columns": columns}
                arrays.ask("prepare", peer="operation on arrays", arguments=request)
                found: dict[str, Any] = {}
                for backward in (False, True):
                    arguments_of = request | {"backward": backward}
                    ours.ask("prepare", peer="operation", arguments=arguments_of | {"library": "rondeau"})
                    theirs.ask("prepare", peer="operation", arguments=arguments_of | {"library": "torch"})
                    if backward:
                        own, other = in_turn([(ours, ""), (theirs, "")], options.pairs)
                        found["ratio_with_backward"] = ratio(other, own)["ratio"]
                    else:
                        own, other, alone = in_turn([(ours, ""), (theirs, ""), (arrays, "")], options.pairs)
                        found |= ratio(other, own)
                        found |= {"seconds": min(own) / CALLS, "seconds_on_arrays": min(alone) / CALLS}
                table.add(request | found)
    return table.rows
