"""The packed matrix product: `matmul` for arrays, and the serial pieces that other kernels call."""

from rondeau.kernels.product.peak import peak_flops
from rondeau.kernels.product.product import (
    Rows,
    matmul,
    multiply_into,
    num_panels,
    pack,
    pack_panels,
    packed_size,
    product_rows,
)

__all__ = [
    "Rows",
    "matmul",
    "multiply_into",
    "num_panels",
    "pack",
    "pack_panels",
    "packed_size",
    "peak_flops",
    "product_rows",
]
