"""`recurrent_cell`: make a recurrent cell from a function that computes one time step of one hidden unit."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ParamSpec, TypeAlias, TypeVar

from rondeau.kernels.cell import check_all_are_read
from rondeau.kernels.errors import ArgumentTypeError
from rondeau.kernels.sequence import Cell

__all__ = ["Step", "recurrent_cell"]

Step: TypeAlias = Callable[..., Any]
P = ParamSpec("P")
R = TypeVar("R")


def _require_parentheses(make_decorator: Callable[P, R]) -> Callable[P, R]:
    """Raise TypeError, with the right spelling, if ``@recurrent_cell`` is used without parentheses."""

    @functools.wraps(make_decorator)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        if args:
            raise ArgumentTypeError(
                f"recurrent_cell takes its arguments by name, got {args[0]!r}: write "
                "@nn.recurrent_cell(gates=..., states=...)"
            )
        return make_decorator(*args, **kwargs)

    return checked


@_require_parentheses
def recurrent_cell(
    *,
    gates: tuple[str, ...],
    states: tuple[str, ...],
    params: Mapping[str, Callable[[Any], Any]] = MappingProxyType({}),
    inputs: Mapping[str, str] = MappingProxyType({}),
    project: str | None = None,
    name: str | None = None,
) -> Callable[[Step], Cell]:
    """Make a recurrent cell from a function that computes one time step of one hidden unit.

    The step is called once, with symbols, to record what it computes. Its backward pass is derived from the record, and
    both are compiled for whole sequences the first time that a layer of the cell runs. So the step may use arithmetic,
    comparisons and the functions of `rondeau.nn.cell_math`, but not a Python ``if`` on a symbol.

    Parameters
    ----------
    gates : tuple of str
        The names of the gates, in the order of their rows in the weights.
    states : tuple of str
        The names of the states. The first is the cell's output, and the one that the recurrent matrices multiply.
    params : mapping of str to callable, optional
        Learned vectors with one number per hidden unit, and the initialiser of each, for example ``{"peephole":
        nn.init.zeros_}``. The step then takes an argument ``p``. An initialiser is called with the `Parameter` of shape
        (H,) of each layer and direction and fills it in place, without being recorded: any function of
        `rondeau.nn.init`, or ``lambda vector: vector.fill_(1.0)``. Its result is ignored.
    inputs : mapping of str to str, optional
        Inputs of the step besides x, and the kind of each: ``"step"`` for one that varies with time, such as the time
        that has elapsed, ``"sequence"`` for one that is constant over a sequence, such as a static attribute. The step
        then takes an argument ``u``. Inputs are used element by element; to project one, apply a `Linear` outside.
    project : str, optional
        The name of the first state, if layers of the cell must project it: they then need a ``proj_size``.
    name : str, optional
        The name of the cell in error messages and ``repr``; by default the name of the function.

    Returns
    -------
    Callable
        A decorator that turns a step into a `Cell` for `Recurrent`.

        The step is ``step(x, r, s)``, followed by ``p`` if there are `params` and by ``u`` if there are `inputs`.
        Arguments with exactly these names may come in any order; if none has such a name, they are taken in this
        order. ``x.k`` is gate k's input part ``W_k x_t + b_k``, ``r.k`` its recurrent part ``R_k h_{t-1} + c_k``,
        ``s.name`` a state of the previous step, ``p.name`` a learned vector and ``u.name`` a named input, which the
        call of the layer passes: ``layer(x, inputs={"name": tensor})``. A gate may itself be called r: its parts are
        ``x.r`` and ``r.r``.
        ``r.k(value)`` is ``R_k value + c_k``: gate k's matrix applied to a value of the step instead of the first
        state. The step returns the new state, or a tuple of them in the order of `states`.

        Keyword-only parameters of the step, which need defaults, are scalars of the run: `Recurrent` takes their
        values as ``hyperparameters``, and a new value does not require another compilation.

    Raises
    ------
    CellError
        If the step cannot be traced, or no new state depends on a gate, a learned vector or an input; the message shows
        the line.
    TypeError
        If an argument has the wrong type, such as an initialiser that is not callable.

    Examples
    --------
    A gated unit without a reset gate:

    >>> from rondeau import nn, tensor as rt
    >>> from rondeau.nn import cell_math as m
    >>> @nn.recurrent_cell(gates=("z", "n"), states=("h",))
    ... def light_gru(x, r, s):
    ...     keep = m.sigmoid(x.z + r.z)
    ...     return keep * s.h + (1 - keep) * m.tanh(x.n + r.n)
    >>> layer = nn.Recurrent(light_gru, input_size=4, hidden_size=8)
    >>> output, h_n = layer(rt.ones(5, 2, 4))
    >>> output.shape, h_n.shape
    ((5, 2, 8), (1, 2, 8))

    Units that leak at a learned rate, with a scalar of the run:

    >>> @nn.recurrent_cell(gates=("h",), states=("h",), params={"rate": nn.init.zeros_})
    ... def leaky(x, r, s, p, *, slope=0.1):
    ...     leak = m.sigmoid(p.rate)
    ...     new = x.h + r.h
    ...     return (1 - leak) * s.h + leak * m.maximum(new, slope * new)
    >>> layer = nn.Recurrent(leaky, 4, 8, hyperparameters={"slope": 0.2})
    >>> layer.rate_l0.shape
    (8,)

    Units that decay with the time that has elapsed, and are noisy:

    >>> @nn.recurrent_cell(gates=("h",), states=("h",), inputs={"dt": "step"})
    ... def decaying(x, r, s, u, *, noise=0.1):
    ...     return m.exp(-u.dt) * s.h + m.tanh(x.h + r.h) + noise * m.normal()
    >>> layer = nn.Recurrent(decaying, 4, 8, hyperparameters={"noise": 0.0})
    >>> output, h_n = layer(rt.ones(5, 2, 4), inputs={"dt": rt.ones(5, 2)})
    >>> output.shape
    (5, 2, 8)
    """
    for what, given in (("gates", gates), ("states", states)):
        if not isinstance(given, tuple | list):
            raise ArgumentTypeError(
                f"{what} must be a tuple of names, got {given!r}: write @nn.recurrent_cell(gates=..., states=...)"
            )
    if not isinstance(params, Mapping):
        raise ArgumentTypeError(
            f"params must be a mapping of names to initialisers, got {params!r}: write "
            "params={'peephole': nn.init.zeros_}"
        )
    if not isinstance(inputs, Mapping):
        raise ArgumentTypeError(
            f"inputs must be a mapping of names to kinds, got {inputs!r}: write inputs={{'dt': 'step'}} or "
            "inputs={'gate': 'sequence'}"
        )
    for param, initialiser in params.items():
        if not callable(initialiser):
            raise ArgumentTypeError(
                f"params[{param!r}] must be a function that fills the vector in place, such as nn.init.zeros_ or "
                f"lambda vector: vector.fill_(1.0), got {initialiser!r}"
            )
    if name is not None and not isinstance(name, str):
        raise ArgumentTypeError(f"name must be a string, got {name!r}")

    def decorate(step: Step) -> Cell:
        if not callable(step) or not hasattr(step, "__name__"):
            raise ArgumentTypeError(
                f"a cell is made from a function step(x, r, s), got {step!r}: write @nn.recurrent_cell(gates=..., "
                "states=...) above it"
            )
        cell = Cell(step, gates, states, name or step.__name__, params, project, inputs=inputs)
        check_all_are_read(step, cell.graph)
        cell.__doc__ = step.__doc__
        return cell

    return decorate
