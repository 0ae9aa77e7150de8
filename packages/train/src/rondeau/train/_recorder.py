"""The callback that writes a run's folder while it is trained, and continues from it."""

import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from rondeau.data import Codec
from rondeau.kernels.runtime.caller import warn_caller
from rondeau.train._callback import Callback, Row
from rondeau.train._checkpoint import Found, Snapshot
from rondeau.train._checks import check_integer, check_is
from rondeau.train._errors import CheckpointError, RunError, RunWarning
from rondeau.train._generate import generate
from rondeau.train._run import RunFolder
from rondeau.train._run_state import Limits
from rondeau.train._showing import visible
from rondeau.train._tasks.task import Scored
from rondeau.train._trainer import Trainer


class Recorder(Callback):
    """Writes a run's metrics and checkpoints, those of a language model with vocabulary and samples, and continues.

    A checkpoint is written before the first step, after every evaluation, every `checkpoint_every` steps, and at the
    end; so there is always one to continue from. It holds the weights that are trained and, where they are averaged,
    the averages, of which samples are then. Weights that are not finite are never written: the training ends with
    a `DivergedError`, and the checkpoints before stay. The folder is locked from `resume`, or the beginning of the
    training, to its end. With ranks, rank 0 locks and writes, and the others wait until it has.

    Parameters
    ----------
    run : RunFolder
    codec : Codec, optional
        Of a language model, for its samples; written at the beginning of a run.
    corpus : mapping, optional
        What identifies the data, as ``{"name": ..., "sha256": ...}``; `resume` refuses other data.
    checkpoint_every : int, optional
        Steps.
    prompt : str, optional
        What the samples begin with; needed with a codec.

    Raises
    ------
    RunError
        When the training begins, and the folder holds a run that was not resumed, or another process writes there.

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
        codec: Codec | None = None,
        corpus: Mapping[str, Any] = MappingProxyType({}),
        *,
        checkpoint_every: int | None = None,
        prompt: str | None = None,
    ) -> None:
        check_is("run", run, RunFolder)
        if codec is not None:
            check_is("codec", codec, Codec)
        check_is("corpus", corpus, Mapping)
        if codec is not None or prompt is not None:
            check_is("prompt", prompt, str)
        if checkpoint_every is not None:
            check_integer("checkpoint_every", checkpoint_every, 1, " step")
        self.run, self.codec, self.corpus = run, codec, dict(corpus)
        self.checkpoint_every, self.prompt = checkpoint_every, prompt
        self._saved_at: int | None = None
        self._evaluated_at: int | None = None
        self._fixed_files: dict[str, Any] = {}
        self._has_locked = False

    def resume(self, trainer: Trainer, checkpoint: str = "latest") -> None:
        """Bring `trainer`, metrics and samples back to a checkpoint; where there is none yet, to the beginning.

        What was written after that checkpoint is dropped. Where the latest one is damaged, the newest whole one is
        taken, with a warning; what is damaged is never deleted, but set aside.

        Parameters
        ----------
        trainer : Trainer
            Made with the same arguments as the one that was recorded; what ends it may differ.
        checkpoint : str
            "latest", "best", or a name such as "step-200".

        Raises
        ------
        CheckpointError
            If the checkpoint is damaged, or of another corpus or model.
        RunError
            If a file of the run was edited or damaged since, or another process writes there.
        """
        from_main = trainer.parallel.from_main
        from_main(self._lock)
        try:
            found = self.run.find_checkpoint_with(trainer.parallel, checkpoint)
            if found is not None:
                self.continue_from(found, trainer)
        except BaseException:
            self._unlock()
            raise

    def continue_from(self, found: Found, trainer: Trainer) -> None:
        """Do what `resume` does, from a checkpoint that has been found already; the folder must be locked.

        Parameters
        ----------
        found : Found
            What `RunFolder.find_checkpoint` returned.
        trainer : Trainer

        Raises
        ------
        CheckpointError, RunError
            As `resume`. Nothing has changed then.
        """
        snapshot = found.snapshot
        corpus = snapshot.state["corpus"]
        if corpus != self.corpus:
            raise CheckpointError(
                f"the corpus has changed since the run began: was {corpus}, as {snapshot.path} says, is {self.corpus}"
            )
        trainer.parallel.from_main(lambda: self._check_files(snapshot))
        trainer.restore(snapshot)
        # All is well: from here on, files are changed.
        if not trainer.parallel.from_main(lambda: self._go_back(found, trainer.best_step)):
            trainer.best_loss = trainer.best_step = None
        self._saved_at = trainer.step

    def _check_files(self, snapshot: Snapshot) -> None:
        for name in ("config.yaml", "metrics.jsonl", "samples.txt"):
            self.run.check_unchanged(name, snapshot)
        if self.run.vocab.exists():
            self.run.check_unchanged("vocab.json", snapshot)

    def _go_back(self, found: Found, best: int | None) -> bool:
        """Bring the folder back to a checkpoint; return whether the best one is there, if there has been one."""
        snapshot, checkpoints = found.snapshot, self.run.checkpoints
        if found.instead_of_latest is not None:
            _warn(f"{found.instead_of_latest}; continued from step-{found.step}, the newest whole checkpoint")
        for step, problem in found.damaged.items():
            _warn(f"{problem}; set aside as {checkpoints.name_aside(step)}")
        checkpoints.rewind(found, () if best is None else (best,))
        for log in (self.run.metrics, self.run.samples):
            log.cut(snapshot.state["files"][log.path.name]["bytes"])
        if self.codec is not None and not self.run.vocab.exists():
            self.run.restore_codec(self.codec, snapshot)
            _warn(f"{self.run.vocab} was missing, and was made again from the corpus")
        is_there = best is None or best in checkpoints.steps()
        if not is_there:
            _warn(
                f"the best checkpoint so far, step-{best}, is lost: from here on, the best is counted again"
            )
        self._fixed_files = self.run.fixed_fingerprints()
        return is_there

    def on_begin(self, trainer: Trainer) -> None:
        """Write tokenizer, vocabulary and the first checkpoint of a new run, and compile what samples need.

        Compiled at the first evaluation, that would hold up an interruption which has steps to keep.
        """
        from_main = trainer.parallel.from_main
        if from_main(self._begins_anew):
            self._save(trainer)
        if trainer.end_reached() is None:
            from_main(lambda: self._go_on(trainer))

    def _begins_anew(self) -> bool:
        """Lock and check the folder, and write what a new run begins with; return whether this is one."""
        self._lock()
        there = self.run.checkpoints.published_step()
        if there != self._saved_at or (there is None and self.run.checkpoints.exists()):
            raise RunError(
                f"{self.run.path} holds a run already: continue it with resume(trainer), or choose another folder"
            )
        if there is None:
            self.run.clean()
            if self.codec is not None:
                self.run.save_codec(self.codec)
            self._fixed_files = self.run.fixed_fingerprints()
        return there is None

    def _go_on(self, trainer: Trainer) -> None:
        self.run.results.remove()  # of a run that had ended, and goes on
        if self.codec is not None and trainer.held_out is not None:
            # The first token follows from the prompt, the second from a step.
            self._sample(trainer, self.codec, length=2)

    def on_row(self, trainer: Trainer, row: Row) -> None:
        """Append a row of metrics; what another callback has put there that is not finite as null, as JSON has it."""
        if not trainer.parallel.is_main:
            return
        finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
        self.run.metrics.append(json.dumps(finite, allow_nan=False) + "\n")

    def on_evaluate(self, trainer: Trainer, evaluation: Scored) -> None:
        """Append a sample of what a language model writes now."""
        self._evaluated_at = trainer.step
        if self.codec is not None and trainer.parallel.is_main:
            text = visible(self._sample(trainer, self.codec, self.sample_length))
            title = f"step {trainer.step}, {evaluation.headline()}"
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
        self._unlock()

    def on_error(self, trainer: Trainer, error: BaseException) -> None:
        """Leave the folder to whoever continues the run."""
        self._unlock()

    def _sample(self, trainer: Trainer, codec: Codec, length: int) -> str:
        prompt = self.prompt or ""
        return prompt + "".join(generate(trainer.evaluated_model, codec, prompt, length, seed=trainer.step))

    def _save(self, trainer: Trainer) -> None:
        trainer.check_finite()  # a checkpoint that cannot be continued from must not take the place of one that can
        snapshot = trainer.snapshot()
        trainer.parallel.from_main(lambda: self._write(trainer, snapshot))
        self._saved_at = trainer.step

    def _write(self, trainer: Trainer, snapshot: Snapshot) -> None:
        limits = Limits(trainer.max_epochs, trainer.max_steps, trainer.max_minutes)
        snapshot.state.update(
            corpus=self.corpus,
            files={**self._fixed_files, **self.run.log_fingerprints()},
            limits=limits._asdict(),
        )
        best = () if trainer.best_step is None else (trainer.best_step,)
        self.run.checkpoints.save(trainer.step, snapshot, also_keep=best)

    def _lock(self) -> None:
        if not self.run.lock.is_held:
            self.run.lock.acquire()
            self._has_locked = True

    def _unlock(self) -> None:
        if self._has_locked:
            self.run.lock.release()
            self._has_locked = False


def _warn(message: str) -> None:
    warn_caller(message, RunWarning)
