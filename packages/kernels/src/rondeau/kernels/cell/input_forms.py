"""The named inputs of a step besides x: their kinds, and the forms in which a call gives them."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["KINDS", "InputForms"]

KINDS = ("step", "sequence")
"""An input varies with the step, or is constant over the sequence."""


class InputForms(NamedTuple):
    """The forms of the named inputs of a call, on which the generated code depends.

    Attributes
    ----------
    numbers : tuple of str
        The inputs with one number per row, the same for all hidden units. What is computed from them alone is computed
        once per row.
    constants : tuple of str
        The inputs whose gradient is not needed: backward does not compute it.

    Examples
    --------
    >>> InputForms(numbers=("dt",))
    InputForms(numbers=('dt',), constants=())
    """

    numbers: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
