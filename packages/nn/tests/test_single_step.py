"""Single steps: what is kept from one call for the next depends on nothing that may change in between."""

import gc
import weakref

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.product.tiles import MULTIPLIES_PAIRS

I, H = 3, 5  # noqa: E741 - inputs and hidden units


def by_hand(cell, x, h):
    """The step of a GRU as its paper has it, with the reset gate after the product (Cho et al. 2014)."""
    w, r, b, c = (p.detach().numpy().astype(np.float64) for p in cell.parameters())
    of_input, of_state = x.numpy() @ w.T + b, h.detach().numpy() @ r.T + c
    reset, update, new = np.split(of_input, 3, 1)
    of_reset, of_update, of_new = np.split(of_state, 3, 1)
    reset, update = (1 / (1 + np.exp(-gate)) for gate in (reset + of_reset, update + of_update))
    return (1 - update) * np.tanh(new + reset * of_new) + update * h.detach().numpy()


def test_weights_sizes_and_dtypes_may_change_between_steps():
    rt.manual_seed(0)
    cell, rng = nn.GRUCell(I, H), np.random.default_rng(0)

    def check(batch, dtype="float32"):
        x, h = (rt.tensor(rng.standard_normal((batch, n)).astype(dtype)) for n in (I, H))
        found = cell(x, h)
        assert found.dtype == np.dtype(dtype)
        of_largest = 1e-6 if dtype == "float32" else 1e-14
        assert_close(found.detach().numpy(), by_hand(cell, x, h), of_largest=of_largest)

    check(4)
    with rt.no_grad():
        cell.weight_hh.mul_(-2.0)
        cell.bias_hh.add_(1.0)
    check(4)
    cell.weight_ih.data = rt.tensor(rng.standard_normal((3 * H, I)).astype(np.float32))
    check(4)
    check(2)
    cell.weight_hh = nn.Parameter(rt.tensor(rng.standard_normal((3 * H, H)).astype(np.float32)))
    check(4)
    cell.double()
    check(4, "float64")
    cell.weight_ih.data = rt.zeros(3 * H, I + 1, dtype="float64")
    with pytest.raises(ValueError, match=r"x must have shape \(4, 4\), got \(4, 3\)"):
        check(4, "float64")


def test_gradients_are_those_of_the_weights_that_require_them_now():
    cell, x, h = nn.GRUCell(I, H), rt.randn(4, I), rt.randn(4, H, requires_grad=True)
    for frozen in ((), ("weight_hh", "bias_ih"), ()):
        for name, weight in cell.named_parameters():
            weight.requires_grad_(name not in frozen)
        cell.zero_grad()
        cell(x, h).sum().backward()
        assert {name for name, weight in cell.named_parameters() if weight.grad is None} == set(frozen)
    with rt.no_grad():
        assert not cell(x, h).requires_grad


@nn.recurrent_cell(gates=("h",), states=("h",))
def _leaky(x, r, s, *, leak=0.5):
    return s.h + leak * (x.h + r.h - s.h)


def test_scalars_of_a_cell_may_change_between_steps():
    step, x, h = (
        nn.RecurrentCell(_leaky, I, H, dtype="float64"),
        rt.randn(2, I).double(),
        rt.randn(2, H).double(),
    )
    change = step(x, h) - h
    step.hyperparameters["leak"] = 0.25
    assert_close((step(x, h) - h).detach().numpy(), change.detach().numpy() / 2, rtol=1e-12, atol=1e-14)


def test_the_precision_of_products_may_change_between_steps():
    cell, x, h = nn.GRUCell(32, 32), rt.randn(4, 32), rt.randn(4, 32)
    before = cell(x, h).detach().numpy()
    with rt.float32_matmul_precision("medium"):
        if MULTIPLIES_PAIRS:
            assert cell(x, h).detach().numpy().tobytes() != before.tobytes()
    assert_same_bits(cell(x, h).detach().numpy(), before)


def test_a_new_state_may_be_changed_in_place():
    """It is no memory that backward reads."""
    cell, x, h = nn.GRUCell(I, H), rt.randn(4, I), rt.randn(4, H, requires_grad=True)
    (expected,) = rt.grad((cell(x, h) * 3).sum(), h)
    new = cell(x, h)
    new.mul_(3)
    (found,) = rt.grad(new.sum(), h)
    assert_same_bits(found.numpy(), expected.numpy())


def test_a_cell_that_was_stepped_is_not_kept_alive():
    def step():
        cell = nn.recurrent_cell(gates=("h",), states=("h",))(lambda x, r, s: x.h + r.h)
        nn.RecurrentCell(cell, 1, 1)(rt.ones(2, 1)).sum().backward()
        return weakref.ref(cell)

    cell = step()
    gc.collect()
    assert cell() is None
