"""The check that every exported model brings along: inputs, and what the library computed from them."""

from __future__ import annotations

import numpy as np

from rondeau.export._c.interface import Model
from rondeau.export._c.text import array, literal
from rondeau.export._evaluation import Example

__all__ = ["selftest"]


def selftest(model: Model, test: Example) -> str:
    """Return the function that compares every output and the last states, and a program that calls it.

    Parameters
    ----------
    model : Model
    test : Example
        With an array (T, W) for every argument of a step.
    """
    of_ids, steps = model.description.takes_ids, len(test.x)
    tables = [
        array(f"static const int32_t ids[{steps}]", test.x, is_float=False)
        if of_ids
        else array(f"static const float x[{test.x.size}]", test.x.ravel())
    ]
    drawn = iter([draw for of_layer in test.expected.noise for draw in of_layer])
    arguments = ["ids[t]" if of_ids else "x + t * @@INPUTS"]
    for other in model.inputs:
        values = next(drawn) if other.given is None else test.inputs[other.given]
        tables.append(array(f"static const float {other.name}[{steps * other.width}]", values.ravel()))
        arguments.append(f"{other.name} + t * {other.width}")
    outputs = test.expected.outputs
    tables.append(array(f"static const float outputs[{outputs.size}]", outputs.ravel()))
    last = [state[-1] for of_layer in test.expected.states for state in of_layer]
    checks = []
    for k, ((name, width), values) in enumerate(zip(model.states, last, strict=True)):
        tables.append(array(f"static const float state_{k}[{width}]", np.ravel(values)))
        checks.append(f"    if (@differs(state.{name}, state_{k}, {width})) return {steps};")
    text = "\n".join("    " + line for table in tables for line in table.splitlines())
    of_states = "\n".join(checks) + ("\n" if checks else "")
    without = "    if (@weights == NULL) return -1;\n" * model.in_file
    return f"""\
/* Bits tell what is NaN or infinite, for under -ffast-math comparisons do not. */
static int @differs(const float *found, const float *expected, int count)
{{
    const uint32_t infinity = 0x7f800000u, no_sign = 0x7fffffffu;
    int j;
    for (j = 0; j < count; j++) {{
        uint32_t a, b;
        memcpy(&a, &found[j], sizeof a);
        memcpy(&b, &expected[j], sizeof b);
        if ((b & no_sign) >= infinity) {{
            const int both_nan = (a & no_sign) > infinity && (b & no_sign) > infinity;
            if (a != b && !both_nan) return 1;
        }} else {{
            const float allowed = {literal(test.tolerance)} * (1.0f + fabsf(expected[j]));
            if ((a & no_sign) >= infinity || !(fabsf(found[j] - expected[j]) <= allowed)) return 1;
        }}
    }}
    return 0;
}}

int @selftest(void)
{{
{text}
    static @state state;
    static float y[@@OUTPUTS];
    int t;
{without}    @init(&state);
    for (t = 0; t < {steps}; t++) {{
        @step(&state, {", ".join(arguments)}, y);
        if (@differs(y, outputs + t * @@OUTPUTS, @@OUTPUTS)) return t + 1;
    }}
{of_states}    return 0;
}}

#ifdef @@MAIN
#include <stdio.h>

{_main_with_file(model, steps) if model.in_file else _main(steps)}#endif
"""


def _main(steps: int) -> str:
    return f"""\
int main(void)
{{
    const int step = @selftest();
{_verdict(steps)}}}
"""


def _main_with_file(model: Model, steps: int) -> str:
    """Return a program that is given the file of the weights; it reads one byte more than that may have."""
    words = model.file_bytes // 4 + 1
    return f"""\
int main(int count, char **arguments)
{{
    static uint32_t memory[{words}];
    size_t bytes;
    int step;
    FILE *const file = count == 2 ? fopen(arguments[1], "rb") : NULL;
    if (file == NULL) {{
        fprintf(stderr, count == 2 ? "%s cannot be read\\n" : "usage: %s FILE.bin\\n", arguments[count == 2]);
        return 2;
    }}
    bytes = fread(memory, 1, sizeof memory, file);
    fclose(file);
    if (bytes != {model.file_bytes}u || @use_weights(memory, bytes) != 0) {{
        fprintf(stderr, "%s is damaged, or not the weights of this model: export it again\\n", arguments[1]);
        return 2;
    }}
    step = @selftest();
{_verdict(steps)}}}
"""


def _verdict(steps: int) -> str:
    return f"""\
    if (step == 0) printf("%d steps agree with the library\\n", {steps});
    else printf("step %d differs from the library\\n", step);
    return step != 0;
"""
