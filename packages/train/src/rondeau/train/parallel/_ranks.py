"""What a training asks of the processes that it is spread over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, final

from numpy.typing import NDArray

_Result = TypeVar("_Result")

Arrays = Mapping[int, Sequence[NDArray[Any]]]
"""Contiguous arrays to send to, or to receive from, each of some ranks."""


class RankLostError(RuntimeError):
    """Another rank has ended, and what was asked of it will not come.

    Examples
    --------
    >>> raise RankLostError("rank 1 has ended")
    Traceback (most recent call last):
    ...
    rondeau.train.parallel._ranks.RankLostError: rank 1 has ended
    """


class Ranks(ABC):
    """The processes of a training, numbered from 0; the same program runs in each of them.

    All methods but `run` are collective: every rank calls them, in the same order. Values that they tell each other are
    what `rondeau.tensor.save` can write; a named tuple arrives as a tuple.

    Attributes
    ----------
    rank, size : int
        The number of this process, and how many there are.

    Examples
    --------
    >>> ranks = OneProcess()
    >>> ranks.rank, ranks.size, ranks.is_main
    (0, 1, True)
    """

    rank: int
    size: int

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes and tells."""
        return self.rank == 0

    @abstractmethod
    def all_gather(self, value: _Result) -> list[_Result]:
        """Return the values of all ranks, in their order."""

    @abstractmethod
    def from_main(self, function: Callable[[], _Result]) -> _Result:
        """Call a function on rank 0, and return what it returned there.

        Raises
        ------
        Exception
            On rank 0, that of the function; on the others, one that is not told again.
        """

    @abstractmethod
    def exchange(self, outgoing: Arrays, incoming: Arrays) -> None:
        """Send arrays to other ranks, and fill arrays with what they send here."""

    @abstractmethod
    def run(self, function: Callable[[], _Result]) -> _Result:
        """Call a function that trains; where ranks die in it and the others can go on, call it again with those.

        Raises
        ------
        RankLostError
            If a rank died and the others cannot go on without it.
        """


@final
class OneProcess(Ranks):
    """A training that is not spread.

    Examples
    --------
    >>> OneProcess().all_gather("only")
    ['only']
    """

    rank, size = 0, 1

    def all_gather(self, value: _Result) -> list[_Result]:
        """Return the one value."""
        return [value]

    def from_main(self, function: Callable[[], _Result]) -> _Result:
        """Call the function."""
        return function()

    def exchange(self, outgoing: Arrays, incoming: Arrays) -> None:
        """Do nothing: there is nobody to exchange with."""

    def run(self, function: Callable[[], _Result]) -> _Result:
        """Call the function once."""
        return function()
