"""Persistent kernels on the emulator: all steps in one launch, in any schedule, with the numbers of the interpreter."""

from types import SimpleNamespace

import numpy as np
import pytest
from tools.cuda_emulator import DataRaceError, DeadlockError, KernelError
from tools.device_arrays import no_transfers
from tools.emulated_target import EmulatedKernel

from comparing import assert_close
from rondeau import tensor as rt
from rondeau.kernels.cell import Regularisers
from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.cell.cell import Cell
from rondeau.kernels.cell.input_forms import InputForms
from rondeau.kernels.cell.symbols import apply
from rondeau.kernels.cuda import stepwise, tiers
from rondeau.kernels.cuda.persistent import run as persistent
from rondeau.kernels.cuda.persistent.choice import Limits, choose_tile
from rondeau.kernels.cuda.persistent.plan import (
    Sizes,
    contractions_of,
    row_sums_of,
    shared_elements,
    sums_of,
)
from rondeau.kernels.cuda.persistent.tile import Tile
from rondeau.kernels.runtime import deferred
from rondeau.kernels.sequence import (
    Layout,
    Needs,
    Settings,
    Weights,
    backward,
    backward_both,
    forward,
    forward_both,
)
from rondeau.nn import cells

from .device_parity import (
    arrays_of,
    assert_like_the_cpu,
    assert_like_the_interpreter,
    bits,
    on_device,
    states_and_gradients,
)
from .problem import Problem

PERSISTENT = sorted(name for name, cell in vars(cells).items() if isinstance(cell, Cell))
TILES = {
    "several blocks": (20, Tile(2, 8, 2), Tile(2, 8, 2, split=2)),
    "straight from memory": (32, Tile(2, 8, 2), Tile(2, 8, 2, split=2, direct=True)),
    "half warps": (32, Tile(4, 8, 2, lanes=16), Tile(4, 8, 2, split=2, lanes=8)),
    "one block": (20, Tile(2, 20, 4), Tile(2, 20, 4, split=2)),
    "one block, half warps": (16, Tile(4, 16, 4, lanes=16), Tile(4, 16, 4, split=2, lanes=16)),
}
RAGGED = Layout.packed([3, 3, 2, 1])


def fits(name, cut):
    hidden, *tiles = TILES[cut]
    schedule = getattr(cells, name).schedule
    pairs = zip(("forward", "backward"), tiles, strict=True)
    return all(
        c.fits
        for direction, tile in pairs
        for _, _, c in contractions_of(schedule, direction, Sizes(hidden), tile)
    )


CASES = [(name, cut) for name in PERSISTENT for cut in TILES if fits(name, cut)]


@pytest.mark.sampled(6)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize(("name", "cut"), CASES)
def test_every_cell_is_the_interpreters(name, cut, reverse, use):
    H, *of_directions = TILES[cut]
    cupy = use(*of_directions)
    problem = Problem(getattr(cells, name), RAGGED, np.float32, H=H, seed=1, zero=name == "slstm")
    assert_like_the_interpreter(cupy, problem, reverse)


def twin(x, r, s):
    u, v = m.tanh(x.a) * s.h, m.sigmoid(x.b) * s.h
    return m.tanh(r.a(u) + r.b(v) * x.b)


def test_two_products_of_a_phase(use, monkeypatch):
    """The sums of one take the place of the other's, which a slow thread may not have read."""
    cupy = use(*TILES["one block"][1:])
    sent = on_device(cupy, Problem(Cell(twin, ("a", "b"), ("h",), "twin"), RAGGED, np.float32, H=20))
    got = arrays_of(*states_and_gradients(sent))
    monkeypatch.setattr(tiers, "ALLOWED", "stepwise")
    for ours, theirs in zip(got, arrays_of(*states_and_gradients(sent)), strict=True):
        assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


WITH_HEADS = {
    "a block a head": (cells.lstm, Sizes(12, 3), Tile(2, 4, 2), Tile(2, 4, 2, split=2)),
    "several blocks a head": (cells.gru, Sizes(40, 2), Tile(2, 8, 2), Tile(2, 8, 2, split=2)),
    "straight from memory": (cells.lstm, Sizes(24, 2), Tile(2, 8, 2), Tile(2, 8, 2, split=2, direct=True)),
    "two products": (cells.gru_original, Sizes(20, 2), *[Tile(4, 4, 2, split=2)] * 2),
    "two products in a block": (cells.gru_original, Sizes(10, 2), *[Tile(2, 10, 2, split=2)] * 2),
    "regularisers": (
        cells.lstm.variant(Regularisers(True, ("h", "c"))), Sizes(20, 2), Tile(2, 8, 2), Tile(2, 8, 2, split=2),
    ),
}  # fmt: skip


@pytest.mark.sampled(3)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("case", WITH_HEADS)
def test_heads(case, reverse, use):
    cell, sizes, *of_directions = WITH_HEADS[case]
    cupy = use(*of_directions)
    problem = Problem(cell, RAGGED, np.float32, H=sizes.hidden, heads=sizes.heads, seed=1)
    assert_like_the_interpreter(cupy, problem, reverse)


def normed(x, r, s, p):
    return m.tanh(m.layer_norm(x.a + s.h, p.gain))


def centred(x, r, s):
    v = x.a + s.h
    return m.tanh(v - 0.05 * apply(v.graph, "sum", v))


def added(x, r, s):
    """Two of these sums are read twice; two others wait for the last, to which they are added."""
    one, two, three, four = (apply(v.graph, "sum", v) for v in (x.a, 0.1 * x.b, s.h, x.b * s.h))
    last = apply(x.a.graph, "sum", m.tanh(one * x.b))
    return m.tanh(x.a + 0.1 * (two + last + four) - 0.02 * three * (one + three))


def fed(x, r, s, p, u):
    normal = m.layer_norm(u.scale * s.h + x.a, p.gain)
    return m.tanh(0.5 * normal + u.shift * r.b + x.b)


NORMED = Cell(normed, ("a",), ("h",), "normed", {"gain": None})
CENTRED = Cell(centred, ("a",), ("h",), "centred")
ADDED = Cell(added, ("a", "b"), ("h",), "added")
SUMS = {
    "several blocks": (NORMED, Sizes(20), Tile(2, 8, 2)),
    "two blocks of two warps a row, and a barrier a step": (CENTRED, Sizes(72), Tile(1, 64, 2)),
    "five parts of a row": (NORMED, Sizes(20), Tile(2, 20, 4)),
    "all of a row in half a warp": (NORMED, Sizes(16), Tile(2, 16, 1)),
    "added to one another": (ADDED, Sizes(12), Tile(2, 8, 2)),
    "with a product": (cells.li_gru, Sizes(12), Tile(2, 8, 2)),
    "of two heads": (cells.li_gru, Sizes(16, 2), Tile(2, 8, 2)),
    "of two heads, in two blocks each": (cells.li_gru, Sizes(24, 2), Tile(2, 8, 2)),
    "with numbers of a row, and regularisers": (
        Cell(
            fed, ("a", "b"), ("h",), "fed", {"gain": None}, inputs={"scale": "step", "shift": "sequence"}
        ).variant(Regularisers(True, ("h",)), InputForms(("scale", "shift"))),
        Sizes(12), Tile(2, 8, 2),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SUMS)
def test_sums_over_the_units_of_a_row(case, use):
    cell, sizes, tile = SUMS[case]
    cupy = use(tile, tile)
    for reverse in (False, True):
        layout, heads = Layout.packed([3, 3, 1]), sizes.heads
        problem = Problem(cell, layout, np.float32, H=sizes.hidden, heads=heads, seed=2)
        assert_like_the_interpreter(cupy, problem, reverse)


def test_sums_that_are_only_added_to_one_another_are_one():
    of_forward = sums_of(ADDED.schedule, "forward").values()
    assert [[len(one.terms) for one in sums] for sums in of_forward] == [[1, 1], [3]]
    of_backward = sums_of(cells.lstm_layer_norm.schedule, "backward").values()
    assert [[len(one.terms) for one in sums] for sums in of_backward] == [[1], [1], [4, 4], [4, 4]]


PROJECTED = {
    "several blocks": (cells.lstm, Sizes(20, projected=7), Tile(2, 8, 2), Tile(2, 8, 2, split=2)),
    "straight from memory": (
        cells.lstm, Sizes(32, projected=12), Tile(2, 8, 2), Tile(2, 8, 2, split=2, direct=True),
    ),
    "one block": (cells.lstm_projected, Sizes(12, projected=5), Tile(2, 12, 2), Tile(2, 12, 2, split=2)),
    "sums over the units": (cells.lstm_layer_norm, Sizes(12, projected=5), *[Tile(2, 8, 2, split=2)] * 2),
}  # fmt: skip


@pytest.mark.sampled(2)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("dropout", [0.0, 0.375])
@pytest.mark.parametrize("case", PROJECTED)
def test_projection(case, dropout, reverse, use):
    cell, sizes, *of_directions = PROJECTED[case]
    cupy = use(*of_directions)
    problem = Problem(cell, RAGGED, np.float32, H=sizes.hidden, P=sizes.projected)
    problem.settings = problem.settings._replace(feature_dropout=dropout)
    assert_like_the_cpu(cupy, problem, reverse)


@pytest.mark.parametrize(
    "regularisers", [Regularisers(True, ("h", "c")), Regularisers(zoneout=("c",), expected=True)], ids=str
)
def test_regularisers(regularisers, use):
    cupy = use(*TILES["several blocks"][1:])
    problem = Problem(cells.lstm.variant(regularisers), RAGGED, np.float32, H=12)
    assert_like_the_cpu(cupy, problem)


def test_pieces_of_recomputation(use):
    cupy = use(*TILES["several blocks"][1:])
    problem = Problem(cells.gru_d, RAGGED, np.float32, H=12)
    assert_like_the_cpu(cupy, problem, recompute_every=2)


@pytest.mark.parametrize("cell", [cells.lstm, NORMED], ids=["lstm", "sums over the units"])
def test_no_schedule_changes_a_bit(cell, use, monkeypatch):
    cupy = use(*TILES["several blocks"][1:])
    sent = on_device(cupy, Problem(cell, RAGGED, np.float32, H=12))
    found = set()
    for seed in range(3):
        monkeypatch.setattr(EmulatedKernel, "seed", seed)
        found.add(bits(sent.gradients()))
    assert len(found) == 1


def test_a_run_waits_for_nothing_and_sends_nothing(use):
    cupy = use(*TILES["several blocks"][1:])
    sent = on_device(cupy, Problem(cells.lstm, Layout.dense(3, 2), np.float32, H=12))
    sent.gradients()  # the table of steps is sent once
    with no_transfers(waits=True):
        sent.gradients()
    deferred.raise_pending()


BOTH = {
    "several blocks": ("lstm", Regularisers(True, ("h", "c")), Sizes(20), "several blocks"),
    "several blocks a head": ("lstm", Regularisers(), Sizes(40, heads=2), "several blocks"),
    "sums": ("lstm_layer_norm", Regularisers(), Sizes(20), "several blocks"),
    "projected": ("lstm_projected", Regularisers(zoneout=("c",)), Sizes(12, projected=5), "several blocks"),
    "one block": ("gru_d", Regularisers(), Sizes(20), "one block"),
    "bfloat16": ("rnn_tanh", Regularisers(), Sizes(20), "bfloat16"),
}


@pytest.mark.parametrize("case", BOTH)
def test_both_directions_in_one_launch(case, use, monkeypatch):
    """Two layers with weights and numbers of their own, of which one needs no gradient of its initial states."""
    name, regularisers, sizes, cut = BOTH[case]
    tiles = TILES | {"bfloat16": (20, *[Tile(16, 8, 4, split=4, direct=True, operands="bfloat16")] * 2)}
    error = 3e-2 if cut == "bfloat16" else 1e-5
    cupy, launched = use(*tiles[cut][1:]), []

    class Counted(EmulatedKernel):
        def launch(self, *arguments):
            launched.append(self.phase.name)
            super().launch(*arguments)

    monkeypatch.setattr("rondeau.kernels.cuda.compiler.Kernel", Counted)
    cell = getattr(cells, name).variant(regularisers)
    first, second = (
        Problem(
            cell, RAGGED, np.float32, H=sizes.hidden, P=sizes.projected or None, heads=sizes.heads, seed=seed
        )
        for seed in (1, 2)
    )
    second.x, second.inputs, second.initial = first.x, first.inputs, None
    first.settings = first.settings._replace(feature_dropout=0.375 if sizes.projected else 0.0)
    second.settings = first.settings._replace(substream=128)

    def states_and_gradients_of(problems, both):
        runs = [problem.run(reverse) for problem, reverse in zip(problems, (False, True), strict=True)]
        given = [(p.weights, p.initial, p.d_every, p.d_final) for p in problems]
        weights, initial, d_every, d_final = zip(*given, strict=True)
        needs, inputs = [Needs(), Needs(initial=False)], problems[0].inputs
        if both:
            results = forward_both(runs, problems[0].x, weights, initial, inputs, every_state=True)
            found = backward_both(cell, [result.saved for result in results], d_every, d_final, needs)
        else:
            results = [
                forward(run, problems[0].x, *of_run, inputs, every_state=True)
                for run, *of_run in zip(runs, weights, initial, strict=True)
            ]
            found = [
                backward(cell, result.saved, *of_run)
                for result, *of_run in zip(results, d_every, d_final, needs, strict=True)
            ]
        return [
            array
            for result, gradients in zip(results, found, strict=True)
            for array in arrays_of(result, gradients)
        ]

    got = states_and_gradients_of([on_device(cupy, first), on_device(cupy, second)], both=True)
    assert launched == [f"{name}_forward_persistent", f"{name}_backward_persistent"]
    for ours, theirs in zip(got, states_and_gradients_of([first, second], both=False), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert_close(ours, theirs, rtol=error, atol=error)


def test_directions_run_together_where_they_find_room(device_stand_in, monkeypatch):
    def tile(hidden, multiprocessors):
        monkeypatch.setattr(persistent, "limits_of", lambda library: Limits(multiprocessors))
        tape = SimpleNamespace(
            run=SimpleNamespace(layout=Layout.dense(4, 16), cell=cells.lstm, settings=Settings()),
            weights=Weights(None, None),
            gates=device_stand_in.empty((1, 4, hidden)),
        )
        return persistent.tile_of(tape, "forward", 2)

    assert tile(512, 132) is not None
    assert tile(1024, 132) is None


MUTANTS = {
    "no wait": ("wait_for(arrived, group + U(1), epoch * U(3))", "epoch = epoch"),
    "one block too few": ("epoch * U(3))", "epoch * U(3) - U(1))"),
    "the step before": ("epoch * U(3))", "(epoch - U(1)) * U(3))"),
    "arrives before all have stored": (
        "cuda.syncthreads()\n        epoch += U(1)",
        "epoch += U(1)",
    ),
    "counts twice": ("epoch += U(1)", "epoch += U(2)"),
    "no barrier after the wait": ("epoch * U(3))\n            cuda.syncthreads()", "epoch * U(3))"),
    "no barrier before the sums": ("rows_done += U(2)\n            cuda.syncthreads()", "rows_done += U(2)"),
    "a barrier of another group": ("red_release_add(arrived, group + U(1)", "red_release_add(arrived, U(1)"),
    "a row too many": ("if exists and row < next_size", "if row < next_size + U(1)"),
    "stores of rows that have ended": ("active = exists and row < size", "active = exists"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mistake_is_found(mutant, use, monkeypatch):
    cupy = use(*TILES["several blocks"][1:])
    problem = Problem(cells.lstm, RAGGED, np.float32, H=20, seed=2)
    assert_found(MUTANTS[mutant], "backward", cupy, problem, monkeypatch)


MUTANTS_OF_SUMS = {
    "no wait": (NORMED, "backward", "wait_for(arrived, group + U(1), epoch * U(3))", "epoch = epoch"),
    "one block too few": (NORMED, "backward", "epoch * U(3))", "epoch * U(3) - U(1))"),
    "arrives before all have stored": (
        NORMED,
        "backward",
        "cuda.syncthreads()\nepoch += U(1)",
        "epoch += U(1)",
    ),
    "no barrier after the wait": (NORMED, "backward", "epoch * U(3))\ncuda.syncthreads()", "epoch * U(3))"),
    "one buffer": (CENTRED, "backward", "epoch % U(2)", "U(0)"),
    "counts units that do not exist": (NORMED, "forward", "if not exists:", "if step == T:"),
    "the sums of another row": (NORMED, "forward", "(first_row + tile_row)", "(first_row)"),
    "keeps values of rows that have ended": (
        NORMED,
        "forward",
        "if active and unit == U(0)",
        "if unit == U(0)",
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS_OF_SUMS)
def test_a_mistake_in_sums_is_found(mutant, use, monkeypatch):
    """Of blocks with two warps, each with two rows."""
    cupy = use(*[Tile(4, 16, 2)] * 2)
    cell, direction, *change = MUTANTS_OF_SUMS[mutant]
    problem = Problem(cell, RAGGED, np.float32, H=40, seed=2)
    assert_found(change, direction, cupy, problem, monkeypatch)


MUTANTS_OF_FEATURES = {
    "no wait for adjoints": ("backward", "wait_for(arrived, group + U(1), epoch * U(2))", "epoch = epoch"),
    "no wait for states": (
        "forward",
        "wait_for(arrived, group + U(1), epoch * U(2))\ncuda.syncthreads()\nk = thread * U(4)",
        "epoch = epoch\ncuda.syncthreads()\nk = thread * U(4)",
    ),
    "features that do not exist": ("forward", "and feature < U(5)", "and feature < U(6)"),
    "features of rows that have ended": ("backward", "if has_feature and row < size:", "if has_feature:"),
    "the states of the step before": ("forward", "(new + read_row) * U(12)", "(old + read_row) * U(12)"),
}


@pytest.mark.parametrize("mutant", MUTANTS_OF_FEATURES)
def test_a_mistake_in_features_is_found(mutant, use, monkeypatch):
    cupy = use(*TILES["several blocks"][1:])
    problem = Problem(cells.lstm_projected, RAGGED, np.float32, H=12, P=5, seed=2)
    direction, *change = MUTANTS_OF_FEATURES[mutant]
    assert_found(change, direction, cupy, problem, monkeypatch)


def assert_found(change, direction, cupy, problem, monkeypatch):
    """Every mistake shows in one of ten schedules: as a race, a deadlock, or another number."""
    made = []

    class Mutated(EmulatedKernel):
        def __init__(self, phase, dtype):
            if phase.name.endswith(f"{direction}_persistent"):
                source = _replaced(phase.source, *change)
                made.append(source != phase.source)
                phase = phase._replace(source=source)
            super().__init__(phase, dtype)

    monkeypatch.setattr("rondeau.kernels.cuda.compiler.Kernel", Mutated)
    found = False
    for seed in range(10):
        monkeypatch.setattr(EmulatedKernel, "seed", seed)
        try:
            assert_like_the_cpu(cupy, problem)
        except (AssertionError, DataRaceError, DeadlockError, KernelError):
            found = True
            break
    assert made == [True], "the mutant is the kernel itself"
    assert found


def _replaced(source, before, after):
    """Return the source with a text replaced, whatever the indentation of its lines."""
    lines = [line.strip() for line in before.split("\n")]
    given = source.split("\n")
    for k in range(len(given) - len(lines) + 1):
        part = given[k : k + len(lines)]
        if all(wanted in line for wanted, line in zip(lines, part, strict=True)):
            first = part[0].replace(lines[0], after.split("\n")[0].strip())
            rest = [
                line.replace(wanted, new.strip())
                for line, wanted, new in zip(part[1:], lines[1:], after.split("\n")[1:], strict=False)
            ]
            return "\n".join([*given[:k], first, *rest, *given[k + len(lines) :]])
    return source


def test_a_kernel_that_gave_up_is_an_error_at_the_next_read(use, monkeypatch):
    cupy = use(*TILES["several blocks"][1:])

    class GivesUp(EmulatedKernel):
        def launch(self, grid, threads, *arguments):
            arguments[self.phase.arrays.index("arrived")][0] = 1

    monkeypatch.setattr("rondeau.kernels.cuda.compiler.Kernel", GivesUp)
    on_device(cupy, Problem(cells.lstm, Layout.dense(2, 2), np.float32, H=12)).forward()
    with pytest.raises(RuntimeError, match="cell lstm: the blocks of a persistent kernel waited"):
        deferred.raise_pending()


STEP_BY_STEP = {
    "it computes in float64, and not in float32": ("lstm", np.float64, {}),
    "its weights and sequences do not fit the 2 multiprocessors at once": ("lstm", np.float32, {"H": 256}),
}


@pytest.fixture
def all_tiers(device_stand_in, monkeypatch):
    """CuPy's stand-in with two multiprocessors, and a process that has warned of nothing."""
    monkeypatch.setattr(tiers, "ALLOWED", "persistent")
    monkeypatch.setattr(tiers, "_warned", set())
    monkeypatch.setattr(persistent, "limits_of", lambda library: Limits(2))
    return device_stand_in


@pytest.mark.parametrize("reason", STEP_BY_STEP)
def test_what_runs_step_by_step_says_so_once(reason, all_tiers):
    name, dtype, options = STEP_BY_STEP[reason]
    sent = on_device(all_tiers, Problem(getattr(cells, name), Layout.dense(2, 2), dtype, **options))
    with pytest.warns(rt.PerformanceWarning) as seen:
        tape = sent.forward().saved.values[1]
    (warning,) = seen
    sizes = f"with {tape.gates.shape[2]} hidden units and a batch of 2, runs step by step"
    assert str(warning.message).startswith(f"cell {name}, {sizes}")
    assert f"on the GPU, since {reason}; all steps" in str(warning.message)
    for direction in ("forward", "backward"):
        assert tiers.tier_of(tape, direction, {}) is stepwise


@pytest.mark.parametrize("layout", [Layout.dense(1, 2), Layout.dense(2, 0)], ids=["one step", "no rows"])
def test_what_nobody_expects_in_one_kernel_is_not_warned_of(layout, all_tiers):
    on_device(all_tiers, Problem(cells.lstm, layout, np.float64)).gradients()


@pytest.mark.parametrize("resident", [0, 2])
def test_blocks_that_the_device_cannot_hold_at_once(resident, all_tiers, monkeypatch):
    """Three blocks for each of two groups of rows, or blocks that need no other but are too large for the device."""
    tile = Tile(2, 8, 2) if resident else Tile(2, 20, 4)
    monkeypatch.setattr(persistent, "tile_of", lambda tape, direction, layers=1: tile)
    monkeypatch.setattr(EmulatedKernel, "resident_blocks", lambda kernel, threads: resident)
    problem = Problem(cells.rnn_tanh, RAGGED, np.float32, H=20)
    with pytest.warns(
        rt.PerformanceWarning, match="no room for all the blocks that must run at once"
    ) as seen:
        assert_like_the_cpu(all_tiers, problem)
    assert len(seen) == 1
    monkeypatch.setattr(EmulatedKernel, "resident_blocks", lambda kernel, threads: 6 if resident else 1)
    tape = on_device(all_tiers, problem).forward().saved.values[1]
    assert tiers.tier_of(tape, "forward", {}) is persistent


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("name", ["rnn_tanh", "gru", "lstm", "gru_original", "lstm_layer_norm"])
def test_tiles_fit(name, direction, precision):
    schedule = getattr(cells, name).schedule
    heads = {256: 4, 21: 3}
    for sizes in (*map(Sizes, (1, 7, 64, 100, 128, 256, 512)), *map(Sizes, heads, heads.values())):
        for batch_size in (1, 3, 16, 64):
            tile = choose_tile(schedule, direction, sizes, batch_size, Limits(132), precision)
            if tile is None:
                continue
            blocks = -(-sizes.of_head // tile.units)
            found = contractions_of(schedule, direction, sizes, tile)
            contractions = [c for _, _, c in found]
            assert all(c.fits for c in contractions)
            assert tile.rows * tile.units <= tile.threads
            assert blocks == 1 or blocks * -(-batch_size // tile.rows) * sizes.heads <= 132
            assert sum(c.num_weights for c in contractions) * tile.threads <= 65536
            row_sums = row_sums_of(schedule, direction, sizes, tile)
            assert 4 * (shared_elements(found) + row_sums.shared_size) <= 48 * 1024


def test_what_does_not_fit_a_device_has_no_tile():
    assert choose_tile(cells.lstm.schedule, "backward", Sizes(1024), 32, Limits(132)) is not None
    assert choose_tile(cells.lstm.schedule, "forward", Sizes(1024), 64, Limits(132)) is None
    assert choose_tile(cells.lstm.schedule, "forward", Sizes(1024, heads=8), 64, Limits(132)) is not None
    assert choose_tile(cells.lstm.schedule, "forward", Sizes(256), 16, Limits(132)) is not None
    assert choose_tile(cells.lstm.schedule, "forward", Sizes(256), 16, Limits(4)) is None
    projected = Sizes(512, projected=256)
    assert choose_tile(cells.lstm_projected.schedule, "forward", projected, 64, Limits(132)) is not None
    assert choose_tile(cells.lstm_projected.schedule, "forward", projected, 64, Limits(32)) is None
    assert choose_tile(NORMED.schedule, "forward", Sizes(512), 16, Limits(132)) is not None
    assert choose_tile(NORMED.schedule, "forward", Sizes(4096), 16, Limits(8)) is None
