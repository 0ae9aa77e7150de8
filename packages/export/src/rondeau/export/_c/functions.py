"""The functions of the cell language in C, each written out only where a model needs it.

They are those of `rondeau.kernels.numerics.scalar`, without branches so that compilers vectorise loops over them. With
``{PREFIX}_LIBM`` defined, the C library's functions take their place; so they do under ``-ffast-math``, which would
take the rounding out of `exp`. Where sums may be put together in another way but the rest of it is not given, GCC (from
12 on) says so by a macro, and clang can be told to leave that.

Measured against float64 over a fifth of all numbers, of every exponent, `exp` is within 1 unit in the last place,
`tanh` within 1.5, `softplus` within 2, and `sigmoid` within 2.5.
"""

from __future__ import annotations

__all__ = ["CODE", "library_text"]

CODE = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}", "neg": "-{0}",
    "abs": "fabsf({0})", "pow": "powf({0}, {1})", "sign": "@sign({0})", "sqrt": "sqrtf({0})", "exp": "@exp({0})",
    "expm1": "expm1f({0})", "log": "logf({0})", "log1p": "log1pf({0})", "sin": "sinf({0})", "cos": "cosf({0})",
    "erf": "erff({0})", "clamp": "@minimum(@maximum({0}, {1}), {2})", "sigmoid": "@sigmoid({0})",
    "tanh": "@tanh({0})", "relu": "@relu({0})", "softplus": "@softplus({0})", "minimum": "@minimum({0}, {1})",
    "maximum": "@maximum({0}, {1})", "where": "{0} ? {1} : {2}", "lt": "{0} < {1}", "le": "{0} <= {1}",
    "gt": "{0} > {1}", "ge": "{0} >= {1}", "eq": "{0} == {1}", "ne": "{0} != {1}", "and": "{0} & {1}",
    "or": "{0} | {1}", "not": "!{0}",
}  # fmt: skip
"""An operation as an expression; ``@`` stands for the prefix of the model's functions."""

_ORDER = ("sign", "relu", "minimum", "maximum", "exp", "tanh", "sigmoid", "softplus")

_OF_LIBRARY = "defined(@@LIBM) || defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__)"
"""When the C library's functions take the place of those of this file."""

_TEXT = {
    "sign": """\
static inline float @sign(float x)
{
    return x > 0.0f ? 1.0f : (x < 0.0f ? -1.0f : x);
}
""",
    "relu": """\
static inline float @relu(float x)
{
    return x < 0.0f ? 0.0f : x; /* NaN stays NaN */
}
""",
    "minimum": """\
static inline float @minimum(float a, float b)
{
    return a < b || a != a ? a : b; /* NaN if either is */
}
""",
    "maximum": """\
static inline float @maximum(float a, float b)
{
    return a > b || a != a ? a : b; /* NaN if either is */
}
""",
    "exp": f"""\
/* 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]; within 1 unit in the last place. */
static inline float @exp(float x)
{{
#if {_OF_LIBRARY}
    return expf(x);
#else
#ifdef __clang__
#pragma clang fp reassociate(off) /* -funsafe-math-optimizations would take the rounding out */
#endif
    const float rounder = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    float rounded, n, r, p, low, high;
    uint32_t bits, half, other;
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    rounded = x * 1.44269504f + rounder;
    n = rounded - rounder;
    r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    p = 0.0013818359f * r + 0.0083687157f;
    p = p * r + 0.041668296f;
    p = p * r + 0.16666521f;
    p = p * r + 0.49999994f;
    p = (p * (r * r) + r) + 1.0f;
    memcpy(&bits, &rounded, sizeof bits);
    bits = bits - 0x4b400000u + 256u; /* n + 256 */
    half = bits >> 1;                 /* two factors: 2^n alone may over- or underflow */
    other = (bits - half - 1u) << 23;
    half = (half - 1u) << 23;
    memcpy(&low, &half, sizeof low);
    memcpy(&high, &other, sizeof high);
    return p * low * high;
#endif
}}
""",
    "tanh": f"""\
/* A polynomial below 0.625, and 1 - 2 / (exp(2 |x|) + 1); within 1.5 units in the last place. */
static inline float @tanh(float x)
{{
#if {_OF_LIBRARY}
    return tanhf(x);
#else
    const float size = fabsf(x), s = x * x;
    float p, small, large;
    p = -0.0057154051f * s + 0.020649049f;
    p = p * s + -0.053742997f;
    p = p * s + 0.13331485f;
    p = p * s + -0.33333284f;
    small = (p * s) * size + size;
    large = 1.0f - 2.0f / (@exp(size + size) + 1.0f);
    return copysignf(size < 0.625f ? small : large, x);
#endif
}}
""",
    "sigmoid": """\
static inline float @sigmoid(float x)
{
    const float e = @exp(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}
""",
    "softplus": """\
static inline float @softplus(float x)
{
    return (x < 0.0f ? 0.0f : x) + log1pf(@exp(-fabsf(x)));
}
""",
}


def library_text(text: str) -> str:
    """Return the functions that a text calls, and those that they call; ``@`` and ``@@`` stand for the prefix."""
    texts = {name: _TEXT[name] for name in _called(text)}
    callers = [text, *(function for name, function in texts.items() if name not in ("exp", "tanh"))]
    if "exp" in texts and not any(_calls(caller, "exp") for caller in callers):
        # Nothing calls it where tanh is the C library's, and compilers warn of such a function.
        texts["exp"] = f"#if !({_OF_LIBRARY})\n{texts['exp']}#endif\n"
    return "\n".join(texts.values())


def _called(text: str) -> list[str]:
    """Return the names of the functions that a text calls, directly or not, in the order of their definitions."""
    found, left = set[str](), [text]
    while left:
        other = left.pop()
        new = {name for name in _ORDER if _calls(other, name)} - found
        found |= new
        left += [_TEXT[name] for name in new]
    return [name for name in _ORDER if name in found]


def _calls(text: str, name: str) -> bool:
    return f"@{name}(" in text
