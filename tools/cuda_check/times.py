"""The time of a training step of recurrent layers: of this library, and of PyTorch in a process of its own.

The two never share a process: each brings its own libraries of CUDA.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["LAYERS", "SIZE", "Time", "of_rondeau", "of_torch"]

LAYERS = ("LSTM", "GRU")
"""What is measured."""
SIZE = {"steps": 128, "batch": 32, "inputs": 256, "hidden": 256}
"""T, B, I and H of the layers, which are of float32."""
_WARM_UP, _REPEATS = 3, 7


class Time(NamedTuple):
    """The median times of a training step: forward, backward, and AdamW.

    Attributes
    ----------
    milliseconds : float
        Until the device has done it.
    issued : float
        Milliseconds until Python has issued it. Where this is nearly all of the time, the device waits for Python.
    """

    milliseconds: float
    issued: float


def of_rondeau(layer: str, device: str = "cuda", size: dict[str, int] = SIZE) -> Time:
    """Return the time of a layer of `rondeau.nn`."""
    from rondeau import nn, train
    from rondeau import tensor as rt

    rt.manual_seed(0)
    model = getattr(nn, layer)(size["inputs"], size["hidden"], device=device)
    optimizer = train.optim.AdamW(model.parameters())
    x = rt.randn(size["steps"], size["batch"], size["inputs"], device=device)

    def step() -> None:
        optimizer.zero_grad()
        output, _ = model(x)
        output.square().mean().backward()
        optimizer.step()

    return _measured(step, rt.cuda.synchronize if device == "cuda" else lambda: None)


def of_torch() -> dict[str, Any]:
    """Return ``{"version": ..., layer: milliseconds, ...}`` of `torch.nn`, or ``{"missing": why}``."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.cuda_check.times"],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"missing": f"PyTorch's process failed: {last}"}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _measured(step: Callable[[], object], wait: Callable[[], object]) -> Time:
    times, issued = [], []
    for _ in range(_WARM_UP + _REPEATS):
        wait()
        began = time.perf_counter()
        step()
        issued.append(1e3 * (time.perf_counter() - began))
        wait()
        times.append(1e3 * (time.perf_counter() - began))
    return Time(statistics.median(times[_WARM_UP:]), statistics.median(issued[_WARM_UP:]))


def _of_torch_here() -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        return {"missing": "PyTorch is not installed"}
    if not torch.cuda.is_available():
        return {"missing": f"PyTorch {torch.__version__} sees no GPU"}
    torch.backends.cudnn.allow_tf32 = False  # full float32, as here
    found: dict[str, Any] = {"version": torch.__version__}
    for layer in LAYERS:
        model = getattr(torch.nn, layer)(SIZE["inputs"], SIZE["hidden"]).cuda()
        optimizer = torch.optim.AdamW(model.parameters())
        x = torch.randn(SIZE["steps"], SIZE["batch"], SIZE["inputs"], device="cuda")

        def step(model: Any = model, optimizer: Any = optimizer, x: Any = x) -> None:
            optimizer.zero_grad()
            output, _ = model(x)
            output.square().mean().backward()
            optimizer.step()

        found[layer] = _measured(step, torch.cuda.synchronize).milliseconds
    return found


if __name__ == "__main__":
    print(json.dumps(_of_torch_here()))
