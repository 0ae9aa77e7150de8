"""Long sequences: time and memory of a training step at 1,000 steps / those at 100, with all else equal.

"beyond" is what the long step needs besides its output and its input's gradient. With ``recompute_every`` every
k-th state is kept and the rest computed again; its time is compared with the short step that keeps everything.
"""

import argparse
from typing import Any

from .. import arguments, report
from ..pairs import in_turn, ratio
from ..process import Process
from ..sizes import Size
from ..work import FLOAT32
from .layers import CELLS
from .memory import peak_bytes

COLUMNS = {
    "cell": report.text("cell"),
    "steps": lambda row: "{1} / {0}".format(*row["steps"]),
    "threads": report.text("threads"),
    "recompute_every": lambda row: str(row["recompute_every"] or "-"),
    "time": report.times("time"),
    "range over pairs": report.span("time_range"),
    "memory": report.times("memory"),
    "MB": report.megabytes("bytes"),
    "beyond, MB": report.megabytes("beyond_bytes"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    arguments.add_cells(parser, [*CELLS, "highway", "peephole", "slstm"])
    parser.set_defaults(cells=CELLS)
    parser.add_argument("--steps", nargs=2, type=int, default=[100, 1000], metavar=("SHORT", "LONG"))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--inputs", type=int, default=28)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument(
        "--recompute-every",
        type=int,
        default=32,
        metavar="K",
        help="about the root of LONG (0: leave it out)",
    )
    arguments.add_threads(parser)
    arguments.add_pairs(parser)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every cell, without and with recomputation."""
    table = report.Table(COLUMNS)
    sizes = [Size(options.batch, steps, options.inputs, options.hidden) for steps in options.steps]
    for threads in options.threads:
        for cell in options.cells:
            for every in [None, options.recompute_every] if options.recompute_every else [None]:
                figures = _measure(cell, sizes, threads, every, options.pairs)
                table.add({"cell": cell, "steps": options.steps, "threads": threads} | figures)
    return table.rows


def _measure(cell: str, sizes: list[Size], threads: int, every: int | None, pairs: int) -> dict[str, Any]:
    requests: list[dict[str, Any]] = [{"cell": cell, "size": size, "threads": threads} for size in sizes]
    if every is not None:
        requests[1]["recompute_every"] = every
    with Process() as process:
        for name, request in zip(("short", "long"), requests, strict=True):
            process.ask("prepare", peer="rondeau", arguments=request, name=name)
        short, long = in_turn([(process, "short"), (process, "long")], pairs)
    peaks = [peak_bytes("rondeau", request) for request in requests]
    size = sizes[1]
    results = FLOAT32 * size.batch * size.steps * (size.hidden + size.inputs)
    return ratio(long, short, "time") | {
        "recompute_every": every,
        "memory": peaks[1] / peaks[0] if peaks[0] else None,
        "bytes": peaks[1],
        "beyond_bytes": peaks[1] - results,
    }
