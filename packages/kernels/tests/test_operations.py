"""The operations of the language on the CPU target: how accurate they are, and their derivatives."""

import functools
import math

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.sequence import Cell, Layout, Run, Weights, backward, forward

DTYPES = [np.float32, np.float64]


def computed(function, x):
    """Run a function of one number by the compiled kernels, and its derivative."""
    cell = Cell(lambda x, r, s: function(x.h), ("h",), ("h",), "operation")
    one, n = np.ones((1, 1), x.dtype), x.size
    run = Run(cell, Layout.dense(1, n))
    result = forward(run, x.reshape(n, 1), Weights(one, None), (np.zeros((n, 1), x.dtype),))
    gradients = backward(cell, result.saved, (np.ones((n, 1), x.dtype),), (None,))
    return result.every[0].ravel(), gradients.x.ravel()


def erf(x):
    """Sum 2/sqrt(pi) exp(-x^2) (x + 2 x^3/3 + 4 x^5/15 + ...), all of whose terms have one sign."""
    total = term = x
    for n in range(1, 200):
        term = term * 2 * x * x / (2 * n + 1)
        total = total + term
    return 2 / np.sqrt(np.longdouble(math.pi)) * np.exp(-x * x) * total


ACCURATE = {
    "sin": (m.sin, np.sin, (-1e4, 1e4)),
    "cos": (m.cos, np.cos, (-1e4, 1e4)),
    "erf": (m.erf, erf, (-3.5, 3.5)),
    "expm1": (m.expm1, np.expm1, (-20, 60)),
    "log1p": (m.log1p, np.log1p, (-0.999, 1e6)),
    "x ** 1.5": (lambda x: x**1.5, lambda x: x ** np.longdouble(1.5), (1e-3, 1e3)),
    "x ** -2": (lambda x: m.pow(x, -2), lambda x: x ** np.longdouble(-2), (-1e3, 1e3)),
    "x ** 17": (lambda x: x**17, lambda x: x ** np.longdouble(17), (-4, 4)),
    "x ** 0.3": (lambda x: x**0.3, lambda x: x ** np.longdouble(0.3), (1e-3, 1e3)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACCURATE)
def test_is_accurate_to_two_units_in_the_last_place(name, dtype):
    function, exact, (low, high) = ACCURATE[name]
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(low, high, 3000), rng.uniform(max(low, -1), 1, 1000) ** 3]).astype(dtype)
    x = x[(x != 0) & (x >= low)]
    exponent = name.removeprefix("x ** ")
    expected = (
        exact(x.astype(np.longdouble))
        if exponent != "0.3"
        else x.astype(np.longdouble) ** np.longdouble(dtype(0.3))
    )
    y, _ = computed(function, x)
    units = np.abs(y.astype(np.longdouble) - expected) / np.spacing(np.abs(expected).astype(dtype))
    assert units.max() <= 2, (units.max(), x[units.argmax()])


@pytest.mark.parametrize("dtype", DTYPES)
def test_sign_and_clamp_are_exact(dtype):
    x = np.array([-math.inf, -2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.0, math.inf, math.nan], dtype)
    y, dy = computed(m.sign, x)
    assert_same_bits([y], [np.sign(x)])
    assert not dy.any()
    y, dy = computed(functools.partial(m.clamp, low=-1.0, high=1.0), x)
    assert_close(y, np.clip(x, -1, 1))
    assert dy.tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("name", ["sin", "cos", "erf", "expm1", "log1p", "x ** 1.5", "x ** -2", "x ** 17"])
def test_derivatives_are_those_of_differences(name):
    function, _, _ = ACCURATE[name]
    x = np.linspace(0.2, 1.8, 33)
    _, dy = computed(function, x)
    step = 1e-6
    differences = (computed(function, x + step)[0] - computed(function, x - step)[0]) / (2 * step)
    assert_close(dy, differences, rtol=2e-8)


@pytest.mark.parametrize("exponent", [0, 1, 2, 0.5, -1, 2.5])
def test_powers_at_zero_are_torchs(exponent):
    torch = pytest.importorskip("torch")
    x = np.array([0.0, 1.0, 2.0])
    leaf = torch.tensor(x, requires_grad=True)
    (leaf**exponent).sum().backward()
    y, dy = computed(lambda x: x**exponent + 0.0 * x, x)
    assert_close(y, x**exponent if exponent >= 0 else np.array([math.inf, 1, 0.5]), rtol=1e-15)
    assert_close(dy, leaf.grad.numpy(), rtol=1e-15)
