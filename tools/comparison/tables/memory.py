"""Peak memory of a training step: rondeau's bytes above the level before it / PyTorch's.

Below 1, rondeau needs less. Each figure comes from a process of its own, after three steps; see `memory.peak_of`.
"""

import argparse
from typing import Any

from .. import arguments, report
from ..process import Process
from ..sizes import SIZES
from .layers import CELLS, print_means

COLUMNS = {
    "cell": report.text("cell"),
    "size": report.text("size"),
    "threads": report.text("threads"),
    "rondeau, MB": report.megabytes("rondeau_bytes"),
    "PyTorch, MB": report.megabytes("torch_bytes"),
    "rondeau / PyTorch": report.times("ratio"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    arguments.add_cells(parser, CELLS)
    arguments.add_sizes(parser, SIZES)
    arguments.add_threads(parser, 2)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every cell at every size."""
    table = report.Table(COLUMNS)
    for threads in options.threads:
        for cell in options.cells:
            for size in options.size:
                request = {"cell": cell, "size": size, "threads": threads}
                ours, theirs = (peak_bytes(peer, request) for peer in ("rondeau", "torch"))
                figures = {
                    "rondeau_bytes": ours,
                    "torch_bytes": theirs,
                    "ratio": ours / theirs if theirs else None,
                }
                table.add(request | {"size": str(size)} | figures)
    print_means(table.rows, "ratio", "rondeau / PyTorch")
    return table.rows


def peak_bytes(peer: str, request: dict[str, Any]) -> int:
    """Measure one step in a fresh process."""
    with Process() as process:
        process.ask("prepare", peer=peer, arguments=request)
        found: int = process.ask("memory")["bytes"]
        return found
