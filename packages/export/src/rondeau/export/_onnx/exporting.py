"""`to_onnx`: a model as a graph of ONNX."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau import nn
from rondeau.export._description import Description, Layer, describe
from rondeau.export._errors import ExportError
from rondeau.export._evaluation import Example, checked_numbers, evaluate, make_example
from rondeau.export._onnx.blocks import add_block
from rondeau.export._onnx.graph import GraphBuilder, Value, identifier, import_onnx
from rondeau.export._onnx.sequence import add_layer, operator_of
from rondeau.export._onnx.step import StepGraph
from rondeau.export._writing import Exported, write_files

__all__ = ["to_onnx"]

Array = NDArray[Any]

_STEP = """\
One step of a recurrent model, exported by rondeau. Feed each next_ output to the input of its name in the next step. A
sequence begins with zeros, or with what the metadata entry "rondeau" has under "states"."""

_SEQUENCE = """\
A recurrent model over whole sequences, exported by rondeau. A sequence begins with states of zeros, or with what the
metadata entry "rondeau" has under "states"; to go on with one, feed the next_ outputs."""


def to_onnx(
    model: nn.Module,
    output: str | Path,
    name: str = "model",
    form: str = "step",
    *,
    takes_ids: bool | None = None,
    numbers: Collection[str] = (),
    lengths: bool = False,
    batch_first: bool = False,
    tokens: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a model as ONNX: ``name.onnx``, and ``name.npz`` with inputs and what the library computes from them.

    ``python -m rondeau.export.check name.onnx`` runs the graph in ONNX Runtime on these inputs and compares. Weights
    and results are float32; the graph is of opset 22 and IR version 10, and the batch is of any size.

    Parameters
    ----------
    model : Module
        A `LanguageModel`, recurrent layers, or a `Sequential` of `Embedding`, recurrent layers, `Linear`, `LayerNorm`,
        activations and `Dropout`; in a chain the output of a recurrent layer is what the next one reads.
    output : path-like
        The folder of the files; made if need be.
    name : str
        The name of the files.
    form : {"step", "sequence"}
        ``"step"``: one step of any cell, with every state as an input and an output, for streams and generation.
        ``"sequence"``: whole sequences, of any length, through the operators RNN, GRU and LSTM, for the cells that they
        compute: `rnn_tanh`, `rnn_relu`, `linear_rnn`, `gru`, `gru_original`, `lstm` and `lstm_peephole`, in one
        direction or both.
    takes_ids : bool, optional
        Whether recurrent layers that come first read ids, which stand for one-hot rows.
    numbers : collection of str
        The named inputs of the cells that are one number for all hidden units. The others have one for each unit.
    lengths : bool
        Give the graph of sequences an input ``lengths``, (B,) of int32: how many steps of each are valid. Recurrent
        layers give zeros after them, and the states of the last valid step.
    batch_first : bool
        Let the graph of sequences read (B, T, ...) and write (B, T, O) rather than (T, B, ...).
    tokens : sequence of str, optional
        The text of each id, which is then in the metadata too.
    overwrite : bool
        Replace files of these names.

    Returns
    -------
    Exported

    Raises
    ------
    ExportError
        If ONNX cannot hold a part of the model, which the message names; or the package `onnx` is not installed.
    FileExistsError
        If a file exists, unless `overwrite`.

    Notes
    -----
    Inputs: ``x``, (B, I) of float32, or ``ids``, (B,) of int64; in a graph of sequences with T before or after B. Every
    recurrent layer has its states, named after those of the cell and the layer, as ``h_0``, (B, H) in a step and
    (directions, B, H) otherwise, and the outputs ``next_h_0``. Named inputs of cells are inputs of a step under their
    names, and so is its noise, standard normal numbers or uniform ones, as ``normal_0_1``. The output is ``y``.

    The metadata entry ``rondeau`` is JSON: ``states`` has the name of each state, of the output that follows it, of its
    layer, and the values of a learned initial state, or null for zeros; ``tokens`` the texts of ids.

    Examples
    --------
    >>> import tempfile
    >>> from rondeau import export, nn
    >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +SKIP
    ...     exported = export.to_onnx(nn.LanguageModel(28, "gru", 16), folder, "writer")
    >>> [path.name for path in exported.files]  # doctest: +SKIP
    ['writer.onnx', 'writer.npz']
    """
    _check_options(name, form, lengths, batch_first)
    import_onnx()
    description = describe(model, takes_ids)
    if tokens is not None and len(tokens) != description.inputs:
        raise ExportError(
            f"tokens must have one text for each of {description.inputs} ids, got {len(tokens)}"
        )
    of_units = checked_numbers(description, numbers)
    if form == "step":
        writer: _Step | _Sequence = _Step(description, of_units)
    else:
        writer = _Sequence(description, lengths, batch_first)
    metadata: dict[str, Any] = {"form": form, "states": [_state_entry(state) for state in writer.states]}
    if tokens is not None:
        metadata["tokens"] = list(tokens)
    data = writer.builder.build(
        writer.inputs,
        writer.outputs,
        {"rondeau": json.dumps(metadata)},
        _STEP if form == "step" else _SEQUENCE,
    )
    contents = {f"{name}.onnx": data, f"{name}.npz": _packed(*writer.example())}
    paths = write_files(Path(output), contents, overwrite)
    state_bytes = 4 * sum(array.size for state in writer.states for array in state.initial)
    return Exported(paths, writer.builder.weight_bytes, state_bytes)


def _check_options(name: Any, form: Any, lengths: bool, batch_first: bool) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name):
        raise ExportError(
            "name must be at most 100 letters, digits, dots, hyphens and underscores of ASCII, and begin with a "
            f"letter, a digit or an underscore, got {name!r}"
        )
    if form not in ("step", "sequence"):
        raise ExportError(f'form must be "step" or "sequence", got {form!r}')
    if form == "step" and (lengths or batch_first):
        raise ExportError(
            f'{"lengths" if lengths else "batch_first"} is for graphs of whole sequences: form="sequence"'
        )


class _State(NamedTuple):
    """A state of a recurrent layer: the graph's input and output, and what a sequence begins with, by direction."""

    name: str
    layer: Layer
    initial: list[Array]

    @property
    def next(self) -> str:
        return f"next_{self.name}"


def _states_of(builder: GraphBuilder, layer: Layer, index: int) -> list[_State]:
    """Return the states of a layer, with their names taken."""
    found = []
    for k, state in enumerate(layer.cell.states):
        name = builder.reserve(f"{identifier(state) if state.isascii() else f'state{k}'}_{index}")
        builder.reserve(f"next_{name}")
        both = [layer.initial[k]] + ([] if layer.reverse is None else [layer.reverse.initial[k]])
        found.append(_State(name, layer, both))
    return found


def _state_entry(state: _State) -> dict[str, Any]:
    is_learned = any(array.any() for array in state.initial)
    initial = [[float(number) for number in array] for array in state.initial] if is_learned else None
    return {"input": state.name, "output": state.next, "layer": state.layer.name, "initial": initial}


def _packed(inputs: dict[str, Array], outputs: dict[str, Array], tolerance: float) -> bytes:
    """Return an example as the bytes of a file: arrays with the cases in front."""
    arrays = {f"input.{name}": array for name, array in inputs.items()}
    arrays |= {f"output.{name}": array for name, array in outputs.items()}
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, tolerance=np.float64(tolerance), **arrays)
    return file.getvalue()


class _Step:
    """The graph of one step."""

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
        self._of_layers = [_states_of(builder, layer, index) for index, layer in enumerate(layers)]
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


class _Sequence:
    """The graph of whole sequences."""

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
        self._of_layers = [
            _states_of(builder, layer, index) for index, layer in enumerate(description.layers)
        ]
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
    width = _width(after[last])
    rest = description._replace(blocks=tuple(after[last + 1 :]), takes_ids=False)
    filled = evaluate(rest, np.zeros((missing, width), np.float32)).outputs
    return np.concatenate([outputs, filled])


def _width(block: Any) -> int:
    return int(block.outputs + (0 if block.reverse is None else block.reverse.outputs))
