"""The speed of layers, of a cell that a user might write, and of a training step, against PyTorch's on the same GPU."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any

from . import clock as clocks
from . import of_rondeau
from .report import Row
from .worker import lines
from .workloads import FORMATS, Workload, workloads_of

__all__ = ["PUBLISHED", "measured", "prepared"]

PUBLISHED = (
    ("cuDNN through PyTorch, LSTM, float16", 1.96, 5.07),
    ("FlashRNN, LSTM, bfloat16, one kernel", 4.76, 13.3),
    ("FlashRNN, LSTM, bfloat16, two kernels a step", 10.5, 25.9),
    ("haste, LSTM, float32", 18.0, 42.8),
    ("a loop of PyTorch operators", 144.0, 473.0),
)
"""Microseconds a step, forward and with backward, at H 768, B 16 and T 1024 on an H100 SXM.

Read off the figure ``head_dim--lstm.svg`` of Pöppel, Beck, Hochreiter, "FlashRNN: I/O-aware optimization of traditional
RNNs on modern hardware", arXiv 2412.07752 (2024).
"""
_PROCESSES = [
    (library, precision) for precision in ("highest", "medium", "high") for library in ("rondeau", "torch")
]


def measured(stand_in: bool, end: float) -> Iterator[Row]:
    """Yield what each library takes for each workload.

    On a GPU each library and precision has a process of its own, and a share of the time that is left.
    """
    for number, (library, precision) in enumerate(_PROCESSES):
        if library == "torch" and find_spec("torch") is None:
            yield Row("speed", f"PyTorch, {FORMATS[precision]}", "skipped", "PyTorch is not installed", 0.0)
            continue
        now = time.monotonic()
        if stand_in:
            found = _tiny(library, precision, end)
        else:
            found = _of_process(library, precision, (end - now) * 1.5 / (len(_PROCESSES) - number))
        for record in found:
            seconds, now = time.monotonic() - now, time.monotonic()
            yield _row(library, record, seconds)


def prepared() -> Iterator[Callable[[], object]]:
    """Yield what compiles the kernels of each workload: two steps of it."""
    clock = clocks.of_host()._replace(warm_up=0, repeats=1)
    workloads = [workload for precision in FORMATS for workload in workloads_of("rondeau", precision)]
    for workload in dict.fromkeys(workload._replace(steps=2) for workload in workloads):
        yield functools.partial(of_rondeau.measure, workload, clock)


def _tiny(library: str, precision: str, end: float) -> Iterator[dict[str, Any]]:
    """Time a little on the emulator, and PyTorch on the CPU."""
    clock = clocks.of_cupy() if library == "rondeau" else clocks.of_host()
    device = "cuda" if library == "rondeau" else "cpu"
    return lines(library, precision, clock._replace(warm_up=0, repeats=1), end, device, tiny=True)


def _of_process(library: str, precision: str, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield what a worker prints, as it comes."""
    command = [sys.executable, "-m", f"{__package__}.worker", library, precision, "--seconds", str(seconds)]
    with tempfile.TemporaryFile("w+") as errors:  # a full pipe that nobody reads would stop the process
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                yield json.loads(line)
        errors.seek(0)
        last = (errors.read().strip().splitlines() or ["no message"])[-1]
    if process.returncode:
        yield {"error": f"the process ended with status {process.returncode}: {last}"}


def _row(library: str, record: Mapping[str, Any], seconds: float) -> Row:
    name = {"rondeau": "rondeau", "torch": "PyTorch"}[library]
    if "machine" in record:
        versions = ", ".join(f"{key} {value}" for key, value in record["machine"].items())
        return Row("speed", name, "measured", versions, seconds, {"machine": record["machine"]})
    workload = Workload(*record["workload"]) if "workload" in record else None
    title = f"{name}: {workload if workload else 'all'}"
    if "figures" in record:
        assert workload is not None
        figures = {"library": library, **workload._asdict(), **record["figures"]}
        return Row("speed", title, "measured", _described(record["figures"]), seconds, figures)
    if "skipped" in record:
        return Row("speed", title, "skipped", record["skipped"], seconds)
    # What PyTorch cannot run, such as a compiled loop without a C++ compiler, is no fault of this library.
    return Row("speed", title, "WRONG" if library == "rondeau" else "skipped", record["error"], seconds)


def _described(figures: Mapping[str, float]) -> str:
    if "characters a second" in figures:
        return f"{figures['characters a second']:,.0f} characters a second"
    parts = [f"{figures['forward']:.2f} us a step forward, {figures['both']:.2f} with backward"]
    parts += [
        f"{name} {figures[name]:.2f}" for name in ("forward kernel", "backward kernel") if name in figures
    ]
    parts += [f"issued in {figures['issued']:.2f}"]
    if "seconds to compile" in figures:
        parts.append(f"compiled in {figures['seconds to compile']:.0f} s")
    return ", ".join(parts)
