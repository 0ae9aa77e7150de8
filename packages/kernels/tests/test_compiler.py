"""How kernels and the functions that they call are compiled."""

import gc
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import types

import rondeau.kernels
from comparing import assert_same_bits
from rondeau.kernels.runtime.compiling import (
    address_of,
    addressed_njit,
    compile_or_load,
    kernel_njit,
    linked_njit,
    shared_njit,
)

VECTOR = types.Array(types.float64, 1, "C")


@linked_njit
def first_half(x):
    return x[: x.size // 2]


@shared_njit
def half_of(size: int) -> int:
    return size // 2


@kernel_njit
def negate_half(x):
    half = first_half(x)
    for i in range(half_of(x.size)):
        half[i] = -half[i]


@kernel_njit
def longer_half(x):
    copied = np.concatenate((first_half(x), x[:0]))
    return copied if copied.size > x.size // 2 else first_half(x)


def machine_code_of(dispatcher, signature):
    """Return the address of the machine code of a compiled signature; 0 if there is none."""
    compiled = dispatcher.overloads[signature]
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


def test_a_linked_function_is_part_of_a_kernel_and_has_no_machine_code():
    x = np.arange(6.0)
    negate_half(x)
    assert_same_bits(x, np.array([-0.0, -1.0, -2.0, 3.0, 4.0, 5.0]))
    (signature,) = negate_half.overloads
    assert machine_code_of(negate_half, signature)
    assert not machine_code_of(first_half, signature)
    (code,) = negate_half.inspect_llvm().values()
    assert not re.search(r"^define .*first_half", code, re.MULTILINE)  # inlined, for it is called once


def test_a_linked_function_that_python_calls_is_compiled_for_it():
    x = np.arange(6.0)
    negate_half(x)  # so that the signature is there, without an entry for Python
    half = first_half(x)
    assert half.base is not None
    assert_same_bits(half, x[:3])
    assert half_of(7) == 3


def test_an_addressed_function_has_machine_code_and_no_entry_for_python():
    @addressed_njit
    def add(x, y):
        x[0] += y

    signature = types.void(VECTOR, types.float64)
    assert address_of(add, signature) == machine_code_of(add, signature.args) != 0
    compiled = add.overloads[signature.args]
    assert not compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cpython_wrapper_name)
    x = np.ones(1)
    add(x, 2.0)
    assert x.tolist() == [3.0]


def test_a_kernel_counts_no_references_and_leaves_them_as_they_were():
    x = np.arange(6.0)
    before = sys.getrefcount(x)
    negate_half(x)
    assert sys.getrefcount(x) == before
    (code,) = negate_half.inspect_llvm().values()
    kernel = re.split(r"\n(?=define )", code)[1]
    assert "negate_half" in kernel.split("\n")[0]
    assert "NRT_incref" not in kernel


def test_an_array_that_a_kernel_returns_has_an_owner():
    x = np.arange(1000.0)
    half = longer_half(x)
    expected = x[:500].tobytes()
    del x
    np.zeros(1000)  # would take the memory, if it were free
    assert half.tobytes() == expected


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_not_looked_for_meanwhile_and_then_as_before(enabled):
    seen = []

    def compile(signature):
        seen.append(gc.isenabled())
        raise ValueError("of the compiler")

    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ValueError, match="of the compiler"):
            compile_or_load(compile, None)
        assert seen == [False]
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_one_loop_is_parallel_for_the_whole_library():
    """Another would be compiled twice or three times, with Numba's passes for it: see `runtime.shares`."""
    (package,) = rondeau.kernels.__path__
    loop = re.compile(r"^ +for .* in prange\(", re.MULTILINE)
    assert [path.name for path in Path(package).rglob("*.py") if loop.search(path.read_text())] == [
        "shares.py"
    ]
