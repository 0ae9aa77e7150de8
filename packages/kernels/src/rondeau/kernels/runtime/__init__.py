"""The runtime of the kernels: compilation and its cache, threads, and reusable memory."""
