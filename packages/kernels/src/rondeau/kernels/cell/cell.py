"""`Cell`: a recurrent cell, traced once."""

from __future__ import annotations

import functools
import importlib
import operator
from collections.abc import Callable, Mapping
from types import FunctionType, MappingProxyType
from typing import Any

from rondeau.kernels.cell.errors import CellError
from rondeau.kernels.cell.graph import Graph
from rondeau.kernels.cell.input_forms import InputForms
from rondeau.kernels.cell.regularisers import Regularisers
from rondeau.kernels.cell.schedule import Schedule, make_schedule
from rondeau.kernels.cell.signature import scalars_of
from rondeau.kernels.cell.trace import trace
from rondeau.kernels.errors import ArgumentTypeError

__all__ = ["Cell"]


class Cell:
    """A recurrent cell: its step, traced once. A target compiles it for each dtype on first use.

    Parameters
    ----------
    step : callable
        ``step(x, r, s)`` returns the new states: a tuple in the order of `states`, or one value for one state.
        ``x.k`` is gate k's input part ``W_k x_t + b_k``, ``r.k`` its recurrent part ``R_k h_{t-1} + c_k``, ``s.name``
        a state before the step; ``r.k(value)`` is ``R_k value + c_k``. With `params` there is an argument ``p``, the
        learned vectors, and with `inputs` an argument ``u``, the named inputs. Keyword-only arguments, which must have
        defaults, are scalars of the run. The functions that a step may call are in `rondeau.kernels.cell.cell_math`.
    gates : tuple of str
        Names of the gates, in the order in which the weights stack them.
    states : tuple of str
        Names of the states. The first is the output, and the one that the recurrent matrices multiply.
    name : str
        A name, for messages and generated source.
    params : mapping of str to object, optional
        Names of the learned vectors, H numbers each, and the initialiser of each; the layer that creates them
        applies it.
    project : str, optional
        The state that is projected after the step; only the first can be. A cell that does not name it may still be
        projected by a layer.
    regularisers : Regularisers, optional
        What is added to the step; see `variant`.
    inputs : mapping of str to str, optional
        Names of the inputs besides x, and the kind of each, ``"step"`` or ``"sequence"``.
    forms : InputForms, optional
        The forms in which they are given; see `variant`.

    Attributes
    ----------
    scalars : dict of str to float
        The scalars of the run, and their defaults.
    num_params, num_inputs : int
        The numbers of learned vectors and of named inputs.

    Raises
    ------
    CellError
        If the step cannot be traced; the message shows the user's line.

    Examples
    --------
    >>> from rondeau.kernels.cell import cell_math as m
    >>> cell = Cell(lambda x, r, s: m.tanh(x.h + r.h), ("h",), ("h",), "rnn")
    >>> print(cell.graph)
    %0 = input x.h
    %1 = input r.h
    %3 = add %0 %1
    %4 = tanh %3
    new h = %4
    """

    def __init__(
        self,
        step: Callable[..., Any],
        gates: tuple[str, ...],
        states: tuple[str, ...],
        name: str,
        params: Mapping[str, Any] = MappingProxyType({}),
        project: str | None = None,
        regularisers: Regularisers = Regularisers(),  # noqa: B008 - an immutable default
        inputs: Mapping[str, str] = MappingProxyType({}),
        forms: InputForms = InputForms(),  # noqa: B008 - an immutable default
    ) -> None:
        _check_options(name, params, project, regularisers, inputs)
        self.inputs, self.forms = dict(inputs), forms
        self.graph: Graph = trace(step, gates, states, tuple(params), regularisers, self.inputs, forms)
        if project not in (None, states[0]):
            raise CellError(
                f"cell {name}: project must be {states[0]!r}, the state that the recurrent matrices multiply, "
                f"got {project!r}"
            )
        self.step, self.gates, self.states, self.name = step, tuple(gates), tuple(states), name
        self.params, self.initialisers, self.project = tuple(params), dict(params), project
        self.num_params, self.num_inputs = len(self.params), len(self.inputs)
        self.regularisers, self.scalars = regularisers, scalars_of(step)
        self._variants: dict[tuple[Regularisers, InputForms], Cell] = {}

    @functools.cached_property
    def schedule(self) -> Schedule:
        """The schedule of the cell: its buffers, and what forward saves for backward."""
        return make_schedule(self.graph)

    @functools.cached_property
    def recurrent(self) -> tuple[str, ...]:
        """The gates that have a recurrent matrix: those whose recurrent part the step reads."""
        return tuple(self.graph.recurrent_parts)

    @functools.cached_property
    def multiplied_inputs(self) -> frozenset[str]:
        """The named inputs from which alone an operand of a recurrent matrix is computed.

        They need one number per hidden unit, as the operand does.
        """
        graph = self.graph
        sums = frozenset(index for index, node in enumerate(graph.nodes) if node.op == "sum")
        found: set[str] = set()
        for index in graph.reach(graph.outputs):
            node = graph.nodes[index]
            if node.op != "product":
                continue
            reached = graph.reach(node.args, sums)
            leaves = [graph.nodes[i].value for i in reached if graph.nodes[i].op == "input"]
            others = [kind for kind, _ in leaves if kind not in ("u", "k", "rate", "width")]
            if not others:
                found |= {name for kind, name in leaves if kind == "u"}
        return frozenset(found)

    @functools.cached_property
    def draws(self) -> tuple[tuple[str, str], ...]:
        """The noise of the step on which a new state depends: its distribution and the number of the call."""
        graph = self.graph
        live = {graph.nodes[index].value for index in graph.reach(graph.outputs)}
        return tuple([draw for draw in graph.draws if draw in live])

    @property
    def draws_noise(self) -> bool:
        """Whether the step draws random numbers of its own, in evaluation as in training."""
        return bool(self.draws)

    @property
    def reason_against_projection(self) -> str | None:
        """Why the first state cannot be projected to another width, or None where it can be."""
        first = self.states[0]
        if self.schedule.reads_state(first):
            return f"cell {self.name} reads its first state s.{first} next to gates of another width"
        if self.schedule.values:
            return f"cell {self.name} applies recurrent matrices to values as wide as its gates"
        return None

    def variant(self, regularisers: Regularisers | None = None, forms: InputForms | None = None) -> Cell:
        """Return this cell with other regularisers, or for inputs in other forms; equal ones give the same cell."""
        regularisers = self.regularisers if regularisers is None else regularisers
        forms = self.forms if forms is None else forms
        if regularisers == self.regularisers and forms == self.forms:
            return self
        found = self._variants.get((regularisers, forms))
        if found is None:
            cell = Cell(
                self.step, self.gates, self.states, self.name, self.initialisers, self.project, regularisers,
                self.inputs, forms,
            )  # fmt: skip
            # Another thread may have been first.
            found = self._variants.setdefault((regularisers, forms), cell)
        return found

    def __deepcopy__(self, memo: object) -> Cell:
        return self  # immutable: copies of a layer share it

    def __reduce__(self) -> tuple[Any, ...]:
        name = getattr(self.step, "__module__", ""), getattr(self.step, "__qualname__", "")
        try:
            found = _find(*name)
        except (ImportError, AttributeError, ValueError):
            found = None
        # A cell that a decorator put in place of its step is pickled by name, as a function is.
        if found is self:
            return _find, name
        if isinstance(self.step, FunctionType) and found is not self.step:
            raise ArgumentTypeError(
                f"cell {self.name} cannot be pickled: its step {self.step.__qualname__} is not at the top level of a "
                "module, where a process that loads it would look for it. Define it there with def, or save the "
                "state_dict of the layer instead of the layer"
            )
        made_of = (
            self.step, self.gates, self.states, self.name, self.initialisers, self.project, self.regularisers,
            self.inputs, self.forms,
        )  # fmt: skip
        return Cell, made_of

    def __repr__(self) -> str:
        return f"Cell({self.name}: gates {', '.join(self.gates)}; states {', '.join(self.states)})"


def _check_options(name: str, params: Any, project: Any, regularisers: Any, inputs: Any) -> None:
    """Raise CellError if an option of a cell has the wrong type."""
    if not isinstance(inputs, Mapping):
        raise CellError(
            f'cell {name}: inputs must be a dict of names and kinds, such as {{"dt": "step"}}, got '
            f"{type(inputs).__name__}"
        )
    if not isinstance(params, Mapping):
        raise CellError(
            f"cell {name}: params must be a dict of names and initialisers, got {type(params).__name__}"
        )
    if not (project is None or isinstance(project, str)):
        raise CellError(
            f"cell {name}: project must be the name of a state, or None, got {type(project).__name__}"
        )
    if not isinstance(regularisers, Regularisers):
        raise CellError(f"cell {name}: regularisers must be Regularisers, got {type(regularisers).__name__}")


def _find(module: str, path: str) -> Any:
    """Return the object at a dotted path in a module."""
    return operator.attrgetter(path)(importlib.import_module(module))
