"""Check what a GPU computes against the CPU, and measure how fast; for a machine with a GPU.

    python -m tools.cuda_check --json cuda_check.json
    python -m tools.cuda_check --only cells persistent --minutes 4
    python -m tools.cuda_check --stand-in
    python -m tools.cuda_check --prepare

First come random numbers, cells step by step and in one kernel, and options of recurrent layers; then the error of
gradients against float64, the barrier and the exchange of states that a step in one kernel needs, and the speed of
layers against PyTorch's; then training, operators and layers, and the cells once more in float64. What does not fit
into the minutes is skipped, and so are sections whose packages are not installed; the table says so. The file of --json
has the results so far at any time. The status is 1 if any result differs, and 2 if there is no GPU. It needs what the
library needs (`numba`, `numpy`, `threadpoolctl`, `safetensors`), CuPy and numba-cuda, and PyTorch for its times.

With --stand-in the GPU is an emulated one, in float32, for a few cells unless --all is given, and with tiny sizes where
something is measured: a check of this program, and not of a GPU.

Most of the time goes into compiling kernels, some hundreds, each for seconds. With --prepare they are compiled for an
H100 or H200 and kept in the disk cache (the folder in the environment variable RONDEAU_CACHE), which takes no GPU but
the extra `cuda-check`; with that folder, and the same versions of Python, Numba, numba-cuda and NVIDIA's compiler, the
machine with a GPU does not compile them again.
"""

from __future__ import annotations

import argparse
import importlib.metadata
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

from .cases import Case, Difference, compare
from .report import Report, Row
from .sections import SECTIONS

_EMULATED_CELLS = frozenset({"gru_original", "li_gru", "lstm"})
"""The cells that are emulated unless all are asked for."""
_MANY_THREADS = frozenset({"several blocks a row", "sums over several passes of a block"})
"""The options that are emulated only if all are asked for: the emulator runs threads one by one."""
_ON_REQUEST = frozenset({"float64", "speed"})
"""The sections that are emulated only if all are asked for, or they alone."""
_IN_PARTS = frozenset({"options", "training", "layers"})
"""The sections that the emulator runs step by step."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.cuda_check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help="these sections alone")
    parser.add_argument("--minutes", type=float, default=9.0, help="when to stop (default 9)")
    parser.add_argument("--json", type=Path, help="write the results to this file, one after the other")
    parser.add_argument("--stand-in", action="store_true", help="on an emulated GPU, without a real one")
    parser.add_argument("--all", action="store_true", help="with --stand-in: all checks")
    parser.add_argument(
        "--prepare", action="store_true", help="compile the kernels, on a machine without a GPU"
    )
    options = parser.parse_args(arguments)
    if options.prepare:
        return _prepared(options.only or SECTIONS)
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
        report = Report(_machine(options.stand_in), options.json)
        end = time.monotonic() + 60 * options.minutes
        few = options.stand_in and not options.all
        for section in options.only or SECTIONS:
            if few and not options.only and section in _ON_REQUEST:
                continue
            for row in _section(section, options, end):
                report.add(row)
    report.summary()
    return 1 if report.wrong else 0


def _prepared(sections: Any) -> int:
    from tools.cuda_code import missing

    from .prepare import prepare

    if (why := missing()) is not None:
        print(f"nothing was compiled: {why}")
        return 2
    return 1 if prepare(sections) else 0


def _section(name: str, options: Any, end: float) -> Iterator[Row]:
    """Run the checks of a section."""
    section = SECTIONS[name]
    few = options.stand_in and not options.all
    try:
        checks = section.load()
    except ImportError as error:
        yield Row(name, "all", "skipped", f"{error.name} is not installed", 0.0)
        return
    if options.stand_in and name in _IN_PARTS:
        section = section._replace(tier="stepwise")
    with section.allowed_tier():
        if callable(checks):
            yield from checks(options.stand_in, end)
            return
        for case in checks:
            cells_alone = name in ("cells", "persistent")
            if few and (case.name in _MANY_THREADS or (cells_alone and case.name not in _EMULATED_CELLS)):
                continue
            if options.stand_in and case.name.endswith(" units"):  # hours of an emulator
                continue
            yield _checked(name, case, end)


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


def _machine(stand_in: bool) -> dict[str, Any]:
    """Return names and versions of what is checked."""
    runtime = load_cupy().cuda.runtime
    properties = runtime.getDeviceProperties(0)
    found = {
        "GPU": "an emulated one" if stand_in else rt.cuda.get_device_name(),
        "multiprocessors": properties["multiProcessorCount"],
        "CUDA driver": runtime.driverGetVersion(),
        "CUDA runtime": runtime.runtimeGetVersion(),
        "Python": platform.python_version(),
    }
    if "clockRate" in properties:
        found["MHz at most"] = properties["clockRate"] // 1000
    for package in ("numpy", "numba", "numba-cuda", "cupy-cuda13x", "cupy-cuda12x"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
