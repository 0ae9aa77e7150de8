"""Where the time of rondeau's training step goes, and how far each part is from what the machine allows.

Five parts: the input projection, the recurrence forward and backward, the gradient of the input, and those of the
weights. Each is the difference of two runs, one of which stops before it; the input projection is timed alone.
Of the rounds the fastest counts: no ratio of neighbouring times stands here, and what disturbs a run only adds.
The rows kept with --json have each part's arithmetic, the bytes that it has to move (see `work`), its arithmetic per
second, the peak, and the bytes per second that reading a large array reaches: what a roofline plot needs.

The last column is for cells without a recurrent matrix, whose recurrence does nothing but read and write its operands:
the bytes that it has to move, per second, as a share of what STREAM's triad reaches. It is above 1 where they fit into
a cache.
"""

import argparse
from typing import Any

from .. import arguments, report
from ..pairs import in_turn
from ..process import Process
from ..sizes import SIZES
from ..work import COUNTS, parts_of_step
from .layers import CELLS, speed
from .loops import CELLS as CUSTOM_CELLS
from .loops import SIZES_OF

PARTS = list(parts_of_step("RNN", SIZES[0]))
MEMORY_BYTES = 256 * 1024**2
"""More than any cache."""
CACHE_BYTES = 512 * 1024
"""Less than one core's second cache."""


def _share_of_bandwidth(row: dict[str, Any]) -> str:
    if "triad_bandwidth" not in row or COUNTS[row["cell"]].recurrent_gates:
        return "-"
    parts = [row["parts"][f"recurrence {direction}"] for direction in ("forward", "backward")]
    moved = sum(part["bytes"] for part in parts)
    seconds = sum(part["share"] for part in parts) * row["seconds"]
    return f"{moved / seconds / row['triad_bandwidth']:.0%}"


def _part(name: str) -> report.Column:
    return lambda row: f"{row['parts'][name]['share']:.0%}"


COLUMNS = {
    "cell": report.text("cell"),
    "size": report.text("size"),
    "threads": report.text("threads"),
    **{name: _part(name) for name in PARTS},
    "GFLOP/s": lambda row: f"{row['gflops']:.0f}",
    "share of peak": report.share("peak_share"),
    "flops per byte": lambda row: f"{row['intensity']:.0f}",
    "share of bandwidth": _share_of_bandwidth,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    arguments.add_cells(parser, [*CELLS, *CUSTOM_CELLS])
    arguments.add_sizes(parser)
    arguments.add_threads(parser)
    arguments.add_pairs(parser)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure the parts of every cell at every size and number of threads."""
    table = report.Table(COLUMNS)
    for threads in options.threads:
        bandwidth = {
            "memory_bandwidth": _bandwidth(MEMORY_BYTES, threads),
            "triad_bandwidth": _bandwidth(MEMORY_BYTES, threads, "triad"),
            "cache_bandwidth": _bandwidth(CACHE_BYTES, 1) * threads,  # a cache of each core
        }
        with Process() as process:
            for cell in options.cells:
                for size in options.size or SIZES_OF.get(cell, SIZES):
                    request = {"cell": cell, "size": size, "threads": threads}
                    for upto in PARTS:
                        process.ask(
                            "prepare",
                            peer="rondeau part",
                            arguments=request | {"upto": upto},
                            name=upto,
                        )
                    seconds = in_turn([(process, upto) for upto in PARTS], options.pairs)
                    figures = _parts(request, seconds) | speed(request, [min(seconds[-1])], process)
                    table.add(request | {"size": str(size)} | figures | bandwidth)
    return table.rows


def _parts(request: dict[str, Any], seconds: list[list[float]]) -> dict[str, Any]:
    """Take the differences; each part's share of the whole, and its place in a roofline plot."""
    works = parts_of_step(request["cell"], request["size"])
    ends = [min(taken) for taken in seconds]
    parts = {}
    for name, begin, end in zip(PARTS, [0.0, *ends], ends, strict=False):
        part = works[name]
        parts[name] = {
            "share": (end - begin) / ends[-1],
            "flops": part.flops,
            "bytes": part.bytes,
            "gflops": part.flops / (end - begin) / 1e9 if end > begin else None,  # lost in the noise
            "intensity": part.flops / part.bytes,
        }
    flops, moved = (sum(column) for column in zip(*works.values(), strict=True))
    return {"parts": parts, "flops": flops, "bytes": moved, "intensity": flops / moved}


def _bandwidth(size: int, threads: int, peer: str = "reading") -> float:
    """Measure bytes per second of reading, or of another peer that moves `size` bytes."""
    with Process() as process:
        process.ask("prepare", peer=peer, arguments={"size": size, "threads": threads})
        found: float = size / process.ask("measure")["seconds"]
        return found
