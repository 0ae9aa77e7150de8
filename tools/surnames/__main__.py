"""Which language a surname is from, by rondeau and by its PyTorch twin: accuracy and wall time, side by side.

    python -m tools.surnames FOLDER

For each seed: the recipe by rondeau, in this process, and `torch_twin.py` beside this file, in a process of its own.
Both draw the split and the batches of a seed by the same NumPy generator, and their initial weights each by their own.
Prints one row per seed and then the means; the rows of --json also hold the accuracy after every epoch.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rondeau import tensor as rt

from ..recording import record
from .recipe import Surnames
from .training import accuracies


def run_rondeau(folder: Path, seed: int, epochs: int) -> tuple[list[float], float]:
    """Train by rondeau; the accuracy on the test surnames after every epoch, and the seconds."""
    surnames = Surnames(folder, seed)
    started = time.perf_counter()
    found = list(itertools.islice(accuracies(surnames, seed), epochs))
    return found, time.perf_counter() - started


def run_torch(folder: Path, seed: int, epochs: int, threads: int) -> tuple[list[float], float]:
    """Train by the twin."""
    flags = ["--seed", str(seed), "--epochs", str(epochs), "--threads", str(threads)]
    command = [sys.executable, "-m", f"{__package__}.torch_twin", str(folder), *flags]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    outcome = json.loads(done.stdout)
    return outcome["accuracies"], outcome["seconds"]


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("folder", type=Path, help="names_by_language, with one file for each language")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args(arguments)
    rt.set_num_threads(options.threads)
    rows = []
    print("| seed | rondeau % | torch % | rondeau s | torch s |\n|---|---|---|---|---|")
    for seed in options.seeds:
        ours, seconds = run_rondeau(options.folder, seed, options.epochs)
        twin, twin_seconds = run_torch(options.folder, seed, options.epochs, options.threads)
        rows.append({"seed": seed, "accuracies": [ours, twin], "seconds": [seconds, twin_seconds]})
        print(
            f"| {seed} | {100 * ours[-1]:.2f} | {100 * twin[-1]:.2f} | {seconds:.0f} | {twin_seconds:.0f} |",
            flush=True,
        )
    own, other = (100 * statistics.mean(row["accuracies"][i][-1] for row in rows) for i in (0, 1))
    print(f"mean {own:.2f} %, twin {other:.2f} %, difference {own - other:+.2f} points")
    if options.json:
        record(options.json, "surnames", arguments, options.folder, rows=rows)


if __name__ == "__main__":
    main()
