"""Checks of numbers on a device, which are made when somebody waits for it anyway."""

import numpy as np
import pytest

from rondeau.kernels.runtime import deferred
from rondeau.kernels.runtime.deferred import raise_pending, require


def fails():
    return IndexError("out of range")


def test_on_the_host_at_once():
    require(True, fails)
    require(np.bool_(True), fails)
    with pytest.raises(IndexError, match="out of range"):
        require(np.bool_(False), fails)


def test_on_a_device_later_and_once(device_stand_in):
    from tools.device_arrays import no_transfers

    x = device_stand_in.asarray(np.array([0, 3]))
    with no_transfers():
        require((x >= 0).all(), fails)
        require((x < 3).all(), fails)
    with pytest.raises(IndexError, match="out of range"):
        raise_pending()
    raise_pending()


def test_the_first_error_says_that_there_are_more(device_stand_in):
    wrong = device_stand_in.asarray(np.array([True])).all() & False
    for message in ("first", "second", "third"):
        require(wrong, lambda message=message: IndexError(message))
    with pytest.raises(IndexError, match="first") as found:
        raise_pending()
    assert "2 more checks on the GPU failed" in found.value.__notes__[0]


def test_no_condition_of_another_thread_is_lost(device_stand_in, monkeypatch):
    """Such a thread may append just between what `raise_pending` copies and what it clears."""
    seen = []

    class Pending(list):
        def append(self, item):
            seen.append(("append", deferred._lock.locked()))
            super().append(item)

        def copy(self):
            seen.append(("copy", deferred._lock.locked()))
            return super().copy()

        def clear(self):
            seen.append(("clear", deferred._lock.locked()))
            super().clear()

    monkeypatch.setattr(deferred, "_pending", Pending())
    require(device_stand_in.asarray(np.array([True])).all(), fails)
    raise_pending()
    assert seen == [("append", True), ("copy", True), ("clear", True)]
    assert not deferred._pending


def test_what_nobody_reads_does_not_pile_up(device_stand_in, monkeypatch):
    monkeypatch.setattr(deferred, "_MOST", 3)
    holds = device_stand_in.asarray(np.array([True])).all()
    require(holds, fails)
    require(~holds, fails)
    with pytest.raises(IndexError):
        require(holds, fails)
