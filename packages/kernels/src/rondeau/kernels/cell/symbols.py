"""Symbols: the values that a step works on while it is traced.

Symbols overload arithmetic and comparisons to record each operation in the graph. Whatever would need an actual number
(``if``, ``len``, ``math.tanh``) raises an error that shows the user's line.
"""

from __future__ import annotations

import contextlib
import contextvars
import difflib
import numbers
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from rondeau.kernels.cell.errors import raise_at_user_line
from rondeau.kernels.cell.graph import Graph, Rank
from rondeau.kernels.cell.operations import OPERATIONS

__all__ = [
    "MOST_DRAWS",
    "Inputs",
    "RecurrentPart",
    "Symbol",
    "apply",
    "constant_symbol",
    "drawn_symbol",
    "input_symbol",
    "suggest_function",
    "tracing",
]

_UFUNC_ARITHMETIC = {
    "add": "add", "subtract": "sub", "multiply": "mul", "divide": "div", "less": "lt", "less_equal": "le",
    "greater": "gt", "greater_equal": "ge", "equal": "eq", "not_equal": "ne",
}  # fmt: skip


_MOST_FACTORS = 16
"""Integer exponents up to this are multiplied out: at most six products, each within half a unit in the last place."""

MOST_DRAWS = 28
"""The random numbers that a step may draw, each from a substream of its own; see `recurrent.substreams`."""


class Symbol:
    """A value of the step being traced: one number per hidden unit and batch row, not yet known."""

    __slots__ = ("graph", "index")
    __hash__ = object.__hash__

    def __init__(self, graph: Graph, index: int) -> None:
        self.graph = graph
        self.index = index

    def __add__(self, other: object) -> Symbol:
        return apply(self.graph, "add", self, other)

    def __radd__(self, other: object) -> Symbol:
        return apply(self.graph, "add", other, self)

    def __sub__(self, other: object) -> Symbol:
        return apply(self.graph, "sub", self, other)

    def __rsub__(self, other: object) -> Symbol:
        return apply(self.graph, "sub", other, self)

    def __mul__(self, other: object) -> Symbol:
        return apply(self.graph, "mul", self, other)

    def __rmul__(self, other: object) -> Symbol:
        return apply(self.graph, "mul", other, self)

    def __truediv__(self, other: object) -> Symbol:
        return apply(self.graph, "div", self, other)

    def __rtruediv__(self, other: object) -> Symbol:
        return apply(self.graph, "div", other, self)

    def __neg__(self) -> Symbol:
        return apply(self.graph, "neg", self)

    def __pos__(self) -> Symbol:
        return self

    def __abs__(self) -> Symbol:
        return apply(self.graph, "abs", self)

    def __pow__(self, exponent: object) -> Symbol:
        if not isinstance(exponent, numbers.Real) or isinstance(exponent, bool):
            raise_at_user_line(
                f"a power takes a number as its exponent, not {type(exponent).__name__}; use exp(p * log(x))"
            )
        number = float(exponent)
        if number == 0:
            return _operand(self.graph, "pow", 1.0)
        if not number.is_integer() or not 1 <= number <= _MOST_FACTORS:
            return apply(self.graph, "pow", self, number)
        power = self
        for digit in format(int(number), "b")[1:]:
            power = power * power
            power = power * self if digit == "1" else power
        return power

    def __rpow__(self, base: object) -> NoReturn:
        raise_at_user_line("a power takes a number as its exponent; use exp(x * log(base))")

    def __matmul__(self, other: object) -> NoReturn:
        gate = self.graph.gates[0]
        raise_at_user_line(
            f"a step is scalar: r.{gate} already holds the product of gate {gate}'s matrix and the old state"
        )

    __rmatmul__ = __matmul__

    def __mod__(self, other: object) -> NoReturn:
        raise_at_user_line("a step has the operators + - * / and **, but not // or %")

    __rmod__ = __floordiv__ = __rfloordiv__ = __divmod__ = __rdivmod__ = __mod__

    def __lt__(self, other: object) -> Symbol:
        return apply(self.graph, "lt", self, other)

    def __le__(self, other: object) -> Symbol:
        return apply(self.graph, "le", self, other)

    def __gt__(self, other: object) -> Symbol:
        return apply(self.graph, "gt", self, other)

    def __ge__(self, other: object) -> Symbol:
        return apply(self.graph, "ge", self, other)

    def __eq__(self, other: object) -> Symbol:  # type: ignore[override]
        return apply(self.graph, "eq", self, other)

    def __ne__(self, other: object) -> Symbol:  # type: ignore[override]
        return apply(self.graph, "ne", self, other)

    def __and__(self, other: object) -> Symbol:
        return apply(self.graph, "and", self, other)

    def __or__(self, other: object) -> Symbol:
        return apply(self.graph, "or", self, other)

    def __invert__(self) -> Symbol:
        return apply(self.graph, "not", self)

    def __bool__(self) -> NoReturn:
        raise_at_user_line(
            "a symbol has no truth value (if, while, and, or, not, assert, min, max need one); "
            "choose with cell_math.where(condition, a, b), combine comparisons with & | ~"
        )

    def __float__(self) -> NoReturn:
        raise_at_user_line(
            "a symbol cannot become a Python number (math.tanh and its kin need one); use cell_math"
        )

    __int__ = __index__ = __complex__ = __round__ = __float__

    def __len__(self) -> NoReturn:
        raise_at_user_line("a symbol is one number per hidden unit and has no length")

    def __iter__(self) -> Iterator[NoReturn]:
        raise_at_user_line("a symbol is one number per hidden unit and cannot be iterated over")

    def __getitem__(self, key: object) -> NoReturn:
        raise_at_user_line("a symbol is one number per hidden unit and cannot be indexed")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # protocols probe for these
            raise AttributeError(name)
        raise_at_user_line(
            f"a symbol has no attribute {name!r}; functions are in cell_math, as in cell_math.tanh(x.k)"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: object, **options: object) -> Symbol:
        if ufunc.__name__ == "matmul":
            self.__matmul__(None)
        op = _UFUNC_ARITHMETIC.get(ufunc.__name__)
        if op is None or method != "__call__" or options:
            raise_at_user_line(
                f"numpy.{ufunc.__name__} cannot take a symbol; {suggest_function(ufunc.__name__)}"
            )
        return apply(self.graph, op, *inputs)  # reached by np.float32(2) * symbol

    def __array_function__(self, function: Any, *_: object) -> NoReturn:
        raise_at_user_line(
            f"numpy.{function.__name__} cannot take a symbol; {suggest_function(function.__name__)}"
        )


class RecurrentPart(Symbol):
    """``r.k``, gate k's recurrent part; calling it with a value applies the gate's recurrent matrix to that value."""

    __slots__ = ("gate", "keep")

    def __init__(self, graph: Graph, index: int, gate: str, keep: Symbol | None) -> None:
        super().__init__(graph, index)
        self.gate, self.keep = gate, keep

    def __call__(self, *values: object) -> Symbol:
        """Return the product of gate k's recurrent matrix with one value, plus the gate's recurrent bias."""
        if len(values) != 1:
            raise_at_user_line(f"r.{self.gate}(value) takes one value, got {len(values)}")
        (value,) = values
        if not isinstance(value, Symbol):
            raise_at_user_line(
                f"r.{self.gate}(value) takes a value that the step computed, not {type(value).__name__}"
            )
        if self.keep is not None:
            value = apply(self.graph, "mul", value, self.keep)
        if self.graph.is_truth(value.index):
            raise_at_user_line(
                f"r.{self.gate}(value) takes a number, but this is a comparison: use where(condition, 1, 0)"
            )
        if self.graph.rank(value.index) != Rank.UNIT:
            raise_at_user_line(
                f"r.{self.gate}(value) takes one number per hidden unit; an input of the step has one if it is given "
                "with H numbers in its last dimension"
            )
        return Symbol(self.graph, self.graph.add("product", (value.index,), self.gate))


class Inputs:
    """The inputs of one kind as attributes: ``x.gate``, ``r.gate``, ``s.state``, ``p.parameter`` or ``u.input``."""

    def __init__(self, letter: str, what: str, symbols: Mapping[str, Symbol]) -> None:
        self.__dict__.update(symbols)
        self._letter, self._what, self._names = letter, what, tuple(symbols)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        near = difflib.get_close_matches(name, self._names, n=1)
        hint = f"; did you mean {self._letter}.{near[0]}?" if near else ""
        a = "an" if self._what == "input" else "a"
        raise_at_user_line(
            f"{self._letter}.{name} is not {a} {self._what} of this cell, which has {', '.join(self._names)}{hint}"
        )


def input_symbol(graph: Graph, kind: str, name: str) -> Symbol:
    """Return the symbol of an input, for example ``("x", gate)``."""
    return Symbol(graph, graph.add("input", value=(kind, name)))


_traced: contextvars.ContextVar[Graph | None] = contextvars.ContextVar("traced", default=None)


@contextlib.contextmanager
def tracing(graph: Graph) -> Iterator[None]:
    """Let functions of the language without operands record in this graph, inside a ``with`` block."""
    token = _traced.set(graph)
    try:
        yield
    finally:
        _traced.reset(token)


def drawn_symbol(distribution: str) -> Symbol:
    """Return the symbol of the next random number of the step that is being traced.

    Raises
    ------
    CellError
        If no step is being traced, or it draws too many numbers.
    """
    graph = _traced.get()
    if graph is None:
        raise_at_user_line(
            f"{distribution}() draws a number for each unit of a step: call it in the step of a cell"
        )
    number = len(graph.draws)
    if number >= MOST_DRAWS:
        raise_at_user_line(f"a step may draw at most {MOST_DRAWS} random numbers, and this is one more")
    return input_symbol(graph, distribution, str(number))


def constant_symbol(graph: Graph, value: numbers.Real) -> Symbol:
    """Return the symbol of a constant."""
    try:
        return Symbol(graph, graph.add("const", value=float(value)))
    except OverflowError:
        raise_at_user_line("a number is beyond the range of float64; write float('inf') if you mean infinity")


def apply(graph: Graph, op: str, *operands: object) -> Symbol:
    """Record ``op`` applied to symbols and Python numbers; anything else is an error."""
    symbols = [_operand(graph, op, value) for value in operands]
    for position, symbol in enumerate(symbols):
        wants_truth = position in OPERATIONS[op].takes_truth
        if graph.is_truth(symbol.index) != wants_truth:
            raise_at_user_line(
                f"{op} takes a comparison as its operand {position}, as in where(a > b, a, b)"
                if wants_truth
                else f"{op} takes numbers, but its operand {position} is a comparison: use where(condition, 1, 0)"
            )
    if op == "sum" and graph.rank(symbols[0].index) != Rank.UNIT:  # the same for every unit
        return symbols[0] * input_symbol(graph, "width", "H")
    return Symbol(graph, graph.add(op, tuple(symbol.index for symbol in symbols)))


def _operand(graph: Graph, op: str, value: object) -> Symbol:
    """Return an operand as a symbol of the graph, or raise CellError."""
    if isinstance(value, Symbol):
        if value.graph is not graph:
            raise_at_user_line(
                "a symbol was kept from an earlier call of a step; use only the arguments of this call"
            )
        return value
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise_at_user_line(
            f"{op} takes symbols and numbers, not {type(value).__name__}; arrays and learned vectors "
            "cannot be captured by a step"
        )
    return constant_symbol(graph, value)


def suggest_function(name: str) -> str:
    """Return advice on which function of the language to use instead of another library's.

    >>> suggest_function("tanh"), suggest_function("gamma")
    ('use cell_math.tanh', 'use the functions of cell_math')
    """
    near = difflib.get_close_matches(
        name,
        [op for op, known in OPERATIONS.items() if not known.is_operator and op != "sum"],
        n=1,
        cutoff=0.7,
    )
    return f"use cell_math.{near[0]}" if near else "use the functions of cell_math"
