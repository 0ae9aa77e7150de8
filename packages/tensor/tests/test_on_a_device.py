"""Operators and their backward on arrays of a GPU, for which `tools.device_arrays` stands: the CPU's numbers, no waits.

The whole suite runs there too, by ``pytest packages/tensor/tests --device cuda-stand-in``.
"""

import operator

import numpy as np
import pytest
from tools.device_arrays import no_transfers

from comparing import assert_close, assert_same_bits
from rondeau import tensor as rt

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
