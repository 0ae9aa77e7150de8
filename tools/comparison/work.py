"""What a training step has to do: its arithmetic, and the bytes that it has to move.

Letters: N rows (T * B), I inputs, H hidden units, G gates, R of them with a recurrent matrix, S states.
"""

from typing import NamedTuple

from .sizes import Size


class Counts(NamedTuple):
    """How many of each a cell has."""

    gates: int
    recurrent_gates: int
    states: int


COUNTS = {
    "RNN": Counts(1, 1, 1),
    "MGU": Counts(2, 2, 1),
    "GRU": Counts(3, 3, 1),
    "LSTM": Counts(4, 4, 2),
    "highway": Counts(3, 3, 2),
    "peephole": Counts(4, 4, 2),
    "slstm": Counts(4, 4, 4),
    "ctrnn": Counts(1, 1, 1),
    "ea_lstm": Counts(3, 3, 2),
    "gru_d": Counts(3, 3, 1),
    "cfc": Counts(4, 4, 1),
    "rg_lru": Counts(3, 0, 1),
    "min_gru": Counts(2, 0, 1),
    "hgrn": Counts(3, 0, 2),
}

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
        A key of `COUNTS`.
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
    gates, recurrent, states = (rows * count * H for count in COUNTS[cell])
    inputs, outputs = rows * width, rows * H
    weight_ih, weight_hh = COUNTS[cell].gates * H * width, COUNTS[cell].recurrent_gates * H * H
    numbers = {  # multiply-adds; numbers read and written
        "input projection": (gates * width, inputs + weight_ih + gates),
        "recurrence forward": (recurrent * H, gates + weight_hh + gates + states),
        "recurrence backward": (recurrent * H, outputs + gates + states + weight_hh + gates),
        "input gradient": (gates * width, gates + weight_ih + inputs),
        "weight gradients": (
            gates * width + recurrent * H,
            gates + inputs + (outputs if recurrent else 0) + weight_ih + weight_hh,
        ),
    }
    return {name: Work(2 * adds, FLOAT32 * moved) for name, (adds, moved) in numbers.items()}


def step_flops(cell: str, size: Size) -> int:
    """Multiplications and additions of one training step's six products."""
    return sum(part.flops for part in parts_of_step(cell, size).values())
