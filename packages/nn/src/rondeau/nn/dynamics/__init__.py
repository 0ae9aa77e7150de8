"""Recurrent layers as dynamical systems: Jacobians of a step, fixed points, Lyapunov exponents.

With a constant input the step of a layer is a map ``s -> F(s)`` of its *state vector*: all states of all layers, one
after the other. For L layers of a cell with K states of H units, D = L*K*H: layer after layer, within a layer the
states in the order of ``cell.states``, so that of an LSTM of two layers is ``(h, c)`` of layer 0, then ``(h, c)`` of
layer 1. A projected first state has P units instead of H. `stack_states` and `split_states` convert between state
vectors and the states that a layer takes and returns.

Everything is computed in float64, whatever the dtype of the layer, whose weights are converted to a copy: a fixed point
has fifteen digits of the map that the converted weights define. The step is that of evaluation, without dropout and
with the expectation of zoneout. It has to be a map: a cell that draws noise is accepted only if a scalar of the run
that is zero multiplies it, as after ``layer.hyperparameters["noise"] = 0.0``. It is computed on the CPU, for a layer on
a GPU too. Results are NumPy arrays, because eigenvalues are complex and nothing here has a gradient.
"""

from ._fixed_points import FixedPoints, fixed_points
from ._jacobian import input_jacobian, jacobian
from ._lyapunov import lyapunov_exponents
from ._state_vectors import split_states, stack_states

__all__ = [
    "FixedPoints",
    "fixed_points",
    "input_jacobian",
    "jacobian",
    "lyapunov_exponents",
    "split_states",
    "stack_states",
]


def __dir__() -> list[str]:
    return __all__
