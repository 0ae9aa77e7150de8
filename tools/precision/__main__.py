"""What rounding the operands of products to bfloat16 changes, against "highest", on this processor.

    python -m tools.precision gradients --json docs/explanation/data/precision_gradients.json
    python -m tools.precision followed DATA --json docs/explanation/data/precision_followed.json
    python -m tools.precision learning DATA --json docs/explanation/data/precision_learning.json

DATA is a folder with tinyshakespeare.txt, names.txt, names_by_language and mnist, as `rondeau.data.datasets` has them.
Each is one table of docs/how_to/reduced_precision.md, which is drawn from these files. All three take ten minutes.
"""

import argparse
from pathlib import Path
from typing import Any

from rondeau import tensor as rt
from rondeau.kernels.product.tiles import MULTIPLIES_PAIRS

from ..comparison import report
from ..recording import record
from . import followed, gradients, learning

TABLES: dict[str, Any] = {"gradients": gradients, "followed": followed, "learning": learning}


def main(arguments: list[str] | None = None) -> None:
    """Print a table; with --json, also write its rows to a file."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m tools.precision", description=__doc__, formatter_class=layout
    )
    commands = parser.add_subparsers(dest="table", required=True, metavar="TABLE")
    for name, module in TABLES.items():
        about = module.__doc__ or ""
        command = commands.add_parser(
            name, help=about.splitlines()[0], description=about, formatter_class=layout
        )
        module.add_arguments(command)
        command.add_argument("--threads", type=int, default=1)
        command.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args(arguments)
    if not MULTIPLIES_PAIRS:
        raise SystemExit(
            'this processor has no AVX512_BF16, so that "medium" computes as "highest" does: run it on one that has'
        )
    rt.set_num_threads(options.threads)
    table = report.Table(TABLES[options.table].COLUMNS)
    for row in TABLES[options.table].measured(options):
        table.add(row)
    if options.json:
        paths = [options.folder] if "folder" in options else []
        machine = report.machine("rondeau", "numpy", "numba")
        record(options.json, "precision", arguments, *paths, machine=machine, rows=table.rows)


if __name__ == "__main__":
    main()
