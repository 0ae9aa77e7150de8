"""What a kernel can do wrong, one exception each."""


class KernelError(RuntimeError):
    """A kernel did what no kernel may do; the message says which thread did it, at which line."""


class OutOfBoundsError(KernelError):
    """An index is negative or past the end of an array, or the address of a wide access is not aligned."""


class UninitialisedError(KernelError):
    """An element was read that no thread has written."""


class DataRaceError(KernelError):
    """Two threads reached the same element, one of them to write it, and nothing orders the two."""


class DivergenceError(KernelError):
    """Threads that must meet at one place of the source met at several."""


class WarpError(KernelError):
    """Lanes of a warp disagree on a collective operation, or a lane asked for a value that no lane gives."""


class DeadlockError(KernelError):
    """No thread can go on; the message names who waits where."""
