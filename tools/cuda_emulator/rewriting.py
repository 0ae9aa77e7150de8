"""A kernel's source, rewritten so that each thread is a generator which stops where the machine has to act.

``cuda.syncthreads()`` becomes ``(yield cuda.syncthreads())``, and a call of a device function that stops anywhere
becomes ``(yield from function())``. Divisions become calls of `divide`, which returns inf where Python raises;
conversions of constants (``np.uint32(3)``) are done here once; a loop that may wait for memory without stopping gets
a pause.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .intrinsics import spin
from .scalars import MATH, NUMPY, TYPES, ScalarType, divide, scalar_type

_DIVIDE, _PAUSE, _CONVERT = "__divide__", "__pause__", "__to_"
_OWN_NAMES = {
    _DIVIDE: divide,
    _PAUSE: spin,
    "__emulated__": True,  # tells the frames of a kernel from those of the emulator, in a traceback
    **{_CONVERT + name: kind.convert for name, kind in TYPES.items()},
}
_ABSENT = object()
_CANNOT_STOP = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


class Source:
    """The source of a function, and where its names come from.

    Parameters
    ----------
    text : str
    file : str
        For tracebacks.
    first_line : int
    names : mapping
        The function's globals and what it closes over.
    """

    def __init__(self, text: str, file: str, first_line: int, names: Mapping[str, Any]) -> None:
        tree = ast.parse(textwrap.dedent(text))
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        if len(functions) != 1 or len(tree.body) != 1:
            raise ValueError(f"expected the source of one function, got {len(tree.body)} statements")
        ast.increment_lineno(tree, first_line - 1)
        self.function = functions[0]
        self.function.decorator_list = []
        self.file = file
        self.names = names

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Source:
        """Return the source of a function, which must lie in a file."""
        function = getattr(function, "py_func", function)
        lines, first = inspect.getsourcelines(function)
        closed = inspect.getclosurevars(function)
        code = function.__code__
        return cls("".join(lines), code.co_filename, first, {**function.__globals__, **closed.nonlocals})


class Rewriter:
    """Rewrites a kernel and the device functions that it calls.

    Parameters
    ----------
    stand_ins : mapping
        What names stand for, whatever the kernel's globals hold under them.
    """

    def __init__(self, stand_ins: Mapping[str, Any]) -> None:
        self._stand_ins = stand_ins
        # By id, with the original, so that no id is used again.
        self._done: dict[int, tuple[Any, Callable[..., Any]]] = {}

    def rewrite(self, source: Source, is_kernel: bool = False) -> Callable[..., Any]:
        """Return the function, marked ``stops`` if it is a generator; a kernel always is."""
        local = _local_names(source.function)
        used = {node.id for node in ast.walk(source.function) if isinstance(node, ast.Name)} - local
        names = {name: self._stand_in(name, source.names.get(name, _ABSENT)) for name in used}
        names = {name: value for name, value in names.items() if value is not _ABSENT}
        body = _Body(names, local, source.function.name)
        function = body.visit(source.function)
        if is_kernel and not body.suspends:  # a generator all the same
            function.body.append(ast.parse("if False: yield").body[0])
        module = ast.fix_missing_locations(ast.Module([function], []))
        names |= _OWN_NAMES
        exec(compile(module, source.file, "exec"), names)
        rewritten: Any = names[source.function.name]
        rewritten.stops = body.suspends
        found: Callable[..., Any] = rewritten
        return found

    def _stand_in(self, name: str, value: Any) -> Any:
        if name in self._stand_ins:
            return self._stand_ins[name]
        if (kind := scalar_type(value)) is not None:
            return kind
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, types.ModuleType):
            return {"math": MATH, "numpy": NUMPY}.get(value.__name__, value)
        function = getattr(value, "py_func", value)
        if isinstance(function, types.FunctionType) and not hasattr(function, "suspends"):
            if id(function) not in self._done:
                self._done[id(function)] = function, self.rewrite(Source.of(function))
            return self._done[id(function)][1]
        return value


class _Body(ast.NodeTransformer):
    """The statements of one function."""

    def __init__(self, names: Mapping[str, Any], local: set[str], function: str) -> None:
        self._names = names
        self._local = local
        self._function = function
        self._inside = 0  # of lambdas and comprehensions, which cannot stop
        self.suspends = False

    def _resolve(self, node: ast.expr) -> Any:
        """Return what a name or attribute stands for, None where that is not known before the kernel runs."""
        if isinstance(node, ast.Name):
            return None if node.id in self._local else self._names.get(node.id)
        if isinstance(node, ast.Attribute):
            base = self._resolve(node.value)
            if base is None or isinstance(getattr(type(base), node.attr, None), property):
                return None  # a property of `cuda` asks the machine that runs, and none does yet
            return getattr(base, node.attr, None)
        if isinstance(node, ast.Call) and not node.args:  # cuda.cg.this_grid()
            group = self._resolve(node.func)
            return group() if getattr(group, "__name__", "") == "this_grid" else None
        return None

    def visit(self, node: ast.AST) -> Any:
        within = isinstance(node, _CANNOT_STOP) or (
            isinstance(node, ast.FunctionDef) and node.name != self._function
        )
        self._inside += within
        visited = super().visit(node)
        self._inside -= within
        return visited

    def visit_Call(self, node: ast.Call) -> ast.expr:
        called = self._resolve(node.func)
        self.generic_visit(node)
        if isinstance(called, ScalarType) and len(node.args) == 1 and not node.keywords:
            return ast.copy_location(self._convert(called, node.args[0]), node)
        if getattr(called, "declares", False):
            site = ast.Tuple([ast.Constant(node.lineno), ast.Constant(node.col_offset)], ast.Load())
            node.keywords.append(ast.keyword("site", site))
        if getattr(called, "suspends", False):
            return self._stop(ast.Yield(node), node)
        if getattr(called, "stops", False):
            return self._stop(ast.YieldFrom(node), node)
        return node

    def _convert(self, kind: ScalarType, value: ast.expr) -> ast.expr:
        if isinstance(value, ast.Constant):
            return ast.Constant(kind(value.value))
        if kind.dtype.kind == "u":  # by far the most frequent, in indices: without a call
            whole = ast.Call(ast.Name("int", ast.Load()), [value], [])
            return ast.BinOp(whole, ast.BitAnd(), ast.Constant((1 << 8 * kind.dtype.itemsize) - 1))
        return ast.Call(ast.Name(_CONVERT + kind.dtype.name, ast.Load()), [value], [])

    def _stop(self, stop: ast.expr, node: ast.Call) -> ast.expr:
        if self._inside:
            raise ValueError(
                f"{self._function}, line {node.lineno}: {ast.unparse(node.func)} within a lambda, an inner function "
                "or a comprehension; write a loop"
            )
        self.suspends = True
        return ast.copy_location(stop, node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if not isinstance(node.op, ast.Div):
            return node
        return ast.copy_location(_division(node.left, node.right), node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.stmt:
        if isinstance(node.op, ast.Div) and isinstance(node.target, ast.Name):
            value = _division(ast.Name(node.target.id, ast.Load()), self.visit(node.value))
            return ast.copy_location(ast.Assign([node.target], value), node)
        self.generic_visit(node)
        return node

    def visit_While(self, node: ast.While) -> ast.stmt:
        stopped, self.suspends = self.suspends, False
        waits = any(isinstance(part, ast.Subscript | ast.Call) for part in ast.walk(node.test)) or isinstance(
            node.test, ast.Constant
        )
        self.generic_visit(node)
        if waits and not self.suspends and not self._inside:
            pause = ast.Expr(ast.Yield(ast.Call(ast.Name(_PAUSE, ast.Load()), [], [])))
            node.body.insert(0, ast.copy_location(pause, node))
            self.suspends = True
        self.suspends = self.suspends or stopped
        return node


def _division(left: ast.expr, right: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(_DIVIDE, ast.Load()), [left, right], [])


def _local_names(function: ast.FunctionDef) -> set[str]:
    arguments = function.args
    names = {argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    return names | {
        node.id
        for node in ast.walk(function)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del)
    }
