"""NumPy's argument names ``axis`` and ``keepdims``, which PyTorch accepts instead of its own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from rondeau.kernels.errors import ArgumentTypeError

_F = TypeVar("_F", bound=Callable[..., Any])

_NUMPYS = {"dim": "axis", "keepdim": "keepdims"}


class _Absent:
    """Stands for an argument that was not given."""


_ABSENT = _Absent()


def numpy_names(function: _F) -> _F:
    """Make an operator accept ``axis=`` for `dim` and ``keepdims=`` for `keepdim`, if it has them.

    Its signature and documentation do not change. The wrapper is generated with the operator's own parameters, see
    `_source`: passing on ``*args, **kwargs`` would take a tenth of the time of a small reduction.

    Raises
    ------
    TypeError
        When the operator is called, if an argument is given under both names.

    Examples
    --------
    >>> import numpy as np
    >>> @numpy_names
    ... def total(x, dim=None):
    ...     return np.sum(x, dim).tolist()
    >>> total([[1, 2], [3, 4]], axis=0)
    [4, 6]
    """
    parameters = list(inspect.signature(function).parameters.values())
    aliases = {p.name: _NUMPYS[p.name] for p in parameters if p.name in _NUMPYS}

    def renamed(given: dict[str, Any]) -> Any:
        given = {name: value for name, value in given.items() if value is not _ABSENT}
        for name, alias in aliases.items():
            if alias in given:
                if name in given:
                    raise ArgumentTypeError(
                        f"{function.__name__}() got '{name}' and '{alias}', which are two names of the same argument"
                    )
                given[name] = given.pop(alias)
        return function(**given)

    names: dict[str, Any] = {"function": function, "renamed": renamed, "absent": _ABSENT}
    names |= {f"default_{p.name}": p.default for p in parameters}
    exec(_source(function.__name__, parameters, aliases), names)
    return functools.wraps(function)(names[function.__name__])  # type: ignore[return-value]


def _source(name: str, parameters: list[inspect.Parameter], aliases: dict[str, str]) -> str:
    """Return the source of an operator that also accepts aliases of its parameters.

    Examples
    --------
    >>> def gather(x, dim, index, *, keepdim=False): ...
    >>> parameters = list(inspect.signature(gather).parameters.values())
    >>> print(_source("gather", parameters, {"dim": "axis"}))
    def gather(x, dim=absent, index=absent, *, keepdim=default_keepdim, axis=absent):
        if axis is absent and dim is not absent and index is not absent:
            return function(x, dim, index, keepdim=keepdim)
        return renamed(locals())
    """
    head: list[str] = []
    passed: list[str] = []
    conditions = [f"{alias} is absent" for alias in aliases.values()]
    may_be_absent = False
    for p in parameters:
        may_be_absent = may_be_absent or p.name in aliases
        value = p.name
        if p.kind is p.KEYWORD_ONLY and "*" not in head:
            head.append("*")
        if p.default is p.empty:
            head.append(f"{p.name}=absent" if may_be_absent else p.name)
            conditions += [f"{p.name} is not absent"] * may_be_absent
        elif p.name in aliases:
            head.append(f"{p.name}=absent")
            value = f"default_{p.name} if {p.name} is absent else {p.name}"
        else:
            head.append(f"{p.name}=default_{p.name}")
        passed.append(f"{p.name}={value}" if p.kind is p.KEYWORD_ONLY else value)
    head += [] if "*" in head else ["*"]
    head += [f"{alias}=absent" for alias in aliases.values()]
    return (
        f"def {name}({', '.join(head)}):\n"
        f"    if {' and '.join(conditions)}:\n"
        f"        return function({', '.join(passed)})\n"
        f"    return renamed(locals())"
    )
