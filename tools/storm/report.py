"""What a storm found."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TextIO


class Report:
    """Counts rounds, prints what went wrong in them, and keeps the longest time of each command.

    Parameters
    ----------
    out : text file, optional
        Default: standard output.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self.out = sys.stdout if out is None else out
        self.rounds: Counter[str] = Counter()
        self.findings: list[str] = []
        self.longest: dict[str, tuple[float, str]] = {}

    def count(self, kind: str) -> None:
        """Count a round, or what came of one."""
        self.rounds[kind] += 1

    def find(self, where: str, what: str) -> None:
        """Take and print what went wrong in a round."""
        self.findings.append(f"{where}: {what}")
        print(f"FOUND {where}\n  {what.strip()}".replace("\n", "\n  "), file=self.out, flush=True)

    def time(self, command: str, seconds: float, where: str) -> None:
        """Take the time of a command."""
        if seconds > self.longest.get(command, (0.0, ""))[0]:
            self.longest[command] = seconds, where

    def summary(self) -> None:
        """Print the counts."""
        for kind, count in self.rounds.items():
            print(f"{count:6}  {kind}", file=self.out)
        for command, (seconds, where) in self.longest.items():
            print(f"{command} took at most {seconds:.2f} s ({where})", file=self.out)
        print(f"{len(self.findings)} findings", file=self.out, flush=True)
