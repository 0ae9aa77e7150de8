"""Whether products of float32 round their operands to bfloat16."""

import functools

from rondeau.kernels.errors import PerformanceWarning
from rondeau.kernels.product.tiles import MULTIPLIES_PAIRS
from rondeau.kernels.runtime.caller import warn_caller
from rondeau.kernels.runtime.precision import CHOSEN, get_float32_matmul_precision

__all__ = ["rounds_operands"]


def rounds_operands() -> bool:
    """Return whether the present precision asks for it and the processor can; one that cannot says so once."""
    if not CHOSEN or get_float32_matmul_precision() != "medium":
        return False
    if not MULTIPLIES_PAIRS:
        _say_that_nothing_is_rounded()
    return MULTIPLIES_PAIRS


@functools.cache
def _say_that_nothing_is_rounded() -> None:
    warn_caller(
        "this processor does not multiply bfloat16, so products at the precision 'medium' are computed in float32, as "
        "fast as at 'highest'",
        PerformanceWarning,
    )
