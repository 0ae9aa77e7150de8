"""Data sets by index, parts of them, and the randomness that belongs to a sample."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ._checks import LARGEST_SEED, as_indices, check_is, checked_integer, checked_list
from ._collate import default_collate

# (seed, epoch), and then the indices, of what is being read; None outside a DataLoader.
_epoch_key: ContextVar[tuple[int, int] | None] = ContextVar("epoch_key", default=None)
_sample_key: ContextVar[tuple[int, ...] | None] = ContextVar("sample_key", default=None)


class Dataset(ABC):
    """Samples by index: a subclass defines ``__len__`` and ``__getitem__``.

    It may define ``__getitems__(indices) -> list of samples`` too, where many are read faster than one by one, or
    :meth:`batch`, where a batch is not a stack of samples. Anything else with ``__len__`` and ``__getitem__`` is good
    enough for a :class:`DataLoader`; this class adds :meth:`batch`.

    Examples
    --------
    >>> class Squares(Dataset):
    ...     def __len__(self):
    ...         return 4
    ...
    ...     def __getitem__(self, index):
    ...         return index, float(index**2)
    >>> Squares().batch([1, 3])
    (array([1, 3]), array([1., 9.]))
    """

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def __getitem__(self, index: Any) -> Any:
        """Return a sample."""

    def batch(self, indices: Sequence[Any]) -> Any:
        """Return the samples at some indices as one batch, as :func:`default_collate` makes it."""
        return default_collate(read_samples(self, indices))


class TensorDataset(Dataset):
    """Arrays or Tensors side by side: sample i is the tuple of their rows i, a batch the tuple of their rows.

    Parameters
    ----------
    *tensors : array or Tensor
        Of equal length; anything that has a shape and takes an integer array as its index.

    Raises
    ------
    ValueError
        If there are none, or their lengths differ.
    TypeError
        If one is not an array with rows.

    Examples
    --------
    >>> pairs = TensorDataset(np.arange(6).reshape(3, 2), np.array([0, 1, 0]))
    >>> len(pairs), pairs[1]
    (3, (array([2, 3]), np.int64(1)))
    >>> pairs.batch([2, 0])[0].tolist()
    [[4, 5], [0, 1]]
    """

    def __init__(self, *tensors: Any) -> None:
        for number, tensor in enumerate(tensors):
            if not getattr(tensor, "shape", ()):
                raise TypeError(
                    f"number {number} must be an array or a Tensor with rows, got {type(tensor).__name__}"
                    + (" without dimensions" if hasattr(tensor, "shape") else "; convert it with np.asarray")
                )
        lengths = [len(tensor) for tensor in tensors]
        if not lengths or len(set(lengths)) > 1:
            raise ValueError(f"expected arrays of one length, got {len(lengths)} of the lengths {lengths}")
        self.tensors = tensors

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.tensors[0])

    def __getitem__(self, index: Any) -> tuple[Any, ...]:
        """Return a row of each; of an index that is an array, the rows of each."""
        return tuple(tensor[index] for tensor in self.tensors)

    def batch(self, indices: Sequence[Any]) -> tuple[Any, ...]:
        """Return the rows of each at some indices: arrays stay arrays and Tensors Tensors."""
        return self[as_indices("indices", indices)]


class Subset(Dataset):
    """Some samples of a data set, in an order.

    Parameters
    ----------
    dataset : Dataset
    indices : sequence of int
        Which.

    Raises
    ------
    TypeError
        If the data set has no samples by index, or an index is not an integer.

    Examples
    --------
    >>> part = Subset(TensorDataset(np.arange(10) ** 2), [5, 2])
    >>> len(part), part[0], part.batch([0, 1])
    (2, (np.int64(25),), (array([25,  4]),))
    """

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        check_samples(dataset)
        self.dataset = dataset
        self.indices: list[int] = as_indices("indices", indices).tolist()

    def __len__(self) -> int:
        """Return the number of indices."""
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        """Return the sample at the index-th index."""
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return the samples at some of the indices."""
        return read_samples(self.dataset, [self.indices[index] for index in indices])

    def batch(self, indices: Sequence[int]) -> Any:
        """Return a batch as the whole data set makes it."""
        return read_batch(self.dataset, [self.indices[index] for index in indices])


def random_split(
    dataset: Any, lengths: Sequence[int | float], seed: int | np.random.Generator = 0
) -> list[Subset]:
    """Cut a data set into parts at random, each sample into one.

    Parameters
    ----------
    dataset : Dataset
    lengths : sequence of int, or of float
        How many samples each part has, together all of them; or fractions that sum to 1, where what rounding down
        leaves over goes to the first parts, one each, as in PyTorch.
    seed : int or numpy.random.Generator
        Of the permutation. The same seed gives the same parts.

    Returns
    -------
    list of Subset

    Raises
    ------
    ValueError
        If `lengths` do not add up.

    Examples
    --------
    >>> train, test = random_split(TensorDataset(np.arange(10)), [0.8, 0.2])
    >>> len(train), len(test), sorted(train.indices + test.indices) == list(range(10))
    (8, 2, True)
    """
    check_samples(dataset)
    numbers = checked_list("lengths", lengths, "numbers")
    total = len(dataset)
    if any(isinstance(number, float | np.floating) for number in numbers):
        if any(not 0 <= number <= 1 for number in numbers) or abs(sum(numbers) - 1) > 1e-6:
            raise ValueError(f"expected fractions from 0 to 1 that sum to 1, got {numbers}")
        parts = [int(total * number + 1e-9) for number in numbers]
        for i in range(total - sum(parts)):
            parts[i % len(parts)] += 1
    else:
        parts = [checked_integer("a length", number) for number in numbers]
        if any(part < 0 for part in parts) or sum(parts) != total:
            raise ValueError(
                f"expected lengths of 0 or more that sum to the {total} samples, got {parts}, which sum to {sum(parts)}"
            )
    order = np.random.default_rng(checked_seed(seed)).permutation(total).tolist()
    ends = np.cumsum(parts).tolist()
    return [Subset(dataset, order[end - part : end]) for part, end in zip(parts, ends, strict=True)]


def check_samples(dataset: Any) -> None:
    """Raise TypeError unless a data set has samples by index."""
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise TypeError(f"dataset must have __len__ and __getitem__, got {type(dataset).__name__}")


def checked_seed(seed: Any) -> int:
    """Return a seed as an integer; a generator gives one by a draw."""
    check_is("seed", seed, int, np.integer, np.random.Generator)
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**63))
    return checked_integer("seed", seed, 0, LARGEST_SEED)


def sample_generator() -> np.random.Generator:
    """Return the generator of the sample that is being read, for augmentations that do not depend on workers.

    To be called in a data set's ``__getitem__``. Its seed is (seed, epoch, index) of the :class:`DataLoader` that
    reads, so a sample is changed in another way in every epoch, and in the same way whatever the number of workers,
    the order or the size of batches. In ``__getitems__`` and ``batch`` the seed holds all the indices. Outside a
    loader, the generator is a fresh one that nothing seeds.

    Returns
    -------
    numpy.random.Generator
        A new one at each call, at its start: call once a sample.

    Examples
    --------
    >>> isinstance(sample_generator(), np.random.Generator)
    True
    """
    return np.random.default_rng(_sample_key.get())


@contextmanager
def reading(seed: int, epoch: int) -> Iterator[None]:
    """Say which epoch of which loader is read within."""
    token = _epoch_key.set((seed, epoch))
    try:
        yield
    finally:
        _epoch_key.reset(token)
        _sample_key.set(None)


def read_samples(dataset: Any, indices: Sequence[Any]) -> list[Any]:
    """Return the samples at some indices, by ``__getitems__`` where the data set has it."""
    many = getattr(dataset, "__getitems__", None)
    if many is not None:
        _point_at(indices)
        return list(many(indices))
    samples = []
    for index in indices:
        _point_at((index,))
        samples.append(dataset[index])
    return samples


def read_batch(dataset: Any, indices: Sequence[Any]) -> Any:
    """Return the samples at some indices as one batch."""
    if isinstance(dataset, Dataset):
        _point_at(indices)
        return dataset.batch(indices)
    return default_collate(read_samples(dataset, indices))


def _point_at(indices: Sequence[Any]) -> None:
    key = _epoch_key.get()
    if key is not None:
        _sample_key.set((*key, *map(_number_of, indices)))


def _number_of(index: Any) -> int:
    if isinstance(index, int | np.integer) and index >= 0:
        return int(index)
    return zlib.crc32(repr(index).encode())
