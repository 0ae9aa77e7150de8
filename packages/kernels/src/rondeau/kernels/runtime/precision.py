"""The precision of products of float32: how their operands are rounded where a processor has faster ways."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from rondeau.kernels.errors import ArgumentValueError
from rondeau.kernels.runtime.decorating import check_decorated

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "CHOSEN",
    "OPERANDS",
    "SCOPED",
    "check_precision",
    "float32_matmul_precision",
    "get_float32_matmul_precision",
    "local",
    "set_float32_matmul_precision",
]

_F = TypeVar("_F", bound=Callable[..., Any])

OPERANDS = {
    "highest": ("float32",),
    "high": ("float32", "tf32"),
    "medium": ("float32", "tf32", "bfloat16"),
}
"""The number formats to which operands of float32 products may be rounded, by the precision."""
CHOSEN: set[str] = set()
"""Every precision that has been chosen so far: empty as long as all products are as they are by default."""
SCOPED: set[str] = set()
"""Those that a `float32_matmul_precision` has chosen: empty as long as recorded operations need not know theirs."""

_of_process = "highest"


class _Local(threading.local):
    """The precision of a thread inside `float32_matmul_precision`; None where that of the process holds."""

    precision: str | None = None

    def __init__(self) -> None:
        self.outer: list[str | None] = []  # those outside the blocks that the thread is in


local = _Local()


def check_precision(precision: Any) -> None:
    """Raise a ValueError unless an argument is a precision."""
    if not isinstance(precision, str) or precision not in OPERANDS:
        raise ArgumentValueError(f"precision must be one of {', '.join(OPERANDS)}, got {precision!r}")


def set_float32_matmul_precision(precision: str) -> None:
    """Set how operands of float32 products may be rounded, for all threads.

    It concerns every product of matrices whose operands are float32: of recurrent layers, linear layers, convolutions
    and `matmul`, forward and backward. Sums, the product of two vectors among them, states, gradients and weights are
    float32 at every setting.

    Parameters
    ----------
    precision : {"highest", "high", "medium"}
        * ``"highest"``, the default: operands are float32, which has 23 bits after the point.
        * ``"high"``: on a GPU, operands may be rounded to TF32, which has 10, and gradients have an error of about
          1e-3. The CPU rounds nothing.
        * ``"medium"``: operands are rounded to bfloat16, which has 7, and gradients have an error of about 1e-2. The
          CPU needs AVX512_BF16 for it; one without computes in float32, and says so once. On a GPU operands may be
          rounded to it: of the formats that a precision allows, the fastest is taken, by a model of the work.

        All formats have the range of float32. On a GPU it concerns the recurrent products where a kernel has all steps,
        from compute capability 8.0 on; the large products before and after them follow CuPy's environment variable
        ``CUPY_TF32``.

    Raises
    ------
    ValueError
        For anything else.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.set_float32_matmul_precision("high")
    >>> rt.get_float32_matmul_precision()
    'high'
    >>> rt.set_float32_matmul_precision("highest")
    """
    global _of_process
    check_precision(precision)
    CHOSEN.add(precision)
    _of_process = precision


def get_float32_matmul_precision() -> str:
    """Return the precision that holds in this thread: that of a `float32_matmul_precision` block, or of the process.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> rt.get_float32_matmul_precision()
    'highest'
    """
    return local.precision or _of_process


class float32_matmul_precision:  # noqa: N801 - a context manager, named as its setting
    """Use another precision of float32 products in a ``with`` block or a decorated function, in this thread.

    Backward computes a gradient at the precision at which forward ran.

    Parameters
    ----------
    precision : {"highest", "high", "medium"}
        As for `set_float32_matmul_precision`.

    Raises
    ------
    ValueError
        For anything else.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> with rt.float32_matmul_precision("medium"):
    ...     rt.get_float32_matmul_precision()
    'medium'
    """

    def __init__(self, precision: str) -> None:
        check_precision(precision)
        self._precision = precision

    def __enter__(self) -> None:
        CHOSEN.add(self._precision)
        SCOPED.add(self._precision)
        local.outer.append(local.precision)
        local.precision = self._precision

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        local.precision = local.outer.pop()

    def __call__(self, function: _F) -> _F:
        """Return a function that runs at the precision; a generator, a coroutine or a class is a TypeError."""
        check_decorated(f'float32_matmul_precision("{self._precision}")', function)

        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            with float32_matmul_precision(self._precision):
                return function(*args, **kwargs)

        return inner  # type: ignore[return-value]
