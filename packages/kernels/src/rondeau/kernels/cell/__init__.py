"""The language of cells: trace a step, derive its backward, schedule both. No array in sight."""

from rondeau.kernels.cell.derive import derive
from rondeau.kernels.cell.schedule import Schedule, schedule
from rondeau.kernels.cell.trace import CellError, Graph, Node, Regularisers, Symbol, trace

__all__ = ["CellError", "Graph", "Node", "Regularisers", "Schedule", "Symbol", "derive", "schedule", "trace"]
