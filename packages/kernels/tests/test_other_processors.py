"""The code for processors that are not here, read as assembly: what must stay in registers does."""

import functools
import os
import re
import subprocess
import sys
from typing import NamedTuple

import pytest
from llvmlite import binding, ir

from rondeau.kernels.numerics.elements import ELEMENTS, INT8
from rondeau.kernels.product.microkernel import write_tiles
from rondeau.kernels.product.tiles import TILE, Tile, choose_tile

MULTIPLY_ADD = re.compile(r"\tv?f(n?m(add|sub)|ml[as])|\tmulp|\tv?p(maddwd|dpwssd)|\ts?m(la|ul)l?2?\t.*\.4s")
ON_STACK = re.compile(r"\(%rsp|\[sp\b")
LABEL = re.compile(r"(\.L\w+):")
JUMP = re.compile(r"\t(?:j|b|cb|tb)\S*\t(?:.*, )?(\.L\w+)")


class Processor(NamedTuple):
    architecture: str
    name: str
    tile: Tile
    too_large: Tile
    """A tile that does not stay in the registers."""


X86, ARM = "x86_64", "aarch64"
AVX512 = choose_tile(X86, frozenset({"avx512f", "avx512bw", "avx2", "fma"}))
AVX2 = choose_tile(X86, frozenset({"avx2", "fma"}))
SSE = choose_tile(X86, frozenset({"sse2"}))
NEON = choose_tile(ARM, frozenset({"neon"}))
PROCESSORS = [
    Processor(X86, "znver4", AVX512, AVX512._replace(rows=8)),
    Processor(X86, "skylake-avx512", AVX512, AVX512._replace(rows=7)),
    Processor(X86, "haswell", AVX2, AVX2._replace(rows=7)),
    Processor(X86, "nehalem", SSE, SSE._replace(rows=6)),
    Processor(ARM, "generic", NEON, NEON._replace(rows=8)),
    Processor(ARM, "neoverse-n1", NEON, NEON._replace(rows=7)),
    Processor(ARM, "cortex-a55", NEON, NEON._replace(rows=6)),
    Processor(ARM, "apple-m1", NEON, NEON._replace(rows=6)),
]


@functools.cache
def target(architecture):
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    try:
        return binding.Target.from_triple(f"{architecture}-unknown-linux-gnu")
    except RuntimeError:
        return None


def assembly(code, architecture, name):
    """Compile LLVM's code for a processor, optimised as Numba does it, and give the lines of its assembly."""
    if target(architecture) is None:
        pytest.skip(f"this llvmlite was built without the target {architecture}")
    reloc = "static" if architecture == X86 else "default"
    machine = target(architecture).create_target_machine(
        cpu=name, opt=3, reloc=reloc, codemodel="jitdefault", jit=True
    )
    code = re.sub(r'target triple = ".*"', f'target triple = "{target(architecture).triple}"', code)
    code = re.sub(r'target datalayout = ".*"', f'target datalayout = "{machine.target_data}"', code)
    module = binding.parse_assembly(code)
    module.verify()
    options = binding.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    passes = binding.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    return machine.emit_assembly(module).splitlines()


def function_named(name, lines):
    """Give the lines of the function whose name contains `name`."""
    start = next(i for i, line in enumerate(lines) if re.match(rf"\w*{name}\w*:", line))
    stop = next(i for i in range(start, len(lines)) if lines[i].startswith(".Lfunc_end"))
    return lines[start:stop]


def inner_loop(lines, multiply_adds):
    """Give the shortest piece that ends in a jump to its beginning and holds at least so many multiply-adds."""
    labels = {match[1]: i for i, line in enumerate(lines) if (match := LABEL.match(line))}
    loops = []
    for stop, line in enumerate(lines):
        if (jump := JUMP.match(line)) and labels[jump[1]] < stop:
            loop = lines[labels[jump[1]] : stop + 1]
            if sum(map(bool, map(MULTIPLY_ADD.match, loop))) >= multiply_adds:
                loops.append(loop)
    assert loops, "no loop with that many multiply-adds"
    return min(loops, key=len)


def spilling_shapes(processor, element, tile):
    """Give the shapes up to a tile whose inner loop reads or writes the stack."""
    module = ir.Module()
    write_tiles(module, element, tile)
    lines = assembly(str(module), processor.architecture, processor.name)
    spilling = {}
    for rows in range(1, tile.rows + 1):
        for vectors in range(1, tile.vectors + 1):
            function = function_named(
                f"rondeau_tile_{rows}x{vectors}_{element.vector_name(tile.vector_bytes)}", lines
            )
            loop = inner_loop(function, 2 * rows * vectors)  # two steps of k
            if accesses := [line for line in loop if ON_STACK.search(line)]:
                spilling[rows, vectors] = accesses
    return spilling


def name_of(processor):
    return processor.name


@pytest.mark.sampled(4)
@pytest.mark.parametrize("element", [*ELEMENTS.values(), INT8], ids=lambda element: element.name)
@pytest.mark.parametrize("processor", PROCESSORS, ids=name_of)
def test_tiles_stay_in_registers(processor, element):
    tile = processor.tile
    if element is INT8:
        tile = tile._replace(rows=tile.rows_of_int8)
    assert spilling_shapes(processor, element, tile) == {}


@pytest.mark.sampled(4)
@pytest.mark.parametrize("element", ELEMENTS.values(), ids=lambda element: element.name)
@pytest.mark.parametrize("processor", PROCESSORS, ids=name_of)
def test_a_tile_too_large_is_seen_to_spill(processor, element):
    tile = processor.too_large
    assert (tile.rows, tile.vectors) in spilling_shapes(processor, element, tile)


ROW = """
import numpy as np
from rondeau.kernels.cell import cell_math as m
from rondeau.kernels.sequence import Cell
from rondeau.kernels.cpu.compiled_phase import CompiledPhase
from rondeau.kernels.recurrent.target import source_of

def lstm(x, r, s):
    c = m.sigmoid(x.f + r.f) * s.c + m.sigmoid(x.i + r.i) * m.tanh(x.g + r.g)
    return m.sigmoid(x.o + r.o) * m.tanh(c), c

source = source_of(Cell(lstm, ("i", "f", "g", "o"), ("h", "c"), "lstm"), "forward")
(phase,) = CompiledPhase(source, np.float32).dispatcher.overloads.values()
print(phase.library.get_llvm_str())
"""


@pytest.fixture(scope="module")
def row(tmp_path_factory):
    """LLVM's code of the LSTM's forward row before it is optimised for a processor."""
    if not TILE.fused:
        pytest.skip("this processor has no fused multiply-add, so the code has none")
    environment = os.environ | {"NUMBA_OPT": "0", "RONDEAU_CACHE": str(tmp_path_factory.mktemp("cache"))}
    command = [sys.executable, "-c", ROW]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    return run.stdout


@pytest.mark.parametrize("processor", [p for p in PROCESSORS if p.tile == NEON], ids=name_of)
def test_a_row_runs_in_vectors_on_neon(processor, row):
    lines = function_named("lstm_forward", assembly(row, processor.architecture, processor.name))
    loop = inner_loop([line for line in lines if not re.search(r"\tfmadd\t", line)], 40)
    assert not [line for line in loop if re.match(r"\tblr?\t", line)]  # a call
    vectors = [line for line in loop if MULTIPLY_ADD.match(line)]
    assert all(".4s" in line for line in vectors)
    spills = [line for line in loop if ON_STACK.search(line)]
    assert len(spills) <= len(loop) // 50, spills  # none at best; the register allocator is no exact science
