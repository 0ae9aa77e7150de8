"""Runs at the precision "medium" against the interpreter, which rounds the same operands and computes in float64."""

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau.kernels.product.tiles import MULTIPLIES_PAIRS
from rondeau.kernels.runtime.precision import float32_matmul_precision

from .interpreter import Interpreter
from .problem import LAYOUTS, Problem, flatten
from .test_tensor_cores import differences, in_bfloat16

pytestmark = pytest.mark.skipif(not MULTIPLIES_PAIRS, reason="the processor does not multiply bfloat16")


def computed(problem, reverse):
    """Return all states after every step, and the gradients of the input and its weight and of the initial states."""
    with float32_matmul_precision("medium"):
        result = problem.forward(reverse)
        gradients = problem.gradients(reverse)
    return [*result.every, gradients.x, gradients.weights.weight_ih, *gradients.initial]


def by_the_interpreter(problem, reverse, rounded=in_bfloat16):
    exact = problem.in_float64()
    x, weight_ih = rounded(exact.x), rounded(exact.weights.weight_ih)
    weights = exact.weights._replace(weight_ih=weight_ih)
    oracle = Interpreter(exact.run(reverse), x, weights, exact.initial, exact.inputs, rounded)
    every = oracle.every
    slots, initial = oracle.backward(exact.d_every, exact.d_final)[:2]
    d_gates = rounded(np.concatenate([slots["x", gate] for gate in problem.cell.gates], axis=1))
    return [*every, d_gates @ weight_ih, d_gates.T @ x, *initial]


@pytest.mark.sampled(24)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("layout", ["dense", "ragged"])
@pytest.mark.parametrize("threads", [1, 7])  # with 7, threads share the units
def test_every_cell_is_the_interpreters(cell, layout, reverse, threads, set_num_threads):
    """A number half way between two of the format may be rounded up here and down there, which shows further on."""
    set_num_threads(threads)
    problem = Problem(cell, LAYOUTS[layout], np.float32)
    found = computed(problem, reverse)
    errors = differences(found, by_the_interpreter(problem, reverse))
    assert np.quantile(errors, 0.8) < 3e-6
    assert errors.max() < 5e-2
    if cell.recurrent:
        of_rounding = differences(found, by_the_interpreter(problem, reverse, np.asarray))
        assert np.quantile(of_rounding, 0.8) > 2e-5


@pytest.mark.parametrize("heads", [1, 3])
def test_threads_change_no_bit(cells, heads, set_num_threads):
    problem = Problem(cells["reset_before"], LAYOUTS["ragged"], np.float32, H=33, heads=heads)
    found = []
    for threads in (1, 2, 7):
        set_num_threads(threads)
        with float32_matmul_precision("medium"):
            found.append([*problem.forward().every, *flatten(problem.gradients())])
    assert_same_bits(found[1], found[0])
    assert_same_bits(found[2], found[0])
