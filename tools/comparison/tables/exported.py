"""A step of an LSTM at batch 1 as exported C, on one thread, against rondeau's own stepper.

C is compiled by gcc and clang with ``-O3 -march=native``. Each runs 50 steps in one call, of which a step's share is
shown, and one step a call, in which a Python call of either is part. A round's time is that of its quickest call.
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
    "weights": report.text("weights"),
    "way": report.text("way"),
    "steps in a call": report.text("steps"),
    "us per step": report.digits("microseconds", 1),
    "its time / the stepper's": report.times("ratio"),
    "range over pairs": report.span("ratio_range"),
}
STEPS = 50
OWN = "rondeau's stepper"
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    OWN: ("rondeau stepping", {"head": False, "threads": 1}),
    "C, gcc": ("exported C", {"compiler": "gcc"}),
    "C, clang": ("exported C", {"compiler": "clang"}),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--inputs", type=int, default=65, help="features")
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 512])
    arguments.add_pairs(parser)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all ways in turn."""
    table = report.Table(COLUMNS)
    for hidden in options.hidden:
        for weights in ("float32", "int8"):
            with ExitStack() as stack:
                places = {}
                for steps in (STEPS, 1):
                    for way, (peer, chosen) in WAYS.items():
                        process = stack.enter_context(Process())
                        size = {
                            "inputs": options.inputs,
                            "hidden": hidden,
                            "weights": weights,
                            "steps": steps,
                        }
                        try:
                            process.ask("prepare", peer=peer, arguments=size | chosen)
                            places[way, steps] = process, ""
                        except UnavailableError as missing:
                            print(f"{way}: left out: {missing}", flush=True)
                calls = in_turn(list(places.values()), options.pairs, "least")
            seconds = {
                (way, steps): [taken / steps for taken in times]
                for (way, steps), times in zip(places, calls, strict=True)
            }
            for (way, steps), taken in seconds.items():
                median = statistics.median(taken)
                row = {"hidden": hidden, "weights": weights, "way": way, "steps": steps, "seconds": median}
                table.add(row | {"microseconds": median * 1e6} | ratio(taken, seconds[OWN, steps]))
    return table.rows
