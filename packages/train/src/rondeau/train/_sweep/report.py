"""What came out of a sweep: a table of its trials, what mattered, and two pictures."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rondeau.tensor.files import durable
from rondeau.train._extras import how_to_install
from rondeau.train._plots import can_plot, draw_history, draw_importances
from rondeau.train._program import command_line
from rondeau.train._showing import counted
from rondeau.train._sweep.folder import Outcome, SweepFolder, SweepTrial
from rondeau.train._sweep.student import spread_of

_CONFIDENCE = 0.95
_WORDS: dict[Outcome, str] = {
    "finished": "trained to the end",
    "stopped": "stopped as unpromising",
    "diverged": "diverged",
    "failed": "failed",
    "unfinished": "going on, or interrupted",
}


def describe_trials(sweep: SweepFolder) -> Iterator[str]:
    """Yield the lines of a sweep's report, and draw its pictures where matplotlib is installed."""
    trials = sweep.trials
    yield f"{sweep.path}: {_count(trials)}"
    if not trials:
        return
    yield from _table(trials, list(sweep.space))
    if importances := sweep.importances():
        shares = ", ".join(f"{name} {share:.2f}" for name, share in importances.items())
        finished = sum(trial.outcome == "finished" for trial in trials)
        yield f"importance for the best tenth of {finished} trials (PED-ANOVA; rough where these are few): {shares}"
    if can_plot():
        yield from _draw(sweep, trials, importances)
    else:
        yield f"plots: not drawn, since matplotlib is missing; {how_to_install('plot')}"
    if (best := sweep.best) is not None:
        yield f"best: trial {best.number}, {best.run.path}"
        if best.run.config.is_file():
            yield f"with other seeds: {command_line('sweep', best.run.config, '--seeds', '5')}"


def describe_seeds(sweep: SweepFolder) -> Iterator[str]:
    """Yield the lines of a report on runs that differ in their seeds."""
    trials = sweep.trials
    yield f"{sweep.path}: {_count(trials)}"
    yield from _table(trials, list(sweep.space))
    losses = [trial.loss for trial in trials if trial.outcome == "finished" and trial.loss is not None]
    if len(losses) < 2:
        yield "mean and spread need two runs that were trained to their end"
        return
    spread = spread_of(losses, _CONFIDENCE)
    yield (
        f"held-out loss of {len(losses)} seeds: mean {spread.mean:.4f}, standard deviation {spread.deviation:.4f}, "
        f"{100 * _CONFIDENCE:g} % confidence interval of the mean {spread.low:.4f} to {spread.high:.4f} "
        f"(Student's t, {counted(len(losses) - 1, 'degree')} of freedom)"
    )


def describe_values(trial_values: dict[str, Any]) -> str:
    """Return the values of a trial as a line shows them."""
    return ", ".join(f"{name} {_shown(value)}" for name, value in trial_values.items())


def describe_loss(loss: float) -> str:
    """Return a loss with its perplexity.

    >>> describe_loss(1.5)
    '1.5000 (perplexity 4.482)'
    """
    return f"{loss:.4f} (perplexity {math.exp(min(loss, 700)):.3f})"


def _count(trials: Sequence[SweepTrial]) -> str:
    found = Counter(trial.outcome for trial in trials)
    parts = [f"{found[outcome]:,} {words}" for outcome, words in _WORDS.items() if found[outcome]]
    return f"{counted(len(trials), 'trial')}{': ' if parts else ''}{', '.join(parts)}"


def _table(trials: Sequence[SweepTrial], names: Sequence[str]) -> Iterator[str]:
    """Yield the rows of a table: trained ones by their loss, then the others."""
    order = {outcome: position for position, outcome in enumerate(_WORDS)}
    ranked = sorted(
        trials, key=lambda t: (order[t.outcome], math.inf if t.loss is None else t.loss, t.number)
    )
    rows = [["trial", "held-out loss", *names, ""]]
    for trial in ranked:
        loss = "-" if trial.loss is None else f"{trial.loss:.4f}"
        outcome = "" if trial.outcome == "finished" else trial.outcome
        reason = f": {trial.reason}" if trial.reason else ""
        values = [_shown(trial.values[name]) if name in trial.values else "-" for name in names]
        rows.append([str(trial.number), loss, *values, outcome + reason])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[-1]]).rstrip()


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _draw(sweep: SweepFolder, trials: Sequence[SweepTrial], importances: dict[str, float]) -> Iterator[str]:
    losses = {t.number: t.loss for t in trials if t.outcome == "finished" and t.loss is not None}
    stopped = {t.number: t.loss for t in trials if t.outcome == "stopped" and t.loss is not None}
    pictures = {}
    if losses:
        pictures["history.png"] = draw_history(losses, stopped)
    if importances:
        pictures["importance.png"] = draw_importances(importances)
    for name, picture in pictures.items():
        durable.save_file(sweep.path / name, picture)
    if pictures:
        yield f"plots: {', '.join(str(sweep.path / name) for name in pictures)}"
