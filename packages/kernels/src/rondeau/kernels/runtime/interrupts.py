"""Deferred signals: Ctrl-C during compilation takes effect at the next point where the compiler's state is consistent.

Python runs a signal's handler between any two instructions, and the handler of Ctrl-C raises KeyboardInterrupt there.
Inside Numba that may be a finaliser or a callback, which swallows it, or halfway through registering the
implementations of functions, which are then missing for the rest of the process. So while a function is compiled or
loaded, signals are recorded, and their handlers are called between two passes of the compiler or at the end of the
function. The longest pass is the lowering of a driver, in which LLVM optimises it: 0.6 seconds on one core.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from numba.core import event

__all__ = ["holding_signals"]

_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
]
"""Those whose handlers end something; not those of profilers, which look at what runs."""


class _RaisedByHandler(BaseException):
    """Carries a handler's exception through the compiler, which would take an Exception for a typing error."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class _Held:
    """The signals that arrived while the main thread was compiling, and their original handlers."""

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._arrived: list[tuple[int, FrameType | None]] = []
        for number in _SIGNALS:
            handler = signal.getsignal(number)
            if callable(handler):  # a Python handler; the system's own end the process or do nothing
                self._handlers[number] = handler
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._arrived.append((number, frame))

    def deliver(self) -> None:
        """Call the handlers of the signals that have arrived."""
        while self._arrived:
            number, frame = self._arrived.pop(0)
            try:
                self._handlers[number](number, frame)
            except BaseException as error:
                raise _RaisedByHandler(error) from None

    def release(self) -> None:
        """Restore the handlers, except any that a handler replaced, and call them for the signals that arrived."""
        for number, handler in reversed(self._handlers.items()):  # SIGINT last: its handler may raise at once
            if signal.getsignal(number) == self._note:
                signal.signal(number, handler)
        self.deliver()


class _Compiling:
    held: _Held | None = None


@contextlib.contextmanager
def holding_signals() -> Iterator[None]:
    """Hold back SIGINT, SIGTERM and the like while the main thread compiles; other threads are delivered none.

    Raises
    ------
    KeyboardInterrupt
        Or whatever a signal's handler raises, without the frames of the compiler.

    Examples
    --------
    >>> with holding_signals():
    ...     pass  # Ctrl-C here would raise KeyboardInterrupt when the context ends
    """
    if _Compiling.held is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    held = _Compiling.held = _Held()
    try:
        try:
            yield
        finally:
            _Compiling.held = None
            held.release()
    except _RaisedByHandler as raised:
        raise raised.error from None


class _BetweenPasses(event.Listener):  # type: ignore[misc]
    def on_start(self, event: Any) -> None:
        if _Compiling.held is not None and threading.current_thread() is threading.main_thread():
            _Compiling.held.deliver()

    def on_end(self, event: Any) -> None:
        """Do nothing: the next pass begins, or the function ends."""


event.register("numba:run_pass", _BetweenPasses())
