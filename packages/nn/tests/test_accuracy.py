"""Sums over very many elements are as exact as float32 can hold, wherever the library adds them."""

import numpy as np
import pytest

from rondeau import nn
from rondeau import tensor as rt

pytestmark = pytest.mark.host_only("the stand-in adds as NumPy does, and CuPy otherwise")
F = nn.functional
N = 2**20
RNG = np.random.default_rng(0)
POSITIVE = RNG.random(N, np.float32)
NORMAL = RNG.standard_normal(N, np.float32)
TALL = POSITIVE.reshape(-1, 4)


def wide(array):
    return array.astype(np.float64)


def softmax(z, axis):
    e = np.exp(wide(z) - z.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def gradient(function, array, cotangent):
    """Return the gradient of a function of one tensor, as an array."""
    leaf = rt.tensor(array, requires_grad=True)
    function(leaf).backward(rt.tensor(cotangent))
    return leaf.grad.numpy()


def smoothed(z, smoothing):
    """Return the cross-entropy of one row with class 3, in float64."""
    l = wide(z) - z.max() - np.log(np.exp(wide(z) - z.max()).sum())  # noqa: E741 - as in the kernel's equation
    return -(1 - smoothing) * l[3] - smoothing * l.mean()


def recurrent_bias():
    """Return both gradients of the bias of a layer without recurrence, whose exact value is a sum."""
    layer = nn.Recurrent(nn.cells.indrnn, 1, 2)
    for parameter in layer.parameters():
        nn.init.constant_(parameter, 0.0)
    nn.init.constant_(layer.bias_ih_l0, 1.0)  # relu's derivative is 1
    output, _ = layer(rt.zeros(2**10, 2**8, 1))
    cotangent = POSITIVE[: 2**19].reshape(2**10, 2**8, 2)
    output.backward(rt.tensor(cotangent))
    return layer.bias_ih_l0.grad.numpy(), wide(cotangent).sum((0, 1))


CASES = {
    "sum of rows": lambda: (rt.tensor(TALL).sum(0).numpy(), wide(TALL).sum(0)),
    "sum of planes": lambda: (
        rt.tensor(POSITIVE.reshape(-1, 2, 4)).sum((0, 2)).numpy(),
        wide(POSITIVE).reshape(-1, 2, 4).sum((0, 2)),
    ),
    "mean of rows": lambda: (rt.tensor(TALL).mean(0).numpy(), wide(TALL).mean(0)),
    "variance": lambda: (rt.tensor(POSITIVE).var().numpy(), wide(POSITIVE).var(ddof=1)),
    "variance of rows": lambda: (rt.tensor(TALL).var(0).numpy(), wide(TALL).var(0, ddof=1)),
    "deviation of rows": lambda: (rt.tensor(TALL).std(0).numpy(), wide(TALL).std(0, ddof=1)),
    "norm of rows": lambda: (rt.norm(rt.tensor(TALL), 2, 0).numpy(), np.sqrt((wide(TALL) ** 2).sum(0))),
    "third norm of rows": lambda: (
        rt.norm(rt.tensor(TALL), 3, 0).numpy(),
        (wide(TALL) ** 3).sum(0) ** (1 / 3),
    ),
    "running sum": lambda: (rt.cumsum(rt.tensor(POSITIVE), 0).numpy(), wide(POSITIVE).cumsum()),
    "dot product": lambda: (
        rt.dot(rt.tensor(POSITIVE), rt.tensor(POSITIVE)).numpy(),
        (wide(POSITIVE) ** 2).sum(),
    ),
    "softmax": lambda: (rt.tensor(NORMAL).softmax(0).numpy(), softmax(NORMAL, 0)),
    "softmax of rows": lambda: (rt.tensor(TALL).softmax(0).numpy(), softmax(TALL, 0)),
    "logarithm of the softmax of rows": lambda: (
        rt.tensor(TALL).log_softmax(0).numpy(),
        np.log(softmax(TALL, 0)),
    ),
    "logarithm of a sum of rows": lambda: (
        rt.tensor(TALL).logsumexp(0).numpy(),
        np.log(np.exp(wide(TALL)).sum(0)),
    ),
    "gradient of a broadcast": lambda: (
        gradient(lambda b: rt.zeros(*TALL.shape) + b, np.zeros(4, np.float32), TALL),
        wide(TALL).sum(0),
    ),
    "gradient of a bias": lambda: (
        gradient(lambda b: F.linear(rt.zeros(N // 4, 1), rt.zeros(4, 1), b), np.zeros(4, np.float32), TALL),
        wide(TALL).sum(0),
    ),
    "gradient of a convolution's bias": lambda: (
        gradient(
            lambda b: F.conv2d(rt.zeros(N // 8, 1, 2, 2), rt.zeros(2, 1, 1, 1), b),
            np.zeros(2, np.float32),
            POSITIVE.reshape(-1, 2, 2, 2),
        ),
        wide(POSITIVE).reshape(-1, 2, 4).sum((0, 2)),
    ),
    "gradient of a recurrent bias": recurrent_bias,
    "average over a picture": lambda: (
        F.adaptive_avg_pool2d(rt.tensor(POSITIVE.reshape(1, 1, 1024, 1024)), 1).numpy().reshape(()),
        wide(POSITIVE).mean(),
    ),
    "layer normalisation": lambda: (
        F.layer_norm(rt.tensor(NORMAL), N).numpy(),
        (wide(NORMAL) - wide(NORMAL).mean()) / np.sqrt(wide(NORMAL).var() + 1e-5),
    ),
    "batch normalisation": lambda: (
        F.batch_norm(rt.tensor(TALL), None, None, training=True).numpy(),
        (wide(TALL) - wide(TALL).mean(0)) / np.sqrt(wide(TALL).var(0) + 1e-5),
    ),
    "cross-entropy": lambda: (
        F.cross_entropy(rt.tensor(NORMAL[None]), rt.tensor([3])).numpy(),
        smoothed(NORMAL, 0.0),
    ),
    "smoothed cross-entropy": lambda: (
        F.cross_entropy(rt.tensor(NORMAL[None]), rt.tensor([3]), label_smoothing=0.5).numpy(),
        smoothed(NORMAL, 0.5),
    ),
    "mean squared error": lambda: (
        F.mse_loss(rt.tensor(NORMAL), rt.tensor(POSITIVE)).numpy(),
        ((wide(NORMAL) - POSITIVE) ** 2).mean(),
    ),
    "negative log-likelihood": lambda: (
        F.nll_loss(rt.tensor(-TALL), rt.tensor(np.arange(N // 4) % 4)).numpy(),
        wide(TALL)[np.arange(N // 4), np.arange(N // 4) % 4].mean(),
    ),
    "norm of gradients": lambda: (
        nn.utils.get_total_norm([rt.tensor(POSITIVE), rt.tensor(NORMAL)]).numpy(),
        np.sqrt((wide(POSITIVE) ** 2).sum() + (wide(NORMAL) ** 2).sum()),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_million_elements_cost_no_digits(case):
    ours, exact = CASES[case]()
    assert ours.dtype == np.float32
    assert ours.shape == exact.shape
    assert np.abs(ours - exact).max() <= 5e-7 * np.abs(exact).max()
