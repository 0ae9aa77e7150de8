"""Copies between the host and a device: every number that the program reads from a device comes through here."""

from __future__ import annotations

from typing import Any

import numpy as np

from rondeau.kernels.runtime.deferred import raise_pending
from rondeau.kernels.runtime.devices import is_of_device, library_of

__all__ = ["on_device_of", "on_host"]


def on_host(value: Any) -> Any:
    """Return a copy of an array of a device in the host's memory; anything else is returned as it is.

    It waits for the device.

    Raises
    ------
    Exception
        If a check of numbers on the device has failed; see `rondeau.kernels.runtime.deferred`.

    Examples
    --------
    >>> array = np.ones(2)
    >>> on_host(array) is array
    True
    """
    if not is_of_device(value):
        return value
    raise_pending()
    return value.get()


def on_device_of(like: Any, array: Any) -> Any:
    """Return an array on the device of another one, `like`: itself if it is there already, otherwise a copy.

    Examples
    --------
    >>> array = np.ones(2)
    >>> on_device_of(np.zeros(3), array) is array
    True
    """
    if type(like) is np.ndarray:
        return on_host(array)
    return array if is_of_device(array) else library_of(like).asarray(array)
