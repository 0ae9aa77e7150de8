import pytest

from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.cell import make_schedule, trace
from rondeau.kernels.cell.graph import Rank
from rondeau.kernels.cell.operations import OPERATIONS
from rondeau.kernels.cpu.phase_call import ARGUMENTS
from rondeau.kernels.recurrent.phase_source import CODE
from rondeau.kernels.recurrent.target import source_of
from rondeau.kernels.sequence import Cell


def _kinds(step, gates, states=("h",)):
    plan = make_schedule(trace(step, gates, states))
    return plan.joint, plan.split, plan.apart


@pytest.mark.parametrize(
    ("step", "kinds"),
    [
        (lambda x, r, s: m.tanh(x.g + r.g), (("g",), (), ())),
        (lambda x, r, s: m.tanh(r.g + x.g), (("g",), (), ())),
        (lambda x, r, s: m.tanh(x.g + r.g) * m.sigmoid(x.g + r.g), (("g",), (), ())),
        (lambda x, r, s: m.tanh(x.g + r.g) * x.g, ((), ("g",), ())),
        (lambda x, r, s: m.tanh(x.g - r.g), ((), ("g",), ())),
        (lambda x, r, s: m.tanh((x.g + s.h) + r.g), ((), ("g",), ())),
        (lambda x, r, s: m.tanh(x.g), ((), (), ("g",))),
        (lambda x, r, s: m.tanh(r.g), ((), ("g",), ())),
        (lambda x, r, s: s.h, ((), (), ("g",))),
    ],
)
def test_a_gate_is_joint_only_if_its_sum_is_all_that_is_read(step, kinds):
    assert _kinds(step, ("g",)) == kinds


def test_joint_gates_come_first_whatever_the_order_of_the_weights(cells):
    plan = cells["menagerie"].schedule
    assert (plan.joint, plan.split, plan.apart) == (("b",), ("a", "d"), ("c",))
    assert plan.slots == (("x", "b"), ("x", "a"), ("x", "d"), ("x", "c"), ("r", "a"), ("r", "d"))
    assert plan.recurrent == ("a", "b", "d")


def test_operands_come_in_the_order_of_computation_the_first_state_first(cells):
    plan = cells["chained"].schedule
    kinds = [(operand.node is None, operand.joint, operand.split) for operand in plan.operands]
    assert kinds == [(True, ("b",), ()), (False, (), ("c", "d")), (False, ("a",), ())]
    assert plan.order == ("b", "a", "c", "d")
    assert plan.values == tuple(operand.node for operand in plan.operands[1:])
    assert cells["alone"].schedule.operands == ()
    assert cells["alone"].schedule.apart == ("h",)


def test_forward_keeps_no_number_of_a_row_that_backward_does_not_want(cells):
    assert cells["lstm"].schedule.kept_rows == ()
    plan = cells["normalised"].schedule
    assert plan.kept_rows
    assert all(plan.graph.rank(node) == Rank.ROW for node in plan.kept_rows)


def test_backward_evaluates_no_expensive_function_that_a_slot_could_keep(cells):
    """LSTM: four of five fit into the four slots, and tanh(c) comes from the state. GRU: all three."""
    for name, again in (("lstm", ["tanh"]), ("gru", []), ("rnn_tanh", []), ("peephole", ["tanh"])):
        plan = cells[name].schedule
        roots = [*plan.adjoints.values(), *plan.state_adjoints.values()]
        known = frozenset(plan.saved.values()) | frozenset(plan.graph.outputs)
        computed = [plan.graph.nodes[i].op for i in plan.graph.reach(roots, known) if i not in known]
        assert [op for op in computed if op in ("tanh", "sigmoid", "exp", "log")] == again


def test_one_slot_never_serves_two_values(cells):
    for cell in cells.values():
        assert len(set(cell.schedule.saved.values())) == len(cell.schedule.saved)
        assert set(cell.schedule.saved) <= set(cell.schedule.slots)


def test_lstm_saves_the_same_whichever_factor_is_written_first():
    def swapped(x, r, s):
        c = m.tanh(x.g + r.g) * m.sigmoid(x.i + r.i) + s.c * m.sigmoid(x.f + r.f)
        return m.tanh(c) * m.sigmoid(x.o + r.o), c

    plan = make_schedule(trace(swapped, ("i", "f", "g", "o"), ("h", "c")))
    assert [plan.graph.nodes[i].op for i in plan.saved.values()] == ["sigmoid", "sigmoid", "tanh", "sigmoid"]


def test_the_target_has_code_for_every_operation():
    assert set(CODE) | {"sum"} == set(OPERATIONS)


def test_the_source_is_readable_python(cells):
    assert (
        source_of(cells["gru"], "forward")
        == """\
def gru_forward(ARGUMENTS):
    for b in range(count):
        gate_n = lanes(storage.gates, row + b, 2, 0)
        bias_n = lanes(storage.bias, 0, 2, 1)
        recurrent_n = lanes(storage.recurrent, row + b, 0, 2)
        second_bias_n = lanes(storage.bias, 0, 3, 3)
        old_h = lanes(storage.states, 0, old + b, 4)
        gate_r = lanes(storage.gates, row + b, 0, 5)
        bias_r = lanes(storage.bias, 0, 0, 6)
        gate_z = lanes(storage.gates, row + b, 1, 7)
        bias_z = lanes(storage.bias, 0, 1, 8)
        new_h = lanes(storage.states, 0, new + b, 9)
        for j in range(low, high):
            x_n = gate_n[j] + bias_n[j]
            r_n = recurrent_n[j] + second_bias_n[j]
            s_h = old_h[j]
            a_r = gate_r[j] + bias_r[j]
            a_z = gate_z[j] + bias_z[j]
            reset = sigmoid(a_r)
            update = sigmoid(a_z)
            v11 = reset * r_n
            v12 = x_n + v11
            n = tanh(v12)
            v15 = float32(1.0) - update
            v16 = v15 * n
            v17 = update * s_h
            h = v16 + v17
            gate_r[j] = reset
            gate_z[j] = update
            gate_n[j] = n
            recurrent_n[j] = r_n
            new_h[j] = h
""".replace("ARGUMENTS", ARGUMENTS)
    )


@pytest.mark.parametrize("name", ["float32", "j", "storage", "gates", "sigmoid", "new", "class_", "row"])
def test_names_of_the_user_never_collide_with_those_of_the_source(name):
    namespace = {"m": m}
    exec(
        f"def step(x, r, s):\n    {name} = m.tanh(x.{name} + r.{name})\n    return {name} * s.{name}",
        namespace,
    )
    cell = Cell(namespace["step"], (name,), (name,), "my cell")
    for direction in ("forward", "backward"):
        source = source_of(cell, direction)
        compile(source, "row", "exec")
        assigned = [line.split(" = ")[0].strip() for line in source.splitlines() if " = " in line]
        plain = [target for target in assigned if "[" not in target]
        assert len(set(plain)) == len(plain)
        assert not {"float32", "j", "b", "storage", "sigmoid", "row", "old", "new"} & set(plain)
