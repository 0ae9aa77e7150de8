"""The line that is shown before the first kernel of a process is compiled: to whom, and how often."""

import io
import sys

import pytest
from numba import types

from rondeau.kernels.runtime import compiling_notice
from rondeau.kernels.runtime.compiling import cached_njit
from rondeau.kernels.runtime.compiling_notice import NOTICE, announce_compiling, announcing_with


class Terminal(io.StringIO):
    def isatty(self):
        return True


class HungUp(Terminal):
    def write(self, text):
        raise OSError(5, "Input/output error")


#: What ipykernel puts in the place of standard error, which is no terminal to Python.
NotebookStream = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})


def add_three(x):
    return x + 3


def compile_or_load(function=add_three):
    cached_njit(function).compile((types.float64,))


@pytest.fixture(autouse=True)
def _new_process(tmp_path, monkeypatch):
    """Nothing was compiled yet, on this machine and in this process."""
    monkeypatch.setenv("RONDEAU_CACHE", str(tmp_path))
    monkeypatch.delenv("RONDEAU_QUIET", raising=False)
    monkeypatch.setattr(compiling_notice._Notice, "given", False)


@pytest.mark.parametrize("stream", [Terminal, NotebookStream])
def test_who_reads_is_told_once(monkeypatch, stream):
    shown = stream()
    monkeypatch.setattr(sys, "stderr", shown)
    compile_or_load()
    assert shown.getvalue() == f"{NOTICE}\n"
    compile_or_load(lambda x: x)
    assert shown.getvalue() == f"{NOTICE}\n"


def test_what_is_loaded_is_not_announced(monkeypatch):
    compile_or_load()
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(compiling_notice._Notice, "given", False)
    compile_or_load()
    assert shown.getvalue() == ""
    compile_or_load(lambda x: x)
    assert shown.getvalue() == f"{NOTICE}\n"


@pytest.mark.parametrize(
    ("quiet", "line"), [("1", ""), ("yes", ""), ("0", f"{NOTICE}\n"), ("", f"{NOTICE}\n")]
)
def test_it_can_be_silenced(monkeypatch, quiet, line):
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("RONDEAU_QUIET", quiet)
    compile_or_load()
    assert shown.getvalue() == line


def closed():
    stream = Terminal()
    stream.close()
    return stream


@pytest.mark.parametrize(
    "stream", [io.StringIO, HungUp, closed, lambda: None], ids=["file", "hung up", "closed", "none"]
)
def test_where_nobody_reads_nothing_is_said_and_nothing_fails(monkeypatch, stream):
    shown = stream()
    monkeypatch.setattr(sys, "stderr", shown)
    compile_or_load()
    assert not isinstance(shown, io.StringIO) or shown.closed or shown.getvalue() == ""


def test_a_program_says_it_in_its_own_way(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    told = []
    with announcing_with(told.append):
        compile_or_load()
        compile_or_load(lambda x: x)
    assert told == [NOTICE]
    monkeypatch.setattr(compiling_notice._Notice, "given", False)
    announce_compiling()
    assert told == [NOTICE]
    assert sys.stderr.getvalue() == f"{NOTICE}\n"
    monkeypatch.setattr(compiling_notice._Notice, "given", False)
    monkeypatch.setenv("RONDEAU_QUIET", "1")
    with announcing_with(told.append):
        announce_compiling()
    assert told == [NOTICE]
