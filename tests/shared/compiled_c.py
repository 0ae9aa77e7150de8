"""Exported C, compiled as strictly as compilers can and called from Python."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")


def compile_program(folder: Path, name: str, *flags: str, compiler: str = "gcc") -> Path:
    """Compile the program that checks an exported model."""
    program = folder / name
    _compile(compiler, [*STRICT, "-O1", f"-D{name.upper()}_MAIN", *flags], [folder / f"{name}.c"], program)
    return program


def compile_library(folder: Path, names: list[str], *flags: str, compiler: str = "gcc") -> Path:
    """Compile exported models as one shared library."""
    target = folder / f"{names[0]}.so"
    sources = [folder / f"{name}.c" for name in names]
    _compile(compiler, [*STRICT, "-O1", "-fPIC", "-shared", *flags], sources, target)
    return target


def _compile(compiler: str, flags: list[str], sources: list[Path], target: Path) -> None:
    done = subprocess.run(
        [compiler, *flags, *map(str, sources), "-o", str(target), "-lm"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


class Library:
    """An exported model in a shared library.

    Parameters
    ----------
    library : Path
        What `compile_library` returned.
    name : str
    states : list of int
        The widths of its states, in order.
    state_bytes : int
    """

    def __init__(self, library: Path, name: str, states: list[int], state_bytes: int) -> None:
        self._library, self._name = ctypes.CDLL(str(library)), name
        self.memory = np.zeros(max(1, state_bytes // 4), np.float32)
        self._ends = np.cumsum([0, *states])
        self.call("init", self.memory)

    def call(self, function: str, *arguments):
        """Call a function; arrays are passed by address."""
        found = getattr(self._library, f"{self._name}_{function}")
        given = [
            ctypes.c_void_p(argument.ctypes.data) if isinstance(argument, np.ndarray) else argument
            for argument in arguments
        ]
        return found(*given)

    @property
    def states(self) -> list[np.ndarray]:
        """The states, which may be written."""
        return [self.memory[a:b] for a, b in zip(self._ends, self._ends[1:], strict=False)]

    def step(self, x, outputs: int, *others) -> np.ndarray:
        """Run one step."""
        y = np.full(outputs, np.nan, np.float32)
        given = x if isinstance(x, np.ndarray) else ctypes.c_int32(int(x))
        self.call("step", self.memory, given, *others, y)
        return y


def exported_library(model, folder: Path, name: str = "model", **options) -> Library:
    """Export a model, compile it, and load it."""
    from rondeau import export
    from rondeau.export._description import describe

    result = export.to_c(model, folder, name, **options)
    layers = describe(model, options.get("takes_ids")).layers
    widths = [vector.size for layer in layers for vector in layer.initial]
    return Library(compile_library(folder, [name]), name, widths, result.state_bytes)
