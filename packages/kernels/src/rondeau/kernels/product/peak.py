"""The peak speed of one core: how fast it multiplies and adds when nothing has to be loaded."""

import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import DTypeLike

from rondeau.kernels.errors import ArgumentTypeError, ArgumentValueError
from rondeau.kernels.numerics.elements import ELEMENTS, PAIRS, element_of
from rondeau.kernels.product.microkernel import write_multiply_add, write_splat
from rondeau.kernels.product.tiles import MULTIPLIES_PAIRS, TILE
from rondeau.kernels.runtime.compiling import cached_njit

__all__ = ["peak_flops"]

CHAINS = 12
"""Independent chains: more than latency times issue rate of a multiply-add, but fewer than the registers."""
LINKS = 200_000
REPEATS = 15


@intrinsic
def _multiply_add_chains(typingctx: Any, factor: Any, links: Any) -> Any:
    """Add the square of a factor to `CHAINS` vectors of sums, `links` times, all in registers."""
    element = element_of(factor)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[Any]) -> Any:
        lanes = element.lanes(TILE.vector_bytes)
        operand = write_splat(builder, arguments[0], lanes)
        start = ir.Constant(ir.VectorType(element.sums.llvm, lanes), [0.0] * lanes)
        sums = [cgutils.alloca_once_value(builder, start) for _ in range(CHAINS)]
        with cgutils.for_range(builder, arguments[1]):
            for at in sums:  # LLVM keeps them in registers
                builder.store(
                    write_multiply_add(builder, element, TILE, operand, operand, builder.load(at)), at
                )
        total = builder.load(sums[0])
        for at in sums[1:]:
            total = builder.fadd(total, builder.load(at))
        return builder.extract_element(total, ir.IntType(32)(0))

    return element.compute(factor, types.intp), codegen


@cached_njit
def _run_chains(factor: Any, links: Any) -> Any:
    return _multiply_add_chains(factor, links)


def peak_flops(dtype: DTypeLike = np.float32) -> float:
    """Measure the peak of one core, in multiplications plus additions per second; this takes about 10 ms.

    Parameters
    ----------
    dtype : dtype or "bfloat16", default float32
        float32 or float64; or "bfloat16", for pairs of it that are added to float32.

    Returns
    -------
    float
        The speed of the fastest of a few runs over independent chains of vector multiply-adds, which neither load nor
        store.

    Raises
    ------
    TypeError
        If the dtype is none of these.
    ValueError
        If the processor does not multiply bfloat16.

    Examples
    --------
    >>> peak_flops("float64") > 0
    True
    """
    if isinstance(dtype, str) and dtype == "bfloat16":
        if not MULTIPLIES_PAIRS:
            raise ArgumentValueError("peak_flops: this processor does not multiply bfloat16")
        element, numbers = PAIRS, 2
    else:
        try:
            kind = np.dtype(dtype)
        except (TypeError, ValueError):
            kind = np.dtype(np.void)
        if kind not in ELEMENTS:
            raise ArgumentTypeError(
                f"peak_flops: dtype must be float32, float64 or 'bfloat16', got {dtype!r}"
            )
        element, numbers = ELEMENTS[kind], 1
    run = _run_chains.compile(element.compute(element.storage, types.intp))
    factor = element.dtype.type(0)
    run(factor, LINKS)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run(factor, LINKS)
        times.append(time.perf_counter() - start)
    return 2 * numbers * CHAINS * element.lanes(TILE.vector_bytes) * LINKS / min(times)
