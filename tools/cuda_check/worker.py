"""Worker: a process that times the workloads of one library at one precision, and prints a line of JSON for each.

It is run as ``python -m tools.cuda_check.worker rondeau highest --seconds 60``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import clock as clocks
from .workloads import workloads_of

__all__ = ["lines"]


def lines(
    library: str, precision: str, clock: clocks.Clock, end: float, device: str = "cuda", tiny: bool = False
) -> Iterator[dict[str, Any]]:
    """Yield a record for each workload: its ``workload``, and ``figures`` or an ``error``; none after the end.

    First PyTorch's versions, as ``machine``. A workload that fails does not hide the others.
    """
    module = importlib.import_module(f".of_{library}", __package__)
    if library == "torch":
        yield {"machine": module.machine()}
    for workload in workloads_of(library, precision, tiny):
        if time.monotonic() > end:
            yield {"workload": workload, "skipped": "the minutes were over"}
            continue
        try:
            yield {"workload": workload, "figures": module.measure(workload, clock, device)}
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            text = (str(error).splitlines() or [""])[0]
            where = f"{Path(place.filename).name}:{place.lineno}"
            yield {"workload": workload, "error": f"{type(error).__name__}: {text} (at {where})"}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("library", choices=("rondeau", "torch"))
    parser.add_argument("precision")
    parser.add_argument("--seconds", type=float, required=True, help="begin none later than this")
    options = parser.parse_args()
    if options.library == "rondeau" and options.precision != "highest":
        # The products before and after the steps; CuPy reads it at its first product.
        os.environ["CUPY_TF32"] = "1"
    clock = clocks.of_cupy() if options.library == "rondeau" else clocks.of_torch()
    end = time.monotonic() + options.seconds
    for line in lines(options.library, options.precision, clock, end):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
