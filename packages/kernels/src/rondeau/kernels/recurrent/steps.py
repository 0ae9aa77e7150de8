"""`Steps`: the order in which a run goes through a layout, as targets take it.

A file of its own, since the compiled drivers depend on it: editing a `Layout` must not compile them again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Steps"]


class Steps(NamedTuple):
    """The steps of a run, in the order in which they run; all fields are ndarrays of int64, of shape (T,).

    Examples
    --------
    >>> from rondeau.kernels.recurrent.layout import Layout
    >>> Layout.packed([3, 2]).steps(reverse=True).starts
    array([3, 0])
    """

    starts: Any
    """The first row of each step."""
    befores: Any
    """The first row before the step in the storage of a state."""
    afters: Any
    """The first row after the step in the storage of a state."""
    sizes: Any
    """The number of batch rows of each step."""
