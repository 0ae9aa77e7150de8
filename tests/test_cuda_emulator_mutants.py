"""The emulator on whole kernels: right under any schedule, and each planted mistake is found within 20 of them."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from tools.cuda_emulator import (
    DataRaceError,
    DeadlockError,
    DivergenceError,
    Kernel,
    KernelError,
    OutOfBoundsError,
    UninitialisedError,
    WarpError,
)
from tools.cuda_emulator.matrices import from_bf16, to_bf16

import emulated_kernels
from comparing import assert_close

SCHEDULES = 20
NAMES = {
    name: value for name, value in vars(emulated_kernels).items() if value is not None and name[0] != "_"
}


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def run_sums_of_blocks(kernel, **schedule):
    x, sums = draw(2, 128), np.full(2, np.nan, np.float32)
    kernel.launch(2, 128, x.reshape(-1), sums, **schedule)
    assert_close(sums, x.astype(np.float64).sum(axis=1), rtol=1e-5, atol=1e-5)


def run_scan(kernel, **schedule):
    x, y = draw(64), np.full(64, np.nan, np.float32)
    kernel.launch(1, 64, x, y, **schedule)
    assert_close(y, np.cumsum(x.astype(np.float64)), rtol=1e-5, atol=1e-5)


def run_product_by_tiles(kernel, **schedule):
    a, b, c = draw(9, 13), draw(13, 11), np.full((9, 11), np.nan, np.float32)
    kernel.launch((2, 2), (8, 8), a, b, c, **schedule)
    assert_close(c, a.astype(np.float64) @ b, rtol=1e-5, atol=1e-5)


def run_recurrence(kernel, **schedule):
    steps, units = 3, 64
    weight = draw(units, units) / np.float32(8)
    h = np.full((steps + 1, 2, units), np.nan, np.float32)
    h[0] = draw(2, units)
    expected = [h[0].astype(np.float64)]
    for _ in range(steps):
        expected.append(expected[-1] @ weight)
    kernel.launch(2, 64, weight, h.reshape(-1), np.zeros(1, np.uint32), steps, **schedule)
    assert_close(h, np.stack(expected), rtol=1e-5, atol=1e-5)


def run_product_in_tf32(kernel, **schedule):
    a, b, c = draw(16, 24), draw(24, 8), np.full((16, 8), np.nan, np.float32)
    kernel.launch(1, 32, a, b, c, **schedule)
    cut = [(x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64) for x in (a, b)]
    assert_close(c, cut[0] @ cut[1], rtol=1e-6, atol=1e-6)


def run_product_in_bf16(kernel, **schedule):
    depth = 48
    bits = [np.vectorize(to_bf16)(draw(*shape)).astype(np.uint16) for shape in ((16, depth), (depth, 16))]
    a, b = (np.vectorize(from_bf16)(x.astype(np.uint32)) for x in bits)
    c = np.full((16, 16), np.nan, np.float32)
    kernel.launch(1, 64, *(x.reshape(-1) for x in bits), c, depth, **schedule)
    assert_close(c, a @ b, rtol=1e-6, atol=1e-6)


def run_sum_by_last_block(kernel, **schedule):
    x, parts, total = np.arange(96, dtype=np.int32), np.full(3, -1, np.int32), np.full(1, -1, np.int32)
    kernel.launch(3, 32, x, parts, np.zeros(1, np.int32), total, unwritten=["parts"], **schedule)
    assert total[0] == x.sum()


def run_hand_over(kernel, **schedule):
    x, y = draw(4, 32), np.full((4, 32), np.nan, np.float32)
    kernel.launch(1, 64, x.reshape(-1), y.reshape(-1), 4, **schedule)
    assert_close(y, x[:, ::-1], rtol=0, atol=0)


def run_rotate_in_warps(kernel, **schedule):
    x, y = draw(64), np.full(64, np.nan, np.float32)
    kernel.launch(1, 64, x, y, **schedule)
    assert_close(y.reshape(2, 32), np.roll(x.reshape(2, 32), -1, axis=1), rtol=0, atol=0)


RUNS: dict[str, Callable[..., None]] = {
    name.removeprefix("run_"): run for name, run in list(globals().items()) if name.startswith("run_")
}


class Mutant(NamedTuple):
    """A mistake: a part of a kernel's source, what stands in its place, and how it shows."""

    kernel: str
    mistake: str
    part: str
    instead: str
    shows: type[Exception] | tuple[type[Exception], ...]
    which: int = 0  # of the places where the part stands


UNORDERED = (DataRaceError, UninitialisedError)  # which of the two depends on who comes first
WAIT = "while ld_acquire(count, 0) < U(t + 1) * U(cuda.gridDim.x):\n                    spin()"


def mutants(kernel: str, *mistakes: tuple[Any, ...]) -> list[Mutant]:
    """Return the mutants of a kernel."""
    return [Mutant(kernel, *mistake) for mistake in mistakes]


MUTANTS = [
    *mutants(
        "sums_of_blocks",
        ("no barrier", "cuda.syncthreads()", "pass", UNORDERED),
        ("a wrong lane", "(16, 8, 4, 2, 1)", "(16, 8, 4, 2, 2)", AssertionError),
        ("a wrong mask", "FULL, total, step", "0xFFFF, total, step", WarpError),
        ("a barrier for one warp", "cuda.syncthreads()", "if tid < 32: cuda.syncthreads()", UNORDERED),
        (
            "a barrier in a branch", "    cuda.syncthreads()\n",
            "    if tid < 64:\n        cuda.syncthreads()\n    else:\n        cuda.syncthreads()\n", DivergenceError,
        ),
    ),
    *mutants(
        "scan",
        ("no barrier", "cuda.syncthreads()", "pass", UNORDERED),
        ("one buffer", "source = 1 - source", "pass", DataRaceError),
        ("a stale buffer", "held[source, i]", "held[1 - source, i]", AssertionError, 2),
        ("off by one", "i - step", "i - step - 1", OutOfBoundsError),
        ("off by one, inside", "i >= step", "i > step", AssertionError),
    ),
    *mutants(
        "product_by_tiles",
        ("no barrier before", "cuda.syncthreads()", "pass", UNORDERED),
        ("no barrier after", "cuda.syncthreads()", "pass", DataRaceError, 1),
        ("past the edge", "begin + x < a.shape[1]", "begin + x <= a.shape[1]", OutOfBoundsError),
        ("rows past the edge", "row < c.shape[0] and ", "", OutOfBoundsError),
        ("rows for columns", "tile_b[k, x]", "tile_b[x, k]", AssertionError),
    ),
    *mutants(
        "recurrence",
        ("no wait", WAIT, "pass", DataRaceError),
        ("a block too few", "< U(t + 1) * U(cuda.gridDim.x)", "< U(t + 1) * U(cuda.gridDim.x) - 1", DataRaceError),
        ("a block too many", "< U(t + 1) * U(cuda.gridDim.x)", "<= U(t + 1) * U(cuda.gridDim.x)", DeadlockError),
        ("arrives early", "= total\n        cuda.syncthreads()", "= total", DataRaceError),
        ("no release", "red_release_add(", "cuda.atomic.add(", DataRaceError),
        ("a release to the block", "red_release_add(", "red_release_add_cta(", DataRaceError),
        ("no acquire", "ld_acquire(", "ld_relaxed(", DataRaceError),
        ("a plain flag", "ld_acquire(count, 0)", "count[0]", DataRaceError),
        ("no barrier after the wait", "spin()\n            cuda.syncthreads()", "spin()", DataRaceError),
        ("no barrier before the product", "U(64)\n        cuda.syncthreads()", "U(64)", UNORDERED),
        ("a stale step", "ld_cg(h, U(t) *", "ld_cg(h, U(max(t - 1, 0)) *", AssertionError),
        ("a step ahead", "ld_cg(h, U(t) *", "ld_cg(h, U(t + 1) *", UNORDERED),
    ),
    *mutants(
        "product_in_tf32",
        ("operands swapped", "a[g + 8, k + q], a[g, k + q + 4]", "a[g, k + q + 4], a[g + 8, k + q]", AssertionError),
        ("a wrong lane", "lane // 4, lane % 4", "lane % 8, lane // 8", AssertionError),
    ),
    *mutants(
        "product_in_bf16",
        ("copies not waited for", "cp_async_wait_group(1)", "cp_async_wait_group(2)", DataRaceError),
        ("no barrier before", "cuda.syncthreads()", "pass", UNORDERED),
        ("no barrier after", "cuda.syncthreads()", "pass", DataRaceError, 1),
        ("a stale buffer", "begin = stage % 2", "begin = (stage + 1) % 2", DataRaceError),
        ("not transposed", "begin + lane // 16 * 8", "begin + lane % 2 * 8", AssertionError),
        ("no alignment", "begin + warp * 8", "begin + warp * 4", OutOfBoundsError),
    ),
    *mutants(
        "sum_by_last_block",
        ("no fence before", "cuda.threadfence()", "pass", DataRaceError),
        ("no fence after", "cuda.threadfence()", "pass", DataRaceError, 1),
        ("a fence for the block", "cuda.threadfence()", "cuda.threadfence_block()", DataRaceError),
        ("the last but one", "cuda.gridDim.x - 1", "cuda.gridDim.x - 2", UNORDERED),
        ("not atomic", "cuda.atomic.add(part, 0, x[cuda.grid(1)])", "part[0] += x[cuda.grid(1)]", DataRaceError),
    ),
    *mutants(
        "hand_over",
        ("does not wait until it is empty", "barrier_sync(2, 64)", "pass", (DataRaceError, KernelError)),
        ("does not wait until it is full", "barrier_sync(1, 64)", "barrier_arrive(1, 64)", UNORDERED),
        (
            "writes after it has arrived", "slot[lane] = x[r * 32 + lane]\n            barrier_arrive(1, 64)",
            "barrier_arrive(1, 64)\n            slot[lane] = x[r * 32 + lane]", UNORDERED,
        ),
        ("never empty", "barrier_arrive(2, 64)", "pass", DeadlockError),
    ),
    *mutants(
        "rotate_in_warps",
        ("lock step taken for granted", "cuda.syncwarp(FULL)", "pass", UNORDERED),
        ("a shuffle for a barrier", "cuda.syncwarp(FULL)", "cuda.shfl_sync(FULL, 0, 0)", UNORDERED),
        ("the next warp's lane", "tid - tid % 32 + (tid + 1) % 32", "(tid + 1) % 64", DataRaceError),
    ),
]  # fmt: skip


def source_of(name: str) -> str:
    return inspect.getsource(getattr(emulated_kernels, name))


def replaced(mutant: Mutant) -> str:
    """Return the mutant's source."""
    source = source_of(mutant.kernel)
    parts = source.split(mutant.part)
    assert len(parts) > mutant.which + 1, "the kernel has no such part"
    head = mutant.part.join(parts[: mutant.which + 1])
    return head + mutant.instead + mutant.part.join(parts[mutant.which + 1 :])


def schedules(count: int) -> list[dict[str, Any]]:
    return [{"seed": seed, "lockstep": seed % 4 == 3} for seed in range(count)]


def check_right(name: str, count: int) -> None:
    kernel = Kernel(getattr(emulated_kernels, name))
    for schedule in schedules(count):
        RUNS[name](kernel, **schedule)


@pytest.mark.parametrize("name", RUNS)
def test_kernels_are_right_under_every_schedule(name):
    check_right(name, SCHEDULES)


@pytest.mark.long
@pytest.mark.parametrize("name", RUNS)
def test_kernels_are_right_under_many_schedules(name):
    check_right(name, 500)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m.kernel}: {m.mistake}".replace(" ", "-"))
def test_mistakes_are_found(mutant):
    kernel = Kernel(replaced(mutant), NAMES)
    for schedule in schedules(SCHEDULES):
        try:
            RUNS[mutant.kernel](kernel, **schedule)
        except mutant.shows:
            return
    pytest.fail(f"none of {SCHEDULES} schedules shows it")
