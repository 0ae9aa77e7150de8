"""The time of a training step of an LSTM: of this library, and of PyTorch in a process of its own.

The two never share a process: each brings its own libraries of CUDA.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

__all__ = ["SIZE", "of_rondeau", "of_torch"]

SIZE = {"steps": 128, "batch": 32, "inputs": 256, "hidden": 256}
"""T, B, I and H of the layer that is measured, in float32."""
_WARM_UP, _REPEATS = 3, 7


def of_rondeau(device: str = "cuda", size: dict[str, int] | None = None) -> float:
    """Return the milliseconds of a training step of `nn.LSTM`: forward, backward, and AdamW."""
    from rondeau import nn, train
    from rondeau import tensor as rt

    size = size or SIZE
    rt.manual_seed(0)
    layer = nn.LSTM(size["inputs"], size["hidden"]).to(device)
    optimizer = train.optim.AdamW(layer.parameters())
    x = rt.randn(size["steps"], size["batch"], size["inputs"], device=device)

    def step() -> None:
        optimizer.zero_grad()
        output, _ = layer(x)
        output.square().mean().backward()
        optimizer.step()

    return _milliseconds(step, rt.cuda.synchronize if device == "cuda" else lambda: None)


def of_torch() -> dict[str, Any]:
    """Return ``{"milliseconds": ..., "version": ...}`` of `torch.nn.LSTM`, or ``{"missing": why}``."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.cuda_check.times"],
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    if done.returncode:
        return {"missing": f"PyTorch's process failed: {done.stderr.strip().splitlines()[-1:]}"}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _milliseconds(step: Callable[[], object], wait: Callable[[], object]) -> float:
    times = []
    for _ in range(_WARM_UP + _REPEATS):
        wait()
        began = time.perf_counter()
        step()
        wait()
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times[_WARM_UP:])


def _measure_torch() -> dict[str, Any]:
    try:
        import torch
    except ImportError:
        return {"missing": "PyTorch is not installed"}
    if not torch.cuda.is_available():
        return {"missing": f"PyTorch {torch.__version__} sees no GPU"}
    torch.backends.cudnn.allow_tf32 = False  # as here: full float32
    layer = torch.nn.LSTM(SIZE["inputs"], SIZE["hidden"]).cuda()
    optimizer = torch.optim.AdamW(layer.parameters())
    x = torch.randn(SIZE["steps"], SIZE["batch"], SIZE["inputs"], device="cuda")

    def step() -> None:
        optimizer.zero_grad()
        output, _ = layer(x)
        output.square().mean().backward()
        optimizer.step()

    return {"milliseconds": _milliseconds(step, torch.cuda.synchronize), "version": torch.__version__}


if __name__ == "__main__":
    print(json.dumps(_measure_torch()))
