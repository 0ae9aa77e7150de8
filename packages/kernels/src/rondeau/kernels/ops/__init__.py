"""The kernels of operators and optimisers: arrays in, arrays out."""
