"""Tensors of few rows: they become ordinary ones when something reads them, and backward adds to them."""

import copy
import pickle

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import tensor as rt
from rondeau.kernels.ops.few_rows import FewRows, summed
from rondeau.tensor.autograd import few_rows, from_few_rows

V, E = 6, 2


def rows(*ids):
    """Return rows of sevens."""
    return FewRows(np.array(ids), np.full((len(ids), E), 7.0), V)


class Lookup(rt.Function):
    """Rows of a table by id, whose gradient is of few rows."""

    owns_gradients = True

    @staticmethod
    def forward(ctx, table, ids):
        ctx.ids = ids
        return rt.Tensor(table.detach().numpy()[ids])

    @staticmethod
    def backward(ctx, g):
        return from_few_rows(summed(g.numpy(), ctx.ids, V)), None


READINGS = {
    "numpy": lambda t: t.numpy(),
    "shape": lambda t: t.shape,
    "arithmetic": lambda t: t + 1,
    "a view": lambda t: t[1:],
    "detach": lambda t: t.detach(),
    "data": lambda t: t.data,
    "repr": repr,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": pickle.dumps,
    "in place": lambda t: t.mul_(1),
    "data assigned": lambda t: setattr(t, "data", rows(1, 4).whole()),
}


@pytest.mark.parametrize("reading", READINGS)
def test_reading_makes_an_ordinary_tensor(reading):
    tensor = from_few_rows(rows(1, 4))
    assert isinstance(tensor, rt.Tensor)
    assert few_rows(tensor).ids.tolist() == [1, 4]
    READINGS[reading](tensor)
    assert type(tensor) is rt.Tensor
    assert few_rows(tensor) is None
    assert_same_bits(tensor.numpy(), rows(1, 4).whole())


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_copies_are_ordinary_tensors(copied):
    other = copied(from_few_rows(rows(0)))
    assert type(other) is rt.Tensor
    assert_same_bits(other.numpy(), rows(0).whole())


def test_no_other_tensor_has_few_rows():
    assert few_rows(rt.zeros(3, 2)) is None


def gradient_of(*ids, dtype="float64", times=1.0):
    """Return what a lookup adds to the gradient of a table."""
    whole = np.zeros((V, E), dtype)
    for at in ids:
        whole[at] += times
    return whole


def test_backward_adds_rows_to_rows_and_to_matrices():
    table = rt.zeros(V, E, dtype="float64", requires_grad=True)
    Lookup.apply(table, np.array([4, 1, 4])).sum().backward()
    held = table.grad
    assert few_rows(held).ids.tolist() == [1, 4]
    Lookup.apply(table, np.array([0, 1])).sum().backward()
    assert table.grad is held
    assert few_rows(held).ids.tolist() == [0, 1, 4]
    right = gradient_of(4, 1, 4, 0, 1)
    Lookup.apply(table, np.array([5])).sum().backward()
    assert_same_bits(held.numpy(), gradient_of(4, 1, 4, 0, 1, 5))
    Lookup.apply(table, np.array([5])).sum().backward()  # read by now
    assert table.grad is held
    assert_same_bits(held.numpy(), right + gradient_of(5, 5))


@pytest.mark.parametrize("rows_first", [True, False])
def test_rows_and_a_matrix_of_one_backward(rows_first):
    table = rt.zeros(V, E, dtype="float64", requires_grad=True)
    parts = [lambda: (3 * table).sum(), lambda: Lookup.apply(table, np.array([2, 2])).sum()]
    first, second = parts if rows_first else parts[::-1]  # the younger is differentiated first
    (first() + second()).backward()
    assert few_rows(table.grad) is None
    assert_same_bits(table.grad.numpy(), np.full((V, E), 3.0) + gradient_of(2, 2))


def test_two_lookups_of_one_backward_stay_rows():
    table = rt.zeros(V, E, dtype="float64", requires_grad=True)
    (Lookup.apply(table, np.array([3])) + Lookup.apply(table, np.array([1]))).sum().backward()
    assert few_rows(table.grad).ids.tolist() == [1, 3]


def test_rows_that_a_function_does_not_own_are_copied():
    class Keeping(Lookup):
        owns_gradients = False

        @staticmethod
        def backward(ctx, g):
            Keeping.returned = from_few_rows(summed(g.numpy(), ctx.ids, V))
            return Keeping.returned, None

    table = rt.zeros(V, E, dtype="float64", requires_grad=True)
    Keeping.apply(table, np.array([2])).sum().backward()
    few_rows(table.grad).values *= 3
    assert_same_bits(table.grad.numpy(), gradient_of(2, times=3.0))
    assert_same_bits(Keeping.returned.numpy(), gradient_of(2))


def test_hooks_other_operations_grad_and_recorded_gradients_get_matrices():
    seen = []
    table = rt.zeros(V, E, dtype="float64", requires_grad=True)
    loss = Lookup.apply(table, np.array([2])).sum()
    (found,) = rt.grad(loss, table, retain_graph=True)
    assert_same_bits(found.numpy(), gradient_of(2))
    assert type(found) is rt.Tensor
    (found,) = rt.grad(loss, table, create_graph=True)
    assert_same_bits(found.detach().numpy(), gradient_of(2))
    Lookup.apply(2 * table, np.array([2])).sum().backward()
    assert_same_bits(table.grad.numpy(), gradient_of(2, times=2.0))
    table.grad = None
    table.register_hook(lambda g: seen.append(g.numpy().copy()))
    Lookup.apply(table, np.array([2])).sum().backward()
    assert_same_bits(seen[0], gradient_of(2))
    assert_same_bits(table.grad.numpy(), gradient_of(2))


def test_a_wrong_shape_is_refused():
    table = rt.zeros(V + 1, E, dtype="float64", requires_grad=True)
    with pytest.raises(
        ValueError, match=r"returned a gradient of shape \(6, 2\) for argument 0 of shape \(7, 2\)"
    ):
        Lookup.apply(table, np.array([2])).sum().backward()


def test_a_table_that_has_another_dtype_by_now_gets_a_matrix_of_it():
    table = rt.zeros(V, E, dtype="float64", requires_grad=True)
    loss = Lookup.apply(table, np.array([2])).sum()
    table.data = np.zeros((V, E), np.float32)
    loss.backward()
    assert_same_bits(table.grad.numpy(), gradient_of(2, dtype="float32"))
