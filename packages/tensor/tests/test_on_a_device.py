"""Operators and their backward on arrays of a GPU, for which `tools.device_arrays` stands: the CPU's numbers, no waits.

The whole suite runs there too, by ``pytest packages/tensor/tests --device cuda-stand-in``.
"""

import operator

import numpy as np
import pytest
from tools.device_arrays import no_transfers, transfers

from comparing import assert_close, assert_same_bits
from rondeau import tensor as rt
from rondeau.kernels.runtime.deferred import raise_pending

pytestmark = [
    pytest.mark.usefixtures("device_stand_in"),
    pytest.mark.host_only("the tests name their devices"),
]

random = np.random.default_rng(0)
A, B, SQUARE = (random.standard_normal(shape).astype(np.float32) for shape in ((3, 4), (3, 4), (4, 4)))
POSITIVE = np.abs(A) + np.float32(0.5)
VECTOR = np.float32([1, -2, 3, 4])
MASK, OTHER = A > 0, B > 0
REPEATED = np.array([2, 0, 2])
INDEX = np.array([[2, 0, 2, 1], [1, 1, 0, 1]])
WHOLE = np.array([[3, 5, -7, 2]])


def named(text):
    return text.split()


BINARY = named(
    """
    add sub mul div pow remainder floor_divide maximum minimum eq ne lt le gt ge less less_equal greater greater_equal
    logical_and logical_or
    """
)

# By operator, and what is special about the case: a function of tensors, and the arrays.
CASES = {
    name: (lambda x, name=name: getattr(rt, name)(x), A)
    for name in named(
        """
        abs ceil cos erf exp expm1 floor gelu isfinite isinf isnan leaky_relu logical_not neg positive relu round
        sigmoid sign sin softplus square tanh all any amax amin argmax argmin flatten max mean min norm std sum var
        nonzero prod squeeze t tril triu argsort sort unbind
        """
    )
}
CASES |= {
    name: (lambda x, name=name: getattr(rt, name)(x), POSITIVE)
    for name in named("log log1p log2 reciprocal rsqrt sqrt")
}
for name in BINARY:
    CASES[name] = (lambda x, y, name=name: getattr(rt, name)(x, y), POSITIVE, B)
    CASES[f"{name}, number"] = (lambda x, name=name: getattr(rt, name)(x, 2.0), POSITIVE)
    CASES[f"{name}, no dimensions"] = (lambda x, name=name: getattr(rt, name)(x.new_ones(()), x), POSITIVE)
    CASES[f"{name}, broadcast"] = (lambda x, y, name=name: getattr(rt, name)(x, y), POSITIVE, VECTOR)
for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    CASES[name] = (lambda x, y, name=name: getattr(rt, name)(x, y), MASK, OTHER)
for name in named("amax amin argmax argmin max min mean norm std sum var all any prod"):
    CASES[f"{name}, dim"] = (lambda x, name=name: getattr(rt, name)(x, 1, keepdim=True), A)
CASES |= {
    "abs, integers": (lambda x: rt.abs(x), WHOLE),
    "all, nothing reduced": (lambda x: rt.all(x, ()), MASK),
    "any, uint8": (lambda x: rt.any(x, 0), MASK.astype(np.uint8)),
    "bitwise_not": (rt.bitwise_not, MASK),
    "bmm": (lambda x, y: rt.bmm(x[None], y[None]), A, SQUARE),
    "broadcast_to": (lambda x: rt.broadcast_to(x, (2, 3, 4)), A),
    "cat": (lambda x, y: rt.cat([x, y], 1), A, B),
    "concat": (lambda x, y: rt.concat([x, y[:0], y]), A, B),
    "chunk": (lambda x: rt.chunk(x, 2, 1), A),
    "clamp": (lambda x: rt.clamp(x, -0.5, 0.5), A),
    "clamp, tensors": (lambda x, y: rt.clamp(x, y, y + 1), A, B),
    "clone": (rt.clone, A),
    "contiguous": (lambda x: x.T.contiguous(), A),
    "cumsum": (lambda x: rt.cumsum(x, 1), A),
    "div, integers": (lambda x: rt.div(x, 2), WHOLE),
    "dot": (lambda x, y: rt.dot(x[0], y[1]), A, B),
    "einsum": (lambda x, y: rt.einsum("ij,jk->ik", x, y), A, SQUARE),
    "einsum, diagonal": (lambda x: rt.einsum("ii->i", x), SQUARE),
    "expand": (lambda x: rt.expand(x, 2, 3, 4), A),
    "flip": (lambda x: rt.flip(x, 0), A),
    "flip, nothing": (lambda x: rt.flip(x, ()), A),
    "floor_divide, integers": (lambda x: rt.floor_divide(x, 2), WHOLE),
    "gather": (lambda x, i: rt.gather(x, 0, i), A, INDEX),
    "gelu, tanh": (lambda x: rt.gelu(x, approximate="tanh"), A),
    "getitem, integer": (lambda x: x[1, -1], A),
    "getitem, slices": (lambda x: x[1:, None, ::2], A),
    "getitem, repeated": (lambda x, i: x[i], A, REPEATED),
    "getitem, repeated pairs": (lambda x, i: x[i, i], A, REPEATED),
    "getitem, repeated beside the rest": (lambda x, i: x[1, None, ..., i], A, REPEATED),
    "getitem, negative": (lambda x, i: x[i - 3], A, REPEATED),
    "index_add": (lambda x, i, y: rt.index_add(x, 0, i, y), A, REPEATED, B),
    "index_add, short integers": (
        lambda x, i: (rt.index_add(x, 1, i, x[:, i]), rt.index_add(x > 1, 0, i[:2], x > 1)),
        np.int8([[100, -7], [3, 1]]),
        np.array([1, 1, 0]),
    ),
    "index_select": (lambda x, i: rt.index_select(x, 1, i), A, REPEATED),
    "index_select, rows": (lambda x, i: rt.index_select(x, 0, i), A, REPEATED),
    "leaky_relu, steep": (lambda x: rt.leaky_relu(x, 2.0), A),
    "log_softmax": (lambda x: rt.log_softmax(x, 1), A),
    "logsumexp": (lambda x: rt.logsumexp(x, (0, 1)), A),
    "logsumexp, masked": (lambda x, m: rt.logsumexp(x.masked_fill(m, -np.inf), 0), A, MASK),
    "masked_fill": (lambda x, m: rt.masked_fill(x, m, 0.5), A, MASK),
    "masked_fill, tensor": (lambda x, m, v: rt.masked_fill(x, m, v[0]), A, MASK, VECTOR),
    "masked_select": (rt.masked_select, A, MASK),
    "matmul": (rt.matmul, A, SQUARE),
    "max, ties": (lambda x: (rt.max(x), rt.max(x, 0).values), np.float32([[1, 2, 2], [1, 2, 0]])),
    "max, tensors": (lambda x, y: rt.max(x, y), A, B),
    "maximum, ties": (lambda x: rt.maximum(x, x * 1), A),
    "mm": (rt.mm, A, SQUARE),
    "movedim": (lambda x: rt.movedim(x, 0, 1), A),
    "mv": (rt.mv, A, VECTOR),
    "norm, 0": (lambda x: rt.norm(x, 0, dim=1), A),
    "norm, 1": (lambda x: rt.norm(x, 1), A),
    "norm, 3": (lambda x: rt.norm(x, 3, dim=0), A),
    "norm, inf": (lambda x: (rt.norm(x, np.inf, dim=1), rt.norm(x, -np.inf, dim=1)), A),
    "outer": (lambda x, y: rt.outer(x[0], y), A, VECTOR),
    "permute": (lambda x: rt.permute(x, 1, 0), A),
    "pow, integers": (lambda x: rt.pow(x, 2), WHOLE),
    "pow, of a number": (lambda x: 2.0**x, A),
    "pow, root": (lambda x: (x**0.5, x**-0.5, x**0, x**1), POSITIVE),
    "prod, with zeros": (lambda x: rt.prod(x, 1), np.float32([[0, 2, 3], [0, 0, 3], [1, 2, 3]])),
    "remainder, integers": (lambda x: rt.remainder(x, 2), WHOLE),
    "repeat": (lambda x: rt.repeat(x, 2, 1), A),
    "reshape": (lambda x: (rt.reshape(x, 4, 3), rt.reshape(x.T, -1)), A),
    "scatter_add": (lambda x, i, y: rt.scatter_add(x, 1, i, y), A, INDEX, B),
    "setitem": (lambda x, y: written(x, (1, slice(None)), y[0]), A, B),
    "setitem, number": (lambda x: written(x, (slice(None), 1), 2.0), A),
    "setitem, array": (lambda x, i, y: written(x, i, y), A, np.array([2, 0]), B[:2]),
    "setitem, mask": (lambda x, m: written(x, m, 2.0), A, MASK),
    "setitem, mask of rows": (lambda x, m, v: written(x, m[:, 0], v[0]), A, MASK, VECTOR),
    "softmax": (lambda x: rt.softmax(x, 1), A),
    "softmax, no elements": (lambda x: rt.softmax(x[:0], 0), A),
    "softplus, threshold": (lambda x: rt.softplus(x, 2.0, 1.0), A),
    "split": (lambda x: rt.split(x, [1, 3], 1), A),
    "stack": (lambda x, y: rt.stack([x, y], 1), A, B),
    "to": (lambda x: (x.double(), x.long(), x > 0), A),
    "topk": (lambda x: rt.topk(x, 2), A),
    "transpose": (lambda x: rt.transpose(x, 0, 1), A),
    "unflatten": (lambda x: rt.unflatten(x, 1, (2, 2)), A),
    "unsqueeze": (lambda x: rt.unsqueeze(x, 1), A),
    "view": (lambda x: x.view(2, 6), A),
    "where": (rt.where, MASK, A, B),
    "where, number": (lambda m, x: (rt.where(m, x, 0.5), rt.where(m, 0.5, x)), MASK, A),
}
CASES |= {
    f"{name}_": (lambda x, name=name: getattr(x * 1, f"{name}_")(), POSITIVE)
    for name in named("abs ceil exp floor log neg reciprocal relu round sigmoid sqrt tanh zero")
}
CASES |= {
    f"{name}_": (lambda x, y, name=name: getattr(x * 1, f"{name}_")(y), POSITIVE, VECTOR)
    for name in named("add sub mul div pow remainder copy")
}
CASES |= {
    "add_, number": (lambda x: (x * 1).add_(2.0, alpha=3), A),
    "add_, integers": (lambda x: x.clone().add_(2), WHOLE),
    "clamp_": (lambda x: (x * 1).clamp_(-0.5, 0.5), A),
    "copy_, overlapping": (lambda x: overlapping(x * 1), A),
    "fill_": (lambda x: (x * 1).fill_(2.0), A),
    "index_add_": (lambda x, i, y: (x * 1).index_add_(0, i, y), A, REPEATED, B),
    "masked_fill_": (lambda x, m: (x * 1).masked_fill_(m, 0.5), A, MASK),
    "scatter_add_": (lambda x, i, y: (x * 1).scatter_add_(1, i, y), A, INDEX, B),
    "view is changed": (lambda x: viewed(x * 1), A),
}

WAITS = frozenset({"nonzero", "masked_select"})
"""The sizes of their results are numbers on the device."""


def written(x, index, value):
    y = x * 1
    y[index] = value
    return y


def overlapping(y):
    y[1:].copy_(y[:-1])
    return y


def viewed(y):
    view = y.T[1:].unsqueeze(0)
    view.mul_(2)
    return y, view


def weights(tensors):
    """Return random tensors like others, where those are."""
    drawn = np.random.default_rng(1)
    return [rt.tensor(drawn.standard_normal(t.shape), dtype=t.dtype, device=t.device) for t in tensors]


def listed(result):
    return list(result) if isinstance(result, tuple) else [result]


def results_of(name, device):
    """Return what an operator gives on a device, and its first and second derivatives; on a GPU without a wait."""
    function, *arrays = CASES[name]
    inputs = [rt.tensor(a, device=device) for a in arrays]
    wanted = [x.requires_grad_() for x in inputs if x.is_floating_point()]

    def run():
        outputs = listed(function(*inputs))
        ends = [o for o in outputs if o.requires_grad]
        if not ends:
            return outputs, [], []
        rt.backward(ends, cotangents, retain_graph=True)
        gradients = rt.grad(ends, wanted, cotangents, create_graph=True, allow_unused=True)
        ends, given = [], []
        for g, w in zip(gradients, further, strict=True):
            if g is not None and g.requires_grad:
                ends.append(g)
                given.append(w)
        second = rt.grad(ends, [*wanted, *cotangents], given, allow_unused=True) if ends else []
        return outputs, [*gradients, *[x.grad for x in wanted]], second

    cotangents = [
        w.requires_grad_() for w in weights(o for o in listed(function(*inputs)) if o.requires_grad)
    ]
    further = weights(wanted)
    if device == "cpu" or name in WAITS:
        return run()
    with no_transfers():
        return run()


@pytest.mark.parametrize("name", CASES)
def test_an_operator_has_the_numbers_of_the_cpu_and_waits_for_nothing(name):
    expected, found = results_of(name, "cpu"), results_of(name, "cuda")
    for which, ours, theirs in zip(("result", "gradient", "second derivative"), found, expected, strict=True):
        for x, y in zip(ours, theirs, strict=True):
            assert (x is None) == (y is None)
            if x is not None:
                assert (x.device, x.dtype, x.requires_grad) == ("cuda", y.dtype, y.requires_grad)
                assert_close(x, y, of_largest=1e-6, what=which)


def test_every_operator_is_among_them():
    operators = [
        f for f in vars(rt).values() if getattr(f, "__module__", "").startswith("rondeau.tensor._ops")
    ]
    names = {f.__name__ for f in operators}
    changes = {name for name in dir(rt.Tensor) if name[-1] == "_" != name[0]}
    others = {"allclose", "equal"} | {"detach_", "requires_grad_", "normal_", "uniform_"}
    assert (names | changes) - others <= {name.partition(",")[0] for name in CASES}


# ------------------------------------------------------------------------------------------------- gradients


def on_both(run):
    """Return what a function of a device gives on the CPU and on the GPU."""
    return run("cpu"), run("cuda")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "read",
    [
        lambda x, i: x[i],
        lambda x, i: x[i, :],
        lambda x, i: rt.index_select(x, 0, i),
        lambda x, i: x[i.tolist()],
        lambda x, i: x[i.cpu().numpy()],
    ],
    ids=["index", "index beside a slice", "index_select", "list", "array of the host"],
)
def test_gradients_of_repeated_indices_add_up(read, device):
    x = rt.zeros(3, 2, device=device, requires_grad=True)
    index = rt.tensor([2, 0, 2], device=device)
    given = rt.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]], device=device)
    read(x, index).backward(given)
    assert x.grad.tolist() == [[2, 20], [0, 0], [5, 50]]
    (read(x, index) + x.sum(0)).backward(given)  # into memory that already has a gradient
    assert x.grad.tolist() == [[11, 110], [7, 70], [17, 170]]


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a.reshape(6),
        lambda a: a.T.reshape(6),
        lambda a: a[:, :].reshape(6),
        lambda a: a.expand(1, 2, 3).reshape(6),
        lambda a: rt.cat([a, a]).reshape(12)[3:9],
    ],
)
@pytest.mark.parametrize("early", [True, False])
def test_no_gradient_is_added_into_memory_of_another(view, early):
    """The gradient of a view is a view of the gradient, which other operands of the sum also get."""

    def run(device):
        a = rt.arange(6.0, device=device).reshape(2, 3).requires_grad_()
        b = rt.ones(6, device=device, requires_grad=True)
        w = rt.arange(1.0, 7.0, device=device)
        x, y = a * 1, b * 1
        other = (x * x).sum() if early else None
        total = (view(x) + y).mul(w).sum()
        total = total + ((x * x).sum() if other is None else other)
        given = [a, b, x, y]
        return rt.grad(total, given)

    expected, found = on_both(run)
    assert_same_bits(found, expected)
    assert_same_bits(found[1], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_gradients_share_no_memory_with_each_other_or_what_was_given(device):
    x, y = (rt.ones(2, 3, device=device, requires_grad=True) for _ in range(2))
    given = rt.ones(3, 2, device=device)
    (x.T + y.T).backward(given)
    arrays = [x.grad._array, y.grad._array, given._array]
    for i, array in enumerate(arrays):
        assert not any(np.may_share_memory(array, other) for other in arrays[:i])
    first = x.grad
    (x.T + y.T).backward(given)
    assert x.grad is first
    assert x.grad.tolist() == y.grad.tolist() == [[2] * 3] * 2


def test_hooks_functions_and_gradcheck_on_a_device():
    class Two(rt.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, g, h):
            assert g.device == h.device == "cuda"  # also where nothing depends on an output
            return g * 2 + h * 3

    seen = []
    x = rt.tensor([1.0, 2.0], device="cuda", dtype="float64", requires_grad=True)
    x.register_hook(lambda g: seen.append(g.device) or g * 10)
    Two.apply(x)[1].sum().backward()
    assert x.grad.tolist() == [30, 30]
    assert seen == ["cuda"]
    y = rt.tensor([1.0, 2.0], device="cuda", dtype="float64", requires_grad=True)
    assert rt.gradcheck(lambda y: (y * y).tanh(), y)
    assert rt.gradgradcheck(lambda y: (y * y).tanh(), y)
    with pytest.raises(rt.GradcheckError, match="derivatives are wrong"):
        rt.gradcheck(lambda y: y * y.detach(), y)

    class Wrong(rt.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return g.cpu()

    with pytest.raises(ValueError, match="expected a gradient on cuda like the tensor, got one on cpu"):
        Wrong.apply(y).sum().backward()


# -------------------------------------------------------------------------------------------------- indices

OUT_OF_RANGE = {
    "read": (lambda x, i: x[i], "index {} is out of range for a dimension of size 3"),
    "read beside others": (lambda x, i: x[:, i], "index {} is out of range for a dimension of size 3"),
    "written": (lambda x, i: written(x, i, 1.0), "index {} is out of range for a dimension of size 3"),
    "index_select": (lambda x, i: rt.index_select(x, 0, i), "index_select: index {} is out of range"),
    "gather": (lambda x, i: rt.gather(x, 1, i.reshape(1, 2)), "gather: index {} is out of range"),
    "index_add": (lambda x, i: rt.index_add(x, 0, i, x[:2]), "index_add: index {} is out of range"),
    "scatter_add": (
        lambda x, i: rt.scatter_add(x, 1, i.reshape(1, 2), x),
        "scatter_add: index {} is out of range",
    ),
}


@pytest.mark.parametrize("wrong", [3, -4])
@pytest.mark.parametrize(("call", "message"), OUT_OF_RANGE.values(), ids=OUT_OF_RANGE)
def test_an_index_out_of_range_is_an_error_at_the_next_read(call, message, wrong):
    x = rt.ones(3, 3, device="cuda", requires_grad=True)
    index = rt.tensor([0, wrong], device="cuda")
    with no_transfers():
        result = call(x, index).sum()
        result.backward()
    with pytest.raises(IndexError, match=message.format(wrong)):
        result.item()
    assert result.item() is not None  # once


@pytest.mark.parametrize(
    "call",
    [
        lambda x, index: np.take(x, index),
        lambda x, index: np.take_along_axis(np.ones(3), index, axis=0),
        lambda x, index: np.put_along_axis(x, index, 0.0, 0),
    ],
)
def test_indices_that_nobody_would_check_are_refused(call):
    with pytest.raises(TypeError, match="of a GPU would not notice an index out of range: use"):
        call(rt.ones(3, device="cuda"), rt.tensor([7], device="cuda"))


def test_indices_of_the_host_are_checked_there_and_sent():
    x = rt.arange(3.0, device="cuda")
    with pytest.raises(IndexError, match="index 3 is out of range"):
        x[[0, 3]]
    with pytest.raises(IndexError, match="index -4 is out of range"):
        x[np.array([0, -4])] = 1.0
    with pytest.raises(IndexError, match="gather: index -1 is out of range"):
        rt.gather(x, 0, np.array([-1]))
    with pytest.raises(IndexError, match=r"a mask of shape \(2,\) does not fit dimensions of shape \(3,\)"):
        x[np.array([True, False])]
    with pytest.raises(IndexError, match=r"a mask of shape \(2,\) does not fit dimensions of shape \(3,\)"):
        x[rt.tensor([True, False], device="cuda")]
    with pytest.raises(IndexError, match="too long"):
        x[np.array([[True] * 3])]
    with transfers() as seen:
        found = x[[2, 2]], x[np.array([True, False, True])], x[rt.tensor([-1, 0], dtype="int8")]
    assert len(seen.to_device) == 3
    assert not seen.waits
    assert [f.tolist() for f in found] == [[2, 2], [0, 2], [2, 0]]
    long = rt.arange(1000, device="cuda")
    short = rt.tensor([-1, 5], dtype="int8", device="cuda")
    assert long[short].tolist() == [999, 5]
    assert rt.index_select(long, 0, rt.tensor([200], dtype="uint8", device="cuda")).tolist() == [200]
    empty = rt.zeros(0, 2, device="cuda")
    assert empty[rt.zeros(0, dtype="int64", device="cuda")].shape == (0, 2)
    with pytest.raises(IndexError, match="index 0 is out of range for a dimension of size 0"):
        empty[rt.zeros(1, dtype="int64", device="cuda")].tolist()
    raise_pending()


def test_masks_of_a_device_wait_for_the_size_of_what_is_read_but_not_to_be_filled():
    x = rt.arange(4.0, device="cuda", requires_grad=True)
    mask = x.detach() > 1
    with transfers() as seen:
        part = x[mask]
    assert [wait.what for wait in seen.waits] == ["the number of True in a mask"]
    (part * part).sum().backward()
    assert x.grad.tolist() == [0, 0, 4, 6]
    with no_transfers():
        y = written(x, mask, 7.0)
    assert y.tolist() == [0, 1, 7, 7]


def test_numbers_of_a_device_that_are_not_allowed_are_errors_at_the_next_read():
    x, zero, less = (rt.tensor([a, b], device="cuda") for a, b in ((4, 5), (1, 0), (1, -1)))
    for call, message in (
        (lambda: x // zero, "int64 divided by zero"),
        (lambda: x % zero, "int64 divided by zero"),
        (lambda: x**less, "integers to a negative power are not integers"),
        (lambda: 2**less, "integers to a negative power are not integers"),
        (lambda: x.byte().masked_fill(x > 4, rt.tensor(300, device="cuda")), "300 does not fit uint8"),
    ):
        with no_transfers():
            result = call()
        with pytest.raises(ValueError, match=message):
            result.tolist()
    with pytest.raises(ValueError, match="negative power"):
        x**-1
    assert (x ** rt.tensor([2, 0], device="cuda")).tolist() == [16, 1]


# -------------------------------------------------------------------------------------------- two devices


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: x + y,
        lambda x, y: y.half() * x,
        lambda x, y: y * x[0],  # it would wait for the number
        lambda x, y: x < y,
        lambda x, y: x == y.numpy(),
        lambda x, y: np.maximum(y, x),
        lambda x, y: rt.where(x > 0, x, y),
        lambda x, y: rt.where(y > 0, x, x),
        lambda x, y: rt.cat([x, y]),
        lambda x, y: rt.stack([x, y]),
        lambda x, y: rt.clamp(x, y),
        lambda x, y: rt.einsum("i,i->i", x, y),
        lambda x, y: rt.equal(x, y),
        lambda x, y: rt.allclose(x, y),
        lambda x, y: y[x.long()],
        lambda x, y: rt.index_select(y, 0, x.long()),
        lambda x, y: y.__setitem__(x.long(), 1.0),
        lambda x, y: y.add_(x),
        lambda x, y: x.mul_(y),
        lambda x, y: rt.tensor(1.0).add_(x[0]),
        lambda x, y: np.isclose(x, y),
        lambda x, y: np.vstack([x, y]),
        lambda x, y: np.add(x, 1, out=y.numpy()),
        lambda x, y: np.copyto(x, y),
    ],
)
def test_tensors_of_two_devices_are_refused(call):
    x, y = rt.zeros(3, device="cuda"), rt.ones(3)
    with pytest.raises(
        ValueError,
        match=r"expected all tensors on one device, got (cuda and cpu|cpu and cuda): move one with "
        r'\.to\("cpu"\) or \.to\("cuda"\)',
    ):
        call(x, y)
    assert x.tolist() == [0, 0, 0]
    assert y.tolist() == [1, 1, 1]


def test_numbers_of_the_host_go_along():
    """As in PyTorch, a tensor of zero dimensions is a number, and gradients flow back to where it is."""
    x = rt.tensor([1.0, 2.0], device="cuda")
    two = rt.tensor(2.0, requires_grad=True)
    for result in (x * two, two * x, np.multiply(x, two), rt.where(x > 1, x, two) * 1, rt.maximum(two, x)):
        assert result.device == "cuda"
        assert result.requires_grad
    (x * two).sum().backward()
    assert two.grad.device == "cpu"
    assert two.grad.item() == 3
    assert (x < two).tolist() == [True, False]
    assert rt.allclose(x, rt.tensor(2.0), atol=1)
    assert rt.allclose(1.5, x, rtol=1)
    assert (x * rt.tensor(3)).dtype == rt.float32
    assert (x + np.float64(1)).tolist() == [2, 3]
    assert x.clone().mul_(two.detach()).tolist() == [2, 4]
    written_to = x.clone()
    written_to[0] = rt.tensor(5.0)
    written_to[1:] = np.array([6.0])  # an assignment copies, from any device
    assert written_to.copy_(written_to.cpu() + 1).tolist() == [6, 7]


def test_gradients_are_given_where_the_tensor_is():
    x = rt.ones(2, device="cuda", requires_grad=True)
    (x * 2).backward([1.0, 2.0])
    assert x.grad.tolist() == [2, 4]
    with pytest.raises(ValueError, match="expected a gradient on cuda like the tensor, got one on cpu"):
        (x * 2).backward(rt.ones(2))
    with pytest.raises(ValueError, match=r"a gradient is where its tensor is, on cuda; got one on cpu"):
        x.grad = rt.ones(2)


# --------------------------------------------------------------------------------------- changes, and reading


def test_changes_in_place_are_noticed_on_a_device():
    x = rt.ones(3, device="cuda", requires_grad=True)
    y = x * 2
    z = (y * y).sum()
    y[0] = 5.0
    with pytest.raises(RuntimeError, match="changed in place after it was used"):
        z.backward()
    with pytest.raises(RuntimeError, match="a leaf that requires gradients cannot be changed in place"):
        x.mul_(2)
    with pytest.raises(RuntimeError, match="its elements share memory"):
        rt.ones(1, device="cuda").expand(3).add_(1)
    base = rt.zeros(2, 2, device="cuda")
    base.T[0].add_(1)
    assert base.tolist() == [[1, 0], [1, 0]]
    with pytest.raises(ValueError, match="cannot be seen as"):
        base.T.view(4)


def test_assignments_that_overlap_have_the_old_values():
    for change in (
        lambda x: x.__setitem__(slice(1, None), x[:-1]),
        lambda x: x.data.__setitem__(slice(1, None), x.data[:-1]),
        lambda x: x[1:].copy_(x[:-1]),
        lambda x: x[1:].mul_(0).add_(rt.tensor([0.0, 1.0, 2.0], device="cuda")),
        lambda x: x[1:].sub_(1.0),
    ):
        x = rt.arange(4.0, device="cuda")
        change(x)
        assert x.tolist() == [0, 0, 1, 2]
    x = rt.arange(4.0, device="cuda")
    x[1:].add_(x[:-1])
    assert x.tolist() == [0, 1, 3, 5]


def test_values_are_read_by_a_copy_to_the_host():
    x = rt.tensor([[1.0, 2.0], [3.0, 4.0]], device="cuda")
    with pytest.raises(TypeError, match=r"numpy\(\) of a cuda tensor.*use \.cpu\(\)\.numpy\(\)"):
        x.numpy()
    with pytest.raises(TypeError, match="numpy"):
        np.asarray(x)
    one = x[0, 1]
    assert (one.item(), float(one), int(one), bool(one), f"{one:.1f}") == (2.0, 2.0, 2, True, "2.0")
    assert operator.index(one.long()) == 2
    assert [y.tolist() for y in x] == x.tolist() == [[1, 2], [3, 4]]
    assert len(x) == 2
    assert 3.0 in x
    assert 5.0 not in x
    assert repr(x) == "tensor([[1., 2.],\n        [3., 4.]], device='cuda')"
    assert x.allclose(x + 1e-7)
    assert not rt.equal(x, x + 1)
    assert x[rt.tensor(1, device="cuda")].tolist() == [3, 4]
    with pytest.warns(UserWarning, match="a list of lists or tensors as index is read as one array"):
        assert x[[rt.tensor(1, device="cuda"), 0]].tolist() == [[3, 4], [1, 2]]
    assert (x + x.data._array).tolist() == [[2, 4], [6, 8]]  # an array of CuPy's
    assert rt.FloatTensor(x).tolist() == x.tolist()
    assert rt.zeros(1).add_(1.0, alpha=one).item() == 2
    with pytest.raises(TypeError, match=r"alpha must be a number, got Tensor of float32 of shape \(2, 2\)"):
        rt.zeros(1).add_(1.0, alpha=x)


def test_a_step_of_training_by_operators_waits_for_nothing():
    """An embedding, a recurrence over time, a softmax over classes, gradients and an update."""

    def run(device):
        drawn = np.random.default_rng(0)
        table, inner, outer = (
            rt.tensor(drawn.standard_normal(s).astype("float32") / 2, device=device, requires_grad=True)
            for s in ((5, 4), (8, 4), (4, 5))
        )
        ids = rt.tensor([[1, 4, 4], [0, 1, 2]], device=device)
        classes = rt.tensor([[4, 0, 1], [1, 2, 4]], device=device)
        lengths = rt.tensor([3, 2], device=device)

        def steps():
            for _ in range(2):
                h = table.new_zeros(2, 4)
                losses = []
                for t in range(3):
                    proposed = rt.tanh(rt.cat([table[ids[:, t]], h], 1) @ inner)
                    runs = (lengths > t).unsqueeze(1)
                    h = rt.where(runs, proposed, h)
                    scores = rt.log_softmax((h * h.std(1, keepdim=True)) @ outer, 1)
                    taken = rt.gather(scores, 1, classes[:, t].unsqueeze(1))
                    losses.append(-taken.masked_fill(~runs, 0.0).sum())
                loss = rt.stack(losses).sum() / lengths.sum()
                loss.backward()
                with rt.no_grad():
                    for p in (table, inner, outer):
                        p.sub_(0.1 * p.grad / rt.clamp(p.grad.norm(), min=1.0))
                        p.grad.zero_()
            return loss

        if device == "cpu":
            return steps(), table, inner, outer
        with no_transfers():
            loss = steps()
        return loss, table, inner, outer

    expected, found = on_both(run)
    assert_close(found, expected, of_largest=1e-6)
