"""The peak speed of one core: how fast it multiplies and adds when nothing has to be loaded."""

import time
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import DTypeLike

from rondeau.kernels.errors import ArgumentTypeError
from rondeau.kernels.numerics.elements import ELEMENTS, element_of
from rondeau.kernels.product.tiles import TILE
from rondeau.kernels.runtime.compiling import cached_njit

__all__ = ["peak_flops"]

CHAINS = 12
"""Independent chains: more than latency times issue rate of a multiply-add, but fewer than the registers."""
LINKS = 200_000
REPEATS = 15


@intrinsic
def _multiply_add_chains(typingctx: Any, seed: Any, links: Any) -> Any:
    """Extend `CHAINS` chains of vector multiply-adds by `links` links each, all in registers."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[Any]) -> Any:
        seed_value, count = arguments
        element = element_of(seed)
        lanes, name = element.lanes(TILE.vector_bytes), element.vector_name(TILE.vector_bytes)
        vector, integer = ir.VectorType(element.llvm, lanes), ir.IntType(32)
        kind = ir.FunctionType(vector, [vector] * 3)
        fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.{name}")
        first = builder.insert_element(ir.Constant(vector, ir.Undefined), seed_value, integer(0))
        indices = ir.Constant(ir.VectorType(integer, lanes), [0] * lanes)
        start = builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), indices)
        factor, term = (ir.Constant(vector, [value] * lanes) for value in (0.999, 1e-3))
        sums = [cgutils.alloca_once_value(builder, start) for _ in range(CHAINS)]
        with cgutils.for_range(builder, count):
            for at in sums:  # LLVM keeps them in registers
                builder.store(builder.call(fma, [builder.load(at), factor, term]), at)
        total = builder.load(sums[0])
        for at in sums[1:]:
            total = builder.fadd(total, builder.load(at))
        return builder.extract_element(total, integer(0))

    return seed(seed, types.intp), codegen


@cached_njit
def _run_chains(seed: Any, links: Any) -> Any:
    return _multiply_add_chains(seed, links)


def peak_flops(dtype: DTypeLike = np.float32) -> float:
    """Measure the peak of one core, in multiplications plus additions per second; this takes about 10 ms.

    Parameters
    ----------
    dtype : dtype, default float32
        float32 or float64.

    Returns
    -------
    float
        The speed of the fastest of a few runs over independent chains of vector multiply-adds, which neither load nor
        store.

    Raises
    ------
    TypeError
        If the dtype is neither float32 nor float64.

    Examples
    --------
    >>> peak_flops("float64") > 0
    True
    """
    try:
        kind = np.dtype(dtype)
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"peak_flops: dtype must be float32 or float64, got {dtype!r}") from None
    if kind not in ELEMENTS:
        raise ArgumentTypeError(f"peak_flops: dtype must be float32 or float64, got {kind}")
    element = ELEMENTS[kind]
    run = _run_chains.compile(element.compute(element.compute, types.intp))
    seed = kind.type(1)
    run(seed, LINKS)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run(seed, LINKS)
        times.append(time.perf_counter() - start)
    return 2 * CHAINS * element.lanes(TILE.vector_bytes) * LINKS / min(times)
