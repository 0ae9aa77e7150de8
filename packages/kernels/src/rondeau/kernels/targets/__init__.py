"""What runs a scheduled cell over a sequence: the NumPy reference, and the fused Numba CPU target."""
