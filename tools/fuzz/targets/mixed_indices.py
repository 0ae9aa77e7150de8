"""Indices that mix integers, slices, None, Ellipsis, booleans, masks, lists, tuples and arrays, read and written.

What is right is computed with one explicit array of places for every dimension of the tensor, by PyTorch's rule:
integers are taken first, arrays broadcast together, and their dimensions stand where the arrays stood if those were
neighbours, else in front.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau import tensor as rt

from ..drawing import Draw
from ..verdict import attempt, check_equal
from .layers import leaf

Array = NDArray[Any]

_KINDS = ("integer", "slice", "slice", "list", "tuple", "array", "tensor", "mask")


def mixed_indices(draw: Draw) -> None:
    """Read by a drawn index, differentiate, and write by it."""
    shape = tuple(draw.size(5) for _ in range(draw.random.randint(0, 4)))
    parts = _parts(draw, shape)
    index = tuple(_given(part) for part in parts)
    values = draw.normal(shape, np.float64)
    x = leaf(draw, values)
    draw.note("shape, index", (shape, index))
    places = _places(np.arange(values.size).reshape(shape), parts)
    if places is None:
        draw.wrong = "arrays that do not broadcast together"

    result = attempt(draw, lambda: x[index], x)
    assert places is not None
    check_equal("read", result, values.reshape(-1)[places])
    if x.requires_grad:
        cotangent = draw.normal(places.shape, np.float64)
        attempt(draw, lambda: result.backward(rt.Tensor(cotangent)), x)
        wanted = np.zeros(values.size)
        np.add.at(wanted, places.reshape(-1), cotangent.reshape(-1))
        if x.grad is not None:
            check = np.abs(x.grad.numpy().reshape(-1) - wanted) <= 1e-12 * (1 + np.abs(wanted))
            check_equal("gradient is the scattered cotangent", check, np.ones(values.size, bool))

    written = rt.Tensor(values.copy())
    number = draw.random.random()
    attempt(draw, lambda: written.__setitem__(index, number))
    expected = values.copy().reshape(-1)
    expected[places.reshape(-1)] = number
    check_equal("written", written, expected.reshape(shape))


def _parts(draw: Draw, shape: tuple[int, ...]) -> list[Any]:
    """Draw an index; arrays stand for lists, tuples and tensors too, with the kind they are given as."""
    parts: list[Any] = []
    read, stop = 0, draw.random.randint(0, len(shape))
    lengths = (draw.size(4), draw.size(4))
    while read < stop:
        n, kind = shape[read], draw.choose(_KINDS)
        if kind == "integer":
            parts.append(draw.random.randint(-n, n - 1))
        elif kind == "slice":
            start, end = [draw.choose((None, draw.random.randint(-n - 1, n + 1))) for _ in range(2)]
            parts.append(slice(start, end, draw.choose((None, 1, 2))))
        elif kind == "mask":
            masked = shape[read : draw.random.randint(read + 1, stop)]
            parts.append((draw.choose(("array", "tensor")), draw.numbers.random(masked) < 0.5))
            read += len(masked) - 1
        else:
            taken = draw.choose(((lengths[1],), (lengths[1],), (1,), lengths))
            if kind in ("list", "tuple"):
                taken = taken[-1:]
            parts.append((kind, draw.numbers.integers(-n, n, taken)))
        read += 1
    for extra in draw.random.sample([None, None, True, False], draw.random.randint(0, 2)):
        parts.insert(draw.random.randint(0, len(parts)), extra)
    if draw.chance(0.3):
        parts.insert(len(parts) if stop < len(shape) else draw.random.randint(0, len(parts)), Ellipsis)
    return parts


def _given(part: Any) -> Any:
    """Return a part as it is handed over."""
    if not isinstance(part, tuple):
        return part
    kind, array = part
    if kind == "tensor":
        return rt.Tensor(array)
    return {"list": list, "tuple": tuple}.get(kind, np.array)(array.tolist())


def _places(places: Array, parts: list[Any]) -> Array | None:
    """Return the elements that an index reads, as places in the flat tensor; None if its arrays do not fit."""
    expanded: list[Any] = []
    read = sum(_dimensions_read(part) for part in parts)
    for part in parts:
        expanded += [slice(None)] * (places.ndim - read) if part is Ellipsis else [part]
    arrays: list[Array] = []
    kept: list[Any] = []  # what stands in the result: places of a dimension, None, or an array's number
    dimension = 0
    axes: list[Array] = []
    for part in expanded:
        if isinstance(part, bool):
            kept.append(("array", len(arrays)))
            arrays.append(np.zeros(int(part), np.int64))
            axes.append(np.array(-1))  # reads no dimension
        elif part is None:
            kept.append(("new", 1))
        elif isinstance(part, tuple):
            found = np.nonzero(part[1]) if part[1].dtype == bool else (part[1],)
            for array in found:
                kept.append(("array", len(arrays)))
                arrays.append(array % places.shape[dimension])
                axes.append(np.array(dimension))
                dimension += 1
        elif isinstance(part, slice):
            kept.append(("slice", np.arange(places.shape[dimension])[part], dimension))
            dimension += 1
        else:
            kept.append(("integer", part, dimension))
            dimension += 1
    for rest in range(dimension, places.ndim):
        kept.append(("slice", np.arange(places.shape[rest]), rest))
    try:
        common = np.broadcast_shapes(*[a.shape for a in arrays])
    except ValueError:
        return None
    return _read(places, kept, arrays, [int(a) for a in axes], common)


def _dimensions_read(part: Any) -> int:
    if part is None or part is Ellipsis or isinstance(part, bool):
        return 0
    return part[1].ndim if isinstance(part, tuple) and part[1].dtype == bool else 1


def _read(
    places: Array, kept: list[Any], arrays: list[Array], axes: list[int], common: tuple[int, ...]
) -> Array:
    """Return ``places`` read by one array for each of its dimensions, all of the result's shape."""
    shown = [entry for entry in kept if entry[0] != "integer"]
    where = [i for i, entry in enumerate(shown) if entry[0] == "array"]
    first = 0
    if where and where[-1] - where[0] + 1 == len(where):
        first = where[0]
    others = [entry for entry in shown if entry[0] != "array"]
    sizes = [1 if entry[0] == "new" else entry[1].size for entry in others]
    result = (*sizes[:first], *(common if where else ()), *sizes[first:])
    indices: list[Any] = [0] * places.ndim
    for entry in kept:
        if entry[0] == "integer":
            indices[entry[2]] = entry[1]
    for i, entry in enumerate(others):
        if entry[0] == "slice":
            after = len(others) - 1 - i + (len(common) if i < first and where else 0)
            indices[entry[2]] = entry[1].reshape((-1, *(1,) * after))
    for array, axis in zip(arrays, axes, strict=True):
        if axis >= 0:
            indices[axis] = np.broadcast_to(array, common).reshape((*common, *(1,) * (len(others) - first)))
    found = places[tuple(indices)] if places.ndim else places
    return np.broadcast_to(found, result) if 0 not in result else np.zeros(result, np.int64)
