"""Inference mode, with PyTorch as the oracle: what is an error, and what is a value."""

import threading

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import tensor as rt
from rondeau.tensor._graph import INFERENCE

torch = pytest.importorskip("torch")


def made(m, w):
    with m.inference_mode():
        return w.detach().clone() * 2


def saved(m, w):
    return w * made(m, w)


def saved_twice_over(m, w):
    return (w * made(m, w)[0].reshape(1, 3)).sum()


def not_saved(m, w):
    (w + made(m, w)).sum().backward()
    return w.grad


def cloned(m, w):
    (w * made(m, w).clone()).sum().backward()
    return w.grad


def begins_to_require(m, w):
    return made(m, w).requires_grad_()


def changed_outside(m, w):
    return made(m, w).add_(1)


def changed_unrecorded(m, w):
    with m.no_grad():
        return made(m, w).add_(1)


def written_outside(m, w):
    x = made(m, w)
    x[0] = 1.0
    return x


def view_changed_outside(m, w):
    return made(m, w)[0].zero_()


def changed_inside(m, w):
    with m.inference_mode():
        x = m.zeros_like(w)
        x.add_(1)
        x[0] = 5.0
        x[1].mul_(3)
    return x


def ordinary_changed_inside(m, w):
    x = w.detach().clone()
    with m.inference_mode():
        x.mul_(3)
    return x.add_(1)


def noticed(m, w):
    """A change inside counts: what saved the old values says so."""
    y = (w * w).sum()
    with m.inference_mode():
        w.mul_(2)
    y.backward()


def view_of_an_ordinary_one(m, w):
    x = w.detach().clone()
    with m.inference_mode():
        row = x[0]
    (w[0] * row).sum().backward()
    return w.grad, row.is_inference()


def not_recorded(m, w):
    with m.inference_mode():
        y = (w * 2).sum()
    return y.requires_grad, y.is_leaf, y.is_inference(), w.is_inference()


def modes(m, w):
    found = [m.is_inference_mode_enabled()]
    with m.inference_mode():
        found += [m.is_inference_mode_enabled(), m.is_grad_enabled(), (w * 2).requires_grad]
        with m.inference_mode(False):
            found += [m.is_inference_mode_enabled(), m.is_grad_enabled(), (w * 2).requires_grad]
        found += [m.is_inference_mode_enabled()]
        with m.enable_grad():
            found += [(w * 2).requires_grad]
        with m.set_grad_enabled(True):
            found += [(w * 2).requires_grad]
    with m.inference_mode(mode=False):
        found += [m.is_inference_mode_enabled(), (w * 2).requires_grad]
    return (*found, m.is_inference_mode_enabled(), m.is_grad_enabled())


def decorated(m, w):
    @m.inference_mode()
    def called(x):
        return x * 2

    @m.inference_mode
    def bare(x):
        """Say so."""
        return x * 2

    @m.no_grad
    def unrecorded(x):
        return x * 2

    @m.inference_mode(mode=False)
    def recorded(x):
        return x * 2

    return (
        *(f(w).is_inference() for f in (called, bare, unrecorded, recorded)),
        *(f(w).requires_grad for f in (called, bare, unrecorded, recorded)),
        bare.__name__ == "bare",
        m.is_inference_mode_enabled(),
    )


def parameter_inside(m, w):
    with m.inference_mode():
        p = m.ones(2, requires_grad=True)
    return p.requires_grad, p.is_inference()


def parameter_inside_used(m, w):
    with m.inference_mode():
        p = m.ones(2, 3, requires_grad=True)
    return (p * w).sum()


def after_an_error(m, w):
    try:
        with m.inference_mode():
            raise ArithmeticError
    except ArithmeticError:
        return m.is_inference_mode_enabled(), m.is_grad_enabled()


def detached(m, w):
    return (
        made(m, w).detach().is_inference(),
        made(m, w).clone().is_inference(),
        (made(m, w) + 1).is_inference(),
    )


def in_a_function(m, w):
    base = rt.Function if m is rt else torch.autograd.Function

    class Scaled(base):
        @staticmethod
        def forward(ctx, x, by):
            ctx.save_for_backward(by)
            return x * by

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0], None

    return Scaled.apply(w, made(m, w))


PROGRAMS = [
    saved,
    saved_twice_over,
    not_saved,
    cloned,
    begins_to_require,
    changed_outside,
    changed_unrecorded,
    written_outside,
    view_changed_outside,
    changed_inside,
    ordinary_changed_inside,
    noticed,
    view_of_an_ordinary_one,
    not_recorded,
    modes,
    decorated,
    parameter_inside,
    parameter_inside_used,
    after_an_error,
    detached,
    in_a_function,
]


def outcome(m, program):
    w = m.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 4.0]], requires_grad=True)
    try:
        result = program(m, w)
    except RuntimeError:
        return ["error"]
    parts = result if isinstance(result, tuple) else (result,)
    return [x if isinstance(x, bool) else x.detach().numpy() for x in parts]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_inference_mode_is_pytorchs(program):
    ours, theirs = outcome(rt, program), outcome(torch, program)
    assert len(ours) == len(theirs)
    for mine, its in zip(ours, theirs, strict=True):
        if isinstance(its, np.ndarray):
            assert_same_bits(mine, its)
        else:
            assert mine == its


def test_messages():
    w = rt.ones(2, requires_grad=True)
    x = made(rt, w)
    for wrong, message in (
        (lambda: w * x, "made in inference_mode cannot be saved for backward: clone"),
        (lambda: x.zero_(), "made in inference_mode cannot be changed in place outside of it: clone"),
        (
            lambda: x.requires_grad_(),
            "made in inference_mode cannot begin to require gradients outside of it: clone",
        ),
    ):
        with pytest.raises(RuntimeError, match=message):
            wrong()


def test_the_mode_is_the_thread_s():
    seen = []
    with rt.inference_mode():
        thread = threading.Thread(
            target=lambda: seen.append((rt.ones(1).is_inference(), rt.is_grad_enabled()))
        )
        thread.start()
        thread.join()
    assert seen == [(False, True)]


def test_generators_cannot_be_decorated():
    with pytest.raises(TypeError, match="inference_mode cannot decorate a generator"):

        @rt.inference_mode()
        def items():
            yield rt.ones(1)


def test_the_mode_costs_nothing_once_its_tensors_have_died():
    outer = set(INFERENCE)
    with rt.inference_mode(), rt.inference_mode(False), rt.inference_mode():
        kept = rt.ones(2)
        assert len(INFERENCE.keys() - outer) == 4
    view = kept[:1]
    del kept
    assert len(INFERENCE.keys() - outer) == 1
    assert view.is_inference()
    del view
    assert not INFERENCE.keys() - outer
