"""The disk cache of functions that Numba compiles for the CPU."""

import pickle
from collections.abc import Callable
from typing import Any

from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from rondeau.kernels.runtime.cache import DiskCache
from rondeau.kernels.runtime.symbols import need_symbol, needed_symbols

__all__ = ["FunctionCache"]


class FunctionCache(DiskCache):
    """The cache of one dispatcher of the CPU; an entry is machine code and the symbols that it is linked with.

    Parameters
    ----------
    module, name, key : str
        See `DiskCache`.
    before : callable, optional
        Called before the function is compiled or loaded.
    """

    def __init__(self, module: str, name: str, key: str, before: Callable[[], None] | None = None) -> None:
        super().__init__(module, name, key)
        self._before = before

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return a compiled signature, or None, so that Numba compiles it; see `DiskCache`."""
        if self._before is not None:
            self._before()
        target_context.refresh()
        return super().load_overload(sig, target_context)

    def _reduced(self, compiled: Any) -> bytes | None:
        if compiled.library.has_dynamic_globals:
            return None
        symbols = needed_symbols(compiled.library.get_llvm_str())
        return dumps((symbols, compiled._reduce()))  # type: ignore[no-any-return]

    def _rebuilt(self, payload: bytes, target_context: Any) -> Any:
        symbols, reduced = pickle.loads(payload)
        for symbol in symbols:
            need_symbol(symbol)
        return CompileResult._rebuild(target_context, *reduced)
