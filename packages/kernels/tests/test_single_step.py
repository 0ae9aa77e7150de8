"""One step alone: the bits of a run of one step, whoever runs it."""

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau.kernels import single_step
from rondeau.kernels.runtime import precision
from rondeau.kernels.sequence import Layout, Needs, backward, forward

from .problem import Problem, flatten


def both(problem, consume=False, needs=Needs(), initial=True):  # noqa: B008 - immutable
    """Return new states and gradients of a step and of a run of one step, and what the step saved."""
    run, before = problem.run(), problem.initial if initial else None
    states, saved = single_step.forward(run, problem.x, problem.weights, before, problem.inputs)
    result = forward(run, problem.x, problem.weights, before, problem.inputs)
    found = single_step.backward(run, saved, problem.d_final, needs, consume=consume)
    expected = backward(run.cell, result.saved, (), problem.d_final, needs)
    return (*states, *flatten(found)), (*result.final, *flatten(expected)), saved


def is_alone(saved):
    """Return whether the step was one call of a kernel."""
    return type(saved) is single_step._SavedStep


def assert_all_same(found, expected):
    for got, wanted in zip(found, expected, strict=True):
        assert (got is None) == (wanted is None)
        if got is not None:
            assert_same_bits(got, wanted)


@pytest.mark.sampled(60)
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"zero": True}, {"I": 1, "H": 17}], ids=str)
@pytest.mark.parametrize("B", [0, 1, 5])
def test_a_step_alone_has_the_bits_of_a_run(cell, B, options, new_memory_is_nan):
    problem = Problem(cell, Layout.dense(1, B), np.float64, **options)
    found, expected, saved = both(problem)
    assert_all_same(found, expected)
    assert is_alone(saved) == (not cell.regularisers.dropout)
    run = problem.run()
    for consume in (False, True):  # what was saved is as it was after a first backward
        again = single_step.backward(run, saved, problem.d_final, consume=consume)
        assert_all_same(flatten(again), expected[len(cell.states) :])


def test_needs_and_states_that_are_missing(cells):
    problem = Problem(cells["lstm"], Layout.dense(1, 4), np.float64)
    for needs in (Needs(x=False), Needs(weights=False), Needs(initial=False)):
        found, expected, _ = both(problem, needs=needs, initial=needs.x)
        assert_all_same(found, expected)
    problem.d_final = (None, problem.d_final[1])
    found, expected, _ = both(problem)
    assert_all_same(found, expected)


def test_a_state_of_zeros_meets_infinite_weights(cells):
    """Their product is NaN, and so it is not left out."""
    problem = Problem(cells["gru"], Layout.dense(1, 4), np.float64, zero=True)
    problem.weights.weight_hh[0, 0] = np.inf
    with np.errstate(invalid="ignore"):
        found, expected, _ = both(problem)
    assert np.isnan(found[0]).any()
    assert_all_same(found, expected)


@pytest.mark.parametrize("chosen", ["highest", "medium"])
def test_a_step_in_single_precision(cells, chosen):
    problem = Problem(cells["gru"], Layout.dense(1, 33), np.float32, I=20, H=33)
    with precision.float32_matmul_precision(chosen):
        found, expected, _ = both(problem)
    assert_all_same(found, expected)


def test_a_large_step_on_threads_has_the_same_bits(cells, set_num_threads):
    problem = Problem(cells["gru"], Layout.dense(1, 9), np.float64)
    set_num_threads(1)
    found, _, saved = both(problem)
    assert is_alone(saved)
    set_num_threads(3)
    on_threads, _, saved = both(problem)
    assert not is_alone(saved)
    assert_all_same(found, on_threads)


def test_a_step_takes_what_a_run_takes(cells):
    """Arrays that are not in the order of rows are copied, and others refused in the same words."""
    problem = Problem(cells["gru"], Layout.dense(1, 4), np.float64)
    expected, _, _ = both(problem)
    problem.x = np.asfortranarray(problem.x)
    found, _, _ = both(problem)
    assert_all_same(found, expected)
    wide = problem.weights._replace(weight_ih=problem.weights.weight_ih[:, :2])
    with pytest.raises(ValueError, match=r"x must have shape \(4, 2\), got \(4, 3\)"):
        single_step.forward(problem.run(), problem.x, wide)
    with pytest.raises(ValueError, match=r"initial must be one array per state \(h\), got 2"):
        single_step.forward(problem.run(), problem.x, problem.weights, problem.initial * 2)
    _, saved = single_step.forward(problem.run(), np.ascontiguousarray(problem.x), problem.weights)
    with pytest.raises(ValueError, match=r"d_states of h must have shape \(4, 5\), got \(5, 4\)"):
        single_step.backward(problem.run(), saved, (problem.d_final[0].T,))


@pytest.mark.parametrize("alone", [True, False])
def test_saved_values_serve_their_cell_until_they_are_spent(cells, set_num_threads, alone):
    set_num_threads(1 if alone else 3)
    problem = Problem(cells["gru"], Layout.dense(1, 9), np.float64)
    run = problem.run()
    _, saved = single_step.forward(run, problem.x, problem.weights)
    assert is_alone(saved) == alone
    name = "d_states" if alone else "d_final"
    with pytest.raises(ValueError, match=rf"{name} must be one gradient or None per state \(1\), got 0"):
        single_step.backward(run, saved, (), consume=True)
    with pytest.raises(TypeError, match="saved must be what forward returned for cell rnn_tanh"):
        single_step.backward(run._replace(cell=cells["rnn_tanh"]), saved, (None,))
    single_step.backward(run, saved, problem.d_final, consume=True)
    for again in (True, False):
        with pytest.raises(ValueError, match="consume=True before, which spends what forward saved"):
            single_step.backward(run, saved, problem.d_final, consume=again)
