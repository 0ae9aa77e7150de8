"""Instructions that Numba has no name for, as inline PTX: what persistent kernels exchange numbers with.

numba-cuda's own loads past the first cache, ``cuda.ldcg`` and ``cuda.ldcv``, are not volatile: LLVM moves them out of
loops. And its barrier of the whole grid is a call that costs half of the registers. So these are the project's own.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.cuda.extending import intrinsic

__all__ = [
    "cvt_rna_tf32",
    "ld_acquire",
    "ld_cg",
    "ld_cg_v4",
    "ld_cg_v4_b32",
    "mark_cooperative",
    "mma_m16n8k8_tf32",
    "mma_m16n8k16_bf16",
    "pack_bf16x2",
    "red_release_add",
    "spin",
    "to_bf16",
]

_F32, _I16, _I32 = ir.FloatType(), ir.IntType(16), ir.IntType(32)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index_type: Any, index: Any) -> Any:
    """Return the address of an element of a flat array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [context.cast(builder, index, index_type, types.uint64)])


def _assembly(builder: Any, result: Any, text: str, constraints: str, arguments: list[Any]) -> Any:
    kinds = [argument.type for argument in arguments]
    code = ir.InlineAsm(ir.FunctionType(result, kinds), text, constraints, side_effect=True)
    return builder.call(code, arguments)


@intrinsic
def ld_cg(typingctx: Any, array: Any, index: Any) -> Any:
    """Return an element of a flat array of float32, past the first cache, which other multiprocessors do not see."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _pointer(context, builder, array, arguments[0], index, arguments[1])
        return _assembly(builder, _F32, "ld.global.cg.f32 $0, [$1];", "=f,l,~{memory}", [place])

    return types.float32(array, index), generate


@intrinsic
def ld_cg_v4(typingctx: Any, array: Any, index: Any) -> Any:
    """Return four elements from an index that is a multiple of four, past the first cache."""
    four = types.UniTuple(types.float32, 4)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _pointer(context, builder, array, arguments[0], index, arguments[1])
        text = "ld.global.cg.v4.f32 {$0,$1,$2,$3}, [$4];"
        found = _assembly(builder, ir.LiteralStructType([_F32] * 4), text, "=f,=f,=f,=f,l,~{memory}", [place])
        return context.make_tuple(builder, four, [builder.extract_value(found, k) for k in range(4)])

    return four(array, index), generate


@intrinsic
def ld_cg_v4_b32(typingctx: Any, array: Any, index: Any) -> Any:
    """Return eight elements of uint16, two a register, from an index that is a multiple of eight; see `ld_cg_v4`."""
    four = types.UniTuple(types.uint32, 4)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _pointer(context, builder, array, arguments[0], index, arguments[1])
        text = "ld.global.cg.v4.b32 {$0,$1,$2,$3}, [$4];"
        found = _assembly(builder, ir.LiteralStructType([_I32] * 4), text, "=r,=r,=r,=r,l,~{memory}", [place])
        return context.make_tuple(builder, four, [builder.extract_value(found, k) for k in range(4)])

    return four(array, index), generate


@intrinsic
def ld_acquire(typingctx: Any, array: Any, index: Any) -> Any:
    """Return an element of a flat array of uint32; what was released before it was written is seen from here on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _pointer(context, builder, array, arguments[0], index, arguments[1])
        return _assembly(builder, _I32, "ld.acquire.gpu.global.u32 $0, [$1];", "=r,l,~{memory}", [place])

    return types.uint32(array, index), generate


@intrinsic
def red_release_add(typingctx: Any, array: Any, index: Any, count: Any) -> Any:
    """Add to an element of a flat array of uint32, and release all that this block has stored before."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = _pointer(context, builder, array, arguments[0], index, arguments[1])
        added = context.cast(builder, arguments[2], count, types.uint32)
        text = "red.release.gpu.global.add.u32 [$0], $1;"
        _assembly(builder, ir.VoidType(), text, "l,r,~{memory}", [place, added])
        return context.get_dummy_value()

    return types.void(array, index, count), generate


@intrinsic
def mark_cooperative(typingctx: Any) -> Any:
    """Mark the kernel for a launch in which all blocks are resident, without numba-cuda's call of a barrier."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        context.active_code_library.use_cooperative = True
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def spin(typingctx: Any) -> Any:
    """Do nothing for a moment, in a loop that waits for another block."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _assembly(builder, ir.VoidType(), "nanosleep.u32 20;", "~{memory}", [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def cvt_rna_tf32(typingctx: Any, x: Any) -> Any:
    """Return a float32 rounded to TF32: to the nearest of 10 bits after the point, ties away from zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_I32, [_F32])
        code = ir.InlineAsm(kind, "cvt.rna.tf32.f32 $0, $1;", "=r,f")
        return builder.bitcast(builder.call(code, arguments), _F32)

    return types.float32(types.float32), generate


@intrinsic
def to_bf16(typingctx: Any, x: Any) -> Any:
    """Return the bits of a float32 rounded to bfloat16, to the nearest, ties to even."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = ir.InlineAsm(ir.FunctionType(_I16, [_F32]), "cvt.rn.bf16.f32 $0, $1;", "=h,f")
        return builder.call(code, arguments)

    return types.uint16(types.float32), generate


@intrinsic
def pack_bf16x2(typingctx: Any, low: Any, high: Any) -> Any:
    """Return two numbers rounded to bfloat16, to the nearest, ties to even, in the halves of a register."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        code = ir.InlineAsm(ir.FunctionType(_I32, [_F32] * 2), "cvt.rn.bf16x2.f32 $0, $2, $1;", "=r,f,f")
        return builder.call(code, arguments)

    return types.uint32(types.float32, types.float32), generate


def _mma(builder: Any, context: Any, shape: str, arguments: Any) -> Any:
    """Return the four sums of a lane, given its four registers of A, two of B and four of C."""
    text = f"mma.sync.aligned.{shape} {{$0,$1,$2,$3}}, {{$4,$5,$6,$7}}, {{$8,$9}}, {{$10,$11,$12,$13}};"
    kind = ir.FunctionType(ir.LiteralStructType([_F32] * 4), [_I32] * 6 + [_F32] * 4)
    code = ir.InlineAsm(kind, text, "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f")
    words = [builder.bitcast(argument, _I32) for argument in arguments[:6]]
    found = builder.call(code, [*words, *arguments[6:]])
    four = types.UniTuple(types.float32, 4)
    return context.make_tuple(builder, four, [builder.extract_value(found, k) for k in range(4)])


@intrinsic
def mma_m16n8k8_tf32(
    typingctx: Any, a0: Any, a1: Any, a2: Any, a3: Any, b0: Any, b1: Any, c0: Any, c1: Any, c2: Any, c3: Any
) -> Any:
    """Return A B + C of 16 x 8 by 8 x 8, given a lane's numbers of each; see `tensor_cores`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _mma(builder, context, "m16n8k8.row.col.f32.tf32.tf32.f32", arguments)

    return types.UniTuple(types.float32, 4)(*[types.float32] * 10), generate


@intrinsic
def mma_m16n8k16_bf16(
    typingctx: Any, a0: Any, a1: Any, a2: Any, a3: Any, b0: Any, b1: Any, c0: Any, c1: Any, c2: Any, c3: Any
) -> Any:
    """Return A B + C of 16 x 16 by 16 x 8, given a lane's numbers of each, those of A and B two a register."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _mma(builder, context, "m16n8k16.row.col.f32.bf16.bf16.f32", arguments)

    return types.UniTuple(types.float32, 4)(*[types.uint32] * 6, *[types.float32] * 4), generate
