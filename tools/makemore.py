"""Names that were never seen, by the models of makemore with its defaults: held-out loss and wall time.

    python tools/makemore.py NAMES --model gru --json docs/gallery/recorded/19_gru.json

NAMES holds one name a line. A name is read from token 0 on and ends with token 0. Every 1,000 steps, the mean loss of
all held-out characters, in nats, is printed; --json keeps these rows. The 1,000 held-out names are those that makemore
holds out with its own seed, so that the losses can be set beside the ones it reports.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rondeau import data, nn, train
from rondeau import tensor as rt

EMBEDDING, HIDDEN, BATCH, RATE, DECAY, BETAS = 64, 64, 32, 5e-4, 0.01, (0.9, 0.99)
HELD_OUT, SPLIT_SEED = 1000, 3407
IGNORED = -1


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
"""By the name of the model; makemore's GRU is the published one, and it has no LSTM."""


def permutation(count: int, seed: int) -> NDArray[np.int64]:
    """Return the order that ``torch.manual_seed(seed); torch.randperm(count)`` gives, without PyTorch."""
    draws = np.frombuffer(np.random.RandomState(seed).bytes(4 * count), dtype="<u4").astype(np.int64)
    order = np.arange(count)
    for i in range(count - 1):
        j = i + draws[i] % (count - i)
        order[[i, j]] = order[[j, i]]
    return order


def sequences(
    names: list[str], index: dict[str, int], steps: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return inputs and targets (N, T): each name after token 0, and before it; what follows counts for nothing."""
    inputs = np.zeros((len(names), steps), dtype=np.int64)
    targets = np.full((len(names), steps), IGNORED)
    for row, name in enumerate(names):
        inputs[row, 1 : len(name) + 1] = targets[row, : len(name)] = [index[character] for character in name]
        targets[row, len(name)] = 0
    return inputs, targets


def loss_of(model: nn.Module, inputs: NDArray[np.int64], targets: NDArray[np.int64]) -> rt.Tensor:
    """Return the mean loss of the characters, in nats."""
    logits, _ = model(inputs)
    loss: rt.Tensor = nn.functional.cross_entropy(logits, targets.T.reshape(-1), ignore_index=IGNORED)
    return loss


def run(names: list[str], name: str, steps: int, seed: int, every: int) -> tuple[list[list[float]], float]:
    """Train; rows of the step, the mean training loss since the row before, the held-out loss; and the seconds."""
    characters = sorted(set("".join(names)))
    index = {character: i for i, character in enumerate(characters, 1)}
    block = max(map(len, names)) + 1
    inputs, targets = sequences(names, index, block)
    order = permutation(len(names), SPLIT_SEED)
    cut = len(names) - min(HELD_OUT, len(names) // 10)
    training, held_out = order[:cut], order[cut:]

    rt.manual_seed(seed)
    tokens = len(characters) + 1
    model = (
        WindowModel(tokens, block)
        if name == "mlp"
        else nn.LanguageModel(tokens, CELLS[name], hidden_size=HIDDEN, embedding_size=EMBEDDING)
    )
    optimizer = train.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY, betas=BETAS)
    generator = np.random.default_rng(seed)
    rows, losses, seconds = [], [], 0.0
    for step in range(1, steps + 1):
        started = time.perf_counter()
        batch = training[generator.integers(len(training), size=BATCH)]
        optimizer.zero_grad()
        loss = loss_of(model, inputs[batch], targets[batch])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        seconds += time.perf_counter() - started
        if step % every == 0 or step == steps:
            with rt.no_grad():
                held_out_loss = loss_of(model, inputs[held_out], targets[held_out]).item()
            rows.append([step, float(np.mean(losses)), held_out_loss])
            losses = []
            print(f"{name} {step:>6}: training {rows[-1][1]:.4f}, held out {held_out_loss:.4f}", flush=True)
    return rows, seconds


def main(arguments: list[str] | None = None) -> None:
    """Train one model, print its rows, keep them."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("names", type=Path, help="a text file with one name a line")
    parser.add_argument("--model", choices=["mlp", *CELLS], required=True)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--every", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="the batches are small: one is best")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args(arguments)
    rt.set_num_threads(options.threads)
    names = data.read_text(options.names).split()
    rows, seconds = run(names, options.model, options.steps, options.seed, options.every)
    print(
        f"{options.model}: {options.steps} steps in {seconds:.1f} s, {1e3 * seconds / options.steps:.2f} ms a step"
    )
    if options.json:
        words = [str(word) for word in (arguments or sys.argv[1:])]
        kept_path = {str(options.names): options.names.name, str(options.json): options.json.name}
        kept = {
            "command": " ".join(["python tools/makemore.py", *(kept_path.get(word, word) for word in words)]),
            "columns": ["step", "train_loss", "held_out_loss"],
            "curve": rows,
        }
        options.json.write_text(json.dumps(kept) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
