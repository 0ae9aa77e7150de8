"""Padding and packing: exact tables, PyTorch's results on drawn lengths, gradients, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comparing import assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.nn.utils.rnn import (
    PackedSequence,
    invert_permutation,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    pad_sequence,
    unpack_sequence,
    unpad_sequence,
)

# Three sequences, padded to (T, B) = (3, 3) with -1, their own order and by length.
PADDED = [[10, 20, 30], [-1, 21, 31], [-1, 22, -1]]
LENGTHS = [1, 3, 2]
PACKED = [20, 30, 10, 21, 31, 22]


def test_pack_sorts_and_restores():
    packed = pack_padded_sequence(rt.tensor(PADDED), LENGTHS, enforce_sorted=False)
    assert packed.data.tolist() == PACKED
    assert packed.batch_sizes.tolist() == [3, 2, 1]
    assert packed.sorted_indices.tolist() == [1, 2, 0]
    assert packed.unsorted_indices.tolist() == [2, 0, 1]
    padded, lengths = pad_packed_sequence(packed, padding_value=-1)
    assert padded.tolist() == PADDED
    assert lengths.tolist() == LENGTHS
    assert lengths.dtype == np.int64


@pytest.mark.parametrize("kind", [list, tuple, np.array, rt.tensor, lambda n: np.array(n, np.int32)])
def test_lengths_may_be_of_any_integer_kind(kind):
    packed = pack_padded_sequence(rt.tensor(PADDED), kind(LENGTHS), enforce_sorted=False)
    assert packed.data.tolist() == PACKED


def test_rows_in_order_are_not_permuted():
    packed = pack_padded_sequence(rt.tensor([[1, 2], [3, -1]]), [2, 1])
    assert packed.data.tolist() == [1, 2, 3]
    assert packed.sorted_indices is None
    assert packed.unsorted_indices is None


def test_equal_lengths_sort_stably():
    packed = pack_padded_sequence(rt.tensor([[1, 2, 3]]), [1, 1, 1], enforce_sorted=False)
    assert packed.sorted_indices.tolist() == [0, 1, 2]


def test_padding_and_its_inverse():
    sequences = [rt.tensor([1, 2, 3]), rt.tensor([4]), rt.tensor([5, 6])]
    padded = pad_sequence(sequences, padding_value=9)
    assert padded.tolist() == [[1, 4, 5], [2, 9, 6], [3, 9, 9]]
    assert pad_sequence(sequences, batch_first=True).tolist() == [[1, 2, 3], [4, 0, 0], [5, 6, 0]]
    left = pad_sequence(sequences, batch_first=True, padding_side="left")
    assert left.tolist() == [[1, 2, 3], [0, 0, 4], [0, 5, 6]]
    assert [s.tolist() for s in unpad_sequence(padded, [3, 1, 2])] == [[1, 2, 3], [4], [5, 6]]
    packed = pack_sequence(sequences, enforce_sorted=False)
    assert [s.tolist() for s in unpack_sequence(packed)] == [[1, 2, 3], [4], [5, 6]]


def test_an_empty_sequence_is_all_padding():
    assert pad_sequence([rt.zeros(0, 2), rt.ones(1, 2)], batch_first=True).tolist() == [[[0, 0]], [[1, 1]]]


def test_total_length():
    packed = pack_sequence([rt.tensor([1.0, 2.0]), rt.tensor([3.0])])
    padded, lengths = pad_packed_sequence(packed, batch_first=True, padding_value=7, total_length=3)
    assert padded.tolist() == [[1, 2, 7], [3, 7, 7]]
    assert lengths.tolist() == [2, 1]


@settings(max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=7),
    rest=st.lists(st.integers(1, 3), max_size=2),
    batch_first=st.booleans(),
    extra=st.integers(0, 2),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_pytorch_with_gradients(lengths, rest, batch_first, extra, seed):
    torch = pytest.importorskip("torch")
    theirs_of = torch.nn.utils.rnn
    rng = np.random.default_rng(seed)
    T, B = max(lengths) + extra, len(lengths)
    x = rng.standard_normal(((B, T) if batch_first else (T, B)) + tuple(rest))
    ours_x = rt.tensor(x, requires_grad=True)
    theirs_x = torch.tensor(x, requires_grad=True)

    ours = pack_padded_sequence(ours_x, lengths, batch_first, enforce_sorted=False)
    theirs = theirs_of.pack_padded_sequence(theirs_x, lengths, batch_first, enforce_sorted=False)
    assert_same_bits(ours.batch_sizes, theirs.batch_sizes)
    # Among equal lengths PyTorch's order is unspecified, so rows are compared after unpacking.
    ours_padded, ours_lengths = pad_packed_sequence(ours, batch_first, 0.5, total_length=T)
    theirs_padded, theirs_lengths = theirs_of.pad_packed_sequence(theirs, batch_first, 0.5, total_length=T)
    assert_same_bits(ours_padded, theirs_padded)
    assert_same_bits(ours_lengths, theirs_lengths)

    cotangent = rng.standard_normal(x.shape)
    ours_padded.backward(rt.tensor(cotangent))
    theirs_padded.backward(torch.tensor(cotangent))
    assert_same_bits(ours_x.grad, theirs_x.grad)


def test_pad_sequence_gradients_have_gradients():
    rng = np.random.default_rng(0)
    a, b = (rt.tensor(rng.standard_normal((n, 2)), requires_grad=True) for n in (3, 1))
    assert rt.gradcheck(lambda a, b: pad_sequence([a, b]) ** 3, (a, b))
    assert rt.gradgradcheck(lambda a, b: pad_sequence([a, b]) ** 3, (a, b))
    x = rt.tensor(rng.standard_normal((3, 2, 2)), requires_grad=True)
    assert rt.gradgradcheck(lambda x: pack_padded_sequence(x, [2, 3], enforce_sorted=False).data ** 3, (x,))


def test_packed_sequence_of_a_users_own_fields():
    packed = PackedSequence(rt.ones(3, 2), rt.tensor([2, 1]), rt.tensor([1, 0]))
    assert packed.unsorted_indices.tolist() == [1, 0]
    assert packed.double().data.dtype == np.float64
    assert packed.to(dtype="float64").float().data.dtype == np.float32
    data, batch_sizes, _, _ = packed
    assert data is packed.data
    assert batch_sizes is packed.batch_sizes


def test_invert_permutation():
    assert invert_permutation(None) is None
    assert invert_permutation(rt.tensor([2, 0, 1])).tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: pack_padded_sequence(x, [2, 3]),
            RuntimeError,
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True",
        ),
        (
            lambda x: pack_padded_sequence(x, [3, 0]),
            RuntimeError,
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0",
        ),
        (
            lambda x: pack_padded_sequence(x, [4, 3]),
            RuntimeError,
            "Expected no length above the padded input's 3 steps, but got 4 at 0",
        ),
        (
            lambda x: pack_padded_sequence(x, [3]),
            RuntimeError,
            r"Expected `len\(lengths\)` to be equal to batch_size, but got 1 \(batch_size=2\)",
        ),
        (
            lambda x: pack_padded_sequence(x, [3.0, 2.0]),
            TypeError,
            "lengths must be integers, got float64",
        ),
        (
            lambda x: pack_padded_sequence(x, [[3, 2]]),
            ValueError,
            r"lengths must have shape \(batch,\), got \(1, 2\)",
        ),
        (
            lambda x: pack_padded_sequence(x[:0], [3, 2]),
            RuntimeError,
            r"Cannot pack empty tensors: got shape \(0, 2, 4\)",
        ),
        (
            lambda x: pack_padded_sequence(x[:, 0, 0], [1, 1, 1]),
            ValueError,
            r"at least the dimensions time and batch, got shape \(3,\)",
        ),
        (
            lambda x: pack_padded_sequence(x.numpy(), [3, 2]),
            TypeError,
            "input must be a Tensor, got numpy.ndarray",
        ),
        (
            lambda x: pad_packed_sequence(pack_padded_sequence(x, [3, 2]), total_length=2),
            ValueError,
            "got total_length=2 and max sequence length being 3",
        ),
        (lambda x: pad_packed_sequence(x), TypeError, "sequence must be a PackedSequence, got Tensor"),
        (lambda x: pad_sequence([]), RuntimeError, "pad_sequence received an empty list of sequences"),
        (
            lambda x: pad_sequence([x, x[:, 0]]),
            ValueError,
            r"sequence 0 has \* = \(2, 4\), sequence 1 has \(4,\)",
        ),
        (
            lambda x: pad_sequence([1.0]),
            TypeError,
            "pad_sequence: sequences must be an iterable of Tensors, but number 0 is float",
        ),
        (
            lambda x: pad_sequence([rt.tensor(1.0)]),
            TypeError,
            r"expects Tensors of shape \(length, \*\), got tensor\(1",
        ),
        (
            lambda x: pad_sequence([x], padding_side="x"),
            RuntimeError,
            "Expected padding_side to be one of left or right, but got x",
        ),
        (
            lambda x: PackedSequence(x[0], rt.tensor([1, 2])),
            ValueError,
            r"batch_sizes must be positive and never increase, got \[1, 2\]",
        ),
        (
            lambda x: PackedSequence(x[0], rt.tensor([2, 2])),
            ValueError,
            r"one row for each of the sum\(batch_sizes\) = 4 steps, got shape \(2, 4\)",
        ),
        (
            lambda x: PackedSequence(x[0], rt.tensor([2.0])),
            TypeError,
            r"batch_sizes must be int64 of shape \(T,\) with T > 0, got float32 of shape \(1,\)",
        ),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call(rt.zeros(3, 2, 4))


@pytest.mark.parametrize("indices", [[0, 0], [0, 2], [0], [-1, 0]])
@pytest.mark.parametrize("name", ["sorted_indices", "unsorted_indices"])
def test_indices_that_are_no_permutation_are_refused(name, indices):
    with pytest.raises(ValueError, match=f"{name} must be int64 and hold each of 0 to 1 once"):
        PackedSequence(rt.zeros(3, 1), rt.tensor([2, 1]), **{name: rt.tensor(indices)})


@pytest.mark.parametrize(("dtype", "value"), [("int64", float("nan")), ("uint8", 300), ("float32", 1e300)])
def test_padding_that_the_dtype_cannot_hold_is_refused(dtype, value):
    sequences = [rt.ones(2, dtype=dtype), rt.ones(1, dtype=dtype)]
    with pytest.raises(ValueError, match=f"does not fit {dtype}"):
        nn.utils.rnn.pad_sequence(sequences, padding_value=value)
    packed = nn.utils.rnn.pack_padded_sequence(rt.ones(2, 2, dtype=dtype), [2, 1])
    with pytest.raises(ValueError, match=f"does not fit {dtype}"):
        nn.utils.rnn.pad_packed_sequence(packed, padding_value=value)
