"""Numbers in a kernel: Python's own, cut to a type where the source says so, and with the results of IEEE 754.

An integer of a kernel is Python's, so no sum or product of it overflows: where Numba widens ``uint32`` arithmetic to
64 bits the emulator agrees, and only a conversion (``np.uint32(x)``) or a store cuts it. A float is Python's (64
bits), rounded by ``np.float32(x)`` and by stores.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

_single = np.zeros(1, np.float32).data


def to_float32(value: Any) -> float:
    """Round to float32."""
    _single[0] = value
    rounded: float = _single[0]
    return rounded


def to_float16(value: Any) -> float:
    """Round to float16."""
    with np.errstate(over="ignore"):
        return float(np.float16(value))


@functools.cache
def rounding(dtype: np.dtype[Any]) -> Callable[[Any], Any]:
    """Return what turns a number into an element of ``dtype``: floats rounded, integers cut to their bits."""
    if dtype == np.float32:
        return to_float32
    if dtype == np.float16:
        return to_float16
    if dtype.kind == "f":
        return float
    if dtype.kind == "b":
        return bool
    bits = 8 * dtype.itemsize
    mask, half = (1 << bits) - 1, 1 << (bits - 1) if dtype.kind == "i" else 0
    return lambda value: ((int(value) + half) & mask) - half


class ScalarType:
    """Stands for a number's type in a kernel: ``float32(x)``, and the dtype of an array."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self.convert = rounding(self.dtype)

    def __call__(self, value: Any) -> Any:
        """Convert a number."""
        return self.convert(value)

    def __repr__(self) -> str:
        return str(self.dtype)


_NAMES = (
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
)
TYPES = {name: ScalarType(name) for name in _NAMES}


def scalar_type(value: object) -> ScalarType | None:
    """Return what stands for a type of NumPy or Numba, None for anything else."""
    if isinstance(value, type) and issubclass(value, np.generic):
        return TYPES.get(np.dtype(value).name)
    if isinstance(value, ScalarType):
        return value
    return TYPES.get(str(value)) if type(value).__module__.startswith("numba.") else None


def divide(a: Any, b: Any) -> Any:
    """Return a / b as IEEE 754 has it, where Python raises for a divisor of 0."""
    try:
        return a / b
    except ZeroDivisionError:
        if a == 0 or a != a:
            return math.nan
        return math.copysign(math.inf, a) * math.copysign(1.0, b)


_POLES = {"log": -math.inf, "log2": -math.inf, "log10": -math.inf, "log1p": -math.inf}


def _ieee(name: str) -> Callable[..., Any]:
    """Return a function of `math` that returns inf and nan where Python raises."""
    function = getattr(math, name)

    @functools.wraps(function)
    def returning(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except OverflowError:
            return math.copysign(math.inf, arguments[0]) if name == "sinh" else math.inf
        except ValueError:
            if name in _POLES and arguments[0] == (-1 if name == "log1p" else 0):
                return _POLES[name]
            if name == "atanh" and abs(arguments[0]) == 1:
                return math.copysign(math.inf, arguments[0])
            return math.nan

    return returning


_FUNCTIONS = {
    name: _ieee(name) for name, value in vars(math).items() if callable(value) and not name.startswith("_")
}
MATH = SimpleNamespace(pi=math.pi, e=math.e, inf=math.inf, nan=math.nan, **_FUNCTIONS)
NUMPY = SimpleNamespace(
    **TYPES,
    bool_=bool,
    pi=math.pi,
    e=math.e,
    inf=math.inf,
    nan=math.nan,
    abs=abs,
    minimum=lambda a, b: a if a <= b or a != a else b,
    maximum=lambda a, b: a if a >= b or a != a else b,
    **{
        name: _FUNCTIONS[name]
        for name in ("exp", "expm1", "log", "log1p", "log2", "sqrt", "sin", "cos", "tanh")
    },
)
