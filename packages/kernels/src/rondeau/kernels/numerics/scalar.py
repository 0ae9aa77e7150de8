"""Scalar functions for compiled kernels: accurate over the whole range, and vectorised by LLVM in float32.

A call to the C library costs 8 ns per element and keeps LLVM from vectorising the loop around it. The float32 functions
here are branchless (both sides of a choice are computed and one is selected), so a loop over them runs a vector at a
time. NaN stays NaN, infinities give the limits, and subnormal arguments and results are kept. float64 uses the C
library.

======== ===================================================== ======================
function on float32                                            largest error, in ulp
======== ===================================================== ======================
exp      2**n times a polynomial on [-ln2/2, ln2/2]            1
log      n ln2 plus a polynomial on [sqrt(1/2), sqrt(2)]       1
log1p    log of 1 + x, corrected for the rounding of 1 + x     2
tanh     polynomial below 0.625; 1 - 2 / (exp(2 |x|) + 1)      2
sigmoid  1 / (1 + exp(-x)), and exp(x) / (1 + exp(x)) below 0  3
softplus max(x, 0) + log1p(exp(-|x|))                          3
======== ===================================================== ======================

The tests check these bounds over every exponent. Every multiply-add is written out as `fma` and nothing is left to the
compiler, so that an element has the same bits in the vector loop and in the scalar loop that follows it. The
polynomials are minimax fits of the relative error; their coefficients were rounded to float32 one by one from the
lowest, fitting the others again each time.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from rondeau.kernels.product.tiles import TILE
from rondeau.kernels.runtime.compiling import linked_njit

__all__ = ["exp", "fma", "log", "log1p", "sigmoid", "softplus", "tanh"]

_I32 = ir.IntType(32)
_F32 = np.float32
_inline = linked_njit(forceinline=True, fastmath=False)

_LOG2_E = _F32(1.44269504)
_LN2_HIGH, _LN2_LOW = _F32(0.693359375), _F32(-2.12194440e-4)
_ROUNDER = _F32(1.5 * 2**23)
"""Adding this to a small float32 leaves the nearest integer in the low bits; subtracting it again rounds the float."""
_EXP = tuple(map(_F32, (0.49999994, 0.16666521, 0.041668296, 0.0083687157, 0.0013818359)))
_LOG = tuple(
    map(
        _F32,
        (0.33333331, -0.25000820, 0.20001242, -0.16623409, 0.14201581, -0.13159615, 0.12762205, -0.076364040),
    )
)
_TANH = tuple(map(_F32, (-0.33333284, 0.13331485, -0.053742997, 0.020649049, -0.0057154051)))


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``a * b + c`` with one rounding, or with two if the machine has no such instruction."""
    if not (a == b == c and a in (types.float32, types.float64)):
        return None

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[Any]) -> Any:
        kind = context.get_value_type(a)
        if not TILE.fused:
            return builder.fadd(builder.fmul(*arguments[:2]), arguments[2])
        name = f"llvm.fma.f{a.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
        return builder.call(function, arguments)

    return a(a, b, c), codegen


@intrinsic
def _copysign(typingctx: Any, size: Any, sign: Any) -> Any:
    """Return the float32 `size` with the sign of `sign`, which may be a signed zero."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[Any]) -> Any:
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()] * 2)
        return builder.call(
            cgutils.get_or_insert_function(builder.module, kind, "llvm.copysign.f32"), arguments
        )

    return types.float32(types.float32, types.float32), codegen


@intrinsic
def _times_power(typingctx: Any, value: Any, rounded: Any) -> Any:
    """Return ``value * 2**n`` for `rounded` = ``n + _ROUNDER``, as two factors: 2**n alone may over- or underflow."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[Any]) -> Any:
        def power(n: Any) -> Any:
            return builder.bitcast(builder.shl(builder.add(n, _I32(127)), _I32(23)), ir.FloatType())

        value, rounded = arguments
        zero = int(np.frombuffer(_ROUNDER.tobytes(), np.int32)[0])
        n = builder.sub(builder.bitcast(rounded, _I32), _I32(zero))
        half = builder.ashr(n, _I32(1))
        return builder.fmul(builder.fmul(value, power(half)), power(builder.sub(n, half)))

    return types.float32(types.float32, types.float32), codegen


@intrinsic
def _split(typingctx: Any, x: Any) -> Any:
    """Return (m, n) with ``x == m * 2**n`` and m in [sqrt(1/2), sqrt(2)), both float32, for a positive normal x."""
    pair = types.UniTuple(types.float32, 2)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[Any]) -> Any:
        least = _I32(0x3F3504F3)  # the bits of sqrt(1/2)
        above = builder.sub(builder.bitcast(arguments[0], _I32), least)
        exponent = builder.sitofp(builder.ashr(above, _I32(23)), ir.FloatType())
        fraction = builder.add(builder.and_(above, _I32(0x7FFFFF)), least)
        return context.make_tuple(builder, pair, [builder.bitcast(fraction, ir.FloatType()), exponent])

    return pair(types.float32), codegen


@_inline
def _exp32(x: Any) -> Any:
    # Comparisons are written so that NaN passes through. Beyond the limits the scaling itself gives 0 or infinity.
    x = _F32(89) if x > _F32(89) else x
    x = _F32(-104) if x < _F32(-104) else x
    rounded = fma(x, _LOG2_E, _ROUNDER)
    n = rounded - _ROUNDER
    r = fma(n, -_LN2_LOW, fma(n, -_LN2_HIGH, x))
    p = fma(_EXP[4], r, _EXP[3])
    p = fma(p, r, _EXP[2])
    p = fma(p, r, _EXP[1])
    p = fma(p, r, _EXP[0])
    return _times_power(fma(p, r * r, r) + _F32(1), rounded)


@_inline
def _log32(x: Any) -> Any:
    subnormal = x < _F32(2.0**-126)
    m, n = _split(x * _F32(2**23) if subnormal else x)
    n = n - _F32(23) if subnormal else n
    f = m - _F32(1)
    p = fma(_LOG[7], f, _LOG[6])
    p = fma(p, f, _LOG[5])
    p = fma(p, f, _LOG[4])
    p = fma(p, f, _LOG[3])
    p = fma(p, f, _LOG[2])
    p = fma(p, f, _LOG[1])
    p = fma(p, f, _LOG[0])
    square = f * f
    tail = fma(n, _LN2_LOW, fma(square * f, p, _F32(-0.5) * square))
    result = fma(n, _LN2_HIGH, f + tail)
    result = x if x == _F32(np.inf) else result
    result = _F32(-np.inf) if x == _F32(0) else result
    result = _F32(np.nan) if x < _F32(0) else result
    return x if x != x else result


@_inline
def _log1p32(x: Any) -> Any:
    u = _F32(1) + x
    rest = x - (u - _F32(1))  # lost in the rounding of 1 + x
    result = _log32(u) + rest / u
    result = x if abs(x) < _F32(2.0**-24) else result
    result = _F32(-np.inf) if x == _F32(-1) else result
    return x if x == _F32(np.inf) else result


@_inline
def _tanh32(x: Any) -> Any:
    size = abs(x)
    s = x * x
    p = fma(_TANH[4], s, _TANH[3])
    p = fma(p, s, _TANH[2])
    p = fma(p, s, _TANH[1])
    p = fma(p, s, _TANH[0])
    small = fma(p * s, size, size)
    large = _F32(1) - _F32(2) / (_exp32(size + size) + _F32(1))
    return _copysign(small if size < _F32(0.625) else large, x)


@_inline
def _sigmoid32(x: Any) -> Any:
    e = _exp32(-abs(x))
    return (e if x < _F32(0) else _F32(1)) / (_F32(1) + e)


@_inline
def _sigmoid64(x: Any) -> Any:
    e = math.exp(-abs(x))
    return (e if x < 0 else 1.0) / (1.0 + e)


@_inline
def _exp64(x: Any) -> Any:
    return math.exp(x)


@_inline
def _log64(x: Any) -> Any:
    return math.log(x)


@_inline
def _log1p64(x: Any) -> Any:
    return math.log1p(x)


@_inline
def _tanh64(x: Any) -> Any:
    return math.tanh(x)


@_inline
def _softplus32(x: Any) -> Any:
    return (_F32(0) if x < _F32(0) else x) + _log1p32(_exp32(-abs(x)))


@_inline
def _softplus64(x: Any) -> Any:
    return (0.0 if x < 0 else x) + math.log1p(math.exp(-abs(x)))


def _by_width(single: Any, double: Any) -> Any:
    """Return a function that compiles to `single` for a float32 and to `double` for a float64."""

    # Numba compares the parameters of these functions, annotations included, and a lambda has none.
    def stub(x):  # type: ignore[no-untyped-def]
        raise NotImplementedError("for compiled code only")

    @overload(stub, jit_options={"forceinline": True, "error_model": "numpy"})
    def choose(x):  # type: ignore[no-untyped-def]
        if x == types.float32:
            return lambda x: single(x)
        if x == types.float64:
            return lambda x: double(x)
        return None

    return stub


_exp, _log, _log1p = _by_width(_exp32, _exp64), _by_width(_log32, _log64), _by_width(_log1p32, _log1p64)
_tanh, _sigmoid = _by_width(_tanh32, _tanh64), _by_width(_sigmoid32, _sigmoid64)
_softplus = _by_width(_softplus32, _softplus64)


@_inline
def exp(x: Any) -> Any:
    """Return e**x for a float32 or float64."""
    return _exp(x)


@_inline
def log(x: Any) -> Any:
    """Return the natural logarithm of a float32 or float64: -infinity at 0, NaN below."""
    return _log(x)


@_inline
def log1p(x: Any) -> Any:
    """Return log(1 + x) for a float32 or float64 that is at least -1."""
    return _log1p(x)


@_inline
def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent of a float32 or float64."""
    return _tanh(x)


@_inline
def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + e**-x) for a float32 or float64, to full relative accuracy in both tails."""
    return _sigmoid(x)


@_inline
def softplus(x: Any) -> Any:
    """Return log(1 + e**x) for a float32 or float64."""
    return _softplus(x)
