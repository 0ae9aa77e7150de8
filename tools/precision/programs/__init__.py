"""Programs of this repository that train a model, each with the one number that says how well it ended."""

from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rondeau.data import datasets

from ...makemore.recipe import first_names
from ...makemore.training import run
from ...surnames.recipe import Surnames
from ...surnames.training import accuracies
from . import adding, digits


class Program(NamedTuple):
    """A training.

    Attributes
    ----------
    figure : str
        What its number is.
    length : int
        Of the training, in steps; in epochs for `surnames`.
    end : callable
        Takes the folder of the data sets, a seed and a length, trains, and returns the number.
    """

    figure: str
    length: int
    end: Callable[[Path, int, int], float]


def _makemore(model: str, folder: Path, seed: int, steps: int) -> float:
    return list(run(first_names(folder / "names.txt"), model, steps, seed, steps))[-1].held_out_loss


def _surnames(folder: Path, seed: int, epochs: int) -> float:
    *_, end = islice(accuracies(Surnames(folder / "names_by_language", seed), seed), epochs)
    return end


def _digits(network: str, folder: Path, seed: int, steps: int) -> float:
    return digits.accuracy(datasets.mnist(folder, download=False), network, seed, steps)


def _adding(cell: str, folder: Path, seed: int, steps: int) -> float:
    return adding.error(cell, seed, steps)


PROGRAMS = {
    **{
        f"makemore, {model}": Program("held-out loss, nats", 3000, partial(_makemore, model))
        for model in ("mlp", "rnn", "gru", "lstm")
    },
    "surnames, GRU in both directions": Program("right, of the test surnames", 3, _surnames),
    "adding problem, LSTM": Program("mean square error, last 100 steps", 1000, partial(_adding, "lstm")),
    "adding problem, GRU": Program("mean square error, last 100 steps", 1000, partial(_adding, "gru")),
    "MNIST, five layers": Program("right, of the test digits", 938, partial(_digits, "five layers")),
    "MNIST, LSTM over rows of pixels": Program("right, of the test digits", 938, partial(_digits, "lstm")),
}
