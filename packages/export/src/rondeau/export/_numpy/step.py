"""The step of a cell in NumPy, from its traced graph, written as the author of the cell would write it there."""

from __future__ import annotations

import itertools
import keyword
import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from rondeau.export._description import Layer
from rondeau.export._normalisation import Normalisation, find_normalisations
from rondeau.export._numpy.rows import has_rows
from rondeau.kernels.cell.graph import DISTRIBUTIONS, Node, Rank
from rondeau.kernels.cell.operations import OPERATIONS
from rondeau.kernels.recurrent.reference import on_numbers

__all__ = ["StepSource", "literal"]

_WIDEST = 92
"""Longer expressions are cut into statements."""

_CALLS = {
    "abs": "np.abs({0})", "sign": "np.sign({0})", "sqrt": "np.sqrt({0})", "exp": "np.exp({0})",
    "expm1": "np.expm1({0})", "log": "np.log({0})", "log1p": "np.log1p({0})", "sin": "np.sin({0})",
    "cos": "np.cos({0})", "erf": "erf({0})", "sigmoid": "sigmoid({0})", "tanh": "np.tanh({0})",
    "softplus": "np.logaddexp({0}, 0)", "relu": "np.maximum({0}, 0)", "minimum": "np.minimum({0}, {1})",
    "maximum": "np.maximum({0}, {1})", "clamp": "np.clip({0}, {1}, {2})", "where": "np.where({0}, {1}, {2})",
    "sum": "{0}.sum(-1, keepdims=True)",
}  # fmt: skip
_ATOM, _POWER, _SIGN, _TERM, _SUM, _AND, _OR, _COMPARISON = 9, 8, 7, 6, 5, 4, 3, 2
_OPERATORS = {
    "add": ("{0} + {1}", _SUM), "sub": ("{0} - {1}", _SUM), "mul": ("{0} * {1}", _TERM), "div": ("{0} / {1}", _TERM),
    "neg": ("-{0}", _SIGN), "not": ("~{0}", _SIGN), "pow": ("{0} ** {1}", _POWER), "and": ("{0} & {1}", _AND),
    "or": ("{0} | {1}", _OR), "lt": ("{0} < {1}", _COMPARISON), "le": ("{0} <= {1}", _COMPARISON),
    "gt": ("{0} > {1}", _COMPARISON), "ge": ("{0} >= {1}", _COMPARISON), "eq": ("{0} == {1}", _COMPARISON),
    "ne": ("{0} != {1}", _COMPARISON),
}  # fmt: skip
"""An operator as an expression, and how tightly it binds."""

_OF_NUMBERS = ("add", "sub", "mul", "neg")
"""The operations on numbers of the run that are left to Python; the others are folded."""


class _Text(NamedTuple):
    """An expression, and how tightly its outermost operator binds."""

    text: str
    binds: int = _ATOM

    def within(self, least: int) -> str:
        """Return the expression as an operand of an operator, in parentheses where it needs them."""
        return self.text if self.binds >= least else f"({self.text})"


def literal(number: float | bool) -> str:
    """Return a number as Python source.

    Examples
    --------
    >>> literal(1.0), literal(-0.25), literal(math.inf), literal(1e30)
    ('1', '-0.25', 'np.inf', '1e+30')
    """
    if isinstance(number, bool):
        return str(number)
    if not math.isfinite(number):
        return "np.nan" if math.isnan(number) else "np.inf" if number > 0 else "-np.inf"
    is_small_integer = number.is_integer() and abs(number) < 1000 and repr(number) != "-0.0"
    return str(int(number)) if is_small_integer else repr(number)


class StepSource:
    """Writes the function of a layer's step.

    Its arguments are the gates' input parts side by side, the states, the weights, the named inputs, and, where the
    step draws numbers, a random generator. As in the language of cells, ``x_k`` is the input part of gate k, ``r_k``
    its recurrent part, ``s_h`` the state h before the step, and ``u_dt`` the input dt.

    Parameters
    ----------
    layer : Layer
    name : str
        The name of the function.

    Attributes
    ----------
    name : str
    lines : list of str
    functions : set of str
        The functions of the file that the step calls: ``sigmoid``, ``erf``, ``layer_norm``, ``by_heads``.
    """

    def __init__(self, layer: Layer, name: str) -> None:
        self.name, self._layer, self._cell = name, layer, layer.cell
        self._graph = graph = layer.cell.graph
        self._norms = {
            member: norm
            for norm in find_normalisations(graph)
            for member in norm.members
            if member is not None and self._is_of_rows(norm)
        }
        self.functions: set[str] = set()
        self._taken = {"np", "w", "x", "noise", "sigmoid", "erf", "layer_norm", "by_heads", *keyword.kwlist}
        self._texts: dict[int, _Text] = {}
        self._body: list[str] = []
        self._live = self._reach(graph.outputs)
        self._readers = self._count_readers()
        self.lines = self._write(name)

    def _write(self, name: str) -> list[str]:
        cell, graph = self._cell, self._graph
        live = {graph.nodes[n].value for n in self._live if graph.nodes[n].op == "input"}
        gates = [self._name(f"x_{gate}") for gate in cell.gates]
        states = [self._name(f"s_{state}") for state in cell.states]
        inputs = [self._name(f"u_{given}") for given in cell.inputs]
        self._given = {("x", gate): text for gate, text in zip(cell.gates, gates, strict=True)}
        self._given |= {("s", state): text for state, text in zip(cell.states, states, strict=True)}
        self._given |= {("u", given): text for given, text in zip(cell.inputs, inputs, strict=True)}
        self._shape = f"{gates[0]}.shape"
        body = self._body
        body.append(_split(gates, "x", of_columns=True))
        self._write_recurrent_parts(states[0])
        for kind, key in sorted(live & set(self._layer.scalars)):
            text = self._given[kind, key] = self._name(key if kind == "k" else f"rate_{key}", f"k_{key}")
            body.append(f"{text} = {literal(self._layer.scalars[kind, key])}")
        if ("width", "H") in live:
            self._given["width", "H"] = self._name("H", "width")
            body.append(f"{self._given['width', 'H']} = {gates[0]}.shape[-1]")
        for kind, key in cell.draws:
            text = self._given[kind, key] = self._name(f"{kind}_{key}")
            drawn = "noise.standard_normal" if kind == "normal" else "noise.random"
            body.append(f"{text} = {drawn}({self._shape}, dtype=np.float32)")
        for index in self._live:
            self._texts[index] = self._statement(index)
        results = [self._result(index) for index in graph.outputs]
        if self._layer.weights.weight_hr is not None:
            results[0] = f'{_Text(results[0], _COMPARISON).within(_ATOM)} @ w["weight_hr"].T'
        if len(", ".join(results)) > _WIDEST:
            named = zip(results, cell.states, strict=True)
            results = [
                text if text.isidentifier() else self._assign(_Text(text), state).text
                for text, state in named
            ]
        body.append(f"return {results[0]}," if len(results) == 1 else f"return {', '.join(results)}")
        arguments = ["x", *states, "w", *inputs, *["noise"] * bool(cell.draws)]
        said = "from the gates' input parts x (B, G * H) and the states (B, H), the new states."
        return [
            f"def {name}({', '.join(arguments)}):",
            f'    """A step of {name}: {said}"""',
            *(f"    {line}" for line in body),
        ]

    def _is_of_rows(self, norm: Normalisation) -> bool:
        """Return whether values (B, H) are normalised, and the file can have eps as a number."""
        graph = self._graph
        is_number = graph.nodes[norm.eps].op == "const"
        return is_number and all(graph.rank(n) == Rank.UNIT and has_rows(graph, n) for n in norm.values)

    # ---------------------------------------------------------------- names

    def _name(self, *wishes: str) -> str:
        """Return the first name that is free, and take it."""
        names = [name for name in wishes if name.isidentifier()]
        numbered = (f"{name.rstrip('_')}_{number}" for number in itertools.count(2) for name in names[:1])
        found = next(name for name in itertools.chain(names, numbered) if name not in self._taken)
        self._taken.add(found)
        return found

    def _assign(self, text: _Text, *wishes: str) -> _Text:
        name = self._name(*wishes)
        self._body.append(f"{name} = {text.text}")
        return _Text(name)

    # ---------------------------------------------------------------- what is computed

    def _arguments(self, index: int) -> tuple[int, ...]:
        """Return what a value is computed from; a normalised value from all that are normalised with it."""
        return self._norms[index].values if index in self._norms else self._graph.nodes[index].args

    def _reach(self, roots: Iterable[int]) -> list[int]:
        found, pending = set[int](), list(roots)
        while pending:
            index = pending.pop()
            if index not in found:
                found.add(index)
                pending += self._arguments(index)
        return sorted(found)

    def _count_readers(self) -> dict[int, int]:
        readers = dict.fromkeys(self._live, 0)
        counted = set[tuple[int | None, ...]]()
        for index in self._live:
            if index in self._norms:
                if self._norms[index].members in counted:
                    continue  # values that are normalised together are read once
                counted.add(self._norms[index].members)
            for argument in self._arguments(index):
                readers[argument] += 1
        for index in self._graph.outputs:
            readers[index] += 1
        return readers

    # ---------------------------------------------------------------- recurrent products

    def _write_recurrent_parts(self, state: str) -> None:
        """Write the products with the first state; with other values, or by heads, they are part of expressions."""
        gates, weights = self._cell.recurrent, self._layer.weights
        has_bias = weights.bias_hh is not None
        nodes = [self._graph.nodes[n] for n in self._live]
        self._matrices: dict[str, str] = {}
        if not gates:
            return
        if self._layer.num_heads == 1 and not any(node.op == "product" for node in nodes):
            parts = [self._name(f"r_{gate}") for gate in gates]
            self._given |= {("r", gate): text for gate, text in zip(gates, parts, strict=True)}
            product = f'{state} @ w["weight_hh"].T' + (' + w["bias_hh"]' if has_bias else "")
            self._body.append(_split(parts, product, of_columns=True))
            return
        self._state = state
        matrices = [self._name(f"R_{gate}") for gate in gates]
        self._matrices = dict(zip(gates, matrices, strict=True))
        self._body.append(_split(matrices, 'w["weight_hh"]'))
        self._biases: dict[str, str] = {}
        if has_bias:
            biases = [self._name(f"c_{gate}") for gate in gates]
            self._biases = dict(zip(gates, biases, strict=True))
            self._body.append(_split(biases, 'w["bias_hh"]'))

    def _product(self, gate: str, value: _Text) -> _Text:
        if self._layer.num_heads > 1:
            self.functions.add("by_heads")
            product = f"by_heads({value.text}, {self._matrices[gate]})"
        else:
            product = f"{value.within(_SIGN)} @ {self._matrices[gate]}.T"
        return _Text(f"{product} + {self._biases[gate]}", _SUM) if self._biases else _Text(product, _TERM)

    # ---------------------------------------------------------------- expressions

    def _statement(self, index: int) -> _Text:
        """Return the expression of a value: a name, once it is written, if the author named it or it is read again."""
        if index in self._texts:
            return self._texts[index]
        if index in self._norms:
            return self._normalised(index)
        node = self._graph.nodes[index]
        text = self._expression(index, node)
        label = self._graph.labels.get(index)
        is_name = text.text.isidentifier() or node.op in ("const", "input")
        if is_name or (label is None and self._readers[index] < 2):
            return text
        operands = [self._texts[argument].text for argument in node.args]
        wishes = [f"{node.op}_{operands[0]}"] if len(operands) == 1 else []
        if index in self._graph.outputs:
            wishes.insert(0, self._cell.states[self._graph.outputs.index(index)])
        return self._assign(text, *([label] if label else [*wishes, f"value_{index}"]))

    def _expression(self, index: int, node: Node) -> _Text:
        if node.op == "const":
            return _number(node.value)
        if node.op == "input":
            kind, key = node.value
            if kind == "p":
                return _Text(f"w[{f'p_{key}'!r}]".replace("'", '"'))
            if kind == "r" and self._matrices:
                return self._product(key, _Text(self._state))
            return _Text(self._given[kind, key])
        if node.op == "product":
            value = self._texts[node.args[0]]
            if not has_rows(self._graph, node.args[0]):
                value = _Text(f"np.broadcast_to({value.text}, {self._shape})")
            return self._product(node.value, value)
        if self._graph.rank(index) == Rank.CALL and node.op not in _OF_NUMBERS:
            return _number(self._value(index))
        return self._operation(index, node)

    def _operation(self, index: int, node: Node) -> _Text:
        operands = [self._texts[argument] for argument in node.args]
        if node.op in ("sigmoid", "erf"):
            self.functions.add(node.op)
        if node.op == "where" and all(self._graph.rank(n) == Rank.CALL for n in node.args[1:]):
            operands[1:] = [_Text(f"np.float32({text.text})") for text in operands[1:]]
        mean = self._mean(index)
        if mean is not None:
            return _Text(f"{self._texts[mean].within(_ATOM)}.mean(-1, keepdims=True)")
        text = _combined(node.op, operands, self._is_recurrent(node))
        for position in sorted(range(len(operands)), key=lambda k: -len(operands[k].text)):
            if len(text.text) > _WIDEST and not operands[position].text.isidentifier():
                argument = node.args[position]
                operands[position] = self._assign(operands[position], f"value_{argument}")
                self._texts[argument] = operands[position]
                text = _combined(node.op, operands, False)
        return text

    def _is_recurrent(self, node: Node) -> bool:
        """Return whether a recurrent product with its bias is added, which needs no parentheses."""
        right = self._graph.nodes[node.args[-1]]
        is_part = right.op == "product" or (right.op == "input" and right.value[0] == "r")
        return node.op == "add" and is_part

    def _mean(self, index: int) -> int | None:
        """Return the value whose mean over the units a node is, or None."""
        nodes = self._graph.nodes
        op, args, _ = nodes[index]
        if op != "div" or nodes[args[0]].op != "sum" or nodes[args[1]].value != ("width", "H"):
            return None
        return nodes[args[0]].args[0] if self._readers[args[0]] == 1 else None

    def _normalised(self, index: int) -> _Text:
        """Write the layer normalisation that a value comes from, of all values that are normalised with it."""
        norm = self._norms[index]
        self.functions.add("layer_norm")
        values = [self._texts[value].text for value in norm.values]
        eps = literal(float(self._graph.nodes[norm.eps].value))
        if len(values) == 1:
            text = _Text(f"layer_norm({values[0]}, {eps})")
            label = self._graph.labels.get(index)
            if label is None and self._readers[index] < 2 and len(text.text) <= _WIDEST:
                return text
            return self._assign(text, label or f"norm_{values[0]}", "norm")
        names = []
        for member, value in zip(norm.members, values, strict=True):
            if member is None or member not in self._live:
                names.append("_")
                continue
            names.append(self._name(*filter(None, [self._graph.labels.get(member), f"norm_{value}", "norm"])))
            self._texts[member] = _Text(names[-1])
        joined = self._assign(_Text(f"np.concatenate([{', '.join(values)}], axis=-1)"), "joined").text
        self._body.append(_split(names, f"layer_norm({joined}, {eps})", of_columns=True))
        return self._texts[index]

    def _result(self, index: int) -> str:
        """Return a new state as an array (B, H)."""
        text = self._texts[index].text
        if self._graph.rank(index) == Rank.UNIT and has_rows(self._graph, index):
            return text
        return f"np.broadcast_to(np.float32({text}), {self._shape})"

    def _value(self, index: int) -> float | bool:
        """Compute a number of the run."""
        op, args, value = self._graph.nodes[index]
        if op == "const":
            return float(value)
        if op == "input":
            return float(self._layer.hidden if value[0] == "width" else self._layer.scalars[value])
        return on_numbers(OPERATIONS[op], [self._value(argument) for argument in args])


def _number(value: float | bool) -> _Text:
    text = literal(value)
    return _Text(text, _SIGN if text.startswith("-") else _ATOM)


def _combined(op: str, operands: list[_Text], right_needs_none: bool) -> _Text:
    """Return an operation applied to expressions."""
    if op in _CALLS:
        first = [operands[0].within(_ATOM)] if op == "sum" else [operands[0].text]
        return _Text(_CALLS[op].format(*first, *(operand.text for operand in operands[1:])))
    if op in ("add", "sub") and re.fullmatch(r"-[0-9.e+-]+", operands[1].text):
        op, operands = ("sub" if op == "add" else "add"), [operands[0], _Text(operands[1].text[1:])]
    form, binds = _OPERATORS[op]
    if len(operands) == 1:
        return _Text(form.format(operands[0].within(binds)), binds)
    # Sums and products are evaluated from the left, and comparisons do not follow one another.
    left = operands[0].within(binds + (op == "pow" or binds == _COMPARISON))
    right = operands[1].within(binds if right_needs_none or op == "pow" else binds + 1)
    return _Text(form.format(left, right), binds)


def _split(names: list[str], value: str, of_columns: bool = False) -> str:
    """Return the statement that takes an array apart, in parts of one size."""
    if len(names) == 1:
        return f"{names[0]} = {value}"
    axis = ", axis=-1" if of_columns else ""
    return f"{', '.join(names)} = np.split({value}, {len(names)}{axis})"


assert set(_CALLS) | set(_OPERATORS) == set(OPERATIONS)
assert DISTRIBUTIONS == ("normal", "uniform")
