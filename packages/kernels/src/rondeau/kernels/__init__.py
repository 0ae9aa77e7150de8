"""Arrays in, arrays out: the packed matrix product and the fused recurrent kernels."""

__version__ = "0.1.0"
