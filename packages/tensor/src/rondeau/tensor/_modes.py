"""Per-thread modes: recording of operations, the default device, and suppressed floating-point warnings."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from rondeau.kernels.runtime.decorating import check_decorated
from rondeau.kernels.runtime.quiet import quiet_runner

if TYPE_CHECKING:
    from types import TracebackType

    from rondeau.tensor._devices import device

_F = TypeVar("_F", bound=Callable[..., Any])


class Modes(threading.local):
    """The modes of one thread: whether operations are recorded, the default device, and functions without warnings.

    `quiet` runs a function where floating point never warns, as in PyTorch; see `quiet_runner`.
    """

    def __init__(self) -> None:
        self.recording = True
        self.inference = False  # True inside `inference_mode`, where nothing is recorded
        self.outer: list[tuple[bool, bool]] = []  # both, outside the thread's blocks of `Recording`
        self.device: device | None = None  # the default device; None: the CPU
        self.outer_devices: list[device | None] = []  # the defaults outside the ``with`` blocks of devices
        self.quiet = quiet_runner()


modes = Modes()


class Recording:
    """Switch recording on or off in a ``with`` block or a decorated function."""

    _to: ClassVar[bool]

    def __new__(cls, *arguments: Any, **_options: Any) -> Self:
        """Return the decorated function, if used as a decorator without parentheses."""
        decorated: Any = cls()(arguments[0]) if arguments and callable(arguments[0]) else None
        return super().__new__(cls) if decorated is None else decorated

    def _again(self) -> Self:
        """Return another instance like this one, for one call of a decorated function."""
        return type(self)()

    def __enter__(self) -> Self:
        modes.outer.append((modes.recording, modes.inference))
        modes.recording = self._to and not modes.inference
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        modes.recording, modes.inference = modes.outer.pop()

    def __call__(self, function: _F) -> _F:
        check_decorated(f"{type(self).__name__}()", function)

        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return inner  # type: ignore[return-value]


class no_grad(Recording):  # noqa: N801 - torch's name
    """Disable recording: results do not require gradients, which saves time and memory.

    Works as a context manager and as a decorator. The mode is per thread.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> w = rt.ones(2, requires_grad=True)
    >>> with rt.no_grad():
    ...     (w * 2).requires_grad
    False
    """

    _to = False


class enable_grad(Recording):  # noqa: N801 - torch's name
    """Enable recording again inside a `no_grad` block.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> w = rt.ones(2, requires_grad=True)
    >>> with rt.no_grad(), rt.enable_grad():
    ...     (w * 2).requires_grad
    True
    """

    _to = True


class set_grad_enabled(Recording):  # noqa: N801 - torch's name
    """Enable or disable recording: immediately when called, and until the end of the block in a ``with`` statement.

    Parameters
    ----------
    mode : bool

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> with rt.set_grad_enabled(False):
    ...     rt.is_grad_enabled()
    False
    """

    def __init__(self, mode: bool) -> None:
        self._mode = mode
        self._first: list[bool] = [modes.recording]  # what a first block ends with: that before this call
        modes.recording = mode and not modes.inference

    def __enter__(self) -> Self:
        modes.outer.append((self._first.pop() if self._first else modes.recording, modes.inference))
        modes.recording = self._mode and not modes.inference
        return self

    def __call__(self, function: _F) -> _F:
        if self._first:
            modes.recording = self._first.pop()
        return (enable_grad if self._mode else no_grad)()(function)


def is_grad_enabled() -> bool:
    """Return whether operations of this thread are recorded.

    Examples
    --------
    >>> is_grad_enabled()
    True
    """
    return modes.recording
