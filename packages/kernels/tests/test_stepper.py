"""A stepper against a run of the layers for one step: the same bits, for any cell and number of threads."""

import itertools
import re

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau.kernels.product import matmul
from rondeau.kernels.recurrent.substreams import PER_DIRECTION
from rondeau.kernels.sequence import Cell, Layout, Run, Settings, Weights, forward
from rondeau.kernels.stepper import Stepper

from .conftest import STEPS, VARIANTS
from .problem import Problem

STEPPING = sorted(
    {*STEPS, *VARIANTS}
    - {"lstm_dropout", "reset_before_dropout", "lstm_zoneout", "fed_numbers", "fed_constants"}
)


class Stack:
    """Drawn layers of a cell with a head, and their step by `forward` and `matmul`."""

    def __init__(self, cell, B=3, L=2, I=3, H=5, P=None, V=4, dtype=np.float32, bias=True, heads=1):  # noqa: E741
        width = H if P is None else P
        problems = [
            Problem(
                cell, Layout.dense(1, B), dtype, I=width if k else I, H=H, P=P, bias=bias, heads=heads, seed=k
            )
            for k in range(L)
        ]
        self.cell, self.B, self.settings = cell, B, problems[0].settings
        self.layers = [problem.weights for problem in problems]
        self.states = tuple(np.stack(parts) for parts in zip(*(p.initial for p in problems), strict=True))
        self.inputs = tuple(np.stack(parts) for parts in zip(*(p.inputs for p in problems), strict=True))
        rng = np.random.default_rng(9)
        self.x = problems[0].x
        self.ids = rng.integers(0, max(I, 1), B)
        self.head = (rng.standard_normal((V, width)).astype(dtype), rng.standard_normal(V).astype(dtype))

    def stepper(self, head=None):
        return Stepper(self.cell, self.layers, self.settings, head)

    def step(self, x, states, head=None, time=0):
        after = []
        for k, weights in enumerate(self.layers):
            initial, inputs = (tuple(part[k] for part in parts) for parts in (states, self.inputs))
            layout = Layout.packed([self.B], None, [time] * self.B) if self.B else Layout.dense(1, 0)
            settings = self.settings._replace(substream=self.settings.substream + k * PER_DIRECTION)
            result = forward(
                Run(self.cell, layout, settings=settings), x, weights, initial, inputs, save=False
            )
            x = result.every[0]
            after.append(result.final)
        if head is not None:
            weight, bias = head
            out = np.zeros((self.B, len(weight)), x.dtype)
            if bias is not None:
                out[...] = bias
            x = matmul(x, weight.T, out=out, accumulate=True)
        return x, tuple(np.stack(parts) for parts in zip(*after, strict=True))

    def check(self):
        """Two steps from given states and from zeros, of vectors and of ids, with and without a head."""
        zeros = tuple(np.zeros_like(state) for state in self.states)
        for head in (None, self.head, (self.head[0], None)):
            stepper = self.stepper(head)
            times = itertools.count()
            for x in (self.x, self.ids) if stepper.inputs else (self.x,):
                for states in (self.states, None):
                    given, before = states, zeros if states is None else states
                    for _ in range(2):
                        y, given = stepper(x, given, self.inputs, self.cell.forms)
                        expected, before = self.step(x, before, head, next(times))
                        assert_same_bits((y, *given), (expected, *before))

    def check_run(self, T):
        """A run of T steps, of vectors and of ids, from given states and from zeros, is as many steps."""
        rng = np.random.default_rng(3)
        x = rng.standard_normal((T, *self.x.shape)).astype(self.x.dtype)
        kinds = self.cell.inputs.values()
        inputs = tuple(
            np.stack([array + np.asarray(t if kind == "step" else 0, array.dtype) for t in range(T)], 1)
            for kind, array in zip(kinds, self.inputs, strict=True)
        )
        of_run = tuple(
            array if kind == "step" else array[:, 0] for kind, array in zip(kinds, inputs, strict=True)
        )
        for head in (None, self.head):
            stepper, stepping = self.stepper(head), self.stepper(head)
            for given, states in ((x, self.states), (rng.integers(0, self.x.shape[1], (T, self.B)), None)):
                found, after = stepper.run(given, states, of_run, self.cell.forms)
                expected = []
                for t in range(T):
                    step = tuple(array[:, t] for array in inputs)
                    y, states = stepping(given[t], states, step, self.cell.forms)
                    expected.append(y)
                assert_same_bits((found, *after), (np.stack(expected), *states))


@pytest.mark.parametrize("name", STEPPING)
def test_a_run_is_its_steps(cells, name, monkeypatch):
    monkeypatch.setattr("rondeau.kernels.cpu.step._ROWS_AT_ONCE", 7)  # 2 steps of 3 rows, or 7 of one
    for options, T in (
        ({}, 5),
        ({"B": 1, "L": 1}, 8),
        ({"dtype": np.float64, "L": 3, "B": 2}, 1),
        ({"B": 0}, 9),
    ):
        Stack(cells[name], **options).check_run(T)


def test_a_run_is_its_steps_with_a_projection_with_heads_and_for_any_number_of_threads(
    cells, set_num_threads
):
    for threads in (1, 2, 3):
        set_num_threads(threads)
        Stack(cells["lstm"], H=70, P=66).check_run(4)
        Stack(cells["gru"], H=48, heads=2, B=1).check_run(3)
        Stack(cells["reset_before"], H=130, I=129, V=131).check_run(2)


@pytest.mark.parametrize("name", STEPPING)
def test_a_step_is_that_of_the_layers(cells, name):
    for options in ({}, {"bias": False, "B": 1, "L": 1}, {"dtype": np.float64, "L": 3}, {"B": 0}, {"I": 0}):
        Stack(cells[name], **options).check()


@pytest.mark.sampled(14)
@pytest.mark.parametrize("name", ["lstm", "gru", "reset_before", "everything"])
@pytest.mark.parametrize("H", [15, 16, 17, 63, 64, 65, 130])
def test_sizes_across_the_panels_and_any_number_of_threads(cells, name, H, set_num_threads):
    for dtype in (np.float32, np.float64):
        stack = Stack(cells[name], B=2, I=H - 1, H=H, V=H + 1, dtype=dtype)
        set_num_threads(1)
        stack.check()
        alone = stack.stepper(stack.head)(stack.x, stack.states)
        stepper = stack.stepper(stack.head)
        for threads in (2, 3, 7):
            set_num_threads(threads)
            y, states = stepper(stack.x, stack.states)
            assert_same_bits((y, *states), (alone[0], *alone[1]))


@pytest.mark.parametrize("P", [1, 4, 66])
def test_projection(cells, P, set_num_threads):
    for threads in (1, 2):
        set_num_threads(threads)
        for dtype in (np.float32, np.float64):
            Stack(cells["lstm"], H=70, P=P, dtype=dtype).check()


@pytest.mark.parametrize("heads", [2, 3])
def test_heads(cells, heads, set_num_threads):
    for threads in (1, 2):
        set_num_threads(threads)
        for name in ("lstm", "gru", "chained"):
            Stack(cells[name], H=24 * heads, heads=heads, B=1).check()


def test_later_changes_are_not_seen_and_results_are_the_callers(cells):
    stack = Stack(cells["peephole"])
    stepper = stack.stepper(stack.head)
    y, states = stepper(stack.x, stack.states)
    kept = (y.copy(), *(state.copy() for state in states))
    for weights in stack.layers:
        for array in (*weights[:-1], *weights.params):
            if array is not None:
                array.fill(7)
    for array in stack.head:
        array.fill(7)
    again = stepper(stack.x, stack.states)
    stepper(2 * stack.x, None)
    assert_same_bits((y, *states), kept)
    assert_same_bits((again[0], *again[1]), kept)


def test_batch_sizes_take_turns(cells):
    stacks = [Stack(cells["gru"], B=B) for B in range(1, 12)]
    stepper = stacks[0].stepper()
    for stack in (*stacks, *stacks):
        stack.layers = stacks[0].layers
        y, states = stepper(stack.x, stack.states)
        expected, after = stack.step(stack.x, stack.states)
        assert_same_bits((y, *states), (expected, *after))


def test_strides_and_read_only_arguments(cells):
    stack = Stack(cells["lstm"], B=2)
    stepper = stack.stepper()
    expected = stepper(stack.x, stack.states)
    x = np.asfortranarray(stack.x)
    states = tuple(np.repeat(state, 2, axis=2)[:, :, ::2] for state in stack.states)
    for array in (x, *states):
        array.flags.writeable = False
    y, after = stepper(x, states)
    assert_same_bits((y, *after), (expected[0], *expected[1]))


def test_a_weight_that_is_not_a_number_shows_in_the_first_step_from_zero_states(cells):
    stack = Stack(cells["rnn_tanh"], L=1)
    stack.layers[0].weight_hh[0, 0] = np.nan
    y, _ = stack.stepper()(stack.x)
    assert np.isnan(y[:, 0]).all()
    assert np.isfinite(y[:, 1:]).all()


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([[1.0]], TypeError, "x must be a numpy array, got list"),
        (np.ones((3, 2), np.float32), ValueError, "x must have shape (3, 3), got (3, 2)"),
        (np.ones(3, np.float32), ValueError, "x must have shape (3, 3), got (3,)"),
        (np.float32(1)[...], ValueError, "x must have shape (1, 3), got ()"),
        (np.ones((3, 3)), TypeError, "x must be float32"),
        (np.ones((3, 3), np.int64), ValueError, "x must be ids of shape (B,), got shape (3, 3)"),
        (np.array([0, -1, 2]), IndexError, "x must be ids from 0 to 2 (weight_ih has 3 columns), got -1"),
        (np.array([0, 3, 2]), IndexError, "got 3"),
        (np.array([0, 2**63, 2], np.uint64), IndexError, "got 9223372036854775808"),
    ],
    ids=str,
)
def test_wrong_input(cells, x, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Stack(cells["gru"]).stepper()(x)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([[[1.0]]], TypeError, "x must be a numpy array, got list"),
        (
            np.ones((3, 3), np.float32),
            ValueError,
            "x must be (T, B, I) with at least one step, got shape (3, 3)",
        ),
        (np.ones((0, 3, 3), np.float32), ValueError, "at least one step, got shape (0, 3, 3)"),
        (
            np.ones(3, np.int64),
            ValueError,
            "x must be ids of shape (T, B) with at least one step, got shape (3,)",
        ),
        (np.ones((2, 3, 4), np.float32), ValueError, "x must be (T, B, I) with I = 3, got shape (2, 3, 4)"),
        (np.array([[0, 3, 2]]), IndexError, "got 3"),
    ],
    ids=str,
)
def test_wrong_inputs_of_a_run(cells, x, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Stack(cells["gru"]).stepper().run(x)


def test_wrong_named_inputs(cells):
    stack = Stack(cells["fed"])
    stepper, forms = stack.stepper(), stack.cell.forms
    for inputs, message in (
        (stack.inputs[:1], "arrays, the named inputs of cell"),
        (tuple(array[:, :2] for array in stack.inputs), "must have shape (2, 3, "),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            stepper(stack.x, None, inputs, forms)
    with pytest.raises(ValueError, match=re.escape("must have shape (2, 4, 3, ")):
        stepper.run(np.stack([stack.x] * 4), None, stack.inputs, forms)


def test_wrong_states(cells):
    stack = Stack(cells["lstm"])
    stepper, (h, c) = stack.stepper(), stack.states
    for states, error, message in (
        ((h,), ValueError, "states must be one array per state (h, c), got 1"),
        ((h, c[:1]), ValueError, "state c must have shape (2, 3, 5), got (1, 3, 5)"),
        ((h, c.astype(np.float64)), TypeError, "state c must be float32"),
        ((h, None), TypeError, "state c must be a numpy array, got NoneType"),
    ):
        with pytest.raises(error, match=re.escape(message)):
            stepper(stack.x, states)


def test_wrong_layers(cells):
    stack = Stack(cells["lstm"], P=4)
    first, second = stack.layers
    for layers, head, error, message in (
        ([], None, ValueError, "at least one layer, got none"),
        ([Weights(None, None)], None, TypeError, "weight_ih must be an array"),
        ([first._replace(weight_hh=None)], None, ValueError, "weight_hh must be an array of shape (20, 4)"),
        ([first, first], None, ValueError, "weight_ih of layer 1 must have shape (20, 4), got (20, 3)"),
        (
            [first, second._replace(weight_hr=np.ones((2, 5), np.float32), weight_hh=second.weight_hh[:, :2])],
            None, ValueError, "weight_hr of layer 1 must have 4 outputs, like that of layer 0, got 2",
        ),
        ([first], (np.ones((2, 5), np.float32), None), ValueError, "weight of the head must have shape (2, 4)"),
        ([first], (np.ones((2, 4), np.float32), np.ones(3, np.float32)), ValueError, "bias of the head"),
        ([first], (np.ones((2, 4)), None), TypeError, "weight of the head must be float32"),
    ):  # fmt: skip
        with pytest.raises(error, match=re.escape(message)):
            Stepper(stack.cell, layers, Settings(), head)


@pytest.mark.parametrize("name", ["lstm_dropout", "lstm_zoneout"])
def test_a_cell_as_in_training_is_refused(cells, name):
    with pytest.raises(ValueError, match="drops out or zones out units at random"):
        Stack(cells[name]).stepper()


def test_dropped_projected_features_are_refused():
    one = np.ones((1, 1), np.float32)
    cell = Cell(lambda x, r, s: x.h + r.h, ("h",), ("h",), "sum")
    with pytest.raises(
        ValueError, match=r"projected features would be dropped at the rate 0\.5: pass feature_dropout=0"
    ):
        Stepper(cell, [Weights(one, one, weight_hr=one)], Settings(feature_dropout=0.5))
