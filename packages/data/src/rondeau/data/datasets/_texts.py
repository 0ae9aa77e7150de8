"""Texts: Shakespeare's plays, The Time Machine, and generated ones of their form."""

from __future__ import annotations

import os
from random import Random
from textwrap import fill

from .._checks import check_is
from .._text import read_text
from ._registry import DATASETS, TEXTS
from ._source import root_of

_STAND_IN_CHARACTERS = 60_000  # enough for a character model to learn words from

# The vocabulary of the stand-ins. Earlier words are drawn more often, as in a language.
_ARTICLES = ("the", "a", "this", "every", "that", "some")
_ADJECTIVES = (
    "old",
    "small",
    "quiet",
    "bright",
    "strange",
    "cold",
    "green",
    "heavy",
    "broken",
    "golden",
    "narrow",
)
_NOUNS = (
    *("house", "river", "man", "light", "night", "garden", "clock", "stone", "bird", "door", "road", "child"),
    *("window", "ship", "fire", "letter", "mountain", "wheel", "shadow", "lamp", "winter", "bridge", "bell"),
)
_VERBS = (
    *("found", "saw", "left", "carried", "followed", "crossed", "opened", "watched", "heard", "held", "lost"),
    *("kept", "passed", "forgot", "painted", "answered", "mended", "guarded"),
)
_PREPOSITIONS = ("under", "behind", "beyond", "beside", "near", "within", "above", "across")
_ADVERBS = ("slowly", "again", "at last", "once more", "in silence", "before dawn")
_SPEAKERS = ("ORLA", "EDWYN", "First Sailor", "Second Sailor", "LADY MIRREN", "WATCHMAN")


def tinyshakespeare(
    folder: str | os.PathLike[str] | None = None, *, download: bool = True, stand_in: bool = False
) -> str:
    """Return some of Shakespeare's plays as one text, that of karpathy/char-rnn.

    Parameters
    ----------
    folder : path-like, optional
        Where to look first; see :mod:`rondeau.data.datasets` for where else.
    download : bool
        Download it where it is nowhere.
    stand_in : bool
        Where it cannot be had, return a generated text of the same form.

    Returns
    -------
    str
        1,115,394 characters, 65 of them distinct.

    Raises
    ------
    DataError
        If it cannot be had, or its file is damaged.

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> text = datasets.tinyshakespeare(download=False, stand_in=True)
    >>> text.splitlines()[0].endswith(":")
    True
    """
    root = root_of("tinyshakespeare", folder, download=download, stand_in=stand_in)
    return _play(Random(1)) if root is None else read_text(root / "tinyshakespeare.txt")


def timemachine(
    folder: str | os.PathLike[str] | None = None, *, download: bool = True, stand_in: bool = False
) -> str:
    """Return The Time Machine by H. G. Wells, as d2l uses it.

    Parameters
    ----------
    folder : path-like, optional
        Where to look first; see :mod:`rondeau.data.datasets` for where else.
    download : bool
        Download it where it is nowhere.
    stand_in : bool
        Where it cannot be had, return a generated text of the same form.

    Returns
    -------
    str
        178,979 characters in lines of some 70.

    Raises
    ------
    DataError
        If it cannot be had, or its file is damaged.

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> text = datasets.timemachine(download=False, stand_in=True)
    >>> len(text) >= 60_000
    True
    """
    root = root_of("timemachine", folder, download=download, stand_in=stand_in)
    return _novel(Random(2)) if root is None else read_text(root / "timemachine.txt")


def load_text(name: str, folder: str | os.PathLike[str] | None = None, *, download: bool = True) -> str:
    """Return the data set of that name as one text, for those that are one (`TEXTS`).

    Parameters
    ----------
    name : str
        One of ``datasets.TEXTS``.
    folder : path-like, optional
        Where to look first.
    download : bool
        Download it where it is nowhere.

    Returns
    -------
    str
        The text of its file.

    Raises
    ------
    ValueError
        If there is no text of that name.
    DataError
        If it cannot be had, or its file is damaged.

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> datasets.TEXTS
    ('names', 'timemachine', 'tinyshakespeare')
    >>> datasets.load_text("mnist")
    Traceback (most recent call last):
        ...
    ValueError: there is no text 'mnist' among the data sets; expected one of names, timemachine, tinyshakespeare
    """
    check_is("name", name, str)
    if name not in TEXTS:
        raise ValueError(f"there is no text {name!r} among the data sets; expected one of {', '.join(TEXTS)}")
    root = root_of(name, folder, download=download, stand_in=False)
    assert root is not None
    (file,) = DATASETS[name].files
    return read_text(root / file.path)


def _drawn(random: Random, words: tuple[str, ...]) -> str:
    """Draw a word with a weight that falls as one over its place in the list (Zipf's law)."""
    return random.choices(words, [1 / (place + 1) for place in range(len(words))])[0]


def _phrase(random: Random) -> str:
    article = _drawn(random, _ARTICLES)
    following = [_drawn(random, _ADJECTIVES)] if random.random() < 0.4 else []
    following.append(_drawn(random, _NOUNS))
    if article == "a" and following[0][0] in "aeiou":
        article = "an"
    return " ".join([article, *following])


def _sentence(random: Random) -> str:
    """Return a sentence without its stop; who did what, and perhaps where, how, and what then."""
    parts = [_phrase(random), _drawn(random, _VERBS), _phrase(random)]
    if random.random() < 0.5:
        parts += [_drawn(random, _PREPOSITIONS), _phrase(random)]
    if random.random() < 0.3:
        parts.append(_drawn(random, _ADVERBS))
    if random.random() < 0.3:
        parts[-1] += ","
        parts += ["and", _drawn(random, _VERBS), _phrase(random)]
    sentence = " ".join(parts)
    return sentence[0].upper() + sentence[1:]


def _play(random: Random) -> str:
    speeches: list[str] = []
    length = 0
    while length < _STAND_IN_CHARACTERS:
        lines = [
            _sentence(random) + random.choices(",;:.!?", (6, 2, 1, 3, 1, 1))[0]
            for _ in range(random.randint(1, 4))
        ]
        lines[-1] = lines[-1][:-1] + random.choice("..!?")
        speech = "\n".join([f"{_drawn(random, _SPEAKERS)}:", *lines])
        speeches.append(speech)
        length += len(speech) + 2
    return "\n\n".join(speeches) + "\n"


def _novel(random: Random) -> str:
    paragraphs = ["The Stand-in, by Nobody"]
    length = 0
    while length < _STAND_IN_CHARACTERS:
        sentences = [f"{_sentence(random)}." for _ in range(random.randint(2, 7))]
        paragraphs.append(fill(" ".join(sentences), 70))
        length += len(paragraphs[-1]) + 2
    return "\n\n".join(paragraphs) + "\n"
