"""The times of this library's layers, of a cell that a user might write, and of a training step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.kernels.cuda import compiler
from rondeau.kernels.cuda.persistent.emit import PersistentKernel
from rondeau.nn import cell_math as m

from .clock import Clock
from .workloads import KINDS, VOCABULARY, Workload

__all__ = ["four_gates", "measure"]


@nn.recurrent_cell(gates=("keep", "write", "new", "show"), states=("h", "c"))
def four_gates(x: Any, r: Any, s: Any) -> Any:
    """Take a step of an LSTM whose second state is an average, and so never above one."""
    keep = m.sigmoid(x.keep + r.keep)
    c = keep * s.c + (1 - keep) * m.sigmoid(x.write + r.write) * m.tanh(x.new + r.new)
    return m.sigmoid(x.show + r.show) * m.tanh(c), c


_LAYERS: dict[str, Callable[..., Any]] = {
    "LSTM": nn.LSTM,
    "GRU": nn.GRU,
    KINDS["lstm_layer_norm"]: functools.partial(nn.Recurrent, nn.cells.lstm_layer_norm),
    "four gates": functools.partial(nn.Recurrent, four_gates),
}


def measure(workload: Workload, clock: Clock, device: str = "cuda") -> dict[str, float]:
    """Return what a workload takes.

    Of a layer the microseconds a step: ``forward``, ``both`` for forward and backward, ``issued`` until Python has
    issued both, and ``forward kernel`` and ``backward kernel`` of those alone that run all steps, where they do. Of the
    recipe the ``characters a second``.
    """
    before = rt.get_float32_matmul_precision()
    rt.set_float32_matmul_precision(workload.precision)
    try:
        return (
            _recipe(workload, clock, device) if workload.kind == "recipe" else _layer(workload, clock, device)
        )
    finally:
        rt.set_float32_matmul_precision(before)


def _layer(workload: Workload, clock: Clock, device: str) -> dict[str, float]:
    rt.manual_seed(0)
    layer = _LAYERS[workload.kind](workload.hidden, workload.hidden, device=device)
    shape = workload.steps, workload.batch, workload.hidden
    x = rt.randn(*shape, device=device).requires_grad_()
    cotangent = rt.randn(*shape, device=device)

    def both() -> None:
        layer.zero_grad()
        x.grad = None
        layer(x)[0].backward(cotangent)

    found = {"forward": clock.measure(lambda: layer(x)).median}
    of_both = clock.measure(both)
    found |= {"both": of_both.median, "issued": of_both.issued, **_kernels(both, clock)}
    rt.cuda.synchronize()  # raises what went wrong on the device
    return {name: 1e3 * milliseconds / workload.steps for name, milliseconds in found.items()}


def _kernels(run: Callable[[], object], clock: Clock) -> dict[str, float]:
    """Return the milliseconds of the kernels of all steps alone, from events around their launches."""
    found: dict[str, float] = {}
    with _recorded_launches(clock) as launches:
        clock.measure(run)
    for name, begin, end in launches[-2:]:  # of the last run, its two directions
        direction = "backward" if "backward" in name else "forward"
        found[f"{direction} kernel"] = clock.elapsed(begin, end)
    return found


@contextmanager
def _recorded_launches(clock: Clock) -> Iterator[list[tuple[str, Any, Any]]]:
    launch, found = compiler.Kernel.launch, list[tuple[str, Any, Any]]()

    def recorded(kernel: Any, *arguments: Any) -> None:
        if not isinstance(kernel.phase, PersistentKernel):
            launch(kernel, *arguments)
            return
        begin, end = clock.event(), clock.event()
        begin.record()
        launch(kernel, *arguments)
        end.record()
        found.append((kernel.phase.name, begin, end))

    with patch.object(compiler.Kernel, "launch", recorded):
        yield found


def _recipe(workload: Workload, clock: Clock, device: str) -> dict[str, float]:
    """Train on random characters, which take the time of any others."""
    rt.manual_seed(0)
    model = nn.LanguageModel(VOCABULARY, "lstm", workload.hidden, device=device)
    optimizer = train.optim.Adam(model.parameters(), lr=4e-3)
    ids = rt.randint(0, VOCABULARY, (workload.batch, workload.steps), device=device)
    targets = rt.randint(0, VOCABULARY, (workload.batch * workload.steps,), device=device)
    state = None

    def step() -> None:
        nonlocal state
        optimizer.zero_grad()
        logits, state = model(ids, state)
        state = tuple(part.detach() for part in state)
        nn.functional.cross_entropy(logits, targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()

    median = clock.measure(step).median
    return {"characters a second": workload.batch * workload.steps / (1e-3 * median)}
