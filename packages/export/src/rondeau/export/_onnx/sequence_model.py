"""A model as the graph of whole sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondeau.export._description import Description, Layer, outputs_of
from rondeau.export._errors import ExportError
from rondeau.export._evaluation import Example, evaluate, make_example
from rondeau.export._onnx.blocks import add_block
from rondeau.export._onnx.graph import GraphBuilder, Value
from rondeau.export._onnx.sequence import add_layer, operator_of
from rondeau.export._onnx.states import states_of

__all__ = ["SequenceModel"]

Array = NDArray[Any]


class SequenceModel:
    """The graph of whole sequences.

    Parameters
    ----------
    description : Description
    lengths : bool
        Whether an input says how long sequences are.
    batch_first : bool

    Attributes
    ----------
    builder : GraphBuilder
    states : list of State

    Raises
    ------
    ExportError
        If ONNX has no operator for a layer, or there is none.
    """

    def __init__(self, description: Description, lengths: bool, batch_first: bool) -> None:
        self._description, self._batch_first = description, batch_first
        self.builder = builder = GraphBuilder()
        if not description.layers:
            raise ExportError(
                'a model without a recurrent layer has no sequences: export it with form="step"'
            )
        for layer in description.layers:
            operator_of(layer)
        self._x = builder.reserve("ids" if description.takes_ids else "x")
        self._lengths = builder.reserve("lengths") if lengths else ""
        builder.reserve("y")
        self._of_layers = [states_of(builder, layer, index) for index, layer in enumerate(description.layers)]
        self.states = [state for states in self._of_layers for state in states]
        self._add()

    def _add(self) -> None:
        builder, description, value, index = self.builder, self._description, self._x, 0
        if self._batch_first:
            order = [1, 0] if description.takes_ids else [1, 0, 2]
            value = builder.node("Transpose", [value], "steps_first", perm=order)
        if description.takes_ids and isinstance(description.blocks[0], Layer):
            value = self._one_hot(value)
        for block in description.blocks:
            if not isinstance(block, Layer):
                value = add_block(builder, block, value)
                continue
            states = self._of_layers[index]
            names = [state.name for state in states]
            value, last = add_layer(builder, block, f"layer_{index}", value, names, self._lengths)
            for state, computed in zip(states, last, strict=True):
                builder.finish(computed, state.next)
            index += 1
        if self._batch_first:
            value = builder.node("Transpose", [value], "batch_first", perm=[1, 0, 2])
        builder.finish(value, "y")

    def _one_hot(self, ids: str) -> str:
        """Add one-hot rows: ``OneHot`` would make zeros of an id that there is not, which ``Gather`` refuses."""
        builder, count = self.builder, self._description.inputs
        known = builder.constant(np.arange(count, dtype=np.int64), "known_ids")
        checked = builder.node("Gather", [known, ids], "checked_ids")
        depth = builder.constant(np.int64(count), "number_of_ids")
        values = builder.constant(np.array([0, 1], np.float32), "off_and_on")
        return builder.node("OneHot", [checked, depth, values], "one_hot", axis=-1)

    def _shape(self, *last: int) -> tuple[int | str, ...]:
        return ("batch", "time", *last) if self._batch_first else ("time", "batch", *last)

    @property
    def inputs(self) -> list[Value]:
        """The inputs of the graph."""
        description = self._description
        first = (
            Value("ids", self._shape(), np.int64)
            if description.takes_ids
            else Value("x", self._shape(description.inputs))
        )
        found = [first, *(Value(s.name, (len(s.initial), "batch", s.initial[0].size)) for s in self.states)]
        return [*found, Value("lengths", ("batch",), np.int32)] if self._lengths else found

    @property
    def outputs(self) -> list[Value]:
        """The outputs of the graph."""
        found = [Value("y", self._shape(self._description.outputs))]
        return [*found, *(Value(s.next, (len(s.initial), "batch", s.initial[0].size)) for s in self.states)]

    def example(self) -> tuple[dict[str, Array], dict[str, Array], float]:
        """Return two sequences of different lengths, and what they give."""
        examples = [make_example(self._description, frozenset(), seed) for seed in (0, 1)]
        steps = len(examples[0].x)
        valid = [steps, steps - 2] if self._lengths else [steps, steps]
        inputs, outputs = self._batch(examples, valid)
        if self._lengths:
            inputs["lengths"] = np.array(valid, np.int32)
        tolerance = max(example.tolerance for example in examples)
        return (
            {name: array[None] for name, array in inputs.items()},
            {name: array[None] for name, array in outputs.items()},
            tolerance,
        )

    def _batch(self, examples: list[Example], valid: list[int]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Return the arrays of a batch; what follows a sequence is computed from zeros, as the graph does."""
        axis = 0 if self._batch_first else 1
        batch = len(examples)
        inputs = {self._x: np.stack([example.x for example in examples], axis)}
        found = [
            evaluate(self._description, example.x[:count])
            for example, count in zip(examples, valid, strict=True)
        ]
        outputs = {
            "y": np.stack([_padded(self._description, one.outputs, examples[0].x) for one in found], axis)
        }
        row = 0
        for states in self._of_layers:
            directions = len(states[0].initial)
            for k, state in enumerate(states):
                width = state.initial[0].size
                begin = np.stack(state.initial)[:, None]
                inputs[state.name] = np.ascontiguousarray(np.broadcast_to(begin, (directions, batch, width)))
                ends = [[one.states[row + d][k][0 if d else -1] for one in found] for d in range(directions)]
                outputs[state.next] = np.array(ends, np.float32)
            row += directions
        return inputs, outputs


def _padded(description: Description, outputs: Array, x: Array) -> Array:
    """Return outputs with those of missing steps: what the blocks after the last recurrent layer make of zeros."""
    missing = len(x) - len(outputs)
    if not missing:
        return outputs
    after = list(description.blocks)
    last = max(k for k, block in enumerate(after) if isinstance(block, Layer))
    width = outputs_of(after[last])
    rest = description._replace(blocks=tuple(after[last + 1 :]), takes_ids=False)
    filled = evaluate(rest, np.zeros((missing, width), np.float32)).outputs
    return np.concatenate([outputs, filled])
