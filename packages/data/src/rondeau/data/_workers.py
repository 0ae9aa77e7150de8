"""Processes that read batches ahead: they are spawned, and each has a pipe of its own.

A pipe of its own means that no lock is shared, which a killed worker could hold for ever. A thread of the parent reads
each pipe, so that neither side can wait for the other to read first; it ends with its worker.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import random
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from threading import Thread
from typing import Any

import numpy as np

UNGUARDED = 87  # exit code of a worker whose import of the main script starts workers
_PATIENCE = 5.0  # seconds for a worker to end before it is killed


class WorkerDiedError(RuntimeError):
    """A worker ended without being asked to."""


class _Message(str):
    """A message that KeyError, which shows the repr of what it holds, shows as it is."""

    def __repr__(self) -> str:
        return str(self)


def packed(**parts: Any) -> bytes:
    """Pickle what a worker needs.

    Raises
    ------
    TypeError
        If a part cannot be pickled; the message names it.
    """
    try:
        return bytes(ForkingPickler.dumps(parts))
    except Exception:
        for name, part in parts.items():
            try:
                ForkingPickler.dumps(part)
            except Exception as error:
                raise TypeError(
                    f"{name} cannot be sent to worker processes: {error}. Define its class and functions at the top "
                    "level of a module (no lambda, no class within a function) and keep open files out of it, or use "
                    "num_workers=0"
                ) from None
        raise


class Worker:
    """A process that answers tasks in order.

    Parameters
    ----------
    number : int
        Of the worker, from 0.
    job : bytes
        What :func:`packed` gave: `worker_init_fn`, a function of the number or None, `read`, a function that takes
        the other parts by name and a task by position.
    seed : int
        For the process's global generators, together with the number.
    """

    def __init__(self, number: int, job: bytes, seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.number = number
        self.outstanding = 0
        self._parent = os.getpid()
        self._connection, theirs = context.Pipe()
        self._answers: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self.process = context.Process(
            target=_serve, args=(theirs, number, job, seed), name=f"rondeau-data-worker-{number}", daemon=True
        )
        with _interrupts_kept_from_children():
            self.process.start()
        theirs.close()
        Thread(target=_receive, args=(self._connection, self.process, self._answers), daemon=True).start()

    @property
    def is_ours(self) -> bool:
        """Whether this process started it, not one that this process was forked from."""
        return self._parent == os.getpid()

    def ask(self, task: Any) -> None:
        """Send a task.

        Raises
        ------
        RuntimeError
            If another process started the worker.
        """
        self._refuse_in_another_process()
        self.outstanding += 1
        with suppress(OSError):  # it died: its next answer says so
            self._connection.send(task)

    def answer(self, timeout: float) -> Any:
        """Return the next answer; `timeout` of 0 waits for ever.

        Raises
        ------
        WorkerDiedError
            If the worker ended instead.
        TimeoutError
            If there was none in time.
        RuntimeError
            If another process started the worker.
        Exception
            What the task raised, with the worker's traceback in its message.
        """
        self._refuse_in_another_process()
        try:
            kind, *content = self._answers.get(timeout=timeout or None)
        except queue.Empty:
            raise TimeoutError(
                f"worker {self.number} (pid {self.process.pid}) gave no batch within {timeout:g} s"
            ) from None
        self.outstanding -= 1
        if kind == "batch":
            return content[0]
        if kind == "error":
            raise self._rebuilt(*content)
        self.process.join()
        raise WorkerDiedError(self._obituary())

    def stop(self) -> None:
        """End the process and wait for its end; one that is busy is not waited for, nor another process's touched."""
        if not self.is_ours:
            return
        if self.outstanding:
            self.process.terminate()
        else:
            with suppress(OSError):
                self._connection.send(None)
        self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _refuse_in_another_process(self) -> None:
        if not self.is_ours:
            raise RuntimeError(
                f"the loop over this loader was begun in process {self._parent}, and worker {self.number} answers that "
                f"process alone; this one, {os.getpid()}, was forked from it: begin a loop of its own here"
            )

    def _rebuilt(self, kind: type[Exception] | None, name: str, text: str) -> Exception:
        message = _Message(f"{name} in worker {self.number} (pid {self.process.pid}):\n\n{text}")
        if kind is not None and not issubclass(kind, StopIteration):  # which would end the loop
            with suppress(Exception):
                error = kind(message)
                if isinstance(error, kind):
                    return error
        return RuntimeError(message)

    def _obituary(self) -> str:
        code = self.process.exitcode
        if code == UNGUARDED:
            return (
                "the main script starts workers when it is imported, as every worker has to import it: put what the "
                "script does under `if __name__ == '__main__':`, or use num_workers=0"
            )
        how, hint = f"exit code {code}", ""
        if code is not None and code < 0:
            with suppress(ValueError):
                how += f", {signal.Signals(-code).name}"
        if code == -getattr(signal, "SIGKILL", 9):
            hint = "SIGKILL mostly means that memory ran out: take fewer workers or smaller batches. "
        return (
            f"worker {self.number} (pid {self.process.pid}) died unexpectedly ({how}); {hint}"
            "What it printed stands above"
        )


def refuse_within_import() -> None:
    """End this process where it is a worker that still imports the main script, which would start workers in turn.

    Raises
    ------
    RuntimeError
        In a worker that does its work: it may not start processes.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(UNGUARDED)
    if multiprocessing.current_process().daemon:
        raise RuntimeError(
            "a worker process, which ends with its parent, cannot start workers of its own: use num_workers=0 for the "
            "loader within the data set, or for the one around it"
        )


@contextmanager
def _interrupts_kept_from_children() -> Iterator[None]:
    """Block SIGINT while a process starts, which inherits that: Ctrl-C is for the parent, which ends its workers."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _receive(connection: Connection, process: Any, answers: queue.SimpleQueue[tuple[Any, ...]]) -> None:
    """Hand on what a worker sends, and at last that it ended."""
    try:
        while True:
            ready = wait([connection, process.sentinel])
            if connection not in ready and not connection.poll():
                break
            answers.put(pickle.loads(connection.recv_bytes()))
    except (EOFError, OSError):
        pass
    except Exception as error:  # what a worker could pickle need not unpickle here
        answers.put(("error", TypeError, "TypeError", f"a batch cannot be read back: {error!r}"))
    finally:
        answers.put(("died",))
        connection.close()


def _serve(connection: Connection, number: int, job: bytes, seed: int) -> None:
    """Answer tasks until there are no more; the body of a worker."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    own = np.random.SeedSequence((seed, number)).generate_state(2)
    random.seed(int(own[0]))
    np.random.seed(int(own[1]))  # noqa: NPY002  for data sets that use it all the same
    failure: tuple[Any, ...] | None = None
    read: Callable[[Any], Any] = lambda task: None  # noqa: E731
    try:
        parts = pickle.loads(job)
        begin, read = parts.pop("worker_init_fn"), parts.pop("read")
        read = partial(read, **parts)
        if begin is not None:
            begin(number)
    except Exception as error:
        failure = _failure(error)
    try:
        while True:
            task = connection.recv()
            if task is None:
                return
            if failure is not None:
                answer = failure
            else:
                try:
                    answer = ("batch", read(task))
                except Exception as error:
                    answer = _failure(error)
            try:
                content = ForkingPickler.dumps(answer)
            except Exception as error:
                content = ForkingPickler.dumps(_failure(error))
            connection.send_bytes(content)
    except (EOFError, OSError):
        sys.exit(0)  # the parent is gone


def _failure(error: Exception) -> tuple[Any, ...]:
    text = "".join(traceback.format_exception(error))
    kind: type[Exception] | None = type(error)
    try:
        pickle.loads(pickle.dumps(kind))
    except Exception:
        kind = None
    return "error", kind, type(error).__name__, text
