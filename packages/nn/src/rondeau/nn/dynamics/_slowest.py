"""Levenberg's and Marquardt's method for the speed of a step, from many starts at once.

Notation as in `_fixed_points`; mu = damping times the largest diagonal element of A'A.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import Array
from ._step_map import StepMap

__all__ = ["is_fixed", "lengths", "slowest_states"]

_FIRST_DAMPING = 1e-3
_LEAST_DAMPING = 1e-12
"""Of A'A, so 1e-6 of A: steps along directions in which A is smaller are shortened, all others are Newton's."""
_MOST_DAMPING = 1e12
"""A step this short no longer lowers the speed: the search has ended."""
_STATIONARY = 1e-9
"""``|A'g| / |g|`` at which the speed has no slope left, though it is not zero."""
_NUMBERS_OF_A_BLOCK = 2**20
"""Numbers of the matrices A of the starts that are searched together: 8 MB."""


def slowest_states(
    step: StepMap, x: Array, starts: Array, tolerance: float, iterations: int
) -> tuple[Array, Array]:
    """Minimise ``|F(s) - s|`` from every start.

    Parameters
    ----------
    step : StepMap
    x : ndarray, shape (I,)
        The input of all steps.
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
    size = max(1, _NUMBERS_OF_A_BLOCK // step.size**2)
    blocks = [starts[first : first + size] for first in range(0, len(starts), size)]
    with np.errstate(all="ignore"):  # trials that overflow are not taken
        found = [_search(step, x, block, tolerance, iterations) for block in blocks]
    ends, residuals = zip(*found, strict=True)
    return np.concatenate(ends), np.concatenate(residuals)


def is_fixed(s: Array, residuals: Array, tolerance: float) -> NDArray[np.bool_]:
    """Return whether a step moves states s by no more than the tolerance: ``|F(s) - s| <= tolerance (1 + |s|)``."""
    return np.asarray(np.isfinite(residuals) & (residuals <= tolerance * (1 + lengths(s))))


def lengths(vectors: Array) -> Array:
    """Return the lengths (N,) of vectors (N, D), without overflow of the squares; NaN for a vector that is infinite."""
    largest = np.maximum(np.abs(vectors).max(axis=1), np.finfo(np.float64).tiny)
    found: Array = largest * np.sqrt(np.square(vectors / largest[:, None]).sum(axis=1))
    return found


def _search(step: StepMap, x: Array, starts: Array, tolerance: float, iterations: int) -> tuple[Array, Array]:
    """Search from a block of starts; those that have ended are left out of further iterations.

    Where a Jacobian is not finite, so is the trial step; it is not taken, and the search ends.
    """
    s = starts.copy()
    g, residuals = _motion(step, x, s)
    damping = np.full(len(s), _FIRST_DAMPING)
    active = np.flatnonzero(np.isfinite(residuals))
    normal, slope = np.empty((len(s), step.size, step.size)), np.empty_like(s)
    moved = active
    for _ in range(iterations):
        A = step.jacobian(np.broadcast_to(x, (len(moved), x.size)), s[moved])
        A[:, np.arange(step.size), np.arange(step.size)] -= 1
        transposed = A.transpose(0, 2, 1)
        normal[moved] = transposed @ A
        slope[moved] = (transposed @ g[moved, :, None])[..., 0]
        active = active[_goes_on(s, residuals, slope, damping, active, tolerance)]
        if not active.size:
            break
        trial = s[active] + _damped_step(normal[active], slope[active], damping[active])
        g_trial, residuals_trial = _motion(step, x, trial)
        better = residuals_trial < residuals[active]
        moved = active[better]
        s[moved], g[moved], residuals[moved] = trial[better], g_trial[better], residuals_trial[better]
        damping[active] = np.where(
            better, np.maximum(damping[active] / 10, _LEAST_DAMPING), damping[active] * 10
        )
    return s, residuals


def _goes_on(
    s: Array,
    residuals: Array,
    slope: Array,
    damping: Array,
    active: NDArray[np.int64],
    tolerance: float,
) -> NDArray[np.bool_]:
    """Return which active searches go on: neither fixed, nor at a minimum of the speed, nor at the end of precision."""
    residual = residuals[active]
    fixed = is_fixed(s[active], residual, tolerance)
    stationary = lengths(slope[active]) <= _STATIONARY * residual
    going: NDArray[np.bool_] = ~(fixed | stationary | (damping[active] > _MOST_DAMPING))
    return going


def _motion(step: StepMap, x: Array, s: Array) -> tuple[Array, Array]:
    """Return ``F(s) - s`` and its length, infinite where it overflows."""
    g = step(np.broadcast_to(x, (len(s), x.size)), s) - s
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
