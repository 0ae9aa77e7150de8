"""The precision of products of float32: how their operands are rounded, on devices that have faster ways."""

from __future__ import annotations

from rondeau.kernels.errors import ArgumentValueError

__all__ = ["OPERANDS", "get_float32_matmul_precision", "set_float32_matmul_precision"]

OPERANDS = {
    "highest": ("float32",),
    "high": ("float32", "tf32"),
    "medium": ("float32", "tf32", "bfloat16"),
}
"""The number formats to which operands of float32 products may be rounded, by the precision."""
_chosen = "highest"


def set_float32_matmul_precision(precision: str) -> None:
    """Set how operands of float32 products may be rounded, for all threads.

    It concerns the recurrent products of a GPU where a kernel has all steps: tensor cores multiply operands that are
    rounded, several times faster. States, sums, gradients and weights are float32 at every setting. The CPU rounds
    nothing, and the large products before and after the steps follow CuPy's environment variable ``CUPY_TF32``.

    Parameters
    ----------
    precision : {"highest", "high", "medium"}
        * ``"highest"``, the default: operands are float32, which has 23 bits after the point.
        * ``"high"``: operands may be rounded to TF32, which has 10, and gradients have an error of about 1e-3.
        * ``"medium"``: operands may be rounded to bfloat16, which has 7, and gradients have an error of about 1e-2.
          Weights take half of the registers, so that layers of 768 and 1024 units find room for larger batches.

        Each allows what those before it do, and the fastest is taken, by a model of the work. All formats have the
        range of float32. Tensor cores of compute capability 8.0 and later have them; earlier ones stay at float32.

    Raises
    ------
    ValueError
        For anything else.

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
