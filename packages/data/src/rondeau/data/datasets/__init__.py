"""The small public data sets of the texts that teach recurrent networks, each one function.

Every function takes ``(folder=None, *, download=True, stand_in=False)`` and looks for its files in `folder`, then in
the folder that the environment variable ``RONDEAU_DATA`` names, then in the cache, and downloads them where they are
nowhere. Every file is checked against its SHA-256. Where the files cannot be had, :class:`DataError` says what was
sought where and how to get it by hand; or, with ``stand_in=True``, a small generated data set of the same form
(deterministic, and learnable) takes its place. :func:`describe` tells which of these it is.
"""

from ._babi import Babi, Question, babi_qa1
from ._diabetes import Diabetes, pima_diabetes
from ._mnist import Mnist, mnist
from ._names import names, names_by_language
from ._registry import DATASETS, TEXTS
from ._series import Series, airline_passengers, min_temperatures, sunspots
from ._source import DataError, describe, is_real
from ._texts import load_text, timemachine, tinyshakespeare

__all__ = [
    "DATASETS",
    "TEXTS",
    "Babi",
    "DataError",
    "Diabetes",
    "Mnist",
    "Question",
    "Series",
    "airline_passengers",
    "babi_qa1",
    "describe",
    "is_real",
    "load_text",
    "min_temperatures",
    "mnist",
    "names",
    "names_by_language",
    "pima_diabetes",
    "sunspots",
    "timemachine",
    "tinyshakespeare",
]
