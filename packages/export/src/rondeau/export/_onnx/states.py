"""The states of an exported graph: their names, and what a sequence begins with."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

from rondeau.export._description import Layer
from rondeau.export._onnx.graph import GraphBuilder, identifier

__all__ = ["State", "state_entry", "states_of"]

Array = NDArray[Any]


class State(NamedTuple):
    """A state of a recurrent layer: the graph's input and output, and what a sequence begins with, by direction."""

    name: str
    layer: Layer
    initial: list[Array]

    @property
    def next(self) -> str:
        """The name of the state after the step or the sequence."""
        return f"next_{self.name}"


def states_of(builder: GraphBuilder, layer: Layer, index: int) -> list[State]:
    """Return the states of a layer, with their names taken."""
    found = []
    for k, state in enumerate(layer.cell.states):
        name = builder.reserve(f"{identifier(state) if state.isascii() else f'state{k}'}_{index}")
        builder.reserve(f"next_{name}")
        both = [layer.initial[k]] + ([] if layer.reverse is None else [layer.reverse.initial[k]])
        found.append(State(name, layer, both))
    return found


def state_entry(state: State) -> dict[str, Any]:
    """Return what the metadata of the file says of a state."""
    is_learned = any(array.any() for array in state.initial)
    initial = [[float(number) for number in array] for array in state.initial] if is_learned else None
    return {"input": state.name, "output": state.next, "layer": state.layer.name, "initial": initial}
