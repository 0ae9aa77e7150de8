"""Trace: call a cell's step once with symbols, and record what it computes as a graph.

A step is scalar Python over one hidden unit, ``step(x, r, s)``: ``x.k`` is gate k's input part, ``r.k`` its
recurrent part and ``s.name`` a state before the step; it returns the new states. A fourth argument ``p`` holds
learned vectors, keyword-only arguments are scalars of the run, and ``r.k(value)`` applies gate k's recurrent matrix
to a value instead of the first state. Symbols overload arithmetic and comparisons; `rondeau.kernels.cell.cell_math`
holds the functions. The trace sees one path through the step, so whatever would need a value (``if``, ``len``,
``math.tanh``) is an error that shows the user's line.
"""

from __future__ import annotations

import difflib
import enum
import inspect
import linecache
import numbers
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FrameType
from typing import Any, NamedTuple, NoReturn

__all__ = [
    "OPERATIONS",
    "CellError",
    "Graph",
    "Node",
    "Rank",
    "Regularisers",
    "Symbol",
    "scalars_of",
    "trace",
]

# Where a step's call may have led when it fails; its own line is the one before.
_CALLED = (__name__.rpartition(".")[0], "rondeau.tensor", "rondeau.nn.functional", "numpy")

#: Every operation of the language and its number of operands. `derive` holds its derivative, each target its code.
OPERATIONS: Mapping[str, int] = {
    **dict.fromkeys(("neg", "abs", "sqrt", "exp", "log", "sigmoid", "tanh", "relu", "softplus", "not"), 1),
    "sum": 1,  # over the hidden units of a row
    **dict.fromkeys(("add", "sub", "mul", "div", "minimum", "maximum", "and", "or"), 2),
    **dict.fromkeys(("lt", "le", "gt", "ge", "eq", "ne"), 2),
    "where": 3,
}
_COMPARISONS = frozenset(("lt", "le", "gt", "ge", "eq", "ne"))
_LOGICAL = frozenset(("and", "or", "not"))
_UFUNC_ARITHMETIC = {
    "add": "add", "subtract": "sub", "multiply": "mul", "divide": "div", "less": "lt", "less_equal": "le",
    "greater": "gt", "greater_equal": "ge", "equal": "eq", "not_equal": "ne",
}  # fmt: skip


class CellError(Exception):
    """A step that cannot be traced. The message names the file and line of the step and shows it."""


class Rank(enum.IntEnum):
    """Of how many numbers a value consists."""

    CALL = 0
    """One number for the whole run: a constant or a scalar of the run."""
    ROW = 1
    """One number per batch row, as a sum over the hidden units is."""
    UNIT = 2
    """One number per batch row and hidden unit."""


class Regularisers(NamedTuple):
    """What a trace weaves into a step; the rates are scalars of the run.

    Attributes
    ----------
    dropout : bool
        What recurrent matrices multiply is first multiplied by a mask that does not vary over time
        (Gal, Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", 2016).
    zoneout : tuple of str
        States of which units keep their old value at random (Krueger et al., "Zoneout", 2017).
    expected : bool
        Zoneout by its expectation, ``rate * old + (1 - rate) * new``, as in evaluation.
    """

    dropout: bool = False
    zoneout: tuple[str, ...] = ()
    expected: bool = False


class Node(NamedTuple):
    """One value of a graph: an operation on earlier nodes, a constant, an input, or a recurrent product.

    ``op`` is a key of `OPERATIONS`, ``"const"`` (``value`` is a float), ``"input"`` (``value`` is a pair such as
    ``("x", "gate")``) or ``"product"`` (gate ``value``'s recurrent matrix and bias, applied to the one argument);
    ``args`` are indices of earlier nodes.

    Inputs are ``("x", gate)``, ``("r", gate)``, ``("s", state)``, ``("p", parameter)``, ``("k", scalar)``, the zoneout
    rate ``("rate", state)``, ``("uniform", state)``: a number drawn from [0, 1), ``("mask", "h")``: that of recurrent
    dropout, and ``("width", "H")``: the number of hidden units.
    """

    op: str
    args: tuple[int, ...] = ()
    value: Any = None


class Graph:
    """The values a step computes, in an order in which each follows its operands.

    Equal values are recorded once, so a subexpression written twice is computed once.

    Attributes
    ----------
    nodes : list of Node
    outputs : tuple of int
        The node of each new state.
    labels : dict
        Node index to the name of the step's variable that held it; only for readable generated source.
    """

    def __init__(self, gates: tuple[str, ...], states: tuple[str, ...], params: tuple[str, ...] = ()) -> None:
        self.gates = gates
        self.states = states
        self.params = params
        self.nodes: list[Node] = []
        self.outputs: tuple[int, ...] = ()
        self.labels: dict[int, str] = {}
        self._index: dict[tuple[str, tuple[int, ...], str], int] = {}
        self._ranks: list[Rank] = []

    def add(self, op: str, args: tuple[int, ...] = (), value: Any = None) -> Symbol:
        """Record a node, or find the equal one that is already there."""
        key = op, args, repr(value)  # repr: 0.0 == -0.0, yet they are two constants
        index = self._index.get(key)
        if index is None:
            index = self._index[key] = len(self.nodes)
            self.nodes.append(Node(op, args, value))
            self._ranks.append(self._rank(op, args, value))
        return Symbol(self, index)

    def rank(self, index: int) -> Rank:
        """Return of how many numbers a node consists."""
        return self._ranks[index]

    def _rank(self, op: str, args: tuple[int, ...], value: Any) -> Rank:
        if op == "sum":
            return Rank.ROW
        if op == "const" or (op == "input" and value[0] in ("k", "rate", "width")):
            return Rank.CALL
        if op in ("input", "product"):
            return Rank.UNIT
        return max(self._ranks[arg] for arg in args)

    def input(self, kind: str, name: str) -> Symbol:
        """Return the symbol of an input, such as ``("x", gate)``."""
        return self.add("input", value=(kind, name))

    def constant(self, value: numbers.Real) -> Symbol:
        """Return the symbol of a number."""
        try:
            return self.add("const", value=float(value))
        except OverflowError:
            raise_at_user_line("a number is beyond the range of float64; write float('inf') if that is meant")

    def apply(self, op: str, *operands: object) -> Symbol:
        """Record ``op`` applied to symbols and Python numbers; refuse anything else."""
        symbols = [self._operand(op, value) for value in operands]
        for position, symbol in enumerate(symbols):
            wants_truth = op in _LOGICAL or (op == "where" and position == 0)
            if self.is_truth(symbol.index) != wants_truth:
                raise_at_user_line(
                    f"{op} takes a comparison as its operand {position}, as in where(a > b, a, b)"
                    if wants_truth
                    else f"{op} takes numbers, and its operand {position} is a comparison: use where(condition, 1, 0)"
                )
        if op == "sum" and self.rank(symbols[0].index) != Rank.UNIT:  # every unit has the same
            return symbols[0] * self.input("width", "H")
        return self.add(op, tuple(symbol.index for symbol in symbols))

    def is_truth(self, index: int) -> bool:
        """Tell whether a node is a truth value (a comparison, or one made of comparisons)."""
        return self.nodes[index].op in _COMPARISONS or self.nodes[index].op in _LOGICAL

    def copy(self) -> Graph:
        """Return a graph with the same nodes, to which others can be added."""
        other = Graph(self.gates, self.states, self.params)
        other.nodes, other.outputs = list(self.nodes), self.outputs
        other.labels, other._index = dict(self.labels), dict(self._index)
        other._ranks = list(self._ranks)
        return other

    def find(self, kind: str, name: str, among: Iterable[int] | None = None) -> int | None:
        """Return the node of an input, None where there is none."""
        indices = range(len(self.nodes)) if among is None else among
        return next(
            (i for i in indices if self.nodes[i].op == "input" and self.nodes[i].value == (kind, name)), None
        )

    @property
    def recurrent_parts(self) -> dict[str, int]:
        """The node of every gate's recurrent part that the step reads, in the order of the gates."""
        parts = {}
        for index in self.reach(self.outputs):
            node = self.nodes[index]
            if node.op == "product":
                parts[node.value] = index
            elif node.op == "input" and node.value[0] == "r":
                parts[node.value[1]] = index
        return {gate: parts[gate] for gate in self.gates if gate in parts}

    def reach(self, roots: tuple[int, ...] | list[int], known: frozenset[int] = frozenset()) -> list[int]:
        """Return, in order, the nodes that ``roots`` need, themselves included, without looking behind ``known``."""
        needed, pending = set(), list(roots)
        while pending:
            index = pending.pop()
            if index not in needed:
                needed.add(index)
                if index not in known:
                    pending.extend(self.nodes[index].args)
        return sorted(needed)

    def __str__(self) -> str:
        lines = []
        for index in self.reach(self.outputs):
            op, args, value = self.nodes[index]
            words = [op, *(f"%{a}" for a in args)]
            if op == "input":
                words.append(".".join(value))
            elif value is not None:
                words.insert(1, str(value))
            lines.append(f"%{index} = {' '.join(words)}")
        lines += [f"new {state} = %{index}" for state, index in zip(self.states, self.outputs, strict=True)]
        return "\n".join(lines)

    def _operand(self, op: str, value: object) -> Symbol:
        if isinstance(value, Symbol):
            if value.graph is not self:
                raise_at_user_line(
                    "a symbol was kept from an earlier call of a step; use this call's arguments only"
                )
            return value
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise_at_user_line(
                f"{op} takes symbols and numbers, not {type(value).__name__}; arrays and learned vectors "
                "cannot be captured by a step"
            )
        return self.constant(value)


class Symbol:
    """A value of the step being traced: one number per hidden unit and batch row, not known yet."""

    __slots__ = ("graph", "index")
    __hash__ = object.__hash__

    def __init__(self, graph: Graph, index: int) -> None:
        self.graph = graph
        self.index = index

    def __add__(self, other: object) -> Symbol:
        return self.graph.apply("add", self, other)

    def __radd__(self, other: object) -> Symbol:
        return self.graph.apply("add", other, self)

    def __sub__(self, other: object) -> Symbol:
        return self.graph.apply("sub", self, other)

    def __rsub__(self, other: object) -> Symbol:
        return self.graph.apply("sub", other, self)

    def __mul__(self, other: object) -> Symbol:
        return self.graph.apply("mul", self, other)

    def __rmul__(self, other: object) -> Symbol:
        return self.graph.apply("mul", other, self)

    def __truediv__(self, other: object) -> Symbol:
        return self.graph.apply("div", self, other)

    def __rtruediv__(self, other: object) -> Symbol:
        return self.graph.apply("div", other, self)

    def __neg__(self) -> Symbol:
        return self.graph.apply("neg", self)

    def __pos__(self) -> Symbol:
        return self

    def __abs__(self) -> Symbol:
        return self.graph.apply("abs", self)

    def __pow__(self, exponent: object) -> Symbol:
        if not isinstance(exponent, int) or exponent < 1:
            raise_at_user_line(
                f"a power takes a whole exponent from 1, not {exponent!r}; use exp(p * log(x)) or sqrt(x)"
            )
        power = self
        for digit in format(exponent, "b")[1:]:
            power = power * power
            power = power * self if digit == "1" else power
        return power

    def __lt__(self, other: object) -> Symbol:
        return self.graph.apply("lt", self, other)

    def __le__(self, other: object) -> Symbol:
        return self.graph.apply("le", self, other)

    def __gt__(self, other: object) -> Symbol:
        return self.graph.apply("gt", self, other)

    def __ge__(self, other: object) -> Symbol:
        return self.graph.apply("ge", self, other)

    def __eq__(self, other: object) -> Symbol:  # type: ignore[override]
        return self.graph.apply("eq", self, other)

    def __ne__(self, other: object) -> Symbol:  # type: ignore[override]
        return self.graph.apply("ne", self, other)

    def __and__(self, other: object) -> Symbol:
        return self.graph.apply("and", self, other)

    def __or__(self, other: object) -> Symbol:
        return self.graph.apply("or", self, other)

    def __invert__(self) -> Symbol:
        return self.graph.apply("not", self)

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
        op = _UFUNC_ARITHMETIC.get(ufunc.__name__)
        if op is None or method != "__call__" or options:
            raise_at_user_line(
                f"numpy.{ufunc.__name__} cannot take a symbol; {_suggest_function(ufunc.__name__)}"
            )
        return self.graph.apply(op, *inputs)  # np.float32(2) * symbol comes this way

    def __array_function__(self, function: Any, *_: object) -> NoReturn:
        raise_at_user_line(
            f"numpy.{function.__name__} cannot take a symbol; {_suggest_function(function.__name__)}"
        )


class RecurrentPart(Symbol):
    """``r.k``, gate k's recurrent part; called with a value, its recurrent matrix applied to that value."""

    __slots__ = ("gate", "keep")

    def __init__(self, graph: Graph, index: int, gate: str, keep: Symbol | None) -> None:
        super().__init__(graph, index)
        self.gate, self.keep = gate, keep

    def __call__(self, *values: object) -> Symbol:
        if len(values) != 1:
            raise_at_user_line(f"r.{self.gate}(value) takes one value, got {len(values)}")
        (value,) = values
        if not isinstance(value, Symbol):
            raise_at_user_line(
                f"r.{self.gate}(value) takes a value that the step computed, not {type(value).__name__}"
            )
        if self.keep is not None:
            value = self.graph.apply("mul", value, self.keep)
        if self.graph.is_truth(value.index):
            raise_at_user_line(
                f"r.{self.gate}(value) takes a number, and this is a comparison: use where(condition, 1, 0)"
            )
        if self.graph.rank(value.index) != Rank.UNIT:
            raise_at_user_line(f"r.{self.gate}(value) takes one number per hidden unit")
        return self.graph.add("product", (value.index,), self.gate)


class Inputs:
    """The inputs of one kind as attributes: ``x.gate``, ``r.gate``, ``s.state`` or ``p.parameter``."""

    def __init__(self, letter: str, what: str, symbols: Mapping[str, Symbol]) -> None:
        self.__dict__.update(symbols)
        self._letter, self._what, self._names = letter, what, tuple(symbols)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        near = difflib.get_close_matches(name, self._names, n=1)
        hint = f"; did you mean {self._letter}.{near[0]}?" if near else ""
        raise_at_user_line(
            f"{self._letter}.{name} is no {self._what} of this cell, which has {', '.join(self._names)}{hint}"
        )


def trace(
    step: Callable[..., Any],
    gates: tuple[str, ...],
    states: tuple[str, ...],
    params: tuple[str, ...] = (),
    regularisers: Regularisers = Regularisers(),  # noqa: B008 - an immutable default
) -> Graph:
    """Call ``step`` once with symbols and return the graph of what it computes.

    Parameters
    ----------
    step : callable
        ``step(x, r, s)``, returning the new states in the order of ``states``: a tuple, or one value for one state.
        With ``params``, ``step(x, r, s, p)``. Keyword-only arguments are scalars of the run; see `scalars_of`.
    gates, states, params : tuple of str
        Names of the gates, of the states, and of the learned vectors.
    regularisers : Regularisers, optional
        What to weave into the step.

    Returns
    -------
    Graph

    Raises
    ------
    CellError
        When the step does anything that cannot be recorded; the message shows the user's line.

    Examples
    --------
    >>> from rondeau.kernels.cell import cell_math as m
    >>> print(trace(lambda x, r, s: m.tanh(x.h + r.h), ("h",), ("h",)))
    %0 = input x.h
    %1 = input r.h
    %3 = add %0 %1
    %4 = tanh %3
    new h = %4
    """
    _check_names(step, gates, "gate")
    _check_names(step, states, "state")
    if params:
        _check_names(step, params, "parameter")
    scalars = scalars_of(step)
    _check_signature(step, params)
    graph = Graph(tuple(gates), tuple(states), tuple(params))
    x = Inputs("x", "gate", {gate: graph.input("x", gate) for gate in gates})
    r = Inputs("r", "gate", _recurrent_parts(graph, regularisers.dropout))
    s = Inputs("s", "state", {state: graph.input("s", state) for state in states})
    p = [Inputs("p", "parameter", {param: graph.input("p", param) for param in params})] if params else []
    given = {scalar: graph.input("k", scalar) for scalar in scalars}
    results, variables = _call_and_keep_variables(step, (x, r, s, *p), given)
    results = results if isinstance(results, tuple) else (results,)
    if len(results) != len(states):
        raise CellError(
            f"{_describe_definition(step)}\nthe step returned {_count(len(results), 'value')}, "
            f"and the cell has {_count(len(states), 'state')} ({', '.join(states)}): "
            "return one value per state, in that order"
        )
    outputs = []
    for state, result in zip(states, results, strict=True):
        number = isinstance(result, numbers.Real) and not isinstance(result, bool)
        if not number and not isinstance(result, Symbol):
            raise CellError(
                f"{_describe_definition(step)}\nthe new state {state} must be a symbol or a number, "
                f"and the step returned {type(result).__name__}"
            )
        symbol = result if isinstance(result, Symbol) else graph.constant(result)
        if symbol.graph is not graph or graph.is_truth(symbol.index):
            what = "a comparison" if symbol.graph is graph else "a symbol kept from an earlier call"
            raise CellError(
                f"{_describe_definition(step)}\nthe new state {state} must be a number, not {what}"
            )
        if state in regularisers.zoneout:
            symbol = _zone_out(graph, state, symbol, regularisers.expected)
        outputs.append(symbol.index)
    graph.outputs = tuple(outputs)
    _check_products(step, graph)
    for name, value in variables.items():
        if isinstance(value, Symbol) and value.graph is graph and graph.nodes[value.index].op in OPERATIONS:
            graph.labels.setdefault(value.index, name)
    return graph


def scalars_of(step: Callable[..., Any]) -> dict[str, float]:
    """Return the scalars of a step and their defaults: its keyword-only parameters.

    Examples
    --------
    >>> scalars_of(lambda x, r, s, *, leak=0.5: (1 - leak) * s.h + leak * x.h)
    {'leak': 0.5}
    """
    try:
        parameters = inspect.signature(step).parameters.values()
    except (TypeError, ValueError):
        return {}
    scalars = {}
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            default = parameter.default
            if isinstance(default, bool) or not isinstance(default, numbers.Real):
                raise CellError(
                    f"{_describe_definition(step)}\nthe scalar {parameter.name} needs a number as its default, "
                    f"as in *, {parameter.name}=0.5"
                )
            scalars[parameter.name] = float(default)
    return scalars


def _recurrent_parts(graph: Graph, dropout: bool) -> dict[str, Symbol]:
    """Return ``r.k`` for every gate; with recurrent dropout it is the product with the masked first state."""
    if not dropout:
        return {gate: RecurrentPart(graph, graph.input("r", gate).index, gate, None) for gate in graph.gates}
    keep = graph.input("mask", "h")
    masked = graph.apply("mul", graph.input("s", graph.states[0]), keep)
    return {
        gate: RecurrentPart(graph, graph.add("product", (masked.index,), gate).index, gate, keep)
        for gate in graph.gates
    }


def _zone_out(graph: Graph, state: str, new: Symbol, expected: bool) -> Symbol:
    """Return the new state of which some units keep the old value, or the expectation of it."""
    old, rate = graph.input("s", state), graph.input("rate", state)
    if expected:
        return rate * old + (1 - rate) * new
    return graph.apply("where", graph.input("uniform", state) < rate, old, new)


def _check_products(step: Callable[..., Any], graph: Graph) -> None:
    """Refuse a recurrent matrix that is used twice: its product is computed once a step."""
    seen: set[str] = set()
    for index in graph.reach(graph.outputs):
        node = graph.nodes[index]
        if node.op == "product" or (node.op == "input" and node.value[0] == "r"):
            gate = node.value if node.op == "product" else node.value[1]
            if gate in seen:
                raise CellError(
                    f"{_describe_definition(step)}\nr.{gate} is applied to two values, and a recurrent matrix to one: "
                    "give the cell another gate"
                )
            seen.add(gate)


def raise_at_user_line(message: str) -> NoReturn:
    """Raise a `CellError` that names and shows the line of the step that is running now."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_CALLED):
        frame = frame.f_back
    where = (
        ""
        if frame is None
        else _describe_line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name) + "\n"
    )
    raise CellError(where + message) from None


def _describe_line(filename: str, line: int, function: str) -> str:
    text = linecache.getline(filename, line).strip()
    return f'File "{filename}", line {line}, in {function}' + (f"\n    {text}" if text else "")


def _describe_definition(step: Callable[..., Any]) -> str:
    code = getattr(step, "__code__", None)
    if code is None:
        return f"in {step!r}"
    return _describe_line(code.co_filename, code.co_firstlineno, code.co_name)


def _call_and_keep_variables(
    step: Callable[..., Any], arguments: tuple[Inputs, ...], scalars: dict[str, Symbol]
) -> tuple[Any, dict[str, Any]]:
    """Call the step; return its result and its local variables, whose names the generated source uses."""
    code = getattr(step, "__code__", None)
    if code is None or sys.getprofile() is not None:  # someone is profiling: do without the names
        return step(*arguments, **scalars), {}
    variables: dict[str, Any] = {}

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and frame.f_code is code:
            variables.update(frame.f_locals)

    sys.setprofile(watch)
    try:
        return step(*arguments, **scalars), variables
    finally:
        sys.setprofile(None)


def _check_names(step: Callable[..., Any], names: tuple[str, ...], what: str) -> None:
    if isinstance(names, str) or not names:
        raise CellError(
            f'{_describe_definition(step)}\n{what}s must be a tuple of names, as in ("h",), not {names!r}'
        )
    for name in names:
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
            raise CellError(
                f"{_describe_definition(step)}\n{what} {name!r} is not a name that can follow a dot"
            )
        if unicodedata.normalize("NFKC", name) != name:
            raise CellError(
                f"{_describe_definition(step)}\n{what} {name!r} is read by Python as "
                f"{unicodedata.normalize('NFKC', name)!r}: name it so"
            )
    if len(set(names)) != len(names):
        raise CellError(f"{_describe_definition(step)}\n{what}s must differ, got {', '.join(names)}")


def _check_signature(step: Callable[..., Any], params: tuple[str, ...]) -> None:
    arguments = "x (input parts), r (recurrent parts), s (states)"
    count, wanted = (
        (4, f"four arguments: {arguments}, p (parameters)")
        if params
        else (3, f"three arguments: {arguments}")
    )
    try:
        inspect.signature(step).bind(*[None] * count)
    except TypeError:
        hint = "" if params else "; one that reads learned vectors p needs params={...} beside its gates"
        raise CellError(f"{_describe_definition(step)}\na step takes {wanted}{hint}") from None
    except ValueError as error:  # what is written in C may have no signature
        raise CellError(f"a step is a Python function of x, r and s, got {step!r}") from error


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _suggest_function(name: str) -> str:
    near = difflib.get_close_matches(name, [op for op in OPERATIONS if len(op) > 3], n=1)
    return f"use cell_math.{near[0]}" if near else "use the functions of cell_math"
