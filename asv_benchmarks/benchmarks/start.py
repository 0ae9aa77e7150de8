"""Import time, and the time from process start to the first training step, with a cold and a warm cache."""

import os
import subprocess
import sys
import tempfile

FIRST_STEP = """
import numpy as np
from rondeau import nn, tensor as rt
from rondeau.nn import cell_math as m

@nn.recurrent_cell(gates=("z", "n"), states=("h",))
def custom(x, r, s):
    keep = m.sigmoid(x.z + r.z)
    return keep * s.h + (1 - keep) * m.tanh(x.n + r.n)

layer = {layer}
output, _ = layer(rt.tensor(np.ones((5, 4, 28), np.float32)))
output.sum().backward()
"""


def run(code, **environment):
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | environment)


class Import:
    """Importing the packages; nothing compiles."""

    def time_import(self):
        run("import rondeau.train, rondeau.data, rondeau.nn")

    def time_numpy_and_numba_alone(self):
        run("import numba")


class FirstStep:
    """A whole process up to its first training step."""

    params = ("RNN", "GRU", "LSTM", "custom")
    param_names = ("cell",)
    number = 1
    timeout = 600

    def setup(self, cell):
        layer = "nn.Recurrent(custom, 28, 64)" if cell == "custom" else f"nn.{cell}(28, 64)"
        self.code = FIRST_STEP.format(layer=layer)
        run(self.code)

    def time_warm_cache(self, cell):
        run(self.code)

    def time_cold_cache(self, cell):
        with tempfile.TemporaryDirectory() as empty:
            run(self.code, RONDEAU_CACHE=empty)
