"""Heads, states after every step, checkpoints, truncation, threads that share hidden units, and settings."""

import re

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.cpu import run as cpu_run
from rondeau.kernels.cpu.phases import compiled_phases
from rondeau.kernels.recurrent import reference
from rondeau.kernels.sequence import Cell, Layout, Run, Settings, Weights, backward, forward

from .problem import (
    LAYOUTS,
    Problem,
    assert_agrees,
    assert_gradients_are_torchs,
    differentiate,
    flatten,
    torch_functions,
    torch_leaf,
)


@pytest.fixture(params=[False, True], ids=["forward", "reverse"])
def reverse(request):
    return request.param


# ---------------------------------------------------------------- heads


@pytest.mark.sampled(50)
@pytest.mark.parametrize(("layout", "heads"), [("dense", 2), ("ragged", 3), ("no batch", 6)])
def test_heads_and_all_their_gradients_are_the_references(cell, layout, heads, reverse):
    for options in ({}, {"bias": False, "zero": True}, {"one_hot": True}):
        problem = Problem(cell, LAYOUTS[layout], np.float64, H=6, heads=heads, **options)
        every, final, _ = problem.forward(reverse)
        expected_every, expected_final = problem.reference(reverse=reverse)
        for got, expected in zip((*every, *final), (*expected_every, *expected_final), strict=True):
            assert_agrees(got, expected, np.float64)
        assert_gradients_are_torchs(pytest.importorskip("torch"), problem, reverse, np.float64)


@pytest.mark.parametrize(("H", "heads"), [(64, 4), (66, 2), (51, 3), (16, 16)])
def test_heads_are_one_block_diagonal_matrix(cells, H, heads, reverse):
    for name in ("lstm", "gru", "chained"):
        blocks = Problem(cells[name], Layout.dense(3, 7), np.float64, H=H, heads=heads)
        full = Problem(cells[name], Layout.dense(3, 7), np.float64, H=H)
        size, matrix = H // heads, np.zeros_like(full.weights.weight_hh)
        for row in range(len(matrix)):
            head = row % H // size
            matrix[row, head * size : (head + 1) * size] = blocks.weights.weight_hh[row]
        for field in ("x", "initial", "d_every", "d_final"):
            setattr(full, field, getattr(blocks, field))
        full.weights = blocks.weights._replace(weight_hh=matrix)
        for got, expected in zip(blocks.forward(reverse).every, full.forward(reverse).every, strict=True):
            assert_close(got, expected, rtol=1e-11, atol=1e-12)
        got, expected = blocks.gradients(reverse), full.gradients(reverse)
        d_matrix = expected.weights.weight_hh
        d_blocks = [d_matrix[row, row % H // size * size :][:size] for row in range(len(matrix))]
        expected = expected._replace(weights=expected.weights._replace(weight_hh=np.stack(d_blocks)))
        for ours, theirs in zip(flatten(got), flatten(expected), strict=True):
            if theirs is not None:
                assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("heads", [0, 4, 10, True])
def test_heads_divide_the_hidden_units(cells, heads):
    problem = Problem(cells["lstm"], LAYOUTS["dense"], np.float32)
    with pytest.raises(ValueError, match=f"num_heads must be a divisor of the 5 hidden units, got {heads}"):
        problem.forward(settings=Settings(num_heads=heads))


def test_heads_narrow_the_recurrent_matrix(cells):
    problem = Problem(cells["lstm"], LAYOUTS["dense"], np.float32, H=6)
    with pytest.raises(ValueError, match=re.escape("weight_hh must have shape (24, 3), got (24, 6)")):
        problem.forward(settings=Settings(num_heads=2))


# ---------------------------------------------------------------- states after every step


def test_the_first_state_alone_is_the_output(cell, reverse):
    problem = Problem(cell, LAYOUTS["ragged"], np.float32)
    every, final, _ = problem.forward(reverse)
    output, same_final, _ = problem.forward(reverse, every_state=False)
    assert len(every) == len(cell.states)
    assert len(output) == 1
    assert_same_bits((every[0], *final), (output[0], *same_final))


def test_final_states_are_the_last_of_every(cell, reverse):
    problem = Problem(cell, LAYOUTS["ragged"], np.float64)
    every, final, _ = problem.forward(reverse)
    last = problem.layout.last(reverse)
    assert_same_bits(final, (state[last] for state in every))


def test_the_gradient_of_each_state_counts_alone(cell, reverse):
    """Backward is linear in the cotangents: those of single states add up to those of all."""
    problem = Problem(cell, LAYOUTS["ragged"], np.float64)
    saved = problem.forward(reverse).saved
    K = len(cell.states)
    whole = backward(cell, saved, problem.d_every, problem.d_final)
    parts = [
        backward(cell, saved, tuple(problem.d_every[i] if i == k else None for i in range(K)), (None,) * K)
        for k in range(K)
    ]
    parts.append(backward(cell, saved, (), problem.d_final))
    for total, *terms in zip(flatten(whole), *map(flatten, parts), strict=True):
        if total is not None:
            assert_close(sum(terms), total, rtol=1e-10, atol=1e-10)


# ---------------------------------------------------------------- checkpoints


@pytest.mark.parametrize("layout", ["dense", "ragged"])
@pytest.mark.parametrize(
    "options", [{}, {"one_hot": True}, {"zero": True}], ids=["plain", "one-hot", "from zero"]
)
def test_checkpoints_give_the_same_bits(cell, layout, options, reverse):
    P = None if cell.reason_against_projection else 4
    problem = Problem(cell, LAYOUTS[layout], np.float32, H=20, P=P, **options)
    plain = problem.forward(reverse)
    expected = [*plain.every, *plain.final, *flatten(problem.gradients(reverse))]
    for steps in range(1, problem.layout.num_steps + 2):
        result = problem.forward(reverse, recompute_every=steps)
        gradients = [backward(cell, result.saved, problem.d_every, problem.d_final) for _ in range(2)]
        for found in gradients:
            assert_same_bits(expected, [*result.every, *result.final, *flatten(found)])


@pytest.mark.parametrize("steps", [2, 5])
def test_checkpoints_give_the_same_bits_at_sizes_of_several_tiles(cells, steps, reverse, set_num_threads):
    set_num_threads(3)
    layout = Layout.packed([13, 13, 12, 9, 9, 5, 2, 1, 1])
    for name in ("lstm", "chained", "everything"):
        problem = Problem(cells[name], layout, np.float32, I=33, H=70)
        expected = flatten(problem.gradients(reverse))
        assert_same_bits(expected, flatten(problem.gradients(reverse, recompute_every=steps)))


def test_checkpoints_with_heads_and_missing_cotangents(cells, reverse):
    problem = Problem(cells["chained"], LAYOUTS["ragged"], np.float64, H=6, heads=3)
    cell = problem.cell
    for d_every, d_final in (((), problem.d_final), (problem.d_every[:1], (None, None))):
        plain, pieces = (
            backward(cell, problem.forward(reverse, recompute_every=k).saved, d_every, d_final)
            for k in (None, 3)
        )
        assert_same_bits(flatten(plain), flatten(pieces))


def test_checkpoints_save_states_only_and_consume_spends(cells):
    problem = Problem(cells["lstm"], LAYOUTS["dense"], np.float32)
    saved = problem.forward(recompute_every=2).saved
    backward(problem.cell, saved, problem.d_every, problem.d_final, consume=True)
    with pytest.raises(ValueError, match="consume=True before"):
        backward(problem.cell, saved, problem.d_every, problem.d_final)


@pytest.mark.parametrize("steps", [0, -1, True])
def test_checkpoints_are_some_steps_apart(cells, steps):
    problem = Problem(cells["lstm"], LAYOUTS["dense"], np.float32)
    with pytest.raises(
        ValueError, match=f"recompute_every must be a number of steps, at least 1, got {steps}"
    ):
        problem.forward(recompute_every=steps)


# ---------------------------------------------------------------- truncation


def windowed_gradients(torch, problem, earlier, reverse):
    """For every row run the reference from the detached states so many steps before it; add up what its loss says."""
    x, *initial = (torch_leaf(torch, array) for array in (problem.x, *problem.initial))
    *arrays, params = problem.weights
    weights = Weights(
        *(torch_leaf(torch, array) for array in arrays), tuple(torch_leaf(torch, array) for array in params)
    )
    inputs = [torch_leaf(torch, array) for array in problem.inputs]
    layout, functions = problem.layout, torch_functions(torch)
    kept = [torch_leaf(torch, state).detach() for state in problem.reference(reverse=reverse)[0]]
    previous, last, loss = layout.previous(reverse), layout.last(reverse), 0
    for row in range(layout.num_rows):
        window = [row]
        while len(window) <= earlier and previous[window[0]] >= 0:
            window.insert(0, int(previous[window[0]]))
        before, b = int(previous[window[0]]), int(layout.batch_rows[row])
        states = [
            s[before : before + 1] if before >= 0 else i[b : b + 1]
            for s, i in zip(kept, initial, strict=True)
        ]
        if before < 0 and len(window) == earlier + 1:
            states = [state.detach() for state in states]  # it lies more steps back than the window reaches
        for at in window:
            step = Run(problem.cell, layout.of_rows(np.array([at])), settings=problem.settings)
            of_step = [
                array[at : at + 1] if kind == "step" else array[b : b + 1]
                for kind, array in zip(problem.cell.inputs.values(), inputs, strict=True)
            ]
            states = reference.run(step, functions, x[at : at + 1], weights, tuple(states), of_step)[1]
        cotangents = [
            d[row] + (f[b] if row in last else 0)
            for d, f in zip(problem.d_every, problem.d_final, strict=True)
        ]
        for state, cotangent in zip(states, cotangents, strict=True):
            loss = loss + (state[0] * torch.from_numpy(np.asarray(cotangent))).sum()
    constants = problem.cell.forms.constants
    varying = [leaf for name, leaf in zip(problem.cell.inputs, inputs, strict=True) if name not in constants]
    return differentiate(torch, loss, (x, *initial, *weights[:-1], *weights.params, *varying))


@pytest.mark.sampled(70)
@pytest.mark.parametrize("layout", ["dense", "ragged"])
@pytest.mark.parametrize("earlier", [0, 1, 2])
def test_truncation_reruns_from_detached_states(cell, layout, earlier, reverse):
    torch = pytest.importorskip("torch")
    P = None if cell.reason_against_projection else 4
    for options in ({"P": P}, {"zero": True, "one_hot": True}):
        problem = Problem(cell, LAYOUTS[layout], np.float64, **options)
        expected = windowed_gradients(torch, problem, earlier, reverse)
        for got, wanted in zip(flatten(problem.gradients(reverse, truncate=earlier)), expected, strict=True):
            if wanted is None:
                assert got is None
            else:
                assert_close(got, wanted, rtol=1e-10, atol=1e-11)


def test_truncation_with_heads(cells, reverse):
    torch = pytest.importorskip("torch")
    problem = Problem(cells["chained"], LAYOUTS["ragged"], np.float64, H=6, heads=2)
    expected = windowed_gradients(torch, problem, 1, reverse)
    for got, wanted in zip(flatten(problem.gradients(reverse, truncate=1)), expected, strict=True):
        if wanted is None:
            assert got is None
        else:
            assert_close(got, wanted, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_truncation_of_no_consequence(cell, layout, reverse):
    problem = Problem(cell, LAYOUTS[layout], np.float64)
    T = problem.layout.num_steps
    for earlier in (T, T + 3):
        for got, expected in zip(
            flatten(problem.gradients(reverse, truncate=earlier)),
            flatten(problem.gradients(reverse)),
            strict=True,
        ):
            if expected is None:
                assert got is None
            else:
                assert_close(got, expected, rtol=1e-10, atol=1e-11)


def test_truncation_by_hand():
    """The texts' h = tanh(.8 h + x) from .5 over three steps, L = sum of h**2 / 2: dL/dw for earlier steps."""
    cell = Cell(lambda x, r, s: m.tanh(x.h + r.h), ("h",), ("h",), "rnn")
    x, one = np.array([[1.0], [-0.5], [0.25]]), np.ones((1, 1))
    for earlier, expected in ((0, 0.337930), (1, 0.580040), (2, 0.602023), (9, 0.602023)):
        run = Run(cell, Layout.dense(3, 1), truncate=earlier)
        result = forward(run, x, Weights(one, 0.8 * one), (0.5 * one,))
        gradients = backward(cell, result.saved, result.every, (None,))
        assert gradients.weights.weight_hh.item() == pytest.approx(expected, abs=5e-7)


def test_backward_leaves_a_truncated_run_as_it_was(cells):
    problem = Problem(cells["chained"], LAYOUTS["ragged"], np.float32)
    saved = problem.forward(truncate=1).saved
    first, again = (
        flatten(backward(problem.cell, saved, problem.d_every, problem.d_final)) for _ in range(2)
    )
    assert_same_bits(first, again)


def test_truncation_is_checked(cells):
    problem = Problem(cells["lstm"], LAYOUTS["dense"], np.float32)
    message = (
        "truncate must be a number of earlier steps, at least 0, in a run without recompute_every, got {}"
    )
    for truncate in (-1, True):
        with pytest.raises(ValueError, match=message.format(truncate)):
            problem.gradients(truncate=truncate)
    with pytest.raises(ValueError, match=message.format(2)):
        problem.gradients(recompute_every=2, truncate=2)


# ---------------------------------------------------------------- no initial states


def test_no_initial_states_are_zeros(cell, reverse):
    for options in ({}, {"recompute_every": 2}, {"truncate": 1}):
        problem = Problem(cell, LAYOUTS["ragged"], np.float32)
        problem.initial = tuple(map(np.zeros_like, problem.initial))  # and none of them -0.0
        given, gradients = problem.forward(reverse, **options), problem.gradients(reverse, **options)
        problem.initial = None
        left_out = problem.forward(reverse, **options)
        assert_same_bits((*left_out.every, *left_out.final), (*given.every, *given.final))
        assert_same_bits(flatten(problem.gradients(reverse, **options)), flatten(gradients))


# ---------------------------------------------------------------- threads that share hidden units


@pytest.mark.sampled(40)
@pytest.mark.parametrize(
    "layout", [Layout.dense(5, 2), Layout.packed([2, 2, 1, 1]), Layout.packed([1, 1, 1])]
)
@pytest.mark.parametrize(("H", "heads"), [(70, 1), (66, 3), (16, 1)])
def test_threads_that_share_units_give_the_bits_of_one(
    cell, layout, H, heads, reverse, set_num_threads, monkeypatch
):
    monkeypatch.setattr(cpu_run, "UNITS_FROM", 0)
    problem = Problem(cell, layout, np.float32, I=20, H=H, heads=heads, zero=heads == 3)
    results = []
    for n in (1, 3, 4):
        set_num_threads(n)
        every, final, _ = problem.forward(reverse)
        results.append([*every, *final, *flatten(problem.gradients(reverse))])
    for other in results[1:]:
        assert_same_bits(results[0], other)


def test_rows_with_few_units_are_shared_too(cells, set_num_threads, monkeypatch):
    """The batch is shared where it has a row for every thread, units where it has not."""
    launches = []
    launch_of = cpu_run._launch_of

    def record(*arguments):
        launches.append(launch_of(*arguments))
        return launches[-1]

    monkeypatch.setattr(cpu_run, "_launch_of", record)
    set_num_threads(3)
    for units_from, batch, expected in ((0, 2, True), (0, 3, False), (10**9, 2, False)):
        monkeypatch.setattr(cpu_run, "UNITS_FROM", units_from)
        Problem(cells["lstm"], Layout.dense(2, batch), np.float32).forward()
        assert (launches[-1].shares, launches[-1].by_units) == (3, expected)
    monkeypatch.setattr(cpu_run, "UNITS_FROM", 0)
    Problem(cells["lstm"], Layout.dense(2, 2), np.float32, P=4).forward()
    assert (launches[-1].shares, launches[-1].by_units) == (3, False)


# ---------------------------------------------------------------- scalars, learned vectors, random numbers


def test_scalars_have_defaults_and_do_not_compile_again(cells):
    problem = Problem(cells["leaky"], LAYOUTS["dense"], np.float64)
    default = problem.forward(settings=Settings())
    phases = compiled_phases(problem.cell, "forward", np.dtype(np.float64))
    assert_same_bits(default.every, problem.forward().every)
    problem.settings = Settings({("k", "leak"): 1.0, ("k", "shift"): 0.0})
    every = problem.forward().every
    assert_close(every[0], problem.reference()[0][0], rtol=1e-11)
    assert np.abs(every[0] - default.every[0]).max() > 0.1
    assert compiled_phases(problem.cell, "forward", np.dtype(np.float64)) is phases


def test_scalars_are_checked(cells):
    problem = Problem(cells["leaky"], LAYOUTS["dense"], np.float64)
    with pytest.raises(
        ValueError, match="cell leaky must be given the scalars leak, shift and its zoneout rates, got leek"
    ):
        problem.forward(settings=Settings({("k", "leek"): 1.0}))
    problem = Problem(cells["lstm_zoneout"], LAYOUTS["dense"], np.float64)
    with pytest.raises(ValueError, match="besides them and nothing for h, c"):
        problem.forward(settings=Settings())
    problem = Problem(cells["lstm"], LAYOUTS["dense"], np.float64)
    with pytest.raises(
        ValueError, match="cell lstm must be given the scalars none and its zoneout rates, got leak"
    ):
        problem.forward(settings=Settings({("k", "leak"): 1.0}))


def test_learned_vectors_are_checked(cells):
    problem = Problem(cells["peephole"], LAYOUTS["dense"], np.float32)
    forget, output = problem.weights.params
    for params, error, message in (
        ((forget,), ValueError, "params must be 2 vectors (forget, output), got 1"),
        ((forget, output[1:]), ValueError, "output must have shape (5,), got (4,)"),
        ((forget, output.astype(np.float64)), TypeError, "output must be float32"),
    ):
        problem.weights = problem.weights._replace(params=params)
        with pytest.raises(error, match=re.escape(message)):
            problem.forward()


def test_a_cell_without_recurrent_matrices_takes_none(cells):
    problem = Problem(cells["alone"], LAYOUTS["dense"], np.float32)
    assert problem.weights.weight_hh is None
    problem.weights = problem.weights._replace(weight_hh=np.zeros((0, 5), np.float32))
    with pytest.raises(
        ValueError, match=r"weight_hh must be None, because cell alone reads .* of 0 gates; got an array"
    ):
        problem.forward()
    problem = Problem(cells["lstm"], LAYOUTS["dense"], np.float32)
    problem.weights = problem.weights._replace(weight_hh=None)
    with pytest.raises(
        ValueError, match=re.escape("weight_hh must be an array of shape (20, 5), because cell lstm reads")
    ):
        problem.forward()


@pytest.mark.parametrize(
    "name", ["lstm_dropout", "reset_before_dropout", "lstm_zoneout", "fed", "fed_numbers"]
)
def test_random_numbers_depend_on_the_place_alone(cells, name, reverse):
    """A sequence gives the bits that it gives in another batch, at another row, begun at another time."""
    cell = cells[name]
    whole = Problem(cell, Layout.dense(6, 4), np.float32)
    every, _, _ = whole.forward(reverse)
    rows = np.arange(2, 6)[:, None] * 4 + [3, 1]  # sequences 3 and 1 from step 2 on
    layout = Layout.packed([2] * 4, origins=[3, 1], first_steps=[2, 2])
    if reverse:
        initial = tuple(state[[3, 1]] for state in whole.initial)
    else:
        initial = tuple(state[4:8][[3, 1]] for state in every)
    run = Run(cell, layout, reverse, whole.settings)
    inputs = whole.inputs_at(rows.ravel(), [3, 1])
    ours = forward(run, whole.x[rows.ravel()], whole.weights, initial, inputs, every_state=True)
    assert_same_bits(ours.every, (state[rows.ravel()] for state in every))


def test_another_key_or_stream_draws_other_numbers(cells):
    for name in ("lstm_dropout", "lstm_zoneout"):
        problem = Problem(cells[name], LAYOUTS["dense"], np.float32)
        outputs = [
            problem.forward(settings=problem.settings._replace(**change)).every[0]
            for change in ({}, {"key": 1}, {"substream": 0})
        ]
        assert np.abs(outputs[0] - outputs[1]).max() > 1e-3
        assert np.abs(outputs[0] - outputs[2]).max() > 1e-3


def test_rates_of_zero_change_nothing_and_zoneout_of_one_keeps_the_state(cells):
    plain = Problem(cells["lstm"], LAYOUTS["ragged"], np.float64)
    for name in ("lstm_dropout", "lstm_zoneout"):
        none = Problem(cells[name], LAYOUTS["ragged"], np.float64)
        none.settings = Settings({("rate", "h"): 0.0, ("rate", "c"): 0.0}, dropout=0.0)
        for ours, theirs in zip(none.forward().every, plain.forward().every, strict=True):
            assert_close(ours, theirs, rtol=1e-12)
    kept = Problem(cells["lstm_zoneout"], LAYOUTS["ragged"], np.float64)
    kept.settings = Settings({("rate", "h"): 1.0, ("rate", "c"): 1.0})
    assert_same_bits(kept.forward().final, kept.initial)


def test_dropout_of_one_leaves_the_biases_alone(cells):
    problem = Problem(cells["lstm_dropout"], LAYOUTS["dense"], np.float64)
    problem.settings = problem.settings._replace(dropout=1.0)
    silent = Problem(cells["lstm"], LAYOUTS["dense"], np.float64)
    silent.weights = problem.weights._replace(weight_hh=0 * problem.weights.weight_hh)
    for ours, theirs in zip(problem.forward().every, silent.forward().every, strict=True):
        assert_close(ours, theirs, rtol=1e-12)
