"""The CUDA target, its kernels emulated and CuPy stood for: against the schedule's interpreter and the CPU target."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tools.device_arrays import no_transfers
from tools.emulated_target import EmulatedKernel

from comparing import assert_close
from rondeau import tensor as rt
from rondeau.kernels.cell import Regularisers
from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.cuda import launching, replay
from rondeau.kernels.cuda import step as step_module
from rondeau.kernels.cuda.replay import Replay
from rondeau.kernels.recurrent import target
from rondeau.kernels.runtime import deferred
from rondeau.kernels.sequence import Layout, backward
from rondeau.kernels.stepper import Stepper
from rondeau.nn import cells

from .device_parity import CLOSE, assert_like_the_cpu, assert_like_the_interpreter, bits, on_device, to_host
from .interpreter import Interpreter
from .problem import LAYOUTS, Problem

CELLS = sorted(name for name, cell in vars(cells).items() if isinstance(cell, Cell))


@pytest.mark.sampled(5)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("layout", ["dense", "ragged"])
@pytest.mark.parametrize("name", CELLS)
def test_every_cell_is_the_interpreters(name, layout, reverse, device_stand_in):
    # The normaliser of slstm, by which it divides, begins at 0 and is never negative; a drawn one needs float64.
    problem = Problem(getattr(cells, name), LAYOUTS[layout], np.float32, zero=name == "slstm")
    if name == "slstm":
        of_any_state = Problem(cells.slstm, LAYOUTS[layout], np.float64)
        assert_like_the_cpu(device_stand_in, of_any_state, reverse)
    assert_like_the_interpreter(device_stand_in, problem, reverse)


REREADS = {
    "what is written": lambda x, r, s: m.tanh(m.tanh(x.h + r.h) + s.h) - m.layer_norm(m.tanh(x.h + r.h)),
    "what comes in": lambda x, r, s: m.tanh(x.h + r.h) + s.h - m.layer_norm(m.tanh(x.h + r.h)),
}


@pytest.mark.parametrize("what", REREADS)
def test_a_later_loop_reads_the_adjoint_that_the_step_has_written(what, device_stand_in):
    problem = Problem(Cell(REREADS[what], ("h",), ("h",), "rereads"), LAYOUTS["ragged"], np.float64)
    oracle = Interpreter(problem.run(), problem.x, problem.weights, problem.initial)
    slots, d_initial, *_ = oracle.backward(problem.d_every, problem.d_final)
    found = on_device(device_stand_in, problem).gradients()
    expected = [slots["x", "h"] @ problem.weights.weight_ih, *d_initial]
    for got, right in zip(to_host((found.x, *found.initial)), expected, strict=True):
        assert_close(got, right, **CLOSE[np.dtype(np.float64)])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, device_stand_in):
    for reverse in (False, True):
        problem = Problem(cells.gru_original, LAYOUTS[layout], np.float64)
        assert_like_the_cpu(device_stand_in, problem, reverse)


OPTIONS = {
    "projection": ("lstm_projected", {"P": 3}),
    "two heads": ("gru", {"H": 6, "heads": 2}),
    "three heads and a second operand": ("gru_original", {"H": 6, "heads": 3}),
    "ids": ("lstm", {"I": 7, "one_hot": True}),
    "no bias": ("gru", {"bias": False}),
    "two blocks a row": ("lstm", {"H": 40}),
    "sums over two passes of a block": ("gru_layer_norm", {"H": 40}),
}


@pytest.mark.parametrize("option", OPTIONS)
def test_options(option, device_stand_in, monkeypatch):
    monkeypatch.setattr(launching, "_MOST_THREADS", 32)
    name, options = OPTIONS[option]
    layout = Layout.dense(2, 2) if options.get("H", 0) > 32 else LAYOUTS["ragged"]
    problem = Problem(getattr(cells, name), layout, np.float64, **options)
    assert_like_the_cpu(device_stand_in, problem)


def test_dropout_of_projected_features(device_stand_in):
    problem = Problem(cells.lstm_projected, LAYOUTS["ragged"], np.float64, P=3)
    problem.settings = problem.settings._replace(feature_dropout=0.4)
    assert_like_the_cpu(device_stand_in, problem, reverse=True)


@pytest.mark.parametrize(
    "regularisers",
    [
        Regularisers(dropout=True),
        Regularisers(zoneout=("h", "c")),
        Regularisers(dropout=True, zoneout=("h",)),
        Regularisers(zoneout=("c",), expected=True),
    ],
    ids=str,
)
def test_regularisers(regularisers, device_stand_in):
    problem = Problem(cells.lstm.variant(regularisers), LAYOUTS["ragged"], np.float64)
    assert_like_the_cpu(device_stand_in, problem)


@pytest.mark.parametrize("fields", [{"recompute_every": 2}, {"truncate": 1}], ids=str)
@pytest.mark.parametrize("name", ["gru_d", "ctrnn"])
def test_recomputation_and_truncation(name, fields, device_stand_in):
    problem = Problem(getattr(cells, name), LAYOUTS["ragged"], np.float64)
    assert_like_the_cpu(device_stand_in, problem, reverse=True, **fields)


def test_a_run_waits_for_nothing_and_sends_nothing(device_stand_in):
    problem = Problem(
        cells.lstm.variant(Regularisers(True, ("h",))), Layout.dense(3, 2), np.float32, one_hot=True
    )
    sent = on_device(device_stand_in, problem)
    sent.gradients()  # the positions of the layout's rows are sent once
    with no_transfers(waits=True):
        sent.gradients()
    deferred.raise_pending()


def test_backward_twice(device_stand_in):
    sent = on_device(device_stand_in, Problem(cells.gru, LAYOUTS["ragged"], np.float32))
    saved = sent.forward().saved
    first, second = (backward(sent.cell, saved, sent.d_every, sent.d_final) for _ in range(2))
    assert bits(first) == bits(second)


def test_no_schedule_of_the_threads_changes_a_bit(device_stand_in, monkeypatch):
    sent = on_device(device_stand_in, Problem(cells.lstm_layer_norm, Layout.dense(2, 2), np.float32, H=40))
    found = []
    for seed in (0, 1):
        monkeypatch.setattr(EmulatedKernel, "seed", seed)
        found.append(bits(sent.gradients()))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["lstm", "gru_d", "lstm_projected"])
def test_a_stepper_has_the_numbers_of_the_cpus(name, device_stand_in):
    cell = getattr(cells, name)
    options = {"P": 5} if name == "lstm_projected" else {}
    layers = [Problem(cell, Layout.dense(2, 3), np.float64, I=I, seed=I, **options) for I in (4, 5)]  # noqa: E741
    lowest = layers[0]
    head = np.arange(10.0).reshape(2, 5), np.array([1.0, -1.0])
    rows = lowest.inputs_at(slice(3), slice(3))
    inputs = tuple(np.stack((array, array + 1)) for array in rows)
    cupy = device_stand_in
    steppers = (
        Stepper(cell, [p.weights for p in layers], layers[0].settings, head),
        Stepper(
            cell,
            [on_device(cupy, p).weights for p in layers],
            layers[0].settings,
            tuple(map(cupy.asarray, head)),
        ),
    )
    x, results = lowest.x[:3], []
    for stepper, send in zip(steppers, (np.asarray, cupy.asarray), strict=True):
        y, states = stepper(send(x), None, tuple(map(send, inputs)))
        y, states = stepper(send(x), states, tuple(map(send, inputs)))
        results.append(to_host((y, *states)))
    for got, expected in zip(results[1], results[0], strict=True):
        assert_close(got, expected, rtol=1e-12, atol=1e-12)


STEPPERS = {
    "noise and a head": ("ctrnn", {}, {"head": True}),
    "inputs": ("gru_d", {}, {}),
    "a projection and ids": ("lstm_projected", {"P": 4}, {"ids": True, "head": True}),
    "heads and two phases": ("gru_original", {"H": 6, "heads": 2}, {}),
    "no rows": ("lstm", {}, {"B": 0}),
}


def steps_of(cupy, name, options, ids=False, head=False, B=3):
    """Return a function that makes a new stepper of two layers, and one that runs its next step."""
    cell, layout = getattr(cells, name), Layout.dense(5, B)
    width = options.get("P") or options.get("H", 5)
    layers = [Problem(cell, layout, np.float32, I=size, seed=size, **options) for size in (4, width)]
    weights = [on_device(cupy, problem).weights for problem in layers]
    of_head = (np.arange(2.0 * width).reshape(2, width), np.array([1.0, -1.0])) if head else None
    given = of_head and tuple(cupy.asarray(array, dtype=np.float32) for array in of_head)

    def stepper():
        return Stepper(cell, weights, layers[0].settings, given)

    def step(stepper, time, states):
        rows = layers[0].x[time * B : (time + 1) * B]
        named = layers[0].inputs_at(slice(time * B, (time + 1) * B), slice(B))
        x = np.arange(time, time + B) % 4 if ids else rows
        inputs = tuple(cupy.asarray(np.stack((array, array + 1))) for array in named)
        return stepper(cupy.asarray(x), states, inputs)

    return stepper, step


@pytest.mark.parametrize("case", STEPPERS)
def test_a_step_that_is_captured_has_the_same_bits(case, device_stand_in, monkeypatch):
    name, options, others = STEPPERS[case]
    stepper, step = steps_of(device_stand_in, name, options, **others)
    found = []
    for captured in (False, True):
        with monkeypatch.context() as patch:
            if not captured:
                patch.setattr(Replay, "run", lambda self, work: work())
            one, states, results = stepper(), None, []
            for time in range(5):
                y, states = step(one, time, states)
                results += [y, *states]
            found.append(b"".join(array.tobytes() for array in to_host(results)))
    assert found[0] == found[1]


def test_from_the_third_step_on_python_launches_a_graph(device_stand_in, monkeypatch):
    stepper, step = steps_of(device_stand_in, "ctrnn", {}, head=True)
    one, states, launched, graphs = stepper(), None, [], []
    launch_kernel, launch_graph = EmulatedKernel.launch, device_stand_in.cuda.Graph.launch
    monkeypatch.setattr(
        EmulatedKernel, "launch", lambda self, *given: launched.append(None) or launch_kernel(self, *given)
    )
    monkeypatch.setattr(
        device_stand_in.cuda.Graph, "launch", lambda self: graphs.append(None) or launch_graph(self)
    )
    counts = []
    for time in range(4):
        _, states = step(one, time, states)
        counts.append((len(launched), len(graphs)))
    assert counts == [
        (2, 0),
        (4, 1),
        (4, 2),
        (4, 3),
    ]  # two layers of one phase: queued once, and captured once
    x = device_stand_in.zeros((3, 4), np.float32)
    with no_transfers(waits=True):
        one(x, states)


def test_a_thread_queues_work_before_it_captures_it(device_stand_in):
    """What libraries set up for a thread must be there before."""
    work, queued = Replay(device_stand_in), []
    for of_other_thread in (True, False, False, True):
        if of_other_thread:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(work.run, lambda: queued.append("other")).result()
        else:
            work.run(lambda: queued.append("main"))
    assert queued == ["other", "main", "main"]


def test_streams_share_no_workspace(device_stand_in, monkeypatch):
    """A step of one stream may still be running when that of another is queued."""
    stepper, step = steps_of(device_stand_in, "lstm", {})
    one, used, run = stepper(), [], step_module.Workspace.run

    def noted(workspace, *given):
        used.append((workspace, device_stand_in.cuda.get_current_stream()))
        run(workspace, *given)

    monkeypatch.setattr(step_module.Workspace, "run", noted)
    streams = [device_stand_in.cuda.Stream(non_blocking=True) for _ in range(2)]
    for time in range(3):
        for stream in streams:
            with stream:
                step(one, time, None)
    assert {stream: {id(w) for w, of in used if of is stream} for stream in streams} == {
        stream: {id(workspace)} for (workspace, stream) in used[:2]
    }
    assert used[0][0] is not used[1][0]


def test_a_step_that_cannot_be_captured_is_queued_each_time(device_stand_in, monkeypatch):
    stepper, step = steps_of(device_stand_in, "lstm", {})
    multiply = step_module.multiply_before

    def run_steps():
        one, states = stepper(), None
        for time in range(4):
            _, states = step(one, time, states)
        return [array.tobytes() for array in to_host(states)]

    def multiply_and_wait(*given):
        multiply(*given)
        device_stand_in.cuda.get_current_stream().synchronize()

    expected = run_steps()
    monkeypatch.setattr(replay._Warning, "given", False)
    monkeypatch.setattr(step_module, "multiply_before", multiply_and_wait)
    with pytest.warns(rt.PerformanceWarning, match="not permitted when stream is capturing") as seen:
        got = run_steps()
    assert got == expected
    assert len(seen) == 1


def test_arrays_of_two_devices_are_refused(device_stand_in):
    problem = Problem(cells.lstm, Layout.dense(2, 2), np.float32)
    sent = on_device(device_stand_in, problem)
    sent.x = problem.x
    with pytest.raises(ValueError, match=r"cell lstm: weight_ih is on cuda and x is on cpu"):
        sent.forward()
    sent = on_device(device_stand_in, problem)
    sent.d_final = problem.d_final
    with pytest.raises(ValueError, match="weight_ih is on cuda and d_final of h is on cpu"):
        sent.gradients()


def test_names_of_a_cell_may_be_those_of_arguments(device_stand_in):
    def step(x, r, s, p, u):
        return m.tanh(x.h + r.h + p.x * s.x + u.weight_ih)

    cell = Cell(step, ("h",), ("x",), "named", params={"x": None}, inputs={"weight_ih": "step"})
    problem = Problem(cell, Layout.dense(2, 2), np.float64)
    sent = on_device(device_stand_in, problem)
    oracle = Interpreter(problem.run(), problem.x, problem.weights, problem.initial, problem.inputs)
    assert_close(to_host(sent.forward().every), oracle.every, **CLOSE[np.dtype(np.float64)])
    sent.gradients()
    sent.inputs = problem.inputs
    with pytest.raises(ValueError, match="x is on cuda and input weight_ih is on cpu"):
        sent.forward()


def test_ids_out_of_range_are_told_at_the_next_read(device_stand_in):
    problem = Problem(cells.lstm, Layout.dense(2, 2), np.float32, one_hot=True)
    sent = on_device(device_stand_in, problem)
    sent.x = device_stand_in.asarray(np.array([0, 1, 2, 3]))
    sent.forward()
    with pytest.raises(IndexError, match="x must be ids from 0 to 2"):
        deferred.raise_pending()


def test_the_source_reads_as_the_step():
    source = target.source_of(cells.lstm, "forward", device="cuda")
    assert source.startswith("def lstm_forward(states, gates, product_0, bias, row, old, new):")
    assert "a_f = gate_f[j] + product_x_f[j] + bias_f[j]\n" in source
