"""The arguments that several tables take."""

import argparse
from collections.abc import Sequence
from typing import Any

from .sizes import Size


class _AppendSize(argparse.Action):
    """Collect sizes; the first one given replaces the defaults."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        kept = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*([] if kept is self.default else kept), Size(*values)])


def add_cells(parser: argparse.ArgumentParser, cells: Sequence[str]) -> None:
    """Add ``--cells``: all of them by default."""
    parser.add_argument("--cells", nargs="+", choices=cells, default=list(cells))


def add_sizes(parser: argparse.ArgumentParser, sizes: Sequence[Size] = ()) -> None:
    """Add ``--size``, which may be given again; `sizes` by default, those of each cell where there are none."""
    default = ", ".join(map(str, sizes)) or "those of the cell"
    parser.add_argument(
        "--size",
        nargs=4,
        type=int,
        action=_AppendSize,
        default=list(sizes),
        metavar=("B", "T", "I", "H"),
        help=f"batch, time steps, inputs, hidden units; may be given again (default: {default})",
    )


def add_threads(parser: argparse.ArgumentParser, *threads: int) -> None:
    """Add ``--threads``: 1 and 2 by default."""
    parser.add_argument("--threads", nargs="+", type=int, default=list(threads or (1, 2)))


def add_pairs(parser: argparse.ArgumentParser) -> None:
    """Add ``--pairs``."""
    parser.add_argument(
        "--pairs", type=int, default=9, help="measurements of each side, in turn (default: 9)"
    )
