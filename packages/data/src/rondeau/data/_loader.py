"""Batches of a data set, in order or shuffled, read here or ahead by worker processes."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from threading import TIMEOUT_MAX
from typing import Any

import numpy as np

from ._checks import LARGEST_SEED, check_flags, check_is, check_iterable, checked_integer, checked_number
from ._dataset import check_samples, checked_seed, read_batch, read_samples, reading
from ._pinned import find_cupy, pinned
from ._workers import Worker, WorkerDiedError, packed, refuse_within_import

Task = tuple[int, int, list[Any]]  # the seed, the epoch, and the indices of a batch
_MOST_WORKERS = 1024  # processes: far above the cores of a machine, far below what brings it down


class DataLoader:
    """Batches of a data set; each ``for`` loop over the loader is one epoch.

    The order of an epoch depends on `seed` and the number of the epoch alone, and so do the samples where they draw
    from :func:`sample_generator`: what is yielded is the same whatever the number of workers. The global generators of
    a worker (``random``, ``numpy.random``) are seeded by `seed` and its number; draws from them do depend on the number
    of workers.

    A loop that is left early ends its epoch, and its workers. Each loop has a position of its own: one within another
    reads the epoch after it, and `state_dict` tells where the loop stands that took a batch last.

    Worker processes are spawned: they import the main script again, which must therefore keep what it does under
    ``if __name__ == "__main__":``, and the data set and functions must be picklable. They pay where reading a sample
    is slow; rows of an array are read faster without.

    Parameters
    ----------
    dataset : Dataset
        Anything with ``__len__`` and ``__getitem__``; see :class:`Dataset` for what more it may have.
    batch_size : int
        Samples a batch.
    shuffle : bool
        Draw a new order for every epoch.
    sampler : iterable of index, optional
        The order of an epoch, instead of `shuffle`. If it has ``set_epoch``, that is called first with the number
        of the epoch, as it is for `batch_sampler`.
    batch_sampler : iterable of list of index, optional
        The batches of an epoch, such as :class:`BucketBatches`; instead of `batch_size`, `shuffle`, `sampler` and
        `drop_last`.
    num_workers : int
        How many processes read. 0, the default: this one.
    collate_fn : callable, optional
        From a list of samples to a batch. Default: the data set's ``batch`` if it is a :class:`Dataset`,
        else :func:`default_collate`.
    drop_last : bool
        Leave out a last batch that is not full. From here on, arguments are given by name.
    pin_memory : bool
        Copy the arrays and tensors of each batch to page-locked memory, from which they are sent to a GPU without
        waiting: ``rt.from_numpy(array).to("cuda", non_blocking=True)``; a `Trainer` does so. Where no GPU is usable,
        batches are what they are without it.
    timeout : float
        Seconds to wait for a batch of a worker; 0 waits for ever.
    worker_init_fn : callable, optional
        Called in every worker with its number.
    seed : int or numpy.random.Generator
        Of orders and samples; a generator gives it by one draw.
    prefetch_factor : int
        How many batches each worker reads ahead.
    persistent_workers : bool
        Keep the workers between epochs.

    Raises
    ------
    TypeError, ValueError
        If arguments are of a wrong type or exclude each other, or (on iterating) what workers need is not picklable.

    Examples
    --------
    >>> from rondeau.data import TensorDataset
    >>> loader = DataLoader(TensorDataset(np.arange(5), np.arange(5) ** 2), batch_size=2)
    >>> for x, y in loader:
    ...     print(x, y)
    [0 1] [0 1]
    [2 3] [4 9]
    [4] [16]
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Sequence[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        *,
        drop_last: bool = False,
        pin_memory: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        seed: int | np.random.Generator = 0,
        prefetch_factor: int = 2,
        persistent_workers: bool = False,
    ) -> None:
        check_samples(dataset)
        batch_size = checked_integer("batch_size", batch_size, 1)
        num_workers = checked_integer("num_workers", num_workers, 0, _MOST_WORKERS)
        prefetch_factor = checked_integer("prefetch_factor", prefetch_factor, 1)
        check_flags(
            shuffle=shuffle,
            drop_last=drop_last,
            pin_memory=pin_memory,
            persistent_workers=persistent_workers,
        )
        timeout = checked_number("timeout", timeout)
        if not 0 <= timeout <= TIMEOUT_MAX:
            raise ValueError(
                f"timeout must be 0 (none) or more seconds, at most {TIMEOUT_MAX:.0f}, got {timeout!r:.80}"
            )
        for name, function in (("collate_fn", collate_fn), ("worker_init_fn", worker_init_fn)):
            if function is not None and not callable(function):
                raise TypeError(f"{name} must be callable, got {type(function).__name__}")
        for name, indices in (("sampler", sampler), ("batch_sampler", batch_sampler)):
            if indices is not None:
                check_iterable(name, indices, "indices")
                if isinstance(indices, Iterator):
                    raise TypeError(
                        f"{name} must be iterable again for every epoch, got {type(indices).__name__}, which one loop "
                        "uses up; give a list"
                    )
        if sampler is not None and shuffle:
            raise ValueError("sampler and shuffle exclude each other: the sampler is the order")
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise ValueError(
                "batch_sampler excludes batch_size, shuffle, sampler and drop_last: it gives whole batches"
            )
        if num_workers == 0 and (timeout or persistent_workers):
            raise ValueError("timeout and persistent_workers need workers: give num_workers")
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = bool(shuffle)
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.num_workers = num_workers
        self.collate_fn = collate_fn
        self.drop_last = bool(drop_last)
        self.pin_memory = bool(pin_memory)
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.seed = checked_seed(seed)
        self.prefetch_factor = prefetch_factor
        self.persistent_workers = persistent_workers
        # An epoch, and how many of its batches were yielded: where the loop stands that took one last, and where the
        # next loop begins.
        self._position = self._next = (0, 0)
        self._idle: list[Worker] = []  # workers kept for the next epoch

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)  # type: ignore[arg-type]  # its own TypeError says it has none
        samples = len(self.dataset if self.sampler is None else self.sampler)  # type: ignore[arg-type]
        return samples // self.batch_size if self.drop_last else -(-samples // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches of the next epoch, or after :meth:`load_state_dict` the rest of that one."""
        return self._epoch(lambda indices: indices)

    def in_parts(self, parts: Callable[[int], Sequence[slice]]) -> Iterator[list[Any]]:
        """Do as a loop over the loader, with some samples of each batch: no others are read.

        Parameters
        ----------
        parts : callable
            ``parts(samples) -> [slice, ...]``: which of a batch's samples to yield, as so many batches.

        Yields
        ------
        list of batches
            One for each slice; None for one without samples.
        """
        return self._epoch(lambda indices: Parts(indices[chosen] for chosen in parts(len(indices))))

    def _epoch(self, choose: Callable[[list[Any]], list[Any]]) -> Iterator[Any]:
        """Yield what is read at the indices that are chosen of each batch's."""
        if self.num_workers:
            refuse_within_import()
        cupy = find_cupy() if self.pin_memory else None
        seed, (epoch, first) = self.seed, self._next
        index_batches = islice(self._index_batches(seed, epoch), first, None)
        tasks = ((seed, epoch, choose(indices)) for indices in index_batches)
        with closing(self._ahead(tasks) if self.num_workers else self._here(tasks)) as batches:
            for count, batch in enumerate(batches, first + 1):
                self._position, self._next = (epoch, count), (epoch + 1, 0)
                yield batch if cupy is None else pinned(batch, cupy)
        self._position = self._next = (epoch + 1, 0)

    def state_dict(self) -> dict[str, int]:
        """Return where the loader stands, JSON-able: the epoch, and how many of its batches were yielded."""
        epoch, batch = self._position
        return {**self._settings(), "seed": self.seed, "epoch": epoch, "batch": batch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand where the loader stood that gave `state`: the next loop yields what would have come next there.

        A `sampler` or `batch_sampler` must give the same order for the same epoch. A state that is refused changes
        nothing.

        Raises
        ------
        ValueError
            If that loader had another number of samples, another batch size, or dropped the last batch otherwise.
        """
        check_is("the state of a loader", state, Mapping)
        expected = {**self._settings(), "seed": None, "epoch": None, "batch": None}
        if state.keys() != expected.keys():
            raise ValueError(f"expected the state of a loader with {sorted(expected)}, got {sorted(state)}")
        for name, value in self._settings().items():
            if state[name] != value:
                raise ValueError(
                    f"cannot resume: {name} is {value!r} here, but was {state[name]!r} in the state"
                )
        try:
            batches = len(self)
        except TypeError:  # of a sampler without a length
            batches = sys.maxsize
        seed = checked_integer("seed in the state", state["seed"], 0, LARGEST_SEED)
        epoch = checked_integer("epoch in the state", state["epoch"], 0)
        batch = checked_integer("batch in the state", state["batch"], 0, batches)
        self.seed = seed
        self._position = self._next = (epoch, batch)

    def _settings(self) -> dict[str, int]:
        return {
            "num_samples": len(self.dataset),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
        }

    def _index_batches(self, seed: int, epoch: int) -> Iterator[list[Any]]:
        chosen: Any = self.sampler if self.batch_sampler is None else self.batch_sampler
        if hasattr(chosen, "set_epoch"):
            chosen.set_epoch(epoch)
        if self.batch_sampler is not None:
            for batch in self.batch_sampler:
                check_iterable("a batch of batch_sampler", batch, "indices")
                yield list(batch)
            return
        if self.sampler is not None:
            order = iter(self.sampler)
        elif self.shuffle:
            order = iter(np.random.default_rng((seed, epoch)).permutation(len(self.dataset)).tolist())
        else:
            order = iter(range(len(self.dataset)))
        while batch := list(islice(order, min(self.batch_size, sys.maxsize))):
            if len(batch) < self.batch_size and self.drop_last:
                return
            yield batch

    def _here(self, tasks: Iterator[Task]) -> Generator[Any, None, None]:
        for task in tasks:
            yield _read(task, dataset=self.dataset, collate_fn=self.collate_fn)

    def _ahead(self, tasks: Iterator[Task]) -> Generator[Any, None, None]:
        """Yield what the workers make of the tasks, in the order of the tasks, which are dealt out in turn."""
        workers, self._idle = [worker for worker in self._idle if worker.is_ours], []
        try:
            if not workers:
                job = packed(
                    dataset=self.dataset,
                    collate_fn=self.collate_fn,
                    worker_init_fn=self.worker_init_fn,
                    read=_read,
                )
                for number in range(self.num_workers):
                    workers.append(Worker(number, job, self.seed))
                if self.persistent_workers:
                    weakref.finalize(self, _stop, workers)
            for worker in workers:
                while worker.outstanding:  # what a loop that was left early had asked for
                    _drop_answer(worker, self.timeout)
            asked = 0
            for task in islice(tasks, min(self.num_workers * self.prefetch_factor, sys.maxsize)):
                workers[asked % len(workers)].ask(task)
                asked += 1
            answered = 0
            while answered < asked:
                worker = workers[answered % len(workers)]
                batch = worker.answer(self.timeout)
                answered += 1
                for task in islice(tasks, 1):
                    workers[asked % len(workers)].ask(task)
                    asked += 1
                yield batch
        except GeneratorExit:
            # The loop was left; persistent workers go on, and what they then send is dropped.
            kept = self.persistent_workers
            raise
        except BaseException:
            kept = False
            raise
        else:
            kept = self.persistent_workers
        finally:
            if kept and not self._idle:  # another loop over the same loader may have left its own
                self._idle = workers
            else:
                _stop(workers)


class Parts(list[Any]):
    """The indices of a batch that is read as several."""


def _read(task: Task, *, dataset: Any, collate_fn: Callable[[list[Any]], Any] | None) -> Any:
    seed, epoch, indices = task
    if isinstance(indices, Parts):
        whole = [(seed, epoch, part) for part in indices]
        return [_read(part, dataset=dataset, collate_fn=collate_fn) if part[2] else None for part in whole]
    with reading(seed, epoch):
        if collate_fn is None:
            return read_batch(dataset, indices)
        return collate_fn(read_samples(dataset, indices))


def _drop_answer(worker: Worker, timeout: float) -> None:
    try:
        worker.answer(timeout)
    except (WorkerDiedError, TimeoutError):
        raise
    except Exception:
        return  # an error of a batch that nobody waits for


def _stop(workers: list[Worker]) -> None:
    for worker in workers:
        worker.stop()
