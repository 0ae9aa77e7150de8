"""Fixtures of the tests across packages."""

import pytest

from rondeau.kernels.cpu import run as cpu_run
from rondeau.kernels.runtime import threads


@pytest.fixture
def set_num_threads(monkeypatch):
    """Set the number of threads, which then share any work, however small: rows, or the units of a few rows."""
    monkeypatch.setattr(threads, "PARALLEL_FROM", 0)
    monkeypatch.setattr(cpu_run, "UNITS_FROM", 0)
    before = threads.get_num_threads()
    yield threads.set_num_threads
    threads.set_num_threads(before)
