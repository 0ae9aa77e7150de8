"""The Shakespeare recipe by rondeau and by its PyTorch twin: held-out loss and wall time, side by side.

    python -m tools.shakespeare CORPUS

For each cell and seed, one after the other: `rondeau train` with the recipe's flags, its last checkpoint scored by
`rondeau evaluate` over the whole held-out stream, and `torch_twin.py` beside this file. Times are of whole processes,
in both with an evaluation after every epoch; rondeau's holds the checkpoints and the samples as well. Prints one row
per run and then the means over the seeds; the rows of --json also hold the curves, pairs of the seconds since the
first step and the held-out loss.
"""

import argparse
import importlib.util
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..recording import record
from .recipe import BATCH, CLIP, FINAL_RATE, HIDDEN, RATE, STEPS


def timed(command: list[str]) -> tuple[str, float]:
    """Run a command to its end; its standard output and its wall time in seconds."""
    start = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout, time.perf_counter() - start


def train_flags(cell: str, epochs: int) -> list[str]:
    """Give the flags of `rondeau train` that say the recipe."""
    return [
        *("--cell", cell, "--hidden_size", str(HIDDEN), "--num_layers", "1", "--forget_bias", "1"),
        *("--batch_size", str(BATCH), "--num_steps", str(STEPS), "--epochs", str(epochs)),
        *("--optimizer", "adam", "--lr", str(RATE[cell]), "--schedule", "cosine"),
        *("--final_lr", str(FINAL_RATE), "--clip_norm", str(CLIP), "--held_out", "0.1"),
    ]


Outcome = tuple[float, float, list[tuple[float, float]]]
"""The held-out loss in nats per character, the seconds of the process, and the curve."""


def run_rondeau(corpus: Path, cell: str, seed: int, threads: int, epochs: int, folder: Path) -> Outcome:
    """Train by rondeau."""
    command = [sys.executable, "-m", "rondeau.train"]
    common = ["--output", str(folder), "--seed", str(seed), "--threads", str(threads)]
    _, seconds = timed([*command, "train", str(corpus), *train_flags(cell, epochs), *common])
    report, _ = timed([*command, "evaluate", str(folder), "--checkpoint", "latest"])
    found = re.search(r"([0-9.]+) nats", report)
    if found is None:
        raise SystemExit(f"rondeau evaluate printed no loss: {report!r}")
    rows = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    curve = [(row["seconds"], row["held_out_loss"]) for row in rows if "held_out_loss" in row]
    return float(found[1]), seconds, curve


def run_torch(corpus: Path, cell: str, seed: int, threads: int, epochs: int) -> Outcome:
    """Train by the twin."""
    flags = ["--cell", cell, "--seed", str(seed), "--threads", str(threads), "--epochs", str(epochs)]
    report, seconds = timed([sys.executable, "-m", f"{__package__}.torch_twin", str(corpus), *flags])
    outcome = json.loads(report)
    return outcome["held_out_nats"], seconds, outcome["curve"]


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m tools.shakespeare", description=__doc__, formatter_class=layout
    )
    parser.add_argument("corpus", type=Path, help="a UTF-8 text file, such as Tiny Shakespeare")
    parser.add_argument("--cells", nargs="+", choices=sorted(RATE), default=["rnn", "gru", "lstm"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("torch") is None:
        parser.error(f'PyTorch is not installed: {sys.executable} -m pip install -e ".[parity]"')
    rows = []
    print("| cell | seed | rondeau nats | torch nats | rondeau s | torch s |\n|---|---|---|---|---|---|")
    for cell in options.cells:
        for seed in options.seeds:
            with tempfile.TemporaryDirectory() as folder:
                run = Path(folder) / "run"
                ours = run_rondeau(options.corpus, cell, seed, options.threads, options.epochs, run)
            twin = run_torch(options.corpus, cell, seed, options.threads, options.epochs)
            nats, seconds, curves = (list(pair) for pair in zip(ours, twin, strict=True))
            rows.append({"cell": cell, "seed": seed, "nats": nats, "seconds": seconds, "curves": curves})
            print(
                f"| {cell} | {seed} | {ours[0]:.4f} | {twin[0]:.4f} | {ours[1]:.0f} | {twin[1]:.0f} |",
                flush=True,
            )
    for cell in options.cells:
        own, other = (statistics.mean(r["nats"][i] for r in rows if r["cell"] == cell) for i in (0, 1))
        faster = statistics.median(r["seconds"][1] / r["seconds"][0] for r in rows if r["cell"] == cell)
        print(
            f"{cell}: mean {own:.4f} nats, twin {other:.4f}, difference {own - other:+.4f}; "
            f"torch / rondeau wall time {faster:.2f}"
        )
    if options.json:
        record(options.json, "shakespeare", arguments, options.corpus, rows=rows)


if __name__ == "__main__":
    main()
