"""`jacobian` and `input_jacobian`: the derivatives of one step of a recurrent layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.runtime.threads import one_blas_thread
from rondeau.tensor import Tensor

from .._recurrent.inputs import Inputs
from .._recurrent.layer import Recurrent
from ._arrays import Array
from ._state_vectors import StateVectors, as_vectors
from ._step_inputs import StepInputs, as_inputs, inputs_of_steps
from ._step_map import StepMap

__all__ = ["input_jacobian", "jacobian"]


def jacobian(
    layer: Recurrent, state: StateVectors, input: ArrayLike | Tensor, *, inputs: Inputs | None = None
) -> Array:
    """Differentiate the step of a layer: the new state by the old one.

    Parameters
    ----------
    layer : Recurrent
        A unidirectional layer of any cell and number of layers, `RNN`, `GRU` and `LSTM` among them.
    state : array_like or Tensor, or tuple of Tensor
        The state before the step: state vectors (N, D) or (D,), see `rondeau.nn.dynamics`; or what the layer returns, a
        tensor (L, N, H), or a tuple of such for a cell with several states.
    input : array_like or Tensor, shape (N, I) or (I,)
        The input of the step. A single input is used for all states, and a single state for all inputs.
    inputs : mapping of str to value, or list of such mappings, optional
        The named inputs of the cell, for all layers alike or a mapping for each layer. A value is one number, or an
        array or Tensor (N,) or (N, H), without N if neither the state nor the input has it.

    Returns
    -------
    ndarray of float64, shape (N, D, D)
        ``[n, i, j]`` is the derivative of number i of the new state vector by number j of the old one; (D, D) if
        neither the state nor the input has N. A layer depends on the layers below but not above, so with several layers
        the matrix is block-triangular, and its eigenvalues are those of the layers.

    Raises
    ------
    TypeError
        If the layer is not recurrent, or the state or an input is not numbers.
    ValueError
        If a shape does not match, a named input is missing or unknown, a number is NaN or infinite, the layer is
        bidirectional, or its step is random.

    Notes
    -----
    The derivatives come from the backward pass that is derived from the cell, in float64. Where units meet in the
    recurrent matrices alone, as in RNN, GRU and LSTM, it is evaluated once for each state of the cell, and multiplied
    by the matrices; otherwise, as with layer normalisation or a projection, once for each number of the new state. At
    kinks, such as that of relu at 0, they are those of the gradient; see `rondeau.nn.cell_math`.

    Examples
    --------
    At zero, where the derivative of tanh is 1, the Jacobian is the recurrent matrix:

    >>> import numpy as np
    >>> from rondeau import nn
    >>> layer = nn.RNN(1, 2, bias=False)
    >>> matrix = np.array([[0.5, -1.0], [1.0, 0.5]], "float32")
    >>> _ = layer.load_state_dict({"weight_ih_l0": np.ones((2, 1), "float32"), "weight_hh_l0": matrix})
    >>> nn.dynamics.jacobian(layer, np.zeros(2), [0.0])
    array([[ 0.5, -1. ],
           [ 1. ,  0.5]])
    """
    return _differentiated(layer, state, input, inputs, StepMap.jacobian)


def input_jacobian(
    layer: Recurrent, state: StateVectors, input: ArrayLike | Tensor, *, inputs: Inputs | None = None
) -> Array:
    """Differentiate the step of a layer: the new state by the input.

    Parameters
    ----------
    layer, state, input, inputs
        As for `jacobian`.

    Returns
    -------
    ndarray of float64, shape (N, D, I)
        ``[n, i, j]`` is the derivative of number i of the new state vector by number j of the input; (D, I) if neither
        the state nor the input has N.

    Raises
    ------
    TypeError, ValueError
        As for `jacobian`.

    Examples
    --------
    >>> import numpy as np
    >>> from rondeau import nn
    >>> nn.dynamics.input_jacobian(nn.GRU(3, 5, num_layers=2), np.zeros((4, 10)), np.zeros(3)).shape
    (4, 10, 3)
    """
    return _differentiated(layer, state, input, inputs, StepMap.input_jacobian)


def _differentiated(
    layer: Recurrent,
    state: StateVectors,
    input: ArrayLike | Tensor,
    inputs: Inputs | None,
    differentiate: Callable[[StepMap, StepInputs, Array], Array],
) -> Array:
    """Check the arguments, repeat a single state or input for all others, and differentiate."""
    step = StepMap(layer)
    vectors = as_vectors("state", step.layout, state)
    x = as_inputs("input", layer, input, {2: "(N, I)", 1: "(I,)"})
    is_batch = vectors.ndim == 2 or x.ndim == 2
    if vectors.ndim == x.ndim == 2 and len(vectors) != len(x):
        raise ArgumentValueError(
            f"input must be (I,), or one row for each of the {len(vectors)} states, got {len(x)} rows"
        )
    N = len(vectors) if vectors.ndim == 2 else len(x) if x.ndim == 2 else 1
    x = np.broadcast_to(x, (N, step.input_size)) if is_batch else x
    given = inputs_of_steps(layer, x, inputs)
    with one_blas_thread():  # many small products
        found = differentiate(step, given, np.broadcast_to(vectors, (N, step.size)))
    return found if is_batch else found[0]
