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
    """

    section: str
    name: str
    outcome: str
    detail: str
    seconds: float


class Report:
    """Prints a line a check, and keeps them.

    Parameters
    ----------
    machine : mapping
        Names and versions of what was checked.
    out : text file, optional
        Default: standard output.
    """

    def __init__(self, machine: dict[str, Any], out: TextIO | None = None) -> None:
        self.out = sys.stdout if out is None else out
        self.machine, self.rows = machine, list[Row]()
        for name, value in machine.items():
            print(f"{name:10} {value}", file=self.out, flush=True)

    def add(self, row: Row) -> None:
        """Take and print a row."""
        self.rows.append(row)
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

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        rows = [row._asdict() for row in self.rows]
        path.write_text(json.dumps({"machine": self.machine, "rows": rows}, indent=1), encoding="utf-8")
