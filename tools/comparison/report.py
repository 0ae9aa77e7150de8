"""A table's rows: printed as they come, in Markdown, and kept in a file with the command that made them."""

import json
import os
import platform
import shlex
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

Column = Callable[[dict[str, Any]], str]


def times(name: str) -> Column:
    """Show a ratio, or a dash."""
    return lambda row: f"{row[name]:.2f}" if row.get(name) is not None else "-"


def span(name: str) -> Column:
    """Show the range of a ratio, or a dash."""
    return lambda row: "{:.2f} - {:.2f}".format(*row[name]) if row.get(name) is not None else "-"


def share(name: str) -> Column:
    """Show a share in per cent."""
    return lambda row: f"{row[name]:.0%}"


def microseconds(name: str, digits: int = 0) -> Column:
    """Show seconds as microseconds, with some digits after the point, or a dash."""
    return lambda row: f"{row[name] * 1e6:.{digits}f}" if row.get(name) is not None else "-"


def megabytes(name: str) -> Column:
    """Show bytes as megabytes, or a dash."""
    return lambda row: f"{row[name] / 1e6:.1f}" if row.get(name) is not None else "-"


def digits(name: str, count: int) -> Column:
    """Show a figure with some digits after the point."""
    return lambda row: f"{row[name]:.{count}f}"


def exponent(name: str) -> Column:
    """Show a figure with two digits, in powers of ten."""
    return lambda row: f"{row[name]:.1e}"


def degrees(name: str) -> Column:
    """Show an angle."""
    return lambda row: f"{row[name]:.3f}°"


def text(name: str) -> Column:
    """Show a figure as it is."""
    return lambda row: str(row[name])


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _heading(columns: Mapping[str, Column]) -> str:
    return f"{_line(columns)}\n|{'---|' * len(columns)}"


def _shown(columns: Mapping[str, Column], row: dict[str, Any]) -> str:
    return _line(show(row) for show in columns.values())


def markdown(columns: Mapping[str, Column], rows: Iterable[dict[str, Any]]) -> str:
    """Return a table.

    Parameters
    ----------
    columns : dict of str to callable
        Headings, and how to show a row's figures under each.
    rows : iterable of dict

    Examples
    --------
    >>> print(markdown({"cell": text("cell"), "ratio": times("ratio")}, [{"cell": "GRU", "ratio": 1.257}]))
    | cell | ratio |
    |---|---|
    | GRU | 1.26 |
    """
    return "\n".join([_heading(columns), *(_shown(columns, row) for row in rows)])


class Table:
    """A table that is printed row by row.

    Parameters
    ----------
    columns : dict of str to callable
        Headings, and how to show a row's figures under each.
    """

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self.rows: list[dict[str, Any]] = []
        self._columns = columns
        print(_heading(columns), flush=True)

    def add(self, row: dict[str, Any]) -> None:
        """Print a row and keep it."""
        self.rows.append(row)
        print(_shown(self._columns, row), flush=True)


def write(path: str, arguments: list[str], rows: list[dict[str, Any]], *, add: bool = False) -> None:
    """Write rows to a JSON file, with the command and the machine: figures of another machine are other figures.

    Parameters
    ----------
    path : str
        The file; its folder is made.
    arguments : list of str
        The command line after the program's name.
    rows : list of dict
        The table.
    add : bool, default False
        Add to the rows that are there, from the same machine, instead of replacing them: for tables that are
        measured in pieces.

    Raises
    ------
    SystemExit
        If rows of another machine or of other versions are there to add to.
    """
    file, commands = Path(path), []
    here = machine("rondeau", "numpy", "numba", "torch")
    if add and file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        if before["machine"] != here:
            raise SystemExit(
                f"{path} holds figures of {before['machine']}, and this is {here}: write another file"
            )
        commands, rows = before["commands"], before["rows"] + rows
    commands = [*commands, shlex.join(["python", "tools/compare_with_torch.py", *arguments])]
    document = {"commands": commands, "machine": here, "rows": rows}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def machine(*packages: str) -> dict[str, Any]:
    """Return what figures depend on: the processor, and the versions of Python and of packages."""
    cpuinfo = Path("/proc/cpuinfo")
    fields = {}
    for line in cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []:
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    return {
        "processor": fields.get("model name", platform.machine()),
        "family": fields.get("cpu family", ""),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
    }
