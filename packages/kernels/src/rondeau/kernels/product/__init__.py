"""The packed matrix product: `matmul` and `affine` for arrays, and the serial pieces that other kernels call."""

from rondeau.kernels.product.packed_product import Rows, product_rows
from rondeau.kernels.product.packing import num_panels, pack, pack_panels, packed_size
from rondeau.kernels.product.peak import peak_flops
from rondeau.kernels.product.product import affine, matmul, multiply_into

__all__ = [
    "Rows",
    "affine",
    "matmul",
    "multiply_into",
    "num_panels",
    "pack",
    "pack_panels",
    "packed_size",
    "peak_flops",
    "product_rows",
]
