"""Indexing of every kind against PyTorch, and its errors."""

from enum import IntEnum

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from comparing import assert_close, assert_same_bits
from rondeau import tensor as rt

torch = pytest.importorskip("torch")


def integers_of(size):
    return st.integers(-size, size - 1)


def parts_of(size):
    """Every kind of part that reads one dimension."""
    bound = st.none() | st.integers(-size, size)
    arrays = npst.arrays(np.int64, st.sampled_from([(3,), (2, 3)]), elements=integers_of(size))
    return st.one_of(
        integers_of(size),
        integers_of(size).map(np.int64),
        integers_of(size).map(np.array),
        st.builds(slice, bound, bound, st.sampled_from([None, 1, 2])),
        arrays,
        st.lists(integers_of(size), min_size=3, max_size=3),
        st.tuples(*[integers_of(size)] * 3),
        st.just([]),
    )


@st.composite
def indexed_arrays(draw):
    """An array and an index into it: what both libraries understand alike."""
    shape = draw(npst.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=5))
    parts, read = [], 0
    stop = draw(st.integers(0, len(shape)))
    while read < stop:
        if draw(st.sampled_from([False, False, False, True])):
            masked = shape[read : draw(st.integers(read + 1, stop))]
            parts.append(
                draw(npst.arrays(st.sampled_from([np.bool_, np.uint8]), masked, elements=st.booleans()))
            )
            read += len(masked)
        else:
            parts.append(draw(parts_of(shape[read])))
            read += 1
    for extra in draw(st.lists(st.sampled_from([None, True, False]), max_size=2)):
        parts.insert(draw(st.integers(0, len(parts))), extra)
    if draw(st.booleans()):
        skipped = stop < len(shape)
        parts.insert(len(parts) if skipped else draw(st.integers(0, len(parts))), Ellipsis)
    return shape, tuple(parts)


def is_mask(part):
    return isinstance(part, np.ndarray) and part.dtype in (np.bool_, np.uint8)


def copies(index):
    """Whether reading by `index` copies."""
    return any(isinstance(i, (bool, list, tuple)) or np.ndim(i) > 0 or is_mask(i) for i in index)


def convert(m, index):
    return tuple(m.tensor(i) if isinstance(i, np.ndarray) else i for i in index)


def without_uint8(index):
    """PyTorch reads masks of uint8, and refuses to write a number by them."""
    return tuple(i.astype(bool) if is_mask(i) else i for i in index)


of_uint8 = pytest.mark.filterwarnings("ignore:.*uint8:UserWarning")


@of_uint8
@settings(max_examples=300)
@given(indexed_arrays())
@example(((3, 4), (np.array([0, 0, 2]), slice(None))))
@example(((3, 4, 2), (slice(None), np.array([1, 1]), np.array([0, 1]))))
@example(((3, 4, 2), (np.array([1, 1]), slice(None), np.array([0, 1]))))
@example(((2,), (0, None)))
@example(((2, 3, 4), (0, slice(None), np.array([1, 1, 0]))))
@example(((2, 3, 4, 2), (np.array([1, 1]), Ellipsis, 0)))
@example(((2, 3, 4, 2), (slice(None), np.array([1, 1]), slice(None), 0)))
@example(((2, 3, 4, 2), (0, None, np.array([1, 1]), slice(None), np.array([0, 1]))))
@example(((2, 5, 6), (1, slice(None), (1, 0))))
@example(((2, 5, 6), (1, (1, 0), 1)))
@example(((2, 5, 6), (slice(None), True, (1, 0))))
@example(((2, 5), (np.array([1]), Ellipsis, np.array([True] * 5))))
def test_reading_and_its_gradient(drawn):
    shape, index = drawn
    array = np.arange(np.prod(shape), dtype="float64").reshape(shape) + 1
    ours, theirs = rt.tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    try:
        b = theirs[convert(torch, index)]
    except IndexError:  # arrays that do not fit together
        with pytest.raises(IndexError):
            ours[convert(rt, index)]
        return
    a = ours[convert(rt, index)]
    assert a.shape == tuple(b.shape)
    assert_same_bits(a, b)
    if copies(index):
        assert not np.shares_memory(a._array, ours._array)
    elif a.numel():
        assert np.shares_memory(a._array, ours._array)
    cotangent = np.random.default_rng(0).standard_normal(a.shape)
    (a * rt.tensor(cotangent)).sum().backward()
    (b * torch.tensor(cotangent)).sum().backward()
    expected = (
        np.zeros(shape) if theirs.grad is None else theirs.grad.numpy()
    )  # None where `False` reads nothing
    assert_close(ours.grad, expected, rtol=1e-12)


@of_uint8
@settings(max_examples=200)
@given(indexed_arrays(), st.booleans())
@example(((2, 5, 6), (1, slice(None), (1, 0))), False)
@example(((4,), (np.array([True, False, True, False]),)), False)
def test_writing_and_its_gradients(drawn, scalar):
    shape, index = drawn[0], without_uint8(drawn[1])
    array = np.arange(np.prod(shape), dtype="float64").reshape(shape) + 1
    try:
        part = torch.tensor(array)[convert(torch, index)]
    except IndexError:
        assume(False)
    # Where an index repeats, the order of writes is not defined in PyTorch: write one value.
    repeats = any(not is_mask(i) for i in index if copies((i,)))
    value = np.array(5.0)
    if not scalar and not repeats:
        value = np.random.default_rng(0).standard_normal((1, *part.shape))
    results = []
    for m in (rt, torch):
        x, v = m.tensor(array, requires_grad=True), m.tensor(value, requires_grad=True)
        y = x * 2
        y[convert(m, index)] = v
        (y * m.tensor(array)).sum().backward()
        written = (
            np.zeros(value.shape) if v.grad is None else v.grad.numpy()
        )  # None where `False` writes nothing
        results.append([y.detach().numpy(), x.grad.numpy(), written])
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [3, 5000])
def test_repeated_rows_add_in_order_whatever_their_number(dtype, rows):
    """Few rows go through NumPy, many through the compiled scatter: the same bits, those of a plain loop."""
    random = np.random.default_rng(0)
    ids = random.integers(-7, 7, rows)
    g = random.standard_normal((rows, 6)).astype(dtype)
    expected = np.zeros((7, 6), dtype)
    for i, row in zip(ids, g, strict=True):
        expected[i] += row
    x = rt.zeros(7, 6, dtype=dtype, requires_grad=True)
    x[ids].backward(rt.tensor(g))
    assert_same_bits(x.grad, expected)


def test_many_slices_of_one_tensor_accumulate():
    x = rt.ones(50, 3, dtype="float64", requires_grad=True)
    total = sum((x[t] * (t + 1)).sum() for t in range(50))
    total.backward()
    assert_same_bits(x.grad, np.repeat(np.arange(1.0, 51), 3).reshape(50, 3))


def test_numbers_of_numpy_and_tensors_index():
    x = rt.arange(5)
    assert x[np.int64(2)].item() == x[rt.tensor(2)].item() == 2
    assert x[np.array([1, 2])].tolist() == x[range(1, 3)].tolist() == [1, 2]
    assert x[np.array([True, False, True, False, False])].tolist() == [0, 2]
    assert x[[]].tolist() == []
    assert [1, 2, 3][rt.tensor(1)] == 2
    assert x[IntEnum("Third", "a b").b].item() == 2
    assert np.shares_memory(x[IntEnum("Third", "a b").b]._array, x._array)


def test_what_numpy_and_torch_read_differently_is_said_at_the_line_of_the_caller():
    x = rt.arange(3)
    with pytest.warns(UserWarning, match="uint8 is read as a mask") as of_mask:
        assert x[rt.tensor([1, 0, 1], dtype="uint8")].tolist() == [0, 2]
    with pytest.warns(
        UserWarning, match="a list of lists or tensors as index is read as one array"
    ) as of_list:
        assert x[[[0, 1], [2, 0]]].tolist() == [[0, 1], [2, 0]]
    assert {w[0].filename for w in (of_mask, of_list)} == {__file__}


def test_the_gradient_of_a_number_that_is_read_by_an_index_too():
    x = rt.tensor(2.0, requires_grad=True)
    y = x * 2
    (y * 3 + y[None].sum()).backward()
    assert x.grad.item() == 8
    z = x * 2
    z[...] = 1.0
    z.backward()
    assert x.grad.item() == 8


def test_iteration_and_length():
    x = rt.tensor([[1, 2], [3, 4]])
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]]
    assert len(x) == 2
    assert 3 in x
    assert 5 not in x
    with pytest.raises(TypeError, match="iteration over a tensor without dimensions"):
        iter(rt.tensor(1.0))
    with pytest.raises(TypeError, match="without dimensions"):
        len(rt.tensor(1.0))


def test_index_errors():
    x = rt.ones(3, 4)
    with pytest.raises(IndexError, match="index 3 is out of bounds for axis 0 with size 3"):
        x[3]
    # Errors of a GPU's indices come with the next read.
    with pytest.raises(IndexError, match=r"index 3 is out of (bounds|range)"):
        x[rt.tensor([0, 3])].tolist()
    with pytest.raises(IndexError, match="too many indices"):
        x[0, 0, 0]
    with pytest.raises(IndexError, match="masks and arrays of integers, got values of float32"):
        x[rt.tensor([0.5])]
    with pytest.raises(IndexError, match=r"index_select: index 4 is out of range for a dimension of size 4"):
        rt.index_select(x, 1, rt.tensor([4])).tolist()
    with pytest.raises(IndexError, match=r"gather: index -1 is out of range"):
        rt.gather(x, 0, rt.tensor([[-1, 0]])).tolist()
    with pytest.raises(TypeError, match="index_select needs integers as index, got float32"):
        rt.index_select(x, 0, rt.tensor([0.0]))
    with pytest.raises(ValueError, match=r"index of shape \(3,\) does not fit a tensor of shape \(3, 4\)"):
        rt.gather(x, 0, rt.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match=r"needs an index of one dimension, got shape \(1, 1\)"):
        rt.index_select(x, 0, rt.tensor([[0]]))
    with pytest.raises(ValueError, match="a tensor without dimensions needs an index of one element, got 2"):
        rt.index_select(x[0, 0], 0, rt.tensor([0, 0]))
    with pytest.raises(TypeError, match="masked_select needs a boolean mask, got int64"):
        rt.masked_select(x, rt.tensor([1]))
    with pytest.raises(TypeError, match="where needs a boolean condition, got float32"):
        rt.where(x, x, x)
    with pytest.raises(ValueError, match="topk: k must be between 0 and the size 4"):
        rt.topk(x, 5)
    with pytest.raises(ValueError, match="broadcast"):
        x[0] = rt.ones(3)


@settings(max_examples=60)
@given(
    npst.arrays(
        np.float64, npst.array_shapes(max_dims=3, max_side=5), elements=st.sampled_from([0.0, 1.0, 2.0, 3.0])
    ),
    st.booleans(),
)
def test_sort_keeps_the_order_of_equals(array, descending):
    ours = rt.sort(rt.tensor(array), descending=descending)
    theirs = torch.sort(torch.tensor(array), descending=descending, stable=True)
    assert_same_bits(ours.values, theirs.values)
    assert_same_bits(ours.indices, theirs.indices)


def test_nonzero():
    array = np.array([[0, 1], [2, 0]])
    assert_same_bits(rt.nonzero(rt.tensor(array)).numpy(), torch.nonzero(torch.tensor(array)).numpy())


@pytest.mark.parametrize(
    "read",
    [
        lambda x, index: x[index],
        lambda x, index: x[index, :],
        lambda x, index: rt.index_select(x, 0, index),
        lambda x, index: rt.gather(x, 0, index.reshape(-1, 1)),
    ],
)
def test_backward_uses_the_index_that_forward_was_given(read):
    x = rt.zeros(3, 2000, requires_grad=True)
    index = np.array([0, 2, 2])
    y = read(x, index)
    index[:] = 10**12
    y.sum().backward()
    assert x.grad.numpy()[:, 0].tolist() == [1.0, 0.0, 2.0]


@pytest.mark.parametrize(
    "add", [rt.index_add, lambda *a: rt.scatter_add(a[0], a[1], a[2].reshape(3, 1), a[3])]
)
def test_backward_of_additions_uses_the_index_that_forward_was_given(add):
    source = rt.ones(3, 1, requires_grad=True)
    index = np.array([0, 2, 2])
    y = add(rt.zeros(3, 1), 0, index, source)
    index[:] = 10**12
    (y * rt.tensor([[1.0], [2.0], [3.0]])).sum().backward()
    assert source.grad.tolist() == [[1.0], [3.0], [3.0]]


@pytest.mark.parametrize("shape", [(512, 16), (1024, 16), (1024, 1), (1, 8), (8,), ()])
def test_index_add_refuses_a_source_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"the source must have shape \(1024, 8\)"):
        rt.index_add(rt.zeros(10, 8), 0, np.zeros(1024, np.int64), rt.ones(shape))


def test_index_add_refuses_what_has_no_dimension():
    with pytest.raises(ValueError, match="all three one dimension or more"):
        rt.index_add(rt.zeros(()), 0, np.zeros(1, np.int64), rt.ones(1))
    with pytest.raises(ValueError, match=r"an index of shape \(1, 1\)"):
        rt.index_add(rt.zeros(3), 0, np.zeros((1, 1), np.int64), rt.ones(1))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32"])
def test_small_integers_along_a_dimension_are_never_a_mask(dtype):
    """Of uint8, `x[index]` reads a mask; what takes an index along a dimension reads integers."""
    x = rt.tensor(np.arange(6.0).reshape(3, 2))
    rows, places = rt.tensor(np.array([2, 0, 1], dtype)), rt.tensor(np.array([[1, 0], [0, 0], [1, 1]], dtype))
    assert x.index_select(0, rows).tolist() == [[4, 5], [0, 1], [2, 3]]
    assert x.gather(1, places).tolist() == [[1, 0], [2, 2], [5, 5]]
    assert rt.zeros(3, 2).scatter_add(1, places, rt.ones(3, 2)).tolist() == [[1, 1], [2, 0], [0, 2]]
    assert rt.zeros(3, 2).index_add(0, rows, x.float()).tolist() == [[2, 3], [4, 5], [0, 1]]
