"""Batches of samples of similar length, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ._checks import as_indices, check_flags, checked_integer
from ._dataset import checked_seed


class BucketBatches:
    """Lists of indices whose samples have similar lengths; a `batch_sampler` of :class:`DataLoader`.

    The samples are sorted by length, those of equal length in a drawn order, and cut into batches, which are yielded in
    a drawn order. Each ``for`` loop is one epoch, with a position of its own; its draws depend on the seed and the
    number of the epoch alone.

    Parameters
    ----------
    lengths : sequence of int
        Of every sample.
    batch_size : int, optional
        Samples a batch.
    max_tokens : int, optional
        The most a padded batch may hold, its samples times its longest; instead of `batch_size`.
    shuffle : bool
        Draw. If False, batches go from the shortest samples to the longest, and equal ones by index.
    drop_last : bool
        With `batch_size`: leave out the batch that is not full, the one of the longest samples.
    seed : int or numpy.random.Generator
        Of the draws.

    Yields
    ------
    list of int

    Raises
    ------
    ValueError
        If not exactly one of `batch_size` and `max_tokens` is given, or a sample has more than `max_tokens`.

    Examples
    --------
    >>> list(BucketBatches([5, 1, 9, 2, 8], batch_size=2, shuffle=False))
    [[1, 3], [0, 4], [2]]
    >>> list(BucketBatches([5, 1, 9, 2, 8], max_tokens=10, shuffle=False))
    [[1, 3], [0], [4], [2]]
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int | None = None,
        *,
        max_tokens: int | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int | np.random.Generator = 0,
    ) -> None:
        numbers = as_indices("lengths", lengths)
        if numbers.size and numbers.min() < 0:
            raise ValueError(f"lengths must be 0 or more, got {numbers.min()}")
        check_flags(shuffle=shuffle, drop_last=drop_last)
        if (batch_size is None) == (max_tokens is None):
            raise ValueError("give either batch_size or max_tokens")
        if batch_size is not None:
            batch_size = checked_integer("batch_size", batch_size, 1)
        if max_tokens is not None:
            max_tokens = checked_integer("max_tokens", max_tokens, 1)
            if drop_last:
                raise ValueError(
                    "drop_last goes with batch_size: with max_tokens no batch has a size to fill"
                )
            if numbers.size and numbers.max() > max_tokens:
                raise ValueError(
                    f"sample {numbers.argmax()} has {numbers.max()} tokens, more than max_tokens, {max_tokens}: "
                    "cut or leave out what is longer"
                )
        self.lengths = numbers
        self.batch_size = batch_size
        self.max_tokens = max_tokens
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = checked_seed(seed)
        self._epoch = 0
        self._ends = self._cut(np.sort(self.lengths))

    def __len__(self) -> int:
        """Return the number of batches, the same in every epoch."""
        return len(self._ends)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of the next epoch."""
        generator = np.random.default_rng((self.seed, self._epoch))
        self._epoch += 1
        samples = len(self.lengths)
        order = generator.permutation(samples) if self.shuffle else np.arange(samples)
        order = order[np.argsort(self.lengths[order], kind="stable")]
        starts = [0, *self._ends][:-1]
        batches = generator.permutation(len(self)) if self.shuffle else np.arange(len(self))
        for batch in batches.tolist():
            yield order[starts[batch] : self._ends[batch]].tolist()

    def set_epoch(self, epoch: int) -> None:
        """Make the next loop that of epoch number `epoch`."""
        self._epoch = checked_integer("epoch", epoch, 0)

    def _cut(self, lengths: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> list[int]:
        """Return where the batches end among the samples sorted by length."""
        if self.batch_size is not None:
            ends = list(range(self.batch_size, len(lengths) + 1, self.batch_size))
            if not self.drop_last and len(lengths) % self.batch_size:
                ends.append(len(lengths))
            return ends
        assert self.max_tokens is not None
        ends, start = [], 0
        for index, length in enumerate(lengths.tolist()):
            if (index + 1 - start) * max(length, 1) > self.max_tokens:
                ends.append(index)
                start = index
        return [*ends, len(lengths)] if len(lengths) else []
