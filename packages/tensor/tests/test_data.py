"""`Tensor.data`: a detached tensor on the same memory whose changes nobody notices; PyTorch is the oracle."""

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import nn
from rondeau import tensor as rt

torch = pytest.importorskip("torch")


def outcome(m, program):
    """Run a program on (module, w, g) of one library; return the arrays it gives, or "error" if it refuses."""
    w = m.tensor(np.arange(1.0, 7.0).reshape(2, 3), requires_grad=True)
    g = m.tensor(np.array([[0.5, -1.0, 2.0], [1.5, 0.0, -0.25]]))
    try:
        result = program(m, w, g)
    except RuntimeError:
        result = "error"
    return [
        x if x is None or isinstance(x, (bool, str)) else np.array(x.detach().numpy())
        for x in (result if isinstance(result, tuple) else (result,))
    ] + [w.detach().numpy().copy()]


def changed(change):
    """Return a program that changes w through its data after w was saved for backward, and differentiates."""

    def program(m, w, g):
        y = (w * w * g).sum()
        change(m, w, g)
        y.backward()
        return w.grad

    return program


def minus(m, w, g):
    w.data -= 0.5 * g


def times(m, w, g):
    w.data *= 0.5


def square(m, w, g):
    w.data **= 2


def item(m, w, g):
    w.data[0] = g[1]
    w.data[1, 2] = 9.0
    w.data[:, 1] += 1.0
    w.data[w.data > 5.5] = 0.0


def descend(m, w, g):
    (w * g).sum().backward()
    w.data.add_(w.grad.data, alpha=-0.5)
    w.grad.data.zero_()


def replaced(m, w, g):
    before = w.data
    w.data = w.data * 2
    before.zero_()  # the former memory


def shared(m, w, g):
    w.data = g
    g.add_(1)  # now the memory of w too


def reshaped(m, w, g):
    """Of another shape once backward is over."""
    (w * w).sum().backward()
    w.grad = None
    w.data = m.tensor(np.ones(4))


PROGRAMS = {
    "data -=": changed(minus),
    "data *=": changed(times),
    "data **=": changed(square),
    "data[...] =": changed(item),
    "add_ alpha": changed(lambda m, w, g: w.data.add_(g, alpha=-0.5)),
    "sub_": changed(lambda m, w, g: w.data.sub_(g)),
    "mul_": changed(lambda m, w, g: w.data.mul_(g)),
    "div_": changed(lambda m, w, g: w.data.div_(4)),
    "zero_": changed(lambda m, w, g: w.data.zero_()),
    "fill_": changed(lambda m, w, g: w.data.fill_(2)),
    "copy_": changed(lambda m, w, g: w.data.copy_(g)),
    "copy_ broadcast": changed(lambda m, w, g: w.data.copy_(g[0])),
    "clamp_": changed(lambda m, w, g: w.data.clamp_(2, 4)),
    "data of data": changed(lambda m, w, g: w.data.data.zero_()),
    "view of data": changed(lambda m, w, g: w.data[0].add_(g[1])),
    "row of data, transposed": changed(lambda m, w, g: w.data.t()[1].mul_(3)),
    "under no_grad": changed(lambda m, w, g: unrecorded(m, w.data.add_, g)),
    "a step and its gradient zeroed": lambda m, w, g: (descend(m, w, g), w.grad)[1],
    "replaced": changed(replaced),
    "replaced by a tensor that is shared": changed(shared),
    "replaced by another shape": lambda m, w, g: (reshaped(m, w, g), (w * w).sum().backward(), w.grad)[2],
    "detach() is noticed": changed(lambda m, w, g: w.detach().zero_()),
    "data of detach()": changed(lambda m, w, g: w.detach().data.zero_()),
    "detach() of data": changed(lambda m, w, g: w.data.detach().zero_()),
}


def unrecorded(m, function, *arguments):
    with m.no_grad():
        function(*arguments)


def of_result(m, w, g):
    """The data of a computed tensor that was saved."""
    h = w * 2
    y = (h * h).sum()
    h.data.mul_(g)
    y.backward()
    return w.grad, h


def of_view(m, w, g):
    h = w * 2
    row = h[0]
    y = (h * h).sum() + (row * row).sum()
    row.data.fill_(3)
    y.backward()
    return w.grad, h


def view_after(m, w, g):
    """A view goes on with its history, for nothing was recorded."""
    h = w * 2
    row = h[1]
    h.data.zero_()
    (row * g[0]).sum().backward()
    return w.grad, row


def saved_data(m, w, g):
    """What is used in a graph itself notices its own changes."""
    d, r = w.data, g.clone().requires_grad_()
    y = (d * r).sum()
    d.add_(1)
    y.backward()


def saved_data_changed_by_other(m, w, g):
    d, r = w.data, g.clone().requires_grad_()
    y = (d * r).sum()
    w.data.add_(1)
    y.backward()
    return r.grad


def leaf_of_its_own(m, w, g):
    d = w.data.requires_grad_()
    (d * w).sum().backward()
    return d.grad, w.grad, w.data.requires_grad, w.requires_grad


def recorded_into(m, w, g):
    """What is recorded into it belongs to it alone."""
    d = w.data
    d.mul_(g).add_(w)  # w and d share the memory, and backward of add needs neither
    d.sum().backward()
    return w.grad, d, d.requires_grad


def carried(m, w, g):
    """Hidden states of truncated backpropagation, as old programs cut them."""
    h = g
    for _ in range(3):
        h = (h.data * w).sigmoid()
    h.sum().backward()
    return w.grad


def properties(m, w, g):
    h = w * 2
    d = h.data
    return d.requires_grad, d.is_leaf, d.grad is None, d.grad_fn is None, h.data is h.data


PROGRAMS |= {
    f.__name__: f
    for f in (
        of_result,
        of_view,
        view_after,
        saved_data,
        saved_data_changed_by_other,
        leaf_of_its_own,
        recorded_into,
        carried,
        properties,
    )
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_data_is_pytorchs(name):
    ours, theirs = outcome(rt, PROGRAMS[name]), outcome(torch, PROGRAMS[name])
    assert len(ours) == len(theirs)
    for mine, its in zip(ours, theirs, strict=True):
        if isinstance(its, np.ndarray):
            assert_same_bits(mine, its)
        else:
            assert mine == its


def test_what_the_oracle_says_of_the_changes():
    """The programs above would agree too if nothing were noticed, or everything were."""
    assert outcome(rt, PROGRAMS["detach() is noticed"])[0] == "error"
    assert outcome(rt, PROGRAMS["saved_data"])[0] == "error"
    assert not outcome(rt, PROGRAMS["zero_"])[0].any()  # the new values, unnoticed


@pytest.mark.host_only("NumPy's arrays beside tensors")
def test_arrays_on_the_right():
    w = rt.ones(2, 3, requires_grad=True)
    memory = w.detach().numpy()
    w.data -= 0.5 * np.ones((2, 3))
    w.data.add_(np.ones(3, np.float32), alpha=2)
    w.data[0] = np.zeros(3)
    w.data.copy_(w.numpy() if not w.requires_grad else 2 * w.detach().numpy())
    w.data[:, 1:] *= np.array([1.0, 10.0])
    assert w.detach().numpy() is memory
    assert w.tolist() == [[0.0, 0.0, 0.0], [5.0, 5.0, 50.0]]
    assert w.dtype == np.float32


def test_draws():
    """They fill the parameter, from the generator, as the same draws of a tensor of its own do."""
    w, alone = rt.ones(3, 4, requires_grad=True), rt.ones(3, 4)
    for draw in (
        lambda x: x.normal_(1, 2),
        lambda x: x.uniform_(-1, 1),
        nn.init.xavier_uniform_,
        lambda x: nn.init.constant_(x, 3),
    ):
        rt.manual_seed(1)
        draw(w.data)
        rt.manual_seed(1)
        draw(alone)
        assert_same_bits(w.detach(), alone)


@pytest.mark.host_only("NumPy's memory is shared")
def test_used_as_an_array():
    w = rt.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    assert np.asarray(w.data) is w.detach().numpy()
    assert w.data.numpy() is w.detach().numpy()
    assert (w.data.shape, w.data.ndim, w.data.dtype, len(w.data)) == ((2, 2), 2, np.float32, 2)
    assert float(w.data.sum()) == 10.0
    assert f"{w.data.mean():.1f}" == "2.5"
    assert (w.data @ np.ones((2, 1), np.float32)).tolist() == [[3.0], [7.0]]
    assert (np.ones((1, 2), np.float32) @ w.data).tolist() == [[4.0, 6.0]]
    assert np.array(w.data).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert np.linalg.norm(w.data) == pytest.approx(30**0.5)
    total = np.zeros((2, 2), np.float32)
    total += w.data
    total[0] = w.data[1]
    assert total.tolist() == [[3.0, 4.0], [3.0, 4.0]]


@pytest.mark.parametrize("name", ["astype", "flat", "tobytes", "copy", "fill"])
def test_what_only_an_array_has(name):
    x = rt.ones(2)
    with pytest.raises(
        AttributeError, match=rf"'Tensor' object has no attribute '{name}': .* t\.numpy\(\)\.{name} "
    ):
        getattr(x.data, name)
    with pytest.raises(AttributeError, match=rf"'Parameter' object has .* t\.detach\(\)\.numpy\(\)\.{name}"):
        getattr(nn.Parameter(x), name)
    assert not hasattr(rt.Tensor, name)
    assert name not in dir(x)


def test_a_misspelt_attribute_is_python_s_error():
    with pytest.raises(AttributeError, match=r"^'Tensor' object has no attribute 'requires_gard'$"):
        rt.ones(2).requires_gard  # noqa: B018
