"""From a list of samples to a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def default_collate(samples: Sequence[Any]) -> Any:
    """Stack samples into a batch.

    Numbers become an array (Python's one of bool, int64, float64 or complex128), arrays are stacked, Tensors give a
    Tensor (a leaf of no graph), strings and bytes a list; tuples, named tuples, lists and dicts give the same of
    batches.

    Parameters
    ----------
    samples : sequence
        At least one, all of one kind and shape.

    Returns
    -------
    array, Tensor, list, tuple or dict

    Raises
    ------
    ValueError
        If there are none, shapes, lengths or keys differ, or an integer is beyond int64.
    TypeError
        If they are of a kind that cannot be stacked.

    Examples
    --------
    >>> default_collate([({"x": np.zeros(3)}, 1), ({"x": np.ones(3)}, 0)])
    ({'x': array([[0., 0., 0.],
           [1., 1., 1.]])}, array([1, 0]))
    """
    if not len(samples):
        raise ValueError("expected at least one sample to make a batch of, got none")
    first = samples[0]
    if isinstance(first, str | bytes):
        return list(samples)
    if isinstance(first, bool | int | float | complex | np.generic):
        return _array(samples)
    if isinstance(first, np.ndarray):
        return _stacked(samples)
    if isinstance(first, Mapping):
        for sample in samples:
            if sample.keys() != first.keys():
                raise ValueError(f"expected samples with the keys {list(first)}, got one with {list(sample)}")
        return {key: default_collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, tuple | list):
        for sample in samples:
            if len(sample) != len(first):
                raise ValueError(f"expected samples of {len(first)} parts, got one of {len(sample)}")
        parts = [default_collate([sample[i] for sample in samples]) for i in range(len(first))]
        if isinstance(first, list):
            return parts
        return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)
    # A Tensor, of a package that this one may not import.
    if hasattr(first, "numpy") and hasattr(first, "requires_grad"):
        return type(first)(_stacked([sample.detach().cpu().numpy() for sample in samples]))
    raise TypeError(
        f"samples of type {type(first).__name__} cannot be stacked: expected numbers, arrays, Tensors, strings, or "
        "tuples, lists or dicts of them; give a collate_fn"
    )


def _array(numbers: Sequence[Any]) -> np.ndarray[Any, Any]:
    array = np.array(numbers)
    integers = all(isinstance(number, int) for number in numbers)
    # NumPy takes uint64, float64 or object for what int64 cannot hold.
    if integers and array.dtype.kind not in "bi":
        largest = max(numbers, key=abs)
        raise ValueError(f"an integer of {largest.bit_length()} bits cannot be put into an array of int64")
    return array


def _stacked(arrays: Sequence[Any]) -> np.ndarray[Any, Any]:
    shapes = {np.shape(array) for array in arrays}
    if len(shapes) > 1:
        raise ValueError(
            f"samples of different shapes cannot be stacked, got {', '.join(map(str, sorted(shapes)))}; "
            "give a collate_fn that pads them"
        )
    return np.stack(arrays)
