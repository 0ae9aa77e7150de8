"""What Python costs in small training steps: the calls that a profiler counts, and the time.

    python -m tools.calls                 all steps
    python -m tools.calls lstm --list     who is called in one of them, and how often

The layers are small (4 sequences of 16 steps, 32 units), so that a step is little more than the Python around the
kernels. *Calls* are all that cProfile counts in one step after the first ones: functions of Python and built-in ones,
NumPy's and compiled kernels among them. *Functions* are those of Python alone. Both are the same at every run; they
differ between versions of Python, of which 3.12 and later run a comprehension without a call. The time is the least of
many steps on one thread.

To compare two versions, run each with the source of its packages first on PYTHONPATH.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import sys
import time
from collections.abc import Callable
from typing import Any

from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn import cell_math as m
from rondeau.train import optim

Step = Callable[[], None]

T, B, H = 16, 4, 32
"""Time steps, sequences, and units and features alike."""


@nn.recurrent_cell(gates=("u", "v"), states=("h",))
def own_cell(x: Any, r: Any, s: Any) -> Any:
    """Mix the old state and a candidate, as a user's own cell might."""
    u = m.sigmoid(x.u + r.u)
    return u * s.h + (1 - u) * m.tanh(x.v + r.v)


def layer_step(layer: nn.Module) -> Step:
    """Return a step of a recurrent layer alone: forward, the sum of the output, and backward for input and weights."""
    x = rt.randn(T, B, H, requires_grad=True)

    def step() -> None:
        output, _ = layer(x)
        output.sum().backward()

    return step


def trained_step() -> Step:
    """Return a whole step of training an LSTM: also the norm of the gradients is bounded, and the weights move."""
    layer, x = nn.LSTM(H, H), rt.randn(T, B, H, requires_grad=True)
    optimizer = optim.SGD(layer.parameters(), lr=0.001)

    def step() -> None:
        optimizer.zero_grad()
        output, _ = layer(x)
        output.sum().backward()
        nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
        optimizer.step()

    return step


def linear_step() -> Step:
    """Return a step of training a linear classifier: cross-entropy and Adam."""
    layer, x, classes = nn.Linear(H, H), rt.randn(T * B, H), rt.arange(T * B) % H
    optimizer = optim.Adam(layer.parameters())

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(layer(x), classes).backward()
        optimizer.step()

    return step


def stepped() -> Step:
    """Return a loop over a GRU cell of four steps, with the loss of each, as where Python decides every step."""
    cell, head, x = nn.GRUCell(H, H), nn.Linear(H, H), rt.randn(4, B, H)
    classes = rt.arange(4 * B).reshape(4, B) % H

    def step() -> None:
        h, loss = rt.zeros(B, H), rt.zeros(())
        for t in range(4):
            h = cell(x[t], h)
            loss = loss + nn.functional.cross_entropy(head(h), classes[t])
        loss.backward()
        cell.zero_grad()
        head.zero_grad()

    return step


STEPS: dict[str, Callable[[], Step]] = {
    "lstm": lambda: layer_step(nn.LSTM(H, H)),
    "gru": lambda: layer_step(nn.GRU(H, H)),
    "rnn": lambda: layer_step(nn.RNN(H, H)),
    "own cell": lambda: layer_step(nn.Recurrent(own_cell, H, H)),
    "lstm trained": trained_step,
    "linear trained": linear_step,
    "gru cell, 4 steps": stepped,
}


def profile_of(step: Step) -> pstats.Stats:
    """Return what cProfile counts in one step, after others that compile kernels and fill caches.

    It is the least of three: a step may also give back memory of what ran before in this process.
    """
    for _ in range(3):
        step()
    collects = gc.isenabled()
    gc.disable()  # a collection would call the finalizers of whatever else has died
    try:
        profilers = [cProfile.Profile() for _ in range(3)]
        for profiler in profilers:
            profiler.runcall(step)
    finally:
        if collects:
            gc.enable()
    return min(map(pstats.Stats, profilers), key=lambda stats: stats.total_calls)  # type: ignore[attr-defined]


def counts_of(step: Step) -> tuple[int, int]:
    """Return the calls of a step, and the functions of Python among them."""
    stats: Any = profile_of(step)
    functions = sum(calls for (file, _, _), (_, calls, *_) in stats.stats.items() if file != "~")
    return stats.total_calls, functions


def least_time(step: Step, repeats: int) -> float:
    """Return the least time of a step, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


def main(arguments: list[str] | None = None) -> int:
    """Print the calls and the time of the steps, or the calls of one by callee."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.calls",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"of {', '.join(STEPS)} (default: all)")
    parser.add_argument("--list", action="store_true", help="print who is called, instead of the sums")
    parser.add_argument("--repeats", type=int, default=1000, help="steps that are timed (default: 1000)")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.steps if name not in STEPS]
    if unknown:
        parser.error(f"unknown step {unknown[0]!r}: expected one of {', '.join(STEPS)}")
    before = rt.get_num_threads()
    rt.set_num_threads(1)
    try:
        print(f"{'step':18}{'calls':>8}{'functions':>12}{'microseconds':>15}")
        for name in options.steps or STEPS:
            step = STEPS[name]()
            calls, functions = counts_of(step)
            print(f"{name:18}{calls:8}{functions:12}{least_time(step, options.repeats) * 1e6:15.0f}")
            if options.list:
                profile_of(step).sort_stats("ncalls").print_stats()
    finally:
        rt.set_num_threads(before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
