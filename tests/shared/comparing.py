"""The two comparisons of all tests: by bytes, and within a bound.

Both take arrays and tensors of any device, of rondeau and of PyTorch, None, and tuples, lists and dicts of them, which
must agree part by part. What is expected may also be a number or a list of numbers, which then has the dtype of what
was computed, or the parts of one array, which are stacked.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.runtime.transfers import on_host

__all__ = ["assert_close", "assert_same_bits"]


def assert_same_bits(ours: Any, theirs: Any, what: str = "") -> None:
    """Raise AssertionError unless shapes, dtypes and every byte are the same: -0.0 is not 0.0, nor any NaN another.

    Parameters
    ----------
    ours, theirs
        What was computed, and what is expected.
    what : str
        What is compared, for the message.
    """
    __tracebackhide__ = True
    for name, got, expected in _pairs(ours, theirs, what):
        assert got.dtype == expected.dtype, f"{name}: dtype {got.dtype}, expected {expected.dtype}"
        if got.tobytes() == expected.tobytes():
            continue
        size = got.dtype.itemsize
        of_ours, of_theirs = (np.frombuffer(a.tobytes(), np.uint8).reshape(-1, size) for a in (got, expected))
        differing = np.flatnonzero((of_ours != of_theirs).any(axis=1))
        first = np.unravel_index(differing[0], got.shape)
        raise AssertionError(
            f"{name}: {differing.size} of {got.size} elements differ in their bits; the first, at "
            f"{tuple(map(int, first))}, is {got[first]!r}, expected {expected[first]!r}"
        )


def assert_close(
    ours: Any,
    theirs: Any,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    of_largest: float = 0.0,
    least: float = 0.0,
    what: str = "",
) -> None:
    """Raise AssertionError unless shapes are the same, and every error is within its bound.

    The bound of an element is ``atol + rtol |theirs| + of_largest max(max |theirs|, least)``. What is infinite or NaN
    in one must be so in the other.

    Parameters
    ----------
    ours, theirs
        What was computed, and what is expected; their dtypes may differ.
    rtol, atol : float
        The bound relative to the element, and the absolute one.
    of_largest : float
        The bound relative to the largest finite element of its array: what cancels leaves the rounding of its parts.
    least : float
        The smallest number that counts as largest.
    what : str
        What is compared, for the message.
    """
    __tracebackhide__ = True
    for name, got, expected in _pairs(ours, theirs, what):
        wide = np.complex128 if np.result_type(got, expected).kind == "c" else np.float64
        with np.errstate(all="ignore"):  # infinities and NaN, of any kind
            got, expected = got.astype(wide), expected.astype(wide)
            finite = np.isfinite(expected)
            size = np.abs(np.where(finite, expected, 0))
            bound = atol + rtol * size + of_largest * max(size.max(initial=0.0), least)
            error = np.abs(got - expected)
            right = np.where(finite, error <= bound, (got == expected) | (np.isnan(got) & np.isnan(expected)))
            excess = np.where(right, -np.inf, np.where(np.isfinite(error), error - bound, np.inf))
        if not right.all():
            worst = np.unravel_index(np.argmax(excess), got.shape)
            raise AssertionError(
                f"{name}: {np.count_nonzero(~right)} of {got.size} elements are too far from what is expected; the "
                f"worst, at {tuple(map(int, worst))}, is {got[worst]!r}, expected {expected[worst]!r} within "
                f"{bound[worst]:.3g}"
            )


def _pairs(ours: Any, theirs: Any, name: str) -> Iterator[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Give all arrays of two structures, with a name; refuse structures and shapes that differ."""
    if _is_array(ours) and isinstance(theirs, tuple | list) and _is_structure(theirs):
        theirs = np.stack([_array(part) for part in theirs])
    if _is_structure(ours) or _is_structure(theirs):
        assert _is_structure(ours) == _is_structure(theirs), (
            f"{name}: {ours!r:.200}, expected {theirs!r:.200}"
        )
        mine, others = _parts(ours), _parts(theirs)
        assert mine.keys() == others.keys(), f"{name}: parts {[*mine]}, expected {[*others]}"
        for key, part in mine.items():
            yield from _pairs(part, others[key], f"{name}[{key!r}]")
        return
    if ours is None or theirs is None:
        assert ours is theirs, f"{name}: {ours!r:.200}, expected {theirs!r:.200}"
        return
    got = _array(ours)
    if isinstance(theirs, list) or (isinstance(theirs, int | float) and not isinstance(theirs, np.generic)):
        given = np.asarray(theirs) if isinstance(theirs, list) else np.full(got.shape, theirs)
        expected = given.astype(got.dtype)
        fits = got.dtype.kind in "fc" or (expected == given).all()
        assert fits, f"{name}: {theirs!r:.200} expected, which {got.dtype} cannot hold"
    else:
        expected = _array(theirs)
    assert got.shape == expected.shape, f"{name}: shape {got.shape}, expected {expected.shape}"
    yield name, got, expected


def _is_structure(value: Any) -> bool:
    if isinstance(value, list):  # of arrays, not of numbers
        return not value or any(part is None or _is_structure(part) or _is_array(part) for part in value)
    return isinstance(value, Mapping | tuple | Iterator)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and not isinstance(value, np.generic)


def _parts(value: Any) -> dict[Any, Any]:
    return dict(value) if isinstance(value, Mapping) else dict(enumerate(value))


def _array(value: Any) -> NDArray[Any]:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(on_host(value))
