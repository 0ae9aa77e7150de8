"""The CPU target: a scheduled cell as Numba kernels over whole sequences, and one step at a time."""
