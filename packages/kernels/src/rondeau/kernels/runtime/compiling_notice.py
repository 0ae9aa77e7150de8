"""The notice on standard error before the first kernel of a process is compiled, because nothing moves for a while.

It is shown only where a person will read it: on a terminal or in a notebook. Setting the environment variable
RONDEAU_QUIET to anything but 0 silences it. A program with its own progress display can show the notice itself, with
`announcing_with`.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

__all__ = ["announce_compiling", "announcing_with"]

NOTICE = (
    "rondeau: compiling kernels for this processor, once: "
    "some ten seconds for the first training step (RONDEAU_QUIET=1 hides this line)"
)


def _tell_a_reader(line: str) -> None:
    """Print a line on standard error if that is a terminal or belongs to a notebook."""
    stream = sys.stderr
    if stream is not None and (stream.isatty() or type(stream).__module__.startswith("ipykernel")):
        print(line, file=stream, flush=True)


class _Notice:
    """Whether the notice was shown in this process, and the function that shows it."""

    given = False
    tell: Callable[[str], None] = staticmethod(_tell_a_reader)


def announce_compiling() -> None:
    """Show the notice, unless it was shown before in this process or RONDEAU_QUIET is set.

    Examples
    --------
    >>> announce_compiling()  # in a doctest, standard error is not a terminal
    """
    if not _Notice.given:
        _Notice.given = True
        if os.environ.get("RONDEAU_QUIET", "0") in ("", "0"):
            with contextlib.suppress(OSError, ValueError):  # hung up or closed: nobody is reading
                _Notice.tell(NOTICE)


@contextlib.contextmanager
def announcing_with(tell: Callable[[str], None]) -> Iterator[None]:
    """Show the notice with `tell` for the duration of the context, wherever standard error goes.

    Parameters
    ----------
    tell : callable
        Called with the line, without a newline.

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
