"""Check what a GPU computes against the CPU, and measure a training step; for a machine with a GPU.

    python -m tools.cuda_check
    python -m tools.cuda_check --only cells --minutes 4
    python -m tools.cuda_check --stand-in

Random numbers come first, then cells, options of layers, training, operators and layers, and at the end times. What
does not fit into the minutes is skipped, and said to be. With the environment variable OUT set, the table is also
written to cuda_check.json in that folder. The status is 1 if any result differs, and 2 if there is no GPU.

With --stand-in the GPU is an emulated one, on which all but times is checked, in float32 and for a few cells unless
--all is given: a check of this program, and not of a GPU.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rondeau import tensor as rt
from rondeau.kernels.runtime.devices import DeviceUnavailableError, load_cupy

from . import cells, layers, numbers, operators, training
from .cases import Case, Difference, compare
from .report import Report, Row
from .times import SIZE, of_rondeau, of_torch

_SECTIONS = {
    "random numbers": numbers.CASES,
    "cells": cells.CELLS,
    "options": cells.OPTIONS,
    "training": training.CASES,
    "operators": operators.CASES,
    "layers": layers.CASES,
}
_EMULATED_CELLS = frozenset({"gru_original, float32", "li_gru, float32", "lstm, float32"})
_MANY_THREADS = frozenset({"several blocks a row", "sums over several passes of a block"})
"""The cells that are emulated unless all are asked for, and the options that are not: threads run one by one there."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.cuda_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=[*_SECTIONS, "times"], metavar="SECTION", help="this section alone")
    parser.add_argument("--minutes", type=float, default=8.0, help="when to stop (default 8)")
    parser.add_argument("--stand-in", action="store_true", help="on an emulated GPU, without a real one")
    parser.add_argument("--all", action="store_true", help="with --stand-in: all checks")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        if options.stand_in:
            from tools.device_arrays import installed
            from tools.emulated_target import emulated

            stack.enter_context(installed())
            stack.enter_context(emulated())
        try:
            load_cupy()
        except DeviceUnavailableError as error:
            print(f"nothing was checked: {error}")
            return 2
        report = Report(_machine(options.stand_in))
        end = time.monotonic() + 60 * options.minutes
        for section, case in _chosen(options):
            report.add(_checked(section, case, end))
        if not options.stand_in and options.only in (None, "times"):
            _measure(report, end)
    report.summary()
    if "OUT" in os.environ:
        report.write(Path(os.environ["OUT"]) / "cuda_check.json")
    return 1 if report.wrong else 0


def _chosen(options: Any) -> Iterator[tuple[str, Case]]:
    few = options.stand_in and not options.all
    for section, cases_of_section in _SECTIONS.items():
        if options.only not in (None, section):
            continue
        for case in cases_of_section:
            if few and section == "cells" and case.name not in _EMULATED_CELLS:
                continue
            if few and case.name in _MANY_THREADS:
                continue
            yield section, case


def _checked(section: str, case: Case, end: float) -> Row:
    began = time.monotonic()
    if began > end:
        return Row(section, case.name, "skipped", "the minutes were over", 0.0)
    try:
        error = compare(case)
    except Difference as found:
        outcome, detail = "WRONG", str(found)
    except Exception as raised:  # one check that breaks must not hide what the others find
        place = traceback.extract_tb(raised.__traceback__)[-1]
        first = (str(raised).splitlines() or [""])[0]
        outcome = "WRONG"
        detail = f"{type(raised).__name__}: {first} (at {Path(place.filename).name}:{place.lineno})"
    else:
        outcome, detail = "right", f"{error:.3f} of the bound"
    return Row(section, case.name, outcome, detail, time.monotonic() - began)


def _measure(report: Report, end: float) -> None:
    shape = ", ".join(f"{name} {number}" for name, number in SIZE.items())
    name = f"a training step of an LSTM in float32: {shape}"
    began = time.monotonic()
    if began > end:
        report.add(Row("times", name, "skipped", "the minutes were over", 0.0))
        return
    ours = of_rondeau()
    report.add(Row("times", name, "measured", f"{ours:.2f} ms", time.monotonic() - began))
    began = time.monotonic()
    found = of_torch()
    outcome = "skipped" if "missing" in found else "measured"
    detail = found.get("missing") or "{milliseconds:.2f} ms, version {version}, cuDNN in full float32".format(
        **found
    )
    report.add(Row("times", "the same in PyTorch", outcome, detail, time.monotonic() - began))


def _machine(stand_in: bool) -> dict[str, Any]:
    """Return names and versions of what is checked."""
    found = {
        "GPU": "an emulated one" if stand_in else rt.cuda.get_device_name(),
        "Python": platform.python_version(),
    }
    for package in ("numpy", "numba", "numba-cuda", "cupy-cuda13x", "cupy-cuda12x"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
