"""Argument validation of the recurrent core: arguments of the wrong type."""

import numpy as np
import pytest

from rondeau.kernels.cell import CellError
from rondeau.kernels.recurrent.checks import complete_settings
from rondeau.kernels.sequence import Cell, Layout, Run, Settings, Weights, forward
from rondeau.kernels.stepper import Stepper

ONE = np.ones((1, 1), np.float32)
GOOD = {"x": ONE, "weights": Weights(ONE, ONE), "initial": (ONE,)}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"run": {"layout": (1, 1)}},
            TypeError,
            "layout must be a Layout of rondeau.kernels.sequence, got tuple",
        ),
        (
            {"weights": [ONE, ONE]},
            TypeError,
            "weights must be Weights of rondeau.kernels.sequence, got list",
        ),
        (
            {"weights": Weights(ONE, ONE, params=None)},
            ValueError,
            r"params must be 0 vectors \(\), got NoneType",
        ),
        (
            {"run": {"recompute_every": 0}},
            ValueError,
            "recompute_every must be a number of steps, at least 1, got 0",
        ),
        ({"initial": 3}, ValueError, r"initial must be one array per state \(h\), got int"),
        (
            {"run": {"settings": Settings(num_heads="two")}},
            ValueError,
            "num_heads must be a divisor of the 1 hidden units, got 'two'",
        ),
        (
            {"run": {"settings": {"key": 1}}},
            TypeError,
            "settings must be Settings of rondeau.kernels.sequence, got {'key': 1}",
        ),
    ],
)
def test_what_is_of_another_kind_is_refused(cells, change, error, message):
    run = Run(cells["rnn_tanh"], Layout.dense(1, 1))._replace(**change.get("run", {}))
    with pytest.raises(error, match=message):
        forward(run, **{name: change.get(name, value) for name, value in GOOD.items()})


def test_what_is_no_run_is_refused():
    with pytest.raises(TypeError, match=r"run must be a Run of .*, got NoneType"):
        forward(None, **GOOD)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (Settings(scalars=[1, 2]), TypeError, r'a dict with keys such as \("k", name\), got \[1, 2\]'),
        (Settings(scalars={"leak": 1}), TypeError, r'keys such as \("k", name\)'),
        (Settings({("k", "leak"): "much"}), TypeError, "the scalar leak must be a number, got 'much'"),
        (
            Settings(key=-1),
            ValueError,
            r"key of the settings must be an integer from 0 to 18446744073709551616 - 1",
        ),
        (Settings(key=0.5), ValueError, "key of the settings must be an integer .* got 0.5"),
        (Settings(substream="s"), ValueError, "substream of the settings must be an integer .* got 's'"),
    ],
)
def test_settings_hold_numbers(cells, settings, error, message):
    with pytest.raises(error, match=message):
        complete_settings(cells["leaky"], settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": 3}, "params must be a dict of names and initialisers, got int"),
        ({"project": np.ones(2)}, "project must be the name of a state, or None, got ndarray"),
        ({"regularisers": None}, "regularisers must be Regularisers, got NoneType"),
        ({"gates": 3}, "gates must be a tuple of names"),
    ],
)
def test_options_of_a_cell_are_of_their_kind(change, message):
    good = {"step": lambda x, r, s: x.h + r.h, "gates": ("h",), "states": ("h",), "name": "sum"}
    with pytest.raises(CellError, match=message):
        Cell(**(good | change))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None,), ValueError, "the weights of at least one layer, got NoneType"),
        (([None],), TypeError, "weights must be Weights of rondeau.kernels.sequence, got NoneType"),
        (([Weights(ONE, ONE)], Settings(), 3), ValueError, r"a weight and a bias \(or None\), got 3"),
        (([Weights(ONE, ONE)], Settings(), (ONE,)), ValueError, "head must be a weight and a bias"),
    ],
)  # fmt: skip
def test_a_stepper_is_made_of_weights(cells, arguments, error, message):
    with pytest.raises(error, match=message):
        Stepper(cells["rnn_tanh"], *arguments)


def test_the_states_of_a_stepper_are_arrays(cells):
    with pytest.raises(ValueError, match=r"states must be one array per state \(h\), got float"):
        Stepper(cells["rnn_tanh"], [Weights(ONE, ONE)])(ONE, 0.5)
