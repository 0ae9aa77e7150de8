"""The checks of the optimisers' kernels; what they compute is tested with the optimisers, against torch."""

import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau.kernels.ops import optimisers
from rondeau.kernels.ops.optimisers import Adagrad, Adam, Amsgrad, Momentum, RMSprop, Sgd


def read_only(array):
    array.flags.writeable = False
    return array


SCALARS = (-1.0, 0.25, 0.9, 0.1, 0.75, 0.25, 0.5, 0.125, 1e-3)


def rules(shape):
    """One of each kind, with averages of this shape."""

    def positive():
        return np.linspace(0.5, 2.0, int(np.prod(shape))).reshape(shape)

    yield Sgd(-1.0, 0.25, 0.1)
    yield Momentum(positive(), -1.0, 0.25, 0.1, 0.9, 0.5, True)
    yield Adagrad(positive(), -1.0, 0.25, 0.1, 1e-3)
    yield RMSprop(positive(), positive() / 9, positive(), -1.0, 0.25, 0.1, 0.75, 0.25, 1e-3, 0.5, True)
    yield Adam(positive(), positive(), *SCALARS)
    yield Amsgrad(positive(), positive(), *SCALARS, largest=positive())


def unaligned(array):
    memory = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    memory[...] = array
    assert not memory.flags.aligned
    return memory


@pytest.mark.parametrize("kind", range(6))
def test_unaligned_arrays_give_the_bits_of_aligned_ones(kind):
    results = []
    for made in (np.copy, unaligned):
        rule = list(rules((3, 4)))[kind]
        rule = rule._make(made(field) if isinstance(field, np.ndarray) else field for field in rule)
        w, g = made(np.linspace(-1, 1, 12).reshape(3, 4)), made(np.linspace(3, -2, 12).reshape(3, 4))
        optimisers.update(w, g, rule)
        results.append([w, *(field for field in rule if isinstance(field, np.ndarray))])
    assert_same_bits(results[1], results[0])


@pytest.mark.parametrize("kind", range(6))
def test_one_thread_and_all_give_the_same_bits_and_change_the_averages(kind):
    results = []
    for size in (16383, 16384):  # the last for one thread, the first for all
        w, g = np.linspace(-1, 1, 16384)[:size], np.linspace(3, -2, 16384)[:size]
        rule = list(rules((16384,)))[kind]
        rule = rule._make(field[:size] if isinstance(field, np.ndarray) else field for field in rule)
        before = [field.copy() for field in rule if isinstance(field, np.ndarray)]
        optimisers.update(w, g, rule)
        after = [field for field in rule if isinstance(field, np.ndarray)]
        assert all((a != b).mean() > 0.4 for a, b in zip(after, before, strict=True))
        results.append([array[:16383] for array in (w, *after)])
    assert_same_bits(results[1], results[0])


@pytest.mark.parametrize(
    ("w", "g", "error", "message"),
    [
        (np.zeros(40_000), np.ones(3), ValueError, r"g must have the shape of w, \(40000,\), got \(3,\)"),
        (np.zeros(3), np.ones(3, np.float32), TypeError, "g must be float64, like w, got float32"),
        (
            np.zeros(3, np.float16),
            np.ones(3, np.float16),
            TypeError,
            "w must be float32 or float64, got float16",
        ),
        (np.zeros((4, 3)).T, np.ones((3, 4)), ValueError, "w must be writable and C-contiguous"),
        (np.zeros((3, 4)), np.ones((4, 3)).T, ValueError, "g must be C-contiguous"),
        (read_only(np.zeros(3)), np.ones(3), ValueError, "w must be writable"),
        (np.zeros(3), [1.0, 1.0, 1.0], TypeError, "g must be a numpy array, got list"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_kernel(w, g, error, message):
    with pytest.raises(error, match=message):
        optimisers.update(w, g, Sgd(sign=1, l2=0, lr=0.5))
    assert not w.any()


def test_a_gradient_may_be_read_only():
    w = np.zeros(3)
    optimisers.update(w, read_only(np.ones(3)), Sgd(sign=1, l2=0, lr=0.5))
    assert w.tolist() == [-0.5, -0.5, -0.5]


def test_an_average_may_be_empty_only_where_the_kernel_does_not_read_it():
    *_, rmsprop, adam, _ = rules((3,))
    empty = np.zeros(0)
    optimisers.update(
        np.zeros(3), np.ones(3), rmsprop._replace(mean=empty, velocity=empty, centered=False, momentum=0.0)
    )
    for rule in (rmsprop._replace(mean=empty), rmsprop._replace(velocity=empty), adam._replace(square=empty)):
        with pytest.raises(ValueError, match=r"must have the shape of w, \(3,\), got \(0,\)"):
            optimisers.update(np.zeros(3), np.ones(3), rule)
    with pytest.raises(TypeError, match="mean must be float64, like w, got float32"):
        optimisers.update(np.zeros(3), np.ones(3), rmsprop._replace(mean=np.zeros(0, "f4"), centered=False))


@pytest.mark.parametrize(
    ("rule", "error", "message"),
    [
        ("sgd", TypeError, "rule must be one of Sgd, Momentum, Adagrad, RMSprop, Adam, Amsgrad, got str"),
        (Sgd(1, 0, "fast"), TypeError, "lr must be a number, got str: 'fast'"),
        (Sgd(1, 0, 10**400), ValueError, "lr must be a number that a float can hold, got 1000"),
        (
            Sgd(1, 0, 10**5000),
            ValueError,
            "lr must be a number that a float can hold, got an integer of 16610 bits",
        ),
        (Momentum(None, 1, 0, 1, 0.5, 1, False), TypeError, "velocity must be a numpy array, got NoneType"),
        (RMSprop(*[None] * 3, *[1] * 7, False), TypeError, "square must be a numpy array, got NoneType"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(rule, error, message):
    with pytest.raises(error, match=message):
        optimisers.update(np.zeros(3), np.ones(3), rule)


def test_scalars_are_rounded_to_the_dtype_and_beyond_it_to_infinity():
    w = np.ones(2, np.float32)
    optimisers.update(w, np.ones(2, np.float32), Sgd(1, 0, 0.1))
    assert_same_bits(w, np.ones(2, np.float32) - np.float32(0.1))
    optimisers.update(w, np.ones(2, np.float32), Sgd(1, 0, 1e300))
    assert_same_bits(w, np.full(2, -np.inf, np.float32))
