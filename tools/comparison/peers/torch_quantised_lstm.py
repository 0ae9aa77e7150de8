"""torch.nn.LSTM with weights in int8, quantised dynamically by torch.ao, over a sequence at batch 1."""

import time
import warnings
from collections.abc import Callable

import torch

from ..process import UnavailableError


def prepare(inputs: int, hidden: int, threads: int, steps: int) -> Callable[[], object]:
    """Return a call over `steps` steps, with the engine that is the fastest here."""
    torch.set_num_threads(threads)
    try:
        from torch.ao.quantization import quantize_dynamic
    except ImportError:
        raise UnavailableError("this PyTorch has no torch.ao.quantization") from None
    ways = {}
    for engine in torch.backends.quantized.supported_engines:
        if engine == "none":
            continue
        torch.backends.quantized.engine = engine
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it will move to another package
            whole = torch.nn.LSTM(inputs, hidden).eval()
            layer = quantize_dynamic(whole, {torch.nn.LSTM}, torch.qint8)  # type: ignore[no-untyped-call]
        ways[engine] = _running(layer, torch.randn(steps, 1, inputs), engine)
    if not ways:
        raise UnavailableError("this PyTorch has no engine for quantised layers")
    return min(ways.values(), key=_seconds)


def _running(layer: torch.nn.Module, x: torch.Tensor, engine: str) -> Callable[[], object]:
    state = None

    @torch.inference_mode()
    def run() -> object:
        nonlocal state
        torch.backends.quantized.engine = engine
        output, state = layer(x, state)
        return output

    return run


def _seconds(run: Callable[[], object]) -> float:
    """Return the least time of a few calls."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)
