"""The Levenberg-Marquardt method for the speed of a step, from many starts at once.

Notation as in `_fixed_points`; mu = damping times the largest diagonal element of A'A.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import Array
from ._step_inputs import StepInputs
from ._step_map import StepMap

__all__ = ["is_fixed", "lengths", "slowest_states"]

_FIRST_DAMPING = 1e-3
_LEAST_DAMPING = 1e-12
"""Of A'A, so 1e-6 of A: steps along directions in which A is smaller are shortened, all others are Newton's."""
_MOST_DAMPING = 1e12
"""Steps this short no longer lower the speed: the search ends."""
_STATIONARY = 1e-9
"""``|A'g| / |g|`` at which the speed has no slope left, though it is not zero."""
_NUMBERS_OF_A_BLOCK = 2**20
"""Numbers of the matrices A'A of the searches that run together: 8 MB."""


def slowest_states(
    step: StepMap, given: StepInputs, starts: Array, tolerance: float, iterations: int
) -> tuple[Array, Array]:
    """Minimise ``|F(s) - s|`` from every start.

    Parameters
    ----------
    step : StepMap
    given : StepInputs
        One row, the inputs of all steps.
    starts : ndarray, shape (N, D)
    tolerance : float
        A search ends where ``|F(s) - s| <= tolerance (1 + |s|)``.
    iterations : int
        The most iterations of a search.

    Returns
    -------
    ends : ndarray, shape (N, D)
        Where each search ended.
    residuals : ndarray, shape (N,)
        ``|F(s) - s|`` there; infinite if a step from the start overflows.
    """
    with np.errstate(all="ignore"):  # trials that overflow are not taken
        return _search(step, given, starts, tolerance, iterations)


def is_fixed(s: Array, residuals: Array, tolerance: float) -> NDArray[np.bool_]:
    """Return whether a step moves states s by no more than the tolerance: ``|F(s) - s| <= tolerance (1 + |s|)``."""
    return np.asarray(np.isfinite(residuals) & (residuals <= tolerance * (1 + lengths(s))))


def lengths(vectors: Array) -> Array:
    """Return the lengths (N,) of vectors (N, D), without overflow of the squares; NaN for a vector that is infinite."""
    largest = np.maximum(np.abs(vectors).max(axis=1), np.finfo(np.float64).tiny)
    found: Array = largest * np.sqrt(np.square(vectors / largest[:, None]).sum(axis=1))
    return found


def _search(
    step: StepMap, given: StepInputs, starts: Array, tolerance: float, iterations: int
) -> tuple[Array, Array]:
    """Search from every start, from as many at a time as fit a block; the next one takes the place of one that ends.

    Where a Jacobian is not finite, so is the trial step; it is not taken, and the search ends.
    """
    N, D = starts.shape
    s = starts.copy()
    g, residuals = _motion(step, given, s)
    damping, left = np.full(N, _FIRST_DAMPING), np.full(N, iterations)
    places = max(1, _NUMBERS_OF_A_BLOCK // D**2)
    waiting = np.flatnonzero(np.isfinite(residuals))
    active = moved = waiting[:0]
    normal, slope = np.empty((0, D, D)), np.empty((0, D))
    while active.size or waiting.size:
        entering, waiting = np.split(waiting, [places - len(active)])
        stale = np.concatenate([moved, len(active) + np.arange(len(entering))])
        active = np.concatenate([active, entering])
        normal = np.concatenate([normal, np.empty((len(entering), D, D))])
        slope = np.concatenate([slope, np.empty((len(entering), D))])
        normal[stale], slope[stale] = _normal_equations(step, given, s[active[stale]], g[active[stale]])
        fixed = is_fixed(s[active], residuals[active], tolerance)
        stationary = lengths(slope) <= _STATIONARY * residuals[active]
        goes_on = ~(fixed | stationary) & (damping[active] <= _MOST_DAMPING) & (left[active] > 0)
        active, normal, slope = active[goes_on], normal[goes_on], slope[goes_on]
        trial = s[active] + _damped_step(normal, slope, damping[active])
        g_trial, residuals_trial = _motion(step, given, trial)
        better = residuals_trial < residuals[active]
        moved = np.flatnonzero(better)
        to = active[moved]
        s[to], g[to], residuals[to] = trial[moved], g_trial[moved], residuals_trial[moved]
        damping[active] = np.where(
            better, np.maximum(damping[active] / 10, _LEAST_DAMPING), damping[active] * 10
        )
        left[active] -= 1
    return s, residuals


def _normal_equations(step: StepMap, given: StepInputs, s: Array, g: Array) -> tuple[Array, Array]:
    """Return A'A (n, D, D) and A'g (n, D) at states s with the motion g."""
    A = step.jacobian(given.repeated(len(s)), s)
    diagonal = np.arange(step.size)
    A[:, diagonal, diagonal] -= 1
    transposed = A.transpose(0, 2, 1)
    return transposed @ A, (transposed @ g[..., None])[..., 0]


def _motion(step: StepMap, given: StepInputs, s: Array) -> tuple[Array, Array]:
    """Return ``F(s) - s`` and its length, infinite where it overflows."""
    g = step(given.repeated(len(s)), s) - s
    length = lengths(g)
    return g, np.where(np.isfinite(length), length, np.inf)


def _damped_step(normal: Array, slope: Array, damping: Array) -> Array:
    """Return the steps d of ``(A'A + mu 1) d = -A'g``."""
    diagonal = np.arange(normal.shape[1])
    largest = normal[:, diagonal, diagonal].max(axis=1)
    damped = normal.copy()
    damped[:, diagonal, diagonal] += (damping * largest)[:, None]
    solution: Any = np.linalg.solve(damped, -slope[..., None])
    return np.asarray(solution[..., 0])
