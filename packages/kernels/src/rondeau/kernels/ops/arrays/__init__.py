"""Array programs: the operators of `rondeau.kernels.ops` for arrays of a GPU, in functions of NumPy's.

A module has the name of the one whose kernels it replaces, which checks the arguments, and its functions have the names
and the notation of the kernels. NumPy's functions hand arrays of CuPy's on to CuPy, so the programs run on arrays of
either library. Nothing in them waits for the device. They are tested against the kernels.
"""
