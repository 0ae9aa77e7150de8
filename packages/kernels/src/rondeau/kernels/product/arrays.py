"""The array program of the matrix product: the product of the library of its operands, cuBLAS on a GPU."""

from typing import Any

import numpy as np

__all__ = ["matmul"]


def matmul(a: Any, b: Any, out: Any, accumulate: bool) -> Any:
    """Return A B; or write it to `out`, or add it to that if it accumulates."""
    product = np.matmul(a, b)
    if out is None:
        return product
    if accumulate:
        out += product
    else:
        out[...] = product
    return out
