"""One line on standard error before the first kernel of a process is compiled, since nothing moves for a while then.

It is shown where a person reads it: on a terminal and in a notebook. The environment variable RONDEAU_QUIET, set to
anything but 0, silences it. A program that reports its progress can say it in its own way, with `announcing_with`.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

__all__ = ["announce_compiling", "announcing_with"]

NOTICE = (
    "rondeau: compiling kernels for this processor, once: "
    "up to half a minute for the first training step (RONDEAU_QUIET=1 hides this line)"
)


def _tell_a_reader(line: str) -> None:
    """Print a line on standard error if that is a terminal or a notebook's."""
    stream = sys.stderr
    if stream is not None and (stream.isatty() or type(stream).__module__.startswith("ipykernel")):
        print(line, file=stream, flush=True)


class _Notice:
    """Whether it was given in this process, and how it is."""

    given = False
    tell: Callable[[str], None] = staticmethod(_tell_a_reader)


def announce_compiling() -> None:
    """Say that kernels are compiled, unless that was said in this process or RONDEAU_QUIET is set.

    Examples
    --------
    >>> announce_compiling()  # in a doctest standard error is no terminal
    """
    if not _Notice.given:
        _Notice.given = True
        if os.environ.get("RONDEAU_QUIET", "0") in ("", "0"):
            with contextlib.suppress(OSError, ValueError):  # hung up or closed: there is no reader
                _Notice.tell(NOTICE)


@contextlib.contextmanager
def announcing_with(tell: Callable[[str], None]) -> Iterator[None]:
    """Let `tell` say it for as long as the context lasts, wherever standard error leads.

    Parameters
    ----------
    tell : callable
        Gets the line, without a line end.

    Examples
    --------
    >>> with announcing_with(print):
    ...     pass  # kernels that are compiled here are announced on standard output
    """
    before = _Notice.tell
    _Notice.tell = staticmethod(tell)
    try:
        yield
    finally:
        _Notice.tell = staticmethod(before)
