"""From the start of Python to the end of the first training step, with nothing compiled before, and again.

A GRU of 256 units over 65 characters, its head and Adam; the program is `first_step`. The folder of compiled code is
empty for the first of two processes, and the second finds what the first left there.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .. import arguments, report

COLUMNS = {
    "library": report.text("library"),
    "compiled before": report.text("compiled"),
    "seconds": report.digits("seconds", 2),
    "seconds of a core": report.digits("core_seconds", 2),
    "files kept": report.text("files"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    arguments.add_pairs(parser)


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure both libraries in turn, with a new folder each time."""
    found: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    for _ in range(options.pairs):
        for library in ("rondeau", "torch"):
            with tempfile.TemporaryDirectory() as folder:
                for compiled in ("nothing", "all"):
                    found.setdefault((library, compiled), []).append(_first_step(library, Path(folder)))
    table = report.Table(COLUMNS)
    for (library, compiled), figures in found.items():
        medians = map(statistics.median, zip(*figures, strict=True))
        row = dict(zip(("seconds", "core_seconds", "files"), medians, strict=True))
        table.add({"library": library, "compiled": compiled} | row)
    return table.rows


def _first_step(library: str, folder: Path) -> tuple[float, float, int]:
    """Return the seconds of a process, those of its cores, and the number of files that are then in the folder."""
    used, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "comparison.first_step", library],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"RONDEAU_CACHE": str(folder)},
        check=True,
        stderr=subprocess.DEVNULL,
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    core_seconds = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return seconds, core_seconds, sum(file.is_file() for file in folder.rglob("*"))
