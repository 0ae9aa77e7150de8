"""Series: sunspots, airline passengers, minimum temperatures, and generated ones of their form."""

from __future__ import annotations

import csv
import os
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .._text import read_text
from ._registry import DATASETS
from ._source import DataError, root_of


class Series(NamedTuple):
    """A number a month or a day.

    Attributes
    ----------
    dates : list of str
        As ``"1949-01"`` or ``"1981-01-31"``, in order.
    values : ndarray of float64, shape (len(dates),)

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> datasets.Series._fields
    ('dates', 'values')
    """

    dates: list[str]
    values: npt.NDArray[np.float64]


def sunspots(
    folder: str | os.PathLike[str] | None = None, *, download: bool = True, stand_in: bool = False
) -> Series:
    """Return the monthly mean number of sunspots from January 1749 to December 1983.

    Parameters
    ----------
    folder : path-like, optional
        Where to look first; see :mod:`rondeau.data.datasets` for where else.
    download : bool
        Download it where it is nowhere.
    stand_in : bool
        Where it cannot be had, return a generated series over the same months, with cycles of some 11 years.

    Returns
    -------
    Series
        2,820 months.

    Raises
    ------
    DataError
        If it cannot be had, or its file is damaged.

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> dates, values = datasets.sunspots(download=False, stand_in=True)
    >>> dates[0], dates[-1], values.shape
    ('1749-01', '1983-12', (2820,))
    """
    root = root_of("sunspots", folder, download=download, stand_in=stand_in)
    if root is not None:
        return _read("sunspots", root)
    generator = np.random.default_rng(7)
    dates = _months(1749, 1984)
    # A cycle of varying length and height; the square makes minima flat and maxima sharp.
    phase = np.cumsum(2 * np.pi / (132 + 12 * _wander(generator, len(dates), 0.995)))
    height = 95 + 35 * _wander(generator, len(dates), 0.995)
    level = np.maximum(height, 20) * np.sin(phase / 2) ** 2
    noise = generator.standard_normal(len(dates)) * (3 + 0.15 * level)
    return Series(dates, np.round(np.maximum(level + noise, 0), 1))


def airline_passengers(
    folder: str | os.PathLike[str] | None = None, *, download: bool = True, stand_in: bool = False
) -> Series:
    """Return international airline passengers a month, in thousands, from January 1949 to December 1960.

    Parameters
    ----------
    folder : path-like, optional
        Where to look first; see :mod:`rondeau.data.datasets` for where else.
    download : bool
        Download it where it is nowhere.
    stand_in : bool
        Where it cannot be had, return a generated series over the same months: growth times a season.

    Returns
    -------
    Series
        144 months.

    Raises
    ------
    DataError
        If it cannot be had, or its file is damaged.

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> dates, values = datasets.airline_passengers(download=False, stand_in=True)
    >>> dates[0], dates[-1], values.shape
    ('1949-01', '1960-12', (144,))
    """
    root = root_of("airline_passengers", folder, download=download, stand_in=stand_in)
    if root is not None:
        return _read("airline_passengers", root)
    generator = np.random.default_rng(8)
    dates = _months(1949, 1961)
    month = np.arange(len(dates))
    season = 0.18 * np.cos(2 * np.pi * (month - 6.5) / 12) + 0.05 * np.cos(4 * np.pi * (month - 2) / 12)
    values = 120 * np.exp(0.0095 * month + season + 0.03 * _wander(generator, len(dates), 0.7))
    return Series(dates, np.round(values))


def min_temperatures(
    folder: str | os.PathLike[str] | None = None, *, download: bool = True, stand_in: bool = False
) -> Series:
    """Return the daily minimum temperature of Melbourne in degrees Celsius, from 1981 to 1990.

    The last days of the two leap years are missing at the source.

    Parameters
    ----------
    folder : path-like, optional
        Where to look first; see :mod:`rondeau.data.datasets` for where else.
    download : bool
        Download it where it is nowhere.
    stand_in : bool
        Where it cannot be had, return a generated series over the same days: a season and weather.

    Returns
    -------
    Series
        3,650 days.

    Raises
    ------
    DataError
        If it cannot be had, or its file is damaged.

    Examples
    --------
    >>> from rondeau.data import datasets
    >>> dates, values = datasets.min_temperatures(download=False, stand_in=True)
    >>> dates[0], dates[-1], values.shape
    ('1981-01-01', '1990-12-31', (3650,))
    """
    root = root_of("min_temperatures", folder, download=download, stand_in=stand_in)
    if root is not None:
        return _read("min_temperatures", root)
    generator = np.random.default_rng(9)
    days = (date(1981, 1, 1) + timedelta(day) for day in range(3652))
    dates = [day.isoformat() for day in days if day not in (date(1984, 12, 31), date(1988, 12, 31))]
    days_from_warmest = np.arange(len(dates), dtype=np.float64) - 35  # which is in February, in Melbourne
    values = (
        11.2 + 4.3 * np.cos(2 * np.pi * days_from_warmest / 365) + 2.6 * _wander(generator, len(dates), 0.6)
    )
    return Series(dates, np.maximum(values, 0.0).round(1))


def _read(name: str, root: Path) -> Series:
    """Read a CSV file of a header and two columns, the date and the number."""
    (file,) = DATASETS[name].files
    path = root / file.path
    _, *rows = csv.reader(read_text(path).splitlines())
    try:
        dates, numbers = zip(*rows, strict=True)
        return Series(list(dates), np.array(numbers, np.float64))
    except ValueError:
        raise DataError(f"{path}: expected a date and a number in each row") from None


def _months(first_year: int, end_year: int) -> list[str]:
    return [f"{year}-{month:02}" for year in range(first_year, end_year) for month in range(1, 13)]


def _wander(generator: np.random.Generator, count: int, memory: float) -> npt.NDArray[np.float64]:
    """Return a first-order autoregression of unit variance: each number is `memory` of the one before, and noise."""
    shocks = generator.standard_normal(count) * np.sqrt(1 - memory**2)
    wandering = np.empty(count)
    now = 0.0
    for i, shock in enumerate(shocks):
        now = memory * now + shock
        wandering[i] = now
    return wandering
