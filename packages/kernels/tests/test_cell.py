"""Cells as objects: regularised, pickled, copied; what they say of themselves."""

import copy
import gc
import pickle
import re
import sys
import weakref

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau.kernels import single_step
from rondeau.kernels.cell import CellError
from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.recurrent.target import source_of
from rondeau.kernels.sequence import Cell, Layout, Regularisers
from rondeau.kernels.stepper import Stepper

from .problem import Problem


def _step(x, r, s, p, *, leak=0.5):
    return leak * s.h + p.gain * m.tanh(x.h + r.h)


module_cell = Cell(_step, ("h",), ("h",), "kept", {"gain": None})


def test_a_cell_knows_its_parameters_scalars_and_matrices(cells):
    one, zero = object(), object()
    cell = Cell(_step, ("h",), ("h",), "cell", {"gain": one})
    assert (cell.params, cell.initialisers, cell.scalars) == (("gain",), {"gain": one}, {"leak": 0.5})
    assert cell.recurrent == ("h",)
    assert cells["menagerie"].recurrent == ("a", "b", "d")
    assert cells["alone"].recurrent == ()
    assert cells["lstm"].scalars == {}
    assert repr(cells["lstm"]) == "Cell(lstm: gates i, f, g, o; states h, c)"
    assert zero is not one


def test_the_same_regularisers_give_the_same_cell(cells):
    cell = cells["lstm"]
    masked = cell.variant(Regularisers(dropout=True))
    assert masked is cell.variant(Regularisers(dropout=True))
    assert masked is not cell
    assert masked is not cell.variant(Regularisers(dropout=True, zoneout=("h",)))
    assert cell.variant(Regularisers()) is cell
    assert masked.variant(Regularisers(dropout=True)) is masked
    assert (masked.name, masked.gates, masked.states) == (cell.name, cell.gates, cell.states)
    assert masked.regularisers == Regularisers(dropout=True)
    assert cell.regularisers == Regularisers()


def test_regularised_cells_keep_parameters_and_projection():
    initialiser = object()
    cell = Cell(_step, ("h",), ("h",), "cell", {"gain": initialiser}, "h")
    masked = cell.variant(Regularisers(dropout=True))
    assert masked.initialisers == {"gain": initialiser}
    assert masked.project == "h"
    assert masked.scalars == {"leak": 0.5}


def test_regularisers_that_read_the_first_state_stand_against_projection(cells):
    assert cells["lstm"].reason_against_projection is None
    assert cells["lstm"].variant(Regularisers(zoneout=("c",))).reason_against_projection is None
    for options in ({"dropout": True}, {"zoneout": ("h",)}):
        assert cells["lstm"].variant(Regularisers(**options)).reason_against_projection


@pytest.mark.parametrize("regularisers", [Regularisers(), Regularisers(True, ("h",))])
def test_a_cell_with_parameters_is_pickled_with_what_it_is_made_of(regularisers):
    cell = module_cell.variant(regularisers)
    assert sys.modules[_step.__module__]._step is _step
    other = pickle.loads(pickle.dumps(cell))
    assert other is not cell
    assert (other.params, other.scalars, other.regularisers) == (cell.params, cell.scalars, cell.regularisers)
    layout = Layout.dense(2, 3)
    ours, theirs = (Problem(c, layout, np.float32).forward().every for c in (cell, other))
    assert_same_bits(ours, theirs)


def test_copies_share_the_cell(cells):
    assert copy.deepcopy(cells["everything"]) is cells["everything"]


@pytest.mark.parametrize("project", ["c", "p"])
def test_only_the_first_state_can_be_projected(project):
    def step(x, r, s):
        return x.h + r.h, s.c

    message = (
        f"cell two: project must be 'h', the state that the recurrent matrices multiply, got '{project}'"
    )
    with pytest.raises(CellError, match=re.escape(message)):
        Cell(step, ("h",), ("h", "c"), "two", {}, project)


def test_the_source_of_every_phase_is_python(cells):
    for cell in cells.values():
        for direction in ("forward", "backward"):
            source = source_of(cell, direction)
            compile(source, "rows", "exec")
            assert source.count("def ") == len(getattr(cell.schedule, direction).phases)


def test_a_cell_that_was_run_is_not_kept_alive():
    """Nor is what was computed about it: by runs, by single steps and by steppers."""

    def run():
        cell = Cell(lambda x, r, s: x.h + r.h, ("h",), ("h",), "sum")
        problem = Problem(cell, Layout.dense(1, 2), np.float64)
        problem.gradients()
        _, saved = single_step.forward(problem.run(), problem.x, problem.weights)
        single_step.backward(problem.run(), saved, problem.d_final)
        Stepper(cell, [problem.weights], problem.settings)(problem.x)
        return weakref.ref(cell)

    cell = run()
    gc.collect()
    assert cell() is None
