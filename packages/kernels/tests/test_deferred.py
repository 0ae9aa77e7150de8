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


def test_what_nobody_reads_does_not_pile_up(device_stand_in, monkeypatch):
    monkeypatch.setattr(deferred, "_MOST", 3)
    holds = device_stand_in.asarray(np.array([True])).all()
    require(holds, fails)
    require(~holds, fails)
    with pytest.raises(IndexError):
        require(holds, fails)
