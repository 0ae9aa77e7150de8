"""Views and the history of what they show, after changes in place; PyTorch is the oracle."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

from comparing import assert_close
from rondeau import tensor as rt

torch = pytest.importorskip("torch")


def plain(result):
    """Return what a program returns with arrays in the place of tensors."""
    if isinstance(result, (tuple, list)):
        return [plain(part) for part in result]
    return result if result is None or isinstance(result, str) else np.array(result.detach().numpy())


def leaf(m, values=(1.0, 2.0, 3.0, 4.0, 5.0)):
    return m.tensor(np.array(values), requires_grad=True)


def weights(m, *shape):
    return m.tensor(np.arange(2.0, 2.0 + np.prod(shape, dtype=int)).reshape(shape))


def grad(m, outputs, inputs, gradients=None, **options):
    return (rt if m is rt else torch.autograd).grad(outputs, inputs, gradients, **options)


# ------------------------------------------------------------------------------- a view follows its base


def root_of_backward(m):
    r = leaf(m)
    x = r * 2
    v = x[1:3]
    x.mul_(3)
    return grad(m, v, r, weights(m, 2))


def root_by_backward(m):
    r = leaf(m)
    x = r * 2
    v = x[1]
    x.mul_(x.detach().clone())
    v.backward()
    return r.grad


def gradient_argument(m):
    """A stale view as grad_outputs, differentiated again."""
    r = leaf(m, (1.0, 2.0))
    x = r * 2
    v = x[:]
    x.mul_(3)
    (first,) = grad(m, (r * r).sum(0, keepdim=True).expand(2) * 1, r, v, create_graph=True)
    return first, grad(m, first.sum(), r)


def base_begins_to_require(m):
    r = leaf(m)
    x = m.zeros(5, dtype=r.dtype)
    v = x[1:3]
    x.add_(r)
    (v * weights(m, 2)).sum().backward()
    return r.grad


def base_begins_by_setitem(m):
    r = leaf(m)
    x = m.zeros(2, 5, dtype=r.dtype)
    v = x.reshape(10)[1:]
    x[1] = r
    (v * weights(m, 9)).sum().backward()
    return v, r.grad


def base_begins_through_another_view(m):
    r = leaf(m)
    x = m.ones(2, 5, dtype=r.dtype)
    v, other = x[0], x[:, 1:3]
    other.mul_(r[:2])
    return grad(m, v, r, weights(m, 5), retain_graph=True), grad(m, x, r, weights(m, 2, 5))


def view_of_a_view(m):
    r = leaf(m)
    x = r * 1
    v = x[1:]
    u = v.reshape(2, 2)[1]
    v.mul_(weights(m, 4))
    first = (u * weights(m, 2)).sum()
    x.mul_(x.detach().clone())
    (of_first,) = grad(m, first, r, retain_graph=True)
    (of_u,) = grad(m, u, r, weights(m, 2), retain_graph=True)
    return of_first, of_u, grad(m, v, r, weights(m, 4))


def used_before_and_after(m):
    r = leaf(m)
    x = r * 2
    v = x[1:3]
    before = (v * weights(m, 2)).sum()
    x.mul_(3)
    (before + (v * v).sum()).backward()
    return r.grad


def view_of_a_view_is_changed(m):
    r = leaf(m)
    x = r * 2
    u = x[1:][1:]
    other = x[2:4]
    u.mul_(r[2:])
    return grad(m, other, r, weights(m, 2), retain_graph=True), grad(m, x, r, weights(m, 5))


def view_through_column_order(m):
    """The base lies in column order, so that its transposed view is flat."""
    r = leaf(m, ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)))
    x = (r.T * 2).T
    v = x.T.reshape(6)
    v.mul_(weights(m, 6))
    return x, grad(m, x, r, weights(m, 2, 3))


def changed_after_the_base_requires(m):
    """A change is when PyTorch looks at the views again."""
    x = m.tensor(np.arange(5.0))
    v = x[1:3]
    x.requires_grad_()
    with m.no_grad():
        x.mul_(2)
    v.backward(weights(m, 2))
    return x.grad


def detached_family(m):
    """A detached tensor has views of its own, which a change of the values leaves without a history."""
    r = leaf(m)
    x = m.zeros(5, dtype=r.dtype)
    d = x.detach()
    v = d[1:]
    x.add_(r)
    return [d, v], grad(m, x, r, weights(m, 5)), str(d.requires_grad or v.requires_grad)


def detached_is_changed(m):
    r = leaf(m)
    x = r * 1
    v, d = x[1:], x.detach()
    d.mul_(r)
    return d, grad(m, d, r, weights(m, 5)), grad(m, v, r, weights(m, 4))


def leaf_that_is_a_view(m):
    x = m.tensor(np.arange(5.0))
    v = x[1:3].requires_grad_()
    x.mul_(2)
    (v * 3).sum().backward()
    return v.grad, v


def view_of_what_was_joined(m):
    """What is joined lies in column order, the result in row order."""
    r = leaf(m, ((1.0, 2.0), (3.0, 4.0)))
    joined = m.stack([r.T, r.T]), m.cat([r.T, r.T])
    for x in joined:
        x.reshape(8).mul_(weights(m, 8))
    return joined, [grad(m, x, r, x.detach().clone()) for x in joined]


def unrecorded_change(m):
    r = leaf(m)
    x = r * 2
    v = x[1:3]
    with m.no_grad():
        x.mul_(10)
    return v, grad(m, v, r, weights(m, 2))


FOLLOWING = (
    root_of_backward,
    root_by_backward,
    gradient_argument,
    base_begins_to_require,
    base_begins_by_setitem,
    base_begins_through_another_view,
    view_of_a_view,
    used_before_and_after,
    view_of_a_view_is_changed,
    pytest.param(
        view_through_column_order, marks=pytest.mark.host_only("results have the order of their operands")
    ),
    changed_after_the_base_requires,
    detached_family,
    detached_is_changed,
    leaf_that_is_a_view,
    unrecorded_change,
    view_of_what_was_joined,
)


def compare(program):
    ours, theirs = plain(program(rt)), plain(program(torch))

    def check(a, b):
        if isinstance(a, list):
            assert len(a) == len(b)
            for x, y in zip(a, b, strict=True):
                check(x, y)
        elif a is None or b is None or isinstance(a, str):
            assert a == b
        else:
            assert_close(a, b, rtol=1e-13)

    check(ours, theirs)


@pytest.mark.parametrize("program", FOLLOWING, ids=lambda program: program.__name__)
def test_a_view_has_the_history_of_what_it_shows(program):
    compare(program)


# ---------------------------------------------------------------------- hooks and retained gradients


def retained(m):
    a = leaf(m) * 2
    a.retain_grad()
    before = (a * 7).sum()
    a.mul_(2)
    a[0] = 5.0
    (before + (a * weights(m, 5)).sum()).backward()
    return a.grad


def retained_by_a_base(m):
    x = leaf(m) * 2
    x.retain_grad()
    x[1:3].mul_(4)
    (x * weights(m, 5)).sum().backward()
    return x.grad


def retained_by_a_view(m):
    x = leaf(m) * 2
    v = x[1:3]
    v.retain_grad()
    x.mul_(4)
    (v * weights(m, 2)).sum().backward()
    return v.grad


def retained_by_a_changed_view(m):
    """The base does not go through its view: nothing arrives there."""
    x = leaf(m) * 2
    v = x[1:3]
    v.retain_grad()
    v.mul_(4)
    (x * weights(m, 5)).sum().backward()
    return v.grad


def changed_and_its_base_detached(m):
    """A view by which its base was changed keeps that history, also if nobody has read it before."""
    r, base = leaf(m), m.zeros(5, dtype=m.float64)
    v = base[1:3]
    v.copy_(r[:2] * 3)
    base.detach_()
    (v * weights(m, 2)).sum().backward()
    return r.grad


def retained_and_detached(m):
    x = leaf(m) * 2
    x.retain_grad()
    y = (x * 7).sum()
    x.detach_()
    y.backward()
    return x.grad


def hooks_of_both_values(m):
    seen = []
    r = leaf(m)
    a = r * 1
    a.register_hook(lambda g: seen.append(g.clone()))
    a.mul_(2)
    a.register_hook(lambda g: seen.append(g.clone()))
    (a * weights(m, 5)).sum().backward()
    return seen, r.grad


def hook_that_scales_the_old_value(m):
    r = leaf(m)
    a = r * 1
    a.register_hook(lambda g: g * 10)
    b = a + 1
    a.mul_(2)
    (a + b).sum().backward()
    return r.grad


def hook_of_a_changed_view(m):
    """It was for the view's own use; what its base passes on goes past it."""
    seen = []
    r = leaf(m)
    x = r * 1
    v = x[1:3]
    v.register_hook(lambda g: seen.append(g.clone()))
    x.register_hook(lambda g: seen.append(g.clone()))
    v.mul_(2)
    (x * weights(m, 5)).sum().backward()
    return seen, r.grad


def hook_between_view_and_root(m):
    seen = []
    r = leaf(m)
    x = r * 1
    v = x[1:]
    v.register_hook(lambda g: seen.append(g.clone()))
    used = (v * 3).sum()
    v[1:].mul_(2)
    (used + x.sum()).backward()
    return seen, r.grad


@pytest.mark.parametrize(
    "program",
    [
        retained,
        retained_by_a_base,
        retained_by_a_view,
        retained_by_a_changed_view,
        retained_and_detached,
        changed_and_its_base_detached,
        hooks_of_both_values,
        hook_that_scales_the_old_value,
        hook_of_a_changed_view,
        hook_between_view_and_root,
    ],
    ids=lambda program: program.__name__,
)
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_retained_gradients_follow_and_hooks_stay_with_their_value(program):
    compare(program)


# ------------------------------------------------------------------------------ refused, here and there


def test_a_view_from_before_its_base_required_a_gradient():
    x = rt.zeros(5)
    v, u = x[1:3], x[1:3][1:]
    x.requires_grad_()
    for stale in (v, u):
        with pytest.raises(
            RuntimeError, match="taken before its base began to require a gradient: take the view"
        ):
            (stale * 2).sum().backward()
        with pytest.raises(RuntimeError, match="taken before its base"):
            rt.grad((stale * 2 + x[1]).sum(), x)
    x[1:3].sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0, 0]


def no_grad_view(m, x):
    with m.no_grad():
        return x[1:3]


@pytest.mark.parametrize(
    "change",
    [
        lambda m, x, v: v.mul_(leaf(m)[:2]),
        lambda m, x, v: v.__setitem__(0, leaf(m)[0]),
        lambda m, x, v: v[1:].add_(leaf(m)[:1]),
        lambda m, x, v: v.reshape(2, 1).copy_(leaf(m)[:1]),
    ],
)
def test_a_view_taken_under_no_grad_is_not_changed_by_what_is_recorded(change):
    for m in (rt, torch):
        x = m.tensor(np.zeros(5))
        v = no_grad_view(m, x)
        v.mul_(2)  # nothing here requires a gradient
        with pytest.raises(RuntimeError, match="under no_grad" if m is rt else "no_grad mode"):
            change(m, x, v)
        assert x.tolist() == [0] * 5
    for m in (rt, torch):
        x = leaf(m) * 2
        v = no_grad_view(m, x)
        with pytest.raises(RuntimeError, match="under no_grad" if m is rt else "no_grad mode"):
            v.mul_(2)
        with m.no_grad():
            v.mul_(2)
        assert x.tolist() == [2, 8, 12, 8, 10]


def test_a_view_taken_under_no_grad_before_a_recorded_change_of_its_base():
    r = leaf(rt)
    x = rt.zeros(5, dtype="float64")
    v = no_grad_view(rt, x)
    u = v[1:]
    x.add_(r)
    for stale in (v, u, v * 2, u + x[0]):
        with pytest.raises(
            RuntimeError, match=r"taken under no_grad\(\).*was changed in place since by a recorded"
        ):
            stale.sum().backward()
    assert v.detach().tolist() == [2, 3]


def test_a_view_taken_under_no_grad_keeps_no_graph_alive():
    x = leaf(rt) * 2
    alive = weakref.ref(x)
    v = no_grad_view(rt, x)
    del x
    assert alive() is None
    v.mul_(2)
    with pytest.raises(RuntimeError, match="under no_grad"):  # there may be other views of this memory
        v.mul_(leaf(rt)[:2])


def test_a_view_whose_base_was_detached():
    r = leaf(rt)
    x = r * 2
    v = x[1:3]
    x.detach_()
    assert rt.grad(v.sum(), r, retain_graph=True)[0].tolist() == [0, 2, 2, 0, 0]
    with pytest.raises(RuntimeError, match="after its base was detached"):
        v.mul_(2)
    x.mul_(3)
    with pytest.raises(RuntimeError, match=r"whose base does not require a gradient any longer"):
        v.sum().backward()


def test_a_leaf_view_and_its_views_cannot_be_changed_while_recording():
    for m in (rt, torch):
        x = m.tensor(np.zeros(5))
        v = x[1:3].requires_grad_()
        for tensor in (v, v[1:], v.reshape(2, 1)):
            with pytest.raises(RuntimeError, match="leaf"):
                tensor.mul_(2)


class Same(rt.Function):
    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, g):
        return g * 3


class Part(rt.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.shape = x.shape
        return x[1:3]

    @staticmethod
    def backward(ctx, g):
        full = rt.zeros(ctx.shape, dtype=g.dtype)
        full[1:3] = g
        return full


@pytest.mark.parametrize("function", [Same, Part])
def test_what_a_function_returns_of_its_input(function):
    r = leaf(rt)
    x = r * 2
    y = function.apply(x)
    with pytest.raises(RuntimeError, match="that a Function returned, cannot be changed in place"):
        y.mul_(2)
    assert x.tolist() == [2, 4, 6, 8, 10]
    assert rt.grad(y.sum(), r, retain_graph=True)[0].sum().item() == (30 if function is Same else 4)
    x.mul_(2)
    with pytest.raises(RuntimeError, match="that a Function returned"):
        y.sum().backward()


def test_what_a_function_made_can_be_changed():
    class Made(rt.Function):
        @staticmethod
        def forward(ctx, x):
            return rt.cat([x, x])[1:3]

        @staticmethod
        def backward(ctx, g):
            return g

    r = leaf(rt, (1.0, 2.0))
    Made.apply(r).mul_(5).sum().backward()
    assert r.grad.tolist() == [5, 5]


# ------------------------------------------------------------------------ what was saved, and switched off


def test_a_saved_tensor_that_is_detached_in_place_keeps_its_history():
    def program(m, detach):
        r = leaf(m)
        x = r * 2
        y = (x * x * x).sum()
        if detach:
            x.detach_()
        (first,) = grad(m, y, r, create_graph=True)
        return grad(m, first, r, weights(m, 5))

    wanted = plain(program(torch, False))
    for detach in (False, True):
        assert_close(plain(program(rt, detach)), wanted, rtol=1e-13)


def test_a_saved_tensor_of_a_function_that_is_detached_in_place_keeps_its_history():
    class Cube(rt.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 3 * x**2

    r = leaf(rt, (2.0,))
    x = r * 1
    y = Cube.apply(x)
    x.detach_()
    (first,) = rt.grad(y, r, create_graph=True)
    assert rt.grad(first, r)[0].tolist() == [12]


def switched_off_and_on(m):
    r = leaf(m)
    y = (r * r).sum()
    r.requires_grad_(False)
    r.requires_grad_()
    return grad(m, y, r, retain_graph=True), (y.backward(), r.grad)[1]


def switched_off(m):
    r, s = leaf(m), leaf(m)
    y = (r * s).sum()
    r.requires_grad_(False)
    y.backward()
    return r.grad, s.grad


@pytest.mark.parametrize("program", [switched_off_and_on, switched_off])
def test_a_leaf_that_is_switched_off_and_on_again_is_the_same(program):
    compare(program)


def frozen_in_forward(m):
    """The view of a weight that required no gradient when it was saved is a constant, now too."""
    x, w = leaf(m, ((1.0, 2.0),)), m.tensor(np.array([[1.0, 2.0], [3.0, 4.0]]))
    y = (x * x) @ w.T
    w.requires_grad_()
    (first,) = grad(m, y.sum(), x, create_graph=True)
    return first, grad(m, first.sum(), x)


def test_a_weight_that_was_frozen_in_forward():
    compare(frozen_in_forward)


def test_grad_needs_an_input():
    y = leaf(rt).sum()
    for m in (rt, torch):
        with pytest.raises(RuntimeError, match="at least one input" if m is rt else "cannot be empty"):
            grad(m, y if m is rt else leaf(m).sum(), [])


# ---------------------------------------------------------------------------------------------- the memory


def test_tensors_over_one_memory_share_its_changes():
    for make in (rt.Tensor, rt.as_tensor, lambda t: t.detach()):
        x = rt.tensor([1.0, 2.0])
        p = make(x).detach().requires_grad_()
        y = (p * p).sum()
        x.add_(1)
        with pytest.raises(RuntimeError, match="changed in place after it was used"):
            y.backward()


@pytest.mark.host_only("NumPy's arrays beside tensors")
def test_data_that_are_exchanged_leave_the_views_behind():
    r = leaf(rt)
    x = r * 1
    v = x[1:3]
    x.data = np.zeros(5)
    for value in (2, r[:2]):
        with pytest.raises(RuntimeError, match="or its base's data were exchanged: take the view again"):
            v.mul_(value)
    x.add_(r)
    assert v.tolist() == [2, 3]
    assert rt.grad(v.sum(), r, retain_graph=True)[0].tolist() == [0, 1, 1, 0, 0]
    with rt.no_grad():
        v.zero_()
    assert x.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("data", [np.zeros((2, 1)), np.zeros(2, np.float32)], ids=["shape", "dtype"])
def test_saved_data_that_become_of_another_form_are_refused(data):
    w = leaf(rt, (1.0, 2.0))
    y = (w * w).sum()
    w.data = data
    with pytest.raises(RuntimeError, match="changed in place after it was used"):
        y.backward()


def test_many_views_of_one_memory_are_forgotten_when_they_die():
    x = rt.zeros(200)
    kept = [x[i : i + 2] for i in range(100)]
    for _ in range(1000):
        x[3:]
    assert len(x._memory.views) < 300
    del kept
    for _ in range(1000):
        a, b = x[1:], x[2:]
    assert len(x._memory.views) < 40
    x.add_(leaf(rt, np.ones(200)))
    assert rt.grad(a.sum() + b.sum(), x, retain_graph=True)[0].sum().item() == 199 + 198


def test_a_view_of_what_changed_is_a_tensor_as_any():
    x = rt.zeros(3)
    v = x[1:]
    looks = (
        lambda: not v.requires_grad,
        lambda: repr(v).startswith("tensor([2., 2.]"),
        lambda: copy.deepcopy(v).tolist() == [3, 3],
        lambda: pickle.loads(pickle.dumps(v)).tolist() == [4, 4],
    )
    for look in looks:
        x.add_(1)
        assert isinstance(v, rt.Tensor)
        assert look()
        assert type(v) is rt.Tensor


def test_views_make_no_cycle():
    gc.collect()
    gc.disable()
    try:
        r = leaf(rt)
        x = r * 2
        views = [x[1:3], x.reshape(5, 1), x[1:][1:]]
        views[2].mul_(2)
        x.tanh_()
        refs = [weakref.ref(t) for t in (x, *views)]
        sum(v.sum() for v in views).backward()
        del x, views
        assert [ref() for ref in refs] == [None] * 4
    finally:
        gc.enable()


# ----------------------------------------------------------------------------------- writes past operators


def of_arrays(write):
    return pytest.param(write, marks=pytest.mark.host_only("NumPy's arrays beside tensors"))


WRITERS = {
    "ufunc": lambda x: np.multiply(x, 2, out=x),
    "reduction": of_arrays(lambda x: np.add.reduce(np.ones((2, 3)), out=x)),
    "at": of_arrays(lambda x: np.add.at(x, [0], 1.0)),
    "copyto": of_arrays(lambda x: np.copyto(x, np.ones(3))),
    "copyto by name": of_arrays(lambda x: np.copyto(dst=x, src=np.ones(3))),
    "put": of_arrays(lambda x: np.put(x, [0], [5.0])),
    "place": of_arrays(lambda x: np.place(x, np.array([True, False, True]), [7.0])),
    "putmask": of_arrays(lambda x: np.putmask(x, np.array([True, False, True]), [8.0])),
    "put_along_axis": lambda x: np.put_along_axis(x, np.array([0]), 9.0, 0),
    "fill_diagonal": lambda x: np.fill_diagonal(x.reshape(3, 1), 4.0),
    "clip": lambda x: np.clip(x, 0, 1, out=x),
    "take": of_arrays(lambda x: np.take(np.ones(5), [0, 1, 2], out=x)),
    "nan_to_num": lambda x: np.nan_to_num(x, copy=False),
    "data of a tensor, and increment_version": lambda x: rt.increment_version([x]),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_numpy_writes_into_a_tensor_is_a_change(write):
    x = rt.tensor([1.0, 2.0, 3.0])
    w = rt.ones(3, requires_grad=True)
    y = (w * x).sum()
    write(x)
    with pytest.raises(RuntimeError, match="changed in place after it was used"):
        y.backward()


def test_numpy_does_not_write_what_would_lose_a_gradient():
    w = rt.ones(3, requires_grad=True)
    for target, write in (
        (w * 2, lambda x: np.multiply(x, 2, out=x)),
        (rt.zeros(3), lambda x: np.add(x, w, out=x)),
        (rt.zeros(3), lambda x: np.copyto(x, w)),
        (w * 2, lambda x: np.add.at(x, [0], 1.0)),
        (rt.zeros(3), lambda x: np.clip(w * 2, 0, 1, out=x)),
    ):
        before = target.tolist()
        with pytest.raises(RuntimeError, match="is not recorded, and a gradient would be lost"):
            write(target)
        assert target.tolist() == before
    with rt.no_grad():
        assert np.multiply(w, 2, out=w) is w
    assert w.tolist() == [2, 2, 2]


def test_increment_version_takes_tensors():
    for wrong in (1.0, [1.0]):
        with pytest.raises(TypeError, match="increment_version expects Tensors, got float"):
            rt.increment_version(wrong)
