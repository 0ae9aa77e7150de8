import itertools
import math
import re

import numpy as np
import pytest

from comparing import assert_close
from rondeau.kernels.cell import CellError, check_all_are_read, trace
from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.cell.graph import Rank
from rondeau.kernels.cell.regularisers import Regularisers
from rondeau.kernels.cell.symbols import apply


def _if(x, r, s):
    if x.h > 0:
        return x.h
    return r.h


def _min(x, r, s):
    return min(x.h, r.h)


def _and(x, r, s):
    return m.where(x.h > 0 and r.h > 0, x.h, r.h)


def _chained(x, r, s):
    return m.where(0 < x.h < 1, x.h, r.h)


def _math(x, r, s):
    return math.tanh(x.h)


def _numpy(x, r, s):
    return np.tanh(x.h)


def _numpy_where(x, r, s):
    return np.where(x.h > 0, x.h, r.h)


def _unknown_ufunc(x, r, s):
    return np.sinc(x.h)


def _length(x, r, s):
    return x.h * len(r.h)


def _iterate(x, r, s):
    return sum(x.h)


def _index(x, r, s):
    return x.h[0]


def _method(x, r, s):
    return x.h.tanh()


def _gate(x, r, s):
    return x.hh + r.h


def _state(x, r, s):
    return x.h + s.cell


def _array(x, r, s):
    return x.h + np.ones(3)


def _string(x, r, s):
    return x.h + "1"


def _power(x, r, s):
    return x.h**r.h


def _comparison_added(x, r, s):
    return x.h + (r.h > 0)


def _number_as_condition(x, r, s):
    return m.where(x.h, x.h, r.h)


def _matrix_product(x, r, s):
    return m.tanh(x.h @ r.h)


def _array_times(x, r, s):
    return np.ones(3) @ x.h


def _remainder(x, r, s):
    return x.h % 2


def _whole_division(x, r, s):
    return 2 // x.h


def _symbol_as_exponent(x, r, s):
    return 2**x.h


def _too_many(x, r, s):
    return x.h, r.h


def _nothing(x, r, s):
    pass


def _returns_comparison(x, r, s):
    return x.h > r.h


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (_if, "has no truth value"),
        (_min, "has no truth value"),
        (_and, "combine comparisons with & | ~"),
        (_chained, "has no truth value"),
        (_math, "math.tanh and its kin"),
        (_numpy, "numpy.tanh cannot take a symbol; use cell_math.tanh"),
        (_numpy_where, "numpy.where cannot take a symbol; use cell_math.where"),
        (_unknown_ufunc, "cannot take a symbol"),
        (_length, "has no length"),
        (_iterate, "cannot be iterated over"),
        (_index, "cannot be indexed"),
        (_method, "no attribute 'tanh'; functions are in cell_math"),
        (_gate, "x.hh is not a gate of this cell, which has h; did you mean x.h?"),
        (_state, "s.cell is not a state of this cell, which has h"),
        (_array, "not ndarray"),
        (_string, "not str"),
        (_power, "a power takes a number as its exponent, not RecurrentPart"),
        (_comparison_added, "use where(condition, 1, 0)"),
        (_number_as_condition, "takes a comparison as its operand 0"),
        (_matrix_product, "a step is scalar: r.h already holds the product"),
        (_array_times, "a step is scalar: r.h already holds the product"),
        (_remainder, "not // or %"),
        (_whole_division, "not // or %"),
        (_symbol_as_exponent, "use exp(x * log(base))"),
        (_too_many, "returned 2 values, but the cell has 1 state (h)"),
        (_nothing, "the step returns nothing: end it with `return` and the new state of h"),
        (_returns_comparison, "must be a number, not a comparison"),
    ],
)
def test_a_step_that_cannot_be_traced_shows_the_users_line(step, message):
    with pytest.raises(CellError, match=re.escape(message)) as info:
        trace(step, ("h",), ("h",))
    shown = str(info.value)
    assert f'File "{__file__}", line ' in shown
    assert f"in {step.__name__}" in shown
    line = int(re.search(r"line (\d+)", shown)[1])
    first = step.__code__.co_firstlineno
    assert first <= line <= first + 3
    with open(__file__) as file:
        assert next(itertools.islice(file, line - 1, None)).strip() in shown


@pytest.mark.parametrize(
    ("gates", "states", "message"),
    [
        ("h", ("h",), 'must be a tuple of names, as in ("h",)'),
        ((), ("h",), "must be a tuple of names"),
        (("h", "h"), ("h",), "must differ"),
        (("a b",), ("h",), "'a b' is not a name"),
        (("h",), ("_h",), "'_h' is not a name"),
    ],
)
def test_names_are_checked(gates, states, message):
    with pytest.raises(CellError, match=re.escape(message)):
        trace(lambda x, r, s: x.h, gates, states)


def test_a_step_takes_three_arguments_or_four():
    with pytest.raises(CellError, match="a step takes three arguments"):
        trace(lambda x, r: x.h, ("h",), ("h",))
    with pytest.raises(CellError, match=r"a step that reads learned vectors p needs params=\{\.\.\.\}"):
        trace(lambda x, r, s, p: x.h, ("h",), ("h",))
    with pytest.raises(CellError, match=r"a step takes four arguments: .*, p \(parameters\)"):
        trace(lambda x, r, s: x.h, ("h",), ("h",), ("u",))


def _unknown_parameter(x, r, s, p):
    return x.h * p.gian


def _value_is_a_number(x, r, s, p):
    return x.h + r.h(0.5)


def _value_of_the_row(x, r, s, p):
    return x.h + r.h(apply(x.h.graph, "sum", x.h))


def _value_is_an_array(x, r, s, p):
    return x.h + r.h(np.ones(3))


def _two_values(x, r, s, p):
    return x.h + r.h(x.h, s.h)


def _no_value(x, r, s, p):
    return x.h + r.h()


def _few_gains(x, r, s, p):
    return m.layer_norm((x.h, r.h), (p.gain,))[0]


def _one_gain_for_two(x, r, s, p):
    return m.layer_norm((x.h, r.h), None, p.gain)[0]


def _many_gains(x, r, s, p):
    return m.layer_norm(x.h, (p.gain,))


def _value_is_a_comparison(x, r, s, p):
    return x.h + r.h(x.h > s.h)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            _unknown_parameter,
            "p.gian is not a parameter of this cell, which has gain, bias; did you mean p.gain?",
        ),
        (_value_is_a_number, "r.h(value) takes a value that the step computed, not float"),
        (_value_of_the_row, "r.h(value) takes one number per hidden unit"),
        (_value_is_an_array, "r.h(value) takes a value that the step computed, not ndarray"),
        (_two_values, "r.h(value) takes one value, got 2"),
        (_no_value, "r.h(value) takes one value, got 0"),
        (_few_gains, "layer_norm of 2 values takes as many weights and biases, or none, got 1"),
        (_one_gain_for_two, "layer_norm of 2 values takes as many weights and biases, or none, got 1"),
        (_many_gains, "layer_norm of 1 values takes as many weights and biases, or none, got 1"),
        (_value_is_a_comparison, "comparison"),
    ],
)
def test_a_step_with_parameters_that_cannot_be_traced_shows_the_users_line(step, message):
    with pytest.raises(CellError, match=re.escape(message)) as info:
        trace(step, ("h",), ("h",), ("gain", "bias"))
    assert f'File "{__file__}", line {step.__code__.co_firstlineno + 1}, in {step.__name__}' in str(
        info.value
    )


@pytest.mark.parametrize(
    "step",
    [
        lambda x, r, s: r.h + r.h(s.h * x.h),
        lambda x, r, s: r.h(x.h) + r.h(s.h),
        lambda x, r, s: r.h(r.h),
    ],
)
def test_a_matrix_is_applied_once(step):
    with pytest.raises(
        CellError, match=re.escape("r.h is applied to two values, but a recurrent matrix takes only one")
    ):
        trace(step, ("h",), ("h",))


def test_a_product_written_twice_is_one():
    graph = trace(lambda x, r, s: r.h(x.h) * r.h(x.h) + x.k, ("h", "k"), ("h",))
    assert [node.op for node in graph.nodes].count("product") == 1
    assert list(graph.recurrent_parts) == ["h"]


def test_a_product_that_no_state_needs_counts_for_nothing():
    def step(x, r, s):
        r.h(x.h)
        return r.h + x.k

    assert list(trace(step, ("h", "k"), ("h",)).recurrent_parts) == ["h"]


def _no_default(x, r, s, *, leak):
    return leak * x.h


def _truth_as_default(x, r, s, *, leak=True):
    return leak * x.h


def test_a_scalar_needs_its_star():
    def step(x, r, s, dt=1.0):
        return dt * x.h + r.h

    with pytest.raises(
        CellError, match=re.escape("dt is positional, and so a constant of the step; write `*, dt=1.0`")
    ):
        trace(step, ("h",), ("h",))
    with pytest.raises(CellError, match="dt is positional"):
        trace(lambda x, r, s, dt=1.0: dt * x.h, ("h",), ("h",), ("u",))


def test_a_default_that_is_no_number_is_the_steps_own():
    trace(lambda x, r, s, function=m.tanh, clipped=True: function(x.h), ("h",), ("h",))
    trace(lambda x, r, s, p=None: x.h, ("h",), ("h",))


@pytest.mark.parametrize("step", [_no_default, _truth_as_default])
def test_a_scalar_needs_a_number_as_its_default(step):
    with pytest.raises(
        CellError, match=r"the scalar leak needs a number as its default, as in \*, leak=0\.5"
    ):
        trace(step, ("h",), ("h",))


def test_scalars_and_parameters_are_inputs():
    graph = trace(lambda x, r, s, p, *, leak=0.5: leak * x.h + p.u, ("h",), ("h",), ("u",))
    inputs = {node.value: graph.rank(i) for i, node in enumerate(graph.nodes) if node.op == "input"}
    assert inputs["k", "leak"] == Rank.CALL
    assert inputs["p", "u"] == inputs["x", "h"] == Rank.UNIT


def test_ranks():
    ranks = {}

    def step(x, r, s, *, k=2.0):
        total = apply(x.h.graph, "sum", x.h)
        for name, symbol in {
            "call": k * 3, "row": total * k, "unit": total * x.h, "truth": total > k, "width": apply(k.graph, "sum", k),
            "row of row": apply(total.graph, "sum", total),
        }.items():  # fmt: skip
            ranks[name] = symbol.graph.rank(symbol.index)
        return x.h

    trace(step, ("h",), ("h",))
    assert ranks == {
        "call": Rank.CALL, "row": Rank.ROW, "unit": Rank.UNIT, "truth": Rank.ROW, "width": Rank.CALL,
        "row of row": Rank.ROW,
    }  # fmt: skip


def test_regularisers_are_woven_into_the_step():
    def step(x, r, s):
        return m.tanh(x.h + r.h), s.c + x.h

    def ops(**options):
        graph = trace(step, ("h",), ("h", "c"), (), Regularisers(**options))
        nodes = [graph.nodes[i] for i in graph.reach(graph.outputs)]
        return [node.value if node.op == "input" else node.op for node in nodes]

    assert ("mask", "h") not in ops()
    assert {("mask", "h"), "product"} < set(ops(dropout=True))
    assert {("zoneout", "c"), ("rate", "c"), "lt", "where"} < set(ops(zoneout=("c",)))
    assert ("zoneout", "h") not in ops(zoneout=("c",))
    assert not {("zoneout", "c"), "lt", "where"} & set(ops(zoneout=("c",), expected=True))
    assert ("rate", "c") in ops(zoneout=("c",), expected=True)


def _gate_for_nothing(x, r, s):
    unused = m.sigmoid(x.z + r.z)  # noqa: F841
    return m.tanh(x.h + r.h)


@pytest.mark.parametrize(
    "step",
    [lambda x, r, s: x.h + r.h, _gate_for_nothing, lambda x, r, s: x.h * s.h, lambda x, r, s: r.h(s.h * x.h)],
)
@pytest.mark.parametrize("regularisers", [Regularisers(), Regularisers(True, ("h",))])
def test_a_gate_on_which_nothing_depends_is_refused(step, regularisers):
    graph = trace(step, ("h", "z"), ("h",), (), regularisers)
    with pytest.raises(
        CellError, match=r"gate z is declared but never read: no new state depends on x\.z or r\.z"
    ):
        check_all_are_read(step, graph)


@pytest.mark.parametrize("step", [lambda x, r, s: x.a * r.b, lambda x, r, s: x.a * r.b(s.h * s.h)])
def test_one_part_of_a_gate_is_enough(step):
    check_all_are_read(step, trace(step, ("a", "b"), ("h",)))


def test_a_step_that_reads_nothing_is_refused():
    def step(x, r, s):
        return 1.0

    with pytest.raises(CellError, match="gate h is declared but never read"):
        check_all_are_read(step, trace(step, ("h",), ("h",)))


def test_a_learned_vector_on_which_nothing_depends_is_refused():
    def step(x, r, s, p):
        return x.h * p.u

    with pytest.raises(
        CellError, match=r"parameter v is declared but never read: no new state depends on p\.v"
    ):
        check_all_are_read(step, trace(step, ("h",), ("h",), ("u", "v")))


def test_a_function_that_does_not_exist():
    message = re.escape(
        f"cell_math has no function 'tahn', it has {', '.join(m.__all__)}; did you mean tanh?"
    )
    with pytest.raises(AttributeError, match=message):
        trace(lambda x, r, s: m.tahn(x.h), ("h",), ("h",))
    with pytest.raises(AttributeError, match="cell_math has no function 'foo', it has abs, clamp,"):
        _ = m.foo


def test_a_symbol_does_not_outlive_its_call():
    kept = []
    trace(lambda x, r, s: kept.append(x.h) or x.h, ("h",), ("h",))
    with pytest.raises(CellError, match="kept from an earlier call"):
        trace(lambda x, r, s: x.h + kept[0], ("h",), ("h",))
    with pytest.raises(CellError, match="kept from an earlier call"):
        trace(lambda x, r, s: kept[0], ("h",), ("h",))


def test_an_error_of_the_step_itself_passes():
    with pytest.raises(ZeroDivisionError):
        trace(lambda x, r, s: x.h * (1 / 0), ("h",), ("h",))


def test_equal_values_are_recorded_once():
    graph = trace(lambda x, r, s: m.tanh(x.h + r.h) * m.tanh(x.h + r.h), ("h",), ("h",))
    ops = [graph.nodes[i].op for i in graph.reach(graph.outputs)]
    assert ops == ["input", "input", "add", "tanh", "mul"]


def test_zero_and_minus_zero_are_two_constants():
    graph = trace(lambda x, r, s: (x.h * 0.0) + (x.h * -0.0), ("h",), ("h",))
    assert sorted(str(node.value) for node in graph.nodes if node.op == "const") == ["-0.0", "0.0"]


def test_numpy_scalars_are_numbers_on_either_side():
    graph = trace(lambda x, r, s: np.float32(2) * x.h - np.float64(1) / r.h, ("h",), ("h",))
    assert str(graph).splitlines()[-1].startswith("new h")
    assert [graph.nodes[i].op for i in graph.reach(graph.outputs)].count("const") == 2


def test_a_whole_power_is_repeated_squaring():
    graph = trace(lambda x, r, s: x.h**5, ("h",), ("h",))
    assert [graph.nodes[i].op for i in graph.reach(graph.outputs)] == ["input", "mul", "mul", "mul"]


def test_variables_of_the_step_name_its_values():
    def step(x, r, s):
        gate = m.sigmoid(x.h + r.h)
        return gate * s.h

    graph = trace(step, ("h",), ("h",))
    assert {name: graph.nodes[i].op for i, name in graph.labels.items()} == {"gate": "sigmoid"}


@pytest.mark.parametrize("name", sorted({*m.__all__} - {"layer_norm", "normal", "uniform"}))
def test_functions_compute_on_numbers_and_arrays_what_torch_does(name):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 100)) * 3
    if name in ("log", "log1p", "sqrt", "pow"):
        a = np.abs(a)
    b[:10] = a[:10]
    numbers = {"pow": (1.5,), "clamp": (-1.0, 2.0)}.get(name, ())
    operands = {"where": (a > b, a, b), "minimum": (a, b), "maximum": (a, b)}.get(name, (a,))
    home = torch.nn.functional if name == "softplus" else torch
    expected = getattr(home, name)(*(torch.from_numpy(o) for o in operands), *numbers).numpy()
    assert_close(getattr(m, name)(*operands, *numbers), expected, rtol=1e-7)
    assert_close(getattr(m, name)(*(o[3].item() for o in operands), *numbers), expected[3], rtol=1e-7)


def test_sigmoid_keeps_both_tails():
    assert_close(m.sigmoid(np.array([-700.0, -40.0])), np.exp([-700.0, -40.0]), rtol=1e-15)
    assert m.sigmoid(np.array([800.0, -800.0])).tolist() == [1.0, 0.0]


def test_a_name_that_python_reads_as_another_is_refused():
    with pytest.raises(CellError, match="gate '\ufb01' is read by Python as 'fi': use that name"):
        trace(lambda x, r, s: s.h, ("\ufb01", "fi"), ("h",))
    with pytest.raises(CellError, match="state '\ufb01' is read by Python as 'fi'"):
        trace(lambda x, r, s: (s.h, s.fi), ("h",), ("h", "\ufb01"))


@pytest.mark.parametrize("step", [lambda x, r, s: x.h * 10**400, lambda x, r, s: 10**400])
def test_a_number_beyond_float64_is_refused(step):
    with pytest.raises(CellError, match="beyond the range of float64; write float"):
        trace(step, ("h",), ("h",))


def test_a_step_without_a_signature_is_refused():
    with pytest.raises(
        CellError, match="a step is a Python function of x, r and s, got <built-in function max>"
    ):
        trace(max, ("h",), ("h",))


@pytest.mark.parametrize(
    ("step", "params", "inputs", "expected"),
    [
        (lambda x, r, s, u: x.h + u.dt, (), {"dt": "step"}, ("x", "u")),
        (lambda u, s, r, x: x.h + u.dt, (), {"dt": "step"}, ("x", "u")),
        (lambda a, b, c, d: a.h + d.dt, (), {"dt": "step"}, ("x", "u")),
        (lambda u, p, s, r, x: p.w + u.dt, ("w",), {"dt": "sequence"}, ("p", "u")),
        (lambda a, b, c, d, e: d.w + e.dt, ("w",), {"dt": "sequence"}, ("p", "u")),
        (lambda s, x, r: x.h + r.h, (), {}, ("x", "r")),
    ],
)
def test_arguments_go_by_name_where_all_have_their_names_and_else_by_position(step, params, inputs, expected):
    graph = trace(step, ("h",), ("h",), params, inputs=inputs)
    nodes = [graph.nodes[i] for i in graph.reach(graph.outputs)]
    assert sorted(node.value[0] for node in nodes if node.op == "input") == sorted(expected)


@pytest.mark.parametrize(
    ("step", "inputs", "message"),
    [
        (
            lambda x, r, state: state.h,
            {},
            "the step takes x, r, state: either all of its arguments are named x, r, s",
        ),
        (lambda x, r, s, p: x.h, {"dt": "step"}, r"four arguments: .*, u \(inputs\)"),
        (lambda x, r, s, u: x.h, {}, "a step that reads inputs u needs inputs="),
        (lambda x, r, s: x.h, {"dt": "step"}, r"four arguments: .*, u \(inputs\)"),
        (
            lambda x, r, s, u: u.dtt,
            {"dt": "step"},
            "u.dtt is not an input of this cell, which has dt; did you mean u.dt",
        ),
        (
            lambda x, r, s, u: u.dt,
            {"dt": "often"},
            "input dt must be of the kind 'step' or 'sequence', got 'often'",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(step, inputs, message):
    with pytest.raises(CellError, match=message):
        trace(step, ("h",), ("h",), inputs=inputs)
