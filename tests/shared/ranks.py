"""What tests of ranks need, and where they are skipped."""

import importlib.util

import pytest
from tools.mpi_job import MPIRUN

needs_mpi = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or not MPIRUN.exists(),
    reason="mpi4py and Open MPI are not installed: the extra mpi",
)
