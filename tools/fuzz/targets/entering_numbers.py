"""Python numbers that become elements of a tensor: held as they are, or refused by value and dtype."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from rondeau import tensor as rt

from ..drawing import Draw
from ..verdict import attempt, check_equal

_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64")
_MASK = np.array([True, False])


def _written(index: Any) -> Callable[[Any, Any], Any]:
    def write(x: Any, number: Any) -> Any:
        x[index] = number
        return x

    return write


#: By name: what puts a number into the first of two elements, of which the other stays 1.
ENTRANCES: dict[str, Callable[[Any, Any], Any]] = {
    "x[0]": _written(0),
    "x[mask]": _written(_MASK),
    "x[[0]]": _written([0]),
    "x[:1] of a list": lambda x, n: _written(slice(1))(x, [n]),
    "masked_fill": lambda x, n: x.masked_fill(_MASK, n),
    "fill_": lambda x, n: rt.cat([x[:1].clone().fill_(n), x[1:]]),
    "full": lambda x, n: rt.cat([rt.full((1,), n, dtype=x.dtype), x[1:]]),
    "full_like": lambda x, n: rt.cat([rt.full_like(x[:1], n), x[1:]]),
    "tensor": lambda x, n: rt.tensor([n, 1], dtype=x.dtype),
}


def entering_numbers(draw: Draw) -> None:
    """Put a number at or beyond the limits of a dtype into a tensor of it."""
    dtype = np.dtype(draw.choose(_DTYPES))
    name = draw.note("entrance", draw.choose(tuple(ENTRANCES)))
    number = _number(draw)
    draw.note("dtype, number", (dtype, number))
    x = rt.ones(2, dtype=dtype)
    right = _held(number, dtype)
    if right is None and name in ("tensor", "x[:1] of a list") and dtype.kind == "f":
        right = math.copysign(math.inf, number) if isinstance(number, float) else None
    listed = name in ("tensor", "x[:1] of a list")
    if isinstance(number, int) and abs(number) >= (2**63 if listed else 2**1023):
        draw.open = "an integer beyond 64 bits in a list, or beyond every double"
    elif right is None:
        draw.wrong = "a number that does not fit"
    result = attempt(draw, lambda: ENTRANCES[name](x, number))
    if draw.open is None:
        check_equal(name, result, np.array([right, 1], dtype))


def _number(draw: Draw) -> int | float:
    """Draw a number, most about a limit of some dtype."""
    kind = draw.choose(("limit", "limit", "float", "special", "small"))
    if kind == "limit":
        limit = draw.choose(
            [2**bits for bits in (7, 8, 15, 16, 31, 32, 53, 62, 63, 64, 127, 128, 1023, 1024)]
        )
        number = draw.choose((limit, -limit)) + draw.choose((-1, 0, 1))
        return float(number) if draw.chance(0.3) and abs(number) < 2**1023 else number
    if kind == "float":
        return draw.choose((3.4028235e38, 3.4028236e38, -3.5e38, 1e300, -1e300, 254.9, 255.1, -0.5, 0.1))
    if kind == "special":
        return draw.choose((math.nan, math.inf, -math.inf, True, False))
    return draw.random.randint(-3, 300)


def _held(number: Any, dtype: np.dtype[Any]) -> Any:
    """Return what a dtype makes of a number; None where it cannot hold it."""
    if dtype.kind == "b":
        return bool(number)
    if dtype.kind == "f":
        try:
            with np.errstate(over="ignore"):
                held = dtype.type(number)
        except OverflowError:
            return None
        return held if np.isfinite(held) or not math.isfinite(number) else None
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return int(number) if low <= number <= high else None
