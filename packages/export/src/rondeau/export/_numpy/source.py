"""The file of a model in NumPy."""

from __future__ import annotations

import builtins
import keyword
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.export._description import Affine, Block, Description, Layer, LayerNorm, Lookup, Pointwise
from rondeau.export._evaluation import Example
from rondeau.export._numpy import templates
from rondeau.export._numpy.step import StepSource, literal
from rondeau.export._numpy.text import comment, identifier
from rondeau.export._text import LICENCE

__all__ = ["NumPyFiles", "write_numpy"]

Array = NDArray[Any]


class NumPyFiles(NamedTuple):
    """What is written: the source, and the arrays by name."""

    source: str
    arrays: dict[str, Array]


class _Writer:
    """Collects functions, statements and arrays while the blocks of a model are written."""

    def __init__(self, description: Description) -> None:
        self.description = description
        self.functions: set[str] = set()
        self.steps: dict[str, StepSource] = {}
        self.arrays: dict[str, Array] = {}
        self.statements: list[str] = []
        self.layers = 0
        self.inputs = {name: kind for layer in description.layers for name, kind in layer.cell.inputs.items()}
        self.has_noise = any(layer.cell.draws for layer in description.layers)
        self.is_bidirectional = any(layer.reverse is not None for layer in description.layers)

    # ---------------------------------------------------------------- blocks

    def write(self) -> None:
        """Write every block; layers alike that follow one another share a loop."""
        blocks = list(self.description.blocks)
        while blocks:
            block = blocks.pop(0)
            if not isinstance(block, Layer):
                self._block(block)
                continue
            alike = [block]
            while blocks and isinstance(blocks[0], Layer) and self._call(blocks[0]) == self._call(block):
                alike.append(blocks.pop(0))  # type: ignore[arg-type]
            self._run_layers(alike)

    def _keep(self, block: str, **arrays: Array | None) -> None:
        self.arrays |= {f"{block}.{name}": array for name, array in arrays.items() if array is not None}

    def _block(self, block: Block) -> None:
        self.statements.append(f"# {comment(block.name)}")
        if isinstance(block, Lookup):
            self._keep_block(block.name, table=block.table)
            self.statements.append('x = w["table"][x]')
        elif isinstance(block, Affine):
            self._keep_block(block.name, weight=block.weight, bias=block.bias)
            bias = "" if block.bias is None else ' + w["bias"]'
            self.statements.append(f'x = x @ w["weight"].T{bias}')
        elif isinstance(block, LayerNorm):
            self.functions.add("layer_norm")
            gain = "" if block.weight is None else ' * w["gain"]'
            shift = "" if block.bias is None else ' + w["shift"]'
            if gain or shift:
                self._keep_block(block.name, gain=block.weight, shift=block.bias)
            # In float64, as in layers: squares may be beyond float32.
            normal = f"layer_norm(x.astype(float), {literal(block.eps)}).astype(np.float32)"
            self.statements.append(f"x = {normal}{gain}{shift}")
        else:
            assert isinstance(block, Pointwise)
            self.functions |= {block.function} & set(templates.FUNCTIONS)
            self.functions |= {"erf"} if block.function == "gelu" else set()
            self.statements.append(
                f"x = {_POINTWISE[block.function].format(*map(literal, block.parameters))}"
            )

    def _keep_block(self, name: str, **arrays: Array | None) -> None:
        """Keep the arrays of a block under a name like its own, and write where they are."""
        taken = {"check", "tokens", *(key.partition(".")[0] for key in self.arrays)}
        key = identifier(f"block_{name}" if name[:1].isdigit() or name.startswith("layer_") else name, taken)
        self._keep(key, **arrays)
        self.statements.append(f'w = self.w["{key}"]')

    # ---------------------------------------------------------------- layers

    def _step_name(self, layer: Layer) -> str:
        """Return the function of a layer's step, which layers of one cell share."""
        source = StepSource(layer, "step")
        key = "\n".join(source.lines)
        if key not in self.steps:
            name = identifier(layer.cell.name, {*_RESERVED, *(known.name for known in self.steps.values())})
            self.steps[key] = StepSource(layer, name)
            self.functions |= source.functions
        return self.steps[key].name

    def _call(self, layer: Layer) -> tuple[str, str, bool]:
        """Return the function of a layer's step, its named inputs, and whether the layer has two directions."""
        given = [
            f'over_units(inputs["{name}"], {kind == "step"}, x.shape[:2], {layer.hidden})'
            for name, kind in layer.cell.inputs.items()
        ]
        self.functions |= {"over_units"} if given else set()
        return self._step_name(layer), ", ".join(given), layer.reverse is not None

    def _run_layers(self, layers: list[Layer]) -> None:
        step, given, is_bidirectional = self._call(layers[0])
        first, directions = self.layers, 2 if is_bidirectional else 1
        names = [comment(layer.name) for layer in layers]
        self.statements.append(f"# {', '.join(names) if len(names) < 4 else f'{names[0]} to {names[-1]}'}")
        for layer in layers:
            for direction in filter(None, (layer, layer.reverse)):
                self._keep_layer(direction)
        self.statements += [f"u = [{given}]"] if given else []
        more = ", u" * bool(given) + ", noise=[noise]" * bool(layers[0].cell.draws)
        call = f"run_layer({step}, %s, x, state[%s], inside, reset{more})"
        weights = 'self.w[f"layer_{k}"]'
        body = [f"x, state[k] = {call % (weights, 'k')}"]
        if is_bidirectional:
            body = [
                f"w, v = {weights}, {weights.replace('k', 'k + 1')}",
                f"ahead, state[k] = {call % ('w', 'k')}",
                f"back, state[k + 1] = {(call % ('v', 'k + 1'))[:-1]}, backwards=True)",
                "x = np.concatenate([ahead, back], axis=-1)",
            ]
        step_by = f", {directions}" if directions > 1 else ""
        self.statements.append(f"for k in range({first}, {self.layers}{step_by}):")
        self.statements += [f"    {line}" for line in body]

    def _keep_layer(self, layer: Layer) -> None:
        key, cell, weights = f"layer_{self.layers}", layer.cell, layer.weights
        fields = ("weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh")
        self._keep(key, **{name: getattr(weights, name) for name in fields})
        if weights.bias_ih is None:
            self._keep(key, bias_ih=np.zeros(len(weights.weight_ih), np.float32))
        for name, vector in zip(cell.params, weights.params, strict=True):
            self.arrays[f"{key}.p_{name}"] = vector
        for name, vector in zip(cell.states, layer.initial, strict=True):
            self.arrays[f"{key}.initial_{name}"] = vector
        self.layers += 1


_POINTWISE = {
    "relu": "np.maximum(x, 0)",
    "tanh": "np.tanh(x)",
    "sigmoid": "sigmoid(x)",
    "gelu": "0.5 * x * (1 + erf(x * 0.7071067811865476))",
    "gelu_tanh": "0.5 * x * (1 + np.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))",
    "leaky_relu": "np.where(x > 0, x, {0} * x)",
    "softplus": "np.where(x * {0} > {1}, x, np.logaddexp(x * {0}, 0) / {0})",
    "softmax": "softmax(x)",
    "log_softmax": "log_softmax(x)",
}
"""The activations as expressions."""

_RESERVED = {
    *keyword.kwlist, *dir(builtins), *templates.FUNCTIONS, "np", "run_layer", "Model", "Stored", "check",
    "step", "w", "x",
}  # fmt: skip
"""What the functions of steps may not be called."""


def write_numpy(
    description: Description,
    name: str,
    example: Example,
    tokens: Sequence[str] | None,
    is_language_model: bool,
) -> NumPyFiles:
    """Return a model as Python.

    Parameters
    ----------
    description : Description
    name : str
        The name of the files.
    example : Example
    tokens : sequence of str, optional
        The text of each id.
    is_language_model : bool
        Whether the outputs are logits of the next id.

    Returns
    -------
    NumPyFiles
    """
    writer = _Writer(description)
    writer.write()
    arrays = writer.arrays | _example_arrays(writer, example)
    arrays |= _token_arrays(tokens) if tokens is not None else {}
    steps = [line for source in writer.steps.values() for line in source.lines]
    fingerprint = _fingerprint(arrays, [*writer.statements, *steps])
    has_layers, has_inputs, has_noise = bool(writer.layers), bool(writer.inputs), writer.has_noise
    parts = [
        templates.HEAD.format(
            name=name, what=_what(description, "T, B"), outputs=description.outputs, licence=LICENCE
        ),
        *(text for function, text in templates.FUNCTIONS.items() if function in writer.functions),
        *("\n".join([*source.lines, ""]) for source in writer.steps.values()),
        *[_run_layer(writer)] * has_layers,
        _model(writer, fingerprint, tokens is not None, is_language_model and not has_inputs),
        *[templates.STORED] * has_noise,
        _check(writer, len(example.x)),
    ]
    return NumPyFiles("\n\n".join(parts), arrays | {"check.export": np.array(fingerprint)})


def _fingerprint(arrays: Mapping[str, Array], lines: Sequence[str]) -> int:
    """Return a number by which the two files of an export know each other."""
    found = zlib.crc32("\n".join(lines).encode("utf-8", "surrogatepass"))
    for name, array in arrays.items():
        found = zlib.crc32(np.ascontiguousarray(array).tobytes(), zlib.crc32(name.encode(), found))
    return found


def _what(description: Description, shape: str) -> str:
    """Return what a model reads, in words."""
    return f"from ids ({shape})" if description.takes_ids else f"from x ({shape}, {description.inputs})"


def _run_layer(writer: _Writer) -> str:
    first = writer.description.blocks[0]
    reads_ids = writer.description.takes_ids and isinstance(first, Layer)
    product = 'x @ w["weight_ih"].T'
    if reads_ids:
        product = f'(w["weight_ih"].T[x] if x.ndim == 2 else {product})'
    inputs, noise = bool(writer.inputs), writer.has_noise
    return templates.RUN_LAYER.format(
        parameters=", inputs=()" * inputs
        + ", noise=()" * noise
        + ", backwards=False" * writer.is_bidirectional,
        or_ids=", or ids (T, B)" if reads_ids else "",
        product=f'x = {product} + w["bias_ih"]',
        backwards=templates.RUN_BACKWARDS if writer.is_bidirectional else "",
        order="range(len(x))[:: -1 if backwards else 1]" if writer.is_bidirectional else "range(len(x))",
        arguments=", *(u[t] for u in inputs)" * inputs + ", *noise" * noise,
    )


def _model(writer: _Writer, fingerprint: int, has_tokens: bool, can_generate: bool) -> str:
    description, inputs, noise = writer.description, writer.inputs, writer.has_noise
    about = [
        f"inputs has {' and '.join(inputs)}: of {' and '.join(sorted(set(inputs.values())))}s, with or without a "
        "last dimension of units."
    ] * bool(inputs) + ["noise is a NumPy Generator."] * noise
    checked = ["noise = np.random.default_rng() if noise is None else noise"] * noise
    if description.takes_ids:
        checked += [
            "x = np.where(inside, x, 0)",
            f"if x.size and not 0 <= x.min() <= x.max() < {description.inputs}:",
            f'    raise ValueError("ids must be from 0 to {description.inputs - 1}")',
        ]
    parameters = ", inputs=None" * bool(inputs) + ", noise=None" * noise
    text = templates.MODEL.format(
        and_direction=" and direction" if writer.is_bidirectional else "",
        fingerprint=fingerprint,
        tokens=templates.TOKENS if has_tokens else "",
        layers=writer.layers,
        parameters=parameters,
        what=_what(description, "T, B"),
        outputs=description.outputs,
        about=_lines(about),
        x=_lines(_checked_input(description)),
        checked=_lines(checked),
        blocks=_lines(writer.statements),
    )
    if not writer.is_bidirectional:
        of_steps = [name for name, kind in inputs.items() if kind == "step"]
        named = ", ".join(f'"{name}"' for name in of_steps)
        first = f"inputs = {{name: np.asarray(u)[None] if name in [{named}] else u for name, u in inputs.items()}}"
        text += templates.STEP.format(
            parameters=parameters,
            what=_what(description, "B,").replace(",,", ","),
            outputs=description.outputs,
            first=_lines([first] * bool(of_steps)),
            arguments=", inputs=inputs" * bool(inputs) + ", noise=noise" * noise,
        )
    if can_generate:
        text += templates.GENERATE.format(arguments=", noise=random" * noise)
    return text


def _checked_input(description: Description) -> list[str]:
    if description.takes_ids:
        return [
            "x = np.asarray(x)",
            "if x.ndim != 2:",
            '    raise ValueError(f"x must be ids of shape (T, B), got the shape {x.shape}")',
        ]
    return [
        "x = np.asarray(x, np.float32)",
        f"if x.ndim != 3 or x.shape[2] != {description.inputs}:",
        f'    raise ValueError(f"x must have the shape (T, B, {description.inputs}), got {{x.shape}}")',
    ]


def _lines(lines: Sequence[str]) -> str:
    """Return lines of a method."""
    return "".join(f"        {line}\n" for line in lines)


def _check(writer: _Writer, steps: int) -> str:
    inputs = ", ".join(f'"{name}": c["u_{name}"]' for name in writer.inputs)
    arguments = f", inputs={{{inputs}}}" if inputs else ""
    return templates.CHECK.format(
        steps=steps, arguments=arguments + ', noise=Stored(c["noise"])' * writer.has_noise
    )


def _example_arrays(writer: _Writer, example: Example) -> dict[str, Array]:
    """Return the inputs of the check, and what the library computed from them."""
    directions = [is_reverse for layer in writer.description.layers for is_reverse in _directions(layer)]
    arrays = {"x": example.x, "y": example.expected.outputs, "tolerance": np.array(example.tolerance)}
    for name, kind in writer.inputs.items():
        arrays[f"u_{name}"] = example.inputs[name][:, None] if kind == "step" else example.inputs[name][:1]
    last = [
        state[0 if is_reverse else -1]
        for is_reverse, states in zip(directions, example.expected.states, strict=True)
        for state in states
    ]
    arrays |= {f"state_{k}": state for k, state in enumerate(last)}
    numbers = [
        draw[t].ravel()
        for is_reverse, draws in zip(directions, example.expected.noise, strict=True)
        for t in (reversed if is_reverse else iter)(range(len(example.x)))
        for draw in draws
    ]
    if numbers:
        arrays["noise"] = np.concatenate(numbers)
    return {f"check.{name}": array for name, array in arrays.items()}


def _directions(layer: Layer) -> tuple[bool, ...]:
    return (False,) if layer.reverse is None else (False, True)


def _token_arrays(tokens: Sequence[str]) -> dict[str, Array]:
    """Return the texts of the ids as bytes: an array of text would lose zeros at their ends."""
    encoded = [token.encode("utf-8", "surrogatepass") for token in tokens]
    sizes = np.array([len(token) for token in encoded], np.int64)
    return {"tokens.text": np.frombuffer(b"".join(encoded), np.uint8), "tokens.sizes": sizes}
