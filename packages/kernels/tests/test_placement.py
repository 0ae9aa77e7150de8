"""The pool's threads keep off the core of the thread that launches them."""

import itertools
import json
import os
import subprocess
import sys

import pytest

from rondeau.kernels.runtime import placement

needs_two_cores = pytest.mark.skipif(
    not sys.platform.startswith("linux") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two cores, on Linux",
)

PROGRAM = """
import json, os, threading
from numba import prange
from rondeau.kernels.runtime import placement, threads
from rondeau.kernels.runtime.compiling import kernel_njit

@kernel_njit(parallel=True)
def fill(out, shares):
    for share in prange(shares):
        out[share] = share

def masks():
    return {int(task): sorted(os.sched_getaffinity(int(task))) for task in os.listdir("/proc/self/task")}

import numpy as np
out = np.empty(2)
before = sorted(os.sched_getaffinity(0))
threads.start_pool()
here = placement._core_of_caller()
others = set(masks())
steps = []
for core in before[:2]:
    placement._core_of_caller = lambda: lambda: core  # as if the scheduler had moved this thread
    threads.launch(fill, out, 2, shares=2)
    new = {task: cores for task, cores in masks().items() if task not in others}
    steps.append({"core": core, "own": masks()[os.getpid()], "new": list(new.values())})
print(json.dumps({"before": before, "placed": here is not None, "steps": steps}))
"""


def run(**variables: str) -> dict:
    environment = {key: value for key, value in os.environ.items() if key not in placement.CHOSEN_BY}
    environment |= {"NUMBA_NUM_THREADS": "2", "NUMBA_THREADING_LAYER": "omp"} | variables
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@needs_two_cores
def test_other_threads_leave_the_core_of_the_launching_one_and_it_stays_free():
    answer = run()
    assert answer["placed"]
    for step in answer["steps"]:
        assert step["own"] == answer["before"]
        (cores,) = [cores for cores in step["new"] if cores != answer["before"]]
        assert step["core"] not in cores
        assert set(cores) < set(answer["before"])


@needs_two_cores
def test_what_the_user_chose_holds():
    assert not run(OMP_PROC_BIND="false")["placed"]


@pytest.mark.parametrize("shares", [2, 3, 5, 16])
def test_groups_share_out_all_cores(shares):
    cores = [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 64, 65, 66, 67, 200, 201]
    for core in cores:
        groups = placement.groups_of_cores(cores, shares, core)
        assert core in groups[0]
        assert sorted(itertools.chain.from_iterable(groups)) == cores
        assert max(map(len, groups)) - min(map(len, groups)) <= 1
