"""The KV cache, as it is or quantized, and attention to a sequence's history in it.

The history is read 64 tokens at a time for up to eight queries, in float32 throughout; quantized
numbers are never written out for the whole of it.
"""

import numpy as np
from numba import njit

from labutils.cpu.kernels.jit import FLAGS
from labutils.cpu.kernels.numbers import (
    FLOAT,
    address_of,
    aligned,
    exp,
    narrow,
    put,
    size_of,
    widen,
)
from labutils.cpu.kernels.products import eight_dots, put_eight
from labutils.cpu.kernels.vectors import levels, load, multiply_add, repeat, splat, store, total

TOKENS = 64
"""Tokens of the cache that attention reads at a time, so that they stay in the fastest cache."""


@njit(inline="always", **FLAGS)
def _level(x, scale, zero, top):
    """The level, 0 to top, of a number."""
    return np.uint8(min(max(x / scale + zero + np.float32(0.5), np.float32(0)), top))


@njit(**FLAGS)
def write(row, cache, at):
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
def read(cache, rows, tokens, like):
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
def _read_plain(x, out, width, like):
    """Numbers at an address as float32 at another."""
    for i in range(0, width, 16):
        store(out + 4 * i, load(x + size_of(like) * i, like), FLOAT)


@njit(inline="always", **FLAGS)
def _read_levels(x, out, width, bits, scale, offset):
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
def place(query, x, row, scale, like):
    """A row at an address, times a scale, as one of `attend`'s."""
    at = address_of(x[row // 8]) + 64 * (row % 8)
    for i in range(x.shape[1]):
        scaled = multiply_add(load(query, like), splat(scale), splat(np.float32(0)))
        store(at + 512 * i, scaled, FLOAT)
        query += 16 * size_of(like)


@njit(**FLAGS)
def take(x, row, out, like):
    """One of the rows that `attend` returned, to an address."""
    at = address_of(x[row // 8]) + 64 * (row % 8)
    for i in range(x.shape[1]):
        store(out, load(at + 512 * i, FLOAT), like)
        out += 16 * size_of(like)


@njit(**FLAGS)
def attend(x, first, end, rows, k_cache, v_cache, like):
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
def _score(x, count, tokens, scores, start):
    """scores [8, history] from `start` on = the eight queries at an address · tokensᵀ."""
    width, stride = tokens.shape[1], 4 * scores.shape[1]
    at = address_of(scores) + 4 * start
    for t in range(0, count, 2):
        u = min(t + 1, count - 1)
        one, two = address_of(tokens) + 4 * width * t, address_of(tokens) + 4 * width * u
        a, b = eight_dots(x, one, two, width, FLOAT)
        put_eight(a, 0, at + 4 * t, stride, 8, FLOAT)
        put_eight(b, 0, at + 4 * u, stride, 8, FLOAT)


@njit(**FLAGS)
def _score_few(x, rows, count, tokens, scores, start):
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
def _weigh(tokens, column, count, weights, start, sums):
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
def softmax(scores):
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
