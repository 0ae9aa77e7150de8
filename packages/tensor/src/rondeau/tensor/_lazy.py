"""Attributes of tensors that their first reader computes.

Until then a tensor has a class in which the attribute is a property, which restores the class and then sets the
attribute. All other tensors keep the class without it: a property or a ``__getattr__`` of `Tensor` itself would slow
down every access to an attribute.
"""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["class_of", "lazy_class", "restore_class"]


@cache
def lazy_class(mixin: Any, cls: Any) -> Any:
    """Return the class of tensors of class `cls` that lack what the properties of `mixin` compute.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> class Late:
    ...     __slots__ = ()
    ...
    ...     @property
    ...     def _grad(self):
    ...         restore_class(self)
    ...         self._grad = rt.tensor(7.0)
    ...         return self._grad
    >>> x = rt.tensor(1.0)
    >>> x.__class__ = lazy_class(Late, rt.Tensor)
    >>> type(x) is rt.Tensor, x.grad, type(x) is rt.Tensor
    (False, tensor(7.), True)
    """
    if issubclass(cls, mixin):
        return cls
    lazy = type(cls.__name__, (mixin, cls), {"__slots__": ()})
    _before[lazy] = cls
    return lazy


_before: dict[Any, Any] = {}
"""The class that each `lazy_class` was made of."""


def restore_class(tensor: Any) -> None:
    """Give a tensor of a `lazy_class` the class that it had before; another thread may have done so."""
    lazy = type(tensor)
    tensor.__class__ = _before.get(lazy, lazy)


def class_of(value: Any) -> Any:
    """Return the class that an object has once all of its attributes are computed; nothing is computed here."""
    kind = type(value)
    return _before.get(kind, kind)
