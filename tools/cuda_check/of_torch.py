"""The times of PyTorch: its layers, a loop over time, that loop compiled, and a training step of the recipe.

In a process of its own: each library brings its own CUDA.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from ..shakespeare.recipe import CLIP
from ..shakespeare.torch_twin import CharacterModel, detach
from .clock import Clock
from .workloads import VOCABULARY, Workload

__all__ = ["FourGates", "machine", "measure"]

_DTYPES = {"medium": torch.bfloat16, "half": torch.float16}


class FourGates(torch.nn.Module):
    """The cell of `of_rondeau` as a loop over time: one product for all inputs, and one a step."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.of_input = torch.nn.Linear(inputs, 4 * hidden)
        self.of_state = torch.nn.Linear(hidden, 4 * hidden)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return all states (T, B, H), and the last."""
        projected = self.of_input(x)
        h = c = torch.zeros_like(projected[0, :, : self.of_state.in_features])
        outputs = []
        for of_step in projected.unbind(0):
            keep, write, new, show = (of_step + self.of_state(h)).chunk(4, 1)
            keep = torch.sigmoid(keep)
            c = keep * c + (1 - keep) * torch.sigmoid(write) * torch.tanh(new)
            h = torch.sigmoid(show) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs), h


_LAYERS: dict[str, Callable[..., torch.nn.Module]] = {
    "LSTM": torch.nn.LSTM,
    "GRU": torch.nn.GRU,
    "four gates": FourGates,
    "compiled four gates": FourGates,
}


def machine() -> dict[str, str]:
    """Return versions."""
    return {"PyTorch": str(torch.__version__), "cuDNN": str(torch.backends.cudnn.version())}  # type: ignore[no-untyped-call]


def measure(workload: Workload, clock: Clock, device: str = "cuda") -> dict[str, float]:
    """Return what a workload takes, as `of_rondeau.measure`; of a compiled loop the ``seconds to compile`` too."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = workload.precision == "high"
    torch.manual_seed(0)
    return _recipe(workload, clock, device) if workload.kind == "recipe" else _layer(workload, clock, device)


def _layer(workload: Workload, clock: Clock, device: str) -> dict[str, float]:
    dtype = _DTYPES.get(workload.precision, torch.float32)
    layer: Any = _LAYERS[workload.kind](workload.hidden, workload.hidden).to(device, dtype)
    compile_seconds = {}
    shape = workload.steps, workload.batch, workload.hidden
    x = torch.randn(shape, device=device, dtype=dtype, requires_grad=True)
    cotangent = torch.randn(shape, device=device, dtype=dtype)

    def both() -> None:
        layer.zero_grad()
        x.grad = None
        layer(x)[0].backward(cotangent)

    if workload.kind.startswith("compiled"):
        # On the CPU, where only this program is checked, without a C++ compiler.
        layer = torch.compile(
            layer, fullgraph=True, dynamic=False, backend="inductor" if device == "cuda" else "eager"
        )
        began = time.perf_counter()
        both()
        compile_seconds["seconds to compile"] = time.perf_counter() - began
    found = {"forward": clock.measure(lambda: layer(x)).median}
    of_both = clock.measure(both)
    found |= {"both": of_both.median, "issued": of_both.issued}
    return {
        name: 1e3 * milliseconds / workload.steps for name, milliseconds in found.items()
    } | compile_seconds


def _recipe(workload: Workload, clock: Clock, device: str) -> dict[str, float]:
    model = CharacterModel("lstm", VOCABULARY, workload.hidden).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    ids = torch.randint(0, VOCABULARY, (workload.steps, workload.batch), device=device)
    targets = torch.randint(0, VOCABULARY, (workload.steps * workload.batch,), device=device)
    state = None

    def step() -> None:
        nonlocal state
        optimizer.zero_grad()
        logits, state = model(ids, state)
        state = detach(state)
        torch.nn.functional.cross_entropy(logits, targets).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()

    median = clock.measure(step).median
    return {"characters a second": workload.batch * workload.steps / (1e-3 * median)}
