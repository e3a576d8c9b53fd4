"""Sixteen float32 in one variable of a numba function, added and multiplied lane by lane.

Loops over arrays become vector instructions by themselves where the arithmetic is plain; for a
weight in 4 bits they do not. LLVM splits these vectors into what the processor has: one register
with AVX-512, two with AVX2.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES = 16
FLOATS = ir.VectorType(ir.FloatType(), LANES)
INTS = ir.VectorType(ir.IntType(32), LANES)
BYTE, WORD = ir.IntType(8), ir.IntType(16)


class Vector(types.Type):
    """numba's type of sixteen float32."""

    def __init__(self) -> None:
        super().__init__("vector")


vector = Vector()


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind) -> None:
        super().__init__(manager, kind, FLOATS)


def _all(kind: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(kind, [value] * LANES)


def _repeat(builder, number, kind):
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), number, INTS.element(0))
    return builder.shuffle_vector(one, one, _all(INTS, 0))


def _load(builder, address, element):
    kind = ir.VectorType(element, LANES)
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=1)


def _widened(builder, bits):
    shifted = builder.shl(builder.zext(bits, INTS), _all(INTS, 16))
    return builder.bitcast(shifted, FLOATS)


@intrinsic
def load(typingctx, address, like):
    """The sixteen numbers at an address; of the type of `like`, float32 or bfloat16 bits."""

    def generate(context, builder, signature, args):
        if like == types.uint16:
            return _widened(builder, _load(builder, args[0], WORD))
        return _load(builder, args[0], ir.FloatType())

    return vector(types.int64, like), generate


@intrinsic
def store(typingctx, address, x, like):
    """Put sixteen finite numbers at an address, in the type of `like`."""

    def generate(context, builder, signature, args):
        numbers = args[1]
        if like == types.uint16:
            bits = builder.bitcast(numbers, INTS)
            odd = builder.and_(builder.lshr(bits, _all(INTS, 16)), _all(INTS, 1))
            rounded = builder.add(bits, builder.add(odd, _all(INTS, 0x7FFF)))
            words = ir.VectorType(WORD, LANES)
            numbers = builder.trunc(builder.lshr(rounded, _all(INTS, 16)), words)
        place = builder.inttoptr(args[0], numbers.type.as_pointer())
        builder.store(numbers, place, align=2)
        return context.get_dummy_value()

    return types.void(types.int64, vector, like), generate


@intrinsic
def prefetch(typingctx, address):
    """Ask for the memory at an address, which need not exist, before it is needed."""

    def generate(context, builder, signature, args):
        byte = BYTE.as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, *[ir.IntType(32)] * 3])
        ask = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        read, keep, data = (ir.IntType(32)(number) for number in (0, 3, 1))
        builder.call(ask, [builder.inttoptr(args[0], byte), read, keep, data])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def levels(typingctx, address, place, top):
    """Numbers up to `top`, from bit `place` on of each of the sixteen bytes at an address."""

    def generate(context, builder, signature, args):
        packed = _load(builder, args[0], BYTE)
        place, top = (builder.trunc(each, BYTE) for each in args[1:])
        shifted = builder.lshr(packed, _repeat(builder, place, packed.type))
        number = builder.and_(shifted, _repeat(builder, top, packed.type))
        return builder.sitofp(builder.zext(number, INTS), FLOATS)

    return vector(types.int64, types.int64, types.int64), generate


@intrinsic
def nibbles(typingctx, address, place):
    """16 + four bits of each of the sixteen uint16 at an address: those from bit 4 · place on.

    A float32 between 16 and 32 begins with the bits of 16.0, and its bits 19 to 22 count the ones:
    put there, a number is a float without being converted.
    """

    def generate(context, builder, signature, args):
        words = builder.zext(_load(builder, args[0], WORD), INTS)
        four = builder.shl(builder.trunc(args[1], INTS.element), INTS.element(2))
        left = _repeat(builder, builder.sub(INTS.element(19), four), INTS)
        number = builder.and_(builder.shl(words, left), _all(INTS, 15 << 19))
        return builder.bitcast(builder.or_(number, _all(INTS, 0x41800000)), FLOATS)

    return vector(types.int64, types.int64), generate


@intrinsic
def splat(typingctx, number):
    """A float32 in all lanes."""

    def generate(context, builder, signature, args):
        return _repeat(builder, args[0], FLOATS)

    return vector(types.float32), generate


@intrinsic
def repeat(typingctx, address):
    """The float32 at an address in all lanes."""

    def generate(context, builder, signature, args):
        number = builder.load(builder.inttoptr(args[0], ir.FloatType().as_pointer()), align=4)
        return _repeat(builder, number, FLOATS)

    return vector(types.int64), generate


@intrinsic
def multiply_add(typingctx, x, y, z):
    """x · y + z, rounded once where the processor can."""

    def generate(context, builder, signature, args):
        product = builder.fmul(args[0], args[1], flags=("contract",))
        return builder.fadd(product, args[2], flags=("contract",))

    return vector(vector, vector, vector), generate


@intrinsic
def add_lanes(typingctx, x, y):
    """x + y."""

    def generate(context, builder, signature, args):
        return builder.fadd(*args)

    return vector(vector, vector), generate


@intrinsic
def total(typingctx, x):
    """The sum of the lanes."""

    def generate(context, builder, signature, args):
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), FLOATS])
        name = "llvm.vector.reduce.fadd.v16f32"
        reduce = cgutils.get_or_insert_function(builder.module, kind, name)
        zero = ir.Constant(ir.FloatType(), 0.0)
        return builder.call(reduce, [zero, args[0]], fastmath=("reassoc",))

    return types.float32(vector), generate
