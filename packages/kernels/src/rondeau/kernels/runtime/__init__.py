"""What kernels need to run: compilation and its cache, threads, and memory that is used again."""
