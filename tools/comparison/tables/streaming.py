"""One step at a time, batch 1, as text is generated: an LSTM of 512 units, 65 inputs, and a linear head to 65.

PyTorch's ways, without a graph: `torch.nn.LSTM` called for one step, and `torch.nn.LSTMCell`. "reading" is the time
that reading as many bytes as the weights have takes, in order, on one thread: no step that reads them can be faster.
Sampling is not counted.
"""

import argparse
import statistics
from contextlib import ExitStack
from typing import Any

from .. import arguments, report
from ..pairs import in_turn, ratio
from ..process import Process, UnavailableError
from ..work import COUNTS, FLOAT32

COLUMNS = {
    "threads": report.text("threads"),
    "way": report.text("way"),
    "us per step": report.microseconds("seconds"),
    "its time / rondeau's": report.times("ratio"),
    "range over pairs": report.span("ratio_range"),
}
WAYS = ["rondeau stepping", "torch.nn.LSTM stepping", "torch.nn.LSTMCell stepping", "reading"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--inputs", type=int, default=65, help="features, and outputs of the head")
    parser.add_argument("--hidden", type=int, default=512)
    arguments.add_threads(parser)
    arguments.add_pairs(parser)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all ways in turn."""
    table = report.Table(COLUMNS)
    inputs, hidden = options.inputs, options.hidden
    gates = COUNTS["LSTM"].gates * hidden
    weight_bytes = FLOAT32 * (gates * (inputs + hidden + 1) + inputs * (hidden + 1))
    for threads in options.threads:
        with ExitStack() as stack:
            places = {}
            for way in WAYS:
                request: dict[str, Any] = {"inputs": inputs, "hidden": hidden, "threads": threads}
                if way == "reading":
                    request = {"size": weight_bytes, "threads": 1}
                process = stack.enter_context(Process())
                try:
                    process.ask("prepare", peer=way, arguments=request)
                    places[way] = process, ""
                except UnavailableError as missing:
                    print(f"{way}: left out: {missing}", flush=True)
            seconds = dict(zip(places, in_turn(list(places.values()), options.pairs), strict=True))
        own = seconds.get("rondeau stepping")
        for way, taken in seconds.items():
            row = {"threads": threads, "way": way, "seconds": statistics.median(taken), "bytes": weight_bytes}
            table.add(row | (ratio(taken, own) if own else {}))
    return table.rows
