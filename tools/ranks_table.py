"""Step times on ranks and on threads, what ranks send, and what that would take on nodes with a network between them.

    python -m tools.ranks_table              measure, and print the tables of docs/how_to/several_machines.md
    python -m tools.ranks_table --steps 40   more steps of each, for machines that are busy with other things

A GRU language model of characters, B rows of T tokens. The least time of all steps counts; programs are run in turns.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from tools.mpi_job import launcher, run_job

from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.data import SequentialBatches, TokenStream

ROWS, TOKENS, HIDDEN, VOCABULARY = 128, 64, 512, 64


class Measured(NamedTuple):
    """A step of a program.

    Attributes
    ----------
    seconds : float
        The least.
    processor : float
        The least that rank 0 took of its cores, with all its threads: what it waits for, as for cores that are busy
        with other things, does not count.
    among_ranks : float
        Of which in sending, receiving and waiting for other ranks.
    sent : int
        Bytes that a rank sends.
    gradients : int
        Bytes of all gradients.
    """

    seconds: float
    processor: float
    among_ranks: float
    sent: int
    gradients: int


class _Clock(train.Callback):
    """Takes the time from the end of one step to that of the next."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.processor: list[float] = []
        self.among_ranks: list[float] = []
        self.sent: list[int] = []
        self._spent, self._bytes = 0.0, 0

    def on_step(self, trainer: train.Trainer) -> None:
        """Note the time, and what the step took of it among ranks."""
        self.ends.append(time.perf_counter())
        self.processor.append(time.process_time())
        self.among_ranks.append(self._spent)
        self.sent.append(self._bytes)
        self._spent, self._bytes = 0.0, 0

    def watch(self, ranks: Any) -> None:
        """Count what ranks send, and the time that it takes."""
        for name in ("exchange", "all_gather"):
            setattr(ranks, name, self._timed(getattr(ranks, name)))

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            began = time.perf_counter()
            found = function(*arguments)
            self._spent += time.perf_counter() - began
            if len(arguments) == 2:
                self._bytes += sum(array.nbytes for arrays in arguments[0].values() for array in arrays)
            return found

        return call

    def least(self, gradients: int) -> Measured:
        """Return the quickest step but the first two, in which kernels are compiled and pages are new."""
        times = np.diff(self.ends)[1:]
        best = int(times.argmin())
        processor = float(np.diff(self.processor)[1:].min())
        return Measured(
            float(times[best]), processor, self.among_ranks[best + 2], self.sent[best + 2], gradients
        )


def measure_here(rows: int, steps: int, threads: int, shards: int | None, parallel: bool) -> Measured | None:
    """Train a few steps in this process, or with the ranks of its job; return a step's measures on rank 0."""
    rt.set_num_threads(threads)
    rt.manual_seed(0)
    ranks = train.MPI() if parallel else None
    tokens = TokenStream(
        np.random.default_rng(0).integers(0, VOCABULARY, 2 * rows * TOKENS * (steps + 4)), VOCABULARY
    )
    model = nn.LanguageModel(VOCABULARY, "gru", HIDDEN)
    clock = _Clock()
    trainer = train.Trainer(
        model,
        train.optim.Adam(model.parameters(), lr=1e-3),
        SequentialBatches(tokens, rows, TOKENS),
        max_steps=steps + 2,
        clip_norm=5.0,
        shards=shards,
        parallel=ranks,
        callbacks=[clock],
    )
    if ranks is not None:
        clock.watch(ranks)
    trainer.fit()
    size = sum(parameter._array.nbytes for parameter in model.parameters())
    return clock.least(size) if ranks is None or ranks.is_main else None


def measure(rows: int, steps: int, ranks: int, threads: int, shards: int | None) -> Measured:
    """Measure a program in processes of its own; ``ranks`` is 0 for one process without MPI."""
    start = launcher(ranks) if ranks else [sys.executable]
    child = ["-m", "tools.ranks_table", "--child", json.dumps([rows, steps, threads, shards, ranks > 0])]
    ended = run_job([*start, *child])
    if ended.status != 0:
        raise RuntimeError(ended.err)
    return Measured(*json.loads(ended.out.strip().splitlines()[-1]))


PROGRAMS = {
    "1 process, 1 thread": (0, 1, None),
    "1 process, 2 threads": (0, 2, None),
    "1 process, 2 threads, 2 shards": (0, 2, 2),
    "1 rank, 2 threads": (1, 2, 1),
    "2 ranks of 1 thread": (2, 1, 2),
    "4 ranks of 1 thread": (4, 1, 4),
}
"""Ranks, threads and shards."""

NETWORKS = {"1 Gbit/s": (50e-6, 0.117e9), "10 Gbit/s": (20e-6, 1.17e9), "100 Gbit/s": (2e-6, 11.7e9)}
"""Seconds until a message arrives, and bytes a second: TCP on Ethernet, and InfiniBand or the like."""

ENOUGH = 0.8
"""Of the speed of N nodes that need nothing of each other."""


def seconds_among_nodes(nodes: int, gradients: int, latency: float, bandwidth: float) -> float:
    """Return what a step of N nodes spends on the network, on paper: four rounds, and each gradient sent twice.

    A node sends ``(N - 1) / N`` of its gradients to those that add them up, and as much of the sum; both ways at once.
    The rounds: losses, slices, sums, the agreement on the end. Its N - 1 messages of a round leave one after another.
    """
    if nodes == 1:
        return 0.0
    rounds = 4 * (latency + (nodes - 1) * latency / 10)
    return rounds + 2 * (nodes - 1) / nodes * gradients / bandwidth


def smallest_batch(
    nodes: int, gradients: int, network: tuple[float, float], fixed: float, of_row: float
) -> int:
    """Return the rows of a whole batch from which N nodes are at least `ENOUGH` of N times as fast as one.

    A step of b rows takes a node ``fixed + of_row b`` seconds.
    """
    among = seconds_among_nodes(nodes, gradients, *network)
    # (fixed + r B) / (N (fixed + r B / N + among)) >= e, solved for B.
    rows = (ENOUGH * nodes * (fixed + among) - fixed) / ((1 - ENOUGH) * of_row)
    return int(np.ceil(rows))


def print_tables(steps: int, turns: int) -> None:
    """Measure, and print tables in Markdown."""
    found: dict[str, list[Measured]] = {name: [] for name in PROGRAMS}
    by_rows: dict[int, list[float]] = {8: [], 32: [], 128: []}
    for _ in range(turns):
        for name, (ranks, threads, shards) in PROGRAMS.items():
            found[name].append(measure(ROWS, steps, ranks, threads, shards))
        for rows, times in by_rows.items():
            times.append(measure(rows, steps, 0, 1, None).processor)
    best = {name: min(several) for name, several in found.items()}
    base = best["1 process, 2 threads"].seconds
    print(
        "| | ms a step | of the speed of 2 threads | of the cores, ms | among ranks, ms | a rank sends, MB |"
    )
    print("|---|---|---|---|---|---|")
    for name, one in best.items():
        print(
            f"| {name} | {1e3 * one.seconds:.1f} | {base / one.seconds:.2f} | {1e3 * one.processor:.1f} | "
            f"{1e3 * one.among_ranks:.1f} | {one.sent / 1e6:.1f} |"
        )
    sizes = np.array(list(by_rows))
    of_row, fixed = np.polyfit(sizes, [min(times) for times in by_rows.values()], 1)
    fixed, gradients = max(float(fixed), 0.0), best["1 process, 2 threads"].gradients
    size, node = (
        f"{gradients / 1e6:.1f} MB of gradients",
        f"{1e3 * fixed:.1f} ms and {1e3 * of_row:.2f} ms a row",
    )
    print(f"\n{size}; a node of one thread: {node}\n")
    nodes = (2, 4, 8, 16)
    print("| ms a step, and rows for 80 % | " + " | ".join(f"{n} nodes" for n in nodes) + " |")
    print("|---" * (len(nodes) + 1) + "|")
    for name, network in NETWORKS.items():
        cells = []
        for n in nodes:
            seconds = fixed + of_row * ROWS / n + seconds_among_nodes(n, gradients, *network)
            cells.append(
                f"{1e3 * seconds:.1f}; {smallest_batch(n, gradients, network, fixed, float(of_row)):,}"
            )
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m tools.ranks_table",
    )
    parser.add_argument("--steps", type=int, default=20, help="of each program and turn (default 20)")
    parser.add_argument("--turns", type=int, default=3, help="in which all programs are run (default 3)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is None:
        print_tables(options.steps, options.turns)
    elif (measured := measure_here(*json.loads(options.child))) is not None:
        print(json.dumps(measured))


if __name__ == "__main__":
    main()
