"""Predictions: the model's clocks in microseconds, and what a step must do."""

from __future__ import annotations

import pytest
from tools.cuda_plan import A100, H200, LAUNCH, plan_of, stepwise


def test_an_lstm_of_512_units() -> None:
    """By hand: four gates, 4 groups of 32 blocks, each of 8 rows, which read the 512 states of their rows."""
    plan = plan_of("lstm", "forward", 512, 32)
    assert plan is not None
    assert (plan.groups, plan.blocks, plan.tile.rows, plan.barriers) == (4, 32, 8, 1)
    assert plan.flops == 2 * 32 * 512 * 4 * 512
    # Four slots are read and saved; two states are written.
    assert plan.memory == 4 * 32 * 512 * (4 + 4 + 2)
    assert plan.exchanged == 128 * 8 * 512 * 4
    assert plan.predicted == pytest.approx(plan.work.clocks() / 1755)
    assert plan.floor == pytest.approx(plan.flops / (132 * 128 * 2 * 1755))
    assert plan.floor < plan.issuing < plan.predicted


def test_backward_reads_the_adjoints_of_all_gates() -> None:
    forward, backward = (plan_of("gru", direction, 256, 64) for direction in ("forward", "backward"))
    assert forward is not None
    assert backward is not None
    assert backward.flops == forward.flops
    assert backward.exchanged == 3 * forward.exchanged  # with the same cut
    assert backward.memory > forward.memory


def test_an_a100_multiplies_half_as_many_numbers_a_clock() -> None:
    plan = plan_of("lstm", "forward", 256, 32, A100)
    assert plan is not None
    clocks = max(plan.work.issued / 2, plan.work.loaded / 64) + plan.work.waited
    assert plan.predicted == pytest.approx(plan.work.rounds * clocks / 1410)
    assert A100.flops == pytest.approx(19.5e6, rel=0.01)
    assert H200.flops == pytest.approx(59.3e6, rel=0.01)


def test_small_layers_wait_for_no_other_block_and_large_ones_do_not_fit() -> None:
    small = plan_of("lstm", "forward", 64, 32)
    assert small is not None
    assert (small.blocks, small.barriers, small.exchanged) == (1, 0, 0)
    normalised = plan_of("lstm_layer_norm", "forward", 512, 32)
    assert normalised is not None
    assert normalised.barriers > 1
    assert plan_of("lstm", "forward", 1024, 64) is None


def test_step_by_step_python_issues_each_launch() -> None:
    """By hand: a GRU's backward has two products, of joint gates and of the split one, their sum, and a kernel."""
    plan = stepwise("gru", "backward", 256, 64)
    assert plan.launches == 4
    assert plan.predicted == 4 * LAUNCH
    whole = plan_of("gru", "backward", 256, 64)
    assert whole is not None
    assert (plan.flops, plan.memory) == (whole.flops, whole.memory)
    assert plan.weights == 4 * 3 * 256**2
    large = stepwise("lstm", "forward", 4096, 256)
    assert large.predicted == pytest.approx(large.weights / (64 * 132 * 1755) + large.flops / H200.flops)
