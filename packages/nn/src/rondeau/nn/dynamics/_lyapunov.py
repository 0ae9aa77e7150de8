"""`lyapunov_exponents`: how fast nearby trajectories of a recurrent layer diverge or converge."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.runtime.threads import one_blas_thread
from rondeau.tensor import Tensor

from .._checks import check_sizes
from .._recurrent.inputs import Inputs
from .._recurrent.layer import Recurrent
from ._arrays import Array
from ._state_vectors import StateVectors, as_vectors
from ._step_inputs import StepInputs, as_inputs, inputs_of_sequences
from ._step_map import StepMap

__all__ = ["lyapunov_exponents"]

_NUMBERS_OF_A_BLOCK = 2**21
"""Numbers of the Jacobians that are computed together: 16 MB."""


def lyapunov_exponents(
    layer: Recurrent,
    input: ArrayLike | Tensor,
    count: int | None = None,
    *,
    state: StateVectors | None = None,
    inputs: Inputs | None = None,
    burn_in: int = 0,
    qr_every: int = 1,
) -> Array:
    """Measure the Lyapunov exponents of a layer along the trajectory that an input drives it through.

    Parameters
    ----------
    layer : Recurrent
        A unidirectional layer of any cell and number of layers.
    input : array_like or Tensor, shape (T, I) or (T, B, I)
        The input of every step, of B sequences with a trajectory each; (B, T, I) if the layer has `batch_first`. Zeros
        for a layer that runs by itself.
    count : int, optional
        How many exponents to compute, the largest; by default all D.
    state : array_like or Tensor, or tuple of Tensor, optional
        The state before the first step: a state vector (D,), or (B, D), or states of the layer (L, B, H). By default
        the learned initial states, or zeros.
    inputs : mapping of str to value, or list of such mappings, optional
        The named inputs of the cell, in the shapes that the layer takes, for all layers alike or a mapping for each
        layer; a single number goes for all steps.
    burn_in : int, default 0
        The first steps, which bring the state to its attractor and the directions to their order, and are not
        counted. Without any, the exponents contain the transient.
    qr_every : int, default 1
        How many steps to take between orthogonalisations. More is faster, but after k steps the directions must still
        differ in floating point: the largest exponent minus the smallest of the `count`, times k, must stay well below
        36 = log(2**52).

    Returns
    -------
    ndarray of float64, shape (count,) or (B, count)
        The exponents, the largest first, **per step and in natural logarithms**: a small difference grows by
        ``exp(exponent)`` a step. For a cell that is a step dt of a differential equation, divide by dt to have them per
        unit of time; divide by log(2) to have bits. A direction that a step maps to zero has the exponent -inf.

    Raises
    ------
    TypeError
        If the layer is not recurrent, or an argument has the wrong type.
    ValueError
        If a shape does not match, a named input is missing or unknown, a number is NaN, infinite or out of range, the
        layer is bidirectional, its step is random, or the states overflow.

    Notes
    -----
    Benettin, Galgani, Giorgilli, Strelcyn, "Lyapunov characteristic exponents for smooth dynamical systems and for
    Hamiltonian systems; a method for computing all of them", Meccanica 15 (1980); for recurrent networks Vogt et al.,
    "On Lyapunov exponents for RNNs", Frontiers in Applied Mathematics and Statistics 8 (2022). With ``Q_0`` the first
    `count` unit vectors and ``J_t`` the Jacobian of step t, ``Q_t R_t = J_t Q_(t-1)`` by QR decomposition; exponent i
    is the mean of ``log |R_t[i, i]|``. The error that remains falls as one over the number of steps; the spread over
    several sequences shows how large it is.

    Examples
    --------
    A linear map has the logarithms of its eigenvalues' moduli:

    >>> import numpy as np
    >>> from rondeau import nn
    >>> @nn.recurrent_cell(gates=("h",), states=("h",))
    ... def linear(x, r, s):
    ...     return x.h + r.h
    >>> layer = nn.Recurrent(linear, 1, 2, bias=False, dtype="float64")
    >>> _ = layer.load_state_dict({"weight_ih_l0": np.zeros((2, 1)), "weight_hh_l0": np.diag([0.5, 2.0])})
    >>> np.exp(nn.dynamics.lyapunov_exponents(layer, np.zeros((200, 1)), burn_in=100)).round(6)
    array([2. , 0.5])
    """
    step = StepMap(layer)
    batched = "(B, T, I)" if layer.batch_first else "(T, B, I)"
    x = as_inputs("input", layer, input, {3: batched, 2: "(T, I)"})
    is_batch = x.ndim == 3
    T, B = (x.shape[0], 1) if not is_batch else x.shape[1::-1] if layer.batch_first else x.shape[:2]
    count = step.size if count is None else count
    check_sizes(count=count, qr_every=qr_every)
    check_sizes(0, burn_in=burn_in)
    if count > step.size:
        raise ArgumentValueError(f"count must be at most {step.size}, the width of the state, got {count}")
    if burn_in >= T:
        raise ArgumentValueError(f"burn_in must leave some of the {T} steps of the input, got {burn_in}")
    if B == 0:
        raise ArgumentValueError(f"input must have at least one sequence, got shape {np.shape(input)}")
    before = as_vectors("state", step.layout, layer.begin_state(B) if state is None else state)
    if before.ndim == 2 and len(before) != B:
        raise ArgumentValueError(
            f"state must be one state vector, or one for each of the {B} sequences, got {len(before)}"
        )
    start = np.broadcast_to(before, (B, step.size))
    given = inputs_of_sequences(layer, x, inputs)
    with one_blas_thread():  # a matrix of a few hundred rows is too small to be shared
        growth = _growth(step, given, start, count, burn_in, qr_every)
    exponents = -np.sort(-growth / (T - burn_in), axis=1)
    return exponents if is_batch else exponents[0]


def _growth(
    step: StepMap, given: StepInputs, before: Array, count: int, burn_in: int, qr_every: int
) -> Array:
    """Return the logarithms (B, count) of how much each direction grew over all steps after the first `burn_in`."""
    B = len(before)
    T = len(given.x) // B
    Q = np.broadcast_to(np.eye(step.size, count), (B, step.size, count))
    growth = np.zeros((B, count))
    length = max(1, _NUMBERS_OF_A_BLOCK // (B * step.size**2))
    for first in range(0, T, length):
        block = given.rows(slice(first * B, (first + length) * B))
        after = step.trajectory(block, before)
        _check_finite(after, first)
        states = np.concatenate([before[None], after[:-1]]).reshape(-1, step.size)
        jacobians = step.jacobian(block, states).reshape(len(after), B, step.size, step.size)
        _check_jacobians(jacobians, first)
        before = after[-1]
        for t, J in enumerate(jacobians, first + 1):
            Q = J @ Q
            if t == burn_in:  # what grew so far is not counted
                Q, _ = np.linalg.qr(Q)
            elif (t - burn_in) % qr_every == 0 or t == T:
                Q, R = np.linalg.qr(Q)
                if t > burn_in:
                    growth += _log_of_diagonal(R)
    return growth


def _log_of_diagonal(R: Array) -> Array:
    with np.errstate(divide="ignore"):  # log(0) = -inf: a step maps the direction to zero
        return np.log(np.abs(np.diagonal(R, axis1=1, axis2=2)))


def _check_finite(states: Array, first: int) -> None:
    """Raise ValueError if states overflow."""
    finite = np.isfinite(states).all(axis=(1, 2))
    if not finite.all():
        raise ArgumentValueError(
            f"the states overflow at step {first + int(np.argmin(finite))} of the input: the layer has no bounded "
            "trajectory from this state"
        )


def _check_jacobians(jacobians: Array, first: int) -> None:
    """Raise ValueError if a step has no derivative."""
    finite = np.isfinite(jacobians).all(axis=(1, 2, 3))
    if not finite.all():
        raise ArgumentValueError(
            f"the Jacobian of step {first + int(np.argmin(finite))} of the input has elements that are NaN or "
            "infinite: the step of the cell has no derivative there"
        )
