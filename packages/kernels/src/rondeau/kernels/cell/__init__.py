"""The cell language: trace a step, derive its backward, schedule both. Nothing here touches an array."""

from rondeau.kernels.cell.derive import derive
from rondeau.kernels.cell.errors import CellError
from rondeau.kernels.cell.graph import Graph
from rondeau.kernels.cell.input_forms import InputForms
from rondeau.kernels.cell.regularisers import Regularisers
from rondeau.kernels.cell.schedule import Schedule, make_schedule
from rondeau.kernels.cell.signature import check_all_are_read, scalars_of
from rondeau.kernels.cell.trace import trace

__all__ = [
    "CellError",
    "Graph",
    "InputForms",
    "Regularisers",
    "Schedule",
    "check_all_are_read",
    "derive",
    "make_schedule",
    "scalars_of",
    "trace",
]
