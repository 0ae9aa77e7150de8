"""Compiled functions that kernels call by symbol, so that they are not compiled into each kernel."""

import re
from collections.abc import Callable

from llvmlite import binding

from rondeau.kernels.errors import ArgumentValueError

__all__ = ["need_symbol", "needed_symbols", "provide_symbol"]

_PREFIX = "rondeau_"
_providers: dict[str, Callable[[], int]] = {}
_linked: set[str] = set()


def provide_symbol(name: str, address: Callable[[], int]) -> None:
    """Offer a compiled function to kernels under a symbol that begins with ``rondeau_``.

    Parameters
    ----------
    name : str
        The symbol by which kernels declare and call it.
    address : callable
        Compiles or loads the function and returns its address; called once, when the first kernel needs it.
    """
    if not name.startswith(_PREFIX):
        raise ArgumentValueError(f"provide_symbol: name must begin with {_PREFIX!r}, got {name!r}")
    _providers[name] = address


def need_symbol(name: str) -> None:
    """Register the provided function `name` with LLVM, so that code that calls it can be linked."""
    if name not in _linked:
        binding.add_symbol(name, _providers[name]())
        _linked.add(name)


def needed_symbols(llvm: str) -> list[str]:
    """Return the names of the provided functions that the LLVM IR of a kernel declares."""
    return re.findall(rf"^declare [^@]*@({_PREFIX}\w+)", llvm, re.MULTILINE)
