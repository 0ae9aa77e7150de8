"""rondeau's RNN, GRU and LSTM at the precision "medium" against its own "highest", and against PyTorch in bfloat16.

PyTorch's layers run in bfloat16 throughout (`.to(torch.bfloat16)`) and under its autocast; the faster of the two is
compared. The last columns are shares of the peaks of the same processor: of float32 at "highest", of bfloat16 at
"medium". It needs a processor with AVX512_BF16.
"""

import argparse
import statistics
from typing import Any

from .. import arguments, report
from ..pairs import in_turn, ratio
from ..process import Process
from ..sizes import SIZES, Size
from ..work import step_flops
from .layers import CELLS, print_means

COLUMNS = {
    "cell": report.text("cell"),
    "size": report.text("size"),
    "threads": report.text("threads"),
    "highest / medium": report.times("gain"),
    "PyTorch in bfloat16 / medium": report.times("ratio"),
    "range over pairs": report.span("ratio_range"),
    "PyTorch's": report.text("of_torch"),
    "share of float32's peak": report.share("highest_share"),
    "share of bfloat16's peak": report.share("medium_share"),
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
                    for name in ("highest", "medium"):
                        ours.ask(
                            "prepare", peer="rondeau", arguments=request | {"precision": name}, name=name
                        )
                    for name in ("weights", "autocast"):
                        theirs.ask("prepare", peer="torch", arguments=request | {"bfloat16": name}, name=name)
                    places = [(ours, "highest"), (ours, "medium"), (theirs, "weights"), (theirs, "autocast")]
                    highest, medium, weights, autocast = in_turn(places, options.pairs)
                    of_torch = min(
                        (weights, "weights"), (autocast, "autocast"), key=lambda p: statistics.median(p[0])
                    )
                    peaks = [ours.ask("peak", dtype=d)["flops"] * threads for d in ("float32", "bfloat16")]
                    flops = step_flops(cell, Size(*size))
                    table.add(
                        request
                        | {"size": str(size), "of_torch": of_torch[1]}
                        | {
                            "highest_seconds": statistics.median(highest),
                            "medium_seconds": statistics.median(medium),
                        }
                        | {"peak_gflops": [peak / 1e9 for peak in peaks]}
                        | {"highest_share": flops / statistics.median(highest) / peaks[0]}
                        | {"medium_share": flops / statistics.median(medium) / peaks[1]}
                        | ratio(highest, medium, "gain")
                        | ratio(of_torch[0], medium)
                    )
    print_means(table.rows, "gain", "highest / medium")
    print_means(table.rows, "ratio", "PyTorch in bfloat16 / medium")
    return table.rows
