"""`CompiledPhase`: a phase's compiled source, and the functions that the source may call."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from rondeau.kernels.cpu.lanes import lanes, lanes_at
from rondeau.kernels.cpu.phase_call import phase_signature
from rondeau.kernels.numerics import noise, philox, scalar
from rondeau.kernels.product.microkernel import pointer_at
from rondeau.kernels.runtime.compiling import address_of, addressed_njit, linked_njit

__all__ = ["FUNCTIONS", "CompiledPhase"]


@linked_njit(forceinline=True)
def _minimum(a, b):  # type: ignore[no-untyped-def]
    return a if a <= b or a != a else b


@linked_njit(forceinline=True)
def _maximum(a, b):  # type: ignore[no-untyped-def]
    return a if a >= b or a != a else b


@linked_njit(forceinline=True)
def _clamp(x, low, high):  # type: ignore[no-untyped-def]
    return _minimum(_maximum(x, low), high)


@linked_njit(forceinline=True, fastmath={"contract", "reassoc"})
def _add_in_any_order(total, term):  # type: ignore[no-untyped-def]
    """Add to a sum whose order the compiler may choose, the same for all rows; without this it would stay scalar."""
    return total + term


#: The functions that generated source may call.
FUNCTIONS: dict[str, Any] = {
    **{name: getattr(scalar, name) for name in ("exp", "log", "sigmoid", "softplus", "tanh")},
    **{name: getattr(math, name) for name in ("cos", "erf", "expm1", "log1p", "sin", "sqrt")},
    "sign": np.sign, "clamp": _clamp, "minimum": _minimum, "maximum": _maximum, "lanes": lanes,
    "add_to": _add_in_any_order,
    "random_word": philox.random_word, "normal": noise.normal, "uniform": noise.uniform,
    "lanes_at": lanes_at, "pointer_at": pointer_at,
    "float32": numba.float32, "float64": numba.float64, "inf": math.inf, "nan": math.nan,
}  # fmt: skip


class CompiledPhase:
    """A phase, compiled or loaded from disk for its one signature.

    Attributes
    ----------
    address : int
        The address of its machine code, for `call_phase`.
    """

    def __init__(self, source: str, dtype: Any) -> None:
        namespace = {**FUNCTIONS, "__name__": __name__}
        exec(compile(source, "<rondeau phase>", "exec"), namespace)
        name = source[len("def ") : source.index("(")]
        self.dispatcher = addressed_njit(namespace[name], source=source)
        self.address = address_of(self.dispatcher, phase_signature(dtype))
