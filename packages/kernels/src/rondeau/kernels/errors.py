"""What the kernels, tensors and layers raise for a wrong argument.

PyTorch raises RuntimeError where Python would raise ValueError or TypeError, and programs written for it catch that.
Each class here is both, so that either `except` clause works. An index out of range stays an IndexError, as PyTorch's.
"""

__all__ = ["ArgumentTypeError", "ArgumentValueError"]


class ArgumentValueError(ValueError, RuntimeError):
    """An argument of a wrong shape, or of a value that is out of range.

    Examples
    --------
    >>> issubclass(ArgumentValueError, ValueError) and issubclass(ArgumentValueError, RuntimeError)
    True
    """


class ArgumentTypeError(TypeError, RuntimeError):
    """An argument of a wrong type or dtype.

    Examples
    --------
    >>> issubclass(ArgumentTypeError, TypeError) and issubclass(ArgumentTypeError, RuntimeError)
    True
    """
