"""Digests of what the recurrent layers compute: versions of the library that agree in every bit print the same lines.

A change that should move no bit is checked by the lines before and after it:

    python -m tools.digest > before.txt
    python -m tools.digest --compare before.txt

Each line stands for one drawn configuration of a layer: a cell, sizes, lengths, resets, directions, projection, heads,
regularisers, recomputation, truncation, threads and dtype. The digest is of output, states, every state where asked
for, and all gradients, and of what a stepper makes of the same weights. Bits depend on the processor: compare on one
machine.

The lines of cells that read named inputs or draw noise come last, so that those before them stay what they are; lines
that the file does not have, because it is of a version without such cells, are counted by themselves.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tools.fuzz import named_inputs
from tools.fuzz.cells import CELLS, PLAIN, REGULARISED
from tools.fuzz.drawing import Draw

from rondeau import nn
from rondeau import tensor as rt

#: The layer's option for states that are computed again, by the name of this version.
RECOMPUTE = next(
    name
    for name in ("recompute_every", "checkpoint_every")
    if name in inspect.signature(nn.Recurrent).parameters
)


def draw_layer(draw: Draw, name: str) -> Any:
    """Return a layer of a cell, with drawn options that the cell can have."""
    cell = CELLS[name]
    draw.note("cell", name)
    options: dict[str, Any] = {
        "num_layers": draw.choose((1, 1, 2)),
        "bias": draw.chance(0.8),
        "bidirectional": draw.chance(0.4),
        "dtype": draw.choose(("float32", "float32", "float64")),
    }
    hidden = draw.choose((1, 4, 8, 15, 16, 24, 33, 48, 64, 384))
    if name == "lstm_projected" or (name in ("lstm", "rnn_tanh", "lstm_coupled") and draw.chance(0.2)):
        options["proj_size"] = max(1, hidden // 2)
        hidden = max(hidden, 2)
    elif cell.recurrent and hidden % 4 == 0 and draw.chance(0.2):
        options["num_heads"] = draw.choose((2, 4))
    if name in REGULARISED and draw.chance(0.5):
        options["recurrent_dropout"] = 0.3
        # A projected state cannot keep old values: it has fewer features than its row has units.
        kept = cell.states[1:] if "proj_size" in options else cell.states
        if kept:
            options["zoneout"] = 0.2 if kept == cell.states else dict.fromkeys(kept, 0.2)
    if cell.recurrent and draw.chance(0.2):
        options["weight_dropout"] = 0.25
    if options["num_layers"] > 1 and draw.chance(0.5):
        options["dropout"] = 0.5
    if draw.chance(0.2):
        options[RECOMPUTE] = draw.choose((1, 2, 5))
    elif draw.chance(0.2):
        options["bptt_truncate"] = draw.choose((0, 1, 3))
    draw.note("options", options)
    return nn.Recurrent(cell, draw.choose((1, 5, 16, 17)), hidden, **options)


def arrays_of(layer: Any, draw: Draw) -> Iterator[NDArray[Any]]:
    """Yield every array that a call of the layer, its gradients and its stepper give."""
    dtype = layer.weight_ih_l0.dtype
    T, B = draw.choose((1, 2, 7, 12)), draw.choose((1, 2, 3, 8, 17))
    draw.note("T, B", (T, B))
    generator = draw.numbers
    ids = draw.chance(0.25)
    if ids:
        x = rt.tensor(generator.integers(0, layer.input_size, (T, B)))
    else:
        x = rt.tensor(generator.normal(size=(T, B, layer.input_size)).astype(dtype), requires_grad=True)
    call: dict[str, Any] = {}
    states: list[Any] = []
    if draw.note("lengths", draw.chance(0.4)):
        call["lengths"] = generator.integers(0, T + 1, B)
    if draw.note("reset", draw.chance(0.4)):
        call["reset"] = generator.random((T, B)) < 0.2
    if draw.note("initial states", draw.chance(0.5)):
        layers = layer.num_layers * layer.num_directions
        widths = [layer.proj_size or layer.hidden_size, *[layer.hidden_size] * (len(layer.cell.states) - 1)]
        states = [
            rt.tensor(generator.normal(size=(layers, B, width)).astype(dtype), requires_grad=True)
            for width in widths
        ]
        call["hx"] = states[0] if len(states) == 1 else tuple(states)
    sizes = {"step": (T, B), "sequence": (B,)}
    inputs = {
        name: rt.tensor(array, requires_grad=True)
        for name, array in named_inputs.draw_inputs(
            draw, layer.cell, sizes, layer.hidden_size, dtype, layer.num_layers
        ).items()
    }
    if inputs:
        draw.note("inputs", {name: tensor.shape for name, tensor in inputs.items()})
        call["inputs"] = named_inputs.as_passed(layer.cell, inputs, layer.num_layers)
    rt.manual_seed(draw.weights)
    output, final = layer(x, **call)
    final = final if isinstance(final, tuple) else (final,)
    results = [output, *final]
    if draw.note("all states", draw.chance(0.2)):
        rt.manual_seed(draw.weights)
        results += list(layer.all_states(x, **call)[0])
    rt.backward(results, [rt.tensor(generator.normal(size=r.shape).astype(dtype)) for r in results])
    leaves = (*layer.parameters(), x, *states, *inputs.values())
    for tensor in (*results, *(leaf.grad for leaf in leaves if leaf.grad is not None)):
        yield tensor.detach().numpy()
    if layer.num_directions == 1:
        step = layer.eval().stepper()
        given = x.detach().numpy()[0]
        kinds = named_inputs.kinds_of(layer.cell, inputs)
        now = {n: (t[0] if kinds[n] == "step" else t).detach() for n, t in inputs.items()}
        of_step = named_inputs.as_passed(layer.cell, now, layer.num_layers) if inputs else None
        y, after = step(rt.tensor(given), inputs=of_step)
        for tensor in (y, *(after if isinstance(after, tuple) else (after,))):
            yield tensor.numpy()


def digests(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Yield a digest and what was drawn, for each of `count` configurations, and for those with inputs or noise.

    The cells take turns. There are a quarter as many with inputs or noise, and they come last.
    """
    reading = sorted(CELLS.keys() - PLAIN.keys())
    for names, target, number in (
        (sorted(PLAIN), "digest", count),
        (reading, "digest of inputs and noise", count // 4),
    ):
        for index in range(number):
            draw = Draw(seed, index, target)
            rt.manual_seed(draw.weights)
            threads = draw.note("threads", draw.choose((1, 2, 3)))
            rt.set_num_threads(threads)
            layer = draw_layer(draw, names[index % len(names)])
            digest = hashlib.sha256()
            for array in arrays_of(layer, draw):
                digest.update(f"{array.dtype} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
            drawn = " ".join(f"{name}={value}" for name, value in draw.notes if name != "layout")
            yield digest.hexdigest()[:16], drawn.replace("recompute_every", "checkpoint_every")


def main(arguments: list[str] | None = None) -> int:
    """Print the digests, or compare them with a file; return 1 where one differs."""
    parser = argparse.ArgumentParser(prog="python -m tools.digest", description=__doc__)
    parser.add_argument("--configurations", type=int, default=240, help="how many are drawn (default: 240)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", help="lines of another version, to compare with"
    )
    options = parser.parse_args(arguments)
    before = options.compare.read_text(encoding="utf-8").splitlines() if options.compare else None
    compared = differing = new = 0
    for index, (digest, drawn) in enumerate(digests(options.configurations, options.seed)):
        line = f"{digest} {drawn}"
        if before is None:
            print(line, flush=True)
        elif index >= len(before):
            new += 1
        else:
            compared += 1
            if before[index] != line:
                differing += 1
                print(f"differs at {index}: {line}", flush=True)
    if before is not None:
        print(
            f"{compared - differing} of {compared} configurations agree in every bit; {new} are not in the file"
        )
    return 1 if differing or compared < new else 0


if __name__ == "__main__":
    sys.exit(main())
