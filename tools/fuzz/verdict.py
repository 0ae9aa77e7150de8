"""What is right: judge one call of the library, and what it returned."""

from __future__ import annotations

import dis
import traceback
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rondeau.tensor import Tensor

from .drawing import Draw

Array = NDArray[Any]
Returned = TypeVar("Returned")

CLEAR_KINDS = (TypeError, ValueError, RuntimeError, IndexError, NotImplementedError)
FEWEST_WORDS = 4
#: Where NumPy says as clearly as we could what was wrong: the place, and a part of the message.
CLEAR_BELOW = (
    ("tensor/_ops/", "could not be broadcast together"),
    ("tensor/_ops/", "shape mismatch: objects cannot be broadcast"),
    ("tensor/_ops/indexing.py:getitem", "are valid indices"),
    ("tensor/_ops/indexing.py:getitem", "is out of bounds for axis"),
    ("tensor/_ops/indexing.py:getitem", "too many indices for array"),
    ("tensor/_ops/indexing.py:getitem", "boolean index did not match"),
    ("tensor/_dtypes.py:as_dtype", "not understood"),
)

ASKED = 4
"""How often `check_close` asks how far a result moves."""
_RAISE = dis.opmap["RAISE_VARARGS"]
_SOURCES = str(Path("src") / "rondeau")
_INSTALLED = str(Path("site-packages") / "rondeau")


class Finding(Exception):  # noqa: N818 - an outcome, as Refused is
    """A call that ended neither in a right result nor in a clear exception.

    Parameters
    ----------
    kind : str
        Of which sort, in a word or two.
    text : str
        What happened.
    place : str
        Where: findings of one kind and place count as one.
    """

    def __init__(self, kind: str, text: str, place: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind, self.text, self.place = kind, text, place


class Refused(Exception):  # noqa: N818
    """A call that was wrong on purpose ended in a clear exception."""


def attempt(draw: Draw, function: Callable[[], Returned], *inputs: Any, last: bool = True) -> Returned:
    """Call the library.

    Parameters
    ----------
    draw : Draw
        Its `wrong` and `open` say whether an exception is right.
    function : callable
        The call.
    *inputs : Tensor, ndarray, or a sequence of them
        What the call has no right to change, whether it succeeds or fails; anything else is passed over.
    last : bool
        Whether the call that is wrong on purpose is this one: that it returns is then a finding.

    Returns
    -------
    object
        What `function` returned.

    Raises
    ------
    Refused
        If a call that is wrong on purpose, or may be refused, ended in a clear exception.
    Finding
        If anything is not right.
    """
    before = [(name, array, array.tobytes()) for name, array in _arrays(inputs)]
    error: Exception | None = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = function()
        except Exception as raised:
            error = raised
    for name, array, content in before:
        if array.tobytes() != content:
            raise Finding(
                "changed its input", f"input {name} has other values after the call", place_of(error)
            )
    for warning in caught:
        if issubclass(warning.category, RuntimeWarning):
            at = f"{_short(warning.filename)}:{warning.lineno}"
            raise Finding("warned", f"{warning.category.__name__}: {warning.message} (at {at})", at)
    if error is not None:
        check_clear(error)
        if draw.wrong is None and draw.open is None:
            shown = f"{type(error).__name__}: {error}"
            raise Finding("refused a good call", shown, place_of(error)) from error
        raise Refused from error
    if last and draw.wrong is not None:
        raise Finding("took a wrong call", draw.wrong, draw.wrong)
    return result


def check_clear(error: Exception) -> None:
    """Raise a `Finding` unless an exception is one that we raised, of a kind and with words that help."""
    shown = f"{type(error).__name__}: {error}"
    ours = type(error).__module__.startswith("rondeau.")
    if type(error) not in CLEAR_KINDS and not ours:
        raise Finding("bad exception", shown, place_of(error)) from error
    if len(str(error).split()) < FEWEST_WORDS:
        raise Finding("exception that says too little", shown, place_of(error)) from error
    frame = _innermost(error.__traceback__)
    raised_here = frame.tb_frame.f_code.co_code[frame.tb_lasti] == _RAISE
    place = place_of(error)
    clear = any(place.startswith(where) and says in shown for where, says in CLEAR_BELOW)
    if not (raised_here and _is_ours(frame)) and not clear:
        raise Finding("exception from below the door", shown, place) from error


def place_of(error: BaseException | None) -> str:
    """Return the last function of ours that an exception passed, ``file:function``."""
    if error is None or error.__traceback__ is None:
        return "no exception"
    place, frame = "outside the packages", error.__traceback__
    chain: TracebackType | None = frame
    while chain is not None:
        if _is_ours(chain):
            code = chain.tb_frame.f_code
            place = f"{_short(code.co_filename)}:{code.co_name}"
        chain = chain.tb_next
    return place


def shown_traceback(error: BaseException) -> str:
    """Return an exception with its traceback, as text."""
    return "".join(traceback.format_exception(error))


def _innermost(chain: TracebackType | None) -> TracebackType:
    assert chain is not None
    while chain.tb_next is not None:
        chain = chain.tb_next
    return chain


def _is_ours(frame: TracebackType) -> bool:
    name = frame.tb_frame.f_code.co_filename
    return _SOURCES in name or _INSTALLED in name


def _short(filename: str) -> str:
    return filename.rpartition(f"{Path('/')}rondeau{Path('/')}")[2] if "rondeau" in filename else filename


def _arrays(inputs: Iterable[Any], name: str = "") -> list[tuple[str, Array]]:
    found: list[tuple[str, Array]] = []
    for i, value in enumerate(inputs):
        here = f"{name}{i}"
        if isinstance(value, Tensor):
            value = value.detach().numpy()
        if isinstance(value, np.ndarray):
            found.append((here, value))
        elif isinstance(value, (tuple, list)):
            found += _arrays(value, f"{here}.")
    return found


def check_like(name: str, got: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return a result's array, or raise a `Finding` where its shape or dtype is not as it should be."""
    if isinstance(got, Tensor):
        got = got.detach().numpy()
    if not isinstance(got, np.ndarray):
        raise Finding("wrong result", f"{name} should be an array, got {type(got).__name__}", name)
    if got.shape != shape or got.dtype != dtype:
        wanted = f"{np.dtype(dtype)} of shape {shape}"
        raise Finding(
            "wrong result", f"{name} should be {wanted}, got {got.dtype} of shape {got.shape}", name
        )
    return got


def tolerance_of(dtype: Any, length: int = 1) -> float:
    """Return the relative error that a result of a dtype may have, after chains of `length` operations."""
    return float(np.finfo(dtype).eps) * (32 + 4 * length)


def check_close(
    name: str,
    got: Any,
    wanted: Array,
    dtype: Any,
    *,
    tolerance: float,
    scale: Any = None,
    least: float = 0.0,
    spread: Callable[[], float] | None = None,
) -> None:
    """Compare a result with what is right, NaN and infinities included.

    Parameters
    ----------
    name : str
        Of the result.
    got : Tensor or ndarray
        The result.
    wanted : ndarray of float64
        What is right.
    dtype : dtype
        The dtype that the result should have.
    tolerance : float
        The error that is allowed, relative to `scale`.
    scale : ndarray or float, optional
        By default the largest finite magnitude of `wanted`.
    least : float
        The smallest scale, where the result is a difference of larger numbers.
    spread : callable, optional
        Asked only where the tolerance is exceeded: how far the right result itself moves where the inputs move by a
        rounding error of their dtype; the error allowed grows by a hundred times the most that it says of `ASKED`
        times.

    Raises
    ------
    Finding
        Where they differ.
    """
    found = check_like(name, got, wanted.shape, dtype)
    if not found.size:
        return
    found = np.asarray(found, np.float64)
    finite = np.isfinite(wanted)
    if not finite.all() or not np.isfinite(found).all():
        same = np.isnan(found) == np.isnan(wanted)
        same &= np.where(np.isinf(wanted) | np.isinf(found), found == wanted, True) | np.isnan(wanted)
        if not same.all():
            _differ(name, found, wanted, ~same)
    if scale is None:
        scale = float(np.abs(wanted[finite]).max(initial=least))
    with np.errstate(invalid="ignore"):
        error = np.where(finite, np.abs(found - wanted), 0.0)
    allowed = tolerance * (scale + float(np.finfo(dtype).tiny))
    if (error > allowed).any() and spread is not None:
        with np.errstate(all="ignore"):
            moved = max(float(np.max(spread(), initial=0.0)) for _ in range(ASKED))
            allowed = allowed + 100 * np.nan_to_num(moved, nan=np.inf, posinf=np.inf)
    if (error > allowed).any():
        _differ(name, found, wanted, error > allowed)


def _differ(name: str, found: Array, wanted: Array, where: Array) -> None:
    place = tuple(int(i) for i in np.argwhere(where)[0])
    text = f"{name}{list(place)} should be {wanted[place]:.9g}, got {found[place]:.9g}"
    raise Finding("wrong result", f"{text}; {int(where.sum())} of {where.size} elements differ", name)


def check_equal(name: str, got: Any, wanted: Any) -> None:
    """Compare a result that has no rounding error, dtype included."""
    wanted = np.asarray(wanted)
    found = check_like(name, got, wanted.shape, wanted.dtype)
    same = (found == wanted) | ((found != found) & (wanted != wanted))
    if not same.all():
        place = tuple(int(i) for i in np.argwhere(~same)[0])
        text = f"{name}{list(place)} should be {wanted[place]!r}, got {found[place]!r}"
        raise Finding("wrong result", text, name)
