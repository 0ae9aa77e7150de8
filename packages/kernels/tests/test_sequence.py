"""Sequences of every cell against the NumPy reference, central differences, and PyTorch."""

import re

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.sequence import Cell, Layout, Needs, Run, Weights, backward, forward

from .problem import LAYOUTS, Problem, assert_agrees, assert_gradients_are_torchs, flatten


@pytest.fixture(params=[False, True], ids=["forward", "reverse"])
def reverse(request):
    return request.param


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_forward_is_the_reference(cell, layout, dtype, reverse):
    for options in ({}, {"bias": False, "zero": True}, {"one_hot": True}, {"I": 0}):
        problem = Problem(cell, LAYOUTS[layout], dtype, **options)
        every, final, _ = problem.forward(reverse)
        expected_every, expected_final = problem.reference(reverse=reverse)
        for got, expected in zip((*every, *final), (*expected_every, *expected_final), strict=True):
            assert_agrees(got, expected, dtype)


@pytest.mark.parametrize("layout", ["dense", "ragged"])
def test_gradients_are_central_differences_of_every_element(cell, layout, reverse):
    problem = Problem(cell, LAYOUTS[layout], np.float64, I=2, H=3, seed=3)
    for gradient, array in zip(flatten(problem.gradients(reverse)), problem.arrays(), strict=True):
        if array is None:
            assert gradient is None
            continue
        flat, step = array.reshape(-1), 1e-6
        differences = np.empty_like(flat)
        for i, value in enumerate(flat.tolist()):
            flat[i] = value + step
            above = problem.loss(reverse)
            flat[i] = value - step
            differences[i] = (above - problem.loss(reverse)) / (2 * step)
            flat[i] = value
        assert_close(gradient.reshape(-1), differences, rtol=1e-6, atol=1e-6)


@pytest.mark.sampled(120)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_are_torchs(cell, layout, dtype, reverse):
    torch = pytest.importorskip("torch")
    for options in (
        {},
        {"bias": False, "zero": True},
        {"one_hot": True},
        {"one_hot": True, "I": 50},
        {"I": 0},
    ):
        problem = Problem(cell, LAYOUTS[layout], dtype, **options)
        assert_gradients_are_torchs(torch, problem, reverse, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("P", [1, 4, 9])
def test_projection_and_all_its_gradients_are_torchs(cells, layout, P, dtype, reverse):
    torch = pytest.importorskip("torch")
    for options in ({}, {"bias": False, "zero": True}):
        problem = Problem(cells["lstm"], LAYOUTS[layout], dtype, P=P, **options)
        every, final, _ = problem.forward(reverse)
        expected_every, expected_final = problem.reference(reverse=reverse)
        for got, expected in zip((*every, *final), (*expected_every, *expected_final), strict=True):
            assert_agrees(got, expected, dtype)
        assert_gradients_are_torchs(torch, problem, reverse, dtype)


MODULES = {
    "rnn_tanh": ("RNN", {}),
    "rnn_relu": ("RNN", {"nonlinearity": "relu"}),
    "gru": ("GRU", {}),
    "lstm": ("LSTM", {}),
}


@pytest.mark.parametrize("layout", ["dense", "ragged"])
@pytest.mark.parametrize(("name", "P"), [*((name, None) for name in MODULES), ("lstm", 7)])
def test_built_in_layers_are_torchs(cells, name, layout, P):
    """Outputs, final states and all gradients of torch's own layers, both directions, at sizes across the tiles."""
    torch = pytest.importorskip("torch")
    layout = {"dense": Layout.dense(6, 11), "ragged": Layout.packed([11, 11, 9, 6, 6, 1])}[layout]
    I, H = 17, 33  # noqa: E741 - the field's letter
    kind, options = MODULES[name]
    options = options if P is None else {**options, "proj_size": P}
    module = getattr(torch.nn, kind)(I, H, bidirectional=True, dtype=torch.float64, **options)
    problem = Problem(cells[name], layout, np.float64, I=I, H=H, P=P)
    starts = [Problem(cells[name], layout, np.float64, I=I, H=H, P=P, seed=seed).initial for seed in (1, 2)]
    states = [torch.from_numpy(np.stack(pair)).requires_grad_() for pair in zip(*starts, strict=True)]
    x = torch.from_numpy(problem.x.copy()).requires_grad_()
    packed = torch.nn.utils.rnn.PackedSequence(x, torch.from_numpy(layout.batch_sizes.copy()))
    output, final = module(packed, tuple(states) if len(states) > 1 else states[0])
    final = final if isinstance(final, tuple) else (final,)
    width = P or H
    d_output = np.random.default_rng(5).standard_normal((layout.num_rows, 2 * width))
    d_final = [np.random.default_rng(6).standard_normal(tuple(f.shape)) for f in final]
    loss = (output.data * torch.from_numpy(d_output)).sum()
    for state, cotangent in zip(final, d_final, strict=True):
        loss = loss + (state * torch.from_numpy(cotangent)).sum()
    loss.backward()

    d_x = 0
    for k, suffix in enumerate(("", "_reverse")):
        names = [f"{field}_l0{suffix}" for field in Weights._fields if field != "params"]
        parameters = [getattr(module, n, None) for n in names]
        weights = Weights(*(None if p is None else p.detach().numpy() for p in parameters))
        (got,), got_final, saved = forward(
            Run(cells[name], layout, bool(k)), problem.x, weights, starts[k], every_state=False
        )
        columns = slice(k * width, (k + 1) * width)
        assert_agrees(got, output.data.detach().numpy()[:, columns], np.float64)
        for ours, theirs in zip(got_final, final, strict=True):
            assert_agrees(ours, theirs[k].detach().numpy(), np.float64)
        gradients = backward(cells[name], saved, (d_output[:, columns],), tuple(d[k] for d in d_final))
        d_x = d_x + gradients.x
        for ours, theirs in zip(gradients.initial, states, strict=True):
            assert_agrees(ours, theirs.grad[k].numpy(), np.float64)
        for ours, theirs in zip(gradients.weights[:-1], parameters, strict=True):
            if theirs is not None:
                assert_agrees(ours, theirs.grad.numpy(), np.float64)
    assert_agrees(d_x, x.grad.numpy(), np.float64)


@pytest.mark.parametrize("H", [1, 15, 16, 17, 63, 64, 65, 130])
@pytest.mark.parametrize("B", [1, 4, 5, 6, 11])
def test_sizes_across_the_edges_of_tiles_and_vectors(cells, B, H, reverse):
    """Float32 against the same problem in float64."""
    for name in ("gru", "menagerie", "chained", "everything"):
        single = Problem(cells[name], Layout.dense(3, B), np.float32, I=H, H=H, seed=H)
        double = single.in_float64()
        for ours, exact in zip(
            (*single.forward(reverse).every, *flatten(single.gradients(reverse))),
            (*double.forward(reverse).every, *flatten(double.gradients(reverse))),
            strict=True,
        ):
            if exact is not None:
                assert_close(ours, exact, rtol=1e-4, atol=1e-5 * max(1, np.abs(exact).max()))


@pytest.mark.sampled(36)
@pytest.mark.parametrize("layout", [Layout.dense(9, 13), Layout.packed([13, 12, 12, 8, 3, 3, 2, 1, 1])])
@pytest.mark.parametrize("options", [{}, {"one_hot": True}], ids=["dense", "one-hot"])
def test_any_number_of_threads_gives_the_same_bits(cell, layout, options, reverse, set_num_threads):
    P = None if cell.reason_against_projection else 20
    problem = Problem(cell, layout, np.float32, I=40, H=70, P=P, **options)
    results = []
    for n in (1, 2, 3):
        set_num_threads(n)
        every, final, _ = problem.forward(reverse)
        results.append([*every, *final, *flatten(problem.gradients(reverse))])
    for other in results[1:]:
        assert_same_bits(results[0], other)


def test_layer_norm_of_squares_beyond_the_dtype_is_nan_and_no_zero(cells):
    problem = Problem(cells["plain_sum"], Layout.dense(2, 3), np.float32, I=2, H=5)
    problem.x *= np.float32(1e30)
    every, _, _ = problem.forward()
    assert np.isnan(every[0][-3:]).all()


def test_a_row_does_not_depend_on_the_rest_of_the_batch(cell, reverse):
    """Each sequence of a ragged batch gives the bits that it gives alone."""
    layout = Layout.packed([7, 7, 4, 3, 1])
    problem = Problem(cell, layout, np.float32, I=20, H=40)
    every, final, _ = problem.forward(reverse)
    for b, length in enumerate(layout.lengths):
        rows = layout.starts[:length] + b
        initial = tuple(state[b : b + 1] for state in problem.initial)
        alone = Run(cell, Layout.packed([1] * length, origins=[b]), reverse, problem.settings)
        ours, end, _ = forward(
            alone,
            problem.x[rows],
            problem.weights,
            initial,
            problem.inputs_at(rows, slice(b, b + 1)),
            every_state=True,
        )
        assert_same_bits(ours, (state[rows] for state in every))
        assert_same_bits(end, (state[b : b + 1] for state in final))


def test_a_run_that_saves_nothing_derives_nothing():
    cell = Cell(lambda x, r, s: m.tanh(x.h + r.h), ("h",), ("h",), "fresh")
    problem = Problem(cell, LAYOUTS["dense"], np.float32)
    without = problem.forward(save=False)
    assert "backward" not in vars(cell.schedule)
    assert_same_bits(without.every, problem.forward().every)
    assert "backward" in vars(cell.schedule)


def test_backward_may_run_twice_and_consume_spends(cell, reverse):
    problem = Problem(cell, LAYOUTS["ragged"], np.float32)
    _, _, saved = problem.forward(reverse)
    first, second = (backward(cell, saved, problem.d_every, problem.d_final) for _ in range(2))
    last = backward(cell, saved, problem.d_every, problem.d_final, consume=True)
    assert_same_bits(flatten(first), flatten(second))
    assert_same_bits(flatten(first), flatten(last))
    with pytest.raises(ValueError, match="consume=True before"):
        backward(cell, saved, problem.d_every, problem.d_final)


def test_gradients_share_no_memory(cell):
    problem = Problem(cell, LAYOUTS["dense"], np.float32)
    arrays = [a for a in flatten(problem.gradients()) if a is not None]
    for i, a in enumerate(arrays):
        assert a.flags.c_contiguous
        assert not any(np.shares_memory(a, b) for b in arrays[:i])


def test_missing_cotangents_are_zeros(cell, reverse):
    problem = Problem(cell, LAYOUTS["ragged"], np.float64)
    _, _, saved = problem.forward(reverse)
    none = (None,) * len(cell.states)
    zeros, zero_steps = (
        tuple(np.zeros_like(d) for d in given) for given in (problem.d_final, problem.d_every)
    )
    for given, same in (
        ((none, problem.d_final), (zero_steps, problem.d_final)),
        (((), problem.d_final), (zero_steps, problem.d_final)),
        ((problem.d_every[:1], problem.d_final), (problem.d_every[:1] + zero_steps[1:], problem.d_final)),
        ((problem.d_every, none), (problem.d_every, zeros)),
    ):
        # Without a bound, but not by bytes: a zero that is added makes 0.0 of -0.0.
        assert_close(flatten(backward(cell, saved, *given)), flatten(backward(cell, saved, *same)))


def test_only_what_is_needed_is_computed(cell):
    problem = Problem(cell, LAYOUTS["ragged"], np.float64)
    full = problem.gradients()
    for needs in (Needs(True, False, False), Needs(False, True, False), Needs(False, False, True)):
        got = problem.gradients(needs=needs)
        assert (got.x is not None) == needs.x
        assert (got.initial is not None) == needs.initial
        assert (got.weights.weight_ih is not None) == needs.weights
        if needs.x:
            assert_same_bits(got.x, full.x)
        if needs.initial:
            assert_same_bits(got.initial, full.initial)
        if needs.weights:
            assert_same_bits(
                flatten(got._replace(x=None, initial=())), flatten(full._replace(x=None, initial=()))
            )
        else:
            assert got.weights.params == ()


def test_without_save_nothing_is_kept(cell):
    problem = Problem(cell, LAYOUTS["ragged"], np.float32)
    result = problem.forward(save=False)
    assert result.saved is None
    assert_same_bits(result.every, problem.forward().every)


def test_one_hot_ids_are_one_hot_rows(cell, reverse):
    ids = Problem(cell, LAYOUTS["ragged"], np.float64, I=6, one_hot=True)
    rows = Problem(cell, LAYOUTS["ragged"], np.float64, I=6)
    rows.x, rows.weights, rows.initial = np.eye(6)[ids.x], ids.weights, ids.initial
    rows.d_every, rows.d_final, rows.settings = ids.d_every, ids.d_final, ids.settings
    rows.inputs = ids.inputs
    assert_same_bits(ids.forward(reverse).every, rows.forward(reverse).every)
    got, expected = ids.gradients(reverse), rows.gradients(reverse)
    assert got.x is None
    assert_same_bits(flatten(got), flatten(expected._replace(x=None)))


def test_one_bias_alone_is_enough(cell):
    problem = Problem(cell, LAYOUTS["dense"], np.float64)
    for field in ("bias_ih", "bias_hh"):
        problem.weights = Problem(cell, LAYOUTS["dense"], np.float64).weights._replace(**{field: None})
        for got, expected in zip(problem.forward().every, problem.reference()[0], strict=True):
            assert_close(got, expected, rtol=1e-11, atol=1e-11)
        assert getattr(problem.gradients().weights, field) is None


def test_inputs_of_any_strides(cell):
    problem = Problem(cell, LAYOUTS["dense"], np.float32)
    expected = [*problem.forward().every, *flatten(problem.gradients())]
    problem.x = np.asfortranarray(problem.x)
    *arrays, params = problem.weights
    arrays = [None if w is None else np.repeat(w, 2, axis=0)[::2] for w in arrays]
    problem.weights = Weights(*arrays, tuple(np.repeat(vector, 2)[::2] for vector in params))
    problem.initial = tuple(np.asfortranarray(s) for s in problem.initial)
    problem.d_every = tuple(np.asfortranarray(d) for d in problem.d_every)
    problem.d_final = tuple(np.repeat(d, 2, axis=1)[:, ::2] for d in problem.d_final)
    assert_same_bits(expected, [*problem.forward().every, *flatten(problem.gradients())])


def test_inputs_are_not_changed(cell):
    problem = Problem(cell, LAYOUTS["ragged"], np.float32)
    arrays = [a for a in (*problem.arrays(), *problem.d_every, *problem.d_final) if a is not None]
    before = [a.tobytes() for a in arrays]
    problem.gradients(consume=True)
    assert [a.tobytes() for a in arrays] == before


def test_nan_and_infinity_stay(cells):
    problem = Problem(cells["lstm"], Layout.dense(3, 4), np.float32)
    problem.x[1] = np.nan
    problem.x[2] = np.inf
    output = problem.forward().every[0]
    with np.errstate(invalid="ignore"):
        expected = problem.reference()[0][0]
    assert_same_bits(np.isnan(output), np.isnan(expected))
    assert np.isnan(output[1::4]).all()
    assert np.isfinite(output[[0, 3]]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_no_finite_number_shows_in_the_first_step_from_zero_states(cells, value):
    problem = Problem(cells["gru"], Layout.dense(3, 2), np.float64)
    for state in problem.initial:
        state[:] = 0
    problem.weights.weight_hh[1, 2] = value
    output = problem.forward().every[0]
    with np.errstate(invalid="ignore"):
        expected = problem.reference()[0][0]
    assert_same_bits(np.isnan(output), np.isnan(expected))
    assert np.isnan(output[:2, 1]).all()
    assert np.isfinite(output[:2, 0]).all()


def _replaced(**changes):
    def make(problem):
        for name, value in changes.items():
            setattr(problem, name, value(problem) if callable(value) else value)

    return make


def _weights(**changes):
    return _replaced(weights=lambda p: p.weights._replace(**{k: v(p.weights) for k, v in changes.items()}))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (_replaced(x=lambda p: p.x[1:]), ValueError, "x must have shape (20, 3), got (19, 3)"),
        (_replaced(x=lambda p: p.x.astype(np.float64)), TypeError, "x must be float32, got float64"),
        (_replaced(x=lambda p: p.x.tolist()), TypeError, "x must be a numpy array, got list"),
        (_replaced(x=lambda p: np.arange(20)), IndexError, "from 0 to 2 (weight_ih has 3 columns), got 3"),
        (_replaced(x=lambda p: np.full(20, -1)), IndexError, "x must be ids from 0 to 2"),
        (_replaced(x=lambda p: np.zeros((20, 3), int)), ValueError, "x must be ids of shape (20,)"),
        (_weights(weight_hh=lambda w: w.weight_hh[1:]), ValueError, "weight_hh must have shape (20, 5), got (19, 5)"),
        (_weights(weight_hh=lambda w: w.weight_hh[:, 1:]), ValueError, "must have shape (20, 5), got (20, 4)"),
        (_weights(weight_hh=lambda w: w.weight_hh.astype(int)), TypeError, "must be float32, got"),
        (_weights(weight_ih=lambda w: w.weight_ih[1:]), ValueError, "shape (4 * H, I) for 4 gates, got (19, 3)"),
        (_weights(weight_ih=lambda w: None), TypeError, "an array of float32 or float64, got NoneType"),
        (_weights(bias_hh=lambda w: w.bias_hh[1:]), ValueError, "bias_hh must have shape (20,), got (19,)"),
        (_weights(bias_ih=lambda w: w.bias_ih.astype(np.float64)), TypeError, "bias_ih must be float32"),
        (_weights(weight_hr=lambda w: np.ones((4, 5), np.float32)), ValueError, "must have shape (20, 4), got (20, 5)"),
        (_replaced(initial=lambda p: p.initial[:1]), ValueError, "initial must be one array per state (h, c), got 1"),
        (_replaced(initial=lambda p: (p.initial[0], p.initial[1][1:])), ValueError, "initial c must have shape (5, 5)"),
    ],
)  # fmt: skip
def test_the_door_says_what_was_expected(cells, spoil, error, message):
    problem = Problem(cells["lstm"], LAYOUTS["dense"], np.float32)
    spoil(problem)
    with pytest.raises(error, match=re.escape(message)):
        problem.forward()


def test_backward_checks_its_arguments(cells):
    problem = Problem(cells["lstm"], LAYOUTS["dense"], np.float32)
    saved = problem.forward()[2]
    output, cell_steps = problem.d_every
    for d_every, d_final, error, message in [
        ((output[1:],), problem.d_final, ValueError, "d_every of h must have shape (20, 5), got (19, 5)"),
        ((output.astype(np.float64),), problem.d_final, TypeError, "d_every of h must be float32"),
        (
            (None, cell_steps[:, 1:]),
            problem.d_final,
            ValueError,
            "d_every of c must have shape (20, 5), got (20, 4)",
        ),
        ((None,) * 3, problem.d_final, ValueError, "d_every must be at most one gradient per state, got 3"),
        ((), problem.d_final[:1], ValueError, "one gradient or None per state (2), got 1"),
        ((), (None, problem.d_final[1][1:]), ValueError, "d_final of c must have shape (5, 5)"),
    ]:
        with pytest.raises(error, match=re.escape(message)):
            backward(cells["lstm"], saved, d_every, d_final)
    with pytest.raises(TypeError, match="for cell lstm with save=True, got NoneType"):
        backward(cells["lstm"], None, (), (None, None))
    with pytest.raises(TypeError, match="for cell gru with save=True, got that of cell lstm"):
        backward(cells["gru"], saved, (), (None,))


def test_what_cannot_be_projected_says_why(cells):
    for name, options, message in (
        ("gru", {}, "cell gru reads its first state s.h next to gates of another width"),
        ("chained", {}, "cell chained applies recurrent matrices to values as wide as its gates"),
        ("rnn_tanh", {"heads": 4}, "heads see the units of the first state"),
    ):
        with pytest.raises(ValueError, match=re.escape(f"weight_hr must be None: {message}")):
            Problem(cells[name], LAYOUTS["dense"], np.float32, P=4, **options).forward()


@pytest.mark.parametrize("gates", [("z", "recurrent_z"), ("recurrent_z", "z")])
def test_a_gate_may_be_named_like_what_belongs_to_another(gates):
    def step(x, r, s):
        return m.tanh(x.z * r.z + x.recurrent_z * r.recurrent_z)

    problem = Problem(Cell(step, gates, ("h",), "cell"), Layout.packed([3, 2]), np.float64)
    assert_close(problem.forward().every[0], problem.reference()[0][0], rtol=1e-12)


def test_a_long_name_of_a_cell():
    problem = Problem(
        Cell(lambda x, r, s: x.h - r.h, ("h",), ("h",), "a" * 400), Layout.dense(1, 1), np.float32
    )
    assert problem.forward().every[0].shape == (1, 5)


def test_backward_uses_the_ids_that_forward_was_given():
    cell = Cell(lambda x, r, s: m.tanh(x.h + r.h), ("h",), ("h",), "rnn")
    problem = Problem(cell, Layout.dense(4, 3), np.float64, one_hot=True)
    _, _, saved = problem.forward()
    expected = backward(cell, saved, problem.d_every, problem.d_final).weights.weight_ih
    problem.x[:] = 10**12
    found = backward(cell, saved, problem.d_every, problem.d_final).weights.weight_ih
    assert_same_bits(found, expected)
