"""`fixed_points`: states that the step of a recurrent layer does not move, and slow points, which it hardly moves.

Notation: N starts, F points, D numbers of a state vector; ``g(s) = F(s) - s`` is the motion of a step, ``|g|`` the
residual, ``q = |g|^2 / 2`` the speed, and ``A = J - 1`` the derivative of g.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.runtime.threads import one_blas_thread
from rondeau.tensor import Tensor

from .._checks import check_number, check_sizes
from .._recurrent.inputs import Inputs
from .._recurrent.layer import Recurrent
from ._arrays import Array
from ._slowest import is_fixed, lengths, slowest_states
from ._state_vectors import StateVectors, as_vectors
from ._step_inputs import StepInputs, as_inputs, inputs_of_steps
from ._step_map import StepMap

__all__ = ["FixedPoints", "fixed_points"]

_NEUTRAL = 1e-8
"""How near to 1 the modulus of an eigenvalue is neither stable nor unstable."""


@dataclasses.dataclass(frozen=True, eq=False)
class FixedPoints:
    """The result of `fixed_points`: F distinct points that N starts led to.

    Attributes
    ----------
    points : ndarray of float64, shape (F, D)
        State vectors, in the order of the first start that led to each: fixed points, then slow points if they were
        asked for. `split_states` makes initial states of them.
    residuals : ndarray of float64, shape (F,)
        ``|F(s) - s|``, the distance that a step moves each point.
    is_fixed : ndarray of bool, shape (F,)
        Whether the residual is zero within the tolerance; the others are slow points.
    eigenvalues : ndarray of complex128, shape (F, D)
        Of the Jacobian at each point, the largest in modulus first. Those of modulus 1 are neutral: a step moves the
        state along them neither closer nor farther. NaN where the Jacobian has infinite elements.
    point_of_start : ndarray of int64, shape (N,)
        The row of `points` that each start led to, or -1.
    residual_of_start : ndarray of float64, shape (N,)
        ``|F(s) - s|`` where the search from each start ended; infinite where a step from the start overflows.

    Examples
    --------
    See `fixed_points`.

    >>> import numpy as np
    >>> found = FixedPoints(
    ...     points=np.zeros((1, 1)),
    ...     residuals=np.zeros(1),
    ...     is_fixed=np.array([True]),
    ...     eigenvalues=np.array([[0.5 + 0j]]),
    ...     point_of_start=np.array([0, -1]),
    ...     residual_of_start=np.array([0.0, 0.3]),
    ... )
    >>> found
    FixedPoints(1 fixed point, 1 of them stable, and 0 slow points from 2 starts; 1 start led to none)
    >>> found.unconverged
    array([1])
    """

    points: Array
    residuals: Array
    is_fixed: NDArray[np.bool_]
    eigenvalues: NDArray[np.complex128]
    point_of_start: NDArray[np.int64]
    residual_of_start: Array

    @property
    def speeds(self) -> Array:
        """The speed ``|F(s) - s|^2 / 2`` of each point, shape (F,), as Sussillo and Barak define it."""
        return self.residuals**2 / 2

    @property
    def num_unstable(self) -> NDArray[np.int64]:
        """The number of eigenvalues with a modulus above 1 at each point, shape (F,): 0 at an attractor.

        Those within 1e-8 of 1 count as neutral, because of rounding.
        """
        return np.asarray((np.abs(self.eigenvalues) > 1 + _NEUTRAL).sum(axis=1), np.int64)

    @property
    def is_stable(self) -> NDArray[np.bool_]:
        """Whether all eigenvalues at each point have a modulus below 1, by more than 1e-8, shape (F,).

        A point on a line or ring of fixed points has a neutral direction, and is not stable by this definition.
        """
        return np.asarray((np.abs(self.eigenvalues) < 1 - _NEUTRAL).all(axis=1))

    @property
    def unconverged(self) -> NDArray[np.int64]:
        """The rows of the starts that led to no point."""
        return np.flatnonzero(self.point_of_start < 0)

    def __repr__(self) -> str:
        fixed = int(self.is_fixed.sum())
        stable = int((self.is_fixed & self.is_stable).sum())
        return (
            f"FixedPoints({_counted(fixed, 'fixed point')}, {stable} of them stable, and "
            f"{_counted(len(self.points) - fixed, 'slow point')} from {_counted(len(self.point_of_start), 'start')}; "
            f"{_counted(len(self.unconverged), 'start')} led to none)"
        )


def fixed_points(
    layer: Recurrent,
    input: ArrayLike | Tensor,
    starts: StateVectors,
    *,
    inputs: Inputs | None = None,
    tolerance: float = 1e-12,
    iterations: int = 200,
    merge_distance: float = 1e-6,
    max_speed: float = 0.0,
) -> FixedPoints:
    """Find states that a step with a constant input does not move, from many starts at once.

    Parameters
    ----------
    layer : Recurrent
        A unidirectional layer of any cell and number of layers.
    input : array_like or Tensor, shape (I,)
        The input, the same at every step.
    starts : array_like or Tensor, or tuple of Tensor
        Where to search from: state vectors (N, D), see `rondeau.nn.dynamics`, or states of the layer (L, N, H).
        States that the trained layer visits, with some noise, are a good choice: what is found depends on them.
    inputs : mapping of str to value, or list of such mappings, optional
        The named inputs of the cell, the same at every step, for all layers alike or a mapping for each layer. A value
        is one number, or an array or Tensor (H,).
    tolerance : float, default 1e-12
        A point s is fixed if ``|F(s) - s| <= tolerance (1 + |s|)``.
    iterations : int, default 200
        The most iterations from a start; a fixed point usually takes 10 to 30.
    merge_distance : float, default 1e-6
        Two points a and b are the same if ``|a - b| <= merge_distance (1 + |a|)``.
    max_speed : float, default 0
        Return also slow points: where the search ended with a speed ``|F(s) - s|^2 / 2`` of at most this. By default
        there are none.

    Returns
    -------
    FixedPoints
        The distinct points with their residuals and eigenvalues, the point that each start led to, and the starts
        that led to none.

    Raises
    ------
    TypeError
        If the layer is not recurrent, or an argument has the wrong type.
    ValueError
        If a shape does not match, there are no starts, a named input is missing or unknown, a number is NaN, infinite
        or out of range, the layer is bidirectional, or its step is random.

    Notes
    -----
    The speed is minimised from every start (Sussillo and Barak 2013, "Opening the black box", Neural Computation 25),
    here by the Levenberg-Marquardt method on all starts at once: with ``g = F(s) - s`` and ``A = J - 1``, a step
    solves ``(A'A + mu 1) d = -A'g``, where mu falls after a step that lowers the speed and rises after one that does
    not, which is then not taken. Near a fixed point mu is down to 1e-12 of the largest diagonal element of A'A, and
    the steps are those of Newton's method, which double the digits each time. What is left of mu keeps them short
    along a line or ring of fixed points, where A is singular and each start leads to a point of its own.

    Stable and unstable points are found alike. The search is not exhaustive: a point that no start leads to is missed.

    Examples
    --------
    One unit with ``h' = tanh(2 h)`` rests at 0, which is unstable, and at two points on either side:

    >>> import numpy as np
    >>> from rondeau import nn
    >>> layer = nn.RNN(1, 1, bias=False, dtype="float64")
    >>> _ = nn.init.constant_(layer.weight_hh_l0, 2.0)
    >>> found = nn.dynamics.fixed_points(layer, [0.0], np.linspace(-1, 1, 9)[:, None])
    >>> found
    FixedPoints(3 fixed points, 2 of them stable, and 0 slow points from 9 starts; 0 starts led to none)
    >>> found.points.ravel().round(6) + 0.0
    array([-0.957504,  0.      ,  0.957504])
    >>> found.eigenvalues.real.ravel().round(6)
    array([0.166372, 2.      , 0.166372])
    """
    step = StepMap(layer)
    given = inputs_of_steps(layer, as_inputs("input", layer, input, {1: "(I,)"}), inputs)
    vectors = as_vectors("starts", step.layout, starts)
    if vectors.ndim != 2 or not len(vectors):
        raise ArgumentValueError(
            f"starts must be at least one state vector, of shape (N, {step.size}), got shape {vectors.shape}"
        )
    check_sizes(iterations=iterations)
    for name, value in (
        ("tolerance", tolerance),
        ("merge_distance", merge_distance),
        ("max_speed", max_speed),
    ):
        check_number(name, value)
        if not 0 <= value < np.inf:
            raise ArgumentValueError(f"{name} must be a finite number of at least 0, got {value!r}")
    with one_blas_thread():  # a matrix of a few hundred rows is too small to be shared
        return _search(step, given, vectors, float(tolerance), iterations, merge_distance, max_speed)


def _search(
    step: StepMap,
    given: StepInputs,
    starts: Array,
    tolerance: float,
    iterations: int,
    merge_distance: float,
    max_speed: float,
) -> FixedPoints:
    """Search from all starts, and sort what they led to."""
    ends, residuals = slowest_states(step, given, starts, tolerance, iterations)
    fixed = is_fixed(ends, residuals, tolerance)
    slow = ~fixed & (residuals <= math.sqrt(2 * max_speed))
    representatives: list[int] = []
    point_of_start = np.full(len(ends), -1, np.int64)
    for members in (np.flatnonzero(fixed), np.flatnonzero(slow)):
        _merge(ends, residuals, members, merge_distance, representatives, point_of_start)
    points = ends[representatives]
    return FixedPoints(
        points=points,
        residuals=residuals[representatives],
        is_fixed=fixed[representatives],
        eigenvalues=_eigenvalues(step, given, points),
        point_of_start=point_of_start,
        residual_of_start=residuals,
    )


def _merge(
    ends: Array,
    residuals: Array,
    members: NDArray[np.int64],
    distance: float,
    representatives: list[int],
    point_of_start: NDArray[np.int64],
) -> None:
    """Add the distinct ends among `members` to the representatives, and note which each of them belongs to.

    Each point is the end of the smallest residual in its neighbourhood; points come in the order of their first start.
    """
    left = members[np.argsort(residuals[members], kind="stable")]
    groups: list[tuple[int, NDArray[np.int64]]] = []
    while left.size:
        best = left[0]
        near = lengths(ends[left] - ends[best]) <= distance * (1 + lengths(ends[[best]]))
        groups.append((int(best), left[near]))
        left = left[~near]
    for best, group in sorted(groups, key=lambda found: found[1].min()):
        point_of_start[group] = len(representatives)
        representatives.append(best)


def _eigenvalues(step: StepMap, given: StepInputs, points: Array) -> NDArray[np.complex128]:
    """Return the eigenvalues (F, D) of the Jacobian at each point, the largest in modulus first."""
    jacobians = step.jacobian(given.repeated(len(points)), points)
    found = np.full(points.shape, np.nan, np.complex128)
    finite = np.isfinite(jacobians).all(axis=(1, 2))
    found[finite] = np.linalg.eigvals(jacobians[finite])
    order = np.argsort(-np.abs(found), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
