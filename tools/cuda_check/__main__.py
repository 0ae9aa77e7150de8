"""Check what a GPU computes against the CPU, and measure a training step; for a machine with a GPU.

    python -m tools.cuda_check
    python -m tools.cuda_check --only cells --minutes 4
    python -m tools.cuda_check --stand-in

Random numbers come first, then cells step by step and in one kernel, options of recurrent layers, training,
operators, layers, times, and the cells once more in float64. What does not fit into the minutes is skipped, and so
are sections whose packages are not installed; the table says so. With the environment variable OUT set, it is also
written to cuda_check.json in that folder. The status is 1 if any result differs, and 2 if there is no GPU. It needs
what the library needs (`numba`, `numpy`, `threadpoolctl`, `safetensors`), CuPy and numba-cuda, and for the time of
PyTorch that.

With --stand-in the GPU is an emulated one, on which all but times is checked, in float32 and for a few cells unless
--all is given: a check of this program, and not of a GPU.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rondeau import tensor as rt
from rondeau.kernels.cuda import tiers
from rondeau.kernels.runtime.devices import DeviceUnavailableError, load_cupy

from .cases import Case, Difference, compare
from .report import Report, Row

_SECTIONS = {
    "random numbers": ("numbers", "CASES"),
    "cells": ("cells", "CELLS"),
    "persistent": ("cells", "PERSISTENT"),
    "options": ("cells", "OPTIONS"),
    "training": ("training", "CASES"),
    "operators": ("operators", "CASES"),
    "layers": ("layers", "CASES"),
    "times": ("times", "LAYERS"),
    "float64": ("cells", "CELLS_IN_FLOAT64"),
}
"""The sections in their order, each with the module and the name of its checks."""
_TIERS = {"persistent": "persistent", "options": "persistent"}
"""The tier of the sections that do not run recurrent layers step by step."""
_EMULATED_CELLS = frozenset({"gru_original", "li_gru", "lstm"})
"""The cells that are emulated unless all are asked for."""
_MANY_THREADS = frozenset({"several blocks a row", "sums over several passes of a block"})
"""The options that are emulated only if all are asked for: the emulator runs threads one by one."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.cuda_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=_SECTIONS, metavar="SECTION", help="this section alone")
    parser.add_argument("--minutes", type=float, default=7.5, help="when to stop (default 7.5)")
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
        for section in [options.only] if options.only else _SECTIONS:
            for row in _section(section, options, end):
                report.add(row)
    report.summary()
    if "OUT" in os.environ:
        report.write(Path(os.environ["OUT"]) / "cuda_check.json")
    return 1 if report.wrong else 0


def _section(section: str, options: Any, end: float) -> Iterator[Row]:
    """Run the checks of a section."""
    module, name = _SECTIONS[section]
    few = options.stand_in and not options.all
    if (section == "times" and options.stand_in) or (section == "float64" and few):
        return
    try:
        checks = getattr(importlib.import_module(f".{module}", __package__), name)
    except ImportError as error:
        yield Row(section, "all", "skipped", f"{error.name} is not installed", 0.0)
        return
    if section == "times":
        yield from _times(end)
        return
    cells_alone = section in ("cells", "persistent")
    with _tier(section, options.stand_in):
        for case in checks:
            if few and (case.name in _MANY_THREADS or (cells_alone and case.name not in _EMULATED_CELLS)):
                continue
            if options.stand_in and case.name.endswith(" units"):  # hours of an emulator
                continue
            yield _checked(section, case, end)


@contextmanager
def _tier(section: str, stand_in: bool) -> Iterator[None]:
    """Have recurrent layers run step by step, or with all steps in one kernel."""
    before, tier = tiers.ALLOWED, _TIERS.get(section, "stepwise")
    tiers.ALLOWED = "stepwise" if stand_in and section == "options" else tier
    try:
        yield
    finally:
        tiers.ALLOWED = before


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


def _times(end: float) -> Iterator[Row]:
    from .times import LAYERS, SIZE, of_rondeau, of_torch

    shape = ", ".join(f"{name} {number}" for name, number in SIZE.items())
    names = {layer: f"a training step of {layer}, float32, {shape}" for layer in LAYERS}
    for layer, name in names.items():
        began = time.monotonic()
        if began > end:
            yield Row("times", name, "skipped", "the minutes were over", 0.0)
            return
        ours = of_rondeau(layer)
        detail = f"{ours.milliseconds:.2f} ms, issued in {ours.issued:.2f} ms"
        yield Row("times", name, "measured", detail, time.monotonic() - began)
    began = time.monotonic()
    theirs = of_torch()
    for layer, name in names.items():
        detail = (
            theirs.get("missing") or f"{theirs[layer]:.2f} ms, cuDNN in full float32, {theirs['version']}"
        )
        outcome = "skipped" if "missing" in theirs else "measured"
        yield Row("times", f"PyTorch: {name}", outcome, detail, time.monotonic() - began)


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
