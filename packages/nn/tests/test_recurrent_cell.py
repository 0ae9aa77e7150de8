"""Cells: the built-in ones, those that users write, and what is refused where a step or its declaration is wrong."""

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.cell import CellError
from rondeau.nn import cell_math as m

from .recurrent_layers import assert_near, randn


@nn.recurrent_cell(gates=("z", "n"), states=("h", "e"))
def slow_and_fast(x, r, s):
    """Two states, a comparison, and a gate read apart from its recurrent part."""
    z = m.sigmoid(x.z + r.z)
    h = z * s.h + (1 - z) * m.tanh(x.n * r.n + 0.5)
    return h, m.where(h > s.e, h, 0.9 * s.e + 0.1 * h)


def test_a_cell_documents_itself_as_its_step_does():
    assert slow_and_fast.__doc__.startswith("Two states, a comparison")
    assert nn.cells.gru.__doc__.startswith("Step the gated recurrent unit")


def test_a_users_cell_by_hand():
    T, B, I, H = 5, 2, 3, 4  # noqa: E741
    layer = nn.Recurrent(slow_and_fast, I, H, dtype="float64")
    x = randn(T, B, I)
    output, (h_n, e_n) = layer(x)
    W, R, b, c = (p.detach().numpy() for p in layer.parameters())
    h, e = np.zeros((B, H)), np.zeros((B, H))
    for t in range(T):
        into, back = x.numpy()[t] @ W.T + b, h @ R.T + c
        z = 1 / (1 + np.exp(-(into[:, :H] + back[:, :H])))
        h = z * h + (1 - z) * np.tanh(into[:, H:] * back[:, H:] + 0.5)
        e = np.where(h > e, h, 0.9 * e + 0.1 * h)
        assert_near(output[t], h, 1e-14)
    assert_near(h_n[0], h, 1e-14)
    assert_near(e_n[0], e, 1e-14)


def test_a_projected_cell_of_the_users():
    @nn.recurrent_cell(gates=("a",), states=("h",))
    def leaky(x, r, s):
        return m.relu(x.a + r.a) + 0.1 * x.a

    layer = nn.Recurrent(leaky, 3, 5, proj_size=2, dtype="float64")
    x = randn(4, 2, 3)
    W, R, b, c, P = (p.detach().numpy() for p in layer.parameters())
    h = np.zeros((2, 2))
    output, h_n = layer(x)
    for t in range(4):
        into = x.numpy()[t] @ W.T + b
        h = (np.maximum(into + h @ R.T + c, 0) + 0.1 * into) @ P.T
        assert_near(output[t], h, 1e-14)
    assert_near(h_n[0], h, 1e-14)


def test_the_built_in_layers_are_recurrent_layers_of_the_public_cells():
    for layer, cell in (
        (nn.RNN(3, 5), nn.cells.rnn_tanh),
        (nn.GRU(3, 5), nn.cells.gru),
        (nn.LSTM(3, 5), nn.cells.lstm),
    ):
        assert isinstance(layer, nn.Recurrent)
        assert layer.cell is cell
        general = nn.Recurrent(cell, 3, 5)
        general.load_state_dict(layer.state_dict())
        assert_same_bits(general(rt.ones(4, 2, 3))[0], layer(rt.ones(4, 2, 3))[0])


def test_errors_of_a_step_show_its_line():
    with pytest.raises(CellError, match=r"if x\.a > 0"):

        @nn.recurrent_cell(gates=("a",), states=("h",))
        def branching(x, r, s):
            if x.a > 0:
                return x.a
            return r.a


@pytest.mark.parametrize("function", [rt.tanh, nn.functional.softplus, nn.functional.gelu])
def test_a_function_of_tensors_in_a_step_is_an_error_at_its_line(function):
    with pytest.raises(
        CellError,
        match=r"test_recurrent_cell\.py.*\n +return function\(x\.h\)\nfunction cannot take a symbol; use the fun",
    ):

        @nn.recurrent_cell(gates=("h",), states=("h",))
        def step(x, r, s):
            return function(x.h)


class Misled:
    """Steps that compute on Tensors."""

    tanh = staticmethod(lambda x, r, s: rt.tanh(x.h))
    maximum = staticmethod(lambda x, r, s: m.tanh(rt.maximum(x.h, 0.0) + r.h))
    where = staticmethod(lambda x, r, s: rt.where(x.h > 0, x.h, r.h))
    softplus = staticmethod(lambda x, r, s: nn.functional.softplus(x.h))
    module = staticmethod(lambda x, r, s: nn.Sigmoid()(x.h))

    @staticmethod
    def two_lines(x, r, s):
        return rt.maximum(
            x.h,
            r.h,
        )


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (Misled.tanh, r"rt\.tanh cannot take a symbol; use cell_math\.tanh"),
        (Misled.maximum, r"rt\.maximum cannot take a symbol; use cell_math\.maximum"),
        (Misled.where, r"rt\.where cannot take a symbol; use cell_math\.where"),
        (Misled.softplus, r"nn\.functional\.softplus cannot take a symbol; use cell_math\.softplus"),
        (Misled.module, r"nn\.Sigmoid\(\) cannot take a symbol; use cell_math\.sigmoid"),
        (Misled.two_lines, r"rt\.maximum cannot take a symbol; use cell_math\.maximum"),
        (
            lambda x, r, s: rt.ones(3) * x.h,
            "a step takes symbols and numbers, not Tensors; arrays and learned",
        ),
        (lambda x, r, s: x.h + rt.ones(3), "add takes symbols and numbers, not Tensor"),
    ],
)
def test_a_function_of_tensors_is_named_beside_what_to_use(step, message):
    with pytest.raises(CellError, match=r"test_recurrent_cell\.py.*\n.*\n" + message):
        nn.recurrent_cell(gates=("h",), states=("h",))(step)


def test_a_function_of_tensors_in_a_step_without_source():
    namespace = {"rt": rt}
    exec("def step(x, r, s): return rt.tanh(x.h)", namespace)
    with pytest.raises(
        CellError, match="a function of Tensors cannot take a symbol; use the functions of cell_math"
    ):
        nn.recurrent_cell(gates=("h",), states=("h",))(namespace["step"])


def test_a_function_that_cell_math_does_not_have():
    with pytest.raises(
        AttributeError, match=r"cell_math has no function 'sigmoyd', it has abs, .*; did you mean sigm"
    ):
        nn.recurrent_cell(gates=("h",), states=("h",))(lambda x, r, s: m.sigmoyd(x.h))


def plain_step(x, r, s):
    return m.tanh(x.h - r.h)


@pytest.mark.parametrize(
    ("cell", "hint"),
    [
        (plain_step, r"decorate the step with @nn\.recurrent_cell"),
        ("lstm", r"got 'lstm': did you mean nn\.cells\.lstm\?"),
        ("LSTM", r"did you mean nn\.cells\.lstm\?"),
        (nn.LSTM, r"did you mean nn\.cells\.lstm\?"),
        (nn.RNN, r"did you mean nn\.cells\.rnn_tanh\?"),
        ("transformer", "nn.cells has cfc, ctrnn, "),
        (None, "got None: decorate the step"),
    ],
)
def test_what_is_no_cell_is_refused(cell, hint):
    with pytest.raises(TypeError, match=hint):
        nn.Recurrent(cell, 3, 4)


def test_the_decorator_needs_its_brackets():
    with pytest.raises(TypeError, match=r"write @nn\.recurrent_cell\(gates=\.\.\., states=\.\.\.\)"):

        @nn.recurrent_cell
        def step(x, r, s):
            return x.h


def test_a_declared_gate_or_vector_is_read():
    with pytest.raises(CellError, match="gate z is declared but never read"):
        nn.recurrent_cell(gates=("h", "z"), states=("h",))(plain_step)
    with pytest.raises(CellError, match="parameter v is declared but never read"):
        nn.recurrent_cell(gates=("h",), states=("h",), params={"v": nn.init.zeros_})(lambda x, r, s, p: x.h)


def vector_added(x, r, s, p):
    return m.tanh(x.h + p.v)


def with_initialiser(initialiser):
    return nn.recurrent_cell(gates=("h",), states=("h",), params={"v": initialiser})(vector_added)


def test_a_vector_is_initialised_in_place_and_unrecorded():
    layer = nn.Recurrent(with_initialiser(lambda vector: vector.fill_(1.5)), 2, 3)
    assert layer.v_l0.tolist() == [1.5] * 3
    assert layer.v_l0.is_leaf
    assert layer.v_l0.requires_grad


@pytest.mark.parametrize("initialiser", [lambda v: None, lambda v: rt.ones(3), lambda v: v[1:].fill_(1.0)])
def test_an_initialiser_that_leaves_elements_unset(initialiser):
    with pytest.raises(
        ValueError, match="initialiser of the parameter v of cell vector_added left elements unset"
    ):
        nn.Recurrent(with_initialiser(initialiser), 2, 3)


@pytest.mark.parametrize(
    ("arguments", "step", "message"),
    [
        ({"gates": 1}, plain_step, r"gates must be a tuple of names, got 1: write @nn\.recurrent_cell"),
        ({"gates": "h"}, plain_step, "gates must be a tuple of names, got 'h'"),
        ({"states": None}, plain_step, "states must be a tuple of names, got None"),
        ({"params": ["peephole"]}, plain_step, "params must be a mapping of names to initialisers"),
        (
            {"params": {"v": 1.0}},
            vector_added,
            r"params\['v'\] must be a function that fills the vector in place, such as nn.init.zeros_ .* got 1.0",
        ),
        ({"name": 7}, plain_step, "name must be a string, got 7"),
        ({}, "nonsense", "a cell is made from a function step.x, r, s., got 'nonsense'"),
        ({}, None, "a cell is made from a function"),
    ],
)
def test_what_no_cell_is_made_of_is_refused(arguments, step, message):
    with pytest.raises(TypeError, match=message):
        nn.recurrent_cell(**{"gates": ("h",), "states": ("h",)} | arguments)(step)
