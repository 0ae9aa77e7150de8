"""Training: the same losses on both devices, checkpoints that go from one to the other, and no hidden waits."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from rondeau import nn, train
from rondeau import tensor as rt
from rondeau.data import DataLoader, SequentialBatches, TensorDataset, TokenStream
from rondeau.train.optim import AdamW

from .cases import Case

__all__ = ["CASES"]

_TEXT = "a rondeau returns to where it began, and begins again; " * 12
_TOKENS = TokenStream([ord(letter) - 32 for letter in _TEXT])
_SYMBOLS = 96


class _Rows(train.Callback):
    """Keeps the losses that are logged."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_row(self, trainer: train.Trainer, row: dict[str, Any]) -> None:
        self.rows.append({name: float(value) for name, value in row.items() if name != "seconds"})


def _trainer(
    device: str, recurrent: str, steps: int, *callbacks: train.Callback, **options: Any
) -> train.Trainer:
    rt.manual_seed(0)
    model = nn.LanguageModel(_SYMBOLS, recurrent, hidden_size=16, embedding_size=12, **options)
    batches = SequentialBatches(_TOKENS, 4, 9)
    optimizer = AdamW(model.parameters(), lr=0.01)
    return train.Trainer(
        model, optimizer, batches, device=device, max_steps=steps, log_every=2, clip_norm=0.5,
        held_out=_TOKENS[:80], callbacks=callbacks,
    )  # fmt: skip


def _trained(recurrent: str, **options: Any) -> Case:
    def run(device: str) -> Any:
        rows = _Rows()
        trainer = _trainer(device, recurrent, 8, rows, **options)
        trainer.fit()
        assert {parameter.device for parameter in trainer.model.parameters()} == {device}
        losses = [np.array([*row.values()], np.float32) for row in rows.rows]
        return {"losses": losses, "model": trainer.model.state_dict()}

    return Case(f"a language model: {recurrent}{', regularised' if options else ''}", run, 50.0)


def _to_and_fro(device: str) -> Any:
    """Train on a device, resume on the CPU, and on the device again."""
    with tempfile.TemporaryDirectory() as folder:
        for place, steps in ((device, 3), ("cpu", 6), (device, 9)):
            recorder = train.Recorder(train.RunFolder(Path(folder)))
            trainer = _trainer(place, "gru", steps, recorder)
            recorder.resume(trainer)
            trainer.fit()
    return trainer.model.state_dict()


def _saved(device: str) -> Any:
    """Save tensors and a model of a device, and load them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "saved"
        rt.manual_seed(3)
        model = nn.LSTM(3, 4).to(device)
        rt.save({"model": model.state_dict(), "x": rt.arange(5, device=device)}, path)
        there = rt.load(path)
        other = nn.LSTM(3, 4).to(device)
        other.load_state_dict(there["model"])
        assert {parameter.device for parameter in other.parameters()} == {device}
        return {"file": there, "model": other.state_dict()}


def _pinned(device: str) -> Any:
    """Copy from pinned memory, with and without waiting, and by a loader."""
    x = np.arange(6000, dtype=np.float32).reshape(60, 100)
    loader = DataLoader(TensorDataset(x), 20, pin_memory=device != "cpu")
    batches = [rt.from_numpy(batch).to(device, non_blocking=True) for (batch,) in loader]
    if device == "cpu":
        return [rt.tensor(x), rt.tensor(x), batches]
    held = rt.tensor(x, device="cpu").pin_memory()
    assert held.is_pinned()
    assert not rt.from_numpy(x).is_pinned()
    copies = [held.to(device, non_blocking=True), held.to(device)]
    rt.cuda.synchronize()
    held.zero_()
    return [*copies, batches]


def _memory(device: str) -> Any:
    """Ask what the GPU is, and what its memory holds."""
    if device == "cpu":
        return [4000, 0]
    assert rt.cuda.is_available()
    assert rt.cuda.device_count() > 0
    assert rt.cuda.get_device_name()
    before = rt.cuda.memory_allocated()
    x = rt.zeros(1000, device=device)
    held = rt.cuda.memory_allocated() - before
    assert x.nbytes <= held <= rt.cuda.memory_reserved()
    assert x.nbytes < min(rt.cuda.mem_get_info())
    nbytes = x.nbytes
    del x
    rt.cuda.empty_cache()
    return [nbytes, rt.cuda.memory_allocated() - before]


CASES = [
    _trained("lstm"),
    _trained("gru", dropout=0.2, zoneout=0.1, recurrent_dropout=0.2),
    Case("checkpoints to and fro", _to_and_fro, 50.0),
    Case("save and load", _saved),
    Case("pinned memory", _pinned),
    Case("the GPU and its memory", _memory),
]
