"""Plots of a run and of a corpus, where matplotlib is installed (extra `plot`)."""

import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rondeau.data import NgramTable, ZipfFit


def can_plot() -> bool:
    """Return whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def _figure() -> Any:
    # A Figure of its own, not pyplot: no window, no global state, whatever backend the caller uses.
    from matplotlib.figure import Figure

    return Figure(figsize=(8, 5), layout="constrained")


def draw_curves(rows: Sequence[Mapping[str, Any]], baselines: Mapping[str, float] | None = None) -> bytes:
    """Draw the training and held-out loss over the steps.

    Parameters
    ----------
    rows : sequence of dict
        Of ``metrics.jsonl``.
    baselines : mapping of str to float, optional
        Losses of other models in nats per token, drawn as lines.

    Returns
    -------
    bytes
        A PNG file.
    """
    figure = _figure()
    axes = figure.subplots()
    trained = [row for row in rows if "train_loss" in row]
    axes.plot([r["step"] for r in trained], [r["train_loss"] for r in trained], label="training", alpha=0.7)
    held_out = [row for row in trained if "held_out_loss" in row]
    if held_out:
        axes.plot(
            [r["step"] for r in held_out], [r["held_out_loss"] for r in held_out], "o-", label="held out"
        )
    for i, (name, loss) in enumerate((baselines or {}).items()):
        axes.axhline(loss, linestyle="--", linewidth=1, color=f"C{i + 2}", label=name)
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    axes.legend()
    axes.grid(alpha=0.3)
    return _png(figure)


def plot_zipf(tables: Mapping[str, NgramTable], fits: Mapping[str, ZipfFit], path: Path) -> None:
    """Draw counts over ranks, both logarithmic, with the fitted lines.

    Parameters
    ----------
    tables : mapping of str to NgramTable
        Label -> counts.
    fits : mapping of str to ZipfFit
        Label -> line; a label may be missing.
    path : Path
        A PNG file, replaced.
    """
    figure = _figure()
    axes = figure.subplots()
    for i, (label, table) in enumerate(tables.items()):
        axes.loglog(np.arange(1, len(table) + 1), table.counts, color=f"C{i}", label=label)
        if label in fits:
            fit = fits[label]
            ranks = np.array([fit.first_rank, fit.last_rank])
            line = np.exp(fit.intercept - fit.exponent * np.log(ranks))
            axes.loglog(ranks, line, "--", color=f"C{i}", label=f"exponent {fit.exponent:.2f}")
    axes.set(xlabel="rank", ylabel="count")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, format="png", dpi=120)


def draw_history(losses: Mapping[int, float], stopped: Mapping[int, float]) -> bytes:
    """Draw the held-out losses of trials over their numbers, and the best so far.

    Parameters
    ----------
    losses : mapping of int to float
        Of the trials that were trained to their end.
    stopped : mapping of int to float
        Of those that were not.

    Returns
    -------
    bytes
        A PNG file.
    """
    figure = _figure()
    axes = figure.subplots()
    numbers = sorted(losses)
    found = [losses[number] for number in numbers]
    axes.plot(numbers, found, "o", label="trained to the end")
    if stopped:
        axes.plot(list(stopped), list(stopped.values()), "x", color="C7", label="stopped early")
    axes.step(numbers, np.minimum.accumulate(found) if found else [], where="post", label="best so far")
    axes.set(xlabel="trial", ylabel="lowest held-out loss")
    axes.legend()
    axes.grid(alpha=0.3)
    return _png(figure)


def draw_importances(importances: Mapping[str, float]) -> bytes:
    """Draw how much each name matters for a trial to be among the best.

    Returns
    -------
    bytes
        A PNG file.
    """
    figure = _figure()
    axes = figure.subplots()
    names = list(importances)[::-1]
    axes.barh(names, [importances[name] for name in names])
    axes.set(xlabel="importance for the best tenth of the trials (PED-ANOVA)", xlim=(0, 1))
    axes.grid(alpha=0.3, axis="x")
    return _png(figure)


def _png(figure: Any) -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120)
    return png.getvalue()
