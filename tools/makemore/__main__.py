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
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import nn, train
from rondeau import tensor as rt

from ..recording import record
from .recipe import (
    BATCH,
    BETAS,
    DECAY,
    EMBEDDING,
    HIDDEN,
    IGNORED,
    RATE,
    STEPS,
    FirstNames,
    first_names,
)


class WindowModel(nn.Module):
    """A multilayer network on the embeddings of the tokens so far, the last one first (Bengio et al., 2003)."""

    def __init__(self, tokens: int, block: int) -> None:
        super().__init__()
        self.blank, self.block = tokens, block  # one more token stands before the start
        self.embedding = nn.Embedding(tokens + 1, EMBEDDING)
        self.network = nn.Sequential(
            nn.Linear(block * EMBEDDING, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, tokens)
        )

    def forward(self, ids: NDArray[np.int64], state: None = None) -> tuple[rt.Tensor, None]:
        """Return logits (T*B, V) of the tokens after `ids` (B, T), time-major as `nn.LanguageModel` gives them."""
        padded = np.pad(ids, ((0, 0), (self.block - 1, 0)), constant_values=self.blank)
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.block, axis=1)[:, :, ::-1]
        rows = np.ascontiguousarray(windows.transpose(1, 0, 2)).reshape(-1, self.block)
        return self.network(self.embedding(rt.tensor(rows)).reshape(len(rows), -1)), None


CELLS = {"rnn": nn.cells.rnn_tanh, "gru": nn.cells.gru_original, "lstm": nn.cells.lstm}
"""By the name of the model; makemore's GRU is the published one."""


def loss_of(model: nn.Module, names: FirstNames, rows: NDArray[np.int64]) -> rt.Tensor:
    """Return the mean loss of the characters, in nats."""
    logits, _ = model(names.inputs[rows])
    loss: rt.Tensor = nn.functional.cross_entropy(
        logits, names.targets[rows].T.reshape(-1), ignore_index=IGNORED
    )
    return loss


def run(names: FirstNames, name: str, steps: int, seed: int, every: int) -> tuple[list[list[float]], float]:
    """Train; rows of the step, the mean training loss since the row before, the held-out loss; and the seconds."""
    rt.manual_seed(seed)
    model = (
        WindowModel(names.num_tokens, names.block)
        if name == "mlp"
        else nn.LanguageModel(names.num_tokens, CELLS[name], hidden_size=HIDDEN, embedding_size=EMBEDDING)
    )
    optimizer = train.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY, betas=BETAS)
    generator = np.random.default_rng(seed)
    rows, losses, seconds = [], [], 0.0
    for step in range(1, steps + 1):
        started = time.perf_counter()
        batch = names.training[generator.integers(len(names.training), size=BATCH)]
        optimizer.zero_grad()
        loss = loss_of(model, names, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        seconds += time.perf_counter() - started
        if step % every == 0 or step == steps:
            with rt.no_grad():
                held_out_loss = loss_of(model, names, names.held_out).item()
            rows.append([step, float(np.mean(losses)), held_out_loss])
            losses = []
            print(f"{name} {step:>6}: training {rows[-1][1]:.4f}, held out {held_out_loss:.4f}", flush=True)
    return rows, seconds


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
    rows, seconds = run(first_names(options.names), options.model, options.steps, options.seed, options.every)
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
