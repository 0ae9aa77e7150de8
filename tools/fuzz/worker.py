"""The process that runs calls: says which one it is at, and what each came to."""

from __future__ import annotations

import faulthandler
import importlib
import json
import mmap
import random
import signal
import struct
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rondeau.tensor import Tensor, manual_seed

from .drawing import Draw
from .verdict import Finding, Refused, shown_traceback

Target = Callable[[Draw], None]
RESULT, REFUSED, FINDING = "result", "refused", "finding"
_PLACE = struct.Struct("q")
REPORT_EVERY = 100


class Position:
    """The index of the call that runs, in a file that outlives the process that writes it.

    Parameters
    ----------
    path : Path
        Of a file that `create` made.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _PLACE.size)

    @staticmethod
    def create(path: Path) -> Position:
        """Make the file, with no call yet: -1."""
        path.write_bytes(_PLACE.pack(-1))
        return Position(path)

    @property
    def index(self) -> int:
        """The index of the call."""
        index: int = _PLACE.unpack(self._memory[:])[0]
        return index

    @index.setter
    def index(self, value: int) -> None:
        self._memory[:] = _PLACE.pack(value)


def load_targets(module: str) -> Mapping[str, tuple[Target, float]]:
    """Return the targets of a module, and how often each is drawn, by name."""
    targets: Mapping[str, tuple[Target, float]] = importlib.import_module(module).TARGETS
    return targets


def target_of(seed: int, index: int, targets: Mapping[str, tuple[Target, float]]) -> str:
    """Return which target a call draws."""
    weights = [weight for _, weight in targets.values()]
    return random.Random(f"{seed} {index}").choices(list(targets), weights)[0]


def run_call(target: Target, draw: Draw) -> tuple[str, dict[str, Any] | None]:
    """Run one call; return what it came to, and the report of a finding."""
    manual_seed(draw.weights)  # layers draw their weights from the default generator
    try:
        target(draw)
    except Refused:
        return REFUSED, None
    except Finding as finding:
        cause = finding.__cause__
        report = {"kind": finding.kind, "text": finding.text, "place": finding.place}
        report["traceback"] = shown_traceback(cause) if cause is not None else ""
    except Exception as error:  # the fuzzer's own: as loud as the library's
        report = {"kind": "the fuzzer failed", "text": f"{type(error).__name__}: {error}"}
        report |= {
            "place": f"{type(error).__name__} at {_last_line(error)}",
            "traceback": shown_traceback(error),
        }
    else:
        return RESULT, None
    report["drawn"] = "\n".join(f"    {name} = {shown(value)}" for name, value in draw.notes)
    report["wrong"] = draw.wrong or draw.open or ""
    return FINDING, report


def _last_line(error: Exception) -> str:
    frame = error.__traceback__
    assert frame is not None
    while frame.tb_next is not None:
        frame = frame.tb_next
    return f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}"


def shown(value: Any) -> str:
    """Return a drawn value in one line: arrays by dtype, shape and strides, small ones with their elements."""
    if isinstance(value, Tensor):
        return f"Tensor of {shown(value.detach().numpy())}"
    if isinstance(value, np.ndarray):
        flags = ("" if value.flags.writeable else " read-only") + (
            "" if value.flags.aligned else " unaligned"
        )
        elements = f" {value.tolist()}" if value.size <= 8 else ""
        return f"{value.dtype} {value.shape} strides {value.strides}{flags}{elements}"
    if isinstance(value, (tuple, list)) and len(value) < 20:
        inner = ", ".join(shown(part) for part in value)
        return f"({inner})" if isinstance(value, tuple) else f"[{inner}]"
    if isinstance(value, dict) and len(value) < 20:
        return "{" + ", ".join(f"{name!r}: {shown(part)}" for name, part in value.items()) + "}"
    if isinstance(value, int) and value.bit_length() > 4 * 200:  # Python refuses to print the longest
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


def serve(module: str, seed: int, first: int, stop: int, only: str | None, position: Path) -> None:
    """Run calls `first` to `stop` - 1; write a JSON line for each finding, and now and then one with the counts."""
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the supervisor too, which ends its worker
    targets, at = load_targets(module), Position(position)
    counts: Counter[str] = Counter()
    for index in range(first, stop):
        name = only or target_of(seed, index, targets)
        at.index = index
        outcome, report = run_call(targets[name][0], Draw(seed, index, name))
        counts[f"{name} {outcome}"] += 1
        if report is not None:
            _say({"index": index, "target": name, **report})
        if index + 1 == stop or (index + 1) % REPORT_EVERY == 0:
            _say({"counts": counts, "index": index})
            counts.clear()


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def replay(module: str, seed: int, index: int, only: str | None) -> bool:
    """Run one call alone and print what it does; return whether it is right."""
    targets = load_targets(module)
    name = only or target_of(seed, index, targets)
    draw = Draw(seed, index, name)
    outcome, report = run_call(targets[name][0], draw)
    print(f"call {index} of seed {seed}: {name}")
    for note, value in draw.notes:
        print(f"    {note} = {shown(value)}")
    print(f"wrong on purpose: {draw.wrong or 'nothing'}" + (f"; open: {draw.open}" if draw.open else ""))
    if report is None:
        print("right: " + ("a result" if outcome == RESULT else "a clear exception"))
        return True
    print(f"{report['traceback']}{report['kind']}: {report['text']}\n  place: {report['place']}")
    return False
