"""Explain: a readable description of a cell, from the traced graph to the source that is compiled."""

from __future__ import annotations

import re

from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.cell.timeline import Program
from rondeau.kernels.recurrent.target import source_of

__all__ = ["explain"]


def explain(cell: Cell) -> str:
    """Describe what a cell's step is turned into: its graph, its schedule, and the source of its phases.

    Examples
    --------
    >>> from rondeau.kernels.sequence import Cell
    >>> text = explain(Cell(lambda x, r, s: x.h + r.h, ("h",), ("h",), "sum"))
    >>> print(text[: text.index("3. Source")])
    Cell sum: gates h; states h
    <BLANKLINE>
    1. Graph: what the step computes from its inputs, one operation per line
    <BLANKLINE>
    %0 = input x.h
    %1 = input r.h
    %3 = add %0 %1
    new h = %3
    <BLANKLINE>
    2. Schedule: where products run, and what forward keeps for backward
    <BLANKLINE>
    The input projection of all steps, one product before the first, fills a slot for every gate: h
    Recurrent products of the first state h before the step: h into the gate's slot
    Backward needs nothing from the slots
    <BLANKLINE>
    <BLANKLINE>
    """
    return "\n".join(
        [
            _title(cell),
            "",
            "1. Graph: what the step computes from its inputs, one operation per line",
            "",
            str(cell.graph),
            "",
            "2. Schedule: where products run, and what forward keeps for backward",
            "",
            *_describe_schedule(cell),
            "",
            "3. Source: the compiled phases, forward and backward; slots are reused in place",
            "",
            "\n".join(
                _without_arguments(source_of(cell, direction)) for direction in ("forward", "backward")
            ),
        ]
    )


def _without_arguments(source: str) -> str:
    """Return the source with the arguments of its functions elided: they are the same for all phases."""
    return re.sub(r"^(def \w+)\(.*\):$", r"\1(...):", source, flags=re.MULTILINE)


def _title(cell: Cell) -> str:
    parts = [f"gates {', '.join(cell.gates)}", f"states {', '.join(cell.states)}"]
    parts += [f"parameters {', '.join(cell.params)}"] if cell.params else []
    parts += (
        [f"inputs {', '.join(_of_kind(cell, *item) for item in cell.inputs.items())}"] if cell.inputs else []
    )
    parts += [f"scalars {', '.join(cell.scalars)}"] if cell.scalars else []
    return f"Cell {cell.name}: {'; '.join(parts)}"


def _of_kind(cell: Cell, name: str, kind: str) -> str:
    """Return an input and its kind and form."""
    form = ["one number for all units"] if name in cell.forms.numbers else []
    form += ["without a gradient"] if name in cell.forms.constants else []
    return f"{name} ({', '.join([kind, *form])})"


def _describe_noise(cell: Cell) -> list[str]:
    """Describe the random numbers that the step draws."""
    if not cell.draws:
        return []
    listed = ", ".join(f"{distribution}.{number}" for distribution, number in cell.draws)
    return [f"Random numbers, fresh for every sequence, step and unit, by their position: {listed}"]


def _describe_schedule(cell: Cell) -> list[str]:
    schedule, graph = cell.schedule, cell.graph
    lines = [
        "The input projection of all steps, one product before the first, fills a slot for every gate: "
        + ", ".join(schedule.order)
    ]
    for operand in schedule.operands:
        what = (
            f"the first state {cell.states[0]} before the step"
            if operand.node is None
            else f"%{operand.node}"
            + (f" ({graph.labels[operand.node]})" if operand.node in graph.labels else "")
        )
        slots = [f"{', '.join(operand.joint)} into the gate's slot"] if operand.joint else []
        slots += [f"{', '.join(operand.split)} into a second slot"] if operand.split else []
        lines.append(f"Recurrent products of {what}: {'; '.join(slots)}")
    if not schedule.operands:
        lines.append("No recurrent products: every unit sees only its own past")
    lines += _describe_noise(cell)
    kept = [
        f"{gate if kind == 'x' else f'{gate} (second)'}: %{node} {schedule.graph.nodes[node].op}"
        for (kind, gate), node in schedule.saved.items()
    ]
    lines.append(
        f"Forward leaves in the slots for backward: {'; '.join(kept)}"
        if kept
        else "Backward needs nothing from the slots"
    )
    for direction in ("forward", "backward"):
        lines += _describe_program(direction, getattr(schedule, direction))
    return lines


def _describe_program(direction: str, program: Program) -> list[str]:
    """Describe how a program differs from the simplest case, a single pass over the units."""
    lines = []
    if len(program.phases) > 1:
        lines.append(
            f"{direction.capitalize()} runs in {len(program.phases)} phases, with products between them"
        )
    passes = sum(len(phase.loops) for phase in program.phases)
    if passes > len(program.phases):
        lines.append(f"{direction.capitalize()} makes {passes} passes over the units, with sums between them")
    if program.vectors:
        lines.append(
            f"{direction.capitalize()} computes {len(program.vectors)} values of learned vectors before the batch rows"
        )
    if program.carries:
        lines.append(
            f"{direction.capitalize()} carries {len(program.carries)} values per unit from pass to pass"
        )
    return lines
