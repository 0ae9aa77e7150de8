"""An LSTM at batch 1 as exported C, compiled for this machine."""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rondeau import nn

from ..process import UnavailableError

FLAGS = ("-std=c99", "-O3", "-march=native", "-fPIC", "-shared")


def prepare(
    inputs: int, hidden: int, compiler: str = "gcc", weights: str = "float32", steps: int = 1
) -> Callable[[], object]:
    """Return a call for one step, or for several, which continue from the last state."""
    try:
        from rondeau import export
    except ImportError:
        raise UnavailableError("rondeau has no exports yet") from None
    if shutil.which(compiler) is None:
        raise UnavailableError(f"{compiler} is not installed")
    folder = Path(tempfile.mkdtemp())
    exported = export.to_c(nn.LSTM(inputs, hidden), folder, weights=weights)
    target = folder / "model.so"
    subprocess.run([compiler, *FLAGS, folder / "model.c", "-o", target, "-lm"], check=True)
    library = ctypes.CDLL(str(target))
    shutil.rmtree(folder)
    state, y = np.zeros(exported.state_bytes // 4, np.float32), np.zeros((steps, hidden), np.float32)
    x = np.random.default_rng(0).standard_normal((steps, inputs), np.float32)
    at_state, at_x, at_y = (ctypes.c_void_p(array.ctypes.data) for array in (state, x, y))
    library.model_init(at_state)
    counts = ctypes.c_size_t(1), ctypes.c_size_t(steps)

    def run() -> object:
        library.model_run(at_state, *counts, at_x, None, None, at_y)
        return state, x, y  # which the addresses do not keep alive

    return run
