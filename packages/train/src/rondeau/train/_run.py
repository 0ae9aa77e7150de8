"""The folder of a run: its configuration, vocabulary, metrics, samples and checkpoints.

rondeau.lock        held by the process that writes here; its presence marks the folder as a run's
config.yaml         what ``rondeau train ... --print_config`` prints; running it again is reproducing the run
vocab.json          tokenizer and vocabulary
metrics.jsonl       one JSON object a line
metrics.csv         the same as a table, with --log csv; made again from it where they differ
tensorboard/        the same as event files, with --log tensorboard
samples.txt         text that the model wrote after each evaluation
checkpoints/        see `rondeau.train._checkpoint`
curves.png          the loss over the steps, where matplotlib is installed
output.txt          what was told on the way, of a trial of a sweep alone
summary.json        what came out at the end, sealed; not there before

Every checkpoint holds the SHA-256 of config.yaml and vocab.json, and those of metrics.jsonl and samples.txt as they
were when it was written: a file that was edited or damaged since is named, not used.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rondeau.data import Codec
from rondeau.tensor.files import durable
from rondeau.train._callback import Row
from rondeau.train._checkpoint import CheckpointFolder, Found, Snapshot
from rondeau.train._checks import check_is
from rondeau.train._errors import CheckpointError, RunError
from rondeau.train._extras import how_to_install
from rondeau.train._lock import FolderLock
from rondeau.train._log import Log, fingerprint
from rondeau.train._program import command_line, program
from rondeau.train._results import Results
from rondeau.train._run_state import LOGS, check_run_state
from rondeau.train._sealed import parse_json
from rondeau.train._tensorboard import remove_event_files
from rondeau.train.parallel import Ranks


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
        self.metrics = Log(self.path / "metrics.jsonl")
        self.samples = Log(self.path / "samples.txt")
        self.table = self.path / "metrics.csv"
        self.events = self.path / "tensorboard"
        self.checkpoints = CheckpointFolder(self.path / "checkpoints", keep)
        self.results = Results(self.path)
        self.lock = FolderLock(self.path / "rondeau.lock")

    # ------------------------------------------------------------------------------------------------- the beginning

    @property
    def is_run(self) -> bool:
        """Return whether the folder bears the mark of a run: one was begun there, or something of one is left."""
        return self.lock.path.is_file()

    def check_ours(self) -> None:
        """Raise RunError if the folder holds something, and is not a run's.

        A folder that bears no mark was made by somebody else, whatever is in it: nothing there is removed.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; choose another --output")
        if self.path.is_dir() and any(self.path.iterdir()) and not self.is_run:
            raise RunError(
                f"{self.path} holds files that are not of a run; choose another --output (the folder of a run has a "
                f"{self.lock.path.name})"
            )

    def check_begun(self) -> None:
        """Raise RunError unless the folder holds a run that can be continued."""
        if not self.config.is_file():
            remedy = f"give a folder that `{program()} train` made"
            if self.is_run:
                remedy += "; if it was lost, the command that began the run prints it with --print_config"
            raise RunError(f"{self.path} is not a run: it has no config.yaml; {remedy}")
        if not self.is_run:  # a copy may lack the mark, but not the checkpoints
            self.checkpoints.load()

    def begins_with(self, config: str) -> bool:
        """Return whether the folder holds a run of just this configuration that has not come to its end."""
        if not self.is_run or self.results.summary.exists():
            return False
        try:
            return durable.read_file(self.config) == config.encode()
        except FileNotFoundError:
            return False

    def create(self, config: str, overwrite: bool = False) -> None:
        """Make the folder, holding nothing of a run but `config`.

        Raises
        ------
        RunError
            If the folder holds something, unless that is a run and `overwrite` is true, or if it is being written.
        """
        check_is("config", config, str)
        self.check_ours()
        with self.lock.held():
            self.clean()
            if not overwrite and any(path.exists() for path in self._contents()):
                raise RunError(
                    f"{self.path} holds a run already; give --overwrite to replace it, another --output, "
                    f"or continue it with: {command_line('train', '--resume', self.path)}"
                )
            # The configuration first: without one, nobody takes what is left for a run to be continued.
            durable.remove_file(self.config)
            durable.remove_file(self.vocab)
            self.results.remove()
            self.metrics.remove()
            durable.remove_file(self.table)
            remove_event_files(self.events)
            self.samples.remove()
            self.checkpoints.remove()
            durable.replace_file(self.config, config.encode())
            durable.sync_folder(self.path.parent)

    def clean(self) -> None:
        """Remove what a killed process was writing or removing."""
        for path in map(durable.unfinished, self._contents()):
            if path.exists():
                durable.remove_file(path)
        self.checkpoints.clean()

    def _contents(self) -> list[Path]:
        logs, results = (self.metrics.path, self.samples.path), (self.results.summary, self.results.curves)
        return [self.config, self.vocab, *logs, self.table, self.events, *results, self.checkpoints.folder]

    # ----------------------------------------------------------------------------------------------------- contents

    def save_codec(self, codec: Codec) -> None:
        """Write tokenizer and vocabulary; the folder is made where it is not there."""
        check_is("codec", codec, Codec)
        durable.make_folder(self.path)
        durable.replace_file(self.vocab, _codec_content(codec))

    def load_codec(self, snapshot: Snapshot | None = None) -> Codec:
        """Read tokenizer and vocabulary.

        Parameters
        ----------
        snapshot : Snapshot, optional
            Of this run: the vocabulary must then be the one that it was written with.

        Raises
        ------
        RunError
            If the file is missing or damaged.
        """
        try:
            content = durable.read_file(self.vocab)
        except FileNotFoundError:
            raise RunError(f"{self.vocab} is missing: {self._remedy('vocab.json')}") from None
        if snapshot is not None:
            self._check("vocab.json", content, snapshot)
        try:
            return Codec.from_dict(parse_json(content))
        except ModuleNotFoundError as error:
            raise RunError(f"{self.vocab} needs the package tokenizers; {how_to_install('bpe')}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{self.vocab} is damaged: {error}") from error

    def rows(self) -> list[Row]:
        """Return the rows of metrics.

        Raises
        ------
        RunError
            If a line is damaged.
        """
        rows = []
        *lines, _ = self.metrics.read().split(b"\n")  # the last may not be written to its end yet
        for number, line in enumerate(lines, 1):
            try:
                row = parse_json(line)
            except ValueError as error:
                raise RunError(f"{self.metrics.path}, line {number} is damaged: {error}") from None
            if not isinstance(row, dict):
                raise RunError(f"{self.metrics.path}, line {number} is damaged: it is not a JSON object")
            rows.append(row)
        return rows

    # -------------------------------------------------------------------------------------------------- checkpoints

    def load_checkpoint(self, name: str = "latest") -> Snapshot:
        """Read a checkpoint: "latest", "best" (by the held-out loss), or a name such as "step-200".

        Its weights are ``arrays["weights"]``, made for a model's ``load_state_dict``, and `evaluated_weights`, which
        are averaged where the run averages. Where the latest one is damaged, the newest whole one takes its place, with
        a warning.

        Raises
        ------
        CheckpointError
            If it is not there or damaged.
        """
        if name != "best":
            return self._checked(self.checkpoints.load(name))
        while True:
            latest = self._checked(self.checkpoints.load())
            best = latest.state["best_step"]
            if best is None or best == latest.state["step"]:
                return latest
            try:
                return self._checked(self.checkpoints.load(f"step-{best}"))
            except CheckpointError as error:
                if self._checked(self.checkpoints.load()).state["best_step"] == best:
                    whole = f"the latest one, step-{latest.state['step']}, is whole"
                    raise CheckpointError(f"{error}; that is the best checkpoint; {whole}") from None
                # A run that is going on has a new best one, and removed this one meanwhile.

    def find_checkpoint(self, name: str = "latest") -> Found | None:
        """Return the checkpoint that a run is to be continued from, or None if it has none yet. Nothing is changed.

        Parameters
        ----------
        name : str
            "latest", "best", or a name such as "step-200".

        Raises
        ------
        CheckpointError
            If it is damaged; for "latest", if none is whole.
        RunError
            If there must have been checkpoints, and there are none.
        """
        if not self.checkpoints.exists() and name == "latest":
            for log in (self.metrics, self.samples):
                if log.read():
                    raise RunError(
                        f"{self.checkpoints.folder} holds no checkpoint, though {log.path} tells of training: restore "
                        f"the folder from a copy, or begin the run again"
                    )
            return None
        if name == "best":
            latest = self._checked(self.checkpoints.load())
            best = latest.state["best_step"]
            name = f"step-{latest.state['step'] if best is None else best}"
        found = self.checkpoints.find(name)
        self._checked(found.snapshot)
        return found

    def find_checkpoint_with(self, ranks: Ranks, name: str = "latest") -> Found | None:
        """Do what `find_checkpoint` does, on rank 0, which tells the others."""

        def find() -> tuple[Any, ...] | None:
            found = self.find_checkpoint(name)
            return None if found is None else found.told()

        told = ranks.from_main(find)
        return None if told is None else Found.of(told)

    def fixed_fingerprints(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the files that stay as they are from the beginning."""
        fixed = (path for path in (self.config, self.vocab) if path.exists())
        return {path.name: fingerprint(durable.read_file(path)) for path in fixed}

    def log_fingerprints(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the files that grow."""
        return {log.path.name: log.fingerprint() for log in (self.metrics, self.samples)}

    def check_unchanged(self, name: str, snapshot: Snapshot) -> None:
        """Raise RunError unless a file is what it was at a checkpoint; metrics and samples may hold more by now.

        A file may be missing that the checkpoint does not know: a run of Python code needs no config.yaml.
        """
        if name not in snapshot.state["files"]:
            return
        try:
            content = durable.read_file(self.path / name)
        except FileNotFoundError:
            if name not in LOGS:
                raise RunError(f"{self.path / name} is missing: {self._remedy(name)}") from None
            content = b""  # as before the first line
        self._check(name, content, snapshot)

    def restore_codec(self, codec: Codec, snapshot: Snapshot) -> None:
        """Write a vocabulary that was lost, if `codec` is the same.

        Raises
        ------
        RunError
            If it is another one.
        """
        content = _codec_content(codec)
        if fingerprint(content) != snapshot.state["files"].get("vocab.json"):
            raise RunError(
                f"{self.vocab} is missing, and the one made of the corpus now is another: restore it from a copy"
            )
        durable.replace_file(self.vocab, content)

    def _checked(self, snapshot: Snapshot) -> Snapshot:
        check_run_state(snapshot)
        return snapshot

    def _check(self, name: str, content: bytes, snapshot: Snapshot) -> None:
        """Raise RunError unless a file begins with, or is, what it held at a checkpoint."""
        expected = snapshot.state["files"].get(name)
        if expected is not None and not _fits(name, content, expected):
            there = f"{len(content):,} bytes where it had {expected['bytes']:,}"
            how = "cut" if len(content) < expected["bytes"] else "edited or damaged"
            raise RunError(
                f"{self.path / name} was {how} since the checkpoint of step {snapshot.state['step']}"
                f"{f' ({there})' if how == 'cut' else ''}: {self._remedy(name)}"
            )

    def _remedy(self, name: str) -> str:
        if name == "config.yaml":
            return (
                "what may change in a run that goes on are options of --resume (--epochs, --max_steps, --max_minutes, "
                "--threads); for all else begin another one: "
                f"{command_line('train', '--config', self.config)} --output FOLDER"
            )
        if name == "vocab.json":
            again = command_line("train", "--resume", self.path)
            return f"restore it from a copy, or remove it, and `{again}` makes it again"
        content = (self.metrics if name == "metrics.jsonl" else self.samples).read()
        for step in reversed(self.checkpoints.steps()):
            try:
                state = self._checked(self.checkpoints.load(f"step-{step}")).state
            except CheckpointError:
                continue
            if _fits(name, content, state["files"][name]):
                return (
                    f"restore it from a copy, or go back to where it is whole with --checkpoint step-{step}"
                )
        return "restore it from a copy, or begin the run again"


def _fits(name: str, content: bytes, expected: Mapping[str, Any]) -> bool:
    """Return whether a file holds what it held; metrics and samples may hold more by now."""
    return fingerprint(content[: expected["bytes"]] if name in LOGS else content) == expected


def _codec_content(codec: Codec) -> bytes:
    return (json.dumps(codec.to_dict(), ensure_ascii=False) + "\n").encode()
