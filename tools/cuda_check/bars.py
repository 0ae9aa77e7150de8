"""Bars: what the measurements should show, and what they do, as a table for a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .gradient_error import BOUNDS
from .workloads import FORMATS

__all__ = ["Measurements", "bars"]


class Measurements:
    """The results that ``python -m tools.cuda_check --json`` has written, or none.

    Parameters
    ----------
    path : Path
        Where they are, if they are.
    """

    def __init__(self, path: Path) -> None:
        self.exist = path.exists()
        document = json.loads(path.read_text(encoding="utf-8")) if self.exist else {"machine": {}, "rows": []}
        self.machine: dict[str, Any] = document["machine"]
        self.rows: list[dict[str, Any]] = document["rows"]

    def figures(self, section: str, **chosen: Any) -> Iterator[dict[str, Any]]:
        """Yield the figures of a section's rows that have the values chosen."""
        for row in self.rows:
            found = row.get("figures", {})
            if row["section"] == section and all(found.get(key) == value for key, value in chosen.items()):
                yield found

    def time(self, figure: str, **chosen: Any) -> float | None:
        """Return a figure of the only workload that has the values chosen, or None if it was not measured."""
        found = [row[figure] for row in self.figures("speed", **chosen) if figure in row]
        return found[0] if found else None

    def ratio(self, figure: str, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float | None:
        """Return a figure of PyTorch over ours, or None if one of them was not measured."""
        mine = self.time(figure, library="rondeau", **ours)
        other = self.time(figure, library="torch", **{**ours, **theirs})
        return None if mine is None or other is None else other / mine


def bars(measured: Measurements) -> list[tuple[str, str, str]]:
    """Return what is measured, what it should be, and what it is: empty where it has not been measured."""
    found = [
        ("every tier and cell against the CPU", "all right", _right(measured)),
        ("a barrier of 16 to 128 blocks, in microseconds", "known", _barriers(measured)),
        ("states read by each multiprocessor, in bytes a nanosecond", "known", _exchange(measured)),
    ]
    for precision, form in FORMATS.items():
        if precision != "half":
            sizes = [
                {"kind": kind, "hidden": hidden, "batch": batch, "steps": steps, "precision": precision}
                for kind in ("LSTM", "GRU")
                for hidden in (256, 512)
                for batch in (16, 32, 64)
                for steps in (256, 1024)
            ]
            ratios = (measured.ratio("both", size, {}) for size in sizes)
            what = f"`torch.nn` over ours, LSTM and GRU of 256 and 512 units, forward and backward, {form}"
            found.append((what, "at least 2", _span(ratios)))
    cudnns = {"kind": "LSTM", "hidden": 768, "batch": 16, "steps": 1024}
    ratio = measured.ratio("both", {**cudnns, "precision": "medium"}, {"precision": "half"})
    found.append((
        "ours in bfloat16 over cuDNN's kernel of all steps in float16, H 768, B 16, T 1024", "at most 1.3",
        _span([ratio and 1 / ratio]),
    ))  # fmt: skip
    size = {"hidden": 256, "batch": 32, "precision": "highest"}
    found.append(("a user's cell of four gates over our LSTM", "at most 1.1", _span(_custom(measured))))
    loops = measured.ratio("both", {**size, "kind": "four gates", "steps": 256}, {})
    found.append(("PyTorch's loop of that cell over ours", "at least 20", _span([loops])))
    compiled = {"kind": "compiled four gates"}
    loop = measured.ratio("both", {**size, "kind": "four gates", "steps": 64}, compiled)
    seconds = measured.time("seconds to compile", library="torch", **compiled)
    suffix = "" if seconds is None else f", compiled in {seconds:.0f} s"
    found.append(("that loop by `torch.compile` over ours, T 64", "at least 5", _span([loop]) + suffix))
    for precision, bound in BOUNDS.items():
        errors = [row["error"] for row in measured.figures("gradient error", precision=precision)]
        what = f"the error of gradients against float64, {FORMATS[precision]}"
        found.append((what, f"at most {bound:.0e}", f"{max(errors):.1e}" if errors else ""))
    recipe = measured.ratio("characters a second", {"kind": "recipe"}, {})
    found.append((
        "characters a second of the Shakespeare recipe, 512 units and sequences, ours over PyTorch", "above 1",
        _span([recipe and 1 / recipe]),
    ))  # fmt: skip
    return found


def _span(ratios: Iterable[float | None]) -> str:
    """Return the least and the largest ratio."""
    known = sorted(ratio for ratio in ratios if ratio is not None)
    if not known:
        return ""
    return f"{known[0]:.2f}" if len(known) == 1 else f"{known[0]:.2f} to {known[-1]:.2f}"


def _right(measured: Measurements) -> str:
    sections = ("cells", "persistent", "options", "gradient error")
    outcomes = [row["outcome"] for row in measured.rows if row["section"] in sections]
    return f"{outcomes.count('right')} of {len(outcomes)}" if outcomes else ""


def _barriers(measured: Measurements) -> str:
    return _of_blocks(measured, "barrier", lambda row: row["barrier"])


def _exchange(measured: Measurements) -> str:
    return _of_blocks(measured, "exchange", lambda row: row["bytes"] / (1e3 * row["exchange"]))


def _of_blocks(measured: Measurements, figure: str, value: Callable[[dict[str, Any]], float]) -> str:
    rows = [row for row in measured.figures("exchange") if figure in row]
    best: dict[int, float] = {}
    for row in rows:  # of several sizes, the largest is read fastest
        best[row["blocks"]] = max(best.get(row["blocks"], 0.0), value(row))
    return ", ".join(f"{number:.2f} ({blocks})" for blocks, number in sorted(best.items()))


def _custom(measured: Measurements) -> Iterator[float | None]:
    for hidden in (256, 512):
        size = {"hidden": hidden, "batch": 32, "steps": 256, "precision": "highest", "library": "rondeau"}
        custom, lstm = (measured.time("both", kind=kind, **size) for kind in ("four gates", "LSTM"))
        yield None if custom is None or lstm is None else custom / lstm
