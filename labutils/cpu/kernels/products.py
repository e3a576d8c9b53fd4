"""Matrix products of few rows, the larger part of a decode step, with 16-bit or 4-bit weights.

Most loops become vector instructions by themselves; these are written in `vectors`.

Left out: many rows, whose products PyTorch computes well.
"""

import numpy as np
from numba import njit

from labutils.cpu.kernels.jit import FLAGS
from labutils.cpu.kernels.numbers import (
    FLOAT,
    address_of,
    aligned,
    get,
    half,
    narrow,
    put,
    size_of,
    widen,
)
from labutils.cpu.kernels.vectors import (
    add_lanes,
    load,
    multiply_add,
    nibbles,
    prefetch,
    splat,
    store,
    total,
)

AHEAD = 4096
"""Bytes of a weight that are asked for before they are needed."""


@njit(**FLAGS)
def floats(x, rows, width, like):
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
def _dot(x, weight, width, like):
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
def _times(x, w, sums):
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
def _zeros():
    zero = splat(np.float32(0))
    return zero, zero, zero, zero, zero, zero, zero, zero


@njit(inline="always", **FLAGS)
def eight_dots(x, first, second, width, like):
    """As `_dot`, of eight rows with two weights, so that x is read once for both."""
    a = b = _zeros()
    for i in range(0, width, 16):
        at = size_of(like) * i
        prefetch(first + 2 * at + AHEAD)
        a = _times(x + 32 * i, load(first + at, like), a)
        b = _times(x + 32 * i, load(second + at, like), b)
    return a, b


@njit(inline="always", **FLAGS)
def _weights(address, place, pair):
    """(number - zero) · scale of sixteen numbers that `nibbles` reads; pair: address of both."""
    scale = half(pair)
    offset = -(np.float32(16) + half(pair + 2)) * scale
    return multiply_add(nibbles(address, place), splat(scale), splat(offset))


@njit(inline="always", **FLAGS)
def _dot_w4(x, weight, width, pairs, group):
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
def _eight_dots_w4(x, first, second, width, first_pairs, second_pairs, group):
    """As `eight_dots`, of packed weights."""
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
def _put(sum, bias, out, like):
    """The total of `sum`, and the bias at an address other than 0, to an address."""
    number = total(sum)
    if bias:
        number += widen(get(bias, like))
    put(out, narrow(number, like))


@njit(inline="always", **FLAGS)
def put_eight(sums, bias, out, stride, rows, like):
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
def linear(x, weight, bias, out, op, first, end, like):
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
            a, b = eight_dots(x_at + 4 * r * width, one, two, width, like)
            put_eight(a, one_bias, out + n * size + r * stride, stride, rows - r, like)
            put_eight(b, two_bias, out + m * size + r * stride, stride, rows - r, like)


@njit(inline="always", **FLAGS)
def _linear_w4(x, weight, pairs, group, bias, out, op, first, end, like):
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
            put_eight(a, one_bias, out + n * size + r * stride, stride, rows - r, like)
            put_eight(b, two_bias, out + m * size + r * stride, stride, rows - r, like)


@njit(**FLAGS)
def linear_w4(x, weight, pairs, bias, out, op, first, end, like):
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
def _dequantize_w4(weight, pairs, group, out, count, like):
    for i in range(0, count, 64):
        for place in range(4):
            numbers = _weights(weight, place, pairs + (i + 16 * place) // group * 4)
            store(out, numbers, like)
            out += 16 * size_of(like)
        weight += 32


@njit(**FLAGS)
def dequantize_w4(op, first, end, like):
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
