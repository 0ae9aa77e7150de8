"""Warnings that point at the line that called the library, however deep inside it they arise."""

import sys
import warnings

__all__ = ["warn_caller"]

_LIBRARY = ("rondeau.", "numba.")  # the compiler calls our cache


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, with the file and line of the nearest caller outside the library.

    Parameters
    ----------
    message : str
    category : type of Warning

    Examples
    --------
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warn_caller("mind the step")
    >>> str(caught[0].message)
    'mind the step'
    """
    frame, level = sys._getframe(), 1
    # `skip_file_prefixes` does this from Python 3.12 on.
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(_LIBRARY):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
