"""Hooks of tensors, and the gradients that results retain."""

import pytest

from rondeau import tensor as rt


def leaf(values):
    return rt.tensor(values, dtype="float64", requires_grad=True)


def test_hook_sees_the_whole_gradient_once():
    x = leaf([2.0])
    h = x * 3
    seen = []
    h.register_hook(lambda g: seen.append(g.tolist()))
    x.register_hook(lambda g: seen.append(g.tolist()))
    (h + h * h).backward()
    assert seen == [[13.0], [39.0]]


def test_hook_replaces_the_gradient_and_can_be_removed():
    x = leaf([2.0])
    handle = x.register_hook(lambda g: g * 10)
    (x * 1).backward()
    assert x.grad.item() == 10
    handle.remove()
    handle.remove()
    (x * 1).backward()
    assert x.grad.item() == 11


def test_hooks_without_kept_handles_all_run_in_their_order():
    x = rt.ones(1, requires_grad=True)
    seen = []
    for i in range(5):
        x.register_hook(lambda g, i=i: seen.append(i))
    (2 * x).sum().backward()
    assert seen == [0, 1, 2, 3, 4]


def test_a_hook_that_keeps_the_gradient_keeps_its_value():
    x = leaf([2.0])
    kept = []
    x.register_hook(kept.append)
    (x * 2).backward()
    (x * 2).backward()
    assert [g.item() for g in kept] == [2, 2]


def test_hook_errors():
    x = leaf([1.0, 2.0])
    x.register_hook(lambda g: g.sum())
    with pytest.raises(RuntimeError, match=r"must keep the shape \(2,\), got \(\)"):
        (x * 2).sum().backward()
    y = leaf([1.0])
    y.register_hook(lambda g: 3)
    with pytest.raises(TypeError, match="must return a Tensor or None, got int"):
        (y * 2).backward()
    with pytest.raises(RuntimeError, match="does not require gradients"):
        rt.ones(1).register_hook(print)


def test_hook_under_create_graph_records():
    x = leaf([2.0])
    y = x * x
    y.register_hook(lambda g: g * x)
    (g,) = rt.grad(y, x, create_graph=True)  # 2 x * x
    (second,) = rt.grad(g, x)
    assert (g.item(), second.item()) == (8, 8)


def test_retain_grad():
    x = leaf([2.0])
    h = x * 3
    h.retain_grad()
    (h * h).backward()
    assert h.grad.item() == 12
    with pytest.raises(RuntimeError, match="does not require gradients"):
        rt.ones(1).retain_grad()
