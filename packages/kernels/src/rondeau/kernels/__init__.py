"""Kernels on plain arrays: the packed matrix product and the fused recurrent kernels.

Nothing is imported here; import the module you need, such as `rondeau.kernels.sequence` or `rondeau.kernels.product`.
"""

__version__ = "0.1.0"

__all__: list[str] = []
