"""The page of the plan: what kernels of all steps should take, and beside it what they took where it was measured.

    python -m tools.cuda_page

Writes the tables of docs/explanation/gpu_kernels.md between their marks: predictions from `tools.cuda_plan`, and
measurements from docs/explanation/data/cuda.json, if that is there. `make bench-cuda` runs it after the measurements;
after a change of the model or of the choice of tiles it is run by hand, and the change of the predictions shows in
review. `tools/tests/test_cuda_page.py` holds the page to it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rondeau.kernels.runtime.precision import OPERANDS

from .cuda_check.bars import Measurements, bars
from .cuda_check.speed import PUBLISHED
from .cuda_check.workloads import BATCH_SIZES, FORMATS, HIDDEN, KINDS
from .cuda_plan import A100, GPU, H200, Plan, Stepwise, plan_of, stepwise

__all__ = ["MEASUREMENTS", "PAGE", "filled", "written"]

_EXPLANATION = Path(__file__).parents[1] / "docs/explanation"
PAGE, MEASUREMENTS = _EXPLANATION / "gpu_kernels.md", _EXPLANATION / "data/cuda.json"
_STEPS = 1024
_SIZES = [
    *itertools.product(("lstm", "gru"), HIDDEN, BATCH_SIZES),
    *((cell, hidden, 32) for cell in KINDS if cell not in ("lstm", "gru") for hidden in HIDDEN),
]
_EARLIER = (
    (64, 16, "forward", 0.9, ""),
    (256, 32, "forward", 2.0, 1.9),
    (512, 32, "forward", 3.3, 2.0),
    (512, 32, "backward", 3.2, 2.5),
    (512, 64, "forward", 5.2, 2.0),
    (512, 64, "backward", 4.9, 2.5),
    (1024, 32, "forward", 10.2, 2.5),
    (1024, 32, "backward", 7.9, 6.0),
    (1024, 64, "forward", 18.9, 3.6),
)
"""Predictions of an LSTM on an H200 from the machine code of kernels that came before these: float32, and TF32."""
_ROWS = [(*size, direction) for size in _SIZES for direction in ("forward", "backward")]


def filled(page: str, measured: Measurements) -> str:
    """Return a page with everything between its marks written again.

    Parameters
    ----------
    page : str
        With a line ``<!-- NAME: ... -->`` before, and ``<!-- end of NAME -->`` after each of the parts of `_PARTS`.
    measured : Measurements

    Raises
    ------
    ValueError
        If the page lacks the marks of a part.
    """
    for name, part in _PARTS.items():
        begin, end = rf"<!-- {name}: [^\n]* -->\n", rf"<!-- end of {name} -->\n"
        pieces = re.split(rf"({begin}).*?({end})", page, flags=re.DOTALL)
        if len(pieces) != 4:
            count = (len(pieces) - 1) // 3
            raise ValueError(f"the page should have the marks of {name!r} once, it has them {count} times")
        before, first, last, after = pieces
        page = f"{before}{first}\n{part(measured)}\n\n{last}{after}"
    return page


def written(page: Path = PAGE, measurements: Path = MEASUREMENTS) -> None:
    """Write a page's parts again, in place."""
    text = filled(page.read_text(encoding="utf-8"), Measurements(measurements))
    page.write_text(text, encoding="utf-8")


def _state(measured: Measurements) -> str:
    if not measured.exist:
        return (
            "**Nothing on this page has been measured yet**: no GPU was at hand. The columns for measurements are "
            "empty\nuntil `make bench-cuda` has run on a machine with one; it is the one command that fills them."
        )
    machine = ", ".join(f"{name} {value}" for name, value in measured.machine.items())
    return f"The measurements are of this machine: {machine}.\n`make bench-cuda` repeats them."


def _needs(measured: Measurements) -> str:
    head = ["cell", "H", "B", "", "groups x blocks", "rows x units"]
    head += ["Mflop", "memory", "exchanged", "barriers", "floor", "issue"]
    return _table(head, (_need(*row) for row in _ROWS))


def _need(cell: str, hidden: int, batch_size: int, direction: str) -> list[Any]:
    row: list[Any] = [cell, hidden, batch_size, direction]
    plan = plan_of(cell, direction, hidden, batch_size)
    if plan is None:
        steps = stepwise(cell, direction, hidden, batch_size)
        return [*row, "step by step", "", *_amounts(steps), "", "", f"{steps.floor:.2f}", ""]
    return [
        *row, f"{plan.groups} x {plan.blocks}", f"{plan.tile.rows} x {plan.tile.units}", *_amounts(plan),
        f"{plan.exchanged / 1024:.0f}", plan.barriers, f"{plan.floor:.2f}", f"{plan.issuing:.2f}",
    ]  # fmt: skip


def _amounts(plan: Plan | Stepwise) -> list[str]:
    return [f"{plan.flops / 1e6:.1f}", f"{plan.memory / 1024:.0f}"]


def _times(measured: Measurements) -> str:
    columns = [f"{FORMATS[precision]}, {kind}" for precision in OPERANDS for kind in ("p.", "m.")]
    head = ["cell", "H", "B", "", *columns, "A100, float32, p."]
    return _table(head, (_time(measured, *row) for row in _ROWS))


def _time(measured: Measurements, cell: str, hidden: int, batch_size: int, direction: str) -> list[Any]:
    row: list[Any] = [cell, hidden, batch_size, direction]
    workload = {
        "kind": KINDS[cell],
        "hidden": hidden,
        "batch": batch_size,
        "steps": _STEPS,
        "library": "rondeau",
    }
    for precision in OPERANDS:
        time = measured.time(f"{direction} kernel", precision=precision, **workload)
        row += [_predicted(cell, direction, hidden, batch_size, H200, precision), _bold(time)]
    return [*row, _predicted(cell, direction, hidden, batch_size, A100, "highest")]


def _predicted(cell: str, direction: str, hidden: int, batch_size: int, gpu: GPU, precision: str) -> str:
    plan = plan_of(cell, direction, hidden, batch_size, gpu, precision)
    if plan is None:
        return f"({stepwise(cell, direction, hidden, batch_size, gpu).predicted:.0f})"
    return f"{plan.predicted:.1f}"


def _earlier(measured: Measurements) -> str:
    rows = []
    for hidden, batch_size, direction, *others in _EARLIER:
        row: list[Any] = [hidden, batch_size, direction]
        for precision, other in zip(OPERANDS, others, strict=False):
            row += [other, _predicted("lstm", direction, hidden, batch_size, H200, precision)]
        rows.append(row)
    return _table(["H", "B", "", "float32, earlier", "float32, now", "TF32, earlier", "TF32, now"], rows)


def _layers(measured: Measurements) -> str:
    head = ["", "H", "B"]
    head += [
        f"{FORMATS[precision]}, {what}" for precision in OPERANDS for what in ("ours", "PyTorch", "ratio")
    ]
    rows = [row for row in _of_layers(measured) if any(row[3:])]
    return _table(head, rows) if rows else "(Its rows come with the measurements.)"


def _of_layers(measured: Measurements) -> Iterator[list[Any]]:
    for cell, hidden, batch_size in itertools.product(("lstm", "gru"), HIDDEN, BATCH_SIZES):
        row: list[Any] = [KINDS[cell], hidden, batch_size]
        for precision in OPERANDS:
            workload = {
                "kind": KINDS[cell], "hidden": hidden, "batch": batch_size, "steps": _STEPS, "precision": precision
            }  # fmt: skip
            times = [measured.time("both", library=library, **workload) for library in ("rondeau", "torch")]
            row += [*map(_bold, times), _bold(measured.ratio("both", workload, {}))]
        yield row


def _bold(number: float | None) -> str:
    return "" if number is None else f"**{number:.2f}**"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


_PARTS: dict[str, Callable[[Measurements], str]] = {
    "state": _state,
    "needs": _needs,
    "times": _times,
    "earlier": _earlier,
    "bars": lambda measured: _table(["", "bar", "measured"], bars(measured)),
    "layers": _layers,
    "published": lambda measured: _table(["", "forward", "with backward"], PUBLISHED),
}

if __name__ == "__main__":
    written()
