"""Cells that PyTorch does not have, against the same cell as a PyTorch loop over time: eager, and torch.compile of it.

Ratios are PyTorch's time / rondeau's time of a training step. "compiled in" is the time of the first call less that
of a later one, from an empty cache. Where it takes longer than the limit, that is what stands there.
"""

import argparse
import statistics
from typing import Any

from .. import arguments, report
from ..check import largest_differences
from ..pairs import in_turn, ratio
from ..process import Process
from ..sizes import SERIES, SIZES, Size
from .layers import print_means, speed

SIZES_OF = {
    **dict.fromkeys(["highway", "peephole", "slstm"], SIZES),
    **dict.fromkeys(["ctrnn", "ea_lstm", "gru_d", "cfc", "rg_lru", "min_gru", "hgrn"], SERIES),
}
CELLS = list(SIZES_OF)


def _compile_time(row: dict[str, Any]) -> str:
    if row["compile_seconds"] is not None:
        return f"{row['compile_seconds']:.0f} s"
    return f"not within {row['compile_limit']:g} s" if row["compile_limit"] else "-"


COLUMNS = {
    "cell": report.text("cell"),
    "size": report.text("size"),
    "threads": report.text("threads"),
    "eager / rondeau": report.times("eager"),
    "range over pairs": report.span("eager_range"),
    "compiled / rondeau": report.times("compiled"),
    "its range": report.span("compiled_range"),
    "compiled in": _compile_time,
    "share of peak": report.share("peak_share"),
}
TOLERANCE = 1e-4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    arguments.add_cells(parser, CELLS)
    arguments.add_sizes(parser)
    arguments.add_threads(parser)
    arguments.add_pairs(parser)
    parser.add_argument(
        "--compile-limit",
        type=float,
        default=600.0,
        metavar="SECONDS",
        help="give torch.compile at most this long (0: leave it out)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="instead of measuring, compare outputs and gradients of both sides from the same weights",
    )


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure, or compare, every cell at every size."""
    if options.check:
        return _check(options)
    table = report.Table(COLUMNS)
    for threads in options.threads:
        with Process() as ours, Process() as eager:
            for cell in options.cells:
                for size in options.size or SIZES_OF[cell]:
                    request = {"cell": cell, "size": size, "threads": threads}
                    ours.ask("prepare", peer="rondeau", arguments=request)
                    eager.ask("prepare", peer="torch loop", arguments=request)
                    table.add(_measure(request, ours, eager, options))
    print_means(table.rows, "eager", "eager / rondeau")
    print_means(table.rows, "compiled", "compiled / rondeau")
    return table.rows


def _measure(
    request: dict[str, Any], ours: Process, eager: Process, options: argparse.Namespace
) -> dict[str, Any]:
    """Measure rondeau, the eager loop and, if there is time for it, the compiled one in turn."""
    with Process() as compiled:
        places = [(ours, ""), (eager, "")]
        first = None
        if options.compile_limit:
            try:
                arguments = {"peer": "torch compiled loop", "arguments": request}
                first = compiled.ask("prepare", limit=options.compile_limit, **arguments)["first_seconds"]
                places.append((compiled, ""))
            except TimeoutError:
                pass
        seconds = in_turn(places, options.pairs)
    row = request | {"size": str(Size(*request["size"])), "compile_limit": options.compile_limit}
    row |= {"compile_seconds": None}
    row |= ratio(seconds[1], seconds[0], "eager") | speed(request, seconds[0], ours)
    if first is not None:
        row |= ratio(seconds[2], seconds[0], "compiled")
        row["compile_seconds"] = first - statistics.median(seconds[2])
    return row


def _check(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Print the largest difference of each result; end with status 1 if one is too large."""
    table = report.Table({name: report.text(name) for name in ("cell", "size", "of", "difference")})
    for cell in options.cells:
        for size in options.size or SIZES_OF[cell]:
            differences = largest_differences(cell, size)
            name, difference = max(differences.items(), key=lambda item: item[1])
            table.add({"cell": cell, "size": str(size), "of": name, "difference": f"{difference:.1e}"})
            if not difference < TOLERANCE:
                raise SystemExit(f"{cell}: {name} differs by {difference:.1e}, more than {TOLERANCE:.0e}")
    return table.rows
