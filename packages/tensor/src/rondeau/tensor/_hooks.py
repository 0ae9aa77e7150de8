"""Hooks: functions that are called along with others until they are removed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

_next_key = count().__next__


class RemovableHandle:
    """Adds one hook after the existing ones, and can remove it again.

    Parameters
    ----------
    hooks : dict of int to callable
        The hooks of a tensor or module, called in order.
    hook : callable
        The new hook. It stays until `remove` is called, whether or not the handle is kept.

    Examples
    --------
    >>> hooks = {}
    >>> handle = RemovableHandle(hooks, print)
    >>> list(hooks.values())
    [<built-in function print>]
    >>> handle.remove()
    >>> hooks
    {}
    """

    def __init__(self, hooks: dict[int, Callable[..., Any]], hook: Callable[..., Any]) -> None:
        self._hooks = hooks
        # Not id(self), which is reused as soon as a handle that nobody kept has died.
        self._key = _next_key()
        hooks[self._key] = hook

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        self._hooks.pop(self._key, None)
