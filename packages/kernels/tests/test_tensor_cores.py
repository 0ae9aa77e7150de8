"""Products on tensor cores in persistent kernels: operands rounded to TF32 and bfloat16, with the error of float32."""

import re
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from tools import emulated_target
from tools.cuda_emulator import DataRaceError
from tools.emulated_target import EmulatedKernel

from rondeau import tensor as rt
from rondeau.kernels.cuda import tiers
from rondeau.kernels.cuda.persistent import run as persistent
from rondeau.kernels.cuda.persistent.choice import Limits, choose_tile
from rondeau.kernels.cuda.persistent.plan import Sizes
from rondeau.kernels.cuda.persistent.tile import Tile
from rondeau.kernels.sequence import Layout, Settings, Weights
from rondeau.nn import cells

from .device_parity import bits, on_device, states_and_gradients, to_host
from .interpreter import Interpreter
from .problem import Problem

IN_BFLOAT16 = Tile(16, 8, 4, split=4, direct=True, operands="bfloat16")
ON_TENSOR_CORES = {
    "tf32, several blocks": ("tf32", "lstm", 32, Tile(16, 8, 4), Tile(16, 8, 4, split=4)),
    "tf32, straight from memory": ("tf32", "gru_original", 24, *[Tile(16, 8, 4, split=4, direct=True)] * 2),
    "tf32, one block": ("tf32", "rnn_tanh", 16, *[Tile(16, 16, 8, split=4)] * 2),
    "bfloat16, several blocks": (
        "bfloat16", "lstm", 36, Tile(16, 8, 4, direct=True), Tile(16, 8, 4, split=4, direct=True),
    ),
    "bfloat16, two exchanges": ("bfloat16", "gru_original", 33, *[Tile(16, 8, 4, split=4, direct=True)] * 2),
    "bfloat16, heads": ("bfloat16", "rnn_tanh", 40, *[Tile(16, 8, 4, split=4, direct=True)] * 2, 2),
    "bfloat16, rows in two passes": ("bfloat16", "gru", 20, *[Tile(32, 8, 8, split=8, direct=True)] * 2),
    "bfloat16, one block": ("bfloat16", "rnn_tanh", 16, *[Tile(16, 16, 8, split=4)] * 2),
}  # fmt: skip
ERRORS = {"tf32": (1e-4, 2e-3), "bfloat16": (1e-3, 1e-2)}
"""By rounding operands: what the errors of a tenth of the numbers exceed, and what none does."""


def in_tf32(x):
    """Round to 11 significant bits, ties away from zero."""
    part, exponent = np.frexp(np.float32(x).astype(np.float64))
    return np.ldexp(np.copysign(np.floor(np.abs(part) * 2**11 + 0.5), part), exponent - 11)


def in_bfloat16(x):
    """Round to 8 significant bits, ties to even."""
    part, exponent = np.frexp(np.float32(x).astype(np.float64))
    return np.ldexp(np.rint(part * 2**8), exponent - 8)


def by_the_interpreter(problem, reverse, rounded):
    """Return all states, and the gradients of the input and the initial states, with operands rounded."""
    exact = problem.in_float64()
    weights = exact.weights
    oracle = Interpreter(exact.run(reverse), exact.x, weights, exact.initial, exact.inputs, rounded)
    every = oracle.every
    slots, initial = oracle.backward(exact.d_every, exact.d_final)[:2]
    d_gates = np.concatenate([slots["x", gate] for gate in problem.cell.gates], axis=1)
    return [*every, d_gates @ weights.weight_ih, *initial]


def differences(got, expected):
    return np.concatenate([np.abs(one - other).ravel() for one, other in zip(got, expected, strict=True)])


def on_tensor_cores(case, reverse, use):
    """Return what a case gives, as `by_the_interpreter` does, and its problem."""
    operands, name, H, *tiles = ON_TENSOR_CORES[case][:5]
    (heads,) = ON_TENSOR_CORES[case][5:] or (1,)
    cupy = use(*(tile._replace(operands=operands) for tile in tiles))
    problem = Problem(getattr(cells, name), Layout.packed([18, 9, 3, 2, 1]), np.float32, H=H, heads=heads)
    result, gradients = states_and_gradients(on_device(cupy, problem), reverse)
    return to_host([*result.every, gradients.x, *gradients.initial]), problem


@pytest.mark.sampled(3)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("case", ON_TENSOR_CORES)
def test_tensor_cores(case, reverse, use):
    """Products of rounded operands, with the error of float32.

    A number half way between two of the format is now and then rounded up here and down there. What depends on it is
    off by the rounding then, so that a tenth of the numbers may be.
    """
    got, problem = on_tensor_cores(case, reverse, use)
    operands = case.partition(",")[0]
    rounded = {"tf32": in_tf32, "bfloat16": in_bfloat16}[operands]
    least, most = ERRORS[operands]
    errors = differences(got, by_the_interpreter(problem, reverse, rounded))
    assert np.quantile(errors, 0.9) < 1e-6
    assert errors.max() < most
    of_rounding = differences(got, by_the_interpreter(problem, reverse, np.asarray))
    assert np.quantile(of_rounding, 0.9) > least
    assert of_rounding.max() < most


def test_a_projection_in_bfloat16(use):
    """Of which the interpreter has none: with the error of the rounding."""
    cupy = use(IN_BFLOAT16, IN_BFLOAT16)
    problem = Problem(cells.lstm, Layout.packed([18, 9, 3, 2, 1]), np.float32, H=36, P=19)
    problem.settings = problem.settings._replace(feature_dropout=0.375)
    least, most = ERRORS["bfloat16"]
    for reverse in (False, True):
        got, expected = (
            [*result.every, gradients.x, *gradients.initial]
            for result, gradients in (
                states_and_gradients(sent, reverse) for sent in (on_device(cupy, problem), problem)
            )
        )
        errors = differences(to_host(got), expected)
        assert np.quantile(errors, 0.9) > least
        assert errors.max() < most


def run_changed(change, monkeypatch):
    """Have kernels run with their source changed; return a list of which are."""
    changed = []

    class Mutated(EmulatedKernel):
        def __init__(self, phase, dtype):
            source = change(phase.source)
            if source != phase.source:
                changed.append(phase.name)
            super().__init__(phase._replace(source=source), dtype)

    monkeypatch.setattr("rondeau.kernels.cuda.compiler.Kernel", Mutated)
    return changed


def with_registers_exchanged(source):
    return re.sub(r"(mma_\w+)\(a(\d), b(\d), a(\d), b(\d)", r"\1(a\2, a\4, b\3, b\5", source)


def with_a_lane_too_far(source):
    return source.replace("(lane % U(4)) * U(8)", "((lane + U(1)) % U(4)) * U(8)")


def cut(x):
    return int.from_bytes(struct.pack("<f", x), "little") >> 16


def rounded_towards_zero(source):
    return source.replace("to_bf16(", "cut(")


@pytest.mark.parametrize("mistake", [with_registers_exchanged, with_a_lane_too_far, rounded_towards_zero])
def test_a_mistake_of_a_product_is_found(mistake, use, monkeypatch):
    """The test above would fail."""
    monkeypatch.setitem(emulated_target._NAMES, "cut", cut)
    changed = run_changed(mistake, monkeypatch)
    with pytest.raises(AssertionError):
        test_tensor_cores("bfloat16, heads", False, use)
    assert len(changed) == 2


def in_one_buffer(source):
    return source.replace("(step + U(1)) % U(2)", "U(0)").replace("step % U(2)", "U(0)")


def initial_states_in_one_buffer(source):
    return re.sub(r"\n +exchange0\[.* U\(2\) \+ U\(1\)\) .*\] = to_bf16\(state_h\)", "", source)


@pytest.mark.parametrize("mistake", [in_one_buffer, initial_states_in_one_buffer])
def test_a_mistake_of_the_exchange_is_found(mistake, use, monkeypatch):
    """A block reads what another writes for the next step; a row that begins at an odd step has lost its state."""
    cupy = use(IN_BFLOAT16, IN_BFLOAT16)
    problem = Problem(cells.rnn_tanh, Layout.packed([3, 2]), np.float32, H=16)
    sent = on_device(cupy, problem)
    right = bits(states_and_gradients(sent, reverse=True)[1])
    changed = run_changed(mistake, monkeypatch)
    try:
        found = bits(states_and_gradients(sent, reverse=True)[1]) != right
    except DataRaceError:
        found = True
    assert changed, "the mutant is the kernel itself"
    assert found


def test_tensor_cores_are_used_only_if_asked_for(device_stand_in, monkeypatch):
    monkeypatch.setattr(tiers, "ALLOWED", "persistent")
    tape = SimpleNamespace(
        run=SimpleNamespace(layout=Layout.dense(4, 32), cell=cells.lstm, settings=Settings()),
        weights=Weights(None, None),
        gates=device_stand_in.empty((1, 4, 512)),
    )
    try:
        for precision, operands in (("high", "tf32"), ("medium", "bfloat16"), ("highest", "float32")):
            rt.set_float32_matmul_precision(precision)
            assert persistent.tile_of(tape, "forward").operands == operands
    finally:
        rt.set_float32_matmul_precision("highest")
    with pytest.raises(ValueError, match="precision must be one of highest, high, medium, got 'low'"):
        rt.set_float32_matmul_precision("low")


def test_a_device_that_cannot_round_multiplies_in_float32():
    old = Limits(132, rounds_operands=False)
    tile = choose_tile(cells.lstm.schedule, "forward", Sizes(512), 32, old, "medium")
    assert tile == choose_tile(cells.lstm.schedule, "forward", Sizes(512), 32, old, "highest")


@pytest.mark.parametrize("batch_size", [16, 32, 64])
@pytest.mark.parametrize("hidden", [768, 1024])
def test_larger_layers_fit_in_bfloat16(hidden, batch_size):
    for cell in (cells.gru, cells.lstm):
        for direction in ("forward", "backward"):
            tile = choose_tile(cell.schedule, direction, Sizes(hidden), batch_size, Limits(132), "medium")
            assert tile.operands == "bfloat16"
