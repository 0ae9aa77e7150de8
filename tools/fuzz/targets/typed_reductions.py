"""Sums and products in a given dtype, against Python's integers, which know no limits."""

from __future__ import annotations

from typing import Any

import numpy as np

from rondeau import tensor as rt

from ..drawing import Draw
from ..verdict import attempt, check_close, check_equal, tolerance_of

_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64")
_INTEGERS = tuple(name for name in _DTYPES if "int" in name)


def typed_reductions(draw: Draw) -> None:
    """Reduce integers or booleans with a drawn ``dtype=``, or without."""
    name = draw.note("operator", draw.choose(("sum", "prod", "cumsum")))
    shape = tuple(draw.size(4, empty=0.05) for _ in range(draw.random.randint(1, 3)))
    given, wanted = draw.choose((*_INTEGERS, "bool")), draw.choose((None, *_DTYPES))
    bounds = (0, 2) if given == "bool" else (np.iinfo(given).min, np.iinfo(given).max)
    if wanted is not None and "float" in wanted:  # which overflow on the way, by the order of the factors
        bounds = (max(bounds[0], -100), min(bounds[1], 100))
    values = draw.laid_out(draw.numbers.integers(*bounds, shape, dtype=np.int64).astype(given))
    dim = draw.random.randrange(len(shape))
    draw.note("values, dim, dtype", (values, dim, wanted))
    x = rt.Tensor(values)
    options: dict[str, Any] = {} if wanted is None else {"dtype": wanted}
    reduce: Any = getattr(rt, name)
    result = attempt(draw, lambda: reduce(x, dim, **options), x)

    dtype = np.dtype(wanted or "int64")
    if dtype.kind == "f":
        in_float64: Any = {"sum": np.sum, "prod": np.prod, "cumsum": np.cumsum}[name]
        right = in_float64(values.astype(np.float64), axis=dim)
        check_close(
            name, result, np.asarray(right), dtype, tolerance=tolerance_of(dtype, 8) * _growth(name, values)
        )
        return
    cast = (values != 0) if dtype.kind == "b" else values.astype(dtype)
    exact = cast.astype(object)
    reduced: Any = {"sum": np.add.reduce, "prod": np.multiply.reduce, "cumsum": np.add.accumulate}[name]
    right = np.asarray(reduced(exact, axis=dim), object)
    check_equal(name, result, _wrapped(right, dtype))


def _growth(name: str, values: Any) -> float:
    """Return by how much rounding errors of a sum grow: its terms cancel."""
    return 1.0 + (float(np.abs(values.astype(np.float64)).sum()) if name != "prod" else 8.0)


def _wrapped(numbers: Any, dtype: np.dtype[Any]) -> Any:
    """Return Python's integers modulo the range of a dtype."""
    if dtype.kind == "b":
        return numbers.astype(bool)
    bits = 8 * dtype.itemsize
    modulo = np.array([int(n) % 2**bits for n in numbers.flat], object).reshape(numbers.shape)
    if dtype.kind == "i":
        modulo = np.array([n - 2**bits if n >= 2 ** (bits - 1) else n for n in modulo.flat], object)
    return modulo.reshape(numbers.shape).astype(dtype)
