"""Kernels that the tests of the emulator run, written as for `numba.cuda`.

Who runs or compiles one says what the names that are None here stand for.
"""

from typing import Any

import numpy as np

U, float32, int32, uint16, uint32 = np.uint32, np.float32, np.int32, np.uint16, np.uint32
FULL = np.uint32(0xFFFFFFFF)
cuda: Any = None
ld_acquire: Any = None
ld_cg: Any = None
red_release_add: Any = None
spin: Any = None
mark_cooperative: Any = None
mma_m16n8k8_tf32: Any = None
mma_m16n8k16_bf16: Any = None
ldmatrix_x4: Any = None
ldmatrix_x2_trans: Any = None
cp_async16: Any = None
cp_async_commit_group: Any = None
cp_async_wait_group: Any = None
barrier_sync: Any = None
barrier_arrive: Any = None


def sums_of_blocks(x, sums):
    """Sums of blocks of 128: within warps by shuffles, then over the warps through shared memory."""
    parts = cuda.shared.array(4, float32)
    tid = cuda.threadIdx.x
    total = x[cuda.grid(1)]
    for step in (16, 8, 4, 2, 1):
        total += cuda.shfl_down_sync(FULL, total, step)
    if tid % 32 == 0:
        parts[tid // 32] = total
    cuda.syncthreads()
    if tid == 0:
        sums[cuda.blockIdx.x] = parts[0] + parts[1] + parts[2] + parts[3]


def scan(x, y):
    """Inclusive sums of a block of 64, by steps that double, between two buffers (Hillis and Steele)."""
    held = cuda.shared.array((2, 64), float32)
    i = cuda.threadIdx.x
    held[0, i] = x[i]
    source = 0
    step = 1
    while step < 64:
        cuda.syncthreads()
        total = held[source, i]
        if i >= step:
            total += held[source, i - step]
        source = 1 - source
        held[source, i] = total
        step *= 2
    y[i] = held[source, i]


def product_by_tiles(a, b, c):
    """C = A B by tiles of 8 x 8, for sizes that no tile divides."""
    tile_a = cuda.shared.array((8, 8), float32)
    tile_b = cuda.shared.array((8, 8), float32)
    column, row = cuda.grid(2)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    total = float32(0)
    for begin in range(0, a.shape[1], 8):
        tile_a[y, x] = a[row, begin + x] if row < a.shape[0] and begin + x < a.shape[1] else float32(0)
        tile_b[y, x] = b[begin + y, column] if begin + y < b.shape[0] and column < b.shape[1] else float32(0)
        cuda.syncthreads()
        for k in range(8):
            total += tile_a[y, k] * tile_b[k, x]
        cuda.syncthreads()
    if row < c.shape[0] and column < c.shape[1]:
        c[row, column] = total


def recurrence(weight, h, count, steps):
    """h[t + 1] = h[t] W for all steps in one launch, the weights in registers and h exchanged through memory.

    A block of 64 threads has 32 units of two rows. h is (steps + 1, rows, units), flat; ``count`` is 0 before the
    launch.
    """
    held = cuda.shared.array(128, float32)
    w = cuda.local.array(64, float32)
    mark_cooperative()
    tid = U(cuda.threadIdx.x)
    units = U(weight.shape[0])
    unit = U(cuda.blockIdx.x) * U(32) + tid % U(32)
    row = tid // U(32)
    for k in range(units):
        w[k] = weight[k, unit]
    for t in range(steps):
        i = tid
        while i < U(2) * units:
            held[i] = ld_cg(h, U(t) * U(2) * units + i)
            i += U(64)
        cuda.syncthreads()
        total = float32(0)
        for k in range(units):
            total += held[row * units + U(k)] * w[k]
        h[(U(t + 1) * U(2) + row) * units + unit] = total
        cuda.syncthreads()
        if t + 1 < steps:
            if tid == U(0):
                red_release_add(count, 0, U(1))
                while ld_acquire(count, 0) < U(t + 1) * U(cuda.gridDim.x):
                    spin()
            cuda.syncthreads()


def product_in_tf32(a, b, c):
    """C = A B of 16 x K by K x 8, by one warp, its operands straight from memory."""
    lane = cuda.threadIdx.x
    g, q = lane // 4, lane % 4
    c0 = c1 = c2 = c3 = float32(0)
    for k in range(0, a.shape[1], 8):
        c0, c1, c2, c3 = mma_m16n8k8_tf32(
            a[g, k + q], a[g + 8, k + q], a[g, k + q + 4], a[g + 8, k + q + 4],
            b[k + q, g], b[k + q + 4, g],
            c0, c1, c2, c3,
        )  # fmt: skip
    c[g, 2 * q], c[g, 2 * q + 1], c[g + 8, 2 * q], c[g + 8, 2 * q + 1] = c0, c1, c2, c3


def bring(tile, source, stage, thread, length, ahead):
    """Begin to copy 16 bytes of a tile of 16 x 16: half a row for each thread of a warp."""
    row, column = thread // 2, thread % 2 * 8
    cp_async16(tile, stage % 2 * 256 + row * 16 + column, source, row * length + stage * ahead + column)


def product_in_bf16(a, b, c, depth):
    """C = A B of 16 x depth by depth x 16: two warps of 8 columns each, a tile copied while one is multiplied.

    a and b hold the bits of bf16, flat.
    """
    tiles_a = cuda.shared.array(512, uint16)
    tiles_b = cuda.shared.array(512, uint16)
    warp, lane = cuda.threadIdx.x // 32, cuda.threadIdx.x % 32
    g, q = lane // 4, lane % 4
    c0 = c1 = c2 = c3 = float32(0)
    if warp == 0:
        bring(tiles_a, a, 0, lane, depth, 16)
    else:
        bring(tiles_b, b, 0, lane, 16, 256)
    cp_async_commit_group()
    for stage in range(depth // 16):
        if stage + 1 < depth // 16:
            if warp == 0:
                bring(tiles_a, a, stage + 1, lane, depth, 16)
            else:
                bring(tiles_b, b, stage + 1, lane, 16, 256)
        cp_async_commit_group()
        cp_async_wait_group(1)
        cuda.syncthreads()
        begin = stage % 2 * 256 + lane % 16 * 16
        a0, a1, a2, a3 = ldmatrix_x4(tiles_a, begin + lane // 16 * 8)
        b0, b1 = ldmatrix_x2_trans(tiles_b, begin + warp * 8)
        c0, c1, c2, c3 = mma_m16n8k16_bf16(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3)
        cuda.syncthreads()
    cp_async_wait_group(0)
    column = warp * 8 + 2 * q
    c[g, column] = c0
    c[g, column + 1] = c1
    c[g + 8, column] = c2
    c[g + 8, column + 1] = c3


def sum_by_last_block(x, parts, count, total):
    """The sum of all: whichever block ends last adds what the blocks have left, ordered by fences."""
    part = cuda.shared.array(1, int32)
    tid = cuda.threadIdx.x
    if tid == 0:
        part[0] = 0
    cuda.syncthreads()
    cuda.atomic.add(part, 0, x[cuda.grid(1)])
    cuda.syncthreads()
    if tid == 0:
        parts[cuda.blockIdx.x] = part[0]
        cuda.threadfence()
        if cuda.atomic.add(count, 0, 1) == cuda.gridDim.x - 1:
            cuda.threadfence()
            found = 0
            for k in range(cuda.gridDim.x):
                found += parts[k]
            total[0] = found


def hand_over(x, y, rounds):
    """One warp fills a slot, another empties it, round after round, by two named barriers."""
    slot = cuda.shared.array(32, float32)
    warp, lane = cuda.threadIdx.x // 32, cuda.threadIdx.x % 32
    for r in range(rounds):
        if warp == 0:
            if r > 0:
                barrier_sync(2, 64)
            slot[lane] = x[r * 32 + lane]
            barrier_arrive(1, 64)
        else:
            barrier_sync(1, 64)
            y[r * 32 + lane] = slot[31 - lane]
            if r + 1 < rounds:
                barrier_arrive(2, 64)


def rotate_in_warps(x, y):
    """Each lane takes what its neighbour wrote in shared memory."""
    held = cuda.shared.array(64, float32)
    tid = cuda.threadIdx.x
    held[tid] = x[tid]
    cuda.syncwarp(FULL)
    y[tid] = held[tid - tid % 32 + (tid + 1) % 32]
