"""Containers of modules: Sequential, ModuleList and ModuleDict."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self, SupportsIndex, overload

from rondeau.kernels.errors import ArgumentTypeError

from ._checks import checked_list
from ._module import Module


class _Sequence(Module, ABC):
    """Base class of `Sequential` and `ModuleList`: ordered modules, named "0", "1", ... or as the caller chose."""

    @abstractmethod
    def _part(self, names: list[str]) -> Self:
        """Return a container of the same kind with the modules of these names."""

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        _check_module(module)
        self.add_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add several modules at the end."""
        for module in checked_list("modules", modules, Module, "Modules"):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> None:
        """Insert a module before the one at `index`, and renumber all."""
        _check_module(module)
        modules = list(self)
        modules.insert(_position(index), module)
        self._renumber(modules)

    def pop(self, index: SupportsIndex = -1) -> Module:
        """Remove the module at `index`, renumber the rest, and return it."""
        module = self._modules[self._name_at(index)]
        del self[index]
        return module  # type: ignore[return-value]  # a container never holds None

    def _renumber(self, modules: list[Module]) -> None:
        self._modules.clear()
        self.extend(modules)

    def __add__(self, modules: Iterable[Module]) -> Self:
        return type(self)._of([*self, *checked_list("modules", modules, Module, "Modules")])

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)

    @classmethod
    @abstractmethod
    def _of(cls, modules: list[Module]) -> Self:
        """Return a container of the same kind with these modules."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())  # type: ignore[arg-type]  # a container never holds None

    @overload
    def __getitem__(self, index: slice) -> Self: ...
    @overload
    def __getitem__(self, index: SupportsIndex) -> Module: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Module:
        if isinstance(index, slice):
            return self._part(self._names_at(index))
        return self._modules[self._name_at(index)]  # type: ignore[return-value]

    def __setitem__(self, index: SupportsIndex, module: Module) -> None:
        _check_module(module)
        self.add_module(self._name_at(index), module)

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        """Delete modules, and renumber the rest."""
        doomed = self._names_at(index) if isinstance(index, slice) else [self._name_at(index)]
        kept = [module for name, module in self._modules.items() if name not in doomed]
        self._renumber(kept)  # type: ignore[arg-type]  # a container never holds None

    def _names_at(self, index: slice) -> list[str]:
        bounds = (index.start, index.stop, index.step)
        return list(self._modules)[slice(*(None if bound is None else _position(bound) for bound in bounds))]

    def _name_at(self, index: SupportsIndex) -> str:
        position, size = _position(index), len(self)
        if not -size <= position < size:
            raise IndexError(f"index {position} is out of range for {type(self).__name__} of {size} modules")
        return list(self._modules)[position]


def _position(index: SupportsIndex) -> int:
    try:
        return operator.index(index)
    except TypeError:
        raise ArgumentTypeError(
            f"modules are numbered: the index must be an integer or a slice, got {type(index).__name__}"
        ) from None


def _check_module(module: object) -> None:
    if not isinstance(module, Module):
        raise ArgumentTypeError(
            f"{type(module).__name__} is not a Module subclass, and cannot be in a container of modules"
        )


class Sequential(_Sequence):
    """Modules applied one after the other.

    Parameters
    ----------
    *modules : Module, or one mapping of str to Module
        Named "0", "1", ... in the order given, or by the keys of the mapping.

    Examples
    --------
    >>> from rondeau import nn, tensor as rt
    >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> model
    Sequential(
      (0): Linear(in_features=2, out_features=8, bias=True)
      (1): ReLU()
      (2): Linear(in_features=8, out_features=1, bias=True)
    )
    >>> model(rt.zeros(5, 2)).shape
    (5, 1)
    >>> model[:2]
    Sequential(
      (0): Linear(in_features=2, out_features=8, bias=True)
      (1): ReLU()
    )
    """

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                _check_module(module)
                self.add_module(name, module)
        else:
            self.extend(modules)  # type: ignore[arg-type]  # extend checks the types

    def forward(self, input: Any) -> Any:
        """Pass `input` through every module in turn."""
        for module in self:
            input = module(input)
        return input

    def _part(self, names: list[str]) -> Self:
        return type(self)({name: self._modules[name] for name in names})  # type: ignore[misc]

    @classmethod
    def _of(cls, modules: list[Module]) -> Self:
        return cls(*modules)


class ModuleList(_Sequence):
    """A list whose modules are registered; the parameters of modules in a plain list would not be found.

    Parameters
    ----------
    modules : iterable of Module, optional
        Named "0", "1", ... in order.

    Examples
    --------
    >>> from rondeau import nn
    >>> layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
    >>> len(list(layers.parameters()))
    6
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules if modules is not None else ())

    def _part(self, names: list[str]) -> Self:
        return type(self)(self._modules[name] for name in names)  # type: ignore[misc]

    @classmethod
    def _of(cls, modules: list[Module]) -> Self:
        return cls(modules)


class ModuleDict(Module):
    """A dictionary whose modules are registered.

    Parameters
    ----------
    modules : mapping of str to Module, or iterable of pairs, optional
        The keys become part of the parameters' names, so they may not contain a dot.

    Examples
    --------
    >>> from rondeau import nn
    >>> heads = nn.ModuleDict({"word": nn.Linear(4, 100), "tag": nn.Linear(4, 9)})
    >>> heads["tag"].out_features
    9
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        super().__init__()
        self.update(modules if modules is not None else {})

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add or replace modules."""
        given = modules.items() if isinstance(modules, Mapping | ModuleDict) else modules
        try:
            pairs = [(name, module) for name, module in given]
        except (TypeError, ValueError):
            raise ArgumentTypeError(
                "modules must be a mapping of names to Modules, or pairs of a name and a Module, got "
                f"{type(modules).__name__}"
            ) from None
        for name, module in pairs:
            self[name] = module

    def pop(self, name: str) -> Module:
        """Remove a module and return it."""
        module = self[name]
        del self[name]
        return module

    def clear(self) -> None:
        """Remove all modules."""
        self._modules.clear()

    def keys(self) -> Iterable[str]:
        """Return the names, in order of insertion."""
        return self._modules.keys()

    def values(self) -> Iterable[Module]:
        """Return the modules, in order of insertion."""
        return self._modules.values()  # type: ignore[return-value]  # a container never holds None

    def items(self) -> Iterable[tuple[str, Module]]:
        """Return names and modules, in order of insertion."""
        return self._modules.items()  # type: ignore[return-value]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._modules

    def __getitem__(self, name: str) -> Module:
        if name not in self:
            raise KeyError(
                f"no module named {name!r} in this ModuleDict; it has {', '.join(map(repr, self))}"
            )
        return self._modules[name]  # type: ignore[return-value]

    def __setitem__(self, name: str, module: Module) -> None:
        _check_module(module)
        self.add_module(name, module)

    def __delitem__(self, name: str) -> None:
        self[name]  # raises a KeyError that lists the names
        del self._modules[name]
