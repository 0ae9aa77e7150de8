"""The graph and the walk: accumulation, order, errors, memory, higher derivatives."""

import gc
import weakref

import numpy as np
import pytest

from comparing import assert_close
from rondeau import tensor as rt


@pytest.fixture
def no_collector():
    """Memory has to come back by reference count alone."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def leaf(values, dtype="float64"):
    return rt.tensor(values, dtype=dtype, requires_grad=True)


# ------------------------------------------------------------- the mistakes of a teaching autograd, one by one


def test_sum_of_two():
    x, y = leaf([1, 2, 3, 4, 5]), leaf([2] * 5)
    z = x + y
    z.backward(rt.ones(5, dtype="float64"))
    assert x.grad.tolist() == y.grad.tolist() == [1] * 5


def test_a_node_used_twice_gets_both_gradients():
    a, b, c = leaf([1, 2, 3, 4, 5]), leaf([2] * 5), leaf([5, 4, 3, 2, 1])
    f = (a + b) + (b + c)
    assert f.tolist() == [10] * 5
    f.backward(rt.ones(5, dtype="float64"))
    assert (a.grad.tolist(), b.grad.tolist(), c.grad.tolist()) == ([1] * 5, [2] * 5, [1] * 5)


@pytest.mark.parametrize(
    "op",
    [
        lambda x: x.mm(rt.eye(3, dtype="float64")),
        lambda x: x.T,
        lambda x: x.sum(0).expand(3, 3) / 3,
        lambda x: x.neg().neg(),
    ],
    ids=["mm", "transpose", "sum-expand", "neg"],
)
def test_a_reused_node_is_propagated_once_all_its_gradient_has_come(op):
    """y reaches the end by a short and a long way; handed on after the short one, x would get 2 instead of 3."""
    x = leaf(np.ones((3, 3)))
    y = op(x * 1)
    ((y + 0) * 2 + y).sum().backward()
    assert_close(x.grad, np.full((3, 3), 3.0), rtol=1e-15)


def test_an_unused_branch_blocks_nothing():
    x = leaf([1.0])
    y = x * 2
    unused = y * 3
    (y * 5).backward()
    assert x.grad.item() == 10
    assert unused.requires_grad


@pytest.mark.parametrize(
    "op",
    [
        lambda x: x.mm(x),
        lambda x: x.T,
        lambda x: x.sum(0),
        lambda x: x.expand(2, 2, 2),
        lambda x: -x,
        lambda x: x + 1,
        lambda x: x.reshape(4),
        lambda x: x[0],
        lambda x: rt.cat([x, x]),
    ],
    ids=["mm", "transpose", "sum", "expand", "neg", "add", "reshape", "getitem", "cat"],
)
def test_second_backward_is_an_error_for_every_op(op):
    end = op(leaf(np.ones((2, 2)))).sum()
    end.backward()
    with pytest.raises(RuntimeError, match=r"second time.*retain_graph=True"):
        end.backward()


@pytest.mark.parametrize(
    "make",
    [lambda t: t + 2, lambda t: 2 + t, lambda t: t - 2, lambda t: 2 - t, lambda t: t * 2, lambda t: 2 * t],
)
def test_a_constant_does_not_drop_the_graph(make):
    t = leaf([3.0])
    make(t).backward()
    assert abs(t.grad.item()) in (1, 2)


def test_division_of_a_number():
    t = leaf([4.0])
    (10 / t).backward()
    assert t.grad.item() == -10 / 16


def test_broadcast_gradients_are_summed():
    row, column, number = leaf([1, 2, 3]), leaf([[1], [2]]), leaf(5.0)
    (row * column * number).sum().backward()
    assert row.grad.tolist() == [15, 15, 15]
    assert column.grad.tolist() == [[30], [30]]
    assert number.grad.item() == 18


def test_add_hands_each_parent_an_array_of_its_own():
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    c = a + b
    c.retain_grad()
    c.backward(rt.tensor([7.0, 7.0], dtype="float64"))
    a.grad *= 0
    assert b.grad.tolist() == c.grad.tolist() == [7, 7]


def test_the_callers_gradient_is_not_kept():
    a = leaf([1.0])
    cotangent = rt.tensor([2.0], dtype="float64")
    a.backward(cotangent)
    a.backward(cotangent)
    assert a.grad.item() == 4
    assert cotangent.item() == 2


def test_identities_do_not_collide():
    """A table by random or recycled id would mix up nodes that live at different times."""
    x = leaf([1.0])
    total = x * 0
    for i in range(1000):
        total = total + x * i
    total.backward()
    assert x.grad.item() == sum(range(1000))


def test_zeroing_removes_nan():
    x = leaf([0.0])
    x.grad = rt.tensor([float("nan")], dtype="float64")
    x.grad.zero_()
    (x * 3).backward()
    assert x.grad.item() == 3


def test_an_unused_parameter_keeps_no_gradient():
    x, unused = leaf([1.0]), leaf([1.0])
    (x * 2).backward()
    assert unused.grad is None


@pytest.mark.parametrize("values", [[1, 2], [True, False]])
def test_integers_cannot_require_gradients(values):
    with pytest.raises(TypeError, match=r"floating type can require gradients.*use \.float\(\)"):
        rt.tensor(values, requires_grad=True)
    with pytest.raises(TypeError, match="floating type"):
        rt.tensor(values).requires_grad_()


# ------------------------------------------------------------------------------------------- whole programs


@pytest.mark.parametrize(
    ("factor", "losses"),
    [(2, (5.06644, 1.72524, 0.02613)), (1, (5.06644, 0.49599, 0.11614))],
    ids=["gradient", "half"],
)
def test_two_layer_network(factor, losses):
    random = np.random.RandomState(0)
    x = rt.tensor(np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]))
    y = rt.tensor(np.array([[0.0], [1], [0], [1]]))
    w, v = leaf(random.rand(2, 3)), leaf(random.rand(3, 1))
    seen = []
    for _ in range(10):
        loss = (((x @ w).relu() @ v - y) ** 2).sum()
        (loss * (factor / 2)).backward()
        seen.append(loss.item())
        for p in (w, v):
            p.data -= 0.1 * p.grad
            p.grad = None
    assert (seen[0], seen[1], seen[9]) == pytest.approx(losses, abs=5e-6)


def micrograd(a, b):
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2
    g += 10 / f
    return g


def test_micrograd():
    a, b = leaf(-4.0), leaf(2.0)
    g = micrograd(a, b)
    g.backward()
    assert (g.item(), a.grad.item(), b.grad.item()) == pytest.approx((24.7041, 138.8338, 645.5773), abs=5e-5)


def test_second_derivative_of_micrograd():
    a, b = leaf(-4.0), leaf(2.0)
    (first,) = rt.grad(micrograd(a, b), a, create_graph=True)
    (second,) = rt.grad(first, a)
    step = 1e-4

    def slope(at):
        return rt.grad(micrograd(at, b), at)[0].item()

    difference = (slope(leaf(-4.0 + step)) - slope(leaf(-4.0 - step))) / (2 * step)
    assert second.item() == pytest.approx(difference, rel=1e-7)


# ----------------------------------------------------------------------------------------- length and memory


def test_a_chain_of_100_000_ops():
    x = leaf([1.0])
    y = x
    for _ in range(100_000):
        y = y * 1.0
    y.backward()
    assert x.grad.item() == 1
    del y  # frees 100,000 nodes without recursion


def test_a_long_chain_that_nobody_differentiates_is_freed(no_collector):
    x = leaf([1.0])
    y = x
    for _ in range(100_000):
        y = y.tanh()
    seen = weakref.ref(y)
    del y
    assert seen() is None


@pytest.mark.parametrize("length", [10, 1000])
def test_work_grows_linearly_with_length(length):
    """Counted, not timed: a chain of n operations costs n products, though every link has a second way to the end."""

    class Link(rt.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            calls.append(1)
            return g

    calls = []
    x = leaf([1.0])
    y, total = x, x * 0
    for _ in range(length):
        y = Link.apply(y)
        total = total + y
    total.backward()
    assert len(calls) == length
    assert x.grad.item() == length


def test_memory_of_a_step_returns_without_the_collector(no_collector):
    w = leaf(np.ones((4, 4)))
    alive = []

    def step():
        x = rt.rand(4, 4, dtype="float64")
        h = (x @ w).tanh()
        y = h.exp().softmax(1)[0].max(0).values + h.sigmoid().norm() + h.std()
        k = h * 2
        k[1:2, 0] = h[0, 0]
        k.T[2].mul_(3)
        z = rt.cat([k.reshape(2, 8), h.reshape(2, 8)]).var()
        loss = (y + z).log()
        alive.extend(weakref.ref(t) for t in (x, h, k, y, z, loss))
        alive.extend(weakref.ref(t.detach().numpy()) for t in (x, h, k, y, z, loss))
        (y + z).backward()
        return loss

    loss = step()
    del loss
    assert [ref() for ref in alive] == [None] * len(alive)


def test_memory_returns_without_backward_and_after_create_graph(no_collector):
    w = leaf(np.ones((4, 4)))
    y = (w.exp() * w.sqrt()).sigmoid()
    (g,) = rt.grad(y.sum(), w, create_graph=True)
    refs = [weakref.ref(y), weakref.ref(g), weakref.ref(y.detach().numpy()), weakref.ref(g.detach().numpy())]
    g.sum().backward()
    del y, g
    assert [r() for r in refs] == [None] * 4


@pytest.mark.host_only("a weak reference to an array")
def test_backward_frees_saved_values_as_it_goes(no_collector):
    x = leaf(np.ones(1000))
    h = x.exp()
    saved = weakref.ref(h.detach().numpy())
    y = h.tanh().sum()
    del h
    assert saved() is not None
    y.backward()
    assert saved() is None


# ----------------------------------------------------------------------------------------- backward and grad


def test_gradients_accumulate_over_calls_into_the_same_tensor():
    x = leaf([2.0])
    (x * x).backward()
    first = x.grad
    (x * x).backward()
    assert x.grad is first
    assert first.item() == 8


def test_gradients_accumulate_beside_one_whose_elements_share_memory():
    x = leaf([1.0, 2.0])
    x.grad = rt.ones(1, dtype=x.dtype).expand(2)
    (x * 2).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_retain_graph():
    x = leaf([2.0])
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 8


def test_backward_without_gradient_needs_one_element():
    with pytest.raises(RuntimeError, match=r"one element, this one has shape \(2,\).*\.sum\(\)"):
        (leaf([1, 2]) * 2).backward()


def test_backward_of_a_constant():
    with pytest.raises(RuntimeError, match=r"does not require a gradient.*no_grad\(\) or after detach\(\)"):
        rt.ones(1).backward()


def test_backward_with_a_gradient_of_the_wrong_shape():
    with pytest.raises(RuntimeError, match=r"expected a gradient of shape \(2,\).*got \(3,\)"):
        (leaf([1, 2]) * 2).backward(rt.ones(3))


def test_grad_touches_no_leaf():
    x, y = leaf([2.0]), leaf([3.0])
    h = x * y
    gx, gh = rt.grad(h * h, [x, h])
    assert (gx.item(), gh.item()) == (36, 12)
    assert x.grad is None
    assert y.grad is None


def test_grad_visits_only_what_leads_to_the_inputs():
    x, y = leaf([2.0]), leaf([3.0])
    visited = []
    side = y * 5
    side.register_hook(visited.append)
    (g,) = rt.grad(x * side, x)
    assert g.item() == 15
    assert visited == []


def test_grad_of_an_unused_input():
    x, y = leaf([2.0]), leaf([3.0])
    with pytest.raises(RuntimeError, match=r"no output depends on inputs\[1\].*allow_unused=True"):
        rt.grad(x * 2, [x, y])
    assert rt.grad(x * 2, [x, y], allow_unused=True)[1] is None


def test_grad_of_a_constant_input():
    with pytest.raises(RuntimeError, match=r"inputs\[0\] does not require a gradient"):
        rt.grad(leaf([1.0]) * 2, rt.ones(1))


def test_grad_of_several_outputs_with_cotangents():
    x = leaf([2.0, 3.0])
    (g,) = rt.grad([x * 2, x * x], [x], [rt.ones(2), rt.tensor([1.0, 10.0])])
    assert g.tolist() == [2 + 4, 2 + 60]


def test_one_cotangent_for_each_output():
    x = leaf([2.0])
    with pytest.raises(RuntimeError, match="expected one gradient for each of 2 outputs, got 1"):
        rt.grad([x * 2, x * x], x, [rt.ones(1)])


def test_grad_returns_arrays_of_its_own():
    x, y = leaf([1.0]), leaf([1.0])
    a, b = rt.grad(x + y, [x, y])
    a.zero_()
    assert b.item() == 1


def test_create_graph_accumulates_recorded_gradients():
    x = leaf([2.0])
    (x**3).backward(create_graph=True)
    assert x.grad.requires_grad
    (g,) = rt.grad(x.grad, x)
    assert g.item() == 12


def test_third_derivative():
    x = leaf(0.7)
    value = x.sin()
    for _ in range(3):
        (value,) = rt.grad(value, x, create_graph=True)
    assert value.item() == pytest.approx(-np.cos(0.7))


def test_gradient_penalty():
    """The derivative of a norm of a gradient, in a closed form: y = x^3 / 3, penalty = y'^2 = x^4."""
    x = leaf([1.5])
    (g,) = rt.grad((x**3 / 3).sum(), x, create_graph=True)
    (g * g).sum().backward()
    assert x.grad.item() == pytest.approx(4 * 1.5**3)


def test_accumulation_in_place_does_not_corrupt_what_used_the_gradient():
    x = leaf([2.0])
    (x * 3).backward()
    penalty = x * x.grad
    (x * 3).backward()  # adds to x.grad in place
    with pytest.raises(RuntimeError, match="changed in place"):
        penalty.backward()


def test_mixed_types_give_each_leaf_its_own():
    x, y = leaf([1.0], "float32"), leaf([2.0], "float64")
    (x * y).backward()
    assert x.grad.dtype == rt.float32
    assert y.grad.dtype == rt.float64


def test_only_leaves_get_a_gradient():
    x = leaf([2.0])
    h = x * 3
    h.backward()
    assert h.grad is None
