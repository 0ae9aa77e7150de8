"""A stepper with weights in int8 against steps of the layers with the weights that it stands for."""

import re

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau.kernels.stepper import Stepper

from .test_stepper import STEPPING, Stack

SHARE, LEAST = 1 / 20, 1e-5
"""What rounding left operands to 16 bits may cost: a share of what rounding the weights costs, which is 1/100 and less
in what is drawn here, or float32's own rounding."""


def dequantised(weight):
    """The weights that int8 stands for, in NumPy."""
    if weight is None or not weight.size:
        return weight
    scale = np.abs(weight).max(axis=1, keepdims=True) / np.float32(127)
    return np.rint(weight / scale).astype(np.float32) * scale


class RoundedStack(Stack):
    """Layers whose step in float32 has dequantised weights, and whose stepper rounds the original ones."""

    def __init__(self, cell, **options):
        super().__init__(cell, **options)
        self.original, self.original_head = self.layers, self.head
        names = ("weight_ih", "weight_hh", "weight_hr")
        self.layers = [
            w._replace(**{name: dequantised(getattr(w, name)) for name in names}) for w in self.original
        ]
        self.head = dequantised(self.head[0]), self.head[1]

    def stepper(self, head=None):
        head = None if head is None else (self.original_head[0], head[1])
        return Stepper(self.cell, self.original, self.settings, head, "int8")

    def check(self):
        """A step of vectors and one of ids, from given states, and one from zeros."""
        zeros = tuple(np.zeros_like(state) for state in self.states)
        for head in (None, self.head):
            stepper = self.stepper(head)
            plain = Stepper(
                self.cell, self.original, self.settings, head and (self.original_head[0], head[1])
            )
            for time, (x, states) in enumerate(
                ((self.x, self.states), (self.ids, self.states), (self.x, None))
            ):
                y, after = stepper(x, states, self.inputs, self.cell.forms)
                unrounded, others = plain(x, states, self.inputs, self.cell.forms)
                expected, before = self.step(x, zeros if states is None else states, head, time)
                for got, wanted, other in zip(
                    (y, *after), (expected, *before), (unrounded, *others), strict=True
                ):
                    cost = np.abs(other - wanted).max(initial=0)
                    assert got.dtype == np.float32
                    assert np.abs(got - wanted).max(initial=0) <= SHARE * cost + LEAST


@pytest.mark.sampled(12)
@pytest.mark.parametrize("name", STEPPING)
def test_a_step_is_that_of_the_weights_it_stands_for(cells, name):
    for options in ({}, {"bias": False, "B": 1, "L": 1, "H": 70}, {"B": 0}, {"B": 7, "V": 90, "I": 40}):
        RoundedStack(cells[name], **options).check()


@pytest.mark.parametrize("options", [{"P": 4}, {"P": 66, "L": 3}, {"heads": 2, "H": 48}], ids=str)
def test_projection_and_heads(cells, options, set_num_threads):
    for threads in (1, 2):
        set_num_threads(threads)
        RoundedStack(cells["lstm"], **{"H": 70} | options).check()


@pytest.mark.parametrize("H", [15, 64, 130])
@pytest.mark.parametrize("name", ["lstm", "reset_before", "everything"])
def test_any_number_of_threads_and_any_batch_give_the_same_bits(cells, name, H, set_num_threads):
    stack = RoundedStack(cells[name], B=6, I=H - 1, H=H, V=H + 1)
    stepper, found = stack.stepper(stack.head), []
    for threads in (1, 2, 3, 7):
        set_num_threads(threads)
        y, states = stepper(stack.x, stack.states, stack.inputs, stack.cell.forms)
        found.append((y, *states))
    for again in found[1:]:
        assert_same_bits(again, found[0])
    if not stack.cell.draws_noise:
        some = slice(1, 3)
        given = tuple(state[:, some] for state in stack.states)
        inputs = tuple(array[:, some] for array in stack.inputs)
        y, states = stepper(stack.x[some], given, inputs, stack.cell.forms)
        assert_same_bits((y, *states), (found[0][0][some], *(state[:, some] for state in found[0][1:])))


def test_a_run_is_its_steps(cells, set_num_threads):
    """Whatever the number of threads, and of rows that are rounded at once."""
    for threads in (1, 2, 3):
        set_num_threads(threads)
        for name, options in (
            ("lstm", {"H": 70, "P": 66}),
            ("gru", {"H": 48, "heads": 2, "B": 1}),
            ("everything", {"H": 130, "I": 129, "V": 131, "L": 1}),
        ):
            RoundedStack(cells[name], **options).check_run(4)


def test_the_memory_is_a_quarter(cells):
    stack = RoundedStack(cells["lstm"], H=256, I=256, L=1)
    whole = Stepper(stack.cell, stack.original, stack.settings)._frozen.layers
    packed = stack.stepper()._frozen.layers
    for name in ("packed_ih", "packed_hh"):
        assert getattr(packed, name).nbytes < 0.27 * getattr(whole, name).nbytes


def test_a_weight_that_is_not_a_number_shows_in_the_first_step_from_zero_states(cells):
    stack = RoundedStack(cells["rnn_tanh"], L=1)
    stack.original[0].weight_hh[0, 0] = np.nan
    y, _ = stack.stepper()(stack.x)
    assert np.isnan(y[:, 0]).all()
    assert np.isfinite(y[:, 1:]).all()


def test_later_changes_are_not_seen(cells):
    stack = RoundedStack(cells["gru"])
    stepper = stack.stepper(stack.head)
    y, states = stepper(stack.x, stack.states)
    for weights in stack.original:
        weights.weight_ih.fill(7)
        weights.weight_hh.fill(7)
    stack.original_head[0].fill(7)
    again = stepper(stack.x, stack.states)
    assert_same_bits((again[0], *again[1]), (y, *states))


def test_refusals(cells):
    stack = Stack(cells["gru"])
    with pytest.raises(ValueError, match="weights must be float32 or int8, got 'int4'"):
        Stepper(stack.cell, stack.layers, stack.settings, None, "int4")
    with pytest.raises(ValueError, match=re.escape("weights must be float32 or int8, got ['int8']")):
        Stepper(stack.cell, stack.layers, stack.settings, None, ["int8"])
    double = Stack(cells["gru"], dtype=np.float64)
    with pytest.raises(TypeError, match="weights in int8 need layers of float32, got float64: convert them"):
        Stepper(double.cell, double.layers, double.settings, None, "int8")
