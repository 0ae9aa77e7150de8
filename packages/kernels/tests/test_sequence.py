"""Sequences of every cell against the NumPy reference, central differences, and PyTorch."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.sequence import Cell, Layout, Needs, Weights, backward, forward
from rondeau.kernels.targets import reference

LAYOUTS = {
    "dense": Layout.dense(4, 5),
    "ragged": Layout.packed([7, 7, 4, 3, 1]),
    "one row": Layout.packed([1, 1]),
    "no step": Layout.dense(0, 3),
    "no batch": Layout.dense(3, 0),
}
TOLERANCE = {np.float32: {"rtol": 2e-5, "atol": 2e-5}, np.float64: {"rtol": 1e-11, "atol": 1e-11}}


class Problem:
    """A drawn layer with its inputs and cotangents."""

    def __init__(
        self,
        cell,
        layout,
        dtype,
        I=3,  # noqa: E741 - the field's letter
        H=5,
        P=None,
        bias=True,
        one_hot=False,
        zero=False,
        seed=0,
    ):
        rng = np.random.default_rng(seed)
        G, width = len(cell.gates), H if P is None else P

        def draw(*shape):
            return rng.standard_normal(shape).astype(dtype)

        scale = dtype(1 / np.sqrt(I + H))
        self.cell, self.layout = cell, layout
        self.weights = Weights(
            draw(G * H, I) * scale,
            draw(G * H, width) * scale,
            draw(G * H) if bias else None,
            draw(G * H) if bias else None,
            None if P is None else draw(P, H),
        )
        self.x = rng.integers(0, max(I, 1), layout.num_rows) if one_hot else draw(layout.num_rows, I)
        widths = [width] + [H] * (len(cell.states) - 1)
        self.initial = tuple(draw(layout.batch_size, w) * dtype(not zero) for w in widths)
        self.d_output = draw(layout.num_rows, width)
        self.d_final = tuple(draw(layout.batch_size, w) for w in widths)

    def forward(self, reverse=False, **options):
        return forward(self.cell, self.layout, self.x, self.weights, self.initial, reverse=reverse, **options)

    def reference(self, functions=reference.NUMPY, reverse=False):
        return reference.run(
            self.cell, functions, self.layout, self.x, self.weights, self.initial, reverse=reverse
        )

    def loss(self, reverse):
        """Return the sum of the outputs and final states times their cotangents, by the reference."""
        output, final = self.reference(reverse=reverse)
        return (output * self.d_output).sum() + sum(
            (f * d).sum() for f, d in zip(final, self.d_final, strict=True)
        )

    def gradients(self, reverse=False, **options):
        return backward(self.cell, self.forward(reverse)[2], self.d_output, self.d_final, **options)

    def arrays(self):
        return (self.x, *self.initial, *self.weights)


def flatten(gradients):
    return (gradients.x, *gradients.initial, *gradients.weights)


def assert_close(got, expected, dtype):
    assert got.dtype == dtype
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, **TOLERANCE[dtype])


@pytest.fixture(params=[False, True], ids=["forward", "reverse"])
def reverse(request):
    return request.param


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_forward_is_the_reference(cell, layout, dtype, reverse):
    for options in ({}, {"bias": False, "zero": True}, {"one_hot": True}, {"I": 0}):
        problem = Problem(cell, LAYOUTS[layout], dtype, **options)
        output, final, _ = problem.forward(reverse)
        expected_output, expected_final = problem.reference(reverse=reverse)
        assert_close(output, expected_output, dtype)
        for got, expected in zip(final, expected_final, strict=True):
            assert_close(got, expected, dtype)


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
        np.testing.assert_allclose(gradient.reshape(-1), differences, rtol=1e-6, atol=1e-6)


def torch_gradients(torch, problem, reverse):
    """Differentiate the reference, run on PyTorch's tensors, by PyTorch's autograd."""
    names = ["sigmoid", "tanh", "relu", "exp", "log", "sqrt", "abs", "minimum", "maximum", "where", "cat"]
    functions = SimpleNamespace(
        **{name: getattr(torch, name) for name in names}, softplus=torch.nn.functional.softplus
    )

    def leaf(array):
        if array is None:
            return None
        return torch.from_numpy(array.copy()).requires_grad_(array.dtype.kind == "f")

    x, *initial = map(leaf, (problem.x, *problem.initial))
    weights = Weights(*map(leaf, problem.weights))
    output, final = reference.run(
        problem.cell, functions, problem.layout, x, weights, tuple(initial), reverse=reverse
    )
    loss = (output * torch.from_numpy(problem.d_output)).sum()
    for state, cotangent in zip(final, problem.d_final, strict=True):
        loss = loss + (state * torch.from_numpy(cotangent)).sum()
    loss.backward()
    leaves = (x, *initial, *weights)
    return [
        None if t is None or not t.requires_grad else t.grad if t.grad is not None else 0 * t for t in leaves
    ]


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
        expected = torch_gradients(torch, problem, reverse)
        for got, tensor in zip(flatten(problem.gradients(reverse)), expected, strict=True):
            if tensor is None:
                assert got is None
            else:
                assert_close(got, tensor.detach().numpy(), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("P", [1, 4, 9])
def test_projection_and_all_its_gradients_are_torchs(cells, layout, P, dtype, reverse):
    torch = pytest.importorskip("torch")
    for options in ({}, {"bias": False, "zero": True}):
        problem = Problem(cells["lstm"], LAYOUTS[layout], dtype, P=P, **options)
        output, final, _ = problem.forward(reverse)
        for got, expected in zip(
            (output, *final), (lambda o, f: (o, *f))(*problem.reference(reverse=reverse)), strict=True
        ):
            assert_close(got, expected, dtype)
        expected = torch_gradients(torch, problem, reverse)
        for got, tensor in zip(flatten(problem.gradients(reverse)), expected, strict=True):
            if tensor is None:
                assert got is None
            else:
                assert_close(got, tensor.detach().numpy(), dtype)


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
        names = [f"{field}_l0{suffix}" for field in Weights._fields]
        parameters = [getattr(module, n, None) for n in names]
        weights = Weights(*(None if p is None else p.detach().numpy() for p in parameters))
        got, got_final, saved = forward(cells[name], layout, problem.x, weights, starts[k], reverse=bool(k))
        columns = slice(k * width, (k + 1) * width)
        assert_close(got, output.data.detach().numpy()[:, columns], np.float64)
        for ours, theirs in zip(got_final, final, strict=True):
            assert_close(ours, theirs[k].detach().numpy(), np.float64)
        gradients = backward(cells[name], saved, d_output[:, columns], tuple(d[k] for d in d_final))
        d_x = d_x + gradients.x
        for ours, theirs in zip(gradients.initial, states, strict=True):
            assert_close(ours, theirs.grad[k].numpy(), np.float64)
        for ours, theirs in zip(gradients.weights, parameters, strict=True):
            if theirs is not None:
                assert_close(ours, theirs.grad.numpy(), np.float64)
    assert_close(d_x, x.grad.numpy(), np.float64)


@pytest.mark.parametrize("H", [1, 15, 16, 17, 63, 64, 65, 130])
@pytest.mark.parametrize("B", [1, 4, 5, 6, 11])
def test_sizes_across_the_edges_of_tiles_and_vectors(cells, B, H, reverse):
    """Float32 against the same problem in float64."""
    for name in ("gru", "menagerie"):
        single = Problem(cells[name], Layout.dense(3, B), np.float32, I=H, H=H, seed=H)
        double = Problem(cells[name], Layout.dense(3, B), np.float64, I=H, H=H, seed=H)
        for field in ("x", "d_output"):
            setattr(double, field, getattr(single, field).astype(np.float64))
        for field in ("initial", "d_final"):
            setattr(double, field, tuple(a.astype(np.float64) for a in getattr(single, field)))
        double.weights = Weights(*(None if w is None else w.astype(np.float64) for w in single.weights))
        for ours, exact in zip(
            (single.forward(reverse)[0], *flatten(single.gradients(reverse))),
            (double.forward(reverse)[0], *flatten(double.gradients(reverse))),
            strict=True,
        ):
            if exact is not None:
                np.testing.assert_allclose(ours, exact, rtol=1e-4, atol=1e-5 * max(1, np.abs(exact).max()))


@pytest.mark.parametrize("layout", [Layout.dense(9, 13), Layout.packed([13, 12, 12, 8, 3, 3, 2, 1, 1])])
@pytest.mark.parametrize("options", [{}, {"one_hot": True}], ids=["dense", "one-hot"])
def test_any_number_of_threads_gives_the_same_bits(cell, layout, options, reverse, set_num_threads):
    P = None if cell.plan.reads_state(cell.states[0]) else 20
    problem = Problem(cell, layout, np.float32, I=40, H=70, P=P, **options)
    results = []
    for n in (1, 2, 3):
        set_num_threads(n)
        output, final, _ = problem.forward(reverse)
        results.append([output, *final, *flatten(problem.gradients(reverse))])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert (a is None and b is None) or a.tobytes() == b.tobytes()


def test_a_row_does_not_depend_on_the_rest_of_the_batch(cell, reverse):
    """Each sequence of a ragged batch gives the bits that it gives alone."""
    layout = Layout.packed([7, 7, 4, 3, 1])
    problem = Problem(cell, layout, np.float32, I=20, H=40)
    output, final, _ = problem.forward(reverse)
    for b, length in enumerate(layout.lengths):
        rows = layout.starts[:length] + b
        initial = tuple(state[b : b + 1] for state in problem.initial)
        alone, end, _ = forward(
            cell, Layout.dense(int(length), 1), problem.x[rows], problem.weights, initial, reverse=reverse
        )
        assert alone.tobytes() == output[rows].tobytes()
        for ours, theirs in zip(end, final, strict=True):
            assert ours.tobytes() == theirs[b : b + 1].tobytes()


def test_backward_may_run_twice_and_consume_spends(cell, reverse):
    problem = Problem(cell, LAYOUTS["ragged"], np.float32)
    _, _, saved = problem.forward(reverse)
    first, second = (backward(cell, saved, problem.d_output, problem.d_final) for _ in range(2))
    last = backward(cell, saved, problem.d_output, problem.d_final, consume=True)
    for a, b, c in zip(*map(flatten, (first, second, last)), strict=True):
        assert a is None or a.tobytes() == b.tobytes() == c.tobytes()
    with pytest.raises(ValueError, match="consume=True before"):
        backward(cell, saved, problem.d_output, problem.d_final)


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
    zeros = tuple(np.zeros_like(d) for d in problem.d_final)
    for given, same in (
        ((None, problem.d_final), (0 * problem.d_output, problem.d_final)),
        ((problem.d_output, none), (problem.d_output, zeros)),
    ):
        for a, b in zip(
            flatten(backward(cell, saved, *given)), flatten(backward(cell, saved, *same)), strict=True
        ):
            assert (a is None and b is None) or np.array_equal(a, b)


def test_only_what_is_needed_is_computed(cell):
    problem = Problem(cell, LAYOUTS["ragged"], np.float64)
    full = problem.gradients()
    for needs in (Needs(True, False, False), Needs(False, True, False), Needs(False, False, True)):
        got = problem.gradients(needs=needs)
        assert (got.x is not None) == needs.x
        assert (got.initial is not None) == needs.initial
        assert (got.weights.weight_ih is not None) == needs.weights
        if needs.x:
            assert np.array_equal(got.x, full.x)
        if needs.initial:
            assert all(map(np.array_equal, got.initial, full.initial))
        if needs.weights:
            assert all(map(np.array_equal, got.weights, full.weights))


def test_without_save_nothing_is_kept(cell):
    problem = Problem(cell, LAYOUTS["ragged"], np.float32)
    output, _, saved = problem.forward(save=False)
    assert saved is None
    assert output.tobytes() == problem.forward()[0].tobytes()


def test_one_hot_ids_are_one_hot_rows(cell, reverse):
    ids = Problem(cell, LAYOUTS["ragged"], np.float64, I=6, one_hot=True)
    rows = Problem(cell, LAYOUTS["ragged"], np.float64, I=6)
    rows.x, rows.weights, rows.initial = np.eye(6)[ids.x], ids.weights, ids.initial
    rows.d_output, rows.d_final = ids.d_output, ids.d_final
    assert ids.forward(reverse)[0].tobytes() == rows.forward(reverse)[0].tobytes()
    got, expected = ids.gradients(reverse), rows.gradients(reverse)
    assert got.x is None
    for a, b in zip(got.weights, expected.weights, strict=True):
        assert a is None or np.array_equal(a, b)


def test_one_bias_alone_is_enough(cell):
    problem = Problem(cell, LAYOUTS["dense"], np.float64)
    for field in ("bias_ih", "bias_hh"):
        problem.weights = Problem(cell, LAYOUTS["dense"], np.float64).weights._replace(**{field: None})
        output, _, _ = problem.forward()
        np.testing.assert_allclose(output, problem.reference()[0], rtol=1e-11, atol=1e-11)
        assert getattr(problem.gradients().weights, field) is None


def test_inputs_of_any_strides(cell):
    problem = Problem(cell, LAYOUTS["dense"], np.float32)
    expected = problem.forward()[0].tobytes()
    problem.x = np.asfortranarray(problem.x)
    problem.weights = Weights(
        *(np.repeat(w, 2, axis=0)[::2] if w is not None else None for w in problem.weights)
    )
    problem.initial = tuple(np.asfortranarray(s) for s in problem.initial)
    assert problem.forward()[0].tobytes() == expected


def test_inputs_are_not_changed(cell):
    problem = Problem(cell, LAYOUTS["ragged"], np.float32)
    arrays = [a for a in (*problem.arrays(), problem.d_output, *problem.d_final) if a is not None]
    before = [a.tobytes() for a in arrays]
    problem.gradients(consume=True)
    assert [a.tobytes() for a in arrays] == before


def test_nan_and_infinity_stay(cells):
    problem = Problem(cells["lstm"], Layout.dense(3, 4), np.float32)
    problem.x[1] = np.nan
    problem.x[2] = np.inf
    output, _, _ = problem.forward()
    with np.errstate(invalid="ignore"):
        expected, _ = problem.reference()
    assert np.array_equal(np.isnan(output), np.isnan(expected))
    assert np.isnan(output[1::4]).all()
    assert np.isfinite(output[[0, 3]]).all()


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
        (_replaced(x=lambda p: p.x[1:]), ValueError, "x expected shape (20, 3), got (19, 3)"),
        (_replaced(x=lambda p: p.x.astype(np.float64)), TypeError, "x expected float32, as weight_hh is, got float64"),
        (_replaced(x=lambda p: p.x.tolist()), TypeError, "x expected a numpy array, got list"),
        (_replaced(x=lambda p: np.arange(20)), IndexError, "from 0 to 2 (weight_ih has 3 columns), got 19"),
        (_replaced(x=lambda p: np.full(20, -1)), IndexError, "x expected ids from 0 to 2"),
        (_replaced(x=lambda p: np.zeros((20, 3), int)), ValueError, "x expected ids of shape (20,)"),
        (_weights(weight_hh=lambda w: w.weight_hh[1:]), ValueError, "weight_hh expected shape (4 * H, P) for 4 gates"),
        (_weights(weight_hh=lambda w: w.weight_hh[:, 1:]), ValueError, "only weight_hr allows P != H"),
        (_weights(weight_hh=lambda w: w.weight_hh.astype(int)), TypeError, "an array of float32 or float64, got int64"),
        (_weights(weight_ih=lambda w: w.weight_ih[1:]), ValueError, "weight_ih expected shape (20, 3), got (19, 3)"),
        (_weights(weight_ih=lambda w: None), TypeError, "weight_ih expected a numpy array, got NoneType"),
        (_weights(bias_hh=lambda w: w.bias_hh[1:]), ValueError, "bias_hh expected shape (20,), got (19,)"),
        (_weights(bias_ih=lambda w: w.bias_ih.astype(np.float64)), TypeError, "bias_ih expected float32"),
        (_weights(weight_hr=lambda w: np.ones((4, 5), np.float32)), ValueError, "weight_hr expected shape (5, 5)"),
        (_replaced(initial=lambda p: p.initial[:1]), ValueError, "initial expected one array per state (h, c), got 1"),
        (_replaced(initial=lambda p: (p.initial[0], p.initial[1][1:])), ValueError, "initial c expected shape (5, 5)"),
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
    for d_output, d_final, error, message in [
        (problem.d_output[1:], problem.d_final, ValueError, "d_output expected shape (20, 5), got (19, 5)"),
        (problem.d_output.astype(np.float64), problem.d_final, TypeError, "d_output expected float32"),
        (None, problem.d_final[:1], ValueError, "one gradient or None per state (2), got 1"),
        (None, (None, problem.d_final[1][1:]), ValueError, "d_final of c expected shape (5, 5)"),
    ]:
        with pytest.raises(error, match=re.escape(message)):
            backward(cells["lstm"], saved, d_output, d_final)
    with pytest.raises(TypeError, match="for cell lstm with save=True, got NoneType"):
        backward(cells["lstm"], None, None, (None, None))
    with pytest.raises(TypeError, match="for cell gru with save=True, got that of cell lstm"):
        backward(cells["gru"], saved, None, (None,))


def test_a_cell_that_reads_its_first_state_cannot_be_projected(cells):
    with pytest.raises(ValueError, match=re.escape("reads its first state s.h beside gates of 5")):
        Problem(cells["gru"], LAYOUTS["dense"], np.float32, P=4).forward()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([3, 4], "must never increase, and step 1 has 4 rows after 3; sort the sequences by length"),
        ([3, 0], "at least one row at every step, got 0"),
        ([[3]], "expected a 1-D array of integers"),
        ([1.5], "expected a 1-D array of integers, got float64"),
    ],
)
def test_batch_sizes_are_checked(sizes, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Layout.packed(sizes)


def test_a_dense_layout_has_no_negative_size():
    with pytest.raises(ValueError, match="num_steps of at least 0, got -1"):
        Layout.dense(-1, 2)


def test_lengths_and_cuts_of_a_ragged_layout():
    layout = Layout.packed([4, 2, 2, 1, 1, 1, 1])
    assert layout.lengths.tolist() == [7, 3, 1, 1]
    assert layout.cuts(2).tolist() == [0, 1, 4]
    assert Layout.dense(5, 6).cuts(3).tolist() == [0, 2, 4, 6]
    assert Layout.dense(5, 2).cuts(8).tolist() == [0, 1, 2]
    assert Layout.dense(0, 2).cuts(2)[-1] == 2


@pytest.mark.parametrize("gates", [("z", "recurrent_z"), ("recurrent_z", "z")])
def test_a_gate_may_be_named_like_what_belongs_to_another(gates):
    def step(x, r, s):
        return m.tanh(x.z * r.z + x.recurrent_z * r.recurrent_z)

    problem = Problem(Cell(step, gates, ("h",), "cell"), Layout.packed([3, 2]), np.float64)
    output, _, _ = problem.forward()
    functions = SimpleNamespace(**{name: getattr(m, name) for name in m.__all__}, cat=np.concatenate)
    expected, _ = reference.run(
        problem.cell, functions, problem.layout, problem.x, problem.weights, problem.initial, reverse=False
    )
    np.testing.assert_allclose(output, expected, rtol=1e-12)


def test_a_long_name_of_a_cell():
    problem = Problem(
        Cell(lambda x, r, s: x.h - r.h, ("h",), ("h",), "a" * 400), Layout.dense(1, 1), np.float32
    )
    assert problem.forward()[0].shape == (1, 5)


def test_backward_uses_the_ids_that_forward_was_given():
    cell = Cell(lambda x, r, s: m.tanh(x.h + r.h), ("h",), ("h",), "rnn")
    problem = Problem(cell, Layout.dense(4, 3), np.float64, one_hot=True)
    _, _, saved = problem.forward()
    expected = backward(cell, saved, problem.d_output, problem.d_final).weights.weight_ih
    problem.x[:] = 10**12
    found = backward(cell, saved, problem.d_output, problem.d_final).weights.weight_ih
    assert np.array_equal(found, expected)


def test_layouts_cannot_be_changed_and_take_integers():
    layout = Layout.dense(2, 3)
    with pytest.raises(ValueError, match="read-only"):
        layout.batch_sizes[0] = 100
    assert Layout.packed([2, 1]).batch_sizes.flags.writeable is False
    with pytest.raises(TypeError, match=r"expected an integer as batch_size, got 3\.0"):
        Layout.dense(2, 3.0)
    with pytest.raises(TypeError, match="expected an integer as num_steps, got True"):
        Layout.dense(True, 3)
