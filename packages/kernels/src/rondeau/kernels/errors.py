"""The exceptions that kernels, tensors and layers raise for a wrong argument, and the warning of what is slow.

PyTorch raises RuntimeError where Python would raise ValueError or TypeError, and programs written for it catch that.
Each class here is both, so either `except` clause works. An index out of range is an IndexError, as in PyTorch.
"""

__all__ = ["ArgumentTypeError", "ArgumentValueError", "PerformanceWarning"]


class ArgumentValueError(ValueError, RuntimeError):
    """An argument has the wrong shape, or a value that is out of range.

    Examples
    --------
    >>> issubclass(ArgumentValueError, ValueError) and issubclass(ArgumentValueError, RuntimeError)
    True
    """


class ArgumentTypeError(TypeError, RuntimeError):
    """An argument has the wrong type or dtype.

    Examples
    --------
    >>> issubclass(ArgumentTypeError, TypeError) and issubclass(ArgumentTypeError, RuntimeError)
    True
    """


class PerformanceWarning(UserWarning):
    """What was asked for is computed, but in a slower way than one may expect.

    Examples
    --------
    >>> import warnings
    >>> warnings.filterwarnings("ignore", category=PerformanceWarning)
    """
