"""A step at batch 1 with weights in int8: an LSTM of 65 inputs, against float32 and against other libraries' int8.

PyTorch (torch.ao, the fastest of its engines) and ONNX Runtime quantise dynamically: the weights once, to int8, and
activations at each step, to 8 bits; rondeau rounds activations to 16. Each runs a sequence in one call, of which a
step's share is shown, and one step a call. "Reading" is the time that reading as many bytes as the recurrent
matrices have in int8 takes, in order, on one thread: what all that read them have in common.

Times are those of the quickest calls: on a shared machine the median of long calls is that of interrupted ones.
"""

import argparse
from contextlib import ExitStack
from typing import Any

from .. import arguments, report
from ..pairs import in_turn
from ..process import Process, UnavailableError
from ..work import COUNTS, FLOAT32

COLUMNS = {
    "units": report.text("hidden"),
    "threads": report.text("threads"),
    "way": report.text("way"),
    "steps in a call": report.text("steps"),
    "us per step": report.digits("microseconds", 1),
    "GB/s of recurrent weights": report.digits("gigabytes_per_second", 0),
    "its time / rondeau's": report.times("ratio"),
}
"""The ratio is to the time of rondeau in int8 with as many steps in a call."""
OWN, READING = "rondeau, int8", "reading the recurrent weights"
WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    OWN: ("rondeau stepping", {"head": False, "weights": "int8"}),
    "rondeau, float32": ("rondeau stepping", {"head": False}),
    "torch.ao, int8": ("torch quantised LSTM", {}),
    "ONNX Runtime, int8": ("ONNX Runtime quantised LSTM", {}),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    parser.add_argument("--inputs", type=int, default=65, help="features")
    parser.add_argument("--hidden", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--steps", type=int, default=50, help="steps in a call, beside one (default: 50)")
    arguments.add_threads(parser)
    arguments.add_pairs(parser)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all ways in turn."""
    table = report.Table(COLUMNS)
    for hidden in options.hidden:
        for threads in options.threads:
            size = {"inputs": options.inputs, "hidden": hidden, "threads": threads}
            weight_bytes = COUNTS["LSTM"].recurrent_gates * hidden**2
            requests = {
                (way, steps): (peer, size | chosen | {"steps": steps})
                for steps in (options.steps, 1)
                for way, (peer, chosen) in WAYS.items()
            }
            requests[READING, 1] = "reading", {"size": weight_bytes, "threads": 1}
            with ExitStack() as stack:
                places = {}
                for key, (peer, request) in requests.items():
                    process = stack.enter_context(Process())
                    try:
                        process.ask("prepare", peer=peer, arguments=request)
                        places[key] = process, ""
                    except UnavailableError as missing:
                        print(f"{key[0]}: left out: {missing}", flush=True)
                calls = in_turn(list(places.values()), options.pairs, "least")
            seconds = {
                (way, steps): min(times) / steps for (way, steps), times in zip(places, calls, strict=True)
            }
            for (way, steps), taken in seconds.items():
                read = weight_bytes * (FLOAT32 if "float32" in way else 1)
                row = {"hidden": hidden, "threads": threads, "way": way, "steps": steps, "seconds": taken}
                row |= {"microseconds": taken * 1e6, "gigabytes_per_second": read / taken * 1e-9}
                row["ratio"] = taken / seconds[OWN, options.steps if way == READING else steps]
                table.add(row)
    return table.rows
