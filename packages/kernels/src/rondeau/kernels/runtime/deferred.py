"""Checks of numbers that are on a GPU, without waiting for it.

Whether all ids are in range is known on the device long before it is known to the program, and to ask at once would
stop the program until the device has caught up. So a function that takes such numbers clips them, so that no access is
out of range, and hands its condition over to `require`. The error is raised when the program next waits for the device
anyway: when a value comes to the host, or in `synchronize`. CUDA's own assertions, on which PyTorch relies, are late in
the same way, but no device is lost here.

Where the numbers are on the host, the error is raised at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rondeau.kernels.runtime.devices import is_of_device, library_of

__all__ = ["raise_pending", "require"]

_MOST = 1024
"""The number of conditions from which on `require` waits: a program that never reads a value must not collect them."""

_pending: list[tuple[Any, Callable[[], Exception]]] = []
_lock = threading.Lock()
"""Held while the list changes: a condition that another thread appends meanwhile would be lost."""


def require(condition: Any, error: Callable[[], Exception]) -> None:
    """Raise an error unless a condition holds: at once on the host, for an array of a device when it is next read.

    Parameters
    ----------
    condition : bool, or array of bool of zero dimensions
    error : callable
        Returns the error to raise.

    Examples
    --------
    >>> require(True, lambda: IndexError("index out of range"))
    >>> require(1 < 0, lambda: IndexError("index out of range"))
    Traceback (most recent call last):
        ...
    IndexError: index out of range
    """
    if not is_of_device(condition):
        if not condition:
            raise error()
        return
    with _lock:
        _pending.append((condition, error))
    if len(_pending) >= _MOST:
        raise_pending()


def raise_pending() -> None:
    """Raise the first error that is pending. Called before every read from a device.

    It costs nothing if no condition is pending; otherwise it waits for the device, once for all of them. If others do
    not hold either, a note of the error says so: they are not raised again.
    """
    if not _pending:
        return
    with _lock:
        found = _pending.copy()
        _pending.clear()
    if not found:  # another thread took them
        return
    conditions = library_of(found[0][0]).stack([condition for condition, _ in found]).get()
    errors = [error for holds, (_, error) in zip(conditions, found, strict=True) if not holds]
    if errors:
        first = errors[0]()
        if len(errors) > 1:
            first.add_note(
                f"{len(errors) - 1} more checks on the GPU failed after this one: what was computed there since is not "
                "to be relied on"
            )
        raise first
