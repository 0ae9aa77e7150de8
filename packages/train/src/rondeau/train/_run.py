"""The folder of a run: its configuration, vocabulary, metrics, samples and checkpoints.

config.yaml         what ``rondeau train ... --print_config`` prints; running it again is reproducing the run
vocab.json          tokenizer and vocabulary
metrics.jsonl       one JSON object a line
samples.txt         text that the model wrote after each evaluation
summary.json        what came out at the end; not there before
curves.png          the loss over the steps, where matplotlib is installed
checkpoints/        see `rondeau.train._checkpoint`
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rondeau.data import Codec
from rondeau.train._checkpoint import CheckpointError, CheckpointFolder, Snapshot
from rondeau.train._checks import check_integer, check_is
from rondeau.train._durable import replace_file, sync_folder
from rondeau.train._evaluate import Evaluation
from rondeau.train._extras import how_to_install
from rondeau.train._generate import generate
from rondeau.train._program import program
from rondeau.train._trainer import Callback, Row, Trainer


class RunError(ValueError):
    """A folder that is not what a command needs.

    Examples
    --------
    >>> RunFolder("no_such_run").load_codec()
    Traceback (most recent call last):
    ...
    rondeau.train._run.RunError: no_such_run/vocab.json is missing: the run ended before it began; start it anew
    """


class Log:
    """A text file that only grows, but for a resume, which cuts it back to where it was at a checkpoint."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self.path.stat().st_size if self.path.exists() else 0

    def append(self, text: str) -> None:
        """Write at the end, and wait until it is on the disk."""
        with self.path.open("ab") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())

    def cut(self, size: int) -> None:
        """Drop what comes after the first `size` bytes.

        Raises
        ------
        RunError
            If the file is shorter than that.
        """
        if self.size < size:
            raise RunError(
                f"{self.path} has {self.size} bytes, but had {size} at the checkpoint: it was changed"
            )
        if self.size > size:
            os.truncate(self.path, size)


class RunFolder:
    r"""Paths and contents of a run's folder.

    Parameters
    ----------
    path : path-like
    keep : int
        How many of the last checkpoints remain.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = RunFolder(Path(folder) / "demo")
    ...     run.create("model: {}")
    ...     run.metrics.append('{"step": 1, "train_loss": 2.5}\n')
    ...     run.rows()
    [{'step': 1, 'train_loss': 2.5}]
    """

    def __init__(self, path: str | os.PathLike[str], keep: int = 3) -> None:
        check_is("path", path, str, os.PathLike)
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.vocab = self.path / "vocab.json"
        self.summary = self.path / "summary.json"
        self.curves = self.path / "curves.png"
        self.metrics = Log(self.path / "metrics.jsonl")
        self.samples = Log(self.path / "samples.txt")
        self.checkpoints = CheckpointFolder(self.path / "checkpoints", keep)

    def create(self, config: str, overwrite: bool = False) -> None:
        """Make the folder, holding nothing but `config`.

        Raises
        ------
        RunError
            If the folder holds something, unless that is a run and `overwrite` is true.
        """
        check_is("config", config, str)
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; choose another --output")
        if self.path.is_dir() and any(self.path.iterdir()):
            if not self.config.exists():
                raise RunError(f"{self.path} holds files that are no run; choose another --output")
            if not overwrite:
                raise RunError(
                    f"{self.path} holds a run already; give --overwrite to replace it, another --output, "
                    f"or continue it with: {program()} train --resume {self.path}"
                )
            for log in (self.metrics, self.samples):
                log.path.unlink(missing_ok=True)
            self.curves.unlink(missing_ok=True)
            self.vocab.unlink(missing_ok=True)
            self.summary.unlink(missing_ok=True)
            if self.checkpoints.folder.exists():
                shutil.rmtree(self.checkpoints.folder)
        self.path.mkdir(parents=True, exist_ok=True)
        replace_file(self.config, config.encode())
        sync_folder(self.path.parent)

    def save_codec(self, codec: Codec) -> None:
        """Write tokenizer and vocabulary; the folder is made where it is not there."""
        check_is("codec", codec, Codec)
        self.path.mkdir(parents=True, exist_ok=True)
        replace_file(self.vocab, (json.dumps(codec.to_dict(), ensure_ascii=False) + "\n").encode())

    def load_codec(self) -> Codec:
        """Read tokenizer and vocabulary.

        Raises
        ------
        RunError
            If the file is missing or damaged.
        """
        try:
            return Codec.load(self.vocab)
        except FileNotFoundError:
            raise RunError(f"{self.vocab} is missing: the run ended before it began; start it anew") from None
        except ModuleNotFoundError as error:
            raise RunError(f"{self.vocab} needs the package tokenizers; {how_to_install('bpe')}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{self.vocab} is damaged: {error}") from error

    def rows(self) -> list[Row]:
        """Return the rows of metrics."""
        if not self.metrics.path.exists():
            return []
        return [json.loads(line) for line in self.metrics.path.read_text(encoding="utf-8").splitlines()]

    def load_checkpoint(self, name: str = "latest") -> Snapshot:
        """Read a checkpoint: "latest", "best" (by the held-out loss), or a name such as "step-200".

        Its weights are ``arrays["weights"]``, made for a model's ``load_state_dict``.

        Raises
        ------
        CheckpointError
            If it is not there or damaged.
        """
        if name == "best":
            latest = self.checkpoints.load()
            best = latest.state["best_step"]
            if best is None or best == latest.state["step"]:
                return latest
            name = f"step-{best}"
        return self.checkpoints.load(name)


class Recorder(Callback):
    """Writes a run's vocabulary, metrics, samples and checkpoints, and continues from them.

    A checkpoint is written before the first step, after every evaluation, every `checkpoint_every` steps, and at the
    end; so there is always one to continue from.

    Parameters
    ----------
    run : RunFolder
    codec : Codec
        For the samples; written at the beginning of a run.
    corpus : mapping
        What identifies the corpus, as ``{"name": ..., "sha256": ...}``; `resume` refuses another one.
    checkpoint_every : int, optional
        Steps.
    prompt : str
        What the samples begin with.

    Examples
    --------
    >>> import tempfile
    >>> from rondeau import data, nn, tensor as rt, train
    >>> _ = rt.manual_seed(0)
    >>> text = "abc" * 40
    >>> codec = data.Codec.fit(text, data.CharTokenizer())
    >>> model = nn.LanguageModel(len(codec), recurrent="gru", hidden_size=8)
    >>> optimizer = train.optim.Adam(model.parameters(), lr=0.05)
    >>> batches = data.SequentialBatches(data.TokenStream(codec.encode(text), len(codec)), 2, 5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = train.RunFolder(folder)
    ...     recorder = train.Recorder(run, codec, {"name": "abc"}, prompt="a")
    ...     train.Trainer(model, optimizer, batches, max_steps=20, callbacks=[recorder]).fit()
    ...     run.checkpoints.steps(), [row["step"] for row in run.rows()]
    ([0, 20], [20])
    """

    sample_length = 300

    def __init__(
        self,
        run: RunFolder,
        codec: Codec,
        corpus: Mapping[str, Any],
        *,
        checkpoint_every: int | None = None,
        prompt: str,
    ) -> None:
        check_is("run", run, RunFolder)
        check_is("codec", codec, Codec)
        check_is("corpus", corpus, Mapping)
        check_is("prompt", prompt, str)
        if checkpoint_every is not None:
            check_integer("checkpoint_every", checkpoint_every, 1, " step")
        self.run, self.codec, self.corpus = run, codec, dict(corpus)
        self.checkpoint_every, self.prompt = checkpoint_every, prompt
        self._saved_at: int | None = None
        self._evaluated_at: int | None = None

    def resume(self, trainer: Trainer) -> None:
        """Bring `trainer`, metrics and samples back to the latest checkpoint; without one, to the beginning.

        Raises
        ------
        CheckpointError
            If the checkpoint is damaged, or of another corpus or model.
        """
        sizes = {"metrics": 0, "samples": 0}
        if self.run.checkpoints.exists():
            snapshot = self.run.checkpoints.load()
            if snapshot.state["corpus"] != self.corpus:
                raise CheckpointError(
                    f"the corpus has changed since the run began: was {snapshot.state['corpus']}, is {self.corpus}"
                )
            trainer.restore(snapshot)
            sizes = snapshot.state["log_bytes"]
            self._saved_at = trainer.step
        self.run.metrics.cut(sizes["metrics"])
        self.run.samples.cut(sizes["samples"])

    def on_begin(self, trainer: Trainer) -> None:
        """Write tokenizer, vocabulary and the first checkpoint of a new run, and compile what samples need.

        Compiled at the first evaluation, that would hold up an interruption which has steps to keep.
        """
        if self._saved_at is None:
            self.run.save_codec(self.codec)
            self._save(trainer)
        if trainer.held_out is not None and trainer._end_reached() is None:
            self._sample(trainer, length=1)

    def on_row(self, trainer: Trainer, row: Row) -> None:
        """Append a row of metrics."""
        self.run.metrics.append(json.dumps(row) + "\n")

    def on_evaluate(self, trainer: Trainer, evaluation: Evaluation) -> None:
        """Append a sample of what the model writes now."""
        self._evaluated_at = trainer.step
        text = self._sample(trainer, self.sample_length)
        title = f"step {trainer.step}, held-out perplexity {evaluation.perplexity:.3f}"
        self.run.samples.append(f"==== {title} ====\n{text}\n\n")

    def on_step(self, trainer: Trainer) -> None:
        """Write a checkpoint if one is due."""
        every = self.checkpoint_every
        if self._evaluated_at == trainer.step or (every is not None and trainer.step % every == 0):
            self._save(trainer)

    def on_end(self, trainer: Trainer) -> None:
        """Write the last checkpoint."""
        if self._saved_at != trainer.step:
            self._save(trainer)

    def _sample(self, trainer: Trainer, length: int) -> str:
        pieces = generate(trainer.model, self.codec, self.prompt, length, seed=trainer.step)
        return self.prompt + "".join(pieces)

    def _save(self, trainer: Trainer) -> None:
        snapshot = trainer.snapshot()
        sizes = {"metrics": self.run.metrics.size, "samples": self.run.samples.size}
        snapshot.state.update(corpus=self.corpus, log_bytes=sizes)
        best = () if trainer.best_step is None else (trainer.best_step,)
        self.run.checkpoints.save(trainer.step, snapshot, also_keep=best)
        self._saved_at = trainer.step
