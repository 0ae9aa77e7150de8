"""The kernels of the CUDA target as machine code: no spills, no stack, no hidden float64, and ready to launch.

NVIDIA's compiler and linker run without a GPU; the extra ``cuda-check`` has them.
"""

import ctypes
import warnings
from contextlib import contextmanager
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from tools import cuda_code
from tools.device_arrays import installed

from rondeau import nn
from rondeau.kernels.cell import Regularisers
from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.cuda import compiler
from rondeau.kernels.cuda.emit import emit
from rondeau.kernels.cuda.persistent.choice import Limits, choose_tile
from rondeau.kernels.cuda.persistent.emit import emit_persistent
from rondeau.kernels.cuda.persistent.plan import Sizes
from rondeau.kernels.cuda.persistent.tile import Tile
from rondeau.kernels.sequence import Cell, InputForms

MISSING = cuda_code.missing()
pytestmark = [
    pytest.mark.skipif(MISSING is not None, reason=f"no machine code for GPUs: {MISSING}"),
    pytest.mark.host_only("compiles for a GPU, and runs nothing"),
]


def fed(x, r, s, p, u, *, noise=0.25):
    """Inputs of a step and of a sequence, noise in float64, a product of a value, and a choice."""
    keep = m.exp(-m.relu(u.dt * p.rate))
    gate = m.where(u.dt > 0.5, m.sigmoid(u.gate + x.a), 0.5 * u.gate)
    new = m.tanh(r.b(keep * s.h + u.extra) + gate * u.extra * r.a)
    k = s.k * u.gate + noise * m.normal() * new + m.where(m.uniform() < 0.5, u.dt, s.k)
    return keep * s.h + (1 - keep) * new * x.c, k


def functions(x, r, s, p):
    """Every function whose code is its own, but for sine and cosine."""
    h = m.maximum(m.log1p(m.exp(x.a)), m.erf(r.a)) + m.softplus(x.b) * m.sign(s.h)
    k = m.clamp(s.k + m.expm1(x.b), -1.0, 1.0) + m.sqrt(1 + m.minimum(h, p.v) ** 2) / (2 + abs(s.k))
    return m.layer_norm(h + m.log(1 + k**2), p.v), k


def cells():
    """All built-in cells, those with other options, and cells for what none of them has."""
    built_in = {name: getattr(nn.cells, name) for name in nn.cells.__all__}
    fed_cell = Cell(
        fed, ("a", "b", "c"), ("h", "k"), "fed", {"rate": None},
        inputs={"dt": "step", "gate": "sequence", "extra": "step"},
    )  # fmt: skip
    woven = Regularisers(dropout=True, zoneout=("h",))
    return built_in | {
        "lstm_woven": built_in["lstm"].variant(Regularisers(dropout=True, zoneout=("h", "c"))),
        "gru_expected": built_in["gru"].variant(Regularisers(zoneout=("h",), expected=True)),
        "gru_original_woven": built_in["gru_original"].variant(woven),
        "lstm_layer_norm_woven": built_in["lstm_layer_norm"].variant(woven),
        "fed": fed_cell,
        "fed_numbers": fed_cell.variant(woven, InputForms(("dt", "gate"))),
        "functions": Cell(functions, ("a", "b"), ("h", "k"), "functions", {"v": None}),
    }


CELLS = cells()
FEW = ("lstm_woven", "li_gru", "fed_numbers")


def kernels_of(name, dtype):
    """Return a cell's kernels, those of backward with an incoming gradient of every state."""
    cell = CELLS[name]
    incoming = frozenset(cell.states)
    return [
        kernel
        for direction in ("forward", "backward")
        for kernel in emit(cell.name, direction, cell.schedule, dtype, incoming)
    ]


def most_stack(cell):
    """Return the bytes of a thread's stack that its functions need: a device's sine and cosine of large angles do."""
    return 40 if any(node.op in ("sin", "cos") for node in cell.schedule.graph.nodes) else 0


def assert_in_registers(name, dtype, architectures):
    most = most_stack(CELLS[name])
    for kernel in kernels_of(name, dtype):
        for code in cuda_code.machine_code(kernel, dtype, architectures):
            what = f"{kernel.name}, {dtype}, {code.architecture}"
            assert code.spills == 0, f"{what}: {code.spills} bytes are spilled, of {code.registers} registers"
            assert code.stack <= most, f"{what}: a stack of {code.stack} bytes"


@pytest.mark.parametrize("name", FEW)
def test_a_thread_lives_in_registers(name):
    assert_in_registers(name, "float32", ["sm_90"])


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CELLS)
def test_a_thread_of_every_cell_lives_in_registers(name, dtype):
    assert_in_registers(name, dtype, cuda_code.ARCHITECTURES)


WITH_SUMS = ("lstm_layer_norm", "gru_layer_norm", "li_gru")
PERSISTENT = [
    (name, sizes, batch_size, precision)
    for name in ("rnn_tanh", "gru", "lstm", "lstm_peephole", "gru_original", "slstm", "gru_d", *WITH_SUMS)
    for sizes in (*map(Sizes, (64, 100, 128, 256, 512, 1024)), Sizes(512, heads=4), Sizes(1024, heads=4))
    for batch_size in (16, 64)
    for precision in ("highest", "high")
]
PERSISTENT += [
    (name, sizes, batch_size, precision)
    for name, sizes in (
        *(
            ("lstm_projected", Sizes(hidden, projected=projected))
            for hidden, projected in ((64, 32), (100, 33), (512, 256), (1024, 256))
        ),
        ("lstm_projected", Sizes(256, projected=128, layers=2)),
        ("lstm", Sizes(256, layers=2)),
    )
    for batch_size in (16, 64)
    for precision in ("highest", "high")
]
SPILLING = pytest.mark.xfail(reason="16 warps: 8 bytes are spilled", strict=True)
IN_BFLOAT16 = [
    pytest.param(
        name, sizes, batch_size,
        marks=SPILLING if (name, *sizes[:2], batch_size) in (("lstm", 768, 1, 64), ("gru", 1024, 1, 64)) else (),
    )
    for name in ("lstm", "gru")
    for sizes in (*map(Sizes, (128, 256, 512, 768, 1024)), Sizes(1024, heads=4))
    for batch_size in (16, 32, 64)
]  # fmt: skip


def assert_weights_in_registers(name, sizes, batch_size, precision):
    """With the tiles that are chosen for an H200; registers are those of a block with all its threads."""
    schedule = getattr(nn.cells, name).schedule
    for direction in ("forward", "backward"):
        tile = choose_tile(schedule, direction, sizes, batch_size, Limits(132), precision)
        if tile is None:
            continue
        kernel = emit_persistent(name, direction, schedule, sizes, tile, frozenset({"h"}))
        what = f"{kernel.name}, {sizes}, {tile}"
        for code in cuda_code.machine_code(kernel, "float32", ["sm_80", "sm_90", "sm_100"]):
            assert code.spills == code.stack == 0, f"{what}, {code}"
            assert code.registers * tile.threads <= 65536, f"{what}, {code}"
        double = {name for name in cuda_code.instructions(kernel, "float32", "sm_90") if ".f64" in name}
        assert not double, f"{what} computes in float64: {sorted(double)}"


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("name", "sizes", "batch_size", "precision"), PERSISTENT, ids=str)
def test_persistent_kernels_keep_their_weights_in_registers(name, sizes, batch_size, precision):
    assert_weights_in_registers(name, sizes, batch_size, precision)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("name", "sizes", "batch_size"), IN_BFLOAT16, ids=str)
def test_persistent_kernels_in_bfloat16_keep_their_weights_in_registers(name, sizes, batch_size):
    assert_weights_in_registers(name, sizes, batch_size, "medium")


@pytest.mark.parametrize(
    "name", [name if name in FEW[::2] else pytest.param(name, marks=pytest.mark.long) for name in CELLS]
)
def test_float32_stays_float32(name, monkeypatch):
    """A Python number or an integer beside a float32 makes a float64 of it in Numba, with which GPUs are slow.

    Noise is drawn in float64, and angles are reduced in it; here other functions take their places.
    """
    real = compiler._device_functions()
    cuda = compiler.load_numba_cuda()
    word = real["random_word"]

    @cuda.jit(device=True, forceinline=True)
    def in_float32(key, substream, time, batch, unit):
        return np.float32(word(key, substream, time, batch, unit)) * np.float32(2.0**-24)

    @cuda.jit(device=True, forceinline=True)
    def same(x):
        return x

    others = real | dict.fromkeys(("normal", "uniform"), in_float32) | dict.fromkeys(("sin", "cos"), same)
    monkeypatch.setattr(compiler, "_device_functions", lambda: others)
    for kernel in kernels_of(name, "float32"):
        double = {name for name in cuda_code.instructions(kernel, "float32", "sm_90") if ".f64" in name}
        assert not double, f"{kernel.name} computes in float64: {sorted(double)}"


def test_float64_and_stacks_are_seen(monkeypatch):
    """The tests above would fail: the sine of a float64 keeps a stack, and noise is drawn in float64."""

    def waves(x, r, s):
        return m.sin(x.a + r.a) + m.normal()

    cell = Cell(waves, ("a",), ("h",), "waves")
    (kernel,) = emit("waves", "forward", cell.schedule, "float64")
    (code,) = cuda_code.machine_code(kernel, "float64", ["sm_90"])
    assert code.stack > 0
    (kernel,) = emit("waves", "forward", cell.schedule, "float32")
    assert any(".f64" in name for name in cuda_code.instructions(kernel, "float32", "sm_90"))


# -- a launch, up to the driver ---------------------------------------------------------------------


def test_blocks_that_wait_for_one_another_are_launched_together():
    schedule = nn.cells.lstm.schedule
    for hidden, tile, together in ((32, Tile(2, 8, 2), True), (20, Tile(2, 20, 4), False)):
        with cuda_code.pretended_device():
            source = emit_persistent("lstm", "forward", schedule, Sizes(hidden), tile)
            kernel = compiler.Kernel(source, "float32")
        (overload,) = kernel.compiled.overloads.values()
        assert overload.cooperative is together


def test_how_many_blocks_find_room_is_asked_once(monkeypatch):
    from numba.cuda import dispatcher

    asked = []

    def active_blocks(function, threads, shared):
        asked.append((function, threads, shared))
        return 2

    device = SimpleNamespace(MULTIPROCESSOR_COUNT=132)
    context = SimpleNamespace(device=device, get_active_blocks_per_multiprocessor=active_blocks)
    with cuda_code.pretended_device():
        kernel = compiler.Kernel(emit("lstm", "forward", nn.cells.lstm.schedule, "float32")[0], "float32")
    (overload,) = kernel.compiled.overloads.values()
    monkeypatch.setattr(overload.library, "get_cufunc", lambda: "loaded")
    monkeypatch.setattr(dispatcher, "get_context", lambda: context)
    assert [kernel.resident_blocks(256) for _ in range(2)] == [264, 264]
    assert asked == [("loaded", 256, 0)]


class OnTheDevice:
    """An array of CuPy's, as far as numba-cuda asks."""

    def __init__(self, shape, dtype, address):
        self.shape, self.flags = shape, SimpleNamespace(c_contiguous=True)
        self.__cuda_array_interface__ = {
            "shape": shape, "typestr": np.dtype(dtype).str, "data": (address, False), "version": 3,
            "strides": None, "stream": 1,
        }  # fmt: skip


@contextmanager
def recorded_launches():
    """Give the list of what numba-cuda hands to the driver: stream, configuration and arguments of each launch."""
    from numba.cuda import api, dispatcher
    from numba.cuda.cudadrv import devices, driver

    launches = []
    context = SimpleNamespace(create_external_stream=lambda address: address)
    with (
        patch.object(dispatcher, "launch", lambda *launch: launches.append(launch)),
        patch.object(driver, "_to_core_stream", lambda stream: stream),
        patch.object(api, "current_context", lambda *_: context),
        patch.object(devices, "get_context", lambda *_: context),
        patch.object(devices._runtime, "ensure_context", contextmanager(lambda: iter([None]))),
    ):
        yield launches


@pytest.mark.parametrize("origin", ["compiled", "loaded"])
def test_a_launch_reaches_the_driver_as_it_should(origin, monkeypatch, tmp_path):
    """By numba-cuda's own code: the grid, CuPy's stream, arrays as addresses, shapes and strides, and numbers.

    An array of no rows and lengths of 1 are nothing special, a small grid is not warned of, and a stream is wrapped
    once.
    """
    cell = CELLS["lstm"].variant(Regularisers(zoneout=("h",)))
    (kernel,) = emit("lstm", "forward", cell.schedule, "float32")
    assert kernel.numbers == ("scalar_0", "key", "substream", "row", "old", "new")
    monkeypatch.setenv("RONDEAU_CACHE", str(tmp_path))
    for loaded in [False] if origin == "compiled" else [False, True]:
        with cuda_code.filling_the_cache():
            compiled = compiler.Kernel(kernel, "float32")
        assert any(compiled.compiled.stats.cache_hits.values()) == loaded
    (overload,) = compiled.compiled.overloads.values()
    overload.library.get_cufunc = lambda: SimpleNamespace(kernel="loaded")
    shapes = {"positions": (5, 2), "states": (2, 9, 1), "bias": (0, 1, 4)}
    with installed() as cupy, recorded_launches() as launches, warnings.catch_warnings():
        monkeypatch.setattr(cupy.cuda.Stream, "ptr", 4096)
        warnings.simplefilter("error")
        arrays = [
            compiled.argument(
                OnTheDevice(
                    shapes.get(name, (3, 1, 4)), "int64" if name == "positions" else "float32",
                    0 if name == "bias" else 512 * number,
                )
            )
            for number, name in enumerate(kernel.arrays, 1)
        ]  # fmt: skip
        for row in (3, 4):
            compiled.launch((4, 2), 64, *arrays, 0.25, 2**64 - 1, 7, row, np.int64(1), 0)
    assert len(launches) == 2
    stream, configuration, loaded, *given = launches[1]
    assert (stream, loaded) == (4096, "loaded")
    assert tuple(configuration.grid) == (4, 2, 1)
    assert tuple(configuration.block) == (64, 1, 1)
    assert not configuration.is_cooperative
    expected = []
    for number, name in enumerate(kernel.arrays, 1):
        shape = shapes.get(name, (3, 1, 4))
        size = 8 if name == "positions" else 4
        address = 0 if name == "bias" else 512 * number
        strides = [size * int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
        expected += [0, 0, int(np.prod(shape)), size, address, *shape, *strides]
    values = [argument.value if isinstance(argument, ctypes._SimpleCData) else argument for argument in given]
    assert values == [*expected, 0.25, 2**64 - 1, 7, 4, 1, 0]
    assert compiled._configured.cache_info().misses == 1
