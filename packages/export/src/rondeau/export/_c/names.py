"""Names in exported C: those of a cell, where C has no other use for them."""

from __future__ import annotations

from collections.abc import Iterable

from rondeau.kernels.cell.naming import name_values
from rondeau.kernels.cell.schedule import Schedule
from rondeau.kernels.cell.timeline import Phase

__all__ = ["Names"]

_WORDS = frozenset({
    "auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float",
    "for", "goto", "if", "inline", "int", "long", "register", "restrict", "return", "short", "signed", "sizeof",
    "static", "struct", "switch", "typedef", "union", "unsigned", "void", "volatile", "while", "asm", "near", "far",
    "alignas", "alignof", "bool", "constexpr", "false", "nullptr", "static_assert", "thread_local", "true", "typeof",
    "typeof_unqual", "linux", "unix", "i386", "mips", "sparc", "sun", "math_errhandling",
    "j", "x", "id", "work", "memcpy", "memset", "fabsf", "powf", "sqrtf", "expm1f", "logf", "log1pf", "sinf", "cosf",
    "erff", "tanhf", "expf", "copysignf", "size_t", "int8_t", "int32_t", "uint32_t",
})  # fmt: skip
"""Names that no value may have: the words of C, up to C23, macros of compilers and headers, what the functions use."""


class Names:
    """Chooses the names of variables.

    Parameters
    ----------
    prefix : str
        What the functions of the model begin with, followed by an underscore; no variable does.

    Examples
    --------
    >>> names = Names("model")
    >>> names.variable("gate", "i", 0), names.variable("gate", "ψ", 1), Names("gate").variable("gate", "exp", 2)
    ('gate_i', 'gate1', 'gate2')
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = f"{prefix}_"

    def variable(self, kind: str, name: str, number: int) -> str:
        """Return the name of a variable that belongs to a gate, a state, ... of the cell."""
        found = f"{kind}_{name}"
        return found if self._is_free(found) else f"{kind}{number}"

    def values(self, schedule: Schedule, phase: Phase, taken: Iterable[str]) -> dict[int, str]:
        """Return a name for every value that a phase holds in a variable, as `name_values` does."""
        refused = {*_WORDS, *taken}
        while True:
            names = name_values(schedule, phase, refused)
            unfit = {name for name in names.values() if not self._is_free(name)}
            if not unfit:
                return names
            refused |= unfit

    def _is_free(self, name: str) -> bool:
        """Return whether a name is one of C, and not one of a function, a macro or the compiler."""
        is_macro = (len(name) > 1 and name.isupper()) or name.startswith("M_")
        return name.isascii() and not is_macro and not name.startswith(("_", self._prefix))
