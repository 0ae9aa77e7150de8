"""The interface of a model in C: its header, and the functions around the step."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

from rondeau.export._c.text import array
from rondeau.export._description import Description
from rondeau.export._text import LICENCE

__all__ = [
    "STATE_MAGIC",
    "WEIGHTS_MAGIC",
    "WITH_INFINITIES",
    "Argument",
    "Model",
    "beginning",
    "header",
    "includes",
    "run",
    "saving",
    "step_signature",
    "weights_from_file",
]

WEIGHTS_MAGIC, STATE_MAGIC = 0x57444E52, 0x53444E52
"""``RNDW`` and ``RNDS``, as they lie in a file whose bytes are in the order of this one's."""
_STATE_VERSION = 1

WITH_INFINITIES = """\
#ifdef __clang__
#if __has_warning("-Wnan-infinity-disabled")
#pragma clang diagnostic ignored "-Wnan-infinity-disabled" /* of -ffast-math; what that does is said in the header */
#endif
#endif
#include <math.h>
"""
"""The beginning of a source in which there are infinities or NaN."""


class Argument(NamedTuple):
    """An argument of a step besides its input: how many numbers it has, and the named input that it is, if any."""

    name: str
    width: int
    given: str | None = None


class Model(NamedTuple):
    """What the interface depends on.

    Attributes
    ----------
    description : Description
    states : list of (str, int)
        The name and width of each state.
    initial : list of ndarray
        What each begins with.
    inputs : list of Argument
        What a step reads besides its input.
    work : int
        The numbers of the work area.
    floats, integers : int
        The weights in float32 and in int8.
    fingerprint : int
        Of the weights: saved states and files of weights belong to one model.
    in_file : bool
        Whether the weights are in a file.
    tokens : list of bytes or None
        In UTF-8.
    """

    description: Description
    states: list[tuple[str, int]]
    initial: list[NDArray[Any]]
    inputs: list[Argument]
    work: int
    floats: int
    integers: int
    fingerprint: int
    in_file: bool
    tokens: list[bytes] | None

    @property
    def has_zeros_in_tokens(self) -> bool:
        """Whether the text of a token has a zero, at which a string of C would end."""
        return any(0 in token for token in self.tokens or ())

    @property
    def file_bytes(self) -> int:
        """What a file of the weights takes."""
        return 16 + 4 * self.floats + self.integers

    @property
    def saved_bytes(self) -> int:
        """What a saved state takes."""
        return 16 + 4 * sum(width for _, width in self.states)


def step_signature(model: Model) -> str:
    """Return the declaration of the step."""
    x = "int32_t id" if model.description.takes_ids else "const float *x"
    others = [f"const float *{other.name}" for other in model.inputs]
    kind = "int" if model.description.takes_ids else "void"
    return f"{kind} @step({', '.join(['@state *state', x, *others, 'float *y'])})"


def _run_signature(model: Model) -> str:
    x = "const int32_t *ids" if model.description.takes_ids else "const float *x"
    others = [f"const float *{other.name}" for other in model.inputs]
    given = ["@state *states", "size_t batch", "size_t steps", x, *others]
    given += ["const size_t *lengths", "const unsigned char *reset", "float *y"]
    return f"{'int' if model.description.takes_ids else 'void'} @run({', '.join(given)})"


def header(model: Model) -> str:
    """Return the header."""
    description = model.description
    fields = "\n".join(f"    float {name}[{width}];" for name, width in model.states)
    work = f"\n    float work[{model.work}]; /* no part of the state */" if model.work else ""
    fields += work if fields else f"    float work[{max(1, model.work)}]; /* a model without a state */"
    read, checked, checked_all = "@@INPUTS numbers", "", ""
    if description.takes_ids:
        read = "the id of a token"
        checked = "\n * Return 0, or -1 if the id is not from 0 to @@INPUTS - 1; the state is then as it was."
        checked_all = (
            "\n * Return 0, or -1 at the first id that is not one; the steps before it have then been made."
        )
    others = "".join(f", {other.name}: {other.width}" for other in model.inputs)
    state_bytes = 4 * (sum(width for _, width in model.states) + model.work)
    tokens = "" if model.tokens is None else "\nextern const char *const @tokens[@@INPUTS]; /* UTF-8 */\n"
    if model.has_zeros_in_tokens:
        tokens += "extern const uint32_t @token_bytes[@@INPUTS]; /* how long each is: one of them has a zero in it */\n"
    weights = without = ""
    if model.in_file:
        without = "; -1 if\n * there are no weights yet"
        weights = """
/* Use weights that lie at an address that is a multiple of 4, as they lie in their file, until the last step. All bytes
 * are read once, for their checksum. Return 0, or -1 if they are damaged, not those of this model, or for a machine
 * with another order of bytes. To be called before any step. */
int @use_weights(const void *memory, size_t bytes);
"""
    return f"""\
/* A recurrent model, exported by rondeau. {LICENCE}
 *
 * Weights: {4 * model.floats + model.integers} bytes. A state with its work area: {state_bytes} bytes.
 * To check it:  cc -O2 -D@@MAIN FILE.c -lm && ./a.out{" FILE.bin" * model.in_file}
 * exp and tanh are written out, so that compilers vectorise them: within 1 and 1.5 units in the last place. They are
 * those of math.h with -D@@LIBM, and with -ffast-math or what it consists of, under which they would not hold; NaN and
 * infinities are then what the compiler makes of them.
 */
#ifndef @@H
#define @@H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define @@FINGERPRINT {model.fingerprint}u /* of the weights */
#define @@INPUTS {description.inputs}
#define @@OUTPUTS {description.outputs}
#define @@SAVED_BYTES {model.saved_bytes}

typedef struct {{
{fields}
}} @state;
{weights}
/* Begin: to be called once for every new state. */
void @init(@state *state);

/* Begin a new sequence. */
void @reset(@state *state);

/* One step: from {read}{others}, to @@OUTPUTS numbers y, which must not overlap what is read.{checked} */
{step_signature(model)};

/* Steps of a batch of sequences, each with a state of its own. Arrays have an entry for each step and sequence, step
 * by step: x[(t * batch + b) * @@INPUTS], and likewise the others. lengths, if not NULL, has the number of steps of
 * each sequence; outputs past it are 0. reset, if not NULL, is nonzero where a sequence begins anew before a
 * step.{checked_all} */
{_run_signature(model)};

/* Write a state to @@SAVED_BYTES bytes, the same on every machine. */
void @save(const @state *state, unsigned char *bytes);

/* Read a state. Return 0, or -1 if the bytes are not a state of this model; the state is then as it was. */
int @restore(@state *state, const unsigned char *bytes, size_t count);

/* Compare with what the library computed. Return 0, or the number of the first step that differs, from 1{without}. */
int @selftest(void);
{tokens}
#ifdef __cplusplus
}}
#endif

#endif
"""


def includes(model: Model, prefix: str) -> str:
    """Return the beginning of the source."""
    return f"""\
/* {LICENCE} */
#include "{prefix}.h"

#include <math.h>
#include <string.h>

#if @@FINGERPRINT != {model.fingerprint}u
#error "{prefix}.h and {prefix}.c are of different exports: export the model again"
#endif
"""


def weights_from_file(model: Model) -> str:
    """Return the function that finds the weights in memory."""
    integers = "static const int8_t *@bytes;\n" if model.integers else ""
    find = f"    @bytes = (const int8_t *)(@weights + {model.floats});\n" if model.integers else ""
    words = [f"{word:#010x}u" for word in _crc_of_nibbles()]
    table = ",\n        ".join(", ".join(words[first : first + 8]) for first in (0, 8))
    return f"""\
static const float *@weights;
{integers}
/* CRC-32, four bits at a time. */
static uint32_t @checksum(const unsigned char *bytes, size_t count)
{{
    static const uint32_t table[16] = {{
        {table}
    }};
    uint32_t sum = 0xffffffffu;
    for (; count > 0; count--) {{
        sum ^= *bytes++;
        sum = sum >> 4 ^ table[sum & 15u];
        sum = sum >> 4 ^ table[sum & 15u];
    }}
    return ~sum;
}}

int @use_weights(const void *memory, size_t bytes)
{{
    static const uint32_t expected[4] = {{{WEIGHTS_MAGIC}u, @@FINGERPRINT, {model.floats}u, {model.integers}u}};
    const unsigned char *const body = (const unsigned char *)memory + sizeof expected;
    if (memory == NULL || (uintptr_t)memory % sizeof(float) != 0 || bytes < {model.file_bytes}u) return -1;
    if (memcmp(memory, expected, sizeof expected) != 0) return -1;
    if (@checksum(body, {model.file_bytes - 16}u) != @@FINGERPRINT) return -1;
    @weights = (const float *)(const void *)body;
{find}    return 0;
}}
"""


def _crc_of_nibbles() -> list[int]:
    """Return what each value of four bits adds to a CRC-32, as zlib computes it."""
    words = []
    for word in range(16):
        for _ in range(4):
            word = word >> 1 ^ (0xEDB88320 if word & 1 else 0)
        words.append(word)
    return words


def beginning(model: Model) -> str:
    """Return the functions that begin a state."""
    lines, arrays = [], []
    for k, ((name, width), initial) in enumerate(zip(model.states, model.initial, strict=True)):
        if initial.any():
            arrays.append(array(f"static const float @initial_{k}[{width}]", initial))
            lines.append(f"    memcpy(state->{name}, @initial_{k}, sizeof state->{name});")
        else:
            lines.append(f"    memset(state->{name}, 0, sizeof state->{name});")
    body = "\n".join(lines or ["    (void)state;"])
    learned = "".join(f"{text}\n\n" for text in arrays)
    return f"""\
{learned}void @reset(@state *state)
{{
{body}
}}

void @init(@state *state)
{{
    memset(state, 0, sizeof *state);
    @reset(state);
}}
"""


def run(model: Model) -> str:
    """Return the function that runs sequences."""
    x = "ids[place]" if model.description.takes_ids else "x + place * @@INPUTS"
    others = [f"{other.name} + place * {other.width}" for other in model.inputs]
    arguments = ", ".join(["&states[b]", x, *others, "y + place * @@OUTPUTS"])
    step, end = f"@step({arguments});", ""
    if model.description.takes_ids:
        step, end = f"if (@step({arguments}) != 0) return -1;", "    return 0;\n"
    return f"""\
{_run_signature(model)}
{{
    size_t t, b, place = 0;
    for (t = 0; t < steps; t++) {{
        for (b = 0; b < batch; b++, place++) {{
            if (lengths != NULL && t >= lengths[b]) {{
                memset(y + place * @@OUTPUTS, 0, @@OUTPUTS * sizeof(float));
                continue;
            }}
            if (reset != NULL && reset[place]) @reset(&states[b]);
            {step}
        }}
    }}
{end}}}
"""


def saving(model: Model) -> str:
    """Return the functions that save and restore a state."""
    count = sum(width for _, width in model.states)
    parts = [(f"state->{name}", width) for name, width in model.states]
    put = "".join(f"    bytes = @put(bytes, {name}, {width});\n" for name, width in parts)
    get = "".join(f"    bytes = @get(bytes, {name}, {width});\n" for name, width in parts)
    unused = "" if parts else "    (void)state;\n"
    return f"""\
static const uint32_t @head[4] = {{{STATE_MAGIC}u, {_STATE_VERSION}u, @@FINGERPRINT, {count}u}};

static unsigned char *@put_word(unsigned char *bytes, uint32_t word)
{{
    int k;
    for (k = 0; k < 4; k++) *bytes++ = (unsigned char)(word >> (8 * k) & 255u);
    return bytes;
}}

static uint32_t @word_at(const unsigned char *bytes)
{{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}}
{_PUT_AND_GET if parts else ""}
void @save(const @state *state, unsigned char *bytes)
{{
    int k;
    for (k = 0; k < 4; k++) bytes = @put_word(bytes, @head[k]);
{put or unused}    (void)bytes;
}}

int @restore(@state *state, const unsigned char *bytes, size_t count)
{{
    int k;
    if (count != @@SAVED_BYTES) return -1;
    for (k = 0; k < 4; k++, bytes += 4) {{
        if (@word_at(bytes) != @head[k]) return -1;
    }}
{get or unused}    (void)bytes;
    return 0;
}}
"""


_PUT_AND_GET = """
static unsigned char *@put(unsigned char *bytes, const float *numbers, int count)
{
    int j;
    for (j = 0; j < count; j++) {
        uint32_t word;
        memcpy(&word, &numbers[j], sizeof word);
        bytes = @put_word(bytes, word);
    }
    return bytes;
}

static const unsigned char *@get(const unsigned char *bytes, float *numbers, int count)
{
    int j;
    for (j = 0; j < count; j++, bytes += 4) {
        const uint32_t word = @word_at(bytes);
        memcpy(&numbers[j], &word, sizeof word);
    }
    return bytes;
}
"""
