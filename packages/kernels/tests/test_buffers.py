"""Memory of the pool is used again, but never while anybody can see it."""

import gc
import threading

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rondeau.kernels.runtime import buffers

LARGE = 3 * buffers.POOLED_FROM


@pytest.fixture(autouse=True)
def _empty_pool():
    buffers.empty_cache()
    yield
    buffers.empty_cache()


def address(array):
    return array.ctypes.data


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
@pytest.mark.parametrize(
    "shape", [(), 0, 5, (3, 4), (0, 7), (300, 200), (2, 3, 40_000), [100, 100], np.int64(70_000)]
)
def test_shape_dtype_and_layout(shape, dtype):
    array = buffers.empty(shape, dtype)
    same = np.empty(shape, dtype)
    assert (array.shape, array.dtype, array.strides) == (same.shape, same.dtype, same.strides)
    assert array.flags.c_contiguous
    assert array.flags.writeable
    if array.nbytes >= buffers.POOLED_FROM:
        assert address(array) % 64 == 0
    array[...] = 1
    assert (array == 1).all()


def test_memory_is_used_again_when_the_array_is_gone():
    array = buffers.empty(LARGE, np.uint8)
    where = address(array)
    assert buffers.free_bytes() == 0
    del array
    assert buffers.free_bytes() >= LARGE
    assert address(buffers.empty((LARGE // 4,), np.float32)) == where


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[1:],
        lambda a: a.reshape(3, -1).T[1:, ::2],
        lambda a: a.view(np.uint8)[8:].view(np.float32),
        lambda a: memoryview(a),
        lambda a: np.broadcast_to(a[:1], (4, 1)),
        lambda a: np.lib.stride_tricks.as_strided(a, (2, 2), (4, 4)),
        lambda a: np.asarray(memoryview(a)),
        lambda a: np.from_dlpack(a),
        lambda a: a.flat,
        lambda a: a.base,
    ],
)
def test_a_view_keeps_the_memory(view):
    array = buffers.empty(LARGE // 4, np.float32)
    array[...] = 5
    where, kept = address(array), view(array)
    del array
    gc.collect()
    assert buffers.free_bytes() == 0
    others = [buffers.empty(LARGE // 4, np.float32) for _ in range(3)]
    assert where not in [address(other) for other in others]
    del kept
    gc.collect()
    assert buffers.free_bytes() > 0


def test_memory_in_a_cycle_comes_back_with_the_collector():
    array = buffers.empty(LARGE, np.uint8)
    cycle = [array]
    cycle.append(cycle)
    del array, cycle
    gc.collect()
    assert buffers.free_bytes() >= LARGE


def test_free_memory_is_capped(monkeypatch):
    monkeypatch.setattr(buffers, "MAX_FREE_BYTES", 2 * LARGE)
    arrays = [buffers.empty(LARGE, np.uint8) for _ in range(5)]
    arrays.clear()
    assert 0 < buffers.free_bytes() <= 2 * LARGE


def test_the_pool_can_be_emptied():
    buffers.empty(LARGE, np.uint8)
    assert buffers.free_bytes() > 0
    buffers.empty_cache()
    assert buffers.free_bytes() == 0


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="negative dimensions are not allowed"):
        buffers.empty((-1, -LARGE))
    with pytest.raises(ValueError, match="must be one of plain numbers, got object"):
        buffers.empty(LARGE, object)


class ManyHolders(RuleBasedStateMachine):
    """Arrays come, are viewed and go in any order; each holder always finds what he wrote."""

    def __init__(self):
        super().__init__()
        self.held, self.written = [], 0

    @rule(size=st.sampled_from((100, 40_000, 40_001, 50_000, 70_000, 300_000)))
    def take(self, size):
        self.written += 1
        array = buffers.empty(size, np.int64)
        array[...] = self.written
        self.held.append((array, self.written))

    @rule(which=st.integers(0, 100), start=st.integers(0, 50))
    def view(self, which, start):
        if self.held:
            array, value = self.held[which % len(self.held)]
            self.held.append((array[start:], value))

    @rule(which=st.integers(0, 100))
    def drop(self, which):
        if self.held:
            self.held.pop(which % len(self.held))

    @invariant()
    def nothing_changed(self):
        assert all((array == value).all() for array, value in self.held)


TestManyHolders = ManyHolders.TestCase
TestManyHolders.settings = settings(max_examples=30, stateful_step_count=30)


def test_many_python_threads():
    wrong = []

    def work(seed):
        rng, held = np.random.default_rng(seed), []
        for turn in range(500):
            array = buffers.empty(int(rng.integers(20_000, 60_000)), np.int64)
            array[...] = seed * 1000 + turn
            held.append((array[3:], seed * 1000 + turn))
            if len(held) > 4:
                view, value = held.pop(int(rng.integers(len(held))))
                if not (view == value).all():
                    wrong.append(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []
