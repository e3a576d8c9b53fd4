"""The arithmetic of a decode step as machine code, compiled by numba for the student's processor.

Numbers are computed in float32 and kept in the engine's dtype: float32, or bfloat16 as uint16
bits, for which numba compiles the same function once more. Most loops become vector instructions
by themselves; those of the matrix products, which take most of the time, are written in `vectors`.
Which operator on which addresses is `instructions`' business.

Left out: float16; prompts' matrix products and attention, which PyTorch does well.
"""

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from labutils.cpu.jit import FLAGS
from labutils.cpu.vectors import high_nibbles, load, low_nibbles, multiply_add, splat, total

LOG2_E = np.float32(1 / math.log(2))
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(math.log(2) - 0.693359375)
INT32 = ir.IntType(32)
FLOAT, WORD, BYTE = (np.zeros(1, dtype) for dtype in (np.float32, np.uint16, np.uint8))
"""Arrays that stand for their dtype."""


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
def narrow(typingctx, number, row):  # noqa: ANN001, ANN201
    """A float32 in the dtype of `row`; to bfloat16 by rounding to nearest, ties to even."""

    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
        if row.dtype != types.uint16:
            return args[0]
        bits = builder.bitcast(args[0], INT32)
        odd = builder.and_(builder.lshr(bits, INT32(16)), INT32(1))
        rounded = builder.add(bits, builder.add(odd, INT32(0x7FFF)))
        magnitude = builder.and_(bits, INT32(0x7FFFFFFF))
        is_nan = builder.icmp_unsigned(">", magnitude, INT32(0x7F800000))
        kept = builder.select(is_nan, INT32(0x7FC00000), rounded)
        return builder.trunc(builder.lshr(kept, INT32(16)), ir.IntType(16))

    return row.dtype(types.float32, row), generate


@intrinsic
def _power_of_two(typingctx, exponent):  # noqa: ANN001, ANN202
    """float32 2^exponent of an int32 from -126 to 127."""

    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
        biased = builder.add(args[0], INT32(127))
        return builder.bitcast(builder.shl(biased, INT32(23)), ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def half(typingctx, bits):  # noqa: ANN001, ANN201
    """float32 of a float16's bits, uint16."""

    def generate(context, builder, signature, args):  # noqa: ANN001, ANN202
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


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


@njit(**FLAGS)
def floats(x, width):  # noqa: ANN001, ANN201
    """float32 [rows, width] of rows that may be longer; with more than one, four at least."""
    rows = len(x)
    padded = rows if rows == 1 else -(-rows // 4) * 4
    out = np.zeros((padded, width), np.float32)
    for r in range(rows):
        for i in range(width):
            out[r, i] = widen(x[r, i])
    return out


@njit(inline="always", **FLAGS)
def _dot(x, weight, width, like):  # noqa: ANN001, ANN202
    """x · weight at two addresses; x is float32."""
    a = b = splat(np.float32(0))
    for i in range(0, width - 16, 32):
        a = multiply_add(load(x + 4 * i, FLOAT), load(weight + like.itemsize * i, like), a)
        j = i + 16
        b = multiply_add(load(x + 4 * j, FLOAT), load(weight + like.itemsize * j, like), b)
    if width % 32:
        i = width - 16
        a = multiply_add(load(x + 4 * i, FLOAT), load(weight + like.itemsize * i, like), a)
    return total(a) + total(b)


@njit(inline="always", **FLAGS)
def _four_dots(x, weight, width, like):  # noqa: ANN001, ANN202
    """As `_dot`, of four rows of x that lie one behind the other."""
    a = b = c = d = splat(np.float32(0))
    for i in range(0, width, 16):
        w = load(weight + like.itemsize * i, like)
        a = multiply_add(load(x + 4 * i, FLOAT), w, a)
        b = multiply_add(load(x + 4 * (i + width), FLOAT), w, b)
        c = multiply_add(load(x + 4 * (i + 2 * width), FLOAT), w, c)
        d = multiply_add(load(x + 4 * (i + 3 * width), FLOAT), w, d)
    return total(a), total(b), total(c), total(d)


@njit(inline="always", **FLAGS)
def _scale_and_offset(pair):  # noqa: ANN001, ANN202
    """What turns a group's numbers into weights: number · scale - zero · scale."""
    scale = half(pair[0])
    return splat(scale), splat(-half(pair[1]) * scale)


@njit(inline="always", **FLAGS)
def _dot_w4(x, weight, pairs, group):  # noqa: ANN001, ANN202
    """As `_dot`; the weight is packed, see `labutils.cpu.linear_w4.pack`."""
    a = b = splat(np.float32(0))
    for g in range(len(pairs)):
        scale, offset = _scale_and_offset(pairs[g])
        for i in range(g * group, g * group + group // 2, 16):
            a = multiply_add(
                load(x + 4 * i, FLOAT), multiply_add(low_nibbles(weight), scale, offset), a
            )
            b = multiply_add(
                load(x + 4 * i + 2 * group, FLOAT),
                multiply_add(high_nibbles(weight), scale, offset),
                b,
            )
            weight += 16
    return total(a) + total(b)


@njit(inline="always", **FLAGS)
def _four_dots_w4(x, weight, width, pairs, group):  # noqa: ANN001, ANN202
    """As `_four_dots`, of a packed weight."""
    a = b = c = d = splat(np.float32(0))
    for g in range(len(pairs)):
        scale, offset = _scale_and_offset(pairs[g])
        for i in range(g * group, g * group + group // 2, 16):
            w = multiply_add(low_nibbles(weight), scale, offset)
            v = multiply_add(high_nibbles(weight), scale, offset)
            weight += 16
            j = i + group // 2
            a = multiply_add(load(x + 4 * i, FLOAT), w, a)
            b = multiply_add(load(x + 4 * (i + width), FLOAT), w, b)
            c = multiply_add(load(x + 4 * (i + 2 * width), FLOAT), w, c)
            d = multiply_add(load(x + 4 * (i + 3 * width), FLOAT), w, d)
            a = multiply_add(load(x + 4 * j, FLOAT), v, a)
            b = multiply_add(load(x + 4 * (j + width), FLOAT), v, b)
            c = multiply_add(load(x + 4 * (j + 2 * width), FLOAT), v, c)
            d = multiply_add(load(x + 4 * (j + 3 * width), FLOAT), v, d)
    return total(a), total(b), total(c), total(d)


@njit(inline="always", **FLAGS)
def _put(out, bias, n, r, sums):  # noqa: ANN001, ANN202
    """Four sums, and the bias if there is one, into column n of the rows from r on."""
    for i in range(min(4, len(out) - r)):
        number = sums[i] + widen(bias[n]) if len(bias) else sums[i]
        out[r + i, n] = narrow(number, out)


@njit(**FLAGS)
def linear(x, weight, bias, out, first, end):  # noqa: ANN001, ANN201
    """Columns first to end of x · weightᵀ + bias.

    Args:
        x: what `floats` returned, of [rows, in].
        weight: engine's dtype [out, in]; `in` a multiple of 16.
        bias: engine's dtype [out], or empty.
        out: engine's dtype [rows, out], written.
    """
    width = x.shape[1]
    for n in range(first, end):
        address = weight[n].ctypes.data
        if len(x) == 1:
            only = _dot(x.ctypes.data, address, width, weight)
            _put(out, bias, n, 0, (only, only, only, only))
        else:
            for r in range(0, len(x), 4):
                _put(out, bias, n, r, _four_dots(x[r].ctypes.data, address, width, weight))


@njit(**FLAGS)
def linear_w4(x, weight, pairs, group, bias, out, first, end):  # noqa: ANN001, ANN201
    """As `linear`, of a weight in 4 bits.

    Args:
        x, bias, out, first, end: see there.
        weight: uint8 [out, in / 2]; see `labutils.cpu.linear_w4.pack`.
        pairs: float16 bits [out, in / group, 2], scale and zero.
        group: inputs that share a pair; a multiple of 32.
    """
    width = x.shape[1]
    for n in range(first, end):
        address = weight[n].ctypes.data
        if len(x) == 1:
            only = _dot_w4(x.ctypes.data, address, pairs[n], group)
            _put(out, bias, n, 0, (only, only, only, only))
        else:
            for r in range(0, len(x), 4):
                sums = _four_dots_w4(x[r].ctypes.data, address, width, pairs[n], group)
                _put(out, bias, n, r, sums)


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
    half = len(row) // 2
    for i in range(len(row)):
        x = widen(row[i]) / scale + zero + np.float32(0.5)
        level = np.uint8(min(max(x, np.float32(0)), top))
        if bits == 8 or i < half:
            levels[i] = level
        else:
            levels[i - half] |= level << 4


@njit(**FLAGS)
def read(cache, at, row):  # noqa: ANN001, ANN201
    """float32 `row` of what `write` put there, as `labutils.kv_cache.dequantize` gives it."""
    stored, levels, pairs, bits = cache[0][at], cache[1][at], cache[2][at], cache[3]
    if bits == 0:
        for i in range(len(row)):
            row[i] = widen(stored[i])
        return
    scale = widen(pairs[0])
    offset = widen(narrow(-scale * widen(pairs[1]), pairs))
    if bits == 8:
        for i in range(len(row)):
            row[i] = np.float32(levels[i]) * scale + offset
        return
    half = len(row) // 2
    for i in range(half):
        row[i] = np.float32(levels[i] & 15) * scale + offset
        row[i + half] = np.float32(levels[i] >> 4) * scale + offset


@njit(**FLAGS)
def attend(query, rows, k_cache, v_cache, scale, out):  # noqa: ANN001, ANN201
    """One sequence's newest token attends to its history, for the heads that share a K/V head.

    Args:
        query: [heads, head_dim], engine's dtype.
        rows: int64 [history], the cache's row of each token.
        k_cache, v_cache: see `write`.
        scale: of the scores, usually 1 / sqrt(head_dim).
        out: [heads, head_dim], written.
    """
    heads, width = query.shape
    history = len(rows)
    row = np.empty(width, np.float32)
    asked = np.empty((heads, width), np.float32)
    scores = np.empty((heads, history), np.float32)
    sums = np.zeros((heads, width), np.float32)
    for h in range(heads):
        for i in range(width):
            asked[h, i] = widen(query[h, i]) * np.float32(scale)
    for t in range(history):
        read(k_cache, rows[t], row)
        for h in range(heads):
            score = np.float32(0)
            for i in range(width):
                score += asked[h, i] * row[i]
            scores[h, t] = score
    for h in range(heads):
        softmax(scores[h])
    for t in range(history):
        read(v_cache, rows[t], row)
        for h in range(heads):
            weight = scores[h, t]
            for i in range(width):
                sums[h, i] += weight * row[i]
    for h in range(heads):
        for i in range(width):
            out[h, i] = narrow(sums[h, i], out)


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
