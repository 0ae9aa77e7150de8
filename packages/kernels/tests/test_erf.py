import math

import numpy as np
import pytest

from comparing import assert_close, assert_same_bits
from rondeau.kernels.ops.erf import erf


@pytest.mark.parametrize(("dtype", "ulp"), [("float16", 2**-10), ("float32", 2**-23), ("float64", 2**-52)])
def test_agrees_with_the_standard_library(dtype, ulp):
    x = np.linspace(-6, 6, 101).astype(dtype)
    found = erf(x)
    assert found.dtype == dtype
    assert_close(found, np.array([math.erf(v) for v in x.tolist()]).astype(dtype), rtol=2 * ulp)


def test_any_shape_and_strides():
    x = np.arange(12.0).reshape(3, 4).T[::2]
    assert_same_bits(erf(x), erf(x.copy()))
    assert erf(np.zeros((2, 0))).shape == (2, 0)
    assert erf(np.float32(0.0)).shape == ()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([0.5], "x must be a numpy array, got list"),
        (np.ones(2, int), "x must be float16, float32 or float64, got int64"),
        (np.ones(2, ">f8"), "got >f8"),
    ],
)
def test_what_it_cannot_take_is_refused(x, message):
    with pytest.raises(TypeError, match=message):
        erf(x)
