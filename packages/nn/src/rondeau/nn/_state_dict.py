"""What one module puts into a `state_dict`, and what it takes out of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rondeau.tensor import Tensor, no_grad

from ._checks import as_array
from ._parameter import Parameter

Module: TypeAlias = Any
"""A `Module`, whose file imports this one."""

__all__ = ["EXTRA_STATE", "IncompatibleKeys", "Loading", "load_own", "own_state"]

EXTRA_STATE = "_extra_state"
"""PyTorch's name of what `Module.get_extra_state` returns."""


class IncompatibleKeys(NamedTuple):
    """What `Module.load_state_dict` did not match; both lists are empty after a strict load."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def own_state(module: Module) -> dict[str, Tensor]:
    """Return the parameters and persistent buffers of a module itself, by name."""
    state: dict[str, Tensor] = {name: p for name, p in module._parameters.items() if p is not None}
    for name, buffer in module._buffers.items():
        if buffer is not None and name not in module._transient:
            state[name] = buffer
    return state


class Loading:
    """A `state_dict` on its way into a module and those below it: what is wrong with it, and what is yet to be written.

    Parameters
    ----------
    assign : bool
        Whether the tensors of the `state_dict` take the place of the module's, in place of being copied into them.
    """

    def __init__(self, assign: bool) -> None:
        self.assign = assign
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.errors: list[str] = []
        self.writes: list[Callable[[], None]] = []

    def visit(self, module: Module, state_dict: Mapping[str, Any], prefix: str, writes_at_once: bool) -> None:
        """Let a module check its part, and keep what it is to write unless it writes at once."""
        metadata = {
            "assign_to_params_buffers": self.assign,
            "writes": None if writes_at_once else self.writes,
        }
        module._load_from_state_dict(
            state_dict, prefix, metadata, True, self.missing, self.unexpected, self.errors
        )

    def problems(self, strict: bool) -> list[str]:
        """Return all that stands against writing."""
        lists = {"Missing": self.missing, "Unexpected": self.unexpected} if strict else {}
        return [
            f"{kind} key(s) in state_dict: {_quoted(names)}" for kind, names in lists.items() if names
        ] + self.errors


def load_own(
    module: Module,
    extra: Callable[[Any], None] | None,
    state_dict: Mapping[str, Any],
    prefix: str,
    metadata: Mapping[str, Any],
    missing: list[str] | None,
    unexpected: list[str] | None,
    errors: list[str],
) -> None:
    """Check what a `state_dict` has for a module itself, and write it or leave that for later.

    Parameters
    ----------
    module : Module
    extra : callable or None
        What takes the extra state.
    state_dict, prefix
        Names beginning with the prefix are of this module, and of those below it.
    metadata : mapping
        Of `Loading.visit`, or any other, with which the values are written at once.
    missing, unexpected : list of str or None
        Where names go that are not there, and that nothing takes; None: they do not matter.
    errors : list of str
        Where all else goes that is wrong.
    """
    own = own_state(module)
    assign = bool(metadata.get("assign_to_params_buffers"))
    before = len(errors)
    values: dict[str, NDArray[Any]] = {}
    for name, tensor in own.items():
        key = prefix + name
        if key not in state_dict:
            if missing is not None:
                missing.append(key)
            continue
        values[name] = _converted(key, state_dict[key], tensor, assign, errors)
    writes: list[Callable[[], None]] = [partial(_write, module, values, assign)]

    key = prefix + EXTRA_STATE
    if extra is not None and key in state_dict:
        writes.append(partial(extra, state_dict[key]))
    elif extra is not None and missing is not None:
        missing.append(key)
    elif key in state_dict and unexpected is not None:
        unexpected.append(key)
    if unexpected is not None:
        unexpected += _untaken(module, own, prefix, [k for k in state_dict if k != key])

    if metadata.get("writes") is not None:
        metadata["writes"].extend(writes)
    elif len(errors) == before:
        for write in writes:
            write()


def _converted(key: str, given: Any, tensor: Tensor, assign: bool, errors: list[str]) -> NDArray[Any]:
    """Return a value in the dtype of the tensor that it is for; what is wrong with it goes to `errors`."""
    value = as_array(f"tensor {key!r}", given)
    if value.shape != tensor.shape:
        errors.append(
            f"size mismatch for {key}: the shape in the state_dict is {value.shape}, in this module it is "
            f"{tensor.shape}"
        )
        return value
    if assign or value.dtype == tensor.dtype:
        return value
    with np.errstate(all="ignore"):
        converted = value.astype(tensor.dtype)
        kept = converted == (value if tensor.dtype.kind == "f" else np.trunc(value))
        if tensor.dtype.kind == "f":
            kept = np.isfinite(converted) | ~np.isfinite(value)
    if tensor.dtype.kind != "b" and not np.all(kept):
        errors.append(
            f"{key}: {value[~kept].flat[0]!s} does not fit the {tensor.dtype} that this module has there"
        )
    return converted


def _write(module: Module, values: Mapping[str, NDArray[Any]], assign: bool) -> None:
    own = own_state(module)
    with no_grad():
        for name, value in values.items():
            parameter = module._parameters.get(name)
            if not assign:
                own[name].copy_(Tensor(value))
            elif parameter is not None:
                module._parameters[name] = Parameter(value, requires_grad=parameter.requires_grad)
            else:
                module._buffers[name] = Tensor(value)


def _untaken(module: Module, own: Mapping[str, Tensor], prefix: str, keys: Iterable[str]) -> list[str]:
    """Return the keys with the prefix that neither the module nor one below it takes."""
    untaken = []
    for key in keys:
        if key.startswith(prefix):
            name, dot, _ = key[len(prefix) :].partition(".")
            if module._modules.get(name) is None if dot else name not in own:
                untaken.append(key)
    return untaken


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names) + "."
