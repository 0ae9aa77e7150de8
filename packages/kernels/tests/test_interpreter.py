"""The interpreter of the schedule against the reference and against the CPU target."""

import numpy as np
import pytest

from comparing import assert_close
from rondeau.kernels.sequence import Layout

from .interpreter import Interpreter
from .problem import LAYOUTS, Problem, flatten

RAGGED = LAYOUTS["ragged"]


@pytest.fixture(params=[False, True], ids=["forward", "reverse"])
def reverse(request):
    return request.param


def close(got, expected):
    assert_close(got, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.sampled(36)
@pytest.mark.parametrize("layout", [RAGGED, Layout.dense(3, 2)], ids=["ragged", "dense"])
def test_the_schedule_computes_what_the_reference_does_and_the_target_what_the_schedule_says(
    cell, layout, reverse
):
    problem = Problem(cell, layout, np.float64, I=3, H=6)
    run = problem.run(reverse)
    found = Interpreter(run, problem.x, problem.weights, problem.initial, problem.inputs)
    every, final = problem.reference(reverse=reverse)
    ours = problem.forward(reverse)
    for a, b, c in zip(
        (*found.every, *found.final), (*every, *final), (*ours.every, *ours.final), strict=True
    ):
        close(a, b)
        close(c, a)
    slots, d_initial, d_params, d_inputs = found.backward(problem.d_every, problem.d_final)
    gradients = problem.gradients(reverse)
    matrices = np.split(problem.weights.weight_ih, len(cell.gates))
    d_x = sum(slots["x", gate] @ matrix for gate, matrix in zip(cell.gates, matrices, strict=True))
    close(gradients.x, d_x)
    for a, b in zip(gradients.initial, d_initial, strict=True):
        close(a, b)
    for a, name in zip(gradients.weights.params, cell.params, strict=True):
        close(a, d_params[name])
    for a, name in zip(gradients.inputs, cell.inputs, strict=True):
        if a is not None:
            close(a, d_inputs[name])


def test_heads(cells, reverse):
    problem = Problem(cells["lstm"], RAGGED, np.float64, I=3, H=6, heads=3)
    found = Interpreter(problem.run(reverse), problem.x, problem.weights, problem.initial)
    for a, b in zip(found.every, problem.forward(reverse).every, strict=True):
        close(a, b)


def test_a_schedule_that_is_wrong_is_found(cells):
    """Of a GRU whose slots were exchanged the interpreter disagrees with the reference, and with no target."""
    problem = Problem(cells["gru"], RAGGED, np.float64, I=3, H=6)
    schedule = problem.cell.schedule
    wrong = dict(zip(schedule.leaves, reversed(schedule.leaves.values()), strict=True))
    spoilt = type(schedule)(
        schedule.graph, schedule.operands, schedule.apart, wrong, schedule.saved, schedule.adjoints,
        schedule.state_adjoints, schedule.param_adjoints, schedule.input_adjoints,
    )  # fmt: skip
    found = Interpreter(problem.run(), problem.x, problem.weights, problem.initial)
    right = found.every[0]
    problem.cell.__dict__["schedule"] = spoilt
    try:
        found = Interpreter(problem.run(), problem.x, problem.weights, problem.initial)
    finally:
        problem.cell.__dict__["schedule"] = schedule
    assert np.abs(found.every[0] - right).max() > 1e-3


def test_gradients_of_weights_follow_from_the_slots(cells):
    problem = Problem(cells["lstm"], RAGGED, np.float64, I=3, H=6)
    found = Interpreter(problem.run(), problem.x, problem.weights, problem.initial)
    slots, *_ = found.backward(problem.d_every, problem.d_final)
    d_ih = np.concatenate([slots["x", gate].T @ problem.x for gate in problem.cell.gates])
    close(flatten(problem.gradients())[3], d_ih)
