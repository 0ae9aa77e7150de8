"""The CUDA target: cells run on a GPU, by a product of the array library and a compiled kernel for each phase."""
