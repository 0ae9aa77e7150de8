"""bAbI task 1: questions about where somebody is, and a simulator that tells stories of that form."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import NamedTuple

from .._text import read_text
from ._source import DataError, root_of

_STAND_IN_QUESTIONS = (1_000, 200)  # to train on, to test
_PEOPLE = ("Anna", "Boris", "Clara", "David")
_ROOMS = ("attic", "cellar", "garage", "library", "studio", "terrace")
_MOVES = ("walked to", "ran to", "went to", "returned to", "hurried to")


class Question(NamedTuple):
    """A question about a story.

    Attributes
    ----------
    story : list of str
        The sentences told so far, those before earlier questions included, each with its stop.
    question : str
        Such as ``"Where is John?"``.
    answer : str
        One word.

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> datasets.Question(["John went to the garden."], "Where is John?", "garden").answer
    'garden'
    """

    story: list[str]
    question: str
    answer: str


class Babi(NamedTuple):
    """Questions to train on and questions to test.

    Attributes
    ----------
    train, test : list of Question

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> datasets.Babi._fields
    ('train', 'test')
    """

    train: list[Question]
    test: list[Question]


def babi_qa1(
    folder: str | os.PathLike[str] | None = None, *, download: bool = True, stand_in: bool = False
) -> Babi:
    """Return bAbI task 1 (Weston et al., 2015): one supporting fact answers each question.

    Parameters
    ----------
    folder : path-like, optional
        Where to look first; see :mod:`rondeau.data.datasets` for where else.
    download : bool
        Download it (in an archive of all tasks) where it is nowhere.
    stand_in : bool
        Where it cannot be had, return 1,000 and 200 questions about simulated stories of the same form.

    Returns
    -------
    Babi
        10,000 questions to train on (the en-10k edition) and 1,000 to test.

    Raises
    ------
    DataError
        If it cannot be had, or a file of it is damaged.

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> asked = datasets.babi_qa1(download=False, stand_in=True).train[0]
    >>> len(asked.story), asked.question.startswith("Where is ")
    (2, True)
    """
    root = root_of("babi_qa1", folder, download=download, stand_in=stand_in)
    if root is None:
        random = Random(6)
        return Babi(*(_simulated(random, count) for count in _STAND_IN_QUESTIONS))
    return Babi(
        *(_read(root / "babi" / f"qa1_single-supporting-fact_{part}.txt") for part in ("train", "test"))
    )


def _read(path: Path) -> list[Question]:
    """Read questions; a line is numbered within its story, and a question has its answer and facts behind tabs."""
    questions = []
    story: list[str] = []
    for line in read_text(path).splitlines():
        if not line.strip():
            continue
        number, _, told = line.partition(" ")
        if number == "1":
            story = []
        question, *rest = told.split("\t")
        if not rest:
            story.append(told.strip())
        elif len(rest) == 2:
            questions.append(Question(story.copy(), question.strip(), rest[0]))
        else:
            raise DataError(
                f"{path}: expected a question, its answer and its fact between tabs, got {line!r}"
            )
    return questions


def _simulated(random: Random, count: int) -> list[Question]:
    """Ask after every second move of four people through a house; a story ends after five questions."""
    questions: list[Question] = []
    while len(questions) < count:
        story: list[str] = []
        where: dict[str, str] = {}
        for _ in range(min(5, count - len(questions))):
            for _ in range(2):
                person = random.choice(_PEOPLE)
                where[person] = random.choice([room for room in _ROOMS if room != where.get(person)])
                story.append(f"{person} {random.choice(_MOVES)} the {where[person]}.")
            asked = random.choice(list(where))
            questions.append(Question(story.copy(), f"Where is {asked}?", where[asked]))
    return questions
