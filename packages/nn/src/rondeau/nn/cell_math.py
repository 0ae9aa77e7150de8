"""The functions that the step of a recurrent cell may call; see `recurrent_cell`."""

from rondeau.kernels.cell.cell_math import *  # noqa: F403
from rondeau.kernels.cell.cell_math import __all__ as __all__
from rondeau.kernels.cell.cell_math import __getattr__ as __getattr__
