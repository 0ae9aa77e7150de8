"""How Numba compiles kernels and the functions that they call; `compiling` has the decorators.

Numba alone gives each function machine code, and an entry for Python besides one for C, and optimises its library,
which has copies of all functions that it calls: one that is called five levels down is optimised six times, and only
the last result runs. Here it is translated to LLVM's intermediate representation once, and optimised in the kernels
that it is linked into.

A kernel's arrays belong to its caller for as long as it runs. It takes them without their owners, and LLVM drops the
counting of references to them, which would otherwise be a third of the code of a driver.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
from llvmlite.binding import Linkage
from numba import types
from numba.core import cgutils, config
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering

__all__ = ["AddressedFunction", "KernelCompiler", "LinkedCompiler", "LinkedFunction", "borrowed"]


def borrowed(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """Emit a value without the owners of its arrays.

    Parameters
    ----------
    context, builder
        Of the function that Numba translates.
    kind : type
        Numba's type of the value: a number, an array, or a tuple or record of such.
    value
        What LLVM has for it.
    """
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        array.parent = cgutils.get_null_value(array.parent.type)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        items = zip(kind, cgutils.unpack_tuple(builder, value, len(kind)), strict=True)
        return context.make_tuple(builder, kind, [borrowed(context, builder, *item) for item in items])
    return value


class _KernelLibrary(JITCodeLibrary):  # type: ignore[misc]
    """The library of a kernel; it shares no function with another."""

    def _optimize_final_module(self) -> None:
        """Optimise it, once LLVM knows that it sees all calls, and so may inline a function that is called once."""
        for function in self._final_module.functions:
            is_ours = not function.is_declaration and not function.name.startswith("NRT_")
            if is_ours and function.linkage == Linkage.linkonce_odr:
                function.linkage = Linkage.internal
        super()._optimize_final_module()


class _LinkedLibrary(JITCodeLibrary):  # type: ignore[misc]
    """The library of a function that is linked into others; it has no machine code."""

    def _optimize_functions(self, module: Any) -> None:
        """Make functions smaller; all else is done in the kernel."""
        module.data_layout = self._codegen._data_layout
        for function in module.functions:
            if not function.is_declaration:
                manager, builder = self._codegen._function_pass_manager(opt=min(config.OPT, 1))
                manager.run(function, builder)

    def finalize(self) -> None:
        """Add the functions that these call."""
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True


class _LowerBorrowing(Lower):  # type: ignore[misc]
    """Translates a function that does not return its arrays."""

    def extract_function_arguments(self) -> Any:
        """Return the arguments, without the owners of arrays."""
        given = zip(self.fndesc.argtypes, super().extract_function_arguments(), strict=True)
        self.fnargs = [borrowed(self.context, self.builder, kind, value) for kind, value in given]
        return self.fnargs


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(NativeLowering):  # type: ignore[misc]
    _name = "rondeau_kernel_lowering"
    _returns_number = True

    @property
    def lowering_class(self) -> Any:
        return _LowerBorrowing if self._returns_number else Lower

    def run_pass(self, state: Any) -> bool:
        """Translate a kernel, and compile it."""
        self._returns_number = isinstance(state.return_type, types.Number | types.Boolean | types.NoneType)
        state.library = _KernelLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        done: bool = super().run_pass(state)
        return done


@register_pass(mutates_CFG=True, analysis_only=False)
class _LinkedLowering(NativeLowering):  # type: ignore[misc]
    _name = "rondeau_linked_lowering"

    def run_pass(self, state: Any) -> bool:
        """Translate a function, and let Numba find it."""
        state.library = _LinkedLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        done: bool = super().run_pass(state)

        # Numba finds a signature by what would be called from Python: a builtin function, equal to no other.
        key = [].append  # type: ignore[var-annotated]
        lowered = state["cr"]
        state.targetctx.insert_user_function(key, lowered.fndesc, [state.library])
        state["cr"] = lowered._replace(cfunc=key)
        return done


class _Compiler(CompilerBase):  # type: ignore[misc]
    """Numba's passes, of which the one that translates to LLVM is replaced."""

    lowering: Any

    def define_pipelines(self) -> list[Any]:
        """Return the one pipeline."""
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.passes = [
            (self.lowering if one is NativeLowering else one, purpose) for one, purpose in manager.passes
        ]
        manager.finalize()
        return [manager]


class KernelCompiler(_Compiler):
    """Compiles a function that is called from Python, or by its address."""

    lowering = _KernelLowering


class LinkedCompiler(_Compiler):
    """Compiles a function that other functions are linked with."""

    lowering = _LinkedLowering


class _WithoutEntry(CPUDispatcher):  # type: ignore[misc]
    """A function without an entry for Python; calls from there, as in tests, compile another one that has it.

    Parameters
    ----------
    function : callable
    compiler : type
    options : dict
        Options of `numba.njit`.
    """

    def __init__(self, function: Callable[..., Any], compiler: type, options: dict[str, Any]) -> None:
        self._options = {"boundscheck": None, "no_cfunc_wrapper": True, **options}
        kept = {"nopython": True, "no_cpython_wrapper": True, **self._options}
        super().__init__(function, targetoptions=kept, pipeline_class=compiler)

    def add_overload(self, compiled: Any) -> None:
        """Keep a compiled signature where calls from Python do not find it."""
        self.overloads[tuple(compiled.signature.args)] = compiled

    def _compile_for_args(self, *_: Any, **__: Any) -> Any:
        return self._for_python

    @functools.cached_property
    def _for_python(self) -> Any:
        return numba.njit(**self._options, pipeline_class=KernelCompiler)(self.py_func)


class LinkedFunction(_WithoutEntry):
    """A function that kernels are linked with.

    Parameters
    ----------
    function : callable
    options : dict
        Options of `numba.njit`.
    """

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        super().__init__(function, LinkedCompiler, options)


class AddressedFunction(_WithoutEntry):
    """A function that kernels call by its address; the parameters are those of `LinkedFunction`."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        super().__init__(function, KernelCompiler, options)
