"""C99: a header and a source file, without allocation and without any dependency but ``math.h``."""
