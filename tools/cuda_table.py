"""The table of machine code: what kernels take of a multiprocessor, by cell, tier, precision and size.

    python -m tools.cuda_table
    python -m tools.cuda_table lstm gru
    python -m tools.cuda_table --missing

Compiles the kernels that a GPU of 132 multiprocessors would run, for the architectures of `tools.cuda_code`, and writes
docs/explanation/data/machine_code.csv: those of the cells that are named, or those that the table lacks or has cut in
another way, or all; the other rows stay. The file is committed, so that a change of a kernel's registers shows in
review; `tools/tests/test_cuda_table.py` compares it with what is compiled now. It needs no GPU, but the extra
``cuda-check``, and for all kernels four minutes on two cores.
"""

from __future__ import annotations

import argparse
import csv
import functools
import importlib.metadata
import io
import itertools
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from rondeau.kernels.cuda.emit import PhaseKernel, emit
from rondeau.kernels.cuda.persistent.choice import Limits, choose_tile
from rondeau.kernels.cuda.persistent.emit import PersistentKernel, emit_persistent
from rondeau.kernels.cuda.persistent.plan import Sizes
from rondeau.kernels.cuda.persistent.tile import Tile
from rondeau.nn import cells

from .cuda_code import machine_code, missing

__all__ = [
    "CELLS",
    "PRECISIONS",
    "TABLE",
    "Case",
    "Row",
    "cases",
    "compiled",
    "described",
    "is_cut_so",
    "read",
    "tile_of",
    "versions",
    "write",
]

TABLE = Path(__file__).parents[1] / "docs/explanation/data/machine_code.csv"
PRECISIONS = ("highest", "high", "medium")
"""Those of `set_float32_matmul_precision` whose kernels are in the table."""
_FEW = [(128, 64), (512, 16), (512, 64)]
CELLS = {
    "lstm": [*itertools.product((64, 128, 256, 512, 1024), (16, 64))],
    "gru": _FEW,
    "rnn_tanh": _FEW,
    "gru_original": _FEW,
    "lstm_layer_norm": _FEW,
}
"""Cells, and the sizes, H and B, of each: four gates, three, one; two products a step; sums over the units."""
_LIMITS = Limits(multiprocessors=132)
_PACKAGES = ("numba", "numba-cuda", "nvidia-nvvm", "nvidia-nvjitlink")


class Case(NamedTuple):
    """What a direction of a layer is run with.

    Attributes
    ----------
    cell, direction : str
    precision : str
        That of `set_float32_matmul_precision`; ``"float64"`` for a step-by-step kernel of float64.
    hidden, batch_size : int or None
        None in the step-by-step tier, whose kernels are the same for all sizes.
    """

    cell: str
    direction: str
    precision: str
    hidden: int | None = None
    batch_size: int | None = None


class Row(NamedTuple):
    """A kernel of a case on an architecture, as text. Where no persistent kernel fits, the last columns are empty.

    Attributes
    ----------
    cell, direction, precision, hidden, batch_size : str
        Those of the case.
    tier : {"block-persistent", "grid-persistent", "step by step"}
    kernel : str
        The name of the kernel.
    tile : str
        Of a persistent kernel: rows x units of a block, and what else is not as usual.
    architecture, registers, stack, spills, shared, instructions : str
        Those of `MachineCode`.
    """

    cell: str
    direction: str
    precision: str
    hidden: str
    batch_size: str
    tier: str
    kernel: str = ""
    tile: str = ""
    architecture: str = ""
    registers: str = ""
    stack: str = ""
    spills: str = ""
    shared: str = ""
    instructions: str = ""

    @property
    def case(self) -> Case:
        """The case that it is of."""
        sizes = (int(size) if size else None for size in (self.hidden, self.batch_size))
        return Case(self.cell, self.direction, self.precision, *sizes)


def cases(names: Iterable[str] = CELLS) -> Iterator[Case]:
    """Yield the cases of the table, in its order."""
    for cell in names:
        for direction in ("forward", "backward"):
            for precision in ("highest", "float64"):
                yield Case(cell, direction, precision)
            for (hidden, batch_size), precision in itertools.product(CELLS[cell], PRECISIONS):
                yield Case(cell, direction, precision, hidden, batch_size)


def tile_of(case: Case) -> Tile | None:
    """Return the tile of a case's persistent kernel, or None if it is run step by step."""
    if case.hidden is None or case.batch_size is None:
        return None
    schedule = getattr(cells, case.cell).schedule
    return choose_tile(schedule, case.direction, Sizes(case.hidden), case.batch_size, _LIMITS, case.precision)


def is_cut_so(row: Row) -> bool:
    """Return whether a case is cut today as a row of it says."""
    hidden, tile = row.case.hidden, tile_of(row.case)
    cut = ("step by step", "") if hidden is None or tile is None else described(tile, hidden)
    return (row.tier, row.tile) == cut


def compiled(case: Case) -> list[Row]:
    """Return the rows of a case, compiled now."""
    schedule, tile = getattr(cells, case.cell).schedule, tile_of(case)
    of_case = {name: "" if value is None else str(value) for name, value in case._asdict().items()}
    if case.hidden is not None and tile is None:
        return [Row(**of_case, tier="step by step")]
    incoming = frozenset({"h"}) if case.direction == "backward" else frozenset()
    kernels: list[PhaseKernel | PersistentKernel]
    if case.hidden is None or tile is None:
        dtype = "float64" if case.precision == "float64" else "float32"
        of_case["tier"] = "step by step"
        kernels = [*emit(case.cell, case.direction, schedule, dtype, incoming)]
    else:
        dtype = "float32"
        of_case["tier"], of_case["tile"] = described(tile, case.hidden)
        kernels = [emit_persistent(case.cell, case.direction, schedule, Sizes(case.hidden), tile, incoming)]
    return [
        Row(**of_case, kernel=kernel.name, **code) for kernel in kernels for code in _compiled(kernel, dtype)
    ]


@functools.lru_cache(maxsize=8)  # several precisions, or sizes of a batch, often have the same kernel
def _compiled(kernel: PhaseKernel | PersistentKernel, dtype: str) -> list[dict[str, str]]:
    return [
        {name: str(figure) for name, figure in code._asdict().items()} for code in machine_code(kernel, dtype)
    ]


def described(tile: Tile, hidden: int) -> tuple[str, str]:
    """Return the name of a tile's tier, and the tile in words."""
    tier = "block-persistent" if tile.units >= hidden else "grid-persistent"
    usual, rest = tile._field_defaults, tile._asdict()
    size = f"{rest.pop('rows')}x{rest.pop('units')} {rest.pop('warps')} warps"
    others = [
        name if value is True else f"{name} {value}" for name, value in rest.items() if value != usual[name]
    ]
    return tier, " ".join([size, *others])


def versions() -> dict[str, str]:
    """Return the versions of what compiles."""
    return {package: _version(package) for package in _PACKAGES}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # a compiler of another CUDA, or from elsewhere
        return "unknown"


def write(rows: Iterable[Row], path: Path = TABLE) -> None:
    """Write a table, with the versions of what compiled it in its head."""
    text = io.StringIO()
    text.write("# " + ", ".join(f"{name} {version}" for name, version in versions().items()) + "\n")
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(Row._fields)
    lines.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def read(path: Path = TABLE) -> tuple[dict[str, str], list[Row]]:
    """Return the versions and the rows of a table."""
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    of_packages = dict(pair.split() for pair in head.removeprefix("# ").split(", "))
    return of_packages, [Row(**row) for row in csv.DictReader(lines)]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.cuda_table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # Without cells argparse checks the default, [], as if it were one.
    parser.add_argument("cells", nargs="*", choices=(*CELLS, []), metavar="CELL", help="these cells alone")
    parser.add_argument("--missing", action="store_true", help="what the table lacks, or has cut otherwise")
    parser.add_argument("--processes", type=int, default=2, help="how many compile (default 2)")
    options = parser.parse_args(arguments)
    if (why := missing()) is not None:
        print(f"nothing was compiled: {why}")
        return 2
    rows: dict[Case, list[Row]] = {case: [] for case in cases()}
    for row in read()[1] if options.cells or options.missing else []:
        if row.case in rows and row.cell not in options.cells and (options.cells or is_cut_so(row)):
            rows[row.case].append(row)
    chosen = [
        case
        for case, known in rows.items()
        if not known and (not options.cells or case.cell in options.cells)
    ]
    with ProcessPoolExecutor(options.processes) as pool:
        for number, (case, found) in enumerate(
            zip(chosen, pool.map(compiled, chosen, chunksize=4), strict=True), 1
        ):
            rows[case] = found
            print(f"{number} of {len(chosen)}: {' '.join(found[0][:8])}", flush=True)
    write(row for of_case in rows.values() for row in of_case)
    return 0


if __name__ == "__main__":
    sys.exit(main())
