"""Operators refuse what they cannot do, and say what came and what to do."""

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import tensor as rt

CALLS = [
    (
        lambda x: rt.reshape(x, (5,)),
        ValueError,
        r"cannot reshape a tensor of shape \(3, 4\) \(12 elements\) to \(5,\)",
    ),
    (
        lambda x: x.sum(2),
        IndexError,
        "dim 2 is out of range for a tensor with 2 dimensions: expected -2 to 1",
    ),
    (lambda x: x.sum((0, -2)), ValueError, "a dimension is named twice"),
    (
        lambda x: x.permute(0),
        ValueError,
        r"permute needs each of the 2 dimensions of shape \(3, 4\) once, got \(0,\)",
    ),
    (lambda x: rt.ones(2, 2, 2).t(), ValueError, r"at most 2 dimensions.*use transpose\(\)"),
    (lambda x: x.expand(3), ValueError, r"cannot expand a tensor of shape \(3, 4\) to \(3,\)"),
    (lambda x: x.expand(5, 4), ValueError, "only sizes of 1 stretch"),
    (lambda x: x.expand(-1, 3, 4), ValueError, "new dimensions come first"),
    (
        lambda x: x.repeat(2),
        ValueError,
        r"repeat needs a number for each dimension of shape \(3, 4\), got \(2,\)",
    ),
    (lambda x: x.flatten(1, 0), ValueError, "start_dim 1 comes after end_dim 0"),
    (lambda x: rt.cat([]), ValueError, "cat needs at least one tensor"),
    (lambda x: rt.cat([rt.tensor(1.0)]), ValueError, r"at least one dimension: use stack\(\)"),
    (
        lambda x: rt.cat([x, rt.ones(3, 5)]),
        ValueError,
        r"all other sizes must be equal, got \[\(3, 4\), \(3, 5\)\]",
    ),
    (
        lambda x: rt.stack([x, rt.ones(4)]),
        ValueError,
        r"stack needs tensors of the same shape, got \[\(3, 4\), \(4,\)\]",
    ),
    (lambda x: x.split(0), ValueError, "split_size must be positive, got 0"),
    (lambda x: x.split([1, 1]), ValueError, r"split sizes \[1, 1\] must add up to the size 3 of dim 0"),
    (lambda x: x.chunk(0), ValueError, "chunks must be positive, got 0"),
    (lambda x: rt.tensor(1.0).split(1), ValueError, "at least one dimension"),
    (lambda x: rt.tensor(1.0).unbind(), ValueError, "at least one dimension"),
    (lambda x: rt.tril(rt.ones(3)), ValueError, r"at least 2 dimensions, got shape \(3,\)"),
    (lambda x: x @ x, ValueError, r"matmul: shapes \(3, 4\) and \(3, 4\) do not fit"),
    (lambda x: x @ rt.tensor(1.0), ValueError, "do not fit"),
    (
        lambda x: x @ rt.ones(4, 2, dtype="float64"),
        TypeError,
        r"operands of one type, got float32 and float64.*\.to",
    ),
    (lambda x: rt.ones(2, 3, 4) @ rt.ones(3, 4, 2), ValueError, "the batches of shapes .* do not broadcast"),
    (lambda x: rt.mm(x, rt.ones(4)), ValueError, r"mm needs a tensor of 2 dimensions here, got shape \(4,\)"),
    (lambda x: rt.bmm(rt.ones(2, 1, 1), rt.ones(3, 1, 1)), ValueError, "bmm needs equal batches"),
    (lambda x: rt.dot(x, x), ValueError, "dot needs a tensor of 1 dimensions here"),
    (lambda x: rt.amax(rt.ones(0, 3), 0), IndexError, r"amax of nothing.*shape \(0, 3\) has size 0"),
    (lambda x: rt.max(rt.ones(0)), IndexError, "of nothing"),
    (lambda x: rt.argmax(rt.ones(0)), IndexError, r"argmax of nothing.*shape \(0,\) has size 0"),
    (lambda x: x.clamp(), ValueError, "clamp needs min, max or both"),
    (lambda x: x.norm("nuc"), ValueError, "p must be a number or 'fro', got 'nuc'"),
    (
        lambda x: rt.gelu(x, approximate="fast"),
        ValueError,
        "approximate must be 'none' or 'tanh', got 'fast'",
    ),
    (lambda x: x.masked_fill(x > 0, rt.ones(2)), ValueError, r"zero dimensions; for more use where\(\)"),
    (lambda x: x.clone().fill_(rt.ones(2)), ValueError, "fill_ needs a number"),
    (lambda x: x.clone().copy_(rt.ones(2, 3, 4)), RuntimeError, "does not fit in place"),
    (lambda x: rt.einsum("ij,jk->ik", x), ValueError, "names 2 operands, 1 were given"),
    (lambda x: rt.einsum("ijk->i", x), ValueError, "'ijk' names 3 dimensions, its operand has 2"),
    (lambda x: rt.einsum("ij->ii", x), ValueError, "repeats a label, or has one that no operand has"),
    (lambda x: rt.einsum("ij->k", x), ValueError, "has one that no operand has"),
    (lambda x: rt.einsum("ii->i", x), ValueError, "label 'i' has sizes 3 and 4 in one operand"),
    (
        lambda x: rt.einsum("ij,jk->ik", x, x),
        ValueError,
        "a label has size 4 in one operand and 3 in another",
    ),
    (lambda x: rt.einsum("i1->i", x), ValueError, "expected letters, commas"),
    (lambda x: rt.einsum(""), ValueError, "at least one operand"),
    (lambda x: x + rt.ones(5), ValueError, "cannot be broadcast together"),
]


@pytest.mark.parametrize(("call", "error", "message"), CALLS, ids=[m for _, _, m in CALLS])
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call(rt.ones(3, 4))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.host_only("the product of the CPU's kernel")
def test_matmul_has_the_same_bits_for_any_number_of_threads(threads):
    random = np.random.default_rng(0)
    a, b = random.standard_normal((130, 257), "float32"), random.standard_normal((257, 66), "float32")
    before = rt.get_num_threads()
    try:
        rt.set_num_threads(1)
        expected = rt.matmul(rt.tensor(a), rt.tensor(b))
        rt.set_num_threads(threads)
        result = rt.matmul(rt.tensor(a), rt.tensor(b))
    finally:
        rt.set_num_threads(before)
    assert_same_bits(result, expected)
