"""Names that were never seen, by the models of makemore with its defaults: held-out loss and wall time.

    python -m tools.makemore NAMES --model gru --twin --json docs/gallery/recorded/19_gru.json

NAMES holds one name a line. Every 1,000 steps, the mean loss of all characters of the 1,000 held-out names, in nats, is
printed; --json keeps these rows. With --twin `torch_twin.py` beside this file then trains the same model in PyTorch, in
a process of its own, and both times are kept. makemore has no LSTM, nor has the twin.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from rondeau import tensor as rt

from ..recording import record
from .recipe import STEPS, first_names
from .training import CELLS, run


def run_torch(file: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train the twin; its held-out loss at the end and its seconds."""
    flags = [f"--{name}={getattr(options, name)}" for name in ("model", "steps", "seed", "threads")]
    command = [sys.executable, "-m", f"{__package__}.torch_twin", str(file), *flags]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome


def main(arguments: list[str] | None = None) -> None:
    """Train one model, print its rows, keep them."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("names", type=Path, help="a text file with one name a line")
    parser.add_argument("--model", choices=["mlp", *CELLS], required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--every", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="the batches are small: one is best, for both")
    parser.add_argument("--twin", action="store_true", help="train the twin as well")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args(arguments)
    if options.twin and options.model == "lstm":
        parser.error("--twin: makemore has no LSTM; give mlp, rnn or gru")
    rt.set_num_threads(options.threads)
    names, rows = first_names(options.names), []
    for row in run(names, options.model, options.steps, options.seed, options.every):
        rows.append([row.step, row.training_loss, row.held_out_loss])
        print(
            f"{options.model} {row.step:>6}: training {row.training_loss:.4f}, held out {row.held_out_loss:.4f}",
            flush=True,
        )
    seconds = row.seconds
    each = 1e3 * seconds / options.steps
    print(f"{options.model}: {options.steps} steps in {seconds:.1f} s, {each:.2f} ms a step")
    results: dict[str, Any] = {"seconds": seconds}
    if options.twin:
        results["twin"] = twin = run_torch(options.names, options)
        print(
            f"PyTorch: {twin['seconds']:.1f} s, {twin['seconds'] / seconds:.2f} times as long; "
            f"held out {twin['held_out_loss']:.4f}"
        )
    if options.json:
        columns = ["step", "train_loss", "held_out_loss"]
        record(options.json, "makemore", arguments, options.names, columns=columns, curve=rows, **results)


if __name__ == "__main__":
    main()
