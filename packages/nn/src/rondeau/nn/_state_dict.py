"""How a module adds its own entries to a `state_dict`, and loads them from one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rondeau.kernels.runtime.transfers import on_host
from rondeau.tensor import Tensor, no_grad

from ._checks import as_array
from ._parameter import Parameter

Module: TypeAlias = Any
"""A `Module`; its file imports this one."""

__all__ = ["EXTRA_STATE", "IncompatibleKeys", "Loading", "load_own", "own_state"]

EXTRA_STATE = "_extra_state"
"""PyTorch's name for the state that `Module.get_extra_state` returns."""


class IncompatibleKeys(NamedTuple):
    """The names that `Module.load_state_dict` did not match; both lists are empty after a strict load."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def own_state(module: Module) -> dict[str, Tensor]:
    """Return a module's own parameters and persistent buffers, by name."""
    state: dict[str, Tensor] = {name: p for name, p in module._parameters.items() if p is not None}
    for name, buffer in module._buffers.items():
        if buffer is not None and name not in module._transient:
            state[name] = buffer
    return state


class Loading:
    """The loading of a `state_dict` into a module and those below it: its problems, and the values yet to be written.

    Parameters
    ----------
    assign : bool
        Whether the tensors of the `state_dict` replace the module's, instead of being copied into them.
    """

    def __init__(self, assign: bool) -> None:
        self.assign = assign
        self.missing: list[str] = []
        self.unexpected: list[str] = []
        self.errors: list[str] = []
        self.writes: list[Callable[[], None]] = []

    def visit(self, module: Module, state_dict: Mapping[str, Any], prefix: str, writes_at_once: bool) -> None:
        """Let a module check its entries, and keep its values for later unless it writes them at once."""
        metadata = {
            "assign_to_params_buffers": self.assign,
            "writes": None if writes_at_once else self.writes,
        }
        module._load_from_state_dict(
            state_dict, prefix, metadata, True, self.missing, self.unexpected, self.errors
        )

    def problems(self, strict: bool) -> list[str]:
        """Return every problem that prevents writing."""
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
    """Check a module's own entries in a `state_dict`, and write them or leave that for later.

    Parameters
    ----------
    module : Module
    extra : callable or None
        The function that receives the extra state.
    state_dict, prefix
        Names that begin with the prefix belong to this module and those below it.
    metadata : mapping
        That of `Loading.visit`; with any other, the values are written at once.
    missing, unexpected : list of str or None
        Receive the names that the `state_dict` lacks and those that no module takes; None if they do not matter.
    errors : list of str
        Receives all other problems.
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
    """Return a value in the dtype of the tensor that it is loaded into; problems are added to `errors`."""
    value = as_array(f"tensor {key!r}", given)
    if value.shape != tensor.shape:
        errors.append(
            f"size mismatch for {key}: the shape in the state_dict is {value.shape}, in this module it is "
            f"{tensor.shape}"
        )
        return value
    if assign or value.dtype == tensor.dtype:
        return value
    value = np.asarray(on_host(value))
    with np.errstate(all="ignore"):
        converted = value.astype(tensor.dtype)
        kept = converted == (value if tensor.dtype.kind == "f" else np.trunc(value))
        if tensor.dtype.kind == "f":
            kept = np.isfinite(converted) | ~np.isfinite(value)
    if tensor.dtype.kind != "b" and not np.all(kept):
        errors.append(
            f"{key}: {value[~kept].flat[0]!s} is out of range for {tensor.dtype}, the dtype in this module"
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
    """Return the keys with the prefix that belong neither to the module nor to one below it."""
    untaken = []
    for key in keys:
        if key.startswith(prefix):
            name, dot, _ = key[len(prefix) :].partition(".")
            if module._modules.get(name) is None if dot else name not in own:
                untaken.append(key)
    return untaken


def _quoted(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names) + "."
