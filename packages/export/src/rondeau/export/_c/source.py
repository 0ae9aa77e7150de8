"""The files of a model in C."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondeau.export._c import blocks, interface
from rondeau.export._c.functions import library_text
from rondeau.export._c.layer import LayerSource
from rondeau.export._c.memory import PANEL, Memory
from rondeau.export._c.names import Names
from rondeau.export._c.selftest import selftest
from rondeau.export._c.text import LONGEST_STRING, array, characters, comment, indented, string
from rondeau.export._description import Affine, Description, Layer, LayerNorm, Lookup, outputs_of
from rondeau.export._evaluation import Example

__all__ = ["Files", "write_c"]

Array = NDArray[Any]

_PRODUCT = f"""\
/* Add W x to y. W lies panel by panel of {PANEL} rows, in each of them column after column. */
static void @multiply(const float *restrict w, int rows, int columns, const float *restrict x, float *restrict y)
{{
    int first, j, k;
    for (first = 0; first + {PANEL} <= rows; first += {PANEL}) {{
        float sum[{PANEL}];
        for (j = 0; j < {PANEL}; j++) sum[j] = y[first + j];
        for (k = 0; k < columns; k++) {{
            const float factor = x[k];
            for (j = 0; j < {PANEL}; j++) sum[j] += w[j] * factor;
            w += {PANEL};
        }}
        for (j = 0; j < {PANEL}; j++) y[first + j] = sum[j];
    }}
    for (k = 0; first < rows && k < columns; k++) {{
        const float factor = x[k];
        for (j = 0; j < rows - first; j++) y[first + j] += w[j] * factor;
        w += rows - first;
    }}
}}
"""

_PRODUCT_OF_INT8 = f"""\
/* Add W x to y. A row of W is its scale times whole numbers, which lie panel by panel of {PANEL} rows, in each of
 * them column after column. */
static void @multiply(const int8_t *restrict w, const float *restrict scales, int rows, int columns,
                      const float *restrict x, float *restrict y)
{{
    int first, j, k;
    for (first = 0; first < rows; first += {PANEL}) {{
        const int count = rows - first < {PANEL} ? rows - first : {PANEL};
        float sum[{PANEL}] = {{0.0f}};
        if (count == {PANEL}) {{
            for (k = 0; k < columns; k++) {{
                const float factor = x[k];
                for (j = 0; j < {PANEL}; j++) sum[j] += (float)w[j] * factor;
                w += {PANEL};
            }}
        }} else {{
            for (k = 0; k < columns; k++) {{
                const float factor = x[k];
                for (j = 0; j < count; j++) sum[j] += (float)w[j] * factor;
                w += count;
            }}
        }}
        for (j = 0; j < count; j++) y[first + j] += scales[first + j] * sum[j];
    }}
}}
"""

_COLUMN = """\
/* Add the column of an id to y. */
static void @add_column(const float *columns, int rows, int32_t id, float *y)
{
    const float *const column = columns + (size_t)id * (size_t)rows;
    int j;
    for (j = 0; j < rows; j++) y[j] += column[j];
}
"""

_COLUMN_OF_INT8 = """\
/* Add the column of an id to y. */
static void @add_column(const int8_t *columns, const float *scales, int rows, int32_t id, float *y)
{
    const int8_t *const column = columns + (size_t)id * (size_t)rows;
    int j;
    for (j = 0; j < rows; j++) y[j] += scales[j] * (float)column[j];
}
"""


class Files(NamedTuple):
    """What is written.

    Attributes
    ----------
    header, source : str
    weights : bytes or None
        The weights' own file, if they are not part of the source.
    weight_bytes, state_bytes : int
        What the weights take in memory, and a state with its work area.
    """

    header: str
    source: str
    weights: bytes | None
    weight_bytes: int
    state_bytes: int


def write_c(
    description: Description,
    prefix: str,
    test: Example,
    numbers: frozenset[str] = frozenset(),
    *,
    quantise: bool = False,
    weights_in_file: bool = False,
    tokens: Sequence[str] | None = None,
) -> Files:
    """Return a model as C.

    Parameters
    ----------
    description : Description
        Without layers that run backwards.
    prefix : str
        What every name begins with; the files are ``prefix.h`` and ``prefix.c``.
    test : Example
    numbers : frozenset of str
        The named inputs with one number for all units.
    quantise : bool
        Keep matrices in int8.
    weights_in_file : bool
        Leave the weights out of the source, for a file that is read or mapped.
    tokens : sequence of str, optional
        The text of each id.

    Returns
    -------
    Files
    """
    memory = Memory(quantise)
    layers, step = _parts(description, numbers, memory, Names(prefix))
    functions = [layer.source() for layer in layers]
    calling = "\n".join([*functions, *step])
    floats, integers = memory.floats, memory.bytes
    stored = floats.astype("<f4").tobytes() + integers.tobytes()
    model = interface.Model(
        description=description,
        states=[state for layer in layers for state in layer.states],
        initial=[vector for layer in description.layers for vector in layer.initial],
        inputs=_inputs_of(layers),
        work=memory.work,
        floats=floats.size,
        integers=integers.size,
        fingerprint=zlib.crc32(stored),
        in_file=weights_in_file,
        tokens=None if tokens is None else [token.encode("utf-8", "surrogatepass") for token in tokens],
    )
    parts = [
        interface.includes(model, prefix),
        interface.weights_from_file(model) if weights_in_file else _declared_weights(floats, integers),
        library_text(calling),
        _product(calling, quantise),
        *functions,
        _step(model, step),
        interface.beginning(model),
        interface.run(model),
        interface.saving(model),
        "" if model.tokens is None else _tokens(model),
        selftest(model, test),
        "" if weights_in_file else _weights(floats, integers),
    ]
    weights = None
    if weights_in_file:
        head = np.array([interface.WEIGHTS_MAGIC, model.fingerprint, floats.size, integers.size], "<u4")
        weights = head.tobytes() + stored
    source = "\n".join(part for part in parts if part)
    if re.search(r"\b(INFINITY|NAN)\b", source):
        source = source.replace("#include <math.h>\n", interface.WITH_INFINITIES, 1)
    return Files(
        _named(interface.header(model), prefix),
        _named(source, prefix),
        weights,
        floats.nbytes + integers.nbytes,
        4 * (sum(width for _, width in model.states) + memory.work),
    )


def _named(text: str, prefix: str) -> str:
    """Return text with the names of the model: ``@@`` in capitals, ``@`` as it is."""
    return text.replace("@@", f"{prefix.upper()}_").replace("@", f"{prefix}_")


def _parts(
    description: Description, numbers: frozenset[str], memory: Memory, names: Names
) -> tuple[list[LayerSource], list[str]]:
    """Return the functions of the layers, and the statements of a step."""
    layers: list[LayerSource] = []
    inputs = dict.fromkeys(name for layer in description.layers for name in layer.cell.inputs)
    arguments = {name: names.variable("input", name, k) for k, name in enumerate(inputs)}
    pointers: list[str] = []
    lines: list[str] = []
    x = "id" if description.takes_ids else "x"
    for number, block in enumerate(description.blocks):
        is_last = number == len(description.blocks) - 1
        lines.append(f"/* {comment(block.name)} */")
        if isinstance(block, Layer):
            of_ids = number == 0 and description.takes_ids
            source = LayerSource(block, len(layers), of_ids, numbers, memory, names, arguments)
            layers.append(source)
            states = [f"state->{name}" for name, _ in source.states]
            others = [other.name for other in source.others]
            lines.append(f"@{source.name}({', '.join([x, *states, *others, 'state->work'])});")
            x = states[0]
            if is_last:
                lines.append(f"memcpy(y, {x}, {block.outputs} * sizeof(float));")
            continue
        width = outputs_of(block)
        y = "y"
        if not is_last:
            y = f"value_{number}"
            pointers.append(f"float *const {y} = state->{memory.room(width)};")
        if isinstance(block, Lookup):
            lines.append(f"memset({y}, 0, {width} * sizeof(float));")
            lines.append(f"@add_column({memory.matrix_of_columns(block.table.T)}, {width}, id, {y});")
        elif isinstance(block, Affine):
            lines += blocks.affine(block, memory, x, y)
        elif isinstance(block, LayerNorm):
            lines += blocks.layer_norm(block, memory, x, y)
        else:
            lines += blocks.pointwise(block, x, y)
        x = y
    counter = ["int j;"] if any("for (j" in line for line in lines) else []
    return layers, [*pointers, *counter, *lines]


def _inputs_of(layers: Sequence[LayerSource]) -> list[interface.Argument]:
    """Return the arguments of a step besides its input, each once."""
    found: dict[str, interface.Argument] = {}
    for source in layers:
        found |= {argument.name: argument for argument in source.others}
    return list(found.values())


def _declared_weights(floats: Array, integers: Array) -> str:
    """Return the declarations of the weights, which follow at the end of the file."""
    lines = [f"static const float @weights[{floats.size}];"] if floats.size else []
    lines += [f"static const int8_t @bytes[{integers.size}];"] if integers.size else []
    return "\n".join([*lines, ""])


def _weights(floats: Array, integers: Array) -> str:
    parts = [array(f"static const float @weights[{floats.size}]", floats)] if floats.size else []
    if integers.size:
        parts.append(array(f"static const int8_t @bytes[{integers.size}]", integers, is_float=False))
    return "\n\n".join([*parts, ""])


def _product(text: str, quantise: bool) -> str:
    """Return the functions of products that other functions call: compilers warn of one that nothing does."""
    product, column = (_PRODUCT_OF_INT8, _COLUMN_OF_INT8) if quantise else (_PRODUCT, _COLUMN)
    called = [(product, "@multiply("), (column, "@add_column(")]
    return "\n".join(function for function, call in called if call in text)


def _step(model: interface.Model, lines: list[str]) -> str:
    first = [] if any("state->" in line for line in lines) else ["(void)state;"]
    last = list[str]()
    if model.description.takes_ids:
        first.append("if (id < 0 || id >= @@INPUTS) return -1;")
        last.append("return 0;")
    declarations = [line for line in lines if line.startswith(("float *const", "int j;"))]
    others = lines[len(declarations) :]
    body = "\n".join(indented([*declarations, *first, *others, *last]))
    return f"{interface.step_signature(model)}\n{{\n{body}\n}}\n"


def _tokens(model: interface.Model) -> str:
    tokens = model.tokens or []
    long = {k: token for k, token in enumerate(tokens) if len(token) > LONGEST_STRING}
    arrays = [characters(f"static const char @token_{k}[]", token) for k, token in long.items()]
    texts = [f"@token_{k}" if k in long else string(token) for k, token in enumerate(tokens)]
    lines = ",\n    ".join(texts)
    parts = [*arrays, f"const char *const @tokens[{len(tokens)}] = {{\n    {lines}\n}};"]
    if model.has_zeros_in_tokens:
        sizes = map(len, tokens)
        parts.append(array(f"const uint32_t @token_bytes[{len(tokens)}]", sizes, is_float=False))
    return "\n\n".join(parts) + "\n"
