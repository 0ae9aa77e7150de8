"""The same as `layers` at sizes far from them: batch 1 and 256, 1,000 steps, 48 and 1,024 hidden units."""

import argparse

from .. import arguments
from ..sizes import INFORMATION
from .layers import CELLS, run

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what can be chosen."""
    arguments.add_cells(parser, CELLS)
    arguments.add_sizes(parser, INFORMATION)
    arguments.add_threads(parser)
    arguments.add_pairs(parser)
