"""Hooks: functions that are called along with others, until they are taken away again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

_next_key = count().__next__


class RemovableHandle:
    """Adds one hook to others, after those that are there, and takes it away again.

    Parameters
    ----------
    hooks : dict of int to callable
        The hooks of a tensor or module, called in their order.
    hook : callable
        The new one. It stays until `remove`, whether or not the handle is kept.

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
        # Not id(self): that is given out again as soon as a handle that nobody kept has died.
        self._key = _next_key()
        hooks[self._key] = hook

    def remove(self) -> None:
        """Remove the hook; a second call does nothing."""
        self._hooks.pop(self._key, None)
