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
    def __init__(self, manager, kind) -> None:  # noqa: ANN001 - numba's protocol
        super().__init__(manager, kind, FLOATS)


def _all(kind: ir.VectorType, value: float) -> ir.Constant:
    return ir.Constant(kind, [value] * LANES)


def _load(builder, address, element):  # noqa: ANN001, ANN202
    kind = ir.VectorType(element, LANES)
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=1)


def _widened(builder, bits):  # noqa: ANN001, ANN202
    shifted = builder.shl(builder.zext(bits, INTS), _all(INTS, 16))
    return builder.bitcast(shifted, FLOATS)


@intrinsic
def load(typingctx, address, like):  # noqa: ANN001, ANN201
    """The sixteen numbers at an address; of the dtype of `like`, float32 or bfloat16 bits."""

    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
        if like.dtype == types.uint16:
            return _widened(builder, _load(builder, args[0], WORD))
        return _load(builder, args[0], ir.FloatType())

    return vector(types.int64, like), generate


@intrinsic
def low_nibbles(typingctx, address):  # noqa: ANN001, ANN201
    """The lower four bits of each of the sixteen bytes at an address."""

    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
        packed = _load(builder, args[0], BYTE)
        low = builder.and_(packed, _all(packed.type, 15))
        return builder.sitofp(builder.zext(low, INTS), FLOATS)

    return vector(types.int64), generate


@intrinsic
def high_nibbles(typingctx, address):  # noqa: ANN001, ANN201
    """The upper four bits of each of the sixteen bytes at an address."""

    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
        packed = _load(builder, args[0], BYTE)
        high = builder.lshr(packed, _all(packed.type, 4))
        return builder.sitofp(builder.zext(high, INTS), FLOATS)

    return vector(types.int64), generate


@intrinsic
def splat(typingctx, number):  # noqa: ANN001, ANN201
    """A float32 in all lanes."""

    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
        one = builder.insert_element(ir.Constant(FLOATS, ir.Undefined), args[0], INTS.element(0))
        return builder.shuffle_vector(one, one, _all(INTS, 0))

    return vector(types.float32), generate


@intrinsic
def multiply_add(typingctx, x, y, z):  # noqa: ANN001, ANN201
    """x · y + z, rounded once where the processor can."""

    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
        product = builder.fmul(args[0], args[1], flags=("contract",))
        return builder.fadd(product, args[2], flags=("contract",))

    return vector(vector, vector, vector), generate


@intrinsic
def total(typingctx, x):  # noqa: ANN001, ANN201
    """The sum of the lanes."""

    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), FLOATS])
        name = "llvm.vector.reduce.fadd.v16f32"
        reduce = cgutils.get_or_insert_function(builder.module, kind, name)
        zero = ir.Constant(ir.FloatType(), 0.0)
        return builder.call(reduce, [zero, args[0]], fastmath=("reassoc",))

    return types.float32(vector), generate
