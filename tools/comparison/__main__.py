"""The command line: a table's name, and what can be chosen for it."""

import argparse
import importlib
import sys

from . import report
from .process import serve

TABLES = [
    "layers",
    "precision",
    "loops",
    "cells",
    "memory",
    "scaling",
    "pauses",
    "cold",
    "information",
    "streaming",
    "int8",
    "exported",
    "parts",
    "lenet",
    "words",
    "stepped",
    "operations",
]
DESCRIPTION = """The speed and the memory of rondeau's recurrent layers against PyTorch's, as ratios.

    python tools/compare_with_torch.py --threads 1 2 --pairs 9
    python tools/compare_with_torch.py loops --cells slstm --json loops.json

Without a table's name it is the table `layers`. The two libraries run in processes of their own, so that no two
thread pools share the cores, and in turn: A B A B. What is printed is the median over the pairs of the ratios."""


def main(arguments: list[str]) -> None:
    """Print a table; with --json, also write its rows to a file."""
    parser = argparse.ArgumentParser(
        prog="compare_with_torch.py",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="table", required=True, metavar="TABLE")
    modules = {name: importlib.import_module(f".tables.{name}", __package__) for name in TABLES}
    for name, module in modules.items():
        about = module.__doc__ or ""
        command = commands.add_parser(
            name,
            help=about.splitlines()[0],
            description=about,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.add_argument("--json", metavar="FILE", help="write the rows to this file")
        command.add_argument("--add", action="store_true", help="add to the rows of the file")
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = ["layers", *arguments]
    options = parser.parse_args(arguments)
    rows = modules[options.table].run(options)
    if options.json:
        report.write(options.json, arguments, rows, add=options.add)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        main(sys.argv[1:])
