"""Changes in place: what they do to values, history and what was saved; PyTorch is the oracle of the rules."""

import numpy as np
import pytest

from comparing import assert_close
from rondeau import tensor as rt

torch = pytest.importorskip("torch")


def both(program):
    """Run a program over rt and torch; return [(value, gradient of w)] of both."""
    results = []
    for m, make in ((rt, rt.tensor), (torch, torch.tensor)):
        w = make(np.arange(1.0, 7.0).reshape(2, 3), requires_grad=True)
        end = program(m, w)
        end.sum().backward()
        results.append((np.array(end.detach().numpy()), np.array(w.grad.numpy())))
    return results


PROGRAMS = {
    "add_": lambda m, w: (w * 2).add_(w),
    "add_ alpha": lambda m, w: (w * 2).add_(w, alpha=0.5),
    "sub_ number": lambda m, w: (w * 2).sub_(3),
    "mul_ number": lambda m, w: (w * 2).mul_(3),
    "mul_ array": lambda m, w: (w + 2).mul_(m.tensor(np.array([1.0, 2, 3]))),
    "div_": lambda m, w: (w + 2).div_(4),
    "exp_ of output": lambda m, w: (w * 0.1).exp_(),
    "sigmoid_": lambda m, w: (w * 0.1).sigmoid_(),
    "tanh_": lambda m, w: (w * 0.1).mul_(2).tanh_(),
    "mul_ by what needs gradients": lambda m, w: (w * 2).mul_(w),
    "mul_ by itself": lambda m, w: itself(w * 2),
    "pow_": lambda m, w: (w * 2).pow_(3),
    "relu_": lambda m, w: (w - 3).relu_(),
    "clamp_": lambda m, w: (w * 1).clamp_(2, 5),
    "zero_": lambda m, w: (w * 2).zero_() + w,
    "fill_": lambda m, w: (w * 2).fill_(3) + w,
    "copy_": lambda m, w: (w.detach() * 0).copy_(w) * w,
    "copy_ broadcast": lambda m, w: (w * 1).copy_(w[0]),
    "neg_ sqrt_": lambda m, w: (w * -1).neg_().mul_(2).sqrt_(),
    "iadd": lambda m, w: iadd(w * 1, w),
    "setitem": lambda m, w: setitem(w * 1, (0, 1), 5.0) * w,
    "setitem row": lambda m, w: setitem(w * 1, 1, w[0] * 2) * 3,
    "setitem slice broadcast": lambda m, w: setitem(w * 1, (slice(None), slice(1, 3)), w[0, 0]) * 3,
    "setitem mask": lambda m, w: (
        setitem(w * 1, m.tensor(np.array([[True, False, True], [False, True, False]])), 0.0) * 3
    ),
    "setitem of constants": lambda m, w: setitem(m.zeros(2, 3, dtype=w.dtype), 0, w[1]) * 2,
    "setitem twice": lambda m, w: setitem(
        setitem(m.zeros(2, 3, dtype=w.dtype), 0, w[1]), (0, 1), w[0, 0] * w[1, 1]
    ),
    "buffer filled step by step": lambda m, w: fill_steps(m, w),
    "view iadd": lambda m, w: view_iadd(w * 1, w),
    "view mul_": lambda m, w: view_change(w * 1, lambda v: v.mul_(3)),
    "view add_ of what needs gradients": lambda m, w: view_change(
        m.ones(2, 3, dtype=w.dtype), lambda v: v.add_(w[1])
    ),
    "view copy_": lambda m, w: view_change(m.ones(2, 3, dtype=w.dtype), lambda v: v.copy_(w[1])),
    "view zero_": lambda m, w: view_change(w * 2, lambda v: v.zero_()),
    "view of view": lambda m, w: view_of_view(w * 2),
    "view then used": lambda m, w: view_then_used(w * 2),
    "change after use that saves nothing": lambda m, w: change_after_harmless_use(w * 2),
    "transposed": lambda m, w: transposed(w * 2),
    "masked_fill_": lambda m, w: (w * 2).masked_fill_(w > 3, -1.0),
    "index_add_": lambda m, w: (w * 1).index_add_(0, m.tensor([0, 0]), w),
}


def itself(x):
    return x.mul_(x * 1)


def iadd(x, y):
    x += y
    x -= 1
    x *= 2
    x /= 3
    return x


def setitem(x, index, value):
    x[index] = value
    return x


def fill_steps(m, w):
    out = m.zeros(4, 3, dtype=w.dtype)
    h = w[0] * 0
    for t in range(4):
        h = (h + w[t % 2]) * 0.5
        out[t] = h
    return out * out


def view_iadd(x, w):
    x[0] += w[1] * w[0]
    x[:, 1] *= 2
    return x


def view_change(x, change):
    change(x[0])
    return x * 2


def view_of_view(x):
    x.T[1:][0].mul_(5)
    return x * x


def view_then_used(x):
    v = x[1]
    v.mul_(4)
    return (v * v).sum() + x.sum()


def change_after_harmless_use(x):
    y = x + 1
    x.mul_(5)
    return y.sum() + x.sum()


def transposed(x):
    v = x.T
    v[0] = 7.0
    return x * v.T


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_in_place_is_torch_s(program):
    (value, gradient), (their_value, their_gradient) = both(program)
    assert_close(value, their_value, rtol=1e-13)
    assert_close(gradient, their_gradient, rtol=1e-13)


@pytest.mark.parametrize(
    "program",
    [
        lambda x: (x * x, x.add_(1))[0],
        lambda x: _change_output(x.exp()),
        lambda x: _change_output(x.tanh()),
        lambda x: _change_output(x.sigmoid()),
        lambda x: _change_output((x * x).sqrt()),
        lambda x: _change_output(x.softmax(0)),
        lambda x: (x.log(), x.zero_())[0],
        lambda x: (x / 2 * x, x.mul_(2))[0],
        lambda x: (x * 3 * x, x.exp_())[0],
        lambda x: ((x * x), x[0:1].mul_(2))[0],
        lambda x: (x[0] * x[1], x.mul_(2))[0],
        lambda x: (x.reshape(2, 1) ** 2, x.detach().mul_(2))[0],
    ],
)
def test_a_changed_saved_tensor_is_noticed(program):
    for m in (rt, torch):
        w = m.tensor([1.0, 2.0], requires_grad=True)
        y = program(w * 1)
        with pytest.raises(
            RuntimeError, match="changed in place after it was used" if m is rt else "inplace operation"
        ):
            y.sum().backward()


def _change_output(y):
    z = y * 1
    y.add_(1)
    return z


def test_a_leaf_cannot_be_changed_while_recording():
    w = rt.ones(2, requires_grad=True)
    for change in (lambda: w.add_(1), lambda: w.zero_(), lambda: setitem(w, 0, 1.0)):
        with pytest.raises(RuntimeError, match=r"a leaf that requires gradients.*rt\.no_grad\(\)"):
            change()
    with pytest.raises(RuntimeError, match="a view of a leaf that requires gradients"):
        w[0].add_(1)
    with rt.no_grad():
        w.add_(1)
        w[0] = 5
        w -= 1
    assert w.tolist() == [4, 1]
    assert w.requires_grad
    assert w.is_leaf


def test_a_leaf_changed_under_no_grad_after_use_is_noticed():
    w = rt.ones(2, requires_grad=True)
    y = (w * w).sum()
    with rt.no_grad():
        w.mul_(3)
    with pytest.raises(RuntimeError, match="backward of 'mul' needs, float32 of shape"):
        y.backward()


@pytest.mark.host_only("NumPy's memory is shared")
def test_the_optimiser_step_of_the_texts():
    """p.data is an ndarray and p.grad a Tensor; the update keeps the array and records nothing."""
    p = rt.tensor([1.0, 2.0], requires_grad=True)
    before = p.detach().numpy()
    (p * p).sum().backward()
    p.data -= 0.1 * p.grad
    assert p.detach().numpy() is before
    assert_close(p, [0.8, 1.6], rtol=1e-6)
    assert p.is_leaf
    assert p.requires_grad


def test_changes_need_a_shape_and_type_that_fit():
    x = rt.ones(2)
    with pytest.raises(RuntimeError, match=r"add_: shape \(3, 2\) .*shape \(2,\)"):
        x.add_(rt.ones(3, 2))
    with pytest.raises(RuntimeError, match=r"mul_: shape \(3, 2\)"):
        (rt.ones(2, requires_grad=True) * 1).mul_(rt.ones(3, 2))
    with pytest.raises(RuntimeError, match="add_ of a tensor of int64 gives float32"):
        rt.tensor([1, 2]).add_(0.5)
    assert rt.tensor([1.5]).add_(rt.tensor([1])).dtype == rt.float32
    assert rt.tensor([1.5]).add_(rt.tensor([1.0], dtype="float64")).dtype == rt.float32


def test_an_expanded_tensor_cannot_be_changed():
    with pytest.raises(RuntimeError, match=r"elements share memory \(expand\).*clone\(\)"):
        rt.ones(1).expand(3).add_(1)


def test_writing_what_overlaps():
    x = rt.arange(5)
    x[1:] = x[:-1]
    assert x.tolist() == [0, 0, 1, 2, 3]


def test_fractions_are_cut_when_written_into_integers():
    x = rt.tensor([1, 2, 3])
    x[0] = 7.9
    x[1] = rt.tensor(-1.5)
    assert x.tolist() == [7, -1, 3]
    with pytest.raises(RuntimeError, match="requires a gradient into one of int64"):
        x[0] = rt.tensor(1.0, requires_grad=True)


def test_numbers_written_into_float64_are_not_rounded_to_float32():
    x = rt.zeros(4, dtype=rt.float64)
    x[0] = 0.1
    x[1:3] = [0.2, 0.3]
    assert x.tolist() == [0.1, 0.2, 0.3, 0.0]
    assert x.fill_(0.8).tolist() == [0.8] * 4
    assert rt.zeros(1)[0].fill_(0.1).dtype == rt.float32


def test_in_place_methods_return_the_tensor():
    x = rt.ones(2)
    assert x.add_(1).mul_(2).zero_().fill_(3) is x
    assert x.tolist() == [3, 3]
    assert x.add_.__self__ is x
    assert "in place" in rt.Tensor.mul_.__doc__
