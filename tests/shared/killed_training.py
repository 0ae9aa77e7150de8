"""A training of one kind in a folder, which kills its own process at a moment; `tests/test_resume_tasks.py` runs it.

    python tests/shared/killed_training.py forecaster runs/mine 120

The number is that of the call before which the process is killed, of all calls of the classes that train, record and
load; 0: none.
"""

import functools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np

from rondeau import data, nn, train
from rondeau import tensor as rt
from rondeau.nn.utils import rnn
from rondeau.train import _log, lr_scheduler, metrics, optim

B, T, H, C = 30, 9, 6, 3
_rng = np.random.default_rng(0)
SERIES = _rng.standard_normal((B, T, 2)).astype(np.float32)
LENGTHS = _rng.integers(1, T + 1, B)
CLASSES, TAGS = _rng.integers(0, C, B), _rng.integers(0, C, (B, T))
FUTURE = _rng.standard_normal((B, 4)).astype(np.float32)


class Forecaster(nn.Module):
    """Three quantiles of four values."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(2, H, batch_first=True, recurrent_dropout=0.2), nn.Linear(H, 4 * 3)

    def forward(self, x: rt.Tensor) -> rt.Tensor:
        return self.head(self.rnn(x)[1][-1]).reshape(-1, 4, 3)


class Classifier(nn.Module):
    """A class of each packed sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(2, H, batch_first=True, bidirectional=True), nn.Linear(2 * H, C)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: rt.Tensor, lengths: Any) -> rt.Tensor:
        packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, (last, _) = self.rnn(packed)
        return self.head(self.dropout(rt.cat([last[-2], last[-1]], dim=1)))


class Tagger(nn.Module):
    """A class of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(2, H, 2, batch_first=True, dropout=0.2), nn.Linear(H, C)

    def forward(self, x: rt.Tensor, lengths: Any) -> rt.Tensor:
        return self.head(self.rnn(x, lengths=lengths)[0])


def make(kind: str, folder: Path) -> tuple[train.Trainer, train.Recorder]:
    """Make a trainer of a kind with its recorder; the same call begins a run and continues it."""
    rt.manual_seed(3)
    samples: Any
    if kind == "forecaster":
        model, task, samples = Forecaster(), train.Forecasting(4, (0.1, 0.5, 0.9)), (SERIES, FUTURE)
        options: dict[str, Any] = {"averaged": 0.9}
    elif kind == "classifier":
        model, samples = Classifier(), (SERIES, CLASSES, LENGTHS)
        task = train.Supervised(nn.functional.cross_entropy, {"accuracy": metrics.accuracy})
        options = {"clip_norm": 0.5}
    else:
        model, task, samples = Tagger(), train.SequenceLabelling(), (SERIES, TAGS, LENGTHS)
        options = {"accumulate": 2}
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    workers = 2 if kind == "classifier" else 0
    recorder = train.Recorder(train.RunFolder(folder, keep=2), corpus={"kind": kind}, checkpoint_every=3)
    trainer = train.Trainer(
        model,
        optimizer,
        data.DataLoader(data.TensorDataset(*samples), 4, shuffle=True, num_workers=workers, seed=1),
        task=task,
        scheduler=lr_scheduler.CosineAnnealingLR(optimizer, 60),
        held_out=data.DataLoader(data.TensorDataset(*samples), B),
        max_epochs=4 if workers else 6,  # workers begin again in every epoch, which takes a second
        log_every=2,
        evaluate_every=5,
        callbacks=[recorder, train.CSVLog(folder / "log.csv")],
        **options,
    )
    return trainer, recorder


@contextmanager
def watched(before: Callable[[], None]) -> Iterator[None]:
    """Call a function before every call of the classes that train, record and load, and of fsync and replace."""

    def watching(function: Any) -> Any:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            before()
            return function(*arguments, **options)

        return call

    parts = (train.Trainer, train.Recorder, train.RunFolder, train.CheckpointFolder, train.CSVLog, _log.Log)
    found: list[tuple[Any, str, Any]] = [(os, "fsync", os.fsync), (os, "replace", os.replace)]
    for part in (*parts, optim.Optimizer, optim.Adam, lr_scheduler.LRScheduler, data.DataLoader):
        members = [(name, member) for name, member in vars(part).items() if not name.startswith("__init")]
        found += [(part, name, member) for name, member in members if isinstance(member, FunctionType)]
    for home, name, member in found:
        setattr(home, name, watching(member))
    try:
        yield
    finally:
        for home, name, member in found:
            setattr(home, name, member)


def run(kind: str, folder: Path, moment: int = 0) -> int:
    """Begin or continue a training, be killed before the call that `moment` numbers, and return how many there were."""
    calls = 0

    def count() -> None:
        nonlocal calls
        calls += 1
        if calls == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    with watched(count):
        trainer, recorder = make(kind, folder)
        recorder.resume(trainer)
        trainer.fit()
    return calls


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
