"""Names: first names, surnames by language, and invented ones of their form."""

from __future__ import annotations

import os
from random import Random

from .._text import read_text
from ._registry import LANGUAGES
from ._source import root_of

_STAND_IN_NAMES = 2_000
_STAND_IN_SURNAMES = 60  # of a language, times its weight below

# How the stand-ins sound: onsets, vowels, codas, endings, and how many of a language there are for one of the rarest.
# Invented for this purpose: they differ as languages do, and say nothing about any.
_FIRST_NAMES = ("b br d f g j k l m n r s t v z", "a a e i o u ia", "l n r s", "a e ia n y lyn el son")
_SOUNDS: dict[str, tuple[str, str, str, str, int]] = {
    "Arabic": ("b f gh h k kh m n q s sh", "a a i aa ou", "h l m r", "i ari ad een awi", 4),
    "Chinese": ("ch g h l q sh w x zh", "a ao e ia ie u", "n ng", "ng ao u n", 2),
    "Czech": ("b d h k m n p s v z", "a e i o u y", "ch k l r v", "ek ka ova sky ik", 2),
    "Dutch": ("b d g h k m r s v w", "aa a ee e oo o", "k l n r s", "en aard stra man eren", 2),
    "English": ("b c d f h l m r s t w", "a e ea i o oo", "l n r t", "son ton ford er ley", 5),
    "French": ("b c d f g l m p r v", "a e i o ou eau", "l n r s", "eau ier ard é oux", 2),
    "German": ("b d f g h k l m sch w", "a e ei i o ü", "ch l n r t", "mann er stein berg ner", 3),
    "Greek": ("d g k l m n p s st v", "a e i o ou", "k l n r", "opoulos akis idis as os", 2),
    "Irish": ("b c d f k m n s t", "a ea i o ó u", "ch gh l n", "gan ley án nagh ey", 2),
    "Italian": ("b c d f g l m p r v", "a e i o u", "ll n rr tt", "ini etti one ella o", 3),
    "Japanese": ("h k m n s sh t y", "a i o u e", "n", "moto mura yama ko zaki", 4),
    "Korean": ("b ch d g h j k s y", "a eo i o u ye", "k m n ng", "ng n k m", 1),
    "Polish": ("b d g j k m p sz w z", "a e i o y", "cz l n r", "ski czyk wicz ak cki", 1),
    "Portuguese": ("b c f g l m p r t", "a e i o ei", "l m r s", "eira es inho ão osa", 1),
    "Russian": ("b d g k m n p t v zh", "a e i o u ya", "k l n r v", "ov ev in sky enko", 8),
    "Scottish": ("b c d g k l m r", "a e i o u", "l n r ck", "ie an son well ay", 1),
    "Spanish": ("b c d g l m n p r v", "a e i o u", "l n r s", "ez ero era illo aña", 2),
    "Vietnamese": ("b d h l ng nh ph th tr v", "a i o u uye", "c n ng nh", "nh ng c n", 1),
}


def names(
    folder: str | os.PathLike[str] | None = None, *, download: bool = True, stand_in: bool = False
) -> list[str]:
    """Return first names in lower case, those of karpathy/makemore, in the order of its file.

    Parameters
    ----------
    folder : path-like, optional
        Where to look first; see :mod:`rondeau.data.datasets` for where else.
    download : bool
        Download them where they are nowhere.
    stand_in : bool
        Where they cannot be had, return 2,000 invented ones.

    Returns
    -------
    list of str
        32,033 names (29,494 different ones) of 2 to 15 of the letters a to z.

    Raises
    ------
    DataError
        If they cannot be had, or their file is damaged.

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> names = datasets.names(download=False, stand_in=True)
    >>> set("".join(names)) <= set("abcdefghijklmnopqrstuvwxyz")
    True
    """
    root = root_of("names", folder, download=download, stand_in=stand_in)
    if root is not None:
        return read_text(root / "names.txt").split()
    return _invented(Random(3), _STAND_IN_NAMES, *_FIRST_NAMES)


def names_by_language(
    folder: str | os.PathLike[str] | None = None, *, download: bool = True, stand_in: bool = False
) -> dict[str, list[str]]:
    """Return surnames of 18 languages, those of spro/practical-pytorch.

    Parameters
    ----------
    folder : path-like, optional
        Where to look first; see :mod:`rondeau.data.datasets` for where else.
    download : bool
        Download them where they are nowhere.
    stand_in : bool
        Where they cannot be had, return some 3,000 invented ones.

    Returns
    -------
    dict of str to list of str
        From the language, in alphabetical order, to its surnames in the order of its file: 20,074 in all, with the
        repetitions of the source; spaces around a name are dropped.

    Raises
    ------
    DataError
        If they cannot be had, or a file of them is damaged.

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> surnames = datasets.names_by_language(download=False, stand_in=True)
    >>> len(surnames), next(iter(surnames))
    (18, 'Arabic')
    """
    root = root_of("names_by_language", folder, download=download, stand_in=stand_in)
    if root is None:
        random = Random(4)
        return {
            language: [name.capitalize() for name in _invented(random, _STAND_IN_SURNAMES * weight, *sounds)]
            for language, (*sounds, weight) in _SOUNDS.items()
        }
    surnames = {}
    for language in LANGUAGES:
        lines = read_text(root / "names_by_language" / f"{language}.txt").split("\n")
        surnames[language] = [line.strip() for line in lines if line.strip()]
    return surnames


def _invented(random: Random, count: int, onsets: str, vowels: str, codas: str, endings: str) -> list[str]:
    """Make different names of one to three syllables and an ending."""
    made: dict[str, None] = {}
    while len(made) < count:
        name = ""
        for _ in range(random.choices((1, 2, 3), (4, 4, 1))[0]):
            name += random.choice(onsets.split()) + random.choice(vowels.split())
            if random.random() < 0.3:
                name += random.choice(codas.split())
        made[name + random.choice(endings.split())] = None
    return list(made)
