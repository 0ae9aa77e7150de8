"""A layer trains in the children of a process that has trained one: `multiprocessing`'s pool of forked workers."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork a process")

SCRIPT = """
import multiprocessing
import sys
import numba
import numpy as np
from rondeau import nn, tensor as rt
from rondeau.kernels.runtime import threads

threads.PARALLEL_FROM = 0

def step(_):
    '''Return the bits of an output and of all gradients of a layer.'''
    layer = nn.LSTM(8, 17)
    x = rt.tensor(np.random.default_rng(0).standard_normal((7, 5, 8), np.float32), requires_grad=True)
    output, _ = layer(x)
    (output * output).sum().backward()
    return [array.detach().numpy().tobytes() for array in (output, x.grad, *(p.grad for p in layer.parameters()))]

rt.manual_seed(0)
step(0)
with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
    found = pool.map(step, range(3), chunksize=1)
expected = step(0)  # each worker began with the parent's generator as it was at the fork
assert found == [expected] * 3
print(numba.threading_layer())
"""


@pytest.mark.parametrize("layer", ["omp", "workqueue"] if sys.platform.startswith("linux") else ["workqueue"])
def test_a_training_step_in_forked_workers_has_the_bits_of_one_in_their_parent(layer):
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"NUMBA_NUM_THREADS": "2", "NUMBA_THREADING_LAYER": layer},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == [layer]
