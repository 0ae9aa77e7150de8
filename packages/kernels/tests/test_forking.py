"""A child that is forked while the pool runs computes the same bits in its one thread."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork a process")

LAYERS = ["omp", "workqueue"] if sys.platform.startswith("linux") else ["workqueue"]

# Forked processes are those of a program without pytest, whose threads a fork would not copy.
PREAMBLE = """
import os, sys, threading
import numba
import numpy as np
from numba import prange, types
from rondeau.kernels.runtime import buffers, forking, threads
from rondeau.kernels.runtime.compiling import cached_njit
from rondeau.kernels.product import matmul

threads.PARALLEL_FROM = 0
a = np.random.default_rng(0).standard_normal((65, 70)).astype(np.float32)

def product():
    return matmul(a, a.T).tobytes()

def in_child(work):
    '''Return the exit status of a forked child: 0 when `work` did not raise.'''
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def in_thread(work):
    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
"""


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", PREAMBLE + code],
        env=os.environ | {"NUMBA_NUM_THREADS": "2"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


COMPILED_BEFORE_IN_THE_CHILD_AND_FROM_THE_CACHE = """
SIGNATURE = types.void(types.float32[::1], types.float32[::1], types.intp)

def compiled(source):
    '''Compile, or load, a kernel that is known by its source.'''
    def third(x, out, shares):
        for share in prange(shares):
            for i in range(share * x.size // shares, (share + 1) * x.size // shares):
                out[i] = x[i] / np.float32(3)
    dispatcher = cached_njit(third, source=source, parallel=True)
    return dispatcher, dispatcher.compile(SIGNATURE)

x = a.reshape(-1)
expected = (x / np.float32(3)).tobytes()

def check(kernel):
    for count in (1, 2, 3):
        threads.set_num_threads(count)
        out = np.empty_like(x)
        threads.launch(kernel, x, out, count)
        assert out.tobytes() == expected

def compile_first():
    dispatcher, kernel = compiled("in the child")
    assert not dispatcher.stats.cache_hits
    check(kernel)
    check(before)

def load():
    dispatcher, kernel = compiled("in the child")
    assert dispatcher.stats.cache_hits
    check(kernel)
    in_thread(lambda: check(kernel))
    assert in_child(lambda: check(kernel)) == 0  # a child of the child

_, before = compiled("before the fork")
check(before)
assert in_child(compile_first) == 0
assert in_child(load) == 0
check(before)
check(compiled("in the child")[1])
print(numba.threading_layer())
"""


@pytest.mark.parametrize("layer", LAYERS)
def test_kernels_of_any_origin_compute_in_a_child(layer, tmp_path):
    found = run(
        COMPILED_BEFORE_IN_THE_CHILD_AND_FROM_THE_CACHE,
        NUMBA_THREADING_LAYER=layer,
        RONDEAU_CACHE=str(tmp_path),
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == [layer]


OWN_POOL = """
def start():
    expected = product()
    assert in_child(lambda: same(expected)) == 0  # whose parent's pool is not the first process's
    print(numba.threading_layer(), forking._Pool.is_lost)
    sys.stdout.flush()

def same(expected):
    assert product() == expected and forking._Pool.is_lost

assert in_child(start) == 0
expected = product()
assert in_child(lambda: same(expected)) == 0
"""


@pytest.mark.parametrize("layer", LAYERS)
def test_a_child_of_a_process_without_a_pool_starts_its_own(layer):
    found = run(OWN_POOL, NUMBA_THREADING_LAYER=layer)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == [layer, "False"]


POOL_OF_SOMEONE_ELSE = """
@numba.njit(parallel=True)
def count(out):
    for i in prange(out.size):
        out[i] = i

def compute():
    assert product() == product()
    assert forking._Pool.is_lost

count(np.zeros(9))
assert in_child(compute) == 0
product()
"""


@pytest.mark.parametrize("layer", LAYERS)
def test_a_pool_that_other_code_started_is_no_childs_either(layer):
    found = run(POOL_OF_SOMEONE_ELSE, NUMBA_THREADING_LAYER=layer)
    assert found.returncode == 0, found.stderr


LOCKS = """
from numba.core.compiler_lock import global_compiler_lock

expected = product()

def holding(*locks):
    '''Start a thread that holds locks until it is told; return what tells it, and what it notes when it is done.'''
    held, may_end, noted = threading.Event(), threading.Event(), []

    def hold():
        for lock in locks:
            lock.acquire()
        held.set()
        may_end.wait()
        noted.append("done")
        for lock in locks:
            lock.release()

    threading.Thread(target=hold, daemon=True).start()
    held.wait()
    return may_end, noted

def same():
    assert buffers.free_bytes() == 0
    assert product() == expected

kept = buffers.empty(1 << 20)
del kept
assert buffers.free_bytes() > 0

# Locks that a launch or an array needs for a moment: the child has new ones.
may_end, _ = holding(threads._LOCK, buffers._POOL._lock)
assert in_child(same) == 0
may_end.set()
assert product() == expected

# The compiler's: what it guards may not be left half done, so the fork waits for it.
may_end, noted = holding(global_compiler_lock)
forking_begins = threading.Event()
os.register_at_fork(before=forking_begins.set)  # the last registered comes first

def same_after_the_other_is_done():
    assert noted == ["done"]
    same()

statuses = []
forks = threading.Thread(target=lambda: statuses.append(in_child(same_after_the_other_is_done)), daemon=True)
forks.start()
forking_begins.wait()
may_end.set()
forks.join()
assert statuses == [0]
"""


@pytest.mark.parametrize("layer", LAYERS)
def test_a_lock_of_another_thread_of_the_parent_does_not_stop_a_child(layer):
    found = run(LOCKS, NUMBA_THREADING_LAYER=layer)
    assert found.returncode == 0, found.stderr


WITHOUT_THE_SYMBOL = """
forking.POOL_SYMBOL = "parallel_for_of_another_numba"
product()
in_child(product)
product()
"""


def test_a_numba_that_calls_its_pool_otherwise_is_refused_by_name():
    found = run(WITHOUT_THE_SYMBOL)
    assert found.returncode == 0, found.stderr
    assert "RuntimeError: a forked process cannot compute with Numba" in found.stderr
    assert "Start processes by 'spawn' or 'forkserver'" in found.stderr


def test_blas_keeps_its_cap_in_a_child():
    code = """
from threadpoolctl import threadpool_info
threads.set_num_threads(1)
def check():
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    assert pools and all(pool["num_threads"] == 1 for pool in pools)
    assert (np.ones((300, 300)) @ np.ones((300, 300)) == 300).all()
assert in_child(check) == 0
"""
    found = run(code)
    assert found.returncode == 0, found.stderr
