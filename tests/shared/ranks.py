"""What tests of ranks need, and where they are skipped."""

import importlib.util

import pytest
from tools.mpi_job import MPIRUN, is_open_mpi

HAS_MPI = importlib.util.find_spec("mpi4py") is not None and MPIRUN.exists()

needs_mpi = pytest.mark.skipif(not HAS_MPI, reason="mpi4py and Open MPI are not installed: the extra mpi")

needs_ulfm = pytest.mark.skipif(
    not (HAS_MPI and is_open_mpi()), reason="ranks survive the death of others with Open MPI alone"
)
