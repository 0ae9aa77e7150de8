"""Inference mode: nothing is recorded, and tensors that are created never become part of a graph."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rondeau.tensor._graph import INFERENCE
from rondeau.tensor._modes import Recording, modes


class inference_mode(Recording):  # noqa: N801 - torch's name
    """Disable recording for good: tensors made inside cannot be saved for a later backward, or changed outside.

    Using them that way is an error, so that a result meant to be final is not trained on by mistake; a `clone()` made
    outside is an ordinary tensor. Otherwise this is like `no_grad`. Works as a context manager and as a decorator. The
    mode is per thread.

    Parameters
    ----------
    mode : bool
        False enables recording again inside a block.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> w = rt.ones(2, requires_grad=True)
    >>> with rt.inference_mode():
    ...     y = w * 2
    >>> y.requires_grad, y.is_inference()
    (False, True)
    >>> w * y
    Traceback (most recent call last):
    ...
    RuntimeError: a tensor made in inference_mode cannot be saved for backward: clone() it outside first
    """

    def __init__(self, mode: bool = True) -> None:
        self._mode = mode
        self._inside: list[object] = []  # a mark in INFERENCE for each block that was entered

    def _again(self) -> Self:
        return type(self)(self._mode)

    def __enter__(self) -> Self:
        self._inside.append(object())
        INFERENCE[id(self._inside[-1])] = None
        modes.outer.append((modes.recording, modes.inference))
        modes.inference, modes.recording = self._mode, not self._mode
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        INFERENCE.pop(id(self._inside[-1]))
        self._inside.pop()
        super().__exit__(kind, error, trace)


def is_inference_mode_enabled() -> bool:
    """Return whether this thread is in `inference_mode`.

    Examples
    --------
    >>> from rondeau import tensor as rt
    >>> with rt.inference_mode():
    ...     rt.is_inference_mode_enabled()
    True
    """
    return modes.inference
