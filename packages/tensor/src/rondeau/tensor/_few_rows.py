"""Gradients of tables of which few rows were read: tensors that write the whole matrix only when something reads it.

Until then the slot of `_array` holds the rows, and the tensor has a class in which reading `_array` fills it (`_lazy`).
So everything but what asks for the rows first finds an ordinary tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rondeau.kernels.ops.few_rows import FewRows
from rondeau.tensor._graph import Recorded, wrap
from rondeau.tensor._lazy import lazy_class, restore_class

if TYPE_CHECKING:
    from rondeau.tensor._tensor import Tensor

_slot: Any = Recorded.__dict__["_array"]


class Unread:
    """The class of a tensor of few rows that nothing has read, and of no other."""

    __slots__ = ()

    @property
    def _array(self) -> Any:
        return _read(self)

    @_array.setter
    def _array(self, array: Any) -> None:
        restore_class(self)
        self._array = array


def _read(tensor: Any) -> Any:
    """Write the matrix, and restore the class."""
    held = _slot.__get__(tensor)
    if type(held) is FewRows:  # otherwise another thread was first
        tensor._array = held = held.whole()
    return held


def from_few_rows(rows: FewRows) -> Tensor:
    """Return a tensor that is zero but for few rows; its array is made when something reads it.

    Parameters
    ----------
    rows : FewRows
        Of `rondeau.kernels.ops.few_rows`; the tensor holds it, not a copy.

    Examples
    --------
    >>> import numpy as np
    >>> from rondeau.kernels.ops.few_rows import FewRows
    >>> gradient = from_few_rows(FewRows(np.array([1]), np.array([[5.0]]), 3))
    >>> few_rows(gradient).ids.tolist()
    [1]
    >>> gradient.tolist()
    [[0.0], [5.0], [0.0]]
    >>> few_rows(gradient) is None
    True
    """
    tensor: Any = wrap(rows.values)
    _slot.__set__(tensor, rows)
    tensor.__class__ = lazy_class(Unread, tensor.__class__)
    result: Tensor = tensor
    return result


def few_rows(tensor: Recorded) -> FewRows | None:
    """Return the rows of a tensor that `from_few_rows` made, as long as nothing has read it; None for any other.

    To change it, change the values of the rows in place.

    Examples
    --------
    >>> import numpy as np
    >>> from rondeau.kernels.ops.few_rows import FewRows
    >>> gradient = from_few_rows(FewRows(np.array([1]), np.array([[5.0]]), 3))
    >>> few_rows(gradient).values *= 2
    >>> gradient.tolist()
    [[0.0], [10.0], [0.0]]
    """
    held = _slot.__get__(tensor) if isinstance(tensor, Unread) else None
    return held if type(held) is FewRows else None


def add_few_rows(tensor: Tensor, rows: FewRows) -> None:
    """Add rows to the ``.grad`` of a tensor whose gradient is None or of few rows itself."""
    gradient = tensor._grad
    if gradient is None:
        tensor._grad = from_few_rows(rows)
    else:
        _slot.__set__(gradient, _slot.__get__(gradient) + rows)
