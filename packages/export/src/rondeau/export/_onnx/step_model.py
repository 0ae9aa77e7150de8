"""A model as the graph of one step."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.export._description import Description, Layer
from rondeau.export._errors import ExportError
from rondeau.export._evaluation import make_example
from rondeau.export._onnx.blocks import add_block
from rondeau.export._onnx.graph import GraphBuilder, Value
from rondeau.export._onnx.states import states_of
from rondeau.export._onnx.step import StepGraph

__all__ = ["StepModel"]

Array = NDArray[Any]


class StepModel:
    """The graph of one step.

    Parameters
    ----------
    description : Description
    numbers : frozenset of str
        The named inputs with one number for all units.

    Attributes
    ----------
    builder : GraphBuilder
    states : list of State

    Raises
    ------
    ExportError
        If a layer runs backwards.
    """

    def __init__(self, description: Description, numbers: frozenset[str]) -> None:
        self._description, self._numbers = description, numbers
        self.builder = builder = GraphBuilder()
        self._x = builder.reserve("ids" if description.takes_ids else "x")
        builder.reserve("y")
        layers = description.layers
        for layer in layers:
            if layer.reverse is not None:
                raise ExportError(
                    f"{layer.name} runs in both directions, and a step does not know the future: export it with "
                    'form="sequence"'
                )
        self._of_layers = [states_of(builder, layer, index) for index, layer in enumerate(layers)]
        self.states = [state for states in self._of_layers for state in states]
        self._named = self._reserve_inputs()
        self._draws = [
            {draw: builder.reserve(f"{draw[0]}_{index}_{draw[1]}") for draw in layer.cell.draws}
            for index, layer in enumerate(layers)
        ]
        self._add()

    def _reserve_inputs(self) -> dict[str, str]:
        names = dict.fromkeys(name for layer in self._description.layers for name in layer.cell.inputs)
        return {
            name: self.builder.reserve(name if name.isascii() else f"input_{k}")
            for k, name in enumerate(names)
        }

    def _add(self) -> None:
        builder, description, value, index = self.builder, self._description, self._x, 0
        for number, block in enumerate(description.blocks):
            if not isinstance(block, Layer):
                value = add_block(builder, block, value)
                continue
            of_ids = number == 0 and description.takes_ids
            states = self._of_layers[index]
            step = StepGraph(builder, block, f"layer_{index}", of_ids, self._numbers)
            inputs = {name: self._named[name] for name in block.cell.inputs}
            new = step.add(value, [state.name for state in states], inputs, self._draws[index])
            value = new[0]
            for state, computed in zip(states, new, strict=True):
                builder.finish(computed, state.next)
            index += 1
        builder.finish(value, "y")

    @property
    def inputs(self) -> list[Value]:
        """The inputs of the graph."""
        description = self._description
        first = (
            Value("ids", ("batch",), np.int64)
            if description.takes_ids
            else Value("x", ("batch", description.inputs))
        )
        found = [first]
        found += [Value(state.name, ("batch", state.initial[0].size)) for state in self.states]
        widths = {name: layer.hidden for layer in description.layers for name in layer.cell.inputs}
        found += [
            Value(value, ("batch", 1 if name in self._numbers else widths[name]))
            for name, value in self._named.items()
        ]
        for layer, draws in zip(description.layers, self._draws, strict=True):
            found += [Value(value, ("batch", layer.hidden)) for value in draws.values()]
        return found

    @property
    def outputs(self) -> list[Value]:
        """The outputs of the graph."""
        states = [Value(state.next, ("batch", state.initial[0].size)) for state in self.states]
        return [Value("y", ("batch", self._description.outputs)), *states]

    def example(self) -> tuple[dict[str, Array], dict[str, Array], float]:
        """Return the inputs and outputs of some steps of two sequences, each step from the library's states."""
        examples = [make_example(self._description, self._numbers, seed) for seed in (0, 1)]

        def together(arrays: list[Array]) -> Array:
            return np.stack(arrays, axis=1)

        inputs = {self._x: together([example.x for example in examples])}
        outputs = {"y": together([example.expected.outputs for example in examples])}
        for index, states in enumerate(self._of_layers):
            for k, state in enumerate(states):
                after = together([example.expected.states[index][k] for example in examples])
                begin = np.broadcast_to(state.initial[0], (1, 2, state.initial[0].size))
                inputs[state.name] = np.concatenate([begin, after[:-1]])
                outputs[state.next] = after
        for name, value in self._named.items():
            inputs[value] = together([example.inputs[name] for example in examples])
        for index, draws in enumerate(self._draws):
            for k, value in enumerate(draws.values()):
                inputs[value] = together([example.expected.noise[index][k] for example in examples])
        return inputs, outputs, max(example.tolerance for example in examples)
