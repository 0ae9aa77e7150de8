"""Arguments of a wrong kind end in an error that says what was expected and what came, whatever the operator."""

import numpy as np
import pytest

from rondeau import tensor as rt

NO_INTEGERS = [None, "last", 0.5, True, [[0]], np.array([None, 1]), object()]
NO_SIZES = [None, "last", 0.5, True, [[0]], np.array([None, 1])]
NO_TENSORS = [None, "text", 3, 1.5, [1.0], np.array([None, 1])]
x = rt.tensor([[3.0, 1.0, 2.0], [6.0, 5.0, 4.0]])
index = rt.tensor([[0, 1, 0]])


def name_of(value):
    return type(value).__name__ if not isinstance(value, str) else value


# ---------------------------------------------------------------------------------------------- dimensions

ONE_DIMENSION = {
    "softmax": lambda dim: x.softmax(dim),
    "log_softmax": lambda dim: x.log_softmax(dim),
    "cumsum": lambda dim: x.cumsum(dim),
    "transpose": lambda dim: x.transpose(dim, 0),
    "transpose, the second": lambda dim: x.transpose(0, dim),
    "permute": lambda dim: x.permute(dim, 0),
    "movedim": lambda dim: x.movedim(0, dim),
    "unsqueeze": lambda dim: x.unsqueeze(dim),
    "unflatten": lambda dim: x.unflatten(dim, (1, 2)),
    "flatten": lambda dim: x.flatten(dim),
    "cat": lambda dim: rt.cat([x, x], dim),
    "stack": lambda dim: rt.stack([x, x], dim),
    "split": lambda dim: x.split(1, dim),
    "chunk": lambda dim: x.chunk(2, dim),
    "unbind": lambda dim: x.unbind(dim),
    "sort": lambda dim: x.sort(dim),
    "argsort": lambda dim: x.argsort(dim),
    "topk": lambda dim: x.topk(1, dim),
    "gather": lambda dim: x.gather(dim, index),
    "scatter_add": lambda dim: x.scatter_add(dim, index, x),
    "index_select": lambda dim: x.index_select(dim, [0]),
    "index_add": lambda dim: x.index_add(dim, [0], x[:1]),
}
MAY_BE_NONE = {
    "prod": lambda dim: x.prod(dim),
    "argmax": lambda dim: x.argmax(dim),
    "argmin": lambda dim: x.argmin(dim),
    "max": lambda dim: x.max(dim),
    "min": lambda dim: x.min(dim),
    "size": lambda dim: x.size(dim),
}
SEVERAL_DIMENSIONS = {
    "sum": lambda dim: x.sum(dim),
    "mean": lambda dim: x.mean(dim),
    "var": lambda dim: x.var(dim),
    "std": lambda dim: x.std(dim),
    "amax": lambda dim: x.amax(dim),
    "amin": lambda dim: x.amin(dim),
    "all": lambda dim: rt.all(x, dim),
    "any": lambda dim: rt.any(x, dim),
    "logsumexp": lambda dim: rt.logsumexp(x, dim),
    "norm": lambda dim: x.norm(2, dim),
    "squeeze": lambda dim: x.squeeze(dim),
    "flip": lambda dim: x.flip(dim),
}


DIMENSIONS = {**ONE_DIMENSION, **MAY_BE_NONE, **SEVERAL_DIMENSIONS}


@pytest.mark.parametrize("wrong", NO_INTEGERS, ids=name_of)
@pytest.mark.parametrize("name", DIMENSIONS)
def test_a_dimension_is_an_integer(name, wrong):
    if wrong is None and name not in ONE_DIMENSION:  # all dimensions
        DIMENSIONS[name](wrong)
        return
    with pytest.raises(TypeError, match="must be an integer, got"):
        DIMENSIONS[name](wrong)


@pytest.mark.parametrize("name", SEVERAL_DIMENSIONS)
def test_each_of_several_dimensions_is_an_integer(name):
    for wrong in ((0.5,), [0, "last"], (None,), ((0,),)):
        with pytest.raises(TypeError, match="dim must be an integer, got"):
            SEVERAL_DIMENSIONS[name](wrong)


def test_integers_of_other_kinds_are_dimensions_too():
    for dim in (np.int32(1), np.array(1), rt.tensor(1)):
        assert x.sum(dim).tolist() == x.sum(1).tolist()
        assert x.cumsum(dim).tolist() == x.cumsum(1).tolist()
    assert x.sum(range(2)).item() == x.sum().item()


def test_size_of_a_dimension_that_is_not_there():
    with pytest.raises(IndexError, match="dim 2 is out of range"):
        x.size(2)
    with pytest.raises(IndexError, match="without dimensions"):
        rt.tensor(1.0).size(0)
    assert x.size(-1) == 3


# -------------------------------------------------------------------------------------------------- shapes

SHAPES = {
    "zeros": lambda *size: rt.zeros(*size),
    "ones": lambda *size: rt.ones(*size),
    "empty": lambda *size: rt.empty(*size),
    "full": lambda *size: rt.full(size, 1.0),
    "rand": lambda *size: rt.rand(*size),
    "randn": lambda *size: rt.randn(*size),
    "randint": lambda *size: rt.randint(3, size),
    "normal": lambda *size: rt.normal(0.0, 1.0, size),
    "new_zeros": lambda *size: x.new_zeros(*size),
    "new_ones": lambda *size: x.new_ones(*size),
    "repeat": lambda *size: x.repeat(*size),
    "broadcast_to": lambda *size: x.broadcast_to(size),
    "expand": lambda *size: x.expand(*size),
    "reshape": lambda *size: x.reshape(*size),
    "unflatten": lambda *size: x.unflatten(1, size),
}


@pytest.mark.parametrize("wrong", NO_SIZES, ids=name_of)
@pytest.mark.parametrize("name", SHAPES)
def test_a_size_is_an_integer(name, wrong):
    with pytest.raises(TypeError, match="must be an integer, got"):
        SHAPES[name](2, wrong)


@pytest.mark.parametrize("name", SHAPES)
def test_a_size_is_not_negative(name):
    with pytest.raises(ValueError, match=r"must be at least (0|-1), got \(-2, 3\)"):
        SHAPES[name](-2, 3)


@pytest.mark.parametrize("wrong", NO_SIZES, ids=name_of)
@pytest.mark.parametrize("call", [lambda n: rt.full(n, 1.0), lambda n: rt.randint(3, n), x.broadcast_to])
def test_a_whole_shape_is_of_integers(call, wrong):
    with pytest.raises((TypeError, ValueError), match=r"must be an integer, got|randint is called as"):
        call(wrong)


def test_reshape_fills_in_only_minus_one():
    assert x.reshape(-1, 2).shape == (3, 2)
    assert x.reshape(np.int64(3), -1).shape == (3, 2)
    with pytest.raises(ValueError, match=r"at least -1, got \(-2, 3\)"):
        x.reshape((-2, 3))
    with pytest.raises(ValueError, match="cannot reshape a tensor of shape"):
        x.unflatten(1, (0, -1))


def test_lists_of_sizes():
    assert [p.shape for p in x.split([1, 1])] == [(1, 3), (1, 3)]
    for wrong in (0.5, None, "ab", True, {}):
        with pytest.raises(TypeError, match=r"split_size.* must be an integer, got"):
            x.split(wrong)
    with pytest.raises(TypeError, match=r"each number in split_size must be an integer, got float 0\.5"):
        x.split([0.5, 1.5])
    with pytest.raises(TypeError, match="sizes must be a sequence of integers, got int 3"):
        x.unflatten(1, 3)


@pytest.mark.parametrize("wrong", [None, "a", 1.5, True, [1]], ids=name_of)
@pytest.mark.parametrize(
    "call",
    [
        lambda n: x.tril(n),
        lambda n: x.triu(n),
        lambda n: x.topk(n),
        lambda n: x.chunk(n),
        lambda n: rt.eye(n),
        lambda n: rt.linspace(0, 1, n),
        lambda n: rt.randperm(n),
        lambda n: rt.multinomial(x[0], n),
        lambda n: rt.manual_seed(n),
        lambda n: rt.randint(n, 5, (2,)),
    ],
)
def test_a_count_is_an_integer(call, wrong):
    with pytest.raises(TypeError, match="must be an integer, got"):
        call(wrong)


@pytest.mark.parametrize(
    "call",
    [
        lambda: rt.eye(-1),
        lambda: rt.eye(2, -1),
        lambda: rt.linspace(0, 1, -1),
        lambda: rt.randperm(-1),
        lambda: rt.multinomial(x[0], -1),
        lambda: rt.Generator(-1),
        lambda: rt.manual_seed(-1),
    ],
)
def test_a_count_is_not_negative(call):
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        call()


def test_a_diagonal_may_lie_outside():
    assert rt.tril(x, 10**30).tolist() == x.tolist()
    assert rt.triu(x, 10**30).tolist() == rt.zeros(2, 3).tolist()


# ------------------------------------------------------------------------------------------------- tensors

OF_ONE_TENSOR = [
    *(rt.exp, rt.sigmoid, rt.sqrt, rt.isnan, rt.logical_not, rt.bitwise_not, rt.neg, rt.abs, rt.square),
    *(rt.sign, rt.floor, rt.ceil, rt.round, rt.relu, rt.leaky_relu, rt.gelu, rt.softplus, rt.positive),
    *(rt.sum, rt.mean, rt.var, rt.std, rt.prod, rt.amax, rt.amin, rt.max, rt.min, rt.argmax, rt.argmin),
    *(rt.all, rt.any, rt.norm, rt.nonzero, rt.sort, rt.argsort, rt.flatten, rt.squeeze, rt.t, rt.unbind),
    *(rt.clone, rt.tril, rt.triu, rt.bernoulli, rt.zeros_like, rt.ones_like, rt.empty_like, rt.rand_like),
    rt.randn_like,
    lambda a: rt.softmax(a, 0),
    lambda a: rt.log_softmax(a, 0),
    lambda a: rt.logsumexp(a, 0),
    lambda a: rt.cumsum(a, 0),
    lambda a: rt.clamp(a, 0),
    lambda a: rt.full_like(a, 1),
    lambda a: rt.reshape(a, 1),
    lambda a: rt.expand(a, 1),
    lambda a: rt.repeat(a, 1),
    lambda a: rt.permute(a, 0),
    lambda a: rt.transpose(a, 0, 0),
    lambda a: rt.movedim(a, 0, 0),
    lambda a: rt.unsqueeze(a, 0),
    lambda a: rt.unflatten(a, 0, (1,)),
    lambda a: rt.flip(a, 0),
    lambda a: rt.split(a, 1),
    lambda a: rt.chunk(a, 1),
    lambda a: rt.topk(a, 1),
    lambda a: rt.gather(a, 0, index),
    lambda a: rt.index_select(a, 0, [0]),
    lambda a: rt.scatter_add(x, 0, index, a),
    lambda a: rt.index_add(x, 0, [0], a),
    lambda a: rt.mm(a, x),
    lambda a: rt.equal(x, a),
    lambda a: x.expand_as(a),
    lambda a: x.reshape_as(a),
    lambda a: x.view_as(a),
    lambda a: x.type_as(a),
]


@pytest.mark.parametrize("wrong", NO_TENSORS, ids=name_of)
@pytest.mark.parametrize("call", OF_ONE_TENSOR)
def test_a_tensor_is_needed(call, wrong):
    with pytest.raises(TypeError, match=f"must be Tensor, not {type(wrong).__name__}"):
        call(wrong)


@pytest.mark.parametrize("wrong", [None, "a", [1, [2]], object(), np.array(["a"]), 1j], ids=name_of)
@pytest.mark.parametrize(
    "call",
    [
        lambda a: x + a,
        lambda a: a * x,
        lambda a: x < a,
        lambda a: rt.matmul(x, a),
        lambda a: rt.einsum("ij,ij->i", x, a),
        lambda a: rt.where(x > 0, x, a),
        lambda a: rt.cat([x, a]),
        lambda a: rt.tensor(a),
        lambda a: a in x,
        lambda a: rt.multinomial(a, 1),
        lambda a: rt.masked_fill(x, x > 0, a),
    ],
)
def test_an_operand_is_made_of_numbers(call, wrong):
    clear = "expected a Tensor, an array or a number|rows of the same length|cannot hold dtype"
    with pytest.raises((TypeError, ValueError), match=clear):
        call(wrong)


def test_rows_of_different_lengths():
    for call in (rt.tensor, lambda data: x + data, rt.as_tensor):
        with pytest.raises(ValueError, match="rows of the same length are needed"):
            call([[1.0], [1.0, 2.0]])
    with pytest.raises(ValueError, match="rows of the same length are needed"):
        x[[[0], [0, 1]]]


@pytest.mark.parametrize("wrong", [None, 3, 1.5, object()], ids=name_of)
@pytest.mark.parametrize("join", [rt.cat, rt.stack])
def test_a_sequence_of_tensors_is_needed(join, wrong):
    with pytest.raises(TypeError, match=r"(cat|stack) needs a sequence of tensors, got"):
        join(wrong)
    assert join(a for a in (x, x)).tolist() == join([x, x]).tolist()


@pytest.mark.parametrize("wrong", [None, 3, x, ["i"]], ids=name_of)
def test_an_equation_is_a_string(wrong):
    with pytest.raises(TypeError, match="equation must be str"):
        rt.einsum(wrong, x)


# ------------------------------------------------------------------------------------------- kinds of numbers


@pytest.mark.parametrize(
    "call",
    [
        lambda: x & x,
        lambda: x | 1.5,
        lambda: x ^ x,
        lambda: ~x,
        lambda: -(x > 0),
        lambda: (x > 0) - (x > 0),
        lambda: (x > 0) % (x > 0),
    ],
)
def test_operators_say_which_types_they_are_not_defined_for(call):
    with pytest.raises(TypeError, match=r"is not defined for .*: convert first"):
        call()


@pytest.mark.parametrize("wrong", [None, "a", [1.0], object(), np.ones(2), x], ids=name_of)
@pytest.mark.parametrize(
    "call",
    [
        lambda v: rt.full((2,), v),
        lambda v: rt.arange(0, 3, v),
        lambda v: rt.linspace(v, 1, 3),
        lambda v: rt.normal(v, 1.0, (2,)),
        lambda v: rt.leaky_relu(x, v),
        lambda v: rt.softplus(x, v),
        lambda v: rt.allclose(x, x, rtol=v),
        lambda v: x.clone().add_(1.0, alpha=v),
        lambda v: x.clone().uniform_(v, 1.0),
        lambda v: x.clone().normal_(v),
    ],
)
def test_a_number_is_needed(call, wrong):
    with pytest.raises(TypeError, match="must be a number, got"):
        call(wrong)


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda: rt.arange(0, 3, 0), ValueError, "a step other than 0"),
        (lambda: rt.arange(float("inf")), ValueError, "finite ends"),
        (lambda: rt.linspace(0, float("inf"), 3), ValueError, "finite ends"),
        (lambda: rt.allclose(x, x, rtol=-1), ValueError, "finite and not negative"),
        (lambda: rt.softmax(x, 0, dtype="int64"), TypeError, "need a floating dtype, got int64"),
        (lambda: rt.clamp(x, "low"), TypeError, "a limit of clamp must be a number, got str 'low'"),
        (lambda: x.norm(None), TypeError, "p must be a number, got None"),
        (lambda: x.var(correction="one"), TypeError, "correction must be a number, got str 'one'"),
        (lambda: rt.gelu(x, np.ones(2)), ValueError, "approximate must be 'none' or 'tanh'"),
        (lambda: rt.multinomial(rt.ones(1, 1, 1), 1), ValueError, r"weights of shape \(n,\) or \(rows, n\)"),
        (lambda: rt.rand(2, generator=3), TypeError, "generator must be a Generator or None, got int 3"),
        (lambda: rt.zeros(2, dtype="no type"), TypeError, "expected a dtype such as"),
        (lambda: rt.rand(2, dtype=object()), TypeError, "expected a dtype such as"),
        (lambda: rt.zeros(2, device=np.ones(2)), ValueError, "expected device 'cpu' or 'cuda'"),
        (lambda: rt.rand(2, device=np.ones(2)), ValueError, "expected device 'cpu' or 'cuda'"),
        (lambda: x.to(device=3), ValueError, "expected device 'cpu' or 'cuda', got 3"),
        (lambda: x.clone().copy_(rt.ones(7)), RuntimeError, r"copy_: shape \(7,\)"),
    ],
)
def test_values_that_do_not_fit(call, kind, says):
    with pytest.raises(kind, match=says):
        call()


def test_writing_where_it_does_not_fit():
    y = x.clone()
    with pytest.raises(
        IndexError, match=r"cannot write a value of shape \(\) into a tensor of shape \(2, 3\)"
    ):
        y[5] = 1.0
    with pytest.raises(
        ValueError, match=r"cannot write a value of shape \(7,\) into a tensor of shape \(2, 3\)"
    ):
        y[0] = rt.ones(7)
    assert y.tolist() == x.tolist()


# ------------------------------------------------------------------------------------------ arrays of a subclass


class Named(np.ndarray):
    """An array of a class of its own, as np.memmap is one."""


def test_arrays_of_a_subclass_become_plain_and_share_memory():
    array = np.arange(6.0).reshape(2, 3)
    y = rt.Tensor(array.view(Named))
    assert type(y.numpy()) is np.ndarray
    assert np.shares_memory(y.numpy(), array)
    assert y[..., 0].tolist() == [0.0, 3.0]
    assert y[0, ..., 1].item() == 1.0
    assert rt.from_numpy(array.view(np.matrix))[0].tolist() == [0.0, 1.0, 2.0]


def test_data_of_a_subclass_become_plain_and_share_memory():
    x = rt.zeros(3, requires_grad=True)
    array = np.ones(3, np.float32)
    x.data = array.view(Named)
    assert type(x.detach().numpy()) is np.ndarray
    assert np.shares_memory(x.detach().numpy(), array)
    (x * x).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


def test_a_gradient_of_a_subclass():
    x = rt.ones(3, requires_grad=True)
    (x * x).backward(np.ones(3, np.float32).view(Named))
    assert x.grad.tolist() == [2.0, 2.0, 2.0]
    assert type(x.grad.numpy()) is np.ndarray


def test_an_index_that_ends_in_an_element_shares_memory():
    y = rt.zeros(2, 3)
    y[1, 2].fill_(1.0)
    y[..., 1, 1].fill_(2.0)
    y[0, 0, ...].fill_(3.0)
    assert y.tolist() == [[3.0, 0.0, 0.0], [0.0, 2.0, 1.0]]
