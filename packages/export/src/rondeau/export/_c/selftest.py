"""The check that every exported model brings along: inputs, and what the library computed from them."""

from __future__ import annotations

import numpy as np

from rondeau.export._c.interface import Model
from rondeau.export._c.layer import literal
from rondeau.export._c.text import array
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
    for name, width in model.inputs.items():
        values = test.inputs[name.removeprefix("input_")] if name.startswith("input_") else next(drawn)
        tables.append(array(f"static const float {name}[{steps * width}]", values.ravel()))
        arguments.append(f"{name} + t * {width}")
    outputs = test.expected.outputs
    tables.append(array(f"static const float outputs[{outputs.size}]", outputs.ravel()))
    last = [state[-1] for of_layer in test.expected.states for state in of_layer]
    checks = []
    for k, ((name, width), values) in enumerate(zip(model.states, last, strict=True)):
        tables.append(array(f"static const float state_{k}[{width}]", np.ravel(values)))
        checks.append(f"    if (@differs(state.{name}, state_{k}, {width})) return {steps};")
    text = "\n".join("    " + line for table in tables for line in table.splitlines())
    of_states = "\n".join(checks) + ("\n" if checks else "")
    return f"""\
static int @differs(const float *found, const float *expected, int count)
{{
    int j;
    for (j = 0; j < count; j++) {{
        const float distance = fabsf(found[j] - expected[j]);
        if (!(distance <= {literal(test.tolerance)} * (1.0f + fabsf(expected[j]))) && found[j] != expected[j]) return 1;
    }}
    return 0;
}}

int @selftest(void)
{{
{text}
    static @state state;
    static float y[@@OUTPUTS];
    int t;
    @init(&state);
    for (t = 0; t < {steps}; t++) {{
        @step(&state, {", ".join(arguments)}, y);
        if (@differs(y, outputs + t * @@OUTPUTS, @@OUTPUTS)) return t + 1;
    }}
{of_states}    return 0;
}}

#ifdef @@MAIN
#include <stdio.h>

int main(void)
{{
    const int step = @selftest();
    if (step == 0) printf("%d steps agree with the library\\n", {steps});
    else printf("step %d differs from the library\\n", step);
    return step != 0;
}}
#endif
"""
