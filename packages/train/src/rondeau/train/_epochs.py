"""Where a training stands in its batches, of whatever kind they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rondeau.kernels.runtime.caller import warn_caller
from rondeau.train._checks import check_integer, check_is
from rondeau.train._errors import RunWarning
from rondeau.train._tasks.task import check_batches


class Epochs:
    """Reads batches epoch by epoch.

    Where the batches have `state_dict` and `load_state_dict`, as those of `rondeau.data`, a training goes on with the
    batch that would have come next; elsewhere, at the beginning of the epoch. What others read from the batches
    meanwhile, a callback say, changes nothing here.

    Parameters
    ----------
    batches : iterable
        One iteration is an epoch. The first is the one at which they stand now.

    Attributes
    ----------
    taken : int
        Batches of the present epoch that were trained on.
    is_at_end : bool
        Whether those are all of it.

    Examples
    --------
    >>> epochs = Epochs(["a", "b"])
    >>> [(batch, is_last) for batch, is_last in epochs.read()]
    [('a', False), ('b', True)]
    """

    def __init__(self, batches: Any) -> None:
        check_batches("batches", batches)
        self.batches = batches
        self.taken = 0
        self.is_at_end = False
        self._reached: tuple[int, bool, Any] = (0, False, None)
        self._has_state = hasattr(batches, "state_dict") and hasattr(batches, "load_state_dict")
        self._state = self._now()
        if self._state is not None and "batch" in self._state:
            self._state["batch"] = 0

    def __len__(self) -> int:
        """Return the number of batches of an epoch.

        Raises
        ------
        TypeError
            If that is not known.
        """
        return len(self.batches)

    @property
    def length(self) -> int | None:
        """The number of batches of an epoch, None where it is not known."""
        try:
            return len(self.batches)
        except TypeError:
            return None

    def begin(self) -> bool:
        """Stand before the batch that is read next; return whether it is the first one of an epoch.

        Raises
        ------
        ValueError
            If batches that were at the end of an epoch are not any more.
        """
        if self.is_at_end:  # a training that goes on from the last batch of an epoch
            self._pass_end()
        self._begin_again_without_state()
        return self.taken == 0

    def read(self) -> Iterator[tuple[Any, bool]]:
        """Yield what is left of the present epoch: each batch, and whether it is the last one.

        Raises
        ------
        ValueError
            If an epoch has no batches, or others than its length says.
        """
        self.begin()
        if self._has_state:
            self.batches.load_state_dict(self._state)
        length, iterator = self.length, iter(self.batches)
        found = self._take(iterator)
        if found is None:
            raise ValueError("batches: expected at least one in an epoch, got none")
        taken = self.taken
        while found is not None:
            batch, state = found
            taken += 1
            # Of batches without a length, what is next tells whether this is the last.
            ahead = self._take(iterator) if length is None else None
            is_last = ahead is None if length is None else taken == length
            end = self._now() if length is None else None
            self._reached = taken, is_last, state
            yield batch, is_last
            found = self._take(iterator) if length is not None else ahead
            if is_last:
                if found is not None:
                    raise ValueError(
                        f"batches: expected {length} in an epoch, as their length says, got more"
                    )
                self._state, self.taken, self.is_at_end = end or self._now(), 0, False
                return
        raise ValueError(f"batches: expected {length} in an epoch, as their length says, got {taken}")

    def advance(self) -> None:
        """Stand behind the batch that was read last; before, a training that fails reads it again."""
        self.taken, self.is_at_end, self._state = self._reached

    def _pass_end(self) -> None:
        """Go on to the next epoch."""
        if self._has_state:
            self.batches.load_state_dict(self._state)
            for _ in self.batches:
                raise ValueError(
                    "batches: expected the end of an epoch where their state was saved, got more"
                )
            self._state = self._now()
        self.taken, self.is_at_end = 0, False

    def _now(self) -> dict[str, Any] | None:
        return dict(self.batches.state_dict()) if self._has_state else None

    def _take(self, iterator: Iterator[Any]) -> tuple[Any, Any] | None:
        """Return the next batch, and where the batches stand after it."""
        for batch in iterator:
            return batch, self._now()
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return where the training stands; what JSON can hold, if the state of the batches is."""
        return {"taken": self.taken, "is_at_end": self.is_at_end, "batches": self._state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Stand where the training stood; where the batches have no state, at the beginning of that epoch.

        Raises
        ------
        TypeError, ValueError
            If it is the state of something else. Nothing has changed then.
        """
        check_is("the state of the batches", state, dict)
        if state.keys() != {"taken", "is_at_end", "batches"}:
            raise ValueError(f"expected the state of batches, got one with {sorted(state)}")
        check_integer("taken", state["taken"], 0)
        check_is("is_at_end", state["is_at_end"], bool)
        had_state = state["batches"] is not None
        if had_state != self._has_state:
            raise ValueError(
                f"the batches had {'a' if had_state else 'no'} state_dict when it was saved, and have "
                f"{'one' if self._has_state else 'none'} now"
            )
        if self._has_state:
            self.batches.load_state_dict(state["batches"])
            self._state = dict(state["batches"])
        self.taken, self.is_at_end = state["taken"], state["is_at_end"]
        self._begin_again_without_state()

    def _begin_again_without_state(self) -> None:
        """Go back to the beginning of an epoch that was left, where the batches cannot go on in it; say so."""
        if not self._has_state and self.taken and not self.is_at_end:
            self.taken = 0
            warn_caller(
                f"{type(self.batches).__name__} has no state_dict: the training goes on at the beginning of the epoch, "
                "with batches that it has seen; a DataLoader goes on where it was",
                RunWarning,
            )
