"""What each primitive of the emulated machine does, against closed forms and the memory model of PTX."""

import math
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

from comparing import assert_close, assert_same_bits

# What kernels name; the emulator puts its own in their places.
cuda: Any = None
ld_acquire = ld_acquire_cta = ld_relaxed = ld_relaxed_v4 = ld_cg_v2 = ld_cg_v4 = ld_cg_v4_b32 = None
st_relaxed = st_release = st_release_cta = red_add = red_release_add = atom_cas_acquire = atom_cas_acq_rel = (
    None
)
barrier_sync = barrier_arrive = cp_async16 = cp_async_wait_all = umulhi = None
ldmatrix_x1 = ldmatrix_x2 = ldmatrix_x4 = ldmatrix_x2_trans = None
mma_m16n8k16_f16 = mma_m16n8k16_bf16 = None
spin: Any = None
kind: Any = None  # a dtype that a test gives
f32, i32, u16, u32 = np.float32, np.int32, np.uint16, np.uint32
FULL = 0xFFFFFFFF
LANES = np.arange(32)


def run(kernel, *arguments, grid=1, block=32, names=None, **schedule):
    return Kernel(kernel, names).launch(grid, block, *arguments, **schedule)


def of_lanes(kernel, *arguments, dtype=np.int64, block=32, **schedule):
    """Return what each thread of a block leaves in ``out``."""
    out = np.full(block, -1, dtype)
    run(kernel, out, *arguments, block=block, **schedule)
    return out


# ---------------------------------------------------------------------- places and numbers


def test_places_in_a_grid():
    def kernel(out):
        x, y, z = cuda.grid(3)
        block, thread = cuda.blockIdx, cuda.threadIdx
        sizes = cuda.gridDim.x * 100 + cuda.blockDim.y * 10 + cuda.gridsize(3)[2]
        out[z, y, x] = block.x * 1000000 + thread.x * 100000 + thread.y * 10000 + block.z * 1000 + sizes

    out = np.full((2, 3, 8), -1, np.int64)
    run(kernel, out, grid=(2, 1, 2), block=(4, 3))
    z, y, x = np.indices(out.shape)
    assert_same_bits(out, x // 4 * 1000000 + x % 4 * 100000 + y * 10000 + z * 1000 + 232)


def test_lanes_and_bits():
    def kernel(out):
        tid = cuda.grid(1)
        bits = cuda.popc(tid) + 100 * cuda.clz(tid) + 10000 * cuda.ffs(tid)
        out[tid] = bits + 1000000 * (cuda.brev(tid) >> 26) + 100000000 * cuda.laneid

    def expected(i):
        lowest = (i & -i).bit_length()
        return (
            i.bit_count()
            + 100 * (32 - i.bit_length())
            + 10000 * lowest
            + 1000000 * int(f"{i:06b}"[::-1], 2)
            + 100000000 * (i % 32)
        )

    assert of_lanes(kernel, block=64).tolist() == [expected(i) for i in range(64)]


def test_numbers_follow_ieee_and_conversions_cut():
    def kernel(out):
        out[0] = 1.0 / (out[0] - out[0])
        out[1] = -1.0 / 0.0
        out[2] = 0.0 / 0.0
        out[3] = math.log(0.0)
        out[4] = math.exp(1000.0)
        out[5] = math.sqrt(-1.0)
        out[6] = np.uint32(out[6] - 1)  # the low 32 bits, of a float's integer
        out[7] = np.int32(np.uint32(0xFFFFFFFF))
        out[8] = np.float32(0.1)
        out[9] = np.uint32(70000) * np.uint32(70000)  # Numba's product has 64 bits
        out[9] /= 2

    out = np.zeros(10)
    run(kernel, out, block=1)
    numbers = [
        np.inf,
        -np.inf,
        np.nan,
        -np.inf,
        np.inf,
        np.nan,
        0xFFFFFFFF,
        -1,
        float(np.float32(0.1)),
        70000**2 / 2,
    ]
    assert_close(out, numbers)


@pytest.mark.parametrize(("dtype", "value", "held"), [
    (np.float32, 0.1, np.float32(0.1)), (np.float32, 1e300, np.inf), (np.float16, 0.1, np.float16(0.1)),
    (np.float16, 1e6, np.inf),
    (np.uint32, -1, 2**32 - 1), (np.uint32, 2**32 + 5, 5), (np.int32, 2**31, -(2**31)), (np.int32, 2.9, 2),
    (np.uint16, 65537, 1), (np.bool_, 3, True), (np.float64, 0.1, 0.1), (np.int64, True, 1),
])  # fmt: skip
def test_stores_round_and_cut(dtype, value, held):
    def kernel(out, value):
        shared, local = cuda.shared.array(1, kind), cuda.local.array(1, kind)
        shared[0] = value
        local[0] = value
        out[0], out[1], out[2] = value, shared[0], local[0]

    out = np.zeros(3, dtype)
    run(kernel, out, value, block=1, names={"kind": dtype})
    assert_same_bits(out, np.array([held] * 3, dtype))


def test_device_functions_and_closures():
    scale = 3

    def twice(x):
        return scaled(x) * 2

    def neighbour(x):
        return cuda.shfl_xor_sync(FULL, x, 1)

    def scaled(x):
        return neighbour(x) * scale + np.int32(x)

    def kernel(out):
        out[cuda.threadIdx.x] = twice(cuda.threadIdx.x)

    assert_same_bits(of_lanes(kernel), ((LANES ^ 1) * 3 + LANES) * 2)


def test_collectives_inside_expressions_that_cannot_stop_are_refused():
    def kernel(out):
        out[0] = sum([cuda.shfl_sync(FULL, 1, lane) for lane in range(32)])

    with pytest.raises(ValueError, match=r"kernel, line \d+: cuda.shfl_sync within a lambda.*write a loop"):
        Kernel(kernel)


def test_arguments():
    class Pair(NamedTuple):
        values: np.ndarray
        more: tuple[np.ndarray, int]

    def kernel(pair, scale):
        pair.values[0] = pair.more[0][1] * pair.more[1] * scale

    values, more = np.zeros(1), np.arange(2.0)
    run(kernel, Pair(values, (more, 5)), np.float32(3), block=1)
    assert values[0] == 15
    with pytest.raises(TypeError, match=r"takes 2 arguments, \['pair', 'scale'\]; got 1"):
        run(kernel, 1)
    with pytest.raises(ValueError, match="scale is not C-contiguous"):
        run(kernel, 1, np.zeros((4, 4)).T[:2])
    with pytest.raises(ValueError, match=r"unwritten: \['x'\] are no parameters"):
        run(kernel, 1, 1, unwritten=["x"])


def test_arrays_that_are_not_writeable():
    def kernel(out, x):
        x[0] = out[0]

    x = np.zeros(4)
    x.flags.writeable = False
    with pytest.raises(KernelError, match=r"thread 0 of block 0, line .* cannot modify read-only memory"):
        of_lanes(kernel, x, block=1)


def test_schedules_are_reproducible_and_differ():
    def kernel(order, next_place):
        order[cuda.atomic.add(next_place, 0, 1)] = cuda.grid(1)

    def order(**schedule):
        out = np.full(64, -1, np.int32)
        run(kernel, out, np.zeros(1, np.int32), grid=2, **schedule)
        assert sorted(out) == list(range(64))
        return out.tolist()

    assert order(seed=1) == order(seed=1)
    assert len({tuple(order(seed=seed)) for seed in range(5)}) == 5
    together = order(seed=1, lockstep=True)
    assert [place for place in together if place < 32] == list(range(32))


# ---------------------------------------------------------------------- warps


def test_shuffles():
    def kernel(out, up, down, xor):
        lane = cuda.threadIdx.x
        out[lane] = cuda.shfl_sync(FULL, lane * lane, (lane + 3) % 32)
        up[lane] = cuda.shfl_up_sync(FULL, lane, 5)
        down[lane] = cuda.shfl_down_sync(FULL, lane, 7)
        xor[lane] = cuda.shfl_xor_sync(FULL, lane, 12)

    up, down, xor = np.zeros((3, 32), np.int64)
    assert_same_bits(of_lanes(kernel, up, down, xor), ((LANES + 3) % 32) ** 2)
    assert_same_bits(up, np.where(LANES >= 5, LANES - 5, LANES))
    assert_same_bits(down, np.where(LANES + 7 < 32, LANES + 7, LANES))
    assert_same_bits(xor, LANES ^ 12)


def test_votes_and_matches():
    def kernel(out):
        lane = cuda.threadIdx.x
        ballot = cuda.ballot_sync(FULL, lane % 3 == 0)
        votes = (
            cuda.all_sync(FULL, lane >= 0), cuda.all_sync(FULL, lane > 0), cuda.any_sync(FULL, lane == 31),
            cuda.any_sync(FULL, lane > 31), cuda.eq_sync(FULL, lane > 40), cuda.eq_sync(FULL, lane > 4),
        )  # fmt: skip
        same, all_same = cuda.match_all_sync(FULL, lane), cuda.match_all_sync(FULL, 7)
        good = (
            votes == (True, False, True, False, True, False)
            and same == (0, False)
            and all_same == (FULL, True)
        )
        if good and ballot == 0x49249249:
            out[lane] = cuda.match_any_sync(FULL, lane % 5)

    expected = [sum(1 << other for other in range(32) if other % 5 == lane % 5) for lane in range(32)]
    assert of_lanes(kernel).tolist() == expected


def test_masks_of_a_part_of_a_warp():
    def kernel(out):
        lane = cuda.threadIdx.x
        mask = 0x0000FFFF if lane < 16 else 0xFFFF0000
        if lane < 16:
            out[lane] = cuda.shfl_xor_sync(mask, lane, 1)
        else:
            out[lane] = cuda.shfl_down_sync(mask, lane, 16)

    assert_same_bits(of_lanes(kernel), np.where(LANES < 16, LANES ^ 1, LANES))


def test_active_lanes():
    def kernel(out):
        lane = cuda.threadIdx.x
        if lane % 2:
            out[lane] = cuda.activemask()
        else:
            out[lane] = cuda.activemask()

    together = of_lanes(kernel, lockstep=True)
    assert_same_bits(together, np.where(LANES % 2, 0xAAAAAAAA, 0x55555555))
    for seed in range(5):
        alone = of_lanes(kernel, seed=seed)
        assert not np.any(alone & ~together), "lanes of another branch"
        assert np.all(alone >> LANES & 1), "each lane is active itself"
    assert (alone != together).any()


def leaves_out_the_caller():
    cuda.shfl_sync(0xFFFF, 1, 0)


def lanes_disagree():
    cuda.ballot_sync(FULL if cuda.threadIdx.x else 1 | 1 << 31, 1)


def takes_from_nobody():
    if cuda.threadIdx.x < 16:
        cuda.shfl_down_sync(0xFFFF, 1, 8)


def a_lane_has_ended():
    if cuda.threadIdx.x > 0:
        cuda.syncwarp()


@pytest.mark.parametrize(("kernel", "words"), [
    (leaves_out_the_caller, "shfl_sync with the mask 0xffff, which leaves out the caller, lane"),
    (lanes_disagree, "ballot_sync with the mask .*, and thread .* waits at line .* for ballot_sync with the mask"),
    (takes_from_nobody, "shfl_down_sync: lane .* takes the value of lane .*, which gives none"),
    (a_lane_has_ended, "syncwarp with the mask 0xffffffff, (and its|which has) lane 0"),
])  # fmt: skip
@pytest.mark.parametrize("seed", range(3))
def test_wrong_masks(kernel, words, seed):
    with pytest.raises(WarpError, match=words):
        run(kernel, seed=seed)


def test_lanes_of_two_branches_meet_in_one_collective():
    def kernel(out):
        lane = cuda.threadIdx.x
        if lane < 16:
            out[lane] = cuda.shfl_xor_sync(FULL, lane, 31)
        else:
            out[lane] = cuda.shfl_xor_sync(FULL, lane, 31)

    assert_same_bits(of_lanes(kernel), 31 - LANES)


def test_matrix_instructions_are_aligned():
    def kernel():
        if cuda.threadIdx.x < 16:
            mma_m16n8k16_f16(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        else:
            mma_m16n8k16_f16(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)

    with pytest.raises(
        DivergenceError, match=r"f16, and thread \d+ of block 0 waits at line \d+ for mma.m16n8k16.f16"
    ):
        run(kernel)


def test_collectives_of_two_kinds_do_not_meet():
    def kernel(out):
        if cuda.threadIdx.x < 16:
            out[cuda.threadIdx.x] = cuda.ballot_sync(FULL, 1)
        else:
            out[cuda.threadIdx.x] = cuda.any_sync(FULL, 1)

    with pytest.raises(
        DivergenceError, match=r"_sync, and thread \d+ of block 0 waits at line \d+ for (ballot|any)_sync"
    ):
        of_lanes(kernel)


# ---------------------------------------------------------------------- barriers


def test_barriers_that_combine():
    def kernel(out):
        i = cuda.threadIdx.x
        count = cuda.syncthreads_count(i % 3 == 0)
        all_of, any_of = cuda.syncthreads_and(i < 63), cuda.syncthreads_or(i == 63)
        out[i] = count * 100 + all_of * 10 + any_of

    assert of_lanes(kernel, block=64).tolist() == [22 * 100 + 1] * 64


def test_a_barrier_counts_threads_that_have_not_ended():
    def kernel(out):
        i = cuda.threadIdx.x
        if i < 40:
            out[i] = cuda.syncthreads_count(1)

    for seed in range(3):
        assert of_lanes(kernel, block=64, seed=seed).tolist() == [40] * 40 + [-1] * 24


def test_barriers_at_two_places():
    def kernel():
        if cuda.threadIdx.x < 32:
            cuda.syncthreads()
        else:
            cuda.syncthreads()

    with pytest.raises(
        DivergenceError,
        match=r"thread \d+ of block 0, line \d+: syncthreads, and thread \d+ of block 0 waits",
    ):
        run(kernel, block=64)


def test_deadlocks_say_who_waits_where():
    def kernel(flag):
        if cuda.threadIdx.x >= 3:
            cuda.syncthreads()
        elif cuda.blockIdx.x == 0:
            while ld_acquire(flag, 0) == 0:
                pass
        else:
            barrier_sync(1, 64)

    with pytest.raises(DeadlockError) as caught:
        run(kernel, np.zeros(1, np.uint32), grid=2)
    text = str(caught.value)
    first = kernel.__code__.co_firstlineno
    assert f"block 0: threads 3-31 wait at line {first + 2} for syncthreads (29 of 32 threads)" in text
    assert f"block 0: threads 0-2 wait at line {first + 4} for what they read again and again" in text
    assert f"block 1: threads 0-2 wait at line {first + 7} for barrier 1" in text


def test_a_loop_on_plain_memory_neither_hangs_nor_passes():
    def kernel(flag):
        if cuda.blockIdx.x == 0:
            while flag[0] == 0:
                pass
        else:
            flag[0] = 1

    for seed in range(4):
        with pytest.raises(DataRaceError, match=r"flag\[0\], which thread 0 of block"):
            run(kernel, np.zeros(1, np.int32), grid=2, block=1, seed=seed)
    with pytest.raises(DeadlockError, match=r"thread.* 0 wait at line .* for what they read again and again"):
        run(kernel, np.zeros(1, np.int32), block=1)


def test_named_barriers_want_whole_warps():
    def kernel(count):
        barrier_sync(1, count)

    for count in (0, 33):
        with pytest.raises(KernelError, match=f"barrier 1 of {count} threads: .* counts multiples of 32"):
            run(kernel, count)


def test_the_barrier_of_the_grid():
    def kernel(x, y):
        i = cuda.grid(1)
        x[i] = i
        cuda.cg.this_grid().sync()
        y[i] = x[(i + 32) % 96]

    y = np.zeros(96, np.int32)
    run(kernel, np.zeros(96, np.int32), y, grid=3)
    assert_same_bits(y, ((np.arange(96) + 32) % 96).astype(np.int32))


# ---------------------------------------------------------------------- shared and local memory


def test_a_shared_array_belongs_to_its_place_in_the_source():
    def put(value):
        held = cuda.shared.array(1, i32)
        if cuda.threadIdx.x == 0:
            before = held[0] if value else 0
            held[0] = value
            return before
        return 0

    def kernel(out):
        other = cuda.shared.array(1, i32)
        other[0] = 7
        put(0)
        put(5)
        out[0] = put(6)

    assert of_lanes(kernel, block=1)[0] == 5


def test_dynamic_shared_memory_is_one_memory():
    def kernel(out):
        words, halves = cuda.shared.array(0, u32), cuda.shared.array(0, u16)
        i = cuda.threadIdx.x
        halves[2 * i] = i
        halves[2 * i + 1] = 1
        cuda.syncthreads()
        out[i] = words[31 - i]

    assert_same_bits(of_lanes(kernel, dynamic_shared=128), 65536 + 31 - LANES)
    with pytest.raises(KernelError, match="dynamic shared memory, and the launch gives none"):
        of_lanes(kernel)


def test_views_of_other_widths_race():
    def kernel(words, halves):
        if cuda.threadIdx.x:
            halves[1] = 1
        else:
            words[0] = 1

    words = np.zeros(4, np.uint32)
    with pytest.raises(DataRaceError, match=r"words/halves\[[01]\]"):
        run(kernel, words, words.view(np.uint16), block=2)


def unset_shared(out):
    held = cuda.shared.array(2, f32)
    held[0] = 1
    out[0] = held[1]


def unset_local(out):
    held = cuda.local.array((2, 2), f32)
    held[1, 0] = 1
    out[0] = held[1, 1]


def unset_register(out):
    held = cuda.local.array(2, f32)
    value = held[1]  # no harm yet
    cuda.syncthreads()
    held[0] = value + 1


def register_past_the_end(out):
    held = cuda.local.array(2, f32)
    if held[2] > 0:
        out[0] = 1


def register_far_past_the_end(out):
    held = cuda.local.array(2, f32)
    out[0] = held[10]


def register_before_the_begin(out):
    held = cuda.local.array(2, f32)
    held[0] = held[1] = 1
    out[0] = held[-1]


def unset_global(out):
    out[0] = out[1]


def past_the_end(out):
    out[0] = out[out.shape[0]]


def before_the_begin(out):
    out[-1] = 1


def column_past_the_end(out):
    held = cuda.shared.array((2, 3), f32)
    held[0, 3] = 1


def local_past_the_end(out):
    held = cuda.local.array(3, f32)
    held[3] = 1


def local_before_the_begin(out):
    held = cuda.local.array(3, f32)
    held[-1] = 1


def not_aligned(out):
    ld_cg_v4(out, 2)


@pytest.mark.parametrize(("kernel", "error", "words"), [
    (unset_shared, UninitialisedError, r"thread 0 of block 0, line \d+: reads the shared array of line \d+\[1\]"),
    (unset_local, UninitialisedError, "uses an element of a local array that the thread has not stored"),
    (unset_register, UninitialisedError, r"line \d+: uses an element of a local array that the thread has not stored"),
    (register_past_the_end, OutOfBoundsError, "of a local array that is past its end or before its begin"),
    (register_far_past_the_end, OutOfBoundsError, "thread 0 of block 0, line .*: list index out of range"),
    (register_before_the_begin, OutOfBoundsError, "of a local array that is past its end or before its begin"),
    (unset_global, UninitialisedError, r"reads out\[1\], which nobody has written"),
    (past_the_end, OutOfBoundsError, r"out\[8\], and it has 8 elements"),
    (before_the_begin, OutOfBoundsError, r"out\[-1\], and it has 8 elements"),
    (column_past_the_end, OutOfBoundsError, r"\[\(0, 3\)\], and its shape is \(2, 3\)"),
    (local_past_the_end, OutOfBoundsError, "a local array's element 3, and it has 3"),
    (local_before_the_begin, OutOfBoundsError, "a local array's element -1, and it has 3"),
    (not_aligned, OutOfBoundsError, "4 elements in one access from element 2, .* no multiple of 16 bytes"),
])  # fmt: skip
def test_bad_accesses(kernel, error, words):
    with pytest.raises(error, match=words):
        run(kernel, np.zeros(8, np.float32), block=1, unwritten=["out"])


def test_static_shared_memory_is_limited():
    def kernel():
        cuda.shared.array(12000, f32)
        cuda.shared.array(400, f32)

    with pytest.raises(KernelError, match="49600 bytes of static shared memory, of which a block has 49152"):
        run(kernel, block=1)


def test_rows_are_views_and_slices_are_refused():
    def kernel(out, x):
        row = x[1]
        out[0] = row[2] + x[0][1]

    def sliced(out, x):
        out[0] = x[0:2][0]

    x = np.arange(6.0).reshape(2, 3)
    assert of_lanes(kernel, x, block=1)[0] == 6
    with pytest.raises(KernelError, match=r"an index must be an integer, got slice"):
        of_lanes(sliced, x, block=1)


def test_vector_loads():
    def kernel(out, x):
        i = cuda.threadIdx.x
        a, b, c, d = ld_cg_v4(x, 4 * i)
        e, f = ld_cg_v2(x, 2)
        g, _, _, h = ld_relaxed_v4(x, 4 * i)
        out[i] = a + 10 * b + 100 * c + 1000 * d + e + f + g + h

    x = np.arange(16, dtype=np.float32)
    i = np.arange(4)
    assert_same_bits(of_lanes(kernel, x, block=4), 4444 * i + 3210 + 5 + 8 * i + 3)


def test_asynchronous_copies():
    def kernel(out, x):
        held = cuda.shared.array(128, f32)
        i = cuda.threadIdx.x
        cp_async16(held, 4 * i, x, 124 - 4 * i)
        cp_async_wait_all()
        cuda.syncthreads()
        out[i] = held[(4 * i + 5) % 128]

    def read_too_early(out, x):
        held = cuda.shared.array(4, f32)
        cp_async16(held, 0, x, 0)
        out[0] = held[0]

    def source_changed(out, x):
        held = cuda.shared.array(4, f32)
        cp_async16(held, 0, x, 0)
        x[3] = 1
        cp_async_wait_all()

    def never_waited(out, x):
        held = cuda.shared.array(4, f32)
        cp_async16(held, 0, x, 0)

    x = np.arange(128, dtype=np.float32)
    place = (4 * LANES + 5) % 128
    assert_same_bits(of_lanes(kernel, x), 124 - place // 4 * 4 + place % 4)
    for wrong in (read_too_early, source_changed):
        with pytest.raises(
            DataRaceError, match="an asynchronous copy of thread 0 of block 0, not waited for,"
        ):
            of_lanes(wrong, x, block=1)
    with pytest.raises(KernelError, match="has ended, and its asynchronous copies have not been waited for"):
        of_lanes(never_waited, x, block=1)


# ---------------------------------------------------------------------- atomics


@pytest.mark.parametrize("seed", range(3))
def test_atomics(seed):
    def kernel(x, tickets):
        i = cuda.grid(1)
        held = cuda.shared.array(1, i32)
        if cuda.threadIdx.x == 0:
            held[0] = 0
        cuda.syncthreads()
        cuda.atomic.add(held, 0, i)
        cuda.syncthreads()
        if cuda.threadIdx.x == 0:
            cuda.atomic.add(x, 0, held[0])
        cuda.atomic.max(x, 1, i)
        cuda.atomic.min(x, 2, i - 10)
        cuda.atomic.xor(x, 3, 1 << (i % 32))
        cuda.atomic.or_(x, 4, 1 << (i % 7))
        cuda.atomic.and_(x, 5, ~(1 << (i % 5)))
        cuda.atomic.inc(x, 6, 9)
        cuda.atomic.dec(x, 7, 9)
        cuda.atomic.sub(x, 8, 2)
        tickets[i] = cuda.atomic.exch(x, 9, i)
        cuda.atomic.cas(x, 10, 0, i + 1)

    x, tickets = np.zeros(12, np.int64), np.zeros(96, np.int64)
    x[5], x[9] = 255, -1
    run(kernel, x, tickets, grid=3, seed=seed)
    assert x[:9].tolist() == [96 * 95 // 2, 95, -10, 0xFFFFFFFF, 127, 255 - 31, 96 % 10, (-96) % 10, -192]
    assert sorted([*tickets, x[9]]) == list(range(-1, 96))
    assert 1 <= x[10] <= 96


@pytest.mark.parametrize("seed", range(3))
def test_a_lock_lets_one_in(seed):
    def kernel(lock, total):
        while atom_cas_acquire(lock, 0, 0, 1) != 0:
            spin()
        total[0] = total[0] + cuda.grid(1)
        st_release(lock, 0, 0)

    total = np.zeros(1, np.int64)
    run(kernel, np.zeros(1, np.int32), total, grid=2, block=8, seed=seed)
    assert total[0] == 120


def test_a_swap_that_fails_is_a_load():
    def kernel(x, flag):
        if cuda.threadIdx.x == 0:
            x[0] = 1
            flag[0] = atom_cas_acq_rel(flag, 1, 5, 6)  # the element is 0: nothing is released
        elif ld_acquire(flag, 1) == 0:
            x[1] = x[0]

    with pytest.raises(DataRaceError, match=r"x\[0\]"):
        run(kernel, np.zeros(2, np.int32), np.zeros(2, np.int32), block=2)


def test_a_lock_without_release_races():
    def kernel(lock, total):
        while atom_cas_acquire(lock, 0, 0, 1) != 0:
            spin()
        total[0] = total[0] + 1
        st_relaxed(lock, 0, 0)

    with pytest.raises(DataRaceError, match=r"total\[0\]"):
        run(kernel, np.zeros(1, np.int32), np.zeros(1, np.int32), grid=2, block=1)


def test_atomic_and_plain_accesses_race():
    def written(x):
        if cuda.threadIdx.x:
            red_add(x, 0, 1)
        else:
            x[0] = 5

    def read(x):
        if cuda.threadIdx.x:
            red_add(x, 0, 1)
        else:
            x[1] = x[0]

    for kernel in (written, read):
        for seed in range(4):
            with pytest.raises(DataRaceError, match=r"x\[0\], which thread [01] of block 0"):
                run(kernel, np.zeros(2, np.int32), block=2, seed=seed)


def test_every_reader_counts():
    def kernel(x, y):
        i = cuda.threadIdx.x
        if i < 2:
            y[i] = x[0]
        if i > 0:
            cuda.syncwarp(0b110)
        if i == 2:
            x[0] = 1  # ordered after the read of thread 1, not after that of thread 0

    for seed in range(6):
        with pytest.raises(DataRaceError, match=r"x\[0\], which thread [02] of block 0, .* (reads|wrote)"):
            run(kernel, np.zeros(1, np.int32), np.zeros(2, np.int32), block=3, seed=seed)


# ---------------------------------------------------------------------- the memory model


def message(write, read):
    """Return the kernel in which block 0 leaves a value and raises a flag, and block 1 waits for the flag and reads."""
    return f"""
def kernel(data, flag, out):
    if cuda.blockIdx.x == 0:
        data[0] = 42
        {write}
    else:
        {read}
        out[0] = data[0]
"""


ACQUIRE = "while ld_acquire(flag, 0) == 0: spin()"
RELAXED = "while ld_relaxed(flag, 0) == 0: spin()"


@pytest.mark.parametrize(("write", "read", "ordered"), [
    ("st_release(flag, 0, 1)", ACQUIRE, True),
    ("red_release_add(flag, 0, 1)", ACQUIRE, True),
    ("cuda.threadfence(); st_relaxed(flag, 0, 1)", ACQUIRE, True),
    ("cuda.threadfence(); cuda.atomic.add(flag, 0, 1)", RELAXED + "\n        cuda.threadfence()", True),
    ("st_release(flag, 0, 1)", "while cuda.atomic.cas(flag, 0, 1, 2) != 1: spin()\n        cuda.threadfence()", True),
    ("st_release(flag, 0, 1)", RELAXED, False),
    ("st_relaxed(flag, 0, 1)", ACQUIRE, False),
    ("cuda.threadfence_block(); st_relaxed(flag, 0, 1)", ACQUIRE, False),
    ("st_release_cta(flag, 0, 1)", ACQUIRE, False),
    ("st_release(flag, 0, 1)", "while ld_acquire_cta(flag, 0) == 0: spin()", False),
    ("st_release(flag, 0, 1); st_relaxed(flag, 0, 2)", "while ld_acquire(flag, 0) != 2: spin()", True),
    ("st_release(flag, 0, 1); red_add(flag, 0, 1)", "while ld_acquire(flag, 0) != 2: spin()", True),
    ("st_release(flag, 0, 1)", RELAXED + "\n        ld_acquire(flag, 0)", True),
    ("st_release(flag, 0, 1); data[0] = 43", ACQUIRE, False),
    ("flag[0] = 1", ACQUIRE, False),
])  # fmt: skip
def test_what_orders_two_blocks(write, read, ordered):
    kernel = Kernel(message(write, read))
    for seed in range(6):
        out = np.zeros(1, np.int32)
        arrays = np.zeros(1, np.int32), np.zeros(1, np.uint32), out
        if ordered:
            kernel.launch(2, 1, *arrays, seed=seed)
            assert out[0] == 42
        else:
            with pytest.raises(DataRaceError):
                kernel.launch(2, 1, *arrays, seed=seed)


def test_a_scope_of_the_block_is_enough_inside_it():
    def kernel(data, flag, out):
        if cuda.threadIdx.x == 0:
            data[0] = 42
            st_release_cta(flag, 0, 1)
        else:
            while ld_acquire_cta(flag, 0) == 0:
                spin()
            out[0] = data[0]

    out = np.zeros(1, np.int32)
    run(kernel, np.zeros(1, np.int32), np.zeros(1, np.uint32), out, block=2)
    assert out[0] == 42


def test_releases_hold_for_the_whole_block_behind_a_barrier():
    def kernel(data, flag, out):
        i = cuda.threadIdx.x
        if cuda.blockIdx.x == 0:
            data[i] = i
            cuda.syncthreads()
            if i == 0:
                st_release(flag, 0, 1)
        else:
            if i == 0:
                while ld_acquire(flag, 0) == 0:
                    spin()
            cuda.syncthreads()
            out[i] = data[31 - i]

    for seed in range(4):
        out = np.zeros(32, np.int32)
        run(kernel, np.zeros(32, np.int32), np.zeros(1, np.uint32), out, grid=2, seed=seed)
        assert_same_bits(out, (31 - LANES).astype(np.int32))


def litmus(kernel, outcomes):
    """Return all that two blocks leave in ``out``, over many schedules."""
    made = Kernel(kernel)
    found = set()
    for seed in range(outcomes):
        out = np.zeros(2, np.int32)
        made.launch(2, 1, np.zeros(2, np.int32), out, seed=seed)
        found.add(tuple(out.tolist()))
    return found


def test_relaxed_messages_arrive_out_of_order():
    def relaxed(x, out):
        if cuda.blockIdx.x == 0:
            st_relaxed(x, 0, 1)
            st_relaxed(x, 1, 1)
        else:
            out[0] = ld_relaxed(x, 1)
            out[1] = ld_relaxed(x, 0)

    def ordered(x, out):
        if cuda.blockIdx.x == 0:
            st_relaxed(x, 0, 1)
            st_release(x, 1, 1)
        else:
            out[0] = ld_acquire(x, 1)
            out[1] = ld_relaxed(x, 0)

    assert litmus(relaxed, 200) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert litmus(ordered, 200) == {(0, 0), (0, 1), (1, 1)}


def test_stores_may_be_late():
    def kernel(x, out):
        me = cuda.blockIdx.x
        st_relaxed(x, me, 1)
        out[me] = ld_relaxed(x, 1 - me)

    assert litmus(kernel, 200) == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_one_element_never_goes_back():
    def kernel(x, out):
        if cuda.blockIdx.x == 0:
            for k in range(1, 9):
                st_relaxed(x, 0, k)
        else:
            last = 0
            for _ in range(12):
                value = ld_relaxed(x, 0)
                if value < last:
                    out[0] += 1
                last = value
            out[1] = last

    assert {backwards for backwards, _ in litmus(kernel, 60)} == {0}


def test_what_one_thread_has_read_is_not_unread_by_another():
    def kernel(x, out):
        if cuda.blockIdx.x == 0:
            if cuda.threadIdx.x == 0:
                for k in range(1, 9):
                    st_relaxed(x, 0, k)
        elif cuda.threadIdx.x == 0:
            out[0] = ld_relaxed(x, 0)
            cuda.syncwarp(3)
        else:
            cuda.syncwarp(3)
            out[1] = ld_relaxed(x, 0)

    made = Kernel(kernel)
    for seed in range(100):
        out = np.zeros(2, np.int32)
        made.launch(2, 2, np.zeros(1, np.int32), out, seed=seed)
        assert out[1] >= out[0]


def test_values_that_say_themselves_that_they_are_there():
    def kernel(x, out, writes):
        i, block = cuda.threadIdx.x, cuda.blockIdx.x
        if block < writes:
            st_relaxed(x, block * 32 + i, i)
        value = ld_relaxed(x, (1 - block) * 32 + 31 - i)
        while value != value:
            value = ld_relaxed(x, (1 - block) * 32 + 31 - i)
        out[block * 32 + i] = value

    for seed in range(4):
        out = np.zeros(64, np.float32)
        run(kernel, np.full(64, np.nan, np.float32), out, 2, grid=2, seed=seed)
        assert_same_bits(out, np.tile(31 - LANES, 2).astype(np.float32))
    with pytest.raises(
        DeadlockError, match=r"block 0: threads 0-31 wait at line \d+ for what they read again"
    ):
        run(kernel, np.full(64, np.nan, np.float32), np.zeros(64, np.float32), 1, grid=2)


# ---------------------------------------------------------------------- matrices


def test_bf16():
    values = np.random.default_rng(0).standard_normal(200).astype(np.float32)
    values[:4] = 1.00390625, 1.01171875, np.inf, -0.0  # two ties, of which the even one is taken
    bits = [to_bf16(float(value)) for value in values]
    assert bits[:4] == [0x3F80, 0x3F82, 0x7F80, 0x8000]
    back = np.array([from_bf16(b) for b in bits], np.float32)
    assert_close(back, values, rtol=2.0**-8)
    assert math.isnan(from_bf16(to_bf16(math.nan)))


def test_products_in_float16():
    def kernel(a, b, c):
        lane = cuda.threadIdx.x
        g, q = lane // 4, lane % 4
        d0, d1, d2, d3 = mma_m16n8k16_f16(
            a[g, q], a[g + 8, q], a[g, q + 4], a[g + 8, q + 4], b[g, q], b[g, q + 4],
            c[g, 2 * q], c[g, 2 * q + 1], c[g + 8, 2 * q], c[g + 8, 2 * q + 1],
        )  # fmt: skip
        c[g, 2 * q], c[g, 2 * q + 1], c[g + 8, 2 * q], c[g + 8, 2 * q + 1] = d0, d1, d2, d3

    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((16, 16)).astype(np.float16), rng.standard_normal((8, 16)).astype(np.float16)
    c = rng.standard_normal((16, 8)).astype(np.float32)
    expected = a.astype(np.float64) @ b.astype(np.float64).T + c
    run(kernel, a.view(np.uint32), b.view(np.uint32), c)
    assert_close(c, expected, rtol=1e-6, atol=1e-6)


def test_products_in_bf16():
    """Operands straight from memory: of 32 of the depth a lane takes eight, two for each register."""

    def kernel(a, b, c):
        lane = cuda.threadIdx.x
        g, q = lane // 4, lane % 4
        a0, a1, a2, a3 = ld_cg_v4_b32(a, g * 32 + q * 8)
        b0, b1, b2, b3 = ld_cg_v4_b32(a, g * 32 + 256 + q * 8)
        w0, w1, w2, w3 = ld_cg_v4_b32(b, g * 32 + q * 8)
        d0 = d1 = d2 = d3 = f32(0)
        d0, d1, d2, d3 = mma_m16n8k16_bf16(a0, b0, a1, b1, w0, w1, d0, d1, d2, d3)
        d0, d1, d2, d3 = mma_m16n8k16_bf16(a2, b2, a3, b3, w2, w3, d0, d1, d2, d3)
        c[g, 2 * q], c[g, 2 * q + 1], c[g + 8, 2 * q], c[g + 8, 2 * q + 1] = d0, d1, d2, d3

    rng = np.random.default_rng(0)
    a, b = (np.array([to_bf16(x) for x in rng.standard_normal(n * 32)], np.uint16) for n in (16, 8))
    c = np.zeros((16, 8), np.float32)
    run(kernel, a, b, c)
    a_values, b_values = (np.array([from_bf16(int(x)) for x in bits]).reshape(-1, 32) for bits in (a, b))
    assert_close(c, a_values @ b_values.T, rtol=1e-6, atol=1e-6)
    with pytest.raises(OutOfBoundsError, match="8 elements in one access from element 4"):
        run("def kernel(a):\n    ld_cg_v4_b32(a, 4)\n", a)


@pytest.mark.parametrize(("count", "transposed"), [(1, False), (2, False), (4, False), (2, True)])
def test_matrices_from_shared_memory(count, transposed):
    kernel = Kernel(f"""
def kernel(x, out):
    held = cuda.shared.array(256, u16)
    lane = cuda.threadIdx.x
    for k in range(8):
        held[lane * 8 + k] = x[lane * 8 + k]
    cuda.syncthreads()
    found = ldmatrix_x{count}{"_trans" * transposed}(held, lane * 8)
    if {count} == 1:
        out[lane, 0] = found
    else:
        for k in range({count}):
            out[lane, k] = found[k]
""", {"u16": u16})  # fmt: skip
    x, out = np.arange(256, dtype=np.uint16), np.zeros((32, count), np.uint32)
    kernel.launch(1, 32, x, out)
    matrices = x.reshape(4, 8, 8)[:count]
    if transposed:
        matrices = matrices.transpose(0, 2, 1)
    assert_same_bits(out, np.ascontiguousarray(matrices).view(np.uint32).reshape(count, 32).T.copy())


def test_upper_halves_of_products():
    def kernel(out):
        out[0] = umulhi(0xD2511F53, 0x9E3779B9)

    assert of_lanes(kernel, block=1)[0] == 0xD2511F53 * 0x9E3779B9 >> 32


def test_rounding_to_tf32():
    kernel = Kernel(
        "def k(x):\n    i = cuda.threadIdx.x\n    x[i] = cvt_rna_tf32(x[i])\n",
    )
    ulp = 2.0**-10
    given = [1.0, 1 + ulp / 4, 1 + ulp / 2, -1 - ulp / 2, 1 + 3 * ulp / 4, 3e38, math.inf, -0.0]
    x = np.array(given, np.float32)
    kernel.launch(1, len(given), x)
    expected = np.array([1.0, 1.0, 1 + ulp, -1 - ulp, 1 + ulp, 3e38, math.inf, -0.0], np.float32)
    assert_close(x, expected, rtol=ulp / 2)
    assert_same_bits(x[[0, 1, 2, 3, 4, 6, 7]], expected[[0, 1, 2, 3, 4, 6, 7]])
