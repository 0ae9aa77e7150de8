"""Compiled functions that kernels call by the name of a symbol, so that they are not compiled into each of them."""

import re
from collections.abc import Callable

from llvmlite import binding

from rondeau.kernels.errors import ArgumentValueError

__all__ = ["need_symbol", "needed_symbols", "provide_symbol"]

_PREFIX = "rondeau_"
_providers: dict[str, Callable[[], int]] = {}
_linked: set[str] = set()


def provide_symbol(name: str, address: Callable[[], int]) -> None:
    """Offer a compiled function to kernels under a name that begins with ``rondeau_``.

    Parameters
    ----------
    name : str
        The name by which kernels declare and call it.
    address : callable
        Compiles, or loads, the function and gives its address; called once, when the first kernel needs it.
    """
    if not name.startswith(_PREFIX):
        raise ArgumentValueError(f"provide_symbol expected a name that begins with {_PREFIX!r}, got {name!r}")
    _providers[name] = address


def need_symbol(name: str) -> None:
    """See to it that code which calls the provided function `name` can be linked."""
    if name not in _linked:
        binding.add_symbol(name, _providers[name]())
        _linked.add(name)


def needed_symbols(llvm: str) -> list[str]:
    """Return the names of the provided functions that LLVM's text of a kernel declares."""
    return re.findall(rf"^declare [^@]*@({_PREFIX}\w+)", llvm, re.MULTILINE)
