"""How far a run is: a bar on a terminal, plain lines in a file or pipe."""

import sys
import time
from typing import TextIO

from tqdm import tqdm

from rondeau.train._callback import Callback, Row
from rondeau.train._interruption import INTERRUPTED
from rondeau.train._trainer import Trainer

# Seconds between plain lines; evaluations are always told.
_PAUSE = 10.0


class Progress(Callback):
    """Tells the loss, the score of what is held out, the pace and the time left.

    Where nobody reads it any more, as when a pipe was closed, it stops the trainer as an interruption does.

    Parameters
    ----------
    stream : text file, optional
        Default: standard error.

    Examples
    --------
    >>> from rondeau import data, nn, tensor as rt, train
    >>> _ = rt.manual_seed(0)
    >>> model = nn.LanguageModel(vocab_size=3, recurrent="gru", hidden_size=8)
    >>> optimizer = train.optim.Adam(model.parameters(), lr=0.05)
    >>> batches = data.SequentialBatches(data.TokenStream([0, 1, 2] * 40), 2, 5)
    >>> train.Trainer(model, optimizer, batches, max_steps=40, callbacks=[Progress(sys.stdout)]).fit()
    ... # doctest: +ELLIPSIS
    step 40/40  epoch 3  loss ... tokens/s  0:00 left
    """

    main_only = True

    def __init__(self, stream: TextIO | None = None) -> None:
        self._given_stream = stream
        self._bar: tqdm | None = None  # type: ignore[type-arg]  # generic in its stubs only
        self._told_at = -_PAUSE

    @property
    def stream(self) -> TextIO:
        """What was given, or standard error as it is now: a copy of a trainer, in another process too, has its own."""
        return sys.stderr if self._given_stream is None else self._given_stream

    def on_begin(self, trainer: Trainer) -> None:
        """Start the clock, and the bar where there is a terminal."""
        self._start_clock(trainer)
        self._has_stepped = False
        if self.stream.isatty():
            self._bar = tqdm(
                total=trainer.total_steps,
                initial=trainer.step,
                file=self.stream,
                unit=" steps",
                dynamic_ncols=True,
            )

    def on_step(self, trainer: Trainer) -> None:
        """Move the bar; after the first step, in which kernels are compiled, restart the clock."""
        if not self._has_stepped:
            self._has_stepped = True
            self._start_clock(trainer)
        if self._bar is not None:
            self._bar.update(trainer.step - self._bar.n)

    def on_row(self, trainer: Trainer, row: Row) -> None:
        """Show the losses."""
        if self._bar is not None:
            parts = [f"epoch {row['epoch']}", f"loss {row['train_loss']:.3f}", self._pace(trainer)]
            if trainer.evaluation is not None:
                parts.append(trainer.evaluation.headline())
            self._bar.set_postfix_str(", ".join(parts))
        elif "held_out_loss" in row or time.monotonic() - self._told_at >= _PAUSE:
            self._told_at = time.monotonic()
            try:
                print(self._line(trainer, row), file=self.stream, flush=True)
            except BrokenPipeError:
                trainer.stop(INTERRUPTED)

    def on_end(self, trainer: Trainer) -> None:
        """Close the bar."""
        self.close()

    def on_error(self, trainer: Trainer, error: BaseException) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Close the bar, also where an error or a signal ends the training: what is said of that has its own line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _line(self, trainer: Trainer, row: Row) -> str:
        total = trainer.total_steps
        parts = [
            f"step {row['step']:,}" + (f"/{total:,}" if total else ""),
            f"epoch {row['epoch']}",
            f"loss {row['train_loss']:.3f}",
        ]
        if "held_out_loss" in row and trainer.evaluation is not None:
            parts.append(trainer.evaluation.headline())
        parts.append(self._pace(trainer))
        if total:
            parts.append(f"{self._time_left(trainer, total)} left")
        return "  ".join(parts)

    def _start_clock(self, trainer: Trainer) -> None:
        self._before = trainer.step, trainer.num_seen, trainer.seconds

    def _pace(self, trainer: Trainer) -> str:
        _, seen, seconds = self._before
        pace = (trainer.num_seen - seen) / max(trainer.seconds - seconds, 1e-9)
        return f"{pace:,.0f} {trainer.task.unit}/s"

    def _time_left(self, trainer: Trainer, total_steps: int) -> str:
        """Return the time that the remaining steps will take at the pace of this process, as minutes:seconds."""
        step, _, seconds = self._before
        pace = (trainer.step - step) / max(trainer.seconds - seconds, 1e-9)
        minutes, rest = divmod(round((total_steps - trainer.step) / max(pace, 1e-9)), 60)
        return f"{minutes}:{rest:02}"


def write_line(line: str) -> None:
    """Print a line on standard error, above a bar that is shown there."""
    tqdm.write(line, file=sys.stderr)
