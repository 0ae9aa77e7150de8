"""`rondeau.tensor.linalg` against PyTorch and central differences, and its bits for any number of threads."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from comparing import assert_close, assert_same_bits
from rondeau import tensor as rt
from rondeau.kernels.ops import lapack

torch = pytest.importorskip("torch")

TOLERANCE = {"float32": 1e-4, "float64": 1e-11}


def drawn(seed, *shape, dtype="float64"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def well_conditioned(seed, *shape, dtype="float64"):
    """Return random matrices with a large diagonal, of which half is negative: rows are exchanged, no digit is lost."""
    n = shape[-1]
    signs = np.where(np.arange(n) % 2, -1.0, 1.0)
    return (drawn(seed, *shape) + 3 * n * np.roll(np.diag(signs), 1, axis=0)).astype(dtype)


def assert_like_torch(ours, theirs, *arrays):
    """Compare results, and the gradients of a random weighting of them."""
    dtype = str(arrays[0].dtype)
    mine = [rt.tensor(a, requires_grad=True) for a in arrays]
    reference = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    result, expected = ours(*mine), theirs(*reference)
    assert str(result.dtype) == dtype
    assert_close(result, expected, of_largest=TOLERANCE[dtype], what="result")
    cotangent = drawn(7, *result.shape, dtype=dtype)
    result.backward(rt.tensor(cotangent))
    expected.backward(torch.from_numpy(cotangent))
    for at, (own, other) in enumerate(zip(mine, reference, strict=True)):
        assert_close(own.grad, other.grad, of_largest=TOLERANCE[dtype], what=f"gradient {at}")


@given(
    n=st.integers(0, 6),
    k=st.integers(0, 4),
    batches=st.sampled_from([((), ()), ((2,), (2,)), ((3, 1), (2,)), ((), (3,)), ((2,), ()), ((0,), (0,))]),
    vectors=st.booleans(),
    left=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
)
@example(n=4, k=3, batches=((2,), ()), vectors=True, left=True, dtype="float64")  # a batch and one vector
@example(
    n=3, k=3, batches=((3,), ()), vectors=False, left=True, dtype="float64"
)  # (3, 3): no batch of vectors
def test_solve_is_torchs(n, k, batches, vectors, left, dtype):
    of_a, of_b = batches
    a = well_conditioned(1, *of_a, n, n, dtype=dtype)
    shape = (n, k) if left else (k, n)
    if vectors:
        b, left = drawn(2, *(of_a if of_b else ()), n, dtype=dtype), True
    elif (*of_b, *shape) == a.shape[:-1]:  # this would be a batch of vectors
        b = drawn(2, *of_a, *shape, dtype=dtype)
    else:
        b = drawn(2, *of_b, *shape, dtype=dtype)
    assert_like_torch(
        lambda x, y: rt.linalg.solve(x, y, left=left), lambda x, y: torch.linalg.solve(x, y, left=left), a, b
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 5), (2, 3, 3), (0, 0)])
def test_inverse_and_exponential_are_torchs(shape, dtype):
    a = well_conditioned(1, *shape, dtype=dtype)
    assert_like_torch(rt.linalg.inv, torch.linalg.inv, a)
    for scale in (0.0, 0.01, 1.0, 10.0):
        matrix = (scale * drawn(3, *shape)).astype(dtype)
        assert_like_torch(rt.linalg.matrix_exp, torch.matrix_exp, matrix)


def test_the_exponential_of_a_rotation_is_known():
    angle = 2.5
    found = rt.linalg.matrix_exp(rt.tensor([[0.0, -angle], [angle, 0.0]], dtype="float64"))
    expected = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    assert_close(found, np.array(expected), atol=1e-14)


def test_an_exponential_of_what_is_not_finite_is_not_finite():
    for value in (np.nan, np.inf, -np.inf):
        assert not np.isfinite(rt.linalg.matrix_exp(rt.full((2, 2), value)).numpy()).any()


def test_derivatives_of_both_orders_are_those_of_differences():
    a = rt.tensor(well_conditioned(1, 2, 3, 3), requires_grad=True)
    b = rt.tensor(drawn(2, 3, 2), requires_grad=True)
    assert rt.gradcheck(rt.linalg.solve, (a, b))
    assert rt.gradgradcheck(rt.linalg.solve, (a, b))
    small = rt.tensor(0.3 * drawn(3, 2, 2), requires_grad=True)
    assert rt.gradcheck(rt.linalg.matrix_exp, (small,))
    assert rt.gradgradcheck(rt.linalg.matrix_exp, (small,))


def test_numpys_functions_take_tensors():
    a, b = rt.tensor(well_conditioned(1, 3, 3)), rt.tensor(drawn(2, 3, 2))
    assert_same_bits(np.linalg.solve(a, b), rt.linalg.solve(a, b))
    assert_same_bits(np.linalg.inv(a), rt.linalg.inv(a))


@pytest.mark.host_only("threads are the CPU's")
def test_the_bits_do_not_depend_on_the_number_of_threads():
    a, b = rt.tensor(drawn(1, 256, 256, dtype="float32")), rt.tensor(drawn(2, 256, 256, dtype="float32"))
    before, found = rt.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            rt.set_num_threads(n)
            found.append((rt.linalg.solve(a, b), *lapack.qr(a.numpy()), *lapack.reflectors(a.numpy())))
    finally:
        rt.set_num_threads(before)
    assert_same_bits(found[1], found[0])
    assert_same_bits(found[2], found[0])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: rt.linalg.solve(rt.ones(2, 3), rt.ones(2)),
            ValueError,
            r"square matrices, got shape \(2, 3\)",
        ),
        (lambda: rt.linalg.solve(rt.ones(3), rt.ones(3)), ValueError, r"square matrices, got shape \(3,\)"),
        (lambda: rt.linalg.solve(rt.eye(2), rt.ones(3)), ValueError, "must have 2 rows"),
        (lambda: rt.linalg.solve(rt.eye(2), rt.tensor(1.0)), ValueError, "must have 2 rows"),
        (
            lambda: rt.linalg.solve(rt.ones(2, 2, 2), rt.ones(3, 2, 2)),
            ValueError,
            r"the batches of shapes \(2, 2, 2\) and \(3, 2, 2\) do not broadcast",
        ),
        (lambda: rt.linalg.solve(rt.ones(2, 2), rt.ones(2)), RuntimeError, "the matrix is singular"),
        (
            lambda: rt.linalg.solve(rt.eye(2), rt.ones(2, dtype="float64")),
            TypeError,
            "one type, got float32 and float64",
        ),
        (lambda: rt.linalg.inv(rt.ones(2, 2, dtype="int64")), TypeError, "float32 or float64, got int64"),
        (lambda: rt.linalg.matrix_exp(rt.ones(2, 2).half()), TypeError, "float32 or float64, got float16"),
        (
            lambda: rt.linalg.solve(rt.eye(2), rt.ones(2), left=False),
            ValueError,
            r"expects matrices on the right, got shape \(2,\)",
        ),
    ],
)
def test_mistakes_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call().tolist()  # on a GPU, a singular matrix is an error when something is read
