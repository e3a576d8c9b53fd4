"""The arithmetic of a step as machine code, compiled by numba for the student's processor.

Numbers are computed in float32 and kept in the engine's dtype: float32, or bfloat16 as uint16
bits, for which numba compiles the same function once more. Most loops become vector instructions
by themselves; those of the matrix products, which take most of the time, are written in `vectors`.
Which operator on which addresses is `instructions`' business.

Left out: float16; prompts' matrix products, which PyTorch does well.
"""

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from labutils.cpu.jit import FLAGS
from labutils.cpu.vectors import (
    add_lanes,
    levels,
    load,
    multiply_add,
    nibbles,
    prefetch,
    repeat,
    splat,
    store,
    total,
)

LOG2_E = np.float32(1 / math.log(2))
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(math.log(2) - 0.693359375)
INT32, WORD_BITS = ir.IntType(32), ir.IntType(16)
FLOAT, WORD, BYTE = np.float32(0), np.uint16(0), np.uint8(0)
"""Numbers that stand for their type, as arguments named `like`."""
AHEAD = 4096
"""Bytes of a weight that are asked for before they are needed."""
TOKENS = 64
"""Tokens of the cache that attention reads at a time, so that they stay in the fastest cache."""


@intrinsic
def widen(typingctx, number):  # noqa: ANN001, ANN201 - numba's protocol
    """float32 of a stored number: bfloat16 is the upper half of a float32's bits."""

    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
        if number != types.uint16:
            return args[0]
        bits = builder.shl(builder.zext(args[0], INT32), INT32(16))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(number), generate


@intrinsic
def narrow(typingctx, number, like):  # noqa: ANN001, ANN201
    """A float32 in the type of `like` (a number, or an array of such); to bfloat16 by rounding to
    nearest, ties to even."""
    kind = like.dtype if isinstance(like, types.Array) else like

    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
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
def size_of(typingctx, like):  # noqa: ANN001, ANN201
    """Bytes of a number of this type, int64."""

    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
        return context.get_constant(types.int64, like.bitwidth // 8)

    return types.int64(like), generate


@intrinsic
def get(typingctx, address, like):  # noqa: ANN001, ANN201
    """The number of the type of `like` at an address."""

    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
        return builder.load(builder.inttoptr(args[0], args[1].type.as_pointer()))

    return like(types.int64, like), generate


@intrinsic
def put(typingctx, address, number):  # noqa: ANN001, ANN201
    """Store a number at an address."""

    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
        builder.store(args[1], builder.inttoptr(args[0], args[1].type.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, number), generate


@intrinsic
def _power_of_two(typingctx, exponent):  # noqa: ANN001, ANN202
    """float32 2^exponent of an int32 from -126 to 127."""

    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
        biased = builder.add(args[0], INT32(127))
        return builder.bitcast(builder.shl(biased, INT32(23)), ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def half(typingctx, address):  # noqa: ANN001, ANN201
    """float32 of the float16 at an address; not negative and finite.

    The exponent's bias differs by 112. (The processor's own instruction comes from LLVM with a
    dependency on the register before it, which made a product of 4-bit weights twice as slow.)
    """

    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
        bits = builder.load(builder.inttoptr(args[0], WORD_BITS.as_pointer()), align=2)
        shifted = builder.shl(builder.zext(bits, INT32), INT32(13))
        return builder.fmul(builder.bitcast(shifted, ir.FloatType()), ir.FloatType()(2.0**112))

    return types.float32(types.int64), generate


@njit(inline="always", **FLAGS)
def address_of(row):  # noqa: ANN001, ANN201
    """Where a row lies, as an int64: numba adds int64 to numpy's uint64 as floating point."""
    return np.int64(row.ctypes.data)


@njit(inline="always", **FLAGS)
def exp(x):  # noqa: ANN001, ANN201
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
def share(count, thread, threads):  # noqa: ANN001, ANN201
    """The first and the one after the last of a thread's part of `count` things."""
    return count * thread // threads, count * (thread + 1) // threads


@njit(inline="always", **FLAGS)
def aligned(count):  # noqa: ANN001, ANN201
    """float32 [count], zero; a vector in it lies in one cache line, where two cost two reads."""
    memory = np.zeros(count + 16, np.float32)
    start = -address_of(memory) % 64 // 4
    return memory[start : start + count]


@njit(**FLAGS)
def floats(x, rows, width, like):  # noqa: ANN001, ANN201
    """Rows as float32, each sixteen columns of eight rows side by side.

    Args:
        x: address of [rows, width], engine's dtype.
        width: a multiple of 16.

    Returns:
        What stands for [rows / 8, width / 16, 8, 16], rounded up, or [1, width / 16, 1, 16].
    """
    together = 1 if rows == 1 else 8
    out = aligned(-(-rows // together) * together * width)
    for r in range(rows):
        at = address_of(out) + 4 * (r // together * together * width + r % together * 16)
        for i in range(0, width, 16):
            store(at + 4 * i * together, load(x, like), FLOAT)
            x += 16 * size_of(like)
    return out


@njit(inline="always", **FLAGS)
def _dot(x, weight, width, like):  # noqa: ANN001, ANN202
    """x · weight at two addresses; x is float32."""
    a = b = splat(np.float32(0))
    for i in range(0, width - 16, 32):
        a = multiply_add(load(x + 4 * i, FLOAT), load(weight + size_of(like) * i, like), a)
        j = i + 16
        b = multiply_add(load(x + 4 * j, FLOAT), load(weight + size_of(like) * j, like), b)
    if width % 32:
        i = width - 16
        a = multiply_add(load(x + 4 * i, FLOAT), load(weight + size_of(like) * i, like), a)
    return add_lanes(a, b)


@njit(inline="always", **FLAGS)
def _times(x, w, sums):  # noqa: ANN001, ANN202
    """sums + sixteen columns of eight rows times w; see `floats`."""
    a, b, c, d, e, f, g, h = sums
    a = multiply_add(load(x, FLOAT), w, a)
    b = multiply_add(load(x + 64, FLOAT), w, b)
    c = multiply_add(load(x + 128, FLOAT), w, c)
    d = multiply_add(load(x + 192, FLOAT), w, d)
    e = multiply_add(load(x + 256, FLOAT), w, e)
    f = multiply_add(load(x + 320, FLOAT), w, f)
    g = multiply_add(load(x + 384, FLOAT), w, g)
    h = multiply_add(load(x + 448, FLOAT), w, h)
    return a, b, c, d, e, f, g, h


@njit(inline="always", **FLAGS)
def _zeros():  # noqa: ANN202
    zero = splat(np.float32(0))
    return zero, zero, zero, zero, zero, zero, zero, zero


@njit(inline="always", **FLAGS)
def _eight_dots(x, first, second, width, like):  # noqa: ANN001, ANN202
    """As `_dot`, of eight rows with two weights, so that x is read once for both."""
    a = b = _zeros()
    for i in range(0, width, 16):
        at = size_of(like) * i
        prefetch(first + 2 * at + AHEAD)
        a = _times(x + 32 * i, load(first + at, like), a)
        b = _times(x + 32 * i, load(second + at, like), b)
    return a, b


@njit(inline="always", **FLAGS)
def _weights(address, place, pair):  # noqa: ANN001, ANN202
    """(number - zero) · scale of sixteen numbers that `nibbles` reads; pair: address of both."""
    scale = half(pair)
    offset = -(np.float32(16) + half(pair + 2)) * scale
    return multiply_add(nibbles(address, place), splat(scale), splat(offset))


@njit(inline="always", **FLAGS)
def _dot_w4(x, weight, width, pairs, group):  # noqa: ANN001, ANN202
    """As `_dot`; the weight is packed, see `labutils.cpu.linear_w4.pack`."""
    a = b = c = d = splat(np.float32(0))
    for i in range(0, width, 64):
        low, high = pairs + i // group * 4, pairs + (i + 32) // group * 4
        a = multiply_add(load(x, FLOAT), _weights(weight, 0, low), a)
        b = multiply_add(load(x + 64, FLOAT), _weights(weight, 1, low), b)
        c = multiply_add(load(x + 128, FLOAT), _weights(weight, 2, high), c)
        d = multiply_add(load(x + 192, FLOAT), _weights(weight, 3, high), d)
        x += 256
        weight += 32
    return add_lanes(add_lanes(a, b), add_lanes(c, d))


@njit(inline="always", **FLAGS)
def _eight_dots_w4(x, first, second, width, first_pairs, second_pairs, group):  # noqa: ANN001, ANN202
    """As `_eight_dots`, of packed weights."""
    a = b = _zeros()
    for i in range(0, width, 64):
        for place in range(4):
            j = i + 16 * place
            pair = j // group * 4
            a = _times(x + 32 * j, _weights(first, place, first_pairs + pair), a)
            b = _times(x + 32 * j, _weights(second, place, second_pairs + pair), b)
        prefetch(first + AHEAD)
        first += 32
        second += 32
    return a, b


@njit(inline="always", **FLAGS)
def _put(sum, bias, out, like):  # noqa: ANN001, ANN202
    """The total of `sum`, and the bias at an address other than 0, to an address."""
    number = total(sum)
    if bias:
        number += widen(get(bias, like))
    put(out, narrow(number, like))


@njit(inline="always", **FLAGS)
def _put_eight(sums, bias, out, stride, rows, like):  # noqa: ANN001, ANN202
    """As `_put`, of up to eight rows that are so many bytes apart."""
    _put(sums[0], bias, out, like)
    if rows > 1:
        _put(sums[1], bias, out + stride, like)
    if rows > 2:
        _put(sums[2], bias, out + 2 * stride, like)
    if rows > 3:
        _put(sums[3], bias, out + 3 * stride, like)
    if rows > 4:
        _put(sums[4], bias, out + 4 * stride, like)
    if rows > 5:
        _put(sums[5], bias, out + 5 * stride, like)
    if rows > 6:
        _put(sums[6], bias, out + 6 * stride, like)
    if rows > 7:
        _put(sums[7], bias, out + 7 * stride, like)


@njit(**FLAGS)
def linear(x, weight, bias, out, op, first, end, like):  # noqa: ANN001, ANN201
    """Columns first to end of x · weightᵀ + bias.

    Args:
        x: what `floats` returned, of op.rows of op.width.
        weight: address of the engine's dtype [op.outputs, op.width].
        bias: address of the engine's dtype [op.outputs], or 0.
        out: address of the engine's dtype [op.rows, op.outputs], written.
    """
    rows, width, size = op.rows, op.width, size_of(like)
    x_at, stride = address_of(x), op.outputs * size
    for n in range(first, end, 1 if rows == 1 else 2):
        m = min(n + 1, end - 1)  # of an odd count: the same column once more
        one, two = weight + n * width * size, weight + m * width * size
        one_bias, two_bias = (bias + n * size, bias + m * size) if bias else (0, 0)
        if rows == 1:
            _put(_dot(x_at, one, width, like), one_bias, out + n * size, like)
            continue
        for r in range(0, rows, 8):
            a, b = _eight_dots(x_at + 4 * r * width, one, two, width, like)
            _put_eight(a, one_bias, out + n * size + r * stride, stride, rows - r, like)
            _put_eight(b, two_bias, out + m * size + r * stride, stride, rows - r, like)


@njit(inline="always", **FLAGS)
def _linear_w4(x, weight, pairs, group, bias, out, op, first, end, like):  # noqa: ANN001, ANN202
    rows, width, size = op.rows, op.width, size_of(like)
    stride, each = op.outputs * size, width // group * 4
    for n in range(first, end, 1 if rows == 1 else 2):
        m = min(n + 1, end - 1)
        one, two = weight + n * width // 2, weight + m * width // 2
        one_bias, two_bias = (bias + n * size, bias + m * size) if bias else (0, 0)
        one_pairs, two_pairs = pairs + n * each, pairs + m * each
        if rows == 1:
            _put(_dot_w4(x, one, width, one_pairs, group), one_bias, out + n * size, like)
            continue
        for r in range(0, rows, 8):
            at = x + 4 * r * width
            a, b = _eight_dots_w4(at, one, two, width, one_pairs, two_pairs, group)
            _put_eight(a, one_bias, out + n * size + r * stride, stride, rows - r, like)
            _put_eight(b, two_bias, out + m * size + r * stride, stride, rows - r, like)


@njit(**FLAGS)
def linear_w4(x, weight, pairs, bias, out, op, first, end, like):  # noqa: ANN001, ANN201
    """As `linear`, of a weight in 4 bits.

    Args:
        x, bias, out, op, first, end: see there; op.width a multiple of 64.
        weight: address of uint8 [op.outputs, op.width / 2]; see `labutils.cpu.linear_w4.pack`.
        pairs: address of float16 [op.outputs, op.width / op.group, 2], scale and zero; groups of
            32, 64 or 128 inputs, each compiled by itself, so that a pair is read once.
    """
    if op.group == 32:
        _linear_w4(address_of(x), weight, pairs, 32, bias, out, op, first, end, like)
    elif op.group == 64:
        _linear_w4(address_of(x), weight, pairs, 64, bias, out, op, first, end, like)
    else:
        _linear_w4(address_of(x), weight, pairs, 128, bias, out, op, first, end, like)


@njit(inline="always", **FLAGS)
def _dequantize_w4(weight, pairs, group, out, count, like):  # noqa: ANN001, ANN202
    for i in range(0, count, 64):
        for place in range(4):
            numbers = _weights(weight, place, pairs + (i + 16 * place) // group * 4)
            store(out, numbers, like)
            out += 16 * size_of(like)
        weight += 32


@njit(**FLAGS)
def dequantize_w4(op, first, end, like):  # noqa: ANN001, ANN201
    """Rows first to end of a weight in 4 bits, see `linear_w4`, to op.out in the engine's dtype."""
    count = (end - first) * op.width
    weight = op.weight + first * op.width // 2
    pairs = op.pairs + first * op.width // op.group * 4
    out = op.out + first * op.width * size_of(like)
    if op.group == 32:
        _dequantize_w4(weight, pairs, 32, out, count, like)
    elif op.group == 64:
        _dequantize_w4(weight, pairs, 64, out, count, like)
    else:
        _dequantize_w4(weight, pairs, 128, out, count, like)


@njit(**FLAGS)
def rms_norm(x, weight, out, epsilon):  # noqa: ANN001, ANN201
    """out = x / sqrt(mean(x²) + epsilon) · weight, of one row."""
    squares = np.float32(0)
    for i in range(len(x)):
        squares += widen(x[i]) * widen(x[i])
    factor = np.float32(1) / np.sqrt(squares / np.float32(len(x)) + np.float32(epsilon))
    for i in range(len(x)):
        out[i] = narrow(widen(x[i]) * factor * widen(weight[i]), out)


@njit(**FLAGS)
def add(x, y, out):  # noqa: ANN001, ANN201
    """out = x + y, of one row."""
    for i in range(len(x)):
        out[i] = narrow(widen(x[i]) + widen(y[i]), out)


@njit(**FLAGS)
def rotate(x, cos, sin):  # noqa: ANN001, ANN201
    """Rotary embedding of one head, in place: dimension i turns with dimension i + len(x) / 2."""
    half = len(x) // 2
    for i in range(half):
        a, b = widen(x[i]), widen(x[i + half])
        x[i] = narrow(a * widen(cos[i]) - b * widen(sin[i]), x)
        x[i + half] = narrow(b * widen(cos[i + half]) + a * widen(sin[i + half]), x)


@njit(**FLAGS)
def silu_and_multiply(gate, up, out):  # noqa: ANN001, ANN201
    """out = gate · sigmoid(gate) · up, of a piece of a row."""
    for i in range(len(out)):
        x = widen(gate[i])
        out[i] = narrow(x / (np.float32(1) + exp(-x)) * widen(up[i]), out)


@njit(inline="always", **FLAGS)
def _level(x, scale, zero, top):  # noqa: ANN001, ANN202
    """The level, 0 to top, of a number."""
    return np.uint8(min(max(x / scale + zero + np.float32(0.5), np.float32(0)), top))


@njit(**FLAGS)
def write(row, cache, at):  # noqa: ANN001, ANN201
    """Put a token's K or V of one head into row `at`, as `labutils.kv_cache.quantize` does.

    Args:
        row: [head_dim], engine's dtype.
        cache: (stored, levels, pairs, bits); stored [rows, head_dim] is where rows are when bits
            is 0, and uint8 levels [rows, head_dim · bits / 8] with pairs [rows, 2] otherwise.
        at: row of the cache.
    """
    stored, levels, pairs, bits = cache[0][at], cache[1][at], cache[2][at], cache[3]
    if bits == 0:
        stored[:] = row
        return
    low = high = widen(row[0])
    for i in range(1, len(row)):
        low, high = min(low, widen(row[i])), max(high, widen(row[i]))
    top = np.float32(2**bits - 1)
    scale = (high - low) / top
    if scale == 0:
        scale = np.float32(1)
    zero = -low / scale
    pairs[0], pairs[1] = narrow(scale, pairs), narrow(zero, pairs)
    for i in range(len(levels)):
        level = _level(widen(row[i]), scale, zero, top)
        if bits == 4:
            level |= _level(widen(row[i + len(levels)]), scale, zero, top) << 4
        levels[i] = level


@njit(**FLAGS)
def read(cache, rows, tokens, like):  # noqa: ANN001, ANN201
    """What `write` put into rows of the cache, as `labutils.kv_cache.dequantize` gives it.

    Args:
        cache: see `write`; head_dim a multiple of 32.
        rows: int64 [n].
        tokens: float32 [at least n, head_dim], written.
    """
    stored, packed, pairs, bits = cache
    width = tokens.shape[1]
    out = address_of(tokens)
    for at in rows:
        if bits == 0:
            _read_plain(address_of(stored) + at * width * size_of(like), out, width, like)
        else:
            scale = widen(pairs[at, 0])
            offset = splat(widen(narrow(-scale * widen(pairs[at, 1]), like)))
            place = address_of(packed) + at * width * bits // 8
            _read_levels(place, out, width, bits, splat(scale), offset)
        out += 4 * width


@njit(inline="always", **FLAGS)
def _read_plain(x, out, width, like):  # noqa: ANN001, ANN202
    """Numbers at an address as float32 at another."""
    for i in range(0, width, 16):
        store(out + 4 * i, load(x + size_of(like) * i, like), FLOAT)


@njit(inline="always", **FLAGS)
def _read_levels(x, out, width, bits, scale, offset):  # noqa: ANN001, ANN202
    """Levels at an address as float32 level · scale + offset at another."""
    if bits == 8:
        for i in range(0, width, 16):
            store(out + 4 * i, multiply_add(levels(x + i, 0, 255), scale, offset), FLOAT)
        return
    for i in range(0, width // 2, 16):
        low = multiply_add(levels(x + i, 0, 15), scale, offset)
        high = multiply_add(levels(x + i, 4, 15), scale, offset)
        store(out + 4 * i, low, FLOAT)
        store(out + 4 * i + 2 * width, high, FLOAT)


@njit(**FLAGS)
def place(query, x, row, scale, like):  # noqa: ANN001, ANN201
    """A row at an address, times a scale, as one of `attend`'s."""
    at = address_of(x[row // 8]) + 64 * (row % 8)
    for i in range(x.shape[1]):
        scaled = multiply_add(load(query, like), splat(scale), splat(np.float32(0)))
        store(at + 512 * i, scaled, FLOAT)
        query += 16 * size_of(like)


@njit(**FLAGS)
def take(x, row, out, like):  # noqa: ANN001, ANN201
    """One of the rows that `attend` returned, to an address."""
    at = address_of(x[row // 8]) + 64 * (row % 8)
    for i in range(x.shape[1]):
        store(out, load(at + 512 * i, FLOAT), like)
        out += 16 * size_of(like)


@njit(**FLAGS)
def attend(x, first, end, rows, k_cache, v_cache, like):  # noqa: ANN001, ANN201
    """Queries of heads that share a K/V head attend to one sequence's history.

    Args:
        x: queries times the scores' scale, as `floats` lays out so many rows:
            float32 [groups, head_dim / 16, 8, 16].
        first, end: int64 [queries], the part of `rows` that each sees.
        rows: int64 [history], the cache's row of each token.
        k_cache, v_cache: see `write`.

    Returns:
        As x.
    """
    groups, blocks, together, _ = x.shape
    queries = len(first)
    tokens = aligned(TOKENS * 16 * blocks).reshape(TOKENS, 16 * blocks)
    scores = np.empty((together * groups, len(rows)), np.float32)
    for start in range(0, len(rows), TOKENS):
        count = min(TOKENS, len(rows) - start)
        read(k_cache, rows[start : start + count], tokens, like)
        for g in range(groups):
            part = scores[together * g : together * (g + 1)]
            if queries - together * g < 5:
                _score_few(address_of(x[g]), queries - together * g, count, tokens, part, start)
            else:
                _score(address_of(x[g]), count, tokens, part, start)
    weights = np.zeros((groups, len(rows), together), np.float32)
    for r in range(queries):
        seen = scores[r, first[r] : end[r]]
        softmax(seen)
        weights[r // together, first[r] : end[r], r % together] = seen
    sums = aligned(x.size).reshape(x.shape)
    for start in range(0, len(rows), TOKENS):
        count = min(TOKENS, len(rows) - start)
        read(v_cache, rows[start : start + count], tokens, like)
        for g in range(groups):
            for i in range(0, 16 * blocks, 16):
                _weigh(tokens, i, count, weights[g], start, sums[g])
    return sums


@njit(**FLAGS)
def _score(x, count, tokens, scores, start):  # noqa: ANN001, ANN202
    """scores [8, history] from `start` on = the eight queries at an address · tokensᵀ."""
    width, stride = tokens.shape[1], 4 * scores.shape[1]
    at = address_of(scores) + 4 * start
    for t in range(0, count, 2):
        u = min(t + 1, count - 1)
        one, two = address_of(tokens) + 4 * width * t, address_of(tokens) + 4 * width * u
        a, b = _eight_dots(x, one, two, width, FLOAT)
        _put_eight(a, 0, at + 4 * t, stride, 8, FLOAT)
        _put_eight(b, 0, at + 4 * u, stride, 8, FLOAT)


@njit(**FLAGS)
def _score_few(x, rows, count, tokens, scores, start):  # noqa: ANN001, ANN202
    """As `_score`, of so few of the eight queries that one after the other is quicker."""
    width = tokens.shape[1]
    for r in range(rows):
        token, at = address_of(tokens), address_of(scores[r]) + 4 * start
        for t in range(count):
            products = splat(np.float32(0))
            for i in range(0, width, 16):
                query = load(x + 64 * r + 32 * i, FLOAT)
                products = multiply_add(query, load(token + 4 * i, FLOAT), products)
            put(at + 4 * t, total(products))
            token += 4 * width


@njit(**FLAGS)
def _weigh(tokens, column, count, weights, start, sums):  # noqa: ANN001, ANN202
    """sums[column / 16] += weights[start:]ᵀ · tokens[:, column : column + 16], for so many."""
    x, w = address_of(tokens) + 4 * column, address_of(weights) + 32 * start
    at = address_of(sums) + 32 * column
    a, b, c, d = load(at, FLOAT), load(at + 64, FLOAT), load(at + 128, FLOAT), load(at + 192, FLOAT)
    e, f = load(at + 256, FLOAT), load(at + 320, FLOAT)
    g, h = load(at + 384, FLOAT), load(at + 448, FLOAT)
    for _ in range(count):
        y = load(x, FLOAT)
        a = multiply_add(repeat(w), y, a)
        b = multiply_add(repeat(w + 4), y, b)
        c = multiply_add(repeat(w + 8), y, c)
        d = multiply_add(repeat(w + 12), y, d)
        e = multiply_add(repeat(w + 16), y, e)
        f = multiply_add(repeat(w + 20), y, f)
        g = multiply_add(repeat(w + 24), y, g)
        h = multiply_add(repeat(w + 28), y, h)
        x += 4 * tokens.shape[1]
        w += 32
    store(at, a, FLOAT)
    store(at + 64, b, FLOAT)
    store(at + 128, c, FLOAT)
    store(at + 192, d, FLOAT)
    store(at + 256, e, FLOAT)
    store(at + 320, f, FLOAT)
    store(at + 384, g, FLOAT)
    store(at + 448, h, FLOAT)


@njit(**FLAGS)
def softmax(scores):  # noqa: ANN001, ANN201
    """exp(scores) / Σ exp(scores), in place."""
    highest = scores[0]
    for t in range(1, len(scores)):
        highest = max(highest, scores[t])
    total = np.float32(0)
    for t in range(len(scores)):
        scores[t] = exp(scores[t] - highest)
        total += scores[t]
    for t in range(len(scores)):
        scores[t] /= total
