"""The Pima diabetes data: measurements and an outcome, and generated ones by a logistic rule."""

from __future__ import annotations

import csv
import os
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._text import read_text
from ._source import root_of

# Rough means and deviations of the eight measurements, and how the stand-in's outcome depends on each.
_MEANS = np.array([3.8, 121.0, 69.0, 20.5, 80.0, 32.0, 0.47, 33.0])
_DEVIATIONS = np.array([3.0, 30.0, 12.0, 10.0, 60.0, 6.5, 0.25, 10.0])
_SLOPES = np.array([0.4, 1.2, -0.2, 0.0, -0.1, 0.7, 0.3, 0.3])
_INTERCEPT = -0.9  # about a third has the outcome 1


class Diabetes(NamedTuple):
    """The Pima diabetes data.

    Attributes
    ----------
    features : ndarray of float64, shape (768, 8)
        Pregnancies, glucose (mg/dl), diastolic blood pressure (mm Hg), skin fold (mm), insulin (mu U/ml), body mass
        index (kg/m²), pedigree function, age (years). A 0 of glucose to body mass index stands for a missing value.
    labels : ndarray of int64, shape (768,)
        1 where diabetes followed within five years.

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> datasets.Diabetes._fields
    ('features', 'labels')
    """

    features: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]


def pima_diabetes(
    folder: str | os.PathLike[str] | None = None, *, download: bool = True, stand_in: bool = False
) -> Diabetes:
    """Return the Pima diabetes data as they are: raw, not standardised, missing values as 0.

    Parameters
    ----------
    folder : path-like, optional
        Where to look first; see :mod:`rondeau.data.datasets` for where else.
    download : bool
        Download them where they are nowhere.
    stand_in : bool
        Where they cannot be had, return as many generated ones, whose outcome follows a logistic rule.

    Returns
    -------
    Diabetes

    Raises
    ------
    DataError
        If they cannot be had, or their file is damaged.

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> features, labels = datasets.pima_diabetes(download=False, stand_in=True)
    >>> features.shape, labels.shape
    ((768, 8), (768,))
    """
    root = root_of("pima_diabetes", folder, download=download, stand_in=stand_in)
    if root is None:
        return _generated(np.random.default_rng(5))
    rows = np.array(
        list(csv.reader(read_text(root / "pima-indians-diabetes.csv").splitlines())), dtype=np.float64
    )
    return Diabetes(rows[:, :-1].copy(), rows[:, -1].astype(np.int64))


def _generated(generator: np.random.Generator) -> Diabetes:
    scores = generator.standard_normal((768, len(_MEANS)))
    chance = 1 / (1 + np.exp(-(scores @ _SLOPES + _INTERCEPT)))
    labels = (generator.random(768) < chance).astype(np.int64)
    features = np.clip(_MEANS + _DEVIATIONS * scores, 0, None)
    return Diabetes(np.round(features, 1), labels)
