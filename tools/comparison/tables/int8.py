"""One step at batch 1 with weights in int8: an LSTM of 65 inputs, against float32 and against other libraries' int8.

Rondeau steps one call at a time. PyTorch (torch.ao, the fastest of its engines) and ONNX Runtime quantise dynamically:
the weights once, to int8, and activations at each step, to 8 bits; rondeau rounds activations to 16. They run a
sequence of 50 steps in one call, of which a step's share is shown: a call for one step costs them more.
"""

import argparse
import statistics
from contextlib import ExitStack
from typing import Any

from .. import arguments, report
from ..pairs import in_turn, ratio
from ..process import Process, UnavailableError

COLUMNS = {
    "units": report.text("hidden"),
    "threads": report.text("threads"),
    "way": report.text("way"),
    "us per step": report.microseconds("seconds"),
    "its time / rondeau's in int8": report.times("ratio"),
    "range over pairs": report.span("ratio_range"),
}
STEPS = 50
OWN = "rondeau, int8"
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    OWN: ("rondeau stepping", {"head": False, "weights": "int8"}),
    "rondeau, float32": ("rondeau stepping", {"head": False}),
    "torch.ao, int8": ("torch quantised LSTM", {"steps": STEPS}),
    "ONNX Runtime, int8": ("ONNX Runtime quantised LSTM", {"steps": STEPS}),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--inputs", type=int, default=65, help="features")
    parser.add_argument("--hidden", type=int, nargs="+", default=[512, 1024, 2048])
    arguments.add_threads(parser)
    arguments.add_pairs(parser)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all ways in turn."""
    table = report.Table(COLUMNS)
    for hidden in options.hidden:
        for threads in options.threads:
            size = {"inputs": options.inputs, "hidden": hidden, "threads": threads}
            with ExitStack() as stack:
                places = {}
                for way, (peer, chosen) in WAYS.items():
                    process = stack.enter_context(Process())
                    try:
                        process.ask("prepare", peer=peer, arguments=size | chosen)
                        places[way] = process, ""
                    except UnavailableError as missing:
                        print(f"{way}: left out: {missing}", flush=True)
                calls = dict(zip(places, in_turn(list(places.values()), options.pairs), strict=True))
            seconds = {
                way: [taken / WAYS[way][1].get("steps", 1) for taken in times] for way, times in calls.items()
            }
            for way, taken in seconds.items():
                row = {"hidden": hidden, "threads": threads, "way": way, "seconds": statistics.median(taken)}
                table.add(row | ratio(taken, seconds[OWN]))
    return table.rows
