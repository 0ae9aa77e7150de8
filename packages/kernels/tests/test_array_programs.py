"""Array programs against the kernels that they replace on a GPU: the same calls, on arrays of the stand-in."""

import math

import numpy as np
import pytest
from tools.device_arrays import no_transfers

from comparing import assert_close, assert_same_bits
from rondeau.kernels import product
from rondeau.kernels.checks import are_of_device, checked_indices
from rondeau.kernels.numerics import philox
from rondeau.kernels.ops import (
    convolution,
    cross_entropy,
    erf,
    lapack,
    layer_norm,
    linear_cross_entropy,
    optimisers,
    pooling,
    scatter,
    sums,
)
from rondeau.kernels.ops.arrays import scatter as arrays_scatter
from rondeau.kernels.ops.windows import Window
from rondeau.kernels.runtime.deferred import raise_pending
from rondeau.kernels.runtime.devices import is_of_device

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def on_device(value):
    """Return a structure with its arrays on the device."""
    if isinstance(value, np.ndarray):
        import cupy

        return cupy.asarray(value)
    if isinstance(value, tuple):
        parts = [on_device(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def on_host(value):
    if isinstance(value, tuple):
        return tuple(on_host(part) for part in value)
    return value.get() if is_of_device(value) else value


@pytest.fixture
def both(device_stand_in):
    """Call a function with arrays of the host and of the device, and compare what it returns."""

    def call(function, *arguments, rtol=0.0, of_largest=0.0):
        expected = function(*arguments)
        given = on_device(arguments)
        with no_transfers():
            found = function(*given)
        assert_like(found, expected, rtol, of_largest)
        return found, expected

    return call


def assert_like(found, expected, rtol=0.0, of_largest=0.0):
    """Raise unless arrays of the device are those of the host, in dtype too, within rounding."""
    if isinstance(expected, tuple):
        assert len(found) == len(expected)
        for part, other in zip(found, expected, strict=True):
            assert_like(part, other, rtol, of_largest)
    elif isinstance(expected, np.ndarray):
        assert is_of_device(found)
        assert found.dtype == expected.dtype
        if rtol == of_largest == 0:
            assert_same_bits(found.get(), expected)
        else:
            eps = np.finfo(expected.dtype).eps if expected.dtype.kind == "f" else 0
            assert_close(found.get(), expected, rtol=rtol * eps, of_largest=of_largest * eps)


def normal(rng, *shape, dtype):
    return rng.standard_normal(shape).astype(dtype)


@DTYPES
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_cross_entropy(both, dtype, smoothing, reduction):
    rng = np.random.default_rng(0)
    z, w, dlosses = normal(rng, 9, 5, dtype=dtype), rng.random(5).astype(dtype), normal(rng, 9, dtype=dtype)
    z[2, 3] = -np.inf  # of a row that does not count
    t = np.array([0, 4, -1, 2, 3, 1, 0, -1, 2])
    (losses, saved), (expected, of_host) = both(
        cross_entropy.forward, z, t, w, smoothing, -1, rtol=8, of_largest=8
    )
    gradient = on_device(dlosses)
    with no_transfers():
        dz = cross_entropy.backward(gradient, saved)
        reduced, share = cross_entropy.reduce(losses, saved, reduction)
    assert_like(dz, cross_entropy.backward(dlosses, of_host), of_largest=8)
    total, of_each = cross_entropy.reduce(expected, of_host, reduction)
    assert_like(reduced, total, rtol=16)
    assert_close(np.asarray(on_host(share)), of_each, rtol=1e-6)


@DTYPES
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_linear_cross_entropy(both, monkeypatch, dtype, smoothing):
    monkeypatch.setattr(linear_cross_entropy.arrays, "_LOGITS", 4 * 150)
    rng = np.random.default_rng(0)
    x, weight, bias, factors = (
        normal(rng, *shape, dtype=dtype) for shape in ((9, 3), (150, 3), (150,), (9,))
    )
    t, w = np.where(np.arange(9) == 4, -1, rng.integers(0, 150, 9)), rng.random(150).astype(dtype)

    def run(x, weight, bias, factors, t, w):
        targets = linear_cross_entropy.checked_targets(x, 150, t, w, smoothing, -1)
        needs = linear_cross_entropy.Needs(True, True, True)
        losses, gradients = linear_cross_entropy.losses_and_gradients(
            x, weight, bias, targets, factors, needs
        )
        return losses, *gradients

    both(run, x, weight, bias, factors, t, w, rtol=16, of_largest=16)


def test_the_mean_of_no_rows_is_not_a_number(device_stand_in):
    z, t = device_stand_in.zeros((2, 3)), device_stand_in.full(2, 7)
    with no_transfers():
        loss, _ = cross_entropy.reduce(*cross_entropy.forward(z, t, None, 0.0, 7), "mean")
    assert np.isnan(loss.get())


@DTYPES
@pytest.mark.parametrize("scale", [1.0, 1e30])  # squares of the second are beyond float32
def test_layer_norm(both, dtype, scale):
    rng = np.random.default_rng(1)
    x, w, b = scale * normal(rng, 6, 33, dtype=dtype), *normal(rng, 2, 33, dtype=dtype)
    dy = normal(rng, 6, 33, dtype=dtype)
    (_, saved), (_, of_host) = both(layer_norm.forward, x.astype(dtype), w, b, 1e-5, of_largest=8)
    both(layer_norm.forward, x[:, ::2].astype(dtype), None, None, 0.0, of_largest=8)
    gradient = on_device(dy)
    for backward in (layer_norm.backward_input, layer_norm.backward_parameters):
        with no_transfers():
            found = backward(gradient, saved)
        assert_like(found, backward(dy, of_host), of_largest=16)


WINDOWS = [
    Window(1, 1, 1, 1, 1, 1, 0, 0),
    Window(3, 2, 1, 2, 1, 1, 0, 0),
    Window(2, 3, 3, 1, 2, 2, 1, 3),
]


def shape_of(plane, window):
    """The number of windows whose last one may extend past the end, as with ``ceil_mode``."""
    extents = [
        (size + 2 * before - dilation * (n - 1) - 1 + stride - 1) // stride + 1
        for size, n, stride, dilation, before in zip(
            plane, window[:2], window[2:4], window[4:6], window[6:], strict=True
        )
    ]
    return tuple(extents)


@DTYPES
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("window", WINDOWS)
def test_convolution(both, dtype, groups, window):
    rng = np.random.default_rng(2)
    x, w = normal(rng, 3, 4, 7, 6, dtype=dtype), normal(rng, 6, 4 // groups, *window[:2], dtype=dtype)
    b, shape = normal(rng, 6, dtype=dtype), shape_of((7, 6), window)
    dy = normal(rng, 3, 6, *shape, dtype=dtype)
    both(convolution.forward, x, w, b, window, shape, groups, of_largest=8)
    both(convolution.forward, x[:0], w, None, window, shape, groups, of_largest=8)
    both(convolution.backward_input, dy, w, window, x.shape, groups, of_largest=8)
    both(convolution.backward_weight, dy, x, window, w.shape, groups, of_largest=16)
    both(convolution.backward_weight, dy[:0], x[:0], window, w.shape, groups)


@DTYPES
@pytest.mark.parametrize("window", WINDOWS)
def test_max_pooling(both, dtype, window):
    rng = np.random.default_rng(3)
    x, shape = normal(rng, 3, 7, 6, dtype=dtype).round(), shape_of((7, 6), window)  # with equal elements
    x[0, 2, 1], x[0, 3, 4], x[1, :4], x[2, 0, 0] = np.nan, np.nan, -np.inf, np.inf
    _, (y, indices) = both(pooling.max_forward, x, window, shape)
    both(pooling.gather, x, indices)
    both(pooling.scatter, normal(rng, *y.shape, dtype=dtype), indices, x.shape, of_largest=8)


@DTYPES
@pytest.mark.parametrize("counts_padding", [True, False])
@pytest.mark.parametrize("divisor", [None, 3])
def test_average_pooling(device_stand_in, dtype, counts_padding, divisor):
    rng = np.random.default_rng(4)
    x = normal(rng, 3, 7, 6, dtype=dtype)
    x[0, 6, 5] = np.inf  # which other windows do not see
    window = Window(3, 2, 2, 3, 1, 1, 1, 1)
    options = (7, 6), window, (4, 3), counts_padding, divisor, x.dtype
    even = (7, 6), (3, 4), x.dtype
    for of_host, of_device in (
        (pooling.regions_of(*options), pooling.regions_of(*options, device_stand_in)),
        (pooling.even_regions(*even), pooling.even_regions(*even, device_stand_in)),
    ):
        dy = normal(rng, 3, *of_host.divisor.shape, dtype=dtype)
        given, gradient = on_device((x, dy))
        with no_transfers():
            y, dx = pooling.average_forward(given, of_device), pooling.average_backward(gradient, of_device)
        assert_like(y, pooling.average_forward(x, of_host), of_largest=4)
        assert_like(dx, pooling.average_backward(dy, of_host), of_largest=8)


@DTYPES
def test_scatter(device_stand_in, dtype):
    rng = np.random.default_rng(5)
    rows, ids, table = normal(rng, 5, 3, dtype=dtype), np.array([1, 3, 1, 0, 1]), np.ones((4, 3), dtype)
    device = on_device((rows, ids, table))
    with no_transfers():
        scatter.add_rows(*device)
    scatter.add_rows(rows, ids, table)
    assert_like(device[2], table, of_largest=8)


@pytest.mark.parametrize("N", [0, 1, 2, 3, 8, 65])
def test_rows_are_added_with_the_same_bits_each_time(N, device_stand_in):
    rng = np.random.default_rng(N)
    rows, ids = normal(rng, N, 2, dtype=np.float32), rng.integers(0, 5, N)
    expected, found = np.ones((6, 2), np.float32), set()
    np.add.at(expected, ids, rows)
    for index in (ids, ids - 6, ids, ids - 6):
        table, *given = on_device((np.ones((6, 2), np.float32), index, rows))
        with no_transfers(waits=True):
            arrays_scatter.add_at(table, *given)
        assert_like(table, expected, of_largest=8)
        found.add(table.get().tobytes())
    assert len(found) == 1


def test_infinity_and_nan_stay_with_their_id():
    rows, table = np.array([[math.inf], [1.0], [math.nan], [2.0]]), np.zeros((4, 1))
    arrays_scatter.add_rows(rows, np.array([2, 0, 3, 0]), table)
    assert_same_bits(table, np.array([[3.0], [0.0], [math.inf], [math.nan]]))


RULES = [
    lambda new: optimisers.Sgd(-1, 0.1, 0.5),
    lambda new: optimisers.Momentum(new(), 1, 0.1, 0.5, 0.9, 0.8, False),
    lambda new: optimisers.Momentum(new(), 1, 0, 0.5, 0.9, 1, True),
    lambda new: optimisers.Adagrad(new(), 1, 0.1, 0.5, 1e-10),
    lambda new: optimisers.RMSprop(new(), new(), new(), 1, 0.1, 0.5, 0.9, 0.1, 1e-8, 0.9, True),
    lambda new: optimisers.RMSprop(new(), new(0), new(0), 1, 0, 0.5, 0.9, 0.1, 1e-8, 0, False),
    lambda new: optimisers.Adam(new(), new(), 1, 0.1, 0.99, 0.1, 0.99, 0.01, 0.5, 0.1, 1e-8),
    lambda new: optimisers.Amsgrad(new(), new(), 1, 0, 1, 0.1, 0.99, 0.01, 0.5, 0.1, 1e-8, new()),
]


@DTYPES
@pytest.mark.parametrize("rule", RULES)
def test_optimisers(device_stand_in, rule, dtype):
    rng = np.random.default_rng(6)
    w, gradients = normal(rng, 4, 3, dtype=dtype), normal(rng, 3, 4, 3, dtype=dtype)
    of_host = rule(lambda *size: np.zeros(size or w.shape, dtype))
    on_gpu, of_device = on_device(w), rule(lambda *size: device_stand_in.zeros(size or w.shape, dtype))
    whole, address = on_gpu.reshape(-1), on_gpu.data.ptr
    for g in gradients:
        optimisers.update(w, g, of_host)
        given = on_device(g)
        with no_transfers():
            optimisers.update(on_gpu, given, of_device)
    assert_same_bits(whole.get(), w.reshape(-1))  # in the parameter's memory
    assert on_gpu.data.ptr == address
    assert_like(of_device, of_host)


def test_options_beyond_the_dtype_are_infinite(device_stand_in):
    w = device_stand_in.ones(2, np.float32)
    optimisers.update(w, w.copy(), optimisers.Sgd(1, 0, 1e300))
    assert w.tolist() == [-np.inf, -np.inf]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_erf(both, dtype):
    found, expected = erf.erf(on_device(x := np.linspace(-4, 4, 9).astype(dtype))), erf.erf(x)
    assert_like(found, expected, rtol=2)


@DTYPES
def test_lapack(both, dtype):
    rng = np.random.default_rng(7)
    a, b = normal(rng, 2, 4, 4, dtype=dtype), normal(rng, 2, 4, 3, dtype=dtype)
    both(lapack.solve, a, b)
    both(lapack.qr, a[..., :3])
    both(lapack.reflectors, a[..., :3])
    zeros = np.zeros_like(on_device(a))
    with no_transfers():
        lapack.solve(zeros, zeros)
    with pytest.raises(ValueError, match="no unique solution, because the matrix is singular"):
        raise_pending()


@DTYPES
def test_product(both, dtype):
    rng = np.random.default_rng(8)
    a, b = normal(rng, 5, 4, dtype=dtype), normal(rng, 4, 3, dtype=dtype)
    both(product.matmul, a, b, of_largest=4)
    out = on_device(np.ones((5, 3), dtype))
    with no_transfers():
        ones = np.ones_like(out, shape=a.shape), np.ones_like(out, shape=b.shape)
        assert product.matmul(*ones, out=out, accumulate=True) is out
    assert_like(out, np.full((5, 3), 5, dtype))
    assert product.matmul(out, on_device(np.eye(3, dtype=dtype)), out=out) is out
    assert_like(out, np.full((5, 3), 5, dtype))
    with pytest.raises(ValueError, match="out must be the array to add to"):
        product.matmul(out, out.T, accumulate=True)


@DTYPES
def test_masks(device_stand_in, dtype):
    rng = np.random.default_rng(9)
    x, times, batches = normal(rng, 4, 6, dtype=dtype), np.array([0, 1, 2, 2**32 - 1]), np.array([3, 2, 1, 0])
    given, *positions = on_device((x, times, batches))
    for p in (0.0, 0.3, 1.0):
        arguments = 2**63 + 5, 7, p
        mask, out = np.empty_like(x), np.empty_like(x)
        philox.keep_mask(mask, times, batches, *arguments)
        philox.mask_rows(x, times, batches, *arguments, out)
        of_device, written = np.empty_like(given), np.empty_like(given)
        with no_transfers():
            philox.keep_mask(of_device, *positions, *arguments)
            philox.mask_rows(given, *positions, *arguments, written)
        assert_like((of_device, written), (mask, out))
    philox.keep_mask(of_device, times, batches.tolist(), 0, 0, 1.0)
    assert not of_device.get().any()
    uniforms = philox.uniforms(9, 1, positions[0][:, None], 5, positions[1])
    assert_like(uniforms, philox.uniforms(9, 1, times[:, None], 5, batches))


@pytest.mark.parametrize("dtype", ["float16", "float32", "int32", "bool"])
def test_sums_keep_the_dtype(both, dtype):
    x = np.arange(12).reshape(3, 4).astype(dtype)
    both(sums.total, x, (0,), of_largest=1)
    both(sums.running_total, x, 1, of_largest=1)


def test_arrays_of_two_devices_are_refused(device_stand_in):
    host = np.ones((2, 2))
    device = device_stand_in.ones((2, 2))
    ids, of_device = np.zeros(2, np.int64), device_stand_in.zeros(2, np.int64)
    window, plane, of_plane = WINDOWS[0], np.ones((1, 1, 2, 2)), device_stand_in.ones((1, 1, 2, 2))
    regions = pooling.even_regions((2, 2), (1, 1), np.dtype(float))
    calls = {
        "cross_entropy: logits is on cuda and classes is on cpu": lambda: cross_entropy.forward(device, ids),
        "cross_entropy: dlosses is on cpu and logits is on cuda": lambda: cross_entropy.backward(
            host[0], cross_entropy.forward(device, of_device)[1]
        ),
        "layer_norm: x is on cpu and bias is on cuda": lambda: layer_norm.forward(host, None, device[0], 0.1),
        "convolution: x is on cuda and weight is on cpu": lambda: convolution.forward(
            of_plane, plane[..., :1, :1], None, window, (2, 2), 1
        ),
        "convolution: dy is on cuda and x is on cpu": lambda: convolution.backward_weight(
            of_plane, plane, window, (1, 1, 1, 1), 1
        ),
        "average pooling: x is on cuda and regions is on cpu": lambda: pooling.average_forward(
            of_plane[0], regions
        ),
        "max pooling: planes is on cpu and indices is on cuda": lambda: pooling.gather(
            plane[0], of_device.reshape(1, 1, 2)
        ),
        "add_rows: rows is on cpu and ids is on cuda": lambda: scatter.add_rows(host, of_device, host),
        "update: w is on cpu and g is on cuda": lambda: optimisers.update(
            host, device, optimisers.Sgd(1, 0, 1)
        ),
        "update: w is on cuda and velocity is on cpu": lambda: optimisers.update(
            device, device, optimisers.Momentum(host, 1, 0, 1, 0, 1, False)
        ),
        "linalg.solve: A is on cuda and B is on cpu": lambda: lapack.solve(device, host),
        "matmul: a is on cpu and b is on cuda": lambda: product.matmul(host, device),
        "matmul: a is on cpu and out is on cuda": lambda: product.matmul(host, host, out=device),
        "keep_mask: out is on cpu and times is on cuda": lambda: philox.keep_mask(
            host, of_device, ids, 0, 0, 0.5
        ),
        "mask_rows: x is on cpu and out is on cuda": lambda: philox.mask_rows(
            host, ids, ids, 0, 0, 0.5, device
        ),
    }
    for message, call in calls.items():
        with pytest.raises(ValueError, match=f"^{message}; move one, with .to"):
            call()


def test_numbers_out_of_range_are_told_when_something_is_read(device_stand_in):
    ids = device_stand_in.asarray(np.array([0, 5, -1]))
    ones = device_stand_in.ones((3, 4))
    calls = {
        "cross_entropy: Target 5 is out of bounds: there are 4 classes": lambda: cross_entropy.forward(
            ones, ids
        ),
        "add_rows: id 5 is out of range for a table of 3 rows": lambda: scatter.add_rows(ones, ids, ones[:]),
        "max pooling: index 5 is out of range for a plane of 4 elements": lambda: pooling.gather(
            ones.reshape(3, 2, 2), ids.reshape(3, 1, 1)
        ),
    }
    for message, call in calls.items():
        with no_transfers():
            call()
        with pytest.raises(IndexError, match=message):
            raise_pending()
    with pytest.raises(IndexError, match="id 0 is out of range for a table of 0 rows"):
        scatter.add_rows(ones, ids * 0, device_stand_in.ones((0, 4)))


def test_short_types_need_not_hold_the_number_of_rows_nor_what_is_ignored(device_stand_in):
    ids = device_stand_in.asarray(np.array([0, 255], np.uint8))
    with no_transfers():
        checked = checked_indices(ids, 1000, IndexError, -100)
    raise_pending()
    assert_same_bits(checked.get(), np.array([0, 255]))


def test_what_is_no_array_has_no_device(device_stand_in):
    assert are_of_device("f", x=device_stand_in.ones(2), y=None, z=[1, 2])
    assert not are_of_device("f", x=np.ones(2), y=3.0)
