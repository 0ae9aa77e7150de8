"""`rondeau.kernels.product.matmul`: any strides, results that overlap operands, empty and long products."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.product import matmul
from rondeau.kernels.runtime.threads import set_num_threads

from ..drawing import NONSENSE, Draw
from ..verdict import Finding, attempt, check_close, tolerance_of

Array = NDArray[Any]
LONG = (255, 257, 511, 512, 513, 600, 1025)
"""Sizes about the blocks of the product."""


def _size(draw: Draw) -> int:
    return draw.choose(LONG) if draw.chance(0.06) else draw.size(empty=0.04)


def _overlapping(draw: Draw, shape: tuple[int, int], operand: Array) -> Array | None:
    """Return an `out` of a shape inside the memory of an operand, if it is large enough."""
    base = operand.reshape(-1) if operand.flags.c_contiguous else None
    size = shape[0] * shape[1]
    if base is None or base.size < size or not base.flags.writeable:
        return None
    start = draw.random.randint(0, base.size - size)
    out: Array = base[start : start + size].reshape(shape)
    return out


def product(draw: Draw) -> None:
    """Multiply, into nothing, into an array, or onto one."""
    set_num_threads(draw.choose((1, 1, 2, 3)))
    M, K, N = draw.note("M, K, N", (_size(draw), _size(draw), _size(draw)))
    dtype = draw.note("dtype", draw.dtype())
    a, b = draw.floats((M, K), dtype), draw.floats((K, N), dtype)
    if draw.chance(0.03):
        a = draw.planted(a)
    out: Any = None
    accumulate = draw.chance(0.3)
    if draw.chance(0.5) or accumulate:
        out = draw.floats((M, N), dtype)
        overlaps = draw.choose((None, None, a, b))
        if overlaps is not None:
            inside = _overlapping(draw, (M, N), overlaps)
            out = out if inside is None else draw.note("overlaps", inside)
        if not out.flags.writeable:
            draw.wrong = "a read-only out"
        if draw.wrong is None and 0 in out.strides and out.size and _repeats(out):
            out = out.copy()
    given: list[Any] = [a, b]
    if draw.spoil("an operand of another dtype, shape or type"):
        k = draw.random.randrange(2)
        array = given[k]
        bad = [array[None], array.astype(np.float16), array.astype(np.complex64), array.astype(np.int64)]
        bad += [array.astype(np.float32 if dtype == np.float64 else np.float64), *NONSENSE]
        bad += [np.zeros((array.shape[0] + 1, array.shape[1] + 2), dtype)]
        given[k] = draw.choose(bad)
    if out is not None and draw.spoil("an out of another dtype, shape or type"):
        other = np.float32 if dtype == np.float64 else np.float64
        out = draw.choose(
            [np.zeros((M, N), other), np.zeros((M + 1, N), dtype), np.zeros((M, N, 1), dtype), "out"]
        )
    if accumulate and draw.spoil("accumulate without out", 0.02):
        out = None
    if out is None and accumulate and draw.wrong is None:
        accumulate = False
    draw.note("a, b, out, accumulate", (*given, out, accumulate))
    left, right = a.astype(np.float64), b.astype(np.float64)
    start = out.astype(np.float64) if accumulate and isinstance(out, np.ndarray) else 0.0
    watched = [x for x in given if not (isinstance(out, np.ndarray) and _shares(out, x))]
    before = out.tobytes() if isinstance(out, np.ndarray) else b""
    try:
        found = attempt(draw, lambda: matmul(*given, out=out, accumulate=accumulate), watched)
    finally:
        if draw.wrong is not None and isinstance(out, np.ndarray) and out.tobytes() != before:
            raise Finding("changed its input", "a refused call wrote to out", "out of a refused call")
    if out is not None and found is not out:
        raise Finding("wrong result", "matmul should return out", "returned out")
    with np.errstate(all="ignore"):
        wanted = np.einsum("mk,kn->mn", left, right) + start
        scale = np.nan_to_num(np.einsum("mk,kn->mn", np.abs(left), np.abs(right)) + np.abs(start))
    check_close("product", found, wanted, dtype, tolerance=tolerance_of(dtype, K), scale=scale)


def _repeats(array: Array) -> bool:
    return any(stride == 0 and n > 1 for stride, n in zip(array.strides, array.shape, strict=True))


def _shares(out: Array, operand: Any) -> bool:
    return isinstance(operand, np.ndarray) and np.may_share_memory(out, operand)
