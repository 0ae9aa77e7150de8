"""Results of functions that are kept as long as the object that they are about."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

__all__ = ["MOST_RESULTS", "cached_while_alive"]

_F = TypeVar("_F", bound=Callable[..., Any])

MOST_RESULTS = 256
"""The number of results of a function that an object keeps."""


def cached_while_alive(function: _F) -> _F:
    """Make a function keep its results as long as its first argument is alive, which `functools.lru_cache` would not.

    An LRU cache holds its arguments, so a cell that nothing else refers to would live on. Here the results are
    attributes of the first argument, and may refer to it. The others must be hashable, and are given by position.

    Examples
    --------
    >>> class Words:
    ...     def __init__(self, text):
    ...         self.text = text
    >>> @cached_while_alive
    ... def words_of(words, separator):
    ...     return words.text.split(separator)
    >>> words = Words("a rose is a rose")
    >>> words_of(words, " ") is words_of(words, " ")
    True
    """
    name = f"results of {function.__module__}.{function.__qualname__}"

    @functools.wraps(function)
    def cached(owner: Any, *arguments: Any) -> Any:
        try:
            return owner.__dict__[name][arguments]
        except KeyError:
            pass
        results = owner.__dict__.setdefault(name, {})
        result = function(owner, *arguments)
        if len(results) >= MOST_RESULTS:
            results.clear()
        return results.setdefault(arguments, result)  # another thread may have been first

    return cast(_F, cached)
