"""A kernel that can be launched on the emulated machine."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .intrinsics import intrinsics
from .machine import Machine
from .memory import Array, Region
from .namespace import Cuda, Launched
from .rewriting import Rewriter, Source
from .threads import Dim3


class Statistics(NamedTuple):
    """What a launch was.

    Attributes
    ----------
    threads : int
    turns : int
        How often the schedule chose who goes on.
    """

    threads: int
    turns: int


class Kernel:
    """A kernel for the emulated machine.

    Parameters
    ----------
    function : callable, str
        The kernel, a Python function (or what ``numba.cuda.jit`` made of one); or its source, of one function.
    names : mapping, optional
        What names stand for in the kernel, before its own globals and the names of `intrinsics`: a string names an
        intrinsic (``{"mma": "mma_m16n8k8_tf32"}``).

    Examples
    --------
    >>> import numpy as np
    >>> from tools.cuda_emulator import Kernel
    >>> reverse = Kernel('''
    ... def reverse(x):
    ...     held = cuda.shared.array(64, float32)
    ...     i = cuda.threadIdx.x
    ...     held[i] = x[i]
    ...     cuda.syncthreads()
    ...     x[i] = held[63 - i]
    ... ''', {"float32": np.float32})
    >>> x = np.arange(64, dtype=np.float32)
    >>> reverse.launch(1, 64, x).threads
    64
    >>> x[:3]
    array([63., 62., 61.], dtype=float32)
    """

    def __init__(self, function: Callable[..., Any] | str, names: Mapping[str, Any] | None = None) -> None:
        self._launched = Launched()
        known = intrinsics(self._launched)
        given = {
            name: known[value] if isinstance(value, str) else value for name, value in (names or {}).items()
        }
        stand_ins = {**known, "cuda": Cuda(self._launched)}
        if isinstance(function, str):
            source = Source(function, "<kernel>", 1, given)
        else:
            source = Source.of(function)
            source.names = {**source.names, **given}
        for name in given:
            stand_ins.pop(name, None)
        self._function = Rewriter(stand_ins).rewrite(source, is_kernel=True)
        self._parameters = list(inspect.signature(self._function).parameters)

    def launch(
        self,
        grid: int | Sequence[int],
        block: int | Sequence[int],
        *arguments: Any,
        seed: int = 0,
        lockstep: bool = False,
        dynamic_shared: int = 0,
        unwritten: Iterable[str] = (),
    ) -> Statistics:
        """Run the kernel to its end.

        Parameters
        ----------
        grid, block : int or sequence of int
            Blocks of the grid and threads of a block.
        *arguments
            NumPy arrays (C-contiguous; the kernel changes them in place), numbers, and tuples of them. What shares
            memory here shares it in the kernel. A store to an array that is not writeable is an error.
        seed : int, default 0
            Of the schedule.
        lockstep : bool, default False
            Whether the lanes of a warp go on together.
        dynamic_shared : int, default 0
            Bytes of dynamic shared memory of a block.
        unwritten : iterable of str
            Parameters whose arrays count as never written, as memory that was only allocated is: to read of them what
            the kernel has not written is an error.

        Returns
        -------
        Statistics

        Raises
        ------
        KernelError
            Or one of its kinds, for the first thing that the kernel does wrong.
        """
        machine = Machine(_dim3(grid), _dim3(block), seed, lockstep)
        if len(arguments) != len(self._parameters):
            raise TypeError(
                f"the kernel takes {len(self._parameters)} arguments, {self._parameters}; got {len(arguments)}"
            )
        unknown = set(unwritten) - set(self._parameters)
        if unknown:
            raise ValueError(
                f"unwritten: {sorted(unknown)} are no parameters of the kernel, which has {self._parameters}"
            )
        given = _arguments(machine, dict(zip(self._parameters, arguments, strict=True)), set(unwritten))
        if dynamic_shared:
            for one in machine.blocks:
                data = np.zeros(dynamic_shared, np.uint8)
                one.dynamic = Region(machine, "dynamic shared memory", data, 4, written=False)
        self._launched.machine = machine
        machine.run(lambda: self._function(*given))
        return Statistics(len(machine.threads), machine.turns)


def _dim3(size: int | Sequence[int]) -> Dim3:
    return Dim3(size) if isinstance(size, int) else Dim3(*size)


def _arguments(machine: Machine, given: Mapping[str, Any], unwritten: set[str]) -> list[Any]:
    """Return the arguments as a kernel sees them; arrays that overlap are views of one region."""
    arrays: list[tuple[str, np.ndarray]] = []

    def collect(name: str, value: Any) -> None:
        if isinstance(value, np.ndarray):
            if not value.flags.c_contiguous:
                raise ValueError(f"{name} is not C-contiguous; hand over a copy")
            arrays.append((name, value))
        elif isinstance(value, tuple):
            fields = getattr(value, "_fields", range(len(value)))
            for field, part in zip(fields, value, strict=True):
                collect(f"{name}.{field}", part)

    for name, value in given.items():
        collect(name, value)
    views = {id(array): view for array, view in _views(machine, arrays, unwritten)}

    def convert(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return views[id(value)]
        if isinstance(value, tuple):
            parts = [convert(part) for part in value]
            return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
        return value.item() if isinstance(value, np.generic) else value

    return [convert(value) for value in given.values()]


def _views(
    machine: Machine, arrays: list[tuple[str, np.ndarray]], unwritten: set[str]
) -> Iterable[tuple[np.ndarray, Array]]:
    """Yield each array with its view of the region that it shares with those it overlaps."""
    ordered = sorted(arrays, key=lambda named: _begin(named[1]))
    groups: list[list[tuple[str, np.ndarray]]] = []
    end = 0
    for name, array in ordered:
        if not groups or _begin(array) >= end or array.size == 0:
            groups.append([])
        groups[-1].append((name, array))
        end = max(end, _begin(array) + array.nbytes)
    for group in groups:
        names = "/".join(dict.fromkeys(name for name, _ in group))
        begin = _begin(group[0][1])
        longest = max(group, key=lambda named: _begin(named[1]) + named[1].nbytes)[1]
        data = _bytes(group[0][1], longest, begin)
        written = not any(name.split(".")[0] in unwritten for name, _ in group)
        region = Region(machine, names, data, min(array.itemsize for _, array in group), written)
        for _, array in group:
            yield array, region.view(array.dtype, _begin(array) - begin, array.shape)


def _begin(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _bytes(first: np.ndarray, last: np.ndarray, begin: int) -> np.ndarray:
    """Return the bytes from the begin of ``first`` to the end of ``last``, which overlap or are one."""
    if last is first:
        return first.reshape(-1).view(np.uint8)
    length = _begin(last) + last.nbytes - begin
    base: Any = first
    while isinstance(base.base, np.ndarray):
        base = base.base
    if not base.flags.c_contiguous or _begin(base) + base.nbytes < begin + length:
        raise ValueError("arrays that overlap must be views of one contiguous array")
    whole: np.ndarray = base.reshape(-1).view(np.uint8)[begin - _begin(base) :][:length]
    return whole
