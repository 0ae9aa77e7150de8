"""Numbers: the types that kernels compute with, functions of one number, and random numbers."""
