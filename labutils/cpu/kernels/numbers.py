"""Single numbers in numba functions: their types, the memory they lie in, and e^x.

Numbers are computed in float32 and kept in the engine's dtype: float32, or bfloat16 as uint16
bits, for which numba compiles the same function once more. `vectors` has sixteen at a time.
"""

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from labutils.cpu.kernels.jit import FLAGS

LOG2_E = np.float32(1 / math.log(2))
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(math.log(2) - 0.693359375)
INT32, WORD_BITS = ir.IntType(32), ir.IntType(16)
FLOAT, WORD, BYTE = np.float32(0), np.uint16(0), np.uint8(0)
"""Numbers that stand for their type, as arguments named `like`."""


@intrinsic
def widen(typingctx, number):
    """float32 of a stored number: bfloat16 is the upper half of a float32's bits."""

    def generate(context, builder, signature, args):
        if number != types.uint16:
            return args[0]
        bits = builder.shl(builder.zext(args[0], INT32), INT32(16))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(number), generate


@intrinsic
def narrow(typingctx, number, like):
    """A float32 in the type of `like` (a number, or an array of such); to bfloat16 by rounding to
    nearest, ties to even."""
    kind = like.dtype if isinstance(like, types.Array) else like

    def generate(context, builder, signature, args):
        if kind != types.uint16:
            return args[0]
        bits = builder.bitcast(args[0], INT32)
        odd = builder.and_(builder.lshr(bits, INT32(16)), INT32(1))
        rounded = builder.add(bits, builder.add(odd, INT32(0x7FFF)))
        magnitude = builder.and_(bits, INT32(0x7FFFFFFF))
        is_nan = builder.icmp_unsigned(">", magnitude, INT32(0x7F800000))
        kept = builder.select(is_nan, INT32(0x7FC00000), rounded)
        return builder.trunc(builder.lshr(kept, INT32(16)), WORD_BITS)

    return kind(types.float32, like), generate


@intrinsic
def size_of(typingctx, like):
    """Bytes of a number of this type, int64."""

    def generate(context, builder, signature, args):
        return context.get_constant(types.int64, like.bitwidth // 8)

    return types.int64(like), generate


@intrinsic
def get(typingctx, address, like):
    """The number of the type of `like` at an address."""

    def generate(context, builder, signature, args):
        return builder.load(builder.inttoptr(args[0], args[1].type.as_pointer()))

    return like(types.int64, like), generate


@intrinsic
def put(typingctx, address, number):
    """Store a number at an address."""

    def generate(context, builder, signature, args):
        builder.store(args[1], builder.inttoptr(args[0], args[1].type.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, number), generate


@intrinsic
def _power_of_two(typingctx, exponent):
    """float32 2^exponent of an int32 from -126 to 127."""

    def generate(context, builder, signature, args):
        biased = builder.add(args[0], INT32(127))
        return builder.bitcast(builder.shl(biased, INT32(23)), ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def half(typingctx, address):
    """float32 of the float16 at an address; not negative and finite.

    The exponent's bias differs by 112. (The processor's own instruction comes from LLVM with a
    dependency on the register before it, which made a product of 4-bit weights twice as slow.)
    """

    def generate(context, builder, signature, args):
        bits = builder.load(builder.inttoptr(args[0], WORD_BITS.as_pointer()), align=2)
        shifted = builder.shl(builder.zext(bits, INT32), INT32(13))
        return builder.fmul(builder.bitcast(shifted, ir.FloatType()), ir.FloatType()(2.0**112))

    return types.float32(types.int64), generate


@njit(inline="always", **FLAGS)
def address_of(row):
    """Where a row lies, as an int64: numba adds int64 to numpy's uint64 as floating point."""
    return np.int64(row.ctypes.data)


@njit(inline="always", **FLAGS)
def exp(x):
    """e^x to a float32's precision, in operations that use vector registers.

    x = n · ln 2 + r; e^r by its Taylor series, whose next term is below 2^-24 for |r| ≤ ln 2 / 2.
    """
    x = min(max(x, np.float32(-87)), np.float32(88))
    n = np.floor(x * LOG2_E + np.float32(0.5))
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    p = np.float32(1 / 5040)
    for k in (720, 120, 24, 6, 2, 1, 1):
        p = p * r + np.float32(1 / k)
    return p * _power_of_two(np.int32(n))


@njit(inline="always", **FLAGS)
def share(count, thread, threads):
    """The first and the one after the last of a thread's part of `count` things."""
    return count * thread // threads, count * (thread + 1) // threads


@njit(inline="always", **FLAGS)
def aligned(count):
    """float32 [count], zero; a vector in it lies in one cache line, where two cost two reads."""
    memory = np.zeros(count + 16, np.float32)
    start = -address_of(memory) % 64 // 4
    return memory[start : start + count]
