"""The range of every number that a command takes: one table, read before anything else is done.

An upper bound keeps a slip of the keyboard, as ten zeros too many, from filling the memory or running for ever.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rondeau.train._usage_error import UsageError


class _Range(NamedTuple):
    expected: str
    holds: Callable[[float], bool]


def _whole(least: int, most: int) -> _Range:
    return _Range(f"a whole number from {least} to {most:,}", lambda value: least <= value <= most)


_SIZE = _whole(1, 1_000_000)
_COUNT = _whole(1, 10**12)
_PROBABILITY = _Range("a probability from 0 to 1", lambda value: 0 <= value <= 1)
_NOT_NEGATIVE = _Range("a finite number >= 0", lambda value: 0 <= value < math.inf)
_POSITIVE = _Range("a number > 0", lambda value: value > 0)
_FINITE = _Range("a finite number", math.isfinite)

RANGES: Mapping[str, _Range] = {
    "hidden_size": _SIZE,
    "embedding_size": _SIZE,
    "num_layers": _whole(1, 1_000),
    "batch_size": _SIZE,
    "num_steps": _SIZE,
    "windows": _SIZE,
    "bpe_size": _SIZE,
    "min_freq": _whole(0, 10**12),
    "ngrams": _whole(1, 1_000),
    "top": _COUNT,
    "top_k": _COUNT,
    "length": _whole(0, 10**12),
    "trials": _COUNT,
    "seeds": _whole(1, 2**31),
    "processes": _whole(1, 1_024),
    "workers": _whole(1, 1_024),
    "epochs": _COUNT,
    "max_steps": _COUNT,
    "warmup_steps": _whole(0, 10**12),
    "patience": _COUNT,
    "log_every": _COUNT,
    "evaluate_every": _COUNT,
    "checkpoint_every": _COUNT,
    "keep": _COUNT,
    "seed": _whole(0, 2**64 - 1),
    "threads": _whole(1, 1_024),
    "shards": _whole(1, 1_000_000),
    "averaged": _Range("a decay from 0 to below 1", lambda value: 0 <= value < 1),
    "held_out": _Range("a fraction from 0 to below 1", lambda value: 0 <= value < 1),
    "dropout": _PROBABILITY,
    "zoneout": _PROBABILITY,
    "recurrent_dropout": _PROBABILITY,
    "weight_dropout": _PROBABILITY,
    "top_p": _Range("a probability above 0, to 1", lambda value: 0 < value <= 1),
    "final_lr": _Range("a fraction of --lr from 0 to 1", lambda value: 0 <= value <= 1),
    "forget_bias": _FINITE,
    "lr": _NOT_NEGATIVE,
    "momentum": _NOT_NEGATIVE,
    "weight_decay": _NOT_NEGATIVE,
    "temperature": _NOT_NEGATIVE,
    "clip_norm": _POSITIVE,
    "max_minutes": _Range("a finite number > 0", lambda value: 0 < value < math.inf),
}


def check_ranges(options: Mapping[str, Any]) -> None:
    """Refuse a number out of its range; an option that is not set, or no number, passes.

    Raises
    ------
    UsageError
        With the name of the option.

    Examples
    --------
    >>> check_ranges({"num_layers": 2, "patience": None})
    >>> check_ranges({"num_layers": 0})
    Traceback (most recent call last):
    ...
    rondeau.train._usage_error.UsageError: --num_layers: expected a whole number from 1 to 1,000, got 0
    """
    for name, value in options.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and name in RANGES and not RANGES[name].holds(value):
            raise UsageError(f"--{name}: expected {RANGES[name].expected}, got {value!s:.80}")
