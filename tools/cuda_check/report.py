"""What came of the checks: a table, and the same as JSON."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple, TextIO

__all__ = ["Report", "Row"]


class Row(NamedTuple):
    """What came of one check.

    Attributes
    ----------
    section, name : str
    outcome : {"right", "WRONG", "skipped", "measured"}
    detail : str
        The largest error as a part of its bound, what differs, why it was skipped, or what was measured.
    seconds : float
    figures : dict, optional
        What was measured, as numbers by their names.
    """

    section: str
    name: str
    outcome: str
    detail: str
    seconds: float
    figures: dict[str, Any] | None = None


class Report:
    """Prints a line a check, and keeps them.

    Parameters
    ----------
    machine : mapping
        Names and versions of what was checked.
    path : Path, optional
        A file that has all rows as JSON after each of them.
    out : text file, optional
        Default: standard output.
    """

    def __init__(self, machine: dict[str, Any], path: Path | None = None, out: TextIO | None = None) -> None:
        self.out = sys.stdout if out is None else out
        self.machine, self.path, self.rows = machine, path, list[Row]()
        for name, value in machine.items():
            print(f"{name:10} {value}", file=self.out, flush=True)

    def add(self, row: Row) -> None:
        """Take, print and keep a row."""
        self.rows.append(row)
        self._write()
        line = f"{row.outcome:9}{row.seconds:7.2f} s  {row.section}: {row.name}"
        print(f"{line}  ({row.detail})" if row.detail else line, file=self.out, flush=True)

    @property
    def wrong(self) -> bool:
        """Whether any check found a difference."""
        return any(row.outcome == "WRONG" for row in self.rows)

    def summary(self) -> None:
        """Print the counts, and what was wrong or skipped once more."""
        for section in dict.fromkeys(row.section for row in self.rows):
            counts = Counter(row.outcome for row in self.rows if row.section == section)
            print(
                f"{section:18} " + ", ".join(f"{n} {outcome}" for outcome, n in counts.items()), file=self.out
            )
        for row in self.rows:
            if row.outcome in ("WRONG", "skipped"):
                print(f"{row.outcome} {row.section}: {row.name}: {row.detail}", file=self.out)
        self.out.flush()

    def _write(self) -> None:
        """Write everything as JSON, so that a reader finds the file before or the file after."""
        if self.path is None:
            return
        rows = [
            {key: value for key, value in row._asdict().items() if value is not None} for row in self.rows
        ]
        lines = ",\n  ".join(json.dumps(row) for row in rows)
        partial = self.path.with_name(f"{self.path.name}.partial")
        partial.write_text(
            f'{{"machine": {json.dumps(self.machine)},\n "rows": [\n  {lines}\n]}}\n', encoding="utf-8"
        )
        partial.replace(self.path)
