"""Shuffles, votes and matches: what each lane of a mask receives of what all of them give.

None of them orders memory; only ``syncwarp`` does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .faults import WarpError
from .meetings import LANES, Collective

Lanes = dict[int, Any]


def _shuffle(name: str, source: Callable[[int, int], int], clamps: bool) -> Collective:
    """Return a shuffle in which a lane takes the value of ``source(lane, its argument)``; its own if past the edge."""

    def compute(given: Lanes) -> Lanes:
        received = {}
        for lane, (value, argument) in given.items():
            origin = source(lane, int(argument))
            if not 0 <= origin < LANES and clamps:
                received[lane] = value
            elif origin in given:
                received[lane] = given[origin][0]
            else:
                raise WarpError(f"{name}: lane {lane} takes the value of lane {origin}, which gives none")
        return received

    return Collective(name, compute)


SHUFFLE = _shuffle("shfl_sync", lambda lane, source: source % LANES, clamps=False)
SHUFFLE_UP = _shuffle("shfl_up_sync", lambda lane, delta: lane - delta, clamps=True)
SHUFFLE_DOWN = _shuffle("shfl_down_sync", lambda lane, delta: lane + delta, clamps=True)
SHUFFLE_XOR = _shuffle("shfl_xor_sync", lambda lane, mask: lane ^ mask, clamps=True)


def _vote(name: str, decide: Callable[[Lanes], Any]) -> Collective:
    return Collective(name, lambda given: dict.fromkeys(given, decide(given)))


def _mask_of(given: Lanes, value: Any) -> int:
    return sum(1 << lane for lane, other in given.items() if other == value)


def _match_all(given: Lanes) -> tuple[int, bool]:
    same = len(set(given.values())) == 1
    return (sum(1 << lane for lane in given) if same else 0), same


ALL = _vote("all_sync", lambda given: all(given.values()))
ANY = _vote("any_sync", lambda given: any(given.values()))
EQ = _vote("eq_sync", lambda given: len({bool(value) for value in given.values()}) == 1)
BALLOT = _vote("ballot_sync", lambda given: sum(1 << lane for lane, value in given.items() if value))
MATCH_ALL = _vote("match_all_sync", _match_all)
MATCH_ANY = Collective(
    "match_any_sync", lambda given: {lane: _mask_of(given, value) for lane, value in given.items()}
)
SYNC = Collective("syncwarp", lambda given: {}, orders=True)
