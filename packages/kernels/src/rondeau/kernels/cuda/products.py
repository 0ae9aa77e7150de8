"""Products: the recurrent matrices times an operand of a step, and their transposes times the adjoints of its slots.

Each is one product of the array library, whatever the number of gates. With several heads a matrix is block-diagonal,
and the product is a batch of one product a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.cell.schedule import Schedule

__all__ = ["OperandProduct", "multiply_before", "products_of"]

Array = NDArray[Any]


class OperandProduct:
    """The products with the matrices of all gates that multiply an operand. N rows, k gates, H units, P columns.

    Parameters
    ----------
    schedule : Schedule
    number : int
        The operand's place in `Schedule.operands`.
    weight_hh : ndarray, shape (R * H, P), or (R * H, H / heads)
        The recurrent matrices, in the order of the buffers.
    hidden, heads : int

    Attributes
    ----------
    name : str
        The kernels' name for the results of forward.
    value : int or None
        The operand's place among the values that the step computes; None for the first state.
    num_gates : int
    joint, split : slice
        The gates' slots among all, and their recurrent slots among those of split gates.
    before, after : int
        The phase of forward before which the product runs, and that of backward after which it runs.
    """

    def __init__(
        self, schedule: Schedule, number: int, weight_hh: Array | None, hidden: int, heads: int
    ) -> None:
        operand = schedule.operands[number]
        self.name = f"product_{number}"
        self.value = None if operand.node is None else schedule.values.index(operand.node)
        self.num_gates = len(operand.joint) + len(operand.split)
        self.joint = _places(schedule.joint, operand.joint)
        self.split = _places(schedule.split, operand.split)
        self.before = schedule.forward_group(operand)
        self._schedule, self._operand = schedule, operand
        self._heads, self._hidden = heads, hidden
        assert weight_hh is not None  # since it has a gate
        of_gates = weight_hh.reshape(-1, hidden, weight_hh.shape[1])
        second = slice(len(schedule.joint) + self.split.start, len(schedule.joint) + self.split.stop)
        parts = [of_gates[rows] for rows in (self.joint, second) if rows.start < rows.stop]
        self._matrices = parts[0] if len(parts) == 1 else np.concatenate(parts)

    @property
    def after(self) -> int:
        """The phase of backward after which the product runs."""
        return self._schedule.backward_group(self._operand)

    def forward(self, operand: Array, result: Array) -> None:
        """Fill the results (N, k, H) for an operand (N, P)."""
        count, k, H, heads = len(operand), self.num_gates, self._hidden, self._heads
        if heads == 1:
            matrix = self._matrices.reshape(k * H, -1)
            np.matmul(operand, matrix.T, out=result.reshape(count, k * H))
            return
        size = H // heads
        blocks = self._matrices.reshape(k, heads, size, size).transpose(1, 3, 0, 2).reshape(heads, size, -1)
        found = np.matmul(operand.reshape(count, heads, size).transpose(1, 0, 2), blocks)
        result.reshape(count, k, heads, size)[...] = found.reshape(heads, count, k, size).transpose(
            1, 2, 0, 3
        )

    def backward(self, gates: Array, recurrent: Array, result: Array) -> None:
        """Fill the adjoint of the operand (N, P), from those of all slots (N, S, H) and recurrent slots (N, R, H)."""
        d_joint, d_split = gates[:, self.joint], recurrent[:, self.split]
        first = d_joint.shape[1]
        if first:
            self._multiply_back(d_joint, self._matrices[:first], result)
        if d_split.shape[1]:
            if first:
                part = np.empty_like(result)
                self._multiply_back(d_split, self._matrices[first:], part)
                result += part
            else:
                self._multiply_back(d_split, self._matrices, result)

    def _multiply_back(self, d_slots: Array, matrices: Array, result: Array) -> None:
        count, k, H = d_slots.shape
        heads = self._heads
        if heads == 1:
            np.matmul(d_slots.reshape(count, k * H), matrices.reshape(k * H, -1), out=result)
            return
        size = H // heads
        blocks = matrices.reshape(k, heads, size, size).transpose(1, 0, 2, 3).reshape(heads, k * size, size)
        of_heads = (
            d_slots.reshape(count, k, heads, size).transpose(2, 0, 1, 3).reshape(heads, count, k * size)
        )
        result.reshape(count, heads, size)[...] = np.matmul(of_heads, blocks).transpose(1, 0, 2)

    def weight_gradient(self, gates: Array, recurrent: Array, operand: Array) -> list[tuple[slice, Array]]:
        """Return the gradients of the rows of the recurrent matrices, in the order of the buffers, for N rows."""
        found = []
        first_split = len(self._schedule.joint)
        for slots, places, at in ((gates, self.joint, 0), (recurrent, self.split, first_split)):
            if places.start < places.stop:
                rows = slice((at + places.start) * self._hidden, (at + places.stop) * self._hidden)
                found.append((rows, self._outer(slots[:, places], operand)))
        return found

    def _outer(self, d_slots: Array, operand: Array) -> Array:
        count, k, H = d_slots.shape
        heads = self._heads
        if heads == 1:
            return np.matmul(d_slots.reshape(count, k * H).T, operand)  # type: ignore[no-any-return]
        size = H // heads
        of_heads = (
            d_slots.reshape(count, k, heads, size).transpose(2, 1, 3, 0).reshape(heads, k * size, count)
        )
        found = np.matmul(of_heads, operand.reshape(count, heads, size).transpose(1, 0, 2))
        return found.reshape(heads, k, size, size).transpose(1, 0, 2, 3).reshape(k * H, size)  # type: ignore[no-any-return]


def products_of(
    schedule: Schedule, weight_hh: Array | None, hidden: int, heads: int
) -> tuple[OperandProduct, ...]:
    """Return the products of all operands of a schedule; the arguments are those of `OperandProduct`."""
    return tuple(
        OperandProduct(schedule, number, weight_hh, hidden, heads) for number in range(len(schedule.operands))
    )


def multiply_before(
    phase: int,
    products: tuple[OperandProduct, ...],
    hidden: Array,
    values: Array,
    results: Mapping[str, Array],
) -> None:
    """Run the products of forward that come before a phase, for the N rows of a step.

    Parameters
    ----------
    phase : int
    products : tuple of OperandProduct
    hidden : ndarray, shape (N, P)
        The first state before the step.
    values : ndarray, shape (N, V, H)
        The operands that the step has computed.
    results : mapping of str to ndarray, shape (B, k, H)
        Where the results of each product go, by its name; the first N rows are filled.
    """
    for product in products:
        if product.before == phase:
            operand = hidden if product.value is None else values[:, product.value]
            product.forward(operand, results[product.name][: len(hidden)])


def _places(all_gates: tuple[str, ...], gates: tuple[str, ...]) -> slice:
    """Return the places of gates that follow one another."""
    first = all_gates.index(gates[0]) if gates else 0
    return slice(first, first + len(gates))
