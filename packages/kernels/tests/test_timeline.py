"""In which order row functions compute, and what they put by, read off the emitted source of small cells."""

import re

import pytest

from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.cell import make_schedule, trace
from rondeau.kernels.cell.graph import Rank
from rondeau.kernels.cell.symbols import apply
from rondeau.kernels.recurrent.target import source_of
from rondeau.kernels.sequence import Cell

GATES = ("a", "b")


def make(step, states=("h",), params=()):
    return Cell(step, GATES, states, "small", dict.fromkeys(params))


def sources(cell, direction):
    """Return the statements of every phase, one list a phase, lanes left out."""
    phases = re.split(r"\ndef ", source_of(cell, direction))
    return [
        [line.strip() for line in phase.splitlines()[1:] if " = lanes(" not in line and line.strip()]
        for phase in phases
    ]


def count(statements, start):
    return sum(statement.startswith(start) for statement in statements)


def between(statements, first, last):
    found = [next(i for i, s in enumerate(statements) if s.startswith(start)) for start in (first, last)]
    return found[0] < found[1]


def test_a_plain_step_is_one_loop():
    cell = make(lambda x, r, s: m.tanh(x.a + r.a) * x.b)
    for direction in ("forward", "backward"):
        (statements,) = sources(cell, direction)
        assert count(statements, "for j") == 1
        assert getattr(cell.schedule, direction).carries == {}
        assert getattr(cell.schedule, direction).row_values == ()


def test_a_sum_splits_the_loop():
    """What does not wait for the sum comes before it, what reads it after it, as soon as it can."""

    def step(x, r, s):
        centered = x.a - m.cell_sum(x.a)
        return centered * m.tanh(x.b + r.b)

    (statements,) = sources(make(step), "forward")
    assert count(statements, "for j") == 2
    second = [i for i, s in enumerate(statements) if s.startswith("for j")][1]
    assert any(s.startswith("sum_x_a = add_to(sum_x_a, x_a)") for s in statements[:second])
    assert any(s.startswith("sum_x_a = float32(0)") for s in statements[:second])
    assert any("- sum_x_a" in s for s in statements[second:])


@pytest.fixture(autouse=True)
def a_sum(monkeypatch):
    """Give cells the bare sum over the units, of which `layer_norm` is made."""
    monkeypatch.setattr(m, "cell_sum", lambda x: apply(x.graph, "sum", x), raising=False)


def test_sums_of_sums_take_a_loop_each():
    def step(x, r, s):
        first = m.cell_sum(x.a)
        second = m.cell_sum((x.a - first) * x.b)
        return x.a * second + r.a

    program = make(step).schedule.forward
    (phase,) = program.phases
    assert len(phase.loops) == 3
    assert [len(loop.sums) for loop in phase.loops] == [1, 1, 0]


def test_sums_that_do_not_wait_for_each_other_share_a_loop():
    def step(x, r, s):
        return m.cell_sum(x.a) * m.cell_sum(x.b) * s.h + r.a

    (phase,) = make(step).schedule.forward.phases
    assert [len(loop.sums) for loop in phase.loops] == [2, 0]


def test_what_is_one_number_a_row_is_computed_outside_the_loops():
    (statements,) = sources(make(lambda x, r, s: x.a / m.sqrt(m.cell_sum(x.a * x.a) + 1)), "forward")
    at = next(i for i, s in enumerate(statements) if "sqrt(" in s)
    assert between(statements, "for j", statements[at])
    assert statements[at + 1 :].index("for j in range(low, high):") >= 0


def test_what_is_one_number_for_the_call_is_computed_once():
    (statements,) = sources(make(lambda x, r, s, *, leak=0.5: (1 - leak) * s.h + leak * x.a), "forward")
    assert statements[0].startswith("leak = storage.scalars[0, 0, 0]")
    assert statements[1].endswith("float32(1.0) - leak")
    assert between(statements, statements[1], "for b in range(count)")


def test_a_value_that_is_read_after_its_place_was_overwritten_is_carried():
    """Backward overwrites the slot of b in its first phase, and reads what it held in the second."""

    def step(x, r, s):
        gate = m.sigmoid(x.a + r.a)
        return gate * m.tanh(x.b + r.b(gate * s.h))

    cell = make(step)
    first, second = sources(cell, "backward")
    program = cell.schedule.backward
    assert all(program.carries.values())  # it crosses to another phase, so each batch row has its own lane
    assert program.written["slot", ("x", "b")] == 0
    assert program.written["slot", ("x", "a")] == 1
    assert count(first, "carry_0[j] = ") == 1
    assert count(second, "carry_0[j]") == 0
    assert sum("= carry_0[j]" in statement for statement in second) == 1
    assert count(first, "gate_b[j] = ") == 1
    assert sum("gate_b[j]" in statement for statement in second) == 0


def test_a_carry_between_loops_needs_no_lane_of_its_own_row():
    def step(x, r, s):
        centered = m.tanh(x.a) * 2
        return centered * m.cell_sum(centered) + r.b

    program = make(step).schedule.forward
    assert program.carries
    assert not any(program.carries.values())


def test_a_value_is_read_where_it_was_written_rather_than_carried():
    """The state c is written before the sum over it is known: the next loop reads it there."""

    def step(x, r, s):
        c = s.c + x.a
        return c * m.cell_sum(c) + r.b, c

    cell = make(step, ("h", "c"))
    assert cell.schedule.forward.carries == {}
    (statements,) = sources(cell, "forward")
    assert between(statements, "new_c[j] = ", "c = new_c[j]")


def test_what_is_overwritten_before_it_is_read_again_is_carried():
    """The adjoint of h waits for what comes back; the old adjoint of c is read before it is overwritten."""

    def step(x, r, s):
        c = s.c * m.sigmoid(x.a + r.a)
        return r.b(c) * c, c

    cell = make(step, ("h", "c"))
    first, second = sources(cell, "backward")
    assert not any(statement.startswith("adjoint_c[j] = ") for statement in first)
    assert any(statement.startswith("adjoint_c[j] = ") for statement in second)


def test_products_cut_the_step_into_phases():
    def step(x, r, s):
        return m.tanh(x.b + r.b(m.tanh(x.a + r.a)))

    cell = make(step)
    first, second = sources(cell, "forward")
    assert any(statement.startswith("value_0[j] = ") for statement in first)
    assert not any("gate_b" in statement for statement in first)
    assert any("gate_b[j]" in statement for statement in second)
    names = [
        line.split("(")[0] for line in source_of(cell, "forward").splitlines() if line.startswith("def ")
    ]
    assert names == ["def small_forward_0", "def small_forward_1"]


def test_a_slot_that_a_product_fills_is_not_written_before():
    """Wherever something is saved in the slot of b, it is in the phase after the product, or later."""

    def step(x, r, s):
        gate, other = m.sigmoid(x.a + r.a), m.tanh(s.h)
        return gate * other + r.b(gate * s.h) * m.exp(-gate) + x.b * 0.5

    plan = make(step).schedule
    for slot in plan.saved:
        if slot in (("r", "b"),):
            assert plan.forward.written["slot", slot] == 1
    for phase, statements in enumerate(sources(make(step), "forward")):
        if phase == 0:
            assert not any(statement.startswith("recurrent_b[j] = ") for statement in statements)


def test_times_of_what_comes_back():
    """What comes back from two chained products comes in two phases, in the other order."""
    plan = make(lambda x, r, s: m.tanh(x.b + r.b(m.tanh(x.a + r.a(m.tanh(s.h)))))).schedule
    assert [len(program.phases) for program in (plan.forward, plan.backward)] == [3, 3]
    assert plan.forward.written["value", str(plan.values[0])] == 0
    assert plan.forward.written["value", str(plan.values[1])] == 1
    assert plan.backward.written["slot", ("x", "b")] == 0
    assert plan.backward.written["slot", ("x", "a")] == 1
    assert plan.backward.written["adjoint", "h"] == 2


def test_numbers_of_a_row_that_backward_wants_are_kept_once():
    plan = make(lambda x, r, s: m.layer_norm(x.a + r.a) * x.b).schedule
    assert plan.kept_rows
    assert plan.forward.row_values[: len(plan.kept_rows)] == plan.kept_rows
    assert plan.backward.row_values[: len(plan.kept_rows)] == plan.kept_rows
    forward = [write for phase in plan.forward.phases for loop in phase.loops for write in loop.row_writes]
    assert sorted(write.node for write in forward) == sorted(plan.forward.row_values)


def steps_of_all_kinds(cells):
    return [(name, direction) for name in cells for direction in ("forward", "backward")]


def test_every_program_is_in_order(cells):
    """No loop reads what is not yet there or no longer there, in any cell of the tests."""
    for name, direction in steps_of_all_kinds(cells):
        plan = cells[name].schedule
        graph, program = plan.graph, getattr(plan, direction)
        times = [(p, k) for p, phase in enumerate(program.phases) for k in range(len(phase.loops))]
        written = {}  # location -> node that lies there now
        known_rows = set(plan.kept_rows) if direction == "backward" else set()
        for p, k in times:
            loop = program.phases[p].loops[k]
            here = set()
            for read in loop.reads:
                if read.location in written:
                    assert written[read.location] == read.node, (name, direction, read)
                    assert not read.raw
                elif read.location[0] == "carry":
                    raise AssertionError((name, direction, read, "is read before it is put by"))
                elif direction == "forward" and read.location[0] == "slot":
                    assert read.raw
                here.add(read.node)
            known_rows |= {read.node for read in loop.row_reads} | set(loop.row_nodes)
            for node in loop.nodes:
                for arg in graph.nodes[node].args:
                    if graph.rank(arg) == Rank.UNIT:
                        assert arg in here, (name, direction, node)
                    elif graph.rank(arg) == Rank.ROW:
                        assert arg in known_rows, (name, direction, node)
                here.add(node)
            known_rows |= set(loop.sums)
            for location, node in loop.writes:
                assert location[0] != "slot" or location not in written, "a slot is written once"
                written[location] = node


def test_nothing_is_computed_that_is_not_wanted(cells):
    for name, direction in steps_of_all_kinds(cells):
        program, graph = getattr(cells[name].schedule, direction), cells[name].schedule.graph
        loops = [loop for phase in program.phases for loop in phase.loops]
        read = {arg for loop in loops for n in (*loop.nodes, *loop.row_nodes) for arg in graph.nodes[n].args}
        read |= {graph.nodes[n].args[0] for loop in loops for n in loop.sums}
        read |= {w.node for loop in loops for w in (*loop.writes, *loop.row_writes)}
        assert {n for loop in loops for n in (*loop.nodes, *loop.row_nodes)} <= read
        nodes = [n for loop in loops for n in loop.nodes]
        assert len(set(nodes)) == len(nodes)


def test_a_gate_that_is_not_read_gets_an_adjoint_of_zero():
    plan = make_schedule(trace(lambda x, r, s: x.a * s.h, GATES, ("h",)))
    assert plan.backward.written["slot", ("x", "b")] == 0
    (statements,) = sources(make(lambda x, r, s: x.a * s.h), "backward")
    assert "gate_b[j] = float32(0)" in statements


def test_what_depends_on_learned_vectors_alone_is_computed_before_the_rows():
    """Of an expensive function; the rest is as quick to compute as to read."""

    def step(x, r, s, p):
        return m.exp(-p.rate) * s.h + (1 - p.rate) * m.tanh(x.a) + x.b

    cell = make(step, params=("rate",))
    for direction in ("forward", "backward"):
        (statements,) = sources(cell, direction)
        assert between(statements, "exp_neg_p_rate = exp(", "for b in")
        assert between(statements, "for b in", "exp_neg_p_rate = vector_0[j]")
        assert sum("exp(" in statement for statement in statements) == 1
        assert len(getattr(cell.schedule, direction).vectors) == 1
    (statements,) = sources(cell, "forward")
    of_rows = statements[statements.index("for b in range(count):") :]
    assert any(statement.endswith("= float32(1.0) - p_rate") for statement in of_rows)


def test_what_depends_on_learned_vectors_alone_takes_no_slot():
    """The slot is left to the function of the input, which backward would otherwise compute again."""
    plan = make_schedule(
        trace(lambda x, r, s, p: m.exp(p.rate) * s.h * m.tanh(x.a) + x.b, GATES, ("h",), ("rate",))
    )
    assert {slot: plan.graph.nodes[node].op for slot, node in plan.saved.items()} == {("x", "a"): "tanh"}
