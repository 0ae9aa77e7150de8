"""The non-recurrent work: the input projection before a run, and the gradients of input and weights after it.

Each is one large product over all N rows of the batch; the notation is that of `Tape`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cuda.products import products_of
from rondeau.kernels.ops.arrays.scatter import add_rows
from rondeau.kernels.recurrent.ordering import in_weight_order
from rondeau.kernels.recurrent.records import Adjoints, Run, Tape, Weights

__all__ = ["WeightSums", "input_gradient", "project_input"]

Array = NDArray[Any]


def project_input(x: Array, weight_ih: Array, gates: Array) -> None:
    """Fill ``gates`` (N, G H) with the input part of every gate, without its bias; ids are a gather."""
    if x.ndim == 2:
        np.matmul(x, weight_ih.T, out=gates)
    else:
        gates[...] = np.take(weight_ih.T, x, axis=0)


def input_gradient(tape: Tape, adjoints: Adjoints) -> Array:
    """Return the gradient of x, (N, I)."""
    return np.matmul(adjoints.gates, tape.weights.weight_ih)  # type: ignore[no-any-return]


class WeightSums:
    """The gradients of a layer's weights, summed over rows in the order in which backward runs."""

    def __init__(self, run: Run, x: Array, weights: Weights) -> None:
        """Start from zero; ``x`` has all rows of the run."""
        schedule, like = run.cell.schedule, weights.weight_ih
        self._schedule, self._weights = schedule, weights
        self._hidden = H = like.shape[0] // len(schedule.order)
        self._d_ih = np.zeros_like(like)
        self._d_hh = None if weights.weight_hh is None else np.zeros_like(weights.weight_hh)
        self._d_hr = None if weights.weight_hr is None else np.zeros_like(weights.weight_hr)
        self._products = products_of(schedule, weights.weight_hh, H, run.settings.num_heads)
        self._d_bias = np.zeros_like(like, np.float64, shape=like.shape[:1])
        self._d_second_bias = np.zeros_like(like, np.float64, shape=(len(schedule.split) * H,))
        self.d_params = np.zeros_like(like, shape=(run.layout.batch_size, len(weights.params), H))

    def add(self, tape: Tape, adjoints: Adjoints) -> None:
        """Add the contribution of the rows of a piece."""
        layout, reverse = tape.run.layout, tape.run.reverse
        d_gates = adjoints.gates
        if tape.x.ndim == 2:
            self._d_ih += np.matmul(d_gates.T, tape.x)
        else:
            add_rows(d_gates, tape.x, self._d_ih.T)
        if self._weights.bias_ih is not None or self._weights.bias_hh is not None:
            self._d_bias += np.sum(d_gates, axis=0, dtype=np.float64)
            self._d_second_bias += np.sum(adjoints.recurrent, axis=0, dtype=np.float64)
        if self._d_hh is not None:
            before = tape.first[layout.sent(layout.before_rows(reverse), tape.first)]
            if tape.keep.size:
                before = before * tape.keep[layout.sent(layout.batch_rows, tape.keep)]
            gates = d_gates.reshape(tape.gates.shape)
            recurrent = adjoints.recurrent.reshape(tape.recurrent.shape)
            for product in self._products:
                operand = before if product.value is None else tape.values[:, product.value]
                for rows, found in product.weight_gradient(gates, recurrent, operand):
                    self._d_hh[rows] += found
        if self._d_hr is not None:
            after = tape.states[0][layout.sent(layout.after_rows(reverse), tape.states)]
            self._d_hr += np.matmul(adjoints.projected.T, after)

    def finish(self) -> Weights:
        """Return the gradients, in the shapes and the order of the weights."""
        schedule, weights, H = self._schedule, self._weights, self._hidden
        dtype = weights.weight_ih.dtype
        d_bias_ih = d_bias_hh = None
        if weights.bias_ih is not None:
            d_bias_ih = self._d_bias.astype(dtype)
        if weights.bias_hh is not None:
            joint = self._d_bias[: len(schedule.joint) * H]
            d_bias_hh = np.concatenate((joint, self._d_second_bias)).astype(dtype)
        d_params: tuple[Array, ...] = ()
        if weights.params:
            total = np.sum(self.d_params, axis=0, dtype=np.float64).astype(dtype)
            d_params = tuple(total[k] for k in range(len(weights.params)))
        found = Weights(self._d_ih, self._d_hh, d_bias_ih, d_bias_hh, self._d_hr, d_params)
        return in_weight_order(schedule, found)
