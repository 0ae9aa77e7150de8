"""Several loops over the same batches or loader at once, states taken and loaded between their steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from rondeau.data import DataLoader, RandomBatches, SequentialBatches, TensorDataset, TokenStream

from ..drawing import NONSENSE, Draw
from ..verdict import Finding, attempt, check_equal

WRONG: tuple[Any, ...] = (2**200, 10**5000, -(2**63), -1, 2.5, *NONSENSE)
"""What is no count, no epoch and, of 128 bits at most, no seed."""


def _maker(draw: Draw) -> Callable[[], Any]:
    """Draw what is looped over; each call makes it again."""
    kind = draw.note("kind", draw.choose((SequentialBatches, RandomBatches, DataLoader)))
    batch_size, second = draw.random.randint(1, 4), draw.random.randint(1, 6)
    numbers: dict[str, Any] = {"batch_size": batch_size, "seed": draw.random.randrange(100)}
    if kind is DataLoader:
        numbers |= {"shuffle": draw.chance(0.5), "drop_last": draw.chance(0.5)}
        source: Any = TensorDataset(np.arange(draw.random.randint(batch_size, 30)))
    else:
        numbers |= {"num_steps": second, "offset": draw.choose((None, 0, second - 1))}
        length = batch_size * second + second + draw.random.randint(0, 60)
        source = TokenStream(np.arange(length), length)
    if draw.spoil("a number beyond its range", 0.1):
        name = draw.choose([name for name in numbers if name in ("batch_size", "num_steps", "seed")])
        numbers[name] = draw.choose(WRONG)
    draw.note("arguments", numbers)
    return lambda: kind(source, **numbers)


def loops(draw: Draw) -> None:
    """Step loops in any order: each yields its own epoch, and the state is that of the one that stepped last."""
    make = _maker(draw)
    batches = attempt(draw, make)
    epochs: dict[int, list[Any]] = {}

    def epoch(number: int) -> list[Any]:
        if number not in epochs:
            fresh = make()
            fresh.load_state_dict({**fresh.state_dict(), "epoch": number, "batch": 0})
            epochs[number] = [np.stack(batch) for batch in fresh]
        return epochs[number]

    begun: list[
        tuple[Iterator[Any], int, int]
    ] = []  # each with its epoch, and the batches that it has yielded
    position = following = (0, 0)
    for _ in range(draw.random.randint(1, 25)):
        event = draw.choose(("begin", "begin", "step", "step", "step", "step", "drop", "load"))
        if event == "load":
            number = draw.random.randrange(5)
            at = draw.random.randint(0, len(batches))
            state = {**batches.state_dict(), "epoch": number, "batch": at}
            if draw.spoil("a state beyond its range"):
                state[draw.choose(("epoch", "batch", "seed"))] = draw.choose(WRONG)
                before = batches.state_dict()
                try:
                    attempt(draw, partial(batches.load_state_dict, state))
                finally:
                    if batches.state_dict() != before:
                        raise Finding("changed its input", "a refused state was loaded", "a refused state")
            batches.load_state_dict(state)
            position = following = (number, at)
        elif event == "begin":
            begun.append((iter(batches), *following))
            step = len(begun) - 1
        elif begun:
            step = draw.random.randrange(len(begun))
        if event == "drop" and begun:
            del begun[step]
        if event in ("begin", "step") and begun:
            loop, number, at = begun.pop(step)
            batch = attempt(draw, partial(next, loop, None), last=False)
            wanted = epoch(number)[at] if at < len(epoch(number)) else None
            if (batch is None) != (wanted is None):
                raise Finding(
                    "wrong result", f"batch {at} of epoch {number} is {batch!r}", "length of an epoch"
                )
            if batch is None:
                position = following = (number + 1, 0)
            else:
                check_equal("a batch", np.stack(batch), wanted)
                begun.append((loop, number, at + 1))
                position, following = (number, at + 1), (number + 1, 0)
        found = batches.state_dict()
        if (found["epoch"], found["batch"]) != position:
            raise Finding(
                "wrong result", f"the state should be at {position}, is {found}", "state of a sampler"
            )
