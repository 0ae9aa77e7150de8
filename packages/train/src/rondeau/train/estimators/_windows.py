"""Windows of series: what a forecast sees, and what follows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.train.estimators._shuffled import Rows
from rondeau.train.estimators._standard import Standard


class Scales(NamedTuple):
    """How a forecaster standardises.

    Attributes
    ----------
    values, covariates : Standard
        Of each variable, and of each covariate.
    changes : Standard
        Of the changes from the last value seen to each of the `horizon` following ones, (horizon * D,).
    """

    values: Standard
    covariates: Standard
    changes: Standard


@dataclass(frozen=True)
class Windows:
    """Forecasts that can be made within series, and checked there.

    Attributes
    ----------
    values : ndarray of float64, shape (N, D)
        All series, one behind the other.
    covariates : ndarray of float64, shape (N, K)
        What is known at each of their steps; K may be 0.
    firsts, origins : ndarray of int, shape (n,)
        The steps that a forecast sees are those from `firsts` up to `origins`, exclusive.
    series : ndarray of int, shape (n,)
        Which series each is from; ascending, and the origins of one series too.
    horizon : int
    scales : Scales, optional
        What `batch` standardises by.
    """

    values: NDArray[np.float64]
    covariates: NDArray[np.float64]
    firsts: Rows
    origins: Rows
    series: Rows
    horizon: int
    scales: Scales | None = None

    @classmethod
    def within(
        cls,
        series: list[NDArray[np.float64]],
        covariates: list[NDArray[np.float64]],
        window: int,
        horizon: int,
    ) -> Windows:
        """Return those that see `window` steps; of a series that has too few for that, those that see at least one."""
        begins = np.cumsum([0, *(len(values) for values in series)])
        steps = []
        for values in series:
            T = len(values)
            steps.append(np.arange(window if window + horizon <= T else 1, T - horizon + 1))
        origins = np.concatenate([begin + origin for begin, origin in zip(begins, steps, strict=False)])
        numbers = np.repeat(np.arange(len(series)), [len(part) for part in steps])
        firsts = np.maximum(begins[numbers], origins - window)
        return cls(np.concatenate(series), np.concatenate(covariates), firsts, origins, numbers, horizon)

    @classmethod
    def at_the_end(
        cls,
        series: list[NDArray[np.float64]],
        covariates: list[NDArray[np.float64]],
        window: int,
        horizon: int,
    ) -> Windows:
        """Return one for each series, of what follows it; covariates are known for `horizon` steps more."""
        begins = np.cumsum([0, *(len(values) + horizon for values in series)])
        unknown = np.full((horizon, series[0].shape[1]), np.nan)
        origins = begins[:-1] + np.array([len(values) for values in series])
        return cls(
            np.concatenate([part for values in series for part in (values, unknown)]),
            np.concatenate(covariates),
            np.maximum(begins[:-1], origins - window),
            origins,
            np.arange(len(series)),
            horizon,
        )

    def __len__(self) -> int:
        return len(self.origins)

    def last(self, rows: Rows) -> NDArray[np.float64]:
        """Return the last values that are seen, (n, 1, D)."""
        return self.values[self.origins[rows] - 1][:, None]

    def following(self, rows: Rows) -> NDArray[np.float64]:
        """Return the values that follow, (n, horizon, D)."""
        return self.values[self._ahead(rows)]

    def standard(self) -> Scales:
        """Return the scales of these series and windows."""
        return Scales(
            Standard.of("X", self.values),
            Standard.of("covariates", self.covariates),
            Standard.of("X", self._changes(np.arange(len(self)))),
        )

    def inputs(self, rows: Rows) -> dict[str, Any]:
        """Return what a forecast depends on: inputs (n, T, D + K), lengths where they differ, covariates ahead."""
        assert self.scales is not None
        lengths = self.origins[rows] - self.firsts[rows]
        longest = int(lengths.max())
        # Steps past the length are others of the same array, which are not read.
        steps = np.minimum(self.firsts[rows, None] + np.arange(longest), len(self.values) - 1)
        seen = np.where((np.arange(longest) < lengths[:, None])[:, :, None], self.values[steps], 0.0)
        parts = [self.scales.values.apply("X", seen)]
        found: dict[str, Any] = {}
        if self.covariates.shape[1]:
            parts.append(self.scales.covariates.apply("covariates", self.covariates[steps]))
            ahead = self.covariates[self._ahead(rows)]
            found["covariates"] = self.scales.covariates.apply("covariates", ahead)
        found["inputs"] = np.concatenate(parts, axis=2)
        found["lengths"] = None if (lengths == longest).all() else lengths
        return found

    def batch(self, rows: Rows) -> dict[str, Any]:
        """Return inputs and targets: the standardised changes from the last value, (n, horizon, D)."""
        assert self.scales is not None
        targets = self.scales.changes.apply("X", self._changes(rows))
        return self.inputs(rows) | {"targets": targets.reshape(len(rows), self.horizon, -1)}

    def split(self, fraction: float) -> tuple[Rows, Rows]:
        """Return which windows to train on, and the last of each series, to validate.

        What a window forecasts is either trained on or validates: windows that would reach over are in neither.
        """
        train, validation = [], []
        bounds = np.searchsorted(self.series, np.arange(int(self.series[-1]) + 2))
        for begin, end in pairwise(bounds.tolist()):
            cut = begin + int((end - begin) * (1 - fraction))
            before = np.arange(begin, cut)
            if cut < end:
                before = before[self.origins[before] + self.horizon <= self.origins[cut]]
            train.append(before)
            validation.append(np.arange(cut, end))
        return np.concatenate(train), np.concatenate(validation)

    def _changes(self, rows: Rows) -> NDArray[np.float64]:
        """Return the changes from the last value that is seen, (n, horizon * D)."""
        with np.errstate(over="ignore"):  # which the scales refuse
            changes: NDArray[np.float64] = (self.following(rows) - self.last(rows)).reshape(len(rows), -1)
        return changes

    def _ahead(self, rows: Rows) -> Rows:
        steps: Rows = self.origins[rows, None] + np.arange(self.horizon)
        return steps
