"""What the values of a graph are, as far as reading it needs to know."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

__all__ = [
    "Affine",
    "Axis",
    "Chain",
    "Constant",
    "Data",
    "Direction",
    "Filled",
    "Function",
    "Layer",
    "Lookup",
    "Normalisation",
    "Size",
    "Sizes",
    "States",
    "Unknown",
]

Array = NDArray[Any]


class Lookup(NamedTuple):
    """A table (V, E)."""

    table: Array


class Affine(NamedTuple):
    """A weight (O, I), and a bias (O,) or None."""

    weight: Array
    bias: Array | None


class Normalisation(NamedTuple):
    """Layer normalisation over the last dimension."""

    weight: Array
    bias: Array | None
    eps: float


class Function(NamedTuple):
    """An activation: its name, and its parameters."""

    name: str
    parameters: tuple[float, ...] = ()


class Direction(NamedTuple):
    """W, R and B of one direction, with the gates in the operator's order; and peepholes."""

    weight: Array
    recurrent: Array
    bias: Array | None
    peepholes: Array | None


class Layer(NamedTuple):
    """A recurrent layer.

    Attributes
    ----------
    cell : str
        Its name in `nn.cells`.
    forward, backward : Direction or None
        What runs forwards, backwards, or both.
    has_lengths : bool
        Whether an input says how long sequences are.
    """

    cell: str
    forward: Direction | None
    backward: Direction | None
    has_lengths: bool = False

    @property
    def any(self) -> Direction:
        """A direction that there is."""
        found = self.forward or self.backward
        assert found is not None
        return found

    @property
    def hidden(self) -> int:
        """The hidden units of one direction."""
        return int(self.any.recurrent.shape[1])

    @property
    def directions_fit(self) -> bool:
        """Whether the weights of both directions have the same shapes."""
        directions = [one for one in (self.forward, self.backward) if one is not None]
        return len({tuple(None if a is None else a.shape for a in one) for one in directions}) == 1

    @property
    def directions(self) -> int:
        """How many directions there are."""
        return (self.forward is not None) + (self.backward is not None)


Block = Lookup | Affine | Normalisation | Function | Layer


class Chain:
    """Blocks that a value went through, the last one first; values share what they have in common.

    Attributes
    ----------
    runs_forwards : bool
        Whether no layer runs backwards, or has lengths.
    """

    def __init__(self, before: Chain | None, block: Block) -> None:
        self.before, self.block = before, block
        is_other = isinstance(block, Layer) and (block.backward is not None or block.has_lengths)
        self.runs_forwards: bool = not is_other and (before is None or before.runs_forwards)

    def blocks(self) -> list[Block]:
        """Return the blocks from the first to the last."""
        found: list[Block] = []
        here: Chain | None = self
        while here is not None:
            found.append(here.block)
            here = here.before
        return found[::-1]


Axis = str | tuple[str, ...]
"""A dimension: one of the model's input (``"x.0"``), ``"features"``, ``"direction"``; or several in one."""

Size = int | str | None
"""A number, the size of an axis, or unknown."""


class Constant(NamedTuple):
    """An array that is known."""

    array: Array


class Sizes(NamedTuple):
    """Whole numbers that depend on the shape of the input; a scalar is one without a dimension."""

    numbers: tuple[Size, ...]
    is_scalar: bool = False


class Filled(NamedTuple):
    """An array of any shape with the same number everywhere."""

    number: Size | float


class Data(NamedTuple):
    """What the model computes from an input.

    Attributes
    ----------
    source : str
        The input.
    axes : tuple of Axis
    width : int or None
        How many features, if there is an axis of them.
    chain : Chain or None
        The blocks that it went through; None for the input itself.
    one_hot : bool
        Whether it is ids as one-hot rows.
    time : str or None
        The axis of time, which the first recurrent layer tells.
    half : int or None
        The direction of the last layer that this is the output of, where it is one of two.
    is_last : bool
        Whether it is of the last step alone.
    """

    source: str
    axes: tuple[Axis, ...]
    width: int | None
    chain: Chain | None = None
    one_hot: bool = False
    time: str | None = None
    half: int | None = None
    is_last: bool = False


class States(NamedTuple):
    """The last states of layers: of ``h`` each as the output of the last step; of the memory cells, empty."""

    outputs: tuple[Data, ...]


class Unknown(NamedTuple):
    """A value that is not read, and why; it is an error only where the output depends on it."""

    reason: str
    of_states: bool = False


Value = Constant | Sizes | Filled | Data | States | Unknown
