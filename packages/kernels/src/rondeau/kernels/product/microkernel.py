"""The microkernel of the matrix product, in LLVM vector code.

One call computes a tile of C that stays in vector registers while the loop runs over K:

    C[rows, columns] (+)= A[rows, K] @ B[K, columns]

* rows: up to `TILE.rows`; columns: up to `TILE.vectors` vectors of L lanes, the last of which may be partly valid.
* A is read one element at a time, with any stride between rows and between k; B is read in whole vectors, with any
  stride between k, and so must be readable up to a whole vector. C has unit stride along columns and is never
  touched outside the tile (the last vector is loaded and stored under a mask).
* Each element of C is one chain ``c = fma(a[k], b[k], c)`` over ascending k: this makes the bits of a product
  independent of tiles, blocks and threads.
* If A and B consist of `PAIRS`, C is float32 and each step is AVX512_BF16's ``vdpbf16ps``: two such links, the second
  number of a word before the first. Each is rounded to nearest even; subnormal numbers count as zero, and results that
  would be subnormal become zero, whatever the floating-point environment says.
* If B is `INT8` and A consists of words of two int16, C is int32 and each step adds both products of a word. Every
  processor gets the same sums, exact as long as the caller keeps them small enough.

Numba would neither keep the accumulators in registers nor choose the tile, so the code is generated as LLVM through
`numba.extending.intrinsic`. The tiles of a dtype are compiled once, into a library of their own, and kernels call them
by symbol, so that no kernel compiles them again.
"""

import functools
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from rondeau.kernels.numerics.elements import FORMATS, INT8, PAIRS, Element, element_of
from rondeau.kernels.product.tiles import TILE, Tile
from rondeau.kernels.runtime.compiling import addressed_njit
from rondeau.kernels.runtime.symbols import need_symbol, provide_symbol

__all__ = [
    "advance",
    "compute_tile",
    "pointer_as",
    "pointer_at",
    "pointer_to",
    "write_multiply_add",
    "write_splat",
    "write_tiles",
]

AHEAD = 2048
"""How far ahead, in bytes, a tile of one row prefetches B: it uses each number once, so its speed is that of memory.
4 MiB of packed float32 (512 x 2048; Zen 5, one thread) took 45 us without prefetching, 38 with this distance or with
4096 bytes, and 37 to 41 in a loop that only sums the numbers. Of int8, of which a tile reads half as many bytes for a
step of k, 1 and 4 MiB took the same time either way, and 16 MiB 5 % more with prefetching."""

_ADD_PAIRS = {
    64: "llvm.x86.avx512.pmaddw.d.512",
    32: "llvm.x86.avx2.pmadd.wd",
    16: "llvm.x86.sse2.pmadd.wd",
}
"""Intrinsics that multiply int16 and add the products of neighbours, by the bytes of a vector."""

_I1, _I32, _I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)


class _BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's ``bfloat``, which llvmlite lacks."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


def write_multiply_add(builder: ir.IRBuilder, element: Element, tile: Tile, a: Any, b: Any, c: Any) -> Any:
    """Emit ``a * b + c`` for a vector of each: one link of as many chains as the sums have lanes.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Where the code goes.
    element : Element
        The number format of b, and of a unless that is `INT8`; c has that of its sums.
    tile : Tile
        Its vectors' width, and whether multiply-adds are fused.
    a, b, c : vector

    Returns
    -------
    vector, as c
    """
    if element is PAIRS:
        numbers = ir.VectorType(_BFloat(), 2 * element.lanes(tile.vector_bytes))
        kind = ir.FunctionType(c.type, [c.type, numbers, numbers])
        pairs = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512bf16.dpbf16ps.512")
        return builder.call(pairs, [c, builder.bitcast(a, numbers), builder.bitcast(b, numbers)])
    if element is INT8:
        numbers = ir.VectorType(ir.IntType(16), 2 * c.type.count)
        wide = builder.sext(builder.bitcast(b, ir.VectorType(ir.IntType(8), numbers.count)), numbers)
        return builder.add(c, _sums_of_pairs(builder, tile, builder.bitcast(a, numbers), wide))
    if not tile.fused:
        return builder.fadd(builder.fmul(a, b), c)
    kind = ir.FunctionType(c.type, [c.type] * 3)
    name = f"llvm.fma.{element.vector_name(tile.vector_bytes)}"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


def _sums_of_pairs(builder: ir.IRBuilder, tile: Tile, a: Any, b: Any) -> Any:
    """Multiply vectors of int16, and add the products of neighbours, in int32."""
    sums = ir.VectorType(_I32, a.type.count // 2)
    if tile.adds_pairs:  # LLVM makes it and the addition to C one instruction where there is one
        kind = ir.FunctionType(sums, [a.type, b.type])
        name = _ADD_PAIRS[tile.vector_bytes]
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b])
    products = []
    for place in (0, 1):
        indices = ir.Constant(sums, list(range(place, a.type.count, 2)))
        halves = [builder.shuffle_vector(x, ir.Constant(x.type, ir.Undefined), indices) for x in (a, b)]
        products.append(builder.mul(*[builder.sext(half, sums) for half in halves]))
    return builder.add(*products)


def write_splat(builder: ir.IRBuilder, scalar: Any, lanes: int) -> Any:
    """Emit a vector whose lanes all have the value of a scalar."""
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, _I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes))


class _TileFunction:
    """Writes the function for one shape of tile into a module."""

    def __init__(self, module: ir.Module, element: Element, tile: Tile, rows: int, vectors: int) -> None:
        self.module, self.element, self.tile, self.rows, self.vectors = module, element, tile, rows, vectors
        self.lanes, self.align = element.sums.lanes(tile.vector_bytes), element.sums.bytes
        self.vector_name = element.sums.vector_name(tile.vector_bytes)
        self.vector = ir.VectorType(element.sums.llvm, self.lanes)
        self.zero = ir.Constant(self.vector, None)
        signature = ir.FunctionType(ir.VoidType(), _tile_arguments(element).args[2:])
        name = f"rondeau_tile_{rows}x{vectors}_{element.vector_name(tile.vector_bytes)}"
        self.function = ir.Function(module, signature, name)
        self.function.linkage = "internal"
        self.function.attributes.add("noinline")
        self.function.attributes.add("nounwind")
        self._write()

    def _write(self) -> None:
        a, a_row, a_step, b, b_step, c, c_row, depth, valid, accumulate = self.function.args
        entry, load, loop, last, done = (
            self.function.append_basic_block(name)
            for name in ("entry", "load_c", "two_steps", "one_step", "done")
        )
        builder = ir.IRBuilder(entry)
        self.a_rows = [builder.gep(a, [builder.mul(a_row, _I64(m))]) for m in range(self.rows)]
        self.a_step, self.b, self.b_step = a_step, b, b_step
        self.c_rows = [builder.gep(c, [builder.mul(c_row, _I64(m))]) for m in range(self.rows)]
        self.mask = self._valid_lanes(builder, valid)
        self.partial = builder.icmp_signed("<", valid, _I64(self.lanes))
        chains = self.rows * self.vectors
        # Whole numbers may be added in any order: a thin tile takes turns with two sums, to hide their latency.
        sets = 2 if self.element is INT8 and self.rows == 1 else 1
        zeros = [self.zero] * (sets * chains)
        builder.cbranch(accumulate, load, loop)

        builder.position_at_end(load)
        loaded = self._load_c(builder) + zeros[chains:]
        loaded_at = builder.block
        builder.branch(loop)

        # The head of the loop tests whether two steps, one or none remain.
        builder.position_at_end(loop)
        k, at_a, at_b = (self._phi(builder, _I64, [(_I64(0), entry), (_I64(0), loaded_at)]) for _ in range(3))
        sums = [
            self._phi(builder, self.vector, [(zero, entry), (value, loaded_at)])
            for zero, value in zip(zeros, loaded, strict=True)
        ]
        body = self.function.append_basic_block("body")
        tail = self.function.append_basic_block("tail")
        two_more = builder.icmp_signed("<", builder.add(k, _I64(1)), depth)
        builder.cbranch(two_more, body, tail)

        builder.position_at_end(body)
        stepped = self._step(builder, at_a, at_b, sums[:chains])
        next_a, next_b = builder.add(at_a, a_step), builder.add(at_b, b_step)
        if sets == 2:
            stepped += self._step(builder, next_a, next_b, sums[chains:])
        else:
            stepped = self._step(builder, next_a, next_b, stepped)
        k.add_incoming(builder.add(k, _I64(2)), body)
        at_a.add_incoming(builder.add(next_a, a_step), body)
        at_b.add_incoming(builder.add(next_b, b_step), body)
        for phi, value in zip(sums, stepped, strict=True):
            phi.add_incoming(value, body)
        builder.branch(loop)

        builder.position_at_end(tail)
        builder.cbranch(builder.icmp_signed("<", k, depth), last, done)

        builder.position_at_end(last)
        finished = self._step(builder, at_a, at_b, sums[:chains])
        builder.branch(done)

        builder.position_at_end(done)
        results = [
            self._phi(builder, self.vector, [(before, tail), (after, last)])
            for before, after in zip(sums[:chains], finished, strict=True)
        ]
        if sets == 2:
            results = [builder.add(*both) for both in zip(results, sums[chains:], strict=True)]
        self._store_c(builder, results)
        builder.ret_void()

    def _phi(self, builder: ir.IRBuilder, kind: ir.Type, incoming: list[tuple[Any, Any]]) -> Any:
        phi = builder.phi(kind)
        for value, block in incoming:
            phi.add_incoming(value, block)
        return phi

    def _valid_lanes(self, builder: ir.IRBuilder, valid: Any) -> Any:
        indices = ir.Constant(ir.VectorType(_I64, self.lanes), list(range(self.lanes)))
        return builder.icmp_signed("<", indices, write_splat(builder, valid, self.lanes))

    def _vector_at(self, builder: ir.IRBuilder, row: Any, index: int) -> Any:
        at = builder.gep(row, [_I64(index * self.lanes)])
        return builder.bitcast(at, ir.VectorType(row.type.pointee, self.lanes).as_pointer())

    def _step(self, builder: ir.IRBuilder, at_a: Any, at_b: Any, sums: list[Any]) -> list[Any]:
        """Extend every chain by one step of k."""
        row = builder.gep(self.b, [at_b])
        if self.rows == 1 and self.element is not INT8:
            self._prefetch(builder, row)
        columns = [
            builder.load(self._vector_at(builder, row, v), align=self.element.bytes)
            for v in range(self.vectors)
        ]
        stepped = []
        for m in range(self.rows):
            value = write_splat(builder, builder.load(builder.gep(self.a_rows[m], [at_a])), self.lanes)
            for v in range(self.vectors):
                stepped.append(
                    write_multiply_add(
                        builder, self.element, self.tile, value, columns[v], sums[m * self.vectors + v]
                    )
                )
        return stepped

    def _prefetch(self, builder: ir.IRBuilder, row: Any) -> None:
        """Prefetch the cache lines of B that are `AHEAD` bytes further on; past the end they go unused."""
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
        prefetch = cgutils.get_or_insert_function(self.module, kind, "llvm.prefetch.p0")
        first = builder.bitcast(row, byte)
        for line in range(0, self.vectors * self.lanes * self.element.bytes, 64):
            at = builder.gep(first, [_I64(AHEAD + line)])
            builder.call(prefetch, [at, _I32(0), _I32(3), _I32(1)])  # read, all cache levels, data

    def _masked(self, name: str, result: ir.Type, arguments: list[ir.Type]) -> Any:
        kind = ir.FunctionType(result, arguments)
        return cgutils.get_or_insert_function(self.module, kind, f"llvm.masked.{name}.{self.vector_name}.p0")

    def _load_c(self, builder: ir.IRBuilder) -> list[Any]:
        """Load the tile of C, the last vector of a row under the mask if only some of its lanes are valid."""
        entries = [(m, v) for m in range(self.rows) for v in range(self.vectors)]
        loaded = {
            (m, v): builder.load(self._vector_at(builder, self.c_rows[m], v), align=self.align)
            for m, v in entries
            if v < self.vectors - 1
        }
        with builder.if_else(self.partial) as (masked, whole):
            with masked:
                at_masked = builder.block
                some = [self._load_masked(builder, row) for row in self.c_rows]
            with whole:
                at_whole = builder.block
                every = [
                    builder.load(self._vector_at(builder, row, self.vectors - 1), align=self.align)
                    for row in self.c_rows
                ]
        for m in range(self.rows):
            incoming = [(some[m], at_masked), (every[m], at_whole)]
            loaded[m, self.vectors - 1] = self._phi(builder, self.vector, incoming)
        return [loaded[entry] for entry in entries]

    def _load_masked(self, builder: ir.IRBuilder, row: Any) -> Any:
        at = self._vector_at(builder, row, self.vectors - 1)
        load = self._masked("load", self.vector, [at.type, _I32, self.mask.type, self.vector])
        return builder.call(load, [at, _I32(self.align), self.mask, self.zero])

    def _store_c(self, builder: ir.IRBuilder, results: list[Any]) -> None:
        """Store the tile of C, the last vector of a row under the mask if only some of its lanes are valid."""
        last = self.vectors - 1
        for m in range(self.rows):
            for v in range(last):
                at = self._vector_at(builder, self.c_rows[m], v)
                builder.store(results[m * self.vectors + v], at, align=self.align)
        with builder.if_else(self.partial) as (masked, whole):
            with masked:
                for m, row in enumerate(self.c_rows):
                    at = self._vector_at(builder, row, last)
                    store = self._masked("store", ir.VoidType(), [self.vector, at.type, _I32, self.mask.type])
                    builder.call(store, [results[m * self.vectors + last], at, _I32(self.align), self.mask])
            with whole:
                for m, row in enumerate(self.c_rows):
                    at = self._vector_at(builder, row, last)
                    builder.store(results[m * self.vectors + last], at, align=self.align)


def _tile_arguments(element: Element) -> ir.FunctionType:
    """Return the type of the function for any tile: rows and vectors, then the arguments of one tile's function."""
    a, b, c = (kind.llvm.as_pointer() for kind in (element.left, element, element.sums))
    arguments = [_I64, _I64, a, _I64, _I64, b, _I64, c, _I64, _I64, _I64, _I1]
    return ir.FunctionType(ir.VoidType(), arguments)


def write_tiles(module: ir.Module, element: Element, tile: Tile) -> None:
    """Write the functions for every shape up to `tile`, and the one that chooses among them, into a module.

    Parameters
    ----------
    module : llvmlite.ir.Module
        Receives the function ``rondeau_tile_<vector>``, and ``rondeau_tile_<rows>x<vectors>_<vector>`` for each shape.
    element : Element
        The number format of B, and of A unless it is `INT8`.
    tile : Tile
        The tile of the processor that the module is compiled for.
    """
    chooser = ir.Function(module, _tile_arguments(element), _symbol(element, tile))
    rows, vectors, *rest = chooser.args
    builder = ir.IRBuilder(chooser.append_basic_block("entry"))
    nothing = chooser.append_basic_block("no_such_tile")
    switch = builder.switch(builder.add(builder.mul(rows, _I64(tile.vectors + 1)), vectors), nothing)
    for m in range(1, tile.rows + 1):
        for v in range(1, tile.vectors + 1):
            block = chooser.append_basic_block(f"tile_{m}x{v}")
            switch.add_case(_I64(m * (tile.vectors + 1) + v), block)
            builder.position_at_end(block)
            builder.call(_TileFunction(module, element, tile, m, v).function, rest, tail=True)
            builder.ret_void()
    builder.position_at_end(nothing)
    builder.ret_void()


def _symbol(element: Element, tile: Tile = TILE) -> str:
    return f"rondeau_tile_{element.vector_name(tile.vector_bytes)}"


@intrinsic
def _tiles_of(typingctx: Any, element: Any) -> Any:
    """Add the tiles of a dtype to the library of the function that calls this."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[Any]) -> Any:
        write_tiles(builder.module, element_of(element), TILE)
        return context.get_dummy_value()

    return types.void(element), codegen


@addressed_njit
def _tile_library(element: Any) -> None:
    """Compiled for each dtype but never called: its library holds the tiles."""
    _tiles_of(element)


def _tile_address(element: Element) -> int:
    """Compile or load the tiles of a dtype, and return the address of the function that chooses among them."""
    _tile_library.compile((element.storage,))
    library = _tile_library.overloads[element.storage,].library
    return int(library.get_pointer_to_function(_symbol(element)))


for _element in (*FORMATS, INT8):
    provide_symbol(_symbol(_element), functools.partial(_tile_address, _element))


@intrinsic
def compute_tile(
    typingctx: Any,
    rows: Any,
    vectors: Any,
    a: Any,
    a_row: Any,
    a_step: Any,
    b: Any,
    b_step: Any,
    c: Any,
    c_row: Any,
    depth: Any,
    valid: Any,
    accumulate: Any,
) -> Any:
    """Compute one tile of C; see the module's docstring.

    Parameters
    ----------
    rows, vectors : int
        Shape of the tile, 1 to `TILE.rows` and 1 to `TILE.vectors`.
    a, b, c : pointer
        The first element of each operand: in B of one of the `FORMATS` or `INT8`, and in A and C of the formats that
        belong to it, ``left`` and ``sums``.
    a_row, a_step : int
        Elements between the rows of A, and between its steps of k.
    b_step : int
        Elements between the steps of k in B.
    c_row : int
        Elements between the rows of C.
    depth : int
        K, the length of each chain; may be 0.
    valid : int
        Valid lanes of the last vector, 1 to L.
    accumulate : bool
        Whether each chain starts from C rather than from 0.
    """
    integer = types.intp
    signature = types.void(
        integer, integer, a, integer, integer, b, integer, c, integer, integer, integer, types.boolean
    )

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[Any]) -> Any:
        element = element_of(b.dtype)
        need_symbol(_symbol(element))
        tile = cgutils.get_or_insert_function(builder.module, _tile_arguments(element), _symbol(element))
        builder.call(tile, arguments)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def pointer_to(typingctx: Any, array: Any, index: Any) -> Any:
    """Return a pointer to ``array[index]`` of a flat contiguous array; the caller keeps the array alive."""
    signature = types.CPointer(array.dtype)(array, types.intp)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[Any]) -> Any:
        value, index = arguments
        return builder.gep(context.make_array(signature.args[0])(context, builder, value).data, [index])

    return signature, codegen


@intrinsic
def pointer_at(typingctx: Any, array: Any, address: Any) -> Any:
    """Return a pointer to an address, for numbers of the array's dtype; the caller keeps the memory alive."""
    signature = types.CPointer(array.dtype)(array, types.intp)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[Any]) -> Any:
        return builder.inttoptr(arguments[1], context.get_value_type(signature.return_type))

    return signature, codegen


@intrinsic
def pointer_as(typingctx: Any, pointer: Any, like: Any) -> Any:
    """Return a pointer to the same address, for numbers of the type that the pointer `like` points to."""
    signature = like(pointer, like)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[Any]) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

    return signature, codegen


@intrinsic
def advance(typingctx: Any, pointer: Any, count: Any) -> Any:
    """Return the pointer advanced by `count` elements."""
    signature = pointer(pointer, types.intp)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[Any]) -> Any:
        return builder.gep(arguments[0], [arguments[1]])

    return signature, codegen
