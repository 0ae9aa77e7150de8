"""The speed of rondeau's recurrent layers against PyTorch's, as ratios.

    python tools/compare_with_torch.py --threads 1 2 --pairs 9

A measurement is one training step: forward, then backward to the input and every weight. The two libraries run in
processes of their own, so that no two thread pools share the cores, and in turn: A B A B. What is printed is the
median over the pairs of (PyTorch's time / rondeau's time); above 1, rondeau is faster. The last column is the share
of the machine's peak that rondeau reached: the step's multiplications against a register-only FMA loop timed in the
same process.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

# (batch, time steps, inputs, hidden units)
SIZES: list[tuple[int, ...]] = [(32, 35, 28, 256), (32, 16, 512, 512), (50, 50, 65, 128), (50, 50, 65, 512)]
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
MEASURE_SECONDS = 0.2
SETTLE_SECONDS = 0.05  # lets the other library's threads stop spinning


def rondeau_step(
    cell: str, batch: int, steps: int, inputs: int, hidden: int, threads: int
) -> Callable[[], None]:
    """One training step of rondeau's layer, as a function without arguments."""
    from rondeau import nn
    from rondeau import tensor as rt

    rt.set_num_threads(threads)
    rng = np.random.default_rng(0)
    layer = getattr(nn, cell)(inputs, hidden)
    x = rt.tensor(rng.standard_normal((steps, batch, inputs), np.float32), requires_grad=True)
    cotangent = rt.tensor(rng.standard_normal((steps, batch, hidden), np.float32))

    def step() -> None:
        layer.zero_grad()
        x.grad = None
        output, _ = layer(x)
        output.backward(cotangent)

    return step


def torch_step(
    cell: str, batch: int, steps: int, inputs: int, hidden: int, threads: int
) -> Callable[[], None]:
    """One training step of PyTorch's layer, as a function without arguments."""
    import torch

    torch.set_num_threads(threads)
    layer = getattr(torch.nn, cell)(inputs, hidden)
    x = torch.randn(steps, batch, inputs, requires_grad=True)
    cotangent = torch.randn(steps, batch, hidden)

    def step() -> None:
        layer.zero_grad()
        x.grad = None
        output, _ = layer(x)
        output.backward(cotangent)

    return step


PEERS = {"rondeau": rondeau_step, "torch": torch_step}


def serve(peer: str) -> None:
    """Answer requests on standard input, one JSON line each, until it closes."""
    step: Callable[[], None] | None = None
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        if request["do"] == "prepare":
            step = PEERS[peer](*request["arguments"])
            for _ in range(3):
                step()
        elif request["do"] == "peak":
            from rondeau.kernels.product import peak_flops

            answer["flops"] = peak_flops()
        else:
            assert step is not None, "prepare comes first"
            time.sleep(SETTLE_SECONDS)
            times: list[float] = []
            step()
            while sum(times) < MEASURE_SECONDS or len(times) < 3:
                start = time.perf_counter()
                step()
                times.append(time.perf_counter() - start)
            answer["seconds"] = statistics.median(times)
        print(json.dumps(answer), flush=True)


class Peer:
    """One library in a process of its own."""

    def __init__(self, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--serve", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a peer ended with status {self.process.wait()}; its message is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def step_flops(cell: str, batch: int, steps: int, inputs: int, hidden: int) -> int:
    """Multiplications and additions of one training step's six products."""
    return 6 * batch * steps * GATES[cell] * hidden * (inputs + hidden)


def compare(cells: list[str], sizes: list[tuple[int, ...]], threads: int, pairs: int) -> list[dict[str, Any]]:
    """Measure every cell at every size; one row of figures each, printed as it comes."""
    rows = []
    ours, theirs = Peer("rondeau"), Peer("torch")
    peak = ours.ask(do="peak")["flops"] * threads
    for cell in cells:
        for size in sizes:
            for peer in (ours, theirs):
                peer.ask(do="prepare", arguments=[cell, *size, threads])
            timed = [
                (ours.ask(do="measure")["seconds"], theirs.ask(do="measure")["seconds"]) for _ in range(pairs)
            ]
            seconds = statistics.median(own for own, _ in timed)
            row = {
                "cell": cell,
                "size": "B{} T{} I{} H{}".format(*size),
                "threads": threads,
                "ratio": statistics.median(other / own for own, other in timed),
                "lowest": min(other / own for own, other in timed),
                "highest": max(other / own for own, other in timed),
                "peak_share": step_flops(cell, *size) / seconds / peak,
            }
            rows.append(row)
            print(
                "| {cell} | {size} | {threads} | {ratio:.2f} | {lowest:.2f} - {highest:.2f} "
                "| {peak_share:.0%} |".format(**row),
                flush=True,
            )
    for peer in (ours, theirs):
        peer.close()
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Print the table; with --json, also write its rows to a file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", nargs="+", choices=sorted(GATES), default=list(GATES))
    parser.add_argument(
        "--size",
        nargs=4,
        type=int,
        action="append",
        metavar=("B", "T", "I", "H"),
        help="batch, time steps, inputs, hidden units; may be given again (default: the four sizes of the README)",
    )
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--pairs", type=int, default=9, help="measurements of each library, in turn")
    parser.add_argument("--json", help="write the rows to this file")
    parser.add_argument("--serve", choices=sorted(PEERS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve)
        return
    sizes = [tuple(size) for size in options.size] if options.size else SIZES
    print("| cell | size | threads | PyTorch / rondeau | range over pairs | share of peak |")
    print("|---|---|---|---|---|---|")
    rows = [
        row for threads in options.threads for row in compare(options.cells, sizes, threads, options.pairs)
    ]
    for cell in options.cells:
        for threads in options.threads:
            ratios = [r["ratio"] for r in rows if r["cell"] == cell and r["threads"] == threads]
            print(f"{cell}, threads {threads}: geometric mean {statistics.geometric_mean(ratios):.2f}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
