"""The CUDA target's kernels with the types of a device, compiled for the CPU, against the CPU target."""

import numpy as np
import pytest

from rondeau.kernels.cell import Regularisers
from rondeau.kernels.cuda import compiler
from rondeau.nn import cells as built_in
from typed_target import TypedKernel

from .device_parity import assert_like_the_cpu
from .problem import LAYOUTS, Problem

NAMES = [*built_in.__all__, "fed", "fed_numbers", "operands", "everything", "decaying", "given", "lstm_zoned"]
FEW = ("fed_numbers", "lstm_zoned")


@pytest.fixture
def typed(device_stand_in, monkeypatch):
    monkeypatch.setattr(compiler, "Kernel", TypedKernel)
    return device_stand_in


def drawn():
    """Return all cells in both dtypes, of which a few are no long tests."""
    for name in NAMES:
        for dtype in (np.float32, np.float64):
            few = name in FEW and dtype is np.float32
            yield pytest.param(
                name, dtype, marks=() if few else pytest.mark.long, id=f"{name}-{dtype.__name__}"
            )


@pytest.mark.parametrize(("name", "dtype"), list(drawn()))
def test_typed_kernels_compute_what_the_cpu_does(name, dtype, typed, cells):
    """With noise and zoneout, a batch whose sequences end, and gradients of everything."""
    if name == "lstm_zoned":
        cell = built_in.lstm.variant(Regularisers(dropout=True, zoneout=("h", "c")))
    else:
        cell = cells[name] if name in cells else getattr(built_in, name)
    options = {"P": 3} if name == "lstm_projected" else {}
    # It divides by a state, which must not be near zero.
    options |= {"zero": True} if name == "slstm" else {}
    problem = Problem(cell, LAYOUTS["ragged"], dtype, **options)
    assert_like_the_cpu(typed, problem, reverse=True)
