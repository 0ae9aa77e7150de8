"""Exported C, compiled as strictly as compilers can and called from Python."""

import ctypes
import subprocess
from pathlib import Path

import numpy as np

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")


def compile_program(folder: Path, name: str, *flags: str, compiler: str = "gcc") -> Path:
    """Compile the program that checks an exported model."""
    program = folder / name
    _compile(compiler, [*STRICT, "-O1", f"-D{name.upper()}_MAIN", *flags], folder / f"{name}.c", program)
    return program


def _compile(compiler: str, flags: list[str], source: Path, target: Path) -> None:
    done = subprocess.run(
        [compiler, *flags, str(source), "-o", str(target), "-lm"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


class Library:
    """An exported model as a shared library.

    Parameters
    ----------
    folder : Path
    name : str
    states : list of int
        The widths of its states, in order.
    """

    def __init__(self, folder: Path, name: str, states: list[int], state_bytes: int, *flags: str) -> None:
        target = folder / f"{name}.so"
        _compile("gcc", [*STRICT, "-O1", "-fPIC", "-shared", *flags], folder / f"{name}.c", target)
        self._library, self._name = ctypes.CDLL(str(target)), name
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
