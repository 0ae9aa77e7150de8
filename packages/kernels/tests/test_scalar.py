"""Scalar functions against NumPy in a wider type, over every exponent."""

import math

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau.kernels.numerics import scalar
from rondeau.kernels.runtime.compiling import kernel_njit

REFERENCES = {
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "sigmoid": lambda x: np.where(x < 0, np.exp(-np.abs(x)), 1) / (1 + np.exp(-np.abs(x))),
    "softplus": lambda x: np.logaddexp(0, x),
}
BOUNDS = {"exp": 1, "log": 1, "log1p": 2, "tanh": 2, "sigmoid": 3, "softplus": 3}


def over_an_array(name):
    function = getattr(scalar, name)

    @kernel_njit
    def loop(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    return loop


@pytest.mark.parametrize("name", REFERENCES)
def test_float32_over_every_exponent(name):
    # 8,191 is prime to the 2**23 steps of an exponent: every exponent, sign and kind of fraction comes up.
    bits = np.arange(0, 2**32, 8191, dtype=np.uint64).astype(np.uint32)
    near_one = np.float32(1) + np.arange(-3000, 3000, dtype=np.float32) * np.float32(2**-23)
    edges = np.float32(
        [0.0, 0.625, 88.72284, 88.72283, -87.33655, -103.97208, -104, 89, 1e-45, 2**-126, 3.4028235e38]
    )
    x = np.concatenate([bits.view(np.float32), near_one, -near_one, edges, -edges])
    y = np.empty_like(x)
    over_an_array(name)(x, y)
    with np.errstate(all="ignore"):
        exact = REFERENCES[name](x.astype(np.float64))
        rounded = exact.astype(np.float32)
    finite = np.isfinite(rounded)
    assert_close(y[~finite], rounded[~finite])
    ulp = np.spacing(np.minimum(np.abs(rounded[finite]), np.float32(3.4e38))).astype(np.float64)
    error = np.abs(y[finite].astype(np.float64) - exact[finite]) / ulp
    worst = np.argmax(error)
    assert error[worst] <= BOUNDS[name], f"{error[worst]:.2f} ulp at {x[finite][worst]!r}"


@pytest.mark.parametrize("name", REFERENCES)
def test_float64(name):
    grid = np.geomspace(1e-300, 700, 4001)
    x = np.concatenate([-grid, [0.0], grid, [np.inf, -np.inf, np.nan]])
    y = np.empty_like(x)
    over_an_array(name)(x, y)
    with np.errstate(all="ignore"):
        exact = REFERENCES[name](x.astype(np.longdouble))
    assert_close(y, exact.astype(np.float64), rtol=4 * np.finfo(np.float64).eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("exp", -np.inf, 0.0),
        ("exp", np.inf, np.inf),
        ("log", 0.0, -np.inf),
        ("log", -1.0, np.nan),
        ("log", np.inf, np.inf),
        ("log1p", -1.0, -np.inf),
        ("tanh", np.inf, 1.0),
        ("tanh", -np.inf, -1.0),
        ("tanh", -0.0, -0.0),
        ("sigmoid", 0.0, 0.5),
        ("sigmoid", -np.inf, 0.0),
        ("sigmoid", np.inf, 1.0),
        ("softplus", -np.inf, 0.0),
        ("softplus", np.inf, np.inf),
        *((name, np.nan, np.nan) for name in REFERENCES),
    ],
)
def test_limits(name, x, expected, dtype):
    result = getattr(scalar, name)(dtype(x))
    assert result == expected or (math.isnan(result) and math.isnan(expected))
    assert math.isnan(expected) or math.copysign(1, result) == math.copysign(1, expected)


@pytest.mark.parametrize("name", REFERENCES)
def test_an_element_has_the_same_bits_wherever_it_lies(name):
    x = np.abs(np.random.default_rng(0).standard_normal(301).astype(np.float32)) * 3
    loop = over_an_array(name)
    whole = np.empty_like(x)
    loop(x, whole)
    for start in range(1, 40):
        part = np.empty_like(x[start:-start])
        loop(x[start:-start].copy(), part)
        assert_same_bits(part, whole[start:-start])


@pytest.mark.parametrize("name", REFERENCES)
def test_float32_loops_are_vectorised(name):
    loop = over_an_array(name)
    x = np.ones(8, np.float32)
    loop(x, x)
    (code,) = loop.inspect_llvm().values()
    assert " x float> @llvm.fma.v" in code, "LLVM left the loop scalar"


def test_fma_rounds_once():
    # (1 + 2**-12)**2 - (1 + 2**-11) is 2**-24 exactly; rounding the square first would give 0.
    one = np.float32(1 + 2**-12)

    @kernel_njit
    def fused(a, b, c):
        return scalar.fma(a, b, c)

    assert fused(one, one, np.float32(-(1 + 2**-11))) == np.float32(2**-24)
