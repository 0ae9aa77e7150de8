import numpy as np
import pytest

from comparing import assert_same_bits
from rondeau import nn
from rondeau import tensor as rt
from rondeau.kernels.runtime import threads
from rondeau.nn import functional as F  # noqa: N812 - the usual name


def drawn(*shape):
    return rt.tensor(np.random.default_rng(0).standard_normal(shape), requires_grad=True)


POOLS = {
    "max": lambda x: F.max_pool2d(x, (2, 3), (1, 2), (1, 1)),
    "max, dilated": lambda x: F.max_pool2d(x, 2, dilation=2, ceil_mode=True),
    "average": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    "average over another number": lambda x: F.avg_pool2d(x, 2, divisor_override=3),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (3, 4)),
}


@pytest.mark.parametrize("name", POOLS)
def test_first_and_second_derivatives_by_central_differences(name):
    x = drawn(2, 2, 5, 6)
    assert rt.gradcheck(POOLS[name], [x])
    assert rt.gradgradcheck(lambda x: POOLS[name](x * x), [x])


@pytest.mark.parametrize("name", POOLS)
def test_threads_and_strides_do_not_matter(name, monkeypatch):
    monkeypatch.setattr(threads, "PARALLEL_FROM", 0)
    x = drawn(3, 5, 7, 8)
    view = rt.as_tensor(
        np.ascontiguousarray(x.detach().numpy().transpose(3, 1, 0, 2)).transpose(2, 1, 3, 0)
    ).requires_grad_()
    before, results = rt.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            rt.set_num_threads(count)
            for given in (x, view):
                y = POOLS[name](given)
                results.append((y.detach().numpy(), rt.grad((y * y).sum(), given)[0].numpy()))
    finally:
        rt.set_num_threads(before)
    for other in results[1:]:
        assert_same_bits(other, results[0])


@pytest.mark.parametrize("name", POOLS)
def test_an_empty_batch(name):
    x = rt.zeros(0, 2, 5, 6, requires_grad=True)
    y = POOLS[name](x)
    y.sum().backward()
    assert y.shape[:2] == (0, 2)
    assert x.grad.shape == x.shape


def test_the_gradient_goes_to_the_first_of_equal_elements():
    x = rt.zeros(1, 2, 2, requires_grad=True)
    F.max_pool2d(x, 2).sum().backward()
    assert x.grad.tolist() == [[[1.0, 0.0], [0.0, 0.0]]]


def test_indices_get_no_gradient_and_point_to_the_values():
    x = drawn(2, 3, 6, 7)
    y, indices = nn.MaxPool2d(3, 2, 1, return_indices=True)(x)
    assert not indices.requires_grad
    assert indices.dtype == np.int64
    flat = x.detach().numpy().reshape(2, 3, -1)
    assert_same_bits(
        np.take_along_axis(flat, indices.numpy().reshape(2, 3, -1), 2), y.detach().numpy().reshape(2, 3, -1)
    )


def test_nothing_asked_for_is_nothing():
    x = rt.ones(2, 3, 4, 5, requires_grad=True)
    y = F.adaptive_avg_pool2d(x, (0, 2))
    y.sum().backward()
    assert y.shape == (2, 3, 0, 2)
    assert not x.grad.numpy().any()


PLANES = rt.ones(1, 1, 4, 4)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: F.max_pool2d(PLANES, 5),
            ValueError,
            "max_pool2d: the window is 5 wide and the input 4, so none fits",
        ),
        (
            lambda: F.max_pool2d(PLANES, 2, padding=2),
            ValueError,
            "padding must be at most half of the window",
        ),
        (
            lambda: F.max_pool2d(rt.ones(1, 1, 4), 2, padding=1, dilation=2),
            ValueError,
            "a window of 2 elements has none on an input of 1",
        ),
        (lambda: F.max_pool2d(PLANES.long(), 2), TypeError, "float32 or float64, got int64"),
        (lambda: F.max_pool2d(rt.ones(4), 2), ValueError, r"must have shape \(N, C, H, W\) or \(C, H, W\)"),
        (lambda: F.avg_pool2d(PLANES, 0), ValueError, "kernel_size must be greater than zero"),
        (
            lambda: F.avg_pool2d(PLANES, 2, divisor_override=0),
            ValueError,
            "divisor_override must not be zero",
        ),
        (
            lambda: F.adaptive_avg_pool2d(PLANES, (1, 2, 3)),
            ValueError,
            "output_size must be one integer or None, or two",
        ),
        (lambda: F.adaptive_avg_pool2d(PLANES, -1), ValueError, "output_size must be at least 0"),
        (lambda: F.adaptive_avg_pool2d([[1.0]], 1), TypeError, "input must be a Tensor, got list"),
        (lambda: nn.MaxPool2d(2, padding=2), ValueError, "at most half"),
        (lambda: nn.MaxPool2d(2, stride=0), ValueError, "stride must be greater than zero"),
        (lambda: nn.AvgPool2d("2"), TypeError, "kernel_size should be of type int, got: str"),
        (lambda: nn.AdaptiveAvgPool2d(1.5), TypeError, "output_size should be of type int"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_flatten():
    x = rt.ones(2, 3, 4, 5)
    assert nn.Flatten()(x).shape == (2, 60)
    assert nn.Flatten(0, 1)(x).shape == (6, 4, 5)
    assert repr(nn.Flatten(2)) == "Flatten(start_dim=2, end_dim=-1)"
    with pytest.raises(TypeError, match="start_dim must be an integer"):
        nn.Flatten("1")
    with pytest.raises(TypeError, match="Flatten: input must be a Tensor"):
        nn.Flatten()([1.0])


def test_indices_may_be_changed_before_backward():
    x = rt.tensor(np.arange(16.0).reshape(1, 4, 4), requires_grad=True)
    largest, indices = F.max_pool2d(x, 2, return_indices=True)
    indices.data[...] = 10**12
    largest.backward(rt.ones(1, 2, 2, dtype="float64"))
    assert np.flatnonzero(x.grad.numpy()).tolist() == [5, 7, 13, 15]


def test_a_window_that_is_nearly_all_padding():
    x = drawn(1, 1, 4, 4)
    largest = F.max_pool2d(
        x, 2**31 - 1, stride=1, padding=2**30 - 1
    )  # takes no time that grows with the window
    assert (largest.detach().numpy() == x.detach().numpy().max()).all()
    assert largest.shape == (1, 1, 4, 4)


def test_a_result_that_no_memory_could_hold():
    with pytest.raises(
        ValueError, match=r"the result would have shape \(0, 1, 2147483647, 2147483647\), too large"
    ):
        F.adaptive_avg_pool2d(rt.zeros(0, 1, 4, 4), 2**31 - 1)
    with pytest.raises(ValueError, match="output_size must be at most 2147483647, got 4611686018427387904"):
        F.adaptive_avg_pool2d(rt.zeros(0, 1, 4, 4), 2**62)
    with pytest.raises(
        ValueError, match=r"divisor_override must be from .*, got 1267650600228229401496703205376"
    ):
        F.avg_pool2d(rt.zeros(1, 4, 4), 2, divisor_override=2**100)
    with pytest.raises(
        ValueError, match=r"conv2d: the result would have shape \(0, 1, 4294967295, 4294967295\)"
    ):
        F.conv2d(rt.zeros(0, 1, 3, 3), rt.zeros(1, 1, 3, 3), padding=2**31 - 1)
