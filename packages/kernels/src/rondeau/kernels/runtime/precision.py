"""The precision of products of float32: how their operands are rounded, on devices that have faster ways."""

from __future__ import annotations

from rondeau.kernels.errors import ArgumentValueError

__all__ = ["OPERANDS", "get_float32_matmul_precision", "set_float32_matmul_precision"]

OPERANDS = {"highest": ("float32",), "high": ("float32", "tf32")}
"""The number formats to which operands of float32 products may be rounded, by the precision."""
_chosen = "highest"


def set_float32_matmul_precision(precision: str) -> None:
    """Set how operands of float32 products may be rounded, for all threads.

    States, sums, gradients and weights stay float32. On the CPU both settings are the same.

    Parameters
    ----------
    precision : {"highest", "high"}
        ``"highest"``, the default, is float32 as it is. With ``"high"``, the recurrent products of a GPU may round
        their operands to TF32, which has 10 bits after the point, and multiply on tensor cores. The large products
        before and after the steps follow CuPy's environment variable ``CUPY_TF32``.

    Raises
    ------
    ValueError
        For anything else. PyTorch's ``"medium"``, which rounds to bfloat16, is not offered.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.set_float32_matmul_precision("high")
    >>> rt.get_float32_matmul_precision()
    'high'
    >>> rt.set_float32_matmul_precision("highest")
    """
    global _chosen
    if precision not in OPERANDS:
        raise ArgumentValueError(f"precision must be one of {', '.join(OPERANDS)}, got {precision!r}")
    _chosen = precision


def get_float32_matmul_precision() -> str:
    """Return what `set_float32_matmul_precision` has set.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.get_float32_matmul_precision()
    'highest'
    """
    return _chosen
