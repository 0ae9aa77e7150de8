"""What a training step has to do: its arithmetic, and the bytes that it has to move.

Letters: N rows (T * B), I inputs, H hidden units, G gates, S states.
"""

from typing import NamedTuple

from .sizes import Size

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4, "highway": 3, "peephole": 4, "slstm": 4}
STATES = {"RNN": 1, "GRU": 1, "LSTM": 2, "highway": 2, "peephole": 2, "slstm": 4}

FLOAT32 = 4
"""Bytes."""


class Work(NamedTuple):
    """Multiplications and additions, and bytes."""

    flops: int
    bytes: int


def parts_of_step(cell: str, size: Size) -> dict[str, Work]:
    """Count the five parts of a training step.

    The arithmetic is that of the products alone; the nonlinearities come on top, and are not counted. The bytes
    are what has to move even if every array is read or written once in each part that needs it: weights that stay
    in a cache from one time step to the next count once. Caches that are too small make it more, never less.

    Parameters
    ----------
    cell : str
        A key of `GATES`.
    size : Size

    Returns
    -------
    dict of str to Work
        In the order in which they run.

    Examples
    --------
    >>> parts = parts_of_step("RNN", Size(1, 1, 2, 3))
    >>> parts["input projection"]
    Work(flops=12, bytes=44)
    >>> step_flops("RNN", Size(1, 1, 2, 3)) == 6 * 3 * (2 + 3)
    True
    """
    rows, width, H = size.batch * size.steps, size.inputs, size.hidden
    gates, states = rows * GATES[cell] * H, rows * STATES[cell] * H
    inputs, outputs = rows * width, rows * H
    weight_ih, weight_hh = GATES[cell] * H * width, GATES[cell] * H * H
    numbers = {  # multiply-adds; numbers read and written
        "input projection": (gates * width, inputs + weight_ih + gates),
        "recurrence forward": (gates * H, gates + weight_hh + gates + states),
        "recurrence backward": (gates * H, outputs + gates + states + weight_hh + gates),
        "input gradient": (gates * width, gates + weight_ih + inputs),
        "weight gradients": (gates * (width + H), gates + inputs + outputs + weight_ih + weight_hh),
    }
    return {name: Work(2 * adds, FLOAT32 * moved) for name, (adds, moved) in numbers.items()}


def step_flops(cell: str, size: Size) -> int:
    """Multiplications and additions of one training step's six products."""
    return sum(part.flops for part in parts_of_step(cell, size).values())
