"""The one pool of threads and its count."""

import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from numba import config
from threadpoolctl import threadpool_info

from comparing import assert_same_bits
from rondeau.kernels.runtime import threads
from rondeau.kernels.runtime.compiling import kernel_njit, linked_njit
from rondeau.kernels.runtime.shares import run_shares


@pytest.fixture(autouse=True)
def _count_of_before():
    before = threads.get_num_threads()
    yield
    threads.set_num_threads(before)


def test_default_is_the_usable_cores():
    code = "from rondeau.kernels.runtime import threads; print(threads.get_num_threads())"
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_NUM_THREADS"}
    for extra, expected in (({}, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None),
                            ({"NUMBA_NUM_THREADS": "3"}, 3)):  # fmt: skip
        run = subprocess.run(
            [sys.executable, "-c", code],
            env=environment | extra,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert expected is None or int(run.stdout) == expected


def test_count_is_kept_and_caps_blas():
    threads.set_num_threads(1)
    assert threads.get_num_threads() == 1
    assert all(pool["num_threads"] == 1 for pool in threadpool_info() if pool["user_api"] == "blas")


def test_blas_keeps_to_one_thread_within_a_block():
    def counts():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    threads.set_num_threads(2)
    with threads.one_blas_thread():
        assert counts() == {1}
        with threads.one_blas_thread():  # as where one function of LAPACK's calls another
            assert counts() == {1}
        assert counts() == {1}
    assert counts() == {2}


@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (0, ValueError, "must be at least 1, got 0"),
        (-2, ValueError, "must be at least 1, got -2"),
        (1.5, TypeError, "must be an integer, got 1.5"),
        (True, TypeError, "must be an integer, got True"),
        ("2", TypeError, "must be an integer, got '2'"),
    ],
)
def test_mistakes_are_named(n, error, message):
    with pytest.raises(error, match=message):
        threads.set_num_threads(n)


@linked_njit
def _mark(marks, share, shares):
    marks[share] += share + 1


@kernel_njit
def mark(marks, shares):
    run_shares(_mark, (marks,), shares)


@pytest.mark.parametrize("count", [1, config.NUMBA_NUM_THREADS, config.NUMBA_NUM_THREADS + 1, 50])
def test_every_share_runs_once_also_beyond_the_pool(count):
    threads.set_num_threads(count)
    marks = np.zeros(count, np.int64)
    threads.launch(mark, marks, threads.get_num_threads())
    assert_same_bits(marks, np.arange(1, count + 1))


LAUNCH_FROM_SEVERAL_THREADS = """
import threading
import numba
import numpy as np
from rondeau.kernels.runtime import threads
from rondeau.kernels.product import matmul
threads.set_num_threads(2)
rng = np.random.default_rng(0)
a = rng.standard_normal((200, 200)).astype(np.float32)
expected = matmul(a, a)
wrong = []
def work():
    for _ in range(200):
        if not (matmul(a, a) == expected).all():
            wrong.append(1)
workers = [threading.Thread(target=work) for _ in range(4)]
for worker in workers: worker.start()
for worker in workers: worker.join()
print(numba.threading_layer(), len(wrong))
"""


@pytest.mark.parametrize("layer", ["default", "workqueue"])
def test_several_python_threads_may_launch(layer):
    environment = os.environ | {"NUMBA_THREADING_LAYER": layer}
    run = subprocess.run(
        [sys.executable, "-c", LAUNCH_FROM_SEVERAL_THREADS],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    used, wrong = run.stdout.split()
    assert wrong == "0"
    assert layer in ("default", used)


MULTIPLY_AND_SHOW = """
import os
import numba
import numpy as np
from rondeau.kernels.product import matmul
before = dict(os.environ)
matmul(np.ones((9, 9), np.float32), np.ones((9, 9), np.float32))
print(numba.threading_layer(), dict(os.environ) == before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Numba's OpenMP is GNU's on Linux alone")
@pytest.mark.parametrize(
    ("chosen", "spins"),
    [
        ({}, str(threads.SPINS)),
        ({"OMP_WAIT_POLICY": "passive"}, "0"),
        ({"GOMP_SPINCOUNT": "77"}, "77"),
    ],
)
def test_threads_of_the_pool_spin_briefly_unless_the_user_chose(chosen, spins):
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment |= {"OMP_DISPLAY_ENV": "verbose", "NUMBA_THREADING_LAYER": "omp", **chosen}
    run = subprocess.run(
        [sys.executable, "-c", MULTIPLY_AND_SHOW],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert run.stdout.split() == ["omp", "True"]
    assert re.findall("GOMP_SPINCOUNT = '(.*)'", run.stderr) == [spins]


def test_another_python_thread_launches_with_the_count():
    threads.set_num_threads(2)
    marks = np.zeros(2, np.int64)
    worker = threading.Thread(target=threads.launch, args=(mark, marks, 2))
    worker.start()
    worker.join()
    assert_same_bits(marks, [1, 2])
