"""The blocks without a state in C: affine maps, layer normalisation, activations."""

from __future__ import annotations

from collections.abc import Callable

from rondeau.export._c.layer import product
from rondeau.export._c.memory import Memory
from rondeau.export._c.text import literal
from rondeau.export._description import Affine, LayerNorm, Pointwise

__all__ = ["affine", "layer_norm", "pointwise"]


def affine(block: Affine, memory: Memory, x: str, y: str) -> list[str]:
    """Return the statements that write ``weight @ x + bias`` to `y`."""
    rows = len(block.weight)
    if block.bias is None:
        start = f"memset({y}, 0, {rows} * sizeof(float));"
    else:
        start = f"memcpy({y}, {memory.vector(block.bias)}, {rows} * sizeof(float));"
    return [start, product(memory, block.weight, x, y)]


def layer_norm(block: LayerNorm, memory: Memory, x: str, y: str) -> list[str]:
    """Return the statements that normalise `x` into `y`."""
    scaled = "scale * (row[j] - mean)"
    scaled += "" if block.weight is None else " * gain[j]"
    scaled += "" if block.bias is None else " + shift[j]"
    vectors = [("gain", block.weight), ("shift", block.bias)]
    pointers = [
        f"const float *const {name} = {memory.vector(array)};" for name, array in vectors if array is not None
    ]
    count, loop = literal(block.width), f"for (j = 0; j < {block.width}; j++) "
    return [
        "{",
        f"    const float *const row = {x};",
        *(f"    {pointer}" for pointer in pointers),
        "    float mean = 0.0f, variance = 0.0f, scale;",
        f"    {loop}mean += row[j];",
        f"    mean /= {count};",
        f"    {loop}variance += (row[j] - mean) * (row[j] - mean);",
        f"    scale = 1.0f / sqrtf(variance / {count} + {literal(block.eps)});",
        "    if (scale == 0.0f) { /* squares are beyond the range of float: those of shares of the largest are not */",
        "        float largest = 0.0f;",
        f"        {loop}largest = fabsf(row[j] - mean) > largest ? fabsf(row[j] - mean) : largest;",
        "        variance = 0.0f;",
        f"        {loop}variance += (row[j] - mean) / largest * ((row[j] - mean) / largest);",
        f"        scale = 1.0f / sqrtf(variance / {count}) / largest;",
        "    }",
        f"    {loop}{y}[j] = {scaled};",
        "}",
    ]


def pointwise(block: Pointwise, x: str, y: str) -> list[str]:
    """Return the statements that apply an activation."""
    loop = f"for (j = 0; j < {block.width}; j++) "
    if block.function in ("softmax", "log_softmax"):
        lines = [
            "{",
            f"    float largest = {x}[0], sum = 0.0f;",
            f"    {loop}largest = {x}[j] > largest ? {x}[j] : largest;",
            f"    {loop}sum += @exp({x}[j] - largest);",
        ]
        if block.function == "softmax":
            return [*lines, f"    {loop}{y}[j] = @exp({x}[j] - largest) / sum;", "}"]
        return [*lines, "    sum = logf(sum);", f"    {loop}{y}[j] = ({x}[j] - largest) - sum;", "}"]
    expression = _EXPRESSIONS[block.function](f"{x}[j]", *map(literal, block.parameters))
    return [f"{loop}{y}[j] = {expression};"]


def _softplus(x: str, beta: str, threshold: str) -> str:
    scaled = x if beta == "1.0f" else f"{x} * {beta}"
    value = f"@softplus({scaled})" if beta == "1.0f" else f"@softplus({scaled}) / {beta}"
    return f"{scaled} > {threshold} ? {x} : {value}"


_EXPRESSIONS: dict[str, Callable[..., str]] = {
    "relu": lambda x: f"@relu({x})",
    "tanh": lambda x: f"@tanh({x})",
    "sigmoid": lambda x: f"@sigmoid({x})",
    "gelu": lambda x: f"0.5f * {x} * (1.0f + erff({x} * 0.70710678f))",
    "gelu_tanh": lambda x: f"0.5f * {x} * (1.0f + @tanh(0.79788456f * ({x} + 0.044715f * {x} * {x} * {x})))",
    "leaky_relu": lambda x, slope: f"{x} > 0.0f ? {x} : {slope} * {x}",
    "softplus": _softplus,
}
