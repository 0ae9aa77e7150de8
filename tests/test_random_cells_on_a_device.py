"""Cells drawn at random on emulated CUDA kernels, forward and backward, against the interpreter of the schedule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packages.kernels.tests.device_parity import arrays_of, on_device, states_and_gradients
from packages.kernels.tests.interpreter import Interpreter
from packages.kernels.tests.problem import LAYOUTS, Problem
from tools.device_arrays import installed
from tools.emulated_target import emulated

from .test_random_cells import DRAWN, programs

pytestmark = pytest.mark.host_only("the test names its devices")


def expected(problem, reverse):
    """Return the states and all gradients by the interpreter, in the order of `found`.

    The interpreter knows no projection, with which they are those of the CPU target.
    """
    if problem.weights.weight_hr is not None:
        return arrays_of(*states_and_gradients(problem, reverse))
    layout, H, heads = problem.layout, problem.d_final[0].shape[1], problem.settings.num_heads
    run = Interpreter(problem.run(reverse), problem.x, problem.weights, problem.initial, problem.inputs)
    states = [*run.every, *run.final]
    slots, d_initial, params, d_inputs = run.backward(problem.d_every, problem.d_final)
    gates = np.concatenate([slots["x", gate] for gate in run.gates], axis=1)
    d_hh = np.zeros_like(problem.weights.weight_hh) if run.schedule.recurrent else None
    d_bias = np.zeros(len(run.schedule.recurrent) * H)
    for operand in run.schedule.operands:
        at_first = operand.node is None
        before = run.states[0][layout.before_rows(reverse)] if at_first else run.values[operand.node]
        for where, of_operand in (("x", operand.joint), ("r", operand.split)):
            for gate in of_operand:
                k = run.schedule.recurrent.index(gate) * H
                full = slots[where, gate].T @ before
                for head in np.split(np.arange(H), heads):
                    d_hh[k + head] = full[np.ix_(head, head)]
                d_bias[k : k + H] = slots[where, gate].sum(0)
    return [
        *states, gates @ problem.weights.weight_ih, *d_initial, gates.T @ problem.x, d_hh, gates.sum(0),
        d_bias, None, *params.values(), *d_inputs.values(),
    ]  # fmt: skip


def found(cupy, problem, reverse):
    """Return the same on the device."""
    return arrays_of(*states_and_gradients(on_device(cupy, problem), reverse))


def error(arrays, wanted, dtype):
    """Return the largest difference, each relative to the largest number of its array, or to 1."""
    largest = 0.0
    for got, right in zip(arrays, wanted, strict=True):
        assert (got is None) == (right is None)
        if right is not None and right.size:
            assert got.dtype == dtype
            largest = max(largest, np.abs(got - right).max() / max(1.0, np.abs(right).max()))
    return largest


def sensitivity(problem, wanted, reverse):
    """Return how far the results move if everything given is rounded to six digits, the most of a few trials."""
    moved, rng = [], np.random.default_rng(0)
    for _ in range(4):
        other = problem.in_float64()
        for array in other.arrays():
            if array is not None:
                array *= 1 + 1e-6 * rng.standard_normal(array.shape)
        moved.append(error(expected(other, reverse), wanted, np.float64))
    return max(moved)


any_cell = given(
    program=programs(),
    H=st.sampled_from([2, 12, 34]),
    layout=st.sampled_from(["dense", "ragged"]),
    reverse=st.booleans(),
    heads=st.sampled_from([1, 2]),
    projected=st.booleans(),
    seed=st.integers(0, 1000),
)


def is_the_interpreters(tier, program, H, layout, reverse, heads, projected, seed):
    cell = program.cell()
    P = H // 2 if projected and heads == 1 and cell.reason_against_projection is None else None
    problem = Problem(cell, LAYOUTS[layout], np.float32, H=H, P=P, heads=heads, seed=seed)
    problem.settings = problem.settings._replace(feature_dropout=0.25)
    exact = problem.in_float64()
    wanted = expected(exact, reverse)
    with installed() as cupy:
        with emulated(tier):
            difference = error(found(cupy, problem, reverse), wanted, np.float32)
        if not difference <= 1e-5:  # near a kink, or chaotic
            assert difference <= 10 * sensitivity(exact, wanted, reverse)
            with emulated():  # no persistent kernel computes in float64
                assert error(found(cupy, exact, reverse), wanted, np.float64) <= 1e-10


tiers = pytest.mark.parametrize("tier", ["stepwise", "persistent"])
test_a_few_are_the_interpreters = tiers(settings(DRAWN, max_examples=3)(any_cell(is_the_interpreters)))
test_many_are_the_interpreters = pytest.mark.long(
    tiers(settings(DRAWN, max_examples=50)(any_cell(is_the_interpreters)))
)
