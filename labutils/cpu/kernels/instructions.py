"""Operators as instructions on addresses, and the loop that executes a list of them.

A decode step calls several hundred small operators; from Python, with PyTorch's threads waking and
sleeping for each, that costs more than their arithmetic. As one list of instructions they run in
one call a thread: every thread does its share of an instruction, waits until all have done theirs,
and goes on to the next.

Addresses outlive nothing: whoever keeps instructions keeps their tensors (`recording.Program`).
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock

import numpy as np
import torch
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic

from labutils.cpu.kernels import history, products, rowwise
from labutils.cpu.kernels.jit import FLAGS
from labutils.cpu.kernels.numbers import BYTE, FLOAT, WORD, aligned, share, size_of

NAMES = (
    "linear",
    "linear W4A16",
    "dequantizing",
    "RMSNorm",
    "rotary embedding",
    "SiLU",
    "KV cache",
    "attention",
)
LINEAR, LINEAR_W4, DEQUANTIZE_W4, RMS_NORM, ROTATE, SILU_AND_MULTIPLY, STORE, ATTEND = range(8)
INSTRUCTION = np.dtype(
    [("kind", np.int64)]
    # Addresses; 0: there is no such tensor.
    + [(name, np.int64) for name in ("x", "y", "z", "weight", "bias", "pairs", "out", "sum")]
    + [(name, np.int64) for name in ("k_cache", "v_cache", "k_pairs", "v_pairs")]
    # Sizes, and how many elements lie between two rows and two heads of x (and rows of y, z).
    + [(name, np.int64) for name in ("rows", "heads", "kv_heads", "width", "outputs", "group")]
    + [(name, np.int64) for name in ("x_row", "x_head", "y_row", "z_row")]
    + [(name, np.int64) for name in ("bits", "block_size", "blocks", "window")]
    + [("scalar", np.float64)]
)
LIKE = {torch.float32: FLOAT, torch.bfloat16: WORD}
MULTIPLE = 16
"""Of a linear layer's inputs, or of attention's head_dim: so many are read at once."""
_ALONE = Lock()
SPINS = 2000
"""Looks at the counter before a waiting thread offers its core to others."""
_sched_yield = types.ExternalFunction("sched_yield", types.int32())


@intrinsic
def _pointer(typingctx, address, like):
    """An address as a pointer to elements of the type of `like`."""
    pointer = types.CPointer(like)

    def generate(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(types.int64, like), generate


@intrinsic
def _count_one(typingctx, counter):
    """Add one to the int64 at an address, seen by all threads at once."""

    def generate(context, builder, signature, args):
        place = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", place, ir.IntType(64)(1), "seq_cst")

    return types.int64(types.int64), generate


@intrinsic
def _counted(typingctx, counter):
    """The int64 at an address as other threads left it."""

    def generate(context, builder, signature, args):
        place = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load_atomic(place, "acquire", 8)

    return types.int64(types.int64), generate


@njit(**FLAGS)
def _meet(counter, target):
    """Wait until the threads have come here `target` times together."""
    _count_one(counter)
    spins = 0
    while _counted(counter) < target:
        spins += 1
        if spins > SPINS:
            _sched_yield()


@njit(inline="always", **FLAGS)
def _matrix(address, rows, columns, like):
    """The array [rows, columns] at an address."""
    return carray(_pointer(address, like), (rows, columns))


@njit(inline="always", **FLAGS)
def _row(address, start, length, like):
    """The `length` elements that begin `start` elements after an address."""
    return carray(_pointer(address + start * size_of(like), like), (length,))


@njit(**FLAGS)
def _rms_norm(op, like, thread, threads):
    """x: [rows, heads, width]; out, sum: the same, contiguous; y: the residual, contiguous."""
    first, end = share(op.rows * op.heads, thread, threads)
    weight = _row(op.weight, 0, op.width, like)
    for r in range(first, end):
        x = _row(op.x, r // op.heads * op.x_row + r % op.heads * op.x_head, op.width, like)
        if op.y:
            total = _row(op.sum, r * op.width, op.width, like)
            rowwise.add(x, _row(op.y, r * op.width, op.width, like), total)
            x = total
        rowwise.rms_norm(x, weight, _row(op.out, r * op.width, op.width, like), op.scalar)


@njit(**FLAGS)
def _rotate(op, like, thread, threads):
    """x: [rows, heads, width], changed in place; y, z: cos and sin, [rows, width]."""
    first, end = share(op.rows * op.heads, thread, threads)
    for i in range(first, end):
        r, h = i // op.heads, i % op.heads
        x = _row(op.x, r * op.x_row + h * op.x_head, op.width, like)
        cos = _row(op.y, r * op.y_row, op.width, like)
        rowwise.rotate(x, cos, _row(op.z, r * op.z_row, op.width, like))


@njit(**FLAGS)
def _silu_and_multiply(op, like, thread, threads):
    """x: [rows, 2 · width], gate before up; out: [rows, width]. Split by columns."""
    first, end = share(op.width, thread, threads)
    for r in range(op.rows):
        gate = _row(op.x, r * op.x_row + first, end - first, like)
        up = _row(op.x, r * op.x_row + op.width + first, end - first, like)
        rowwise.silu_and_multiply(gate, up, _row(op.out, r * op.width + first, end - first, like))


@njit(**FLAGS)
def _linear(op, like, thread, threads):
    """x: [rows, width]; weight: [outputs, width]; bias: [outputs]; out: [rows, outputs]."""
    first, end = share(op.outputs, thread, threads)
    x = products.floats(op.x, op.rows, op.width, like)
    products.linear(x, op.weight, op.bias, op.out, op, first, end, like)


@njit(**FLAGS)
def _linear_w4(op, like, thread, threads):
    """As `_linear`; weight: uint8 [outputs, width / 2]; pairs: [outputs, width / group, 2]."""
    first, end = share(op.outputs, thread, threads)
    x = products.floats(op.x, op.rows, op.width, like)
    products.linear_w4(x, op.weight, op.pairs, op.bias, op.out, op, first, end, like)


@njit(**FLAGS)
def _cache(stored, pairs, op, like):
    """A layer's cache of K or V, a row per token and head; see `history.write`."""
    rows = op.blocks * op.block_size * op.kv_heads
    return (
        _matrix(stored, rows, op.width, like),
        _matrix(stored, rows, op.width * op.bits // 8, BYTE),
        _matrix(pairs, rows, 2, like),
        op.bits,
    )


@njit(**FLAGS)
def _store(op, like, sequences, thread, threads):
    """y, z: new keys and values [rows, kv_heads, width], to the cache. Split by token."""
    tables, lengths, starts = sequences
    k_cache = _cache(op.k_cache, op.k_pairs, op, like)
    v_cache = _cache(op.v_cache, op.v_pairs, op, like)
    first, end = share(op.rows, thread, threads)
    for s in range(len(lengths)):
        for i in range(max(first, starts[s]), min(end, starts[s + 1])):
            position = lengths[s] - starts[s + 1] + i
            block, place = tables[s, position // op.block_size], position % op.block_size
            for h in range(op.kv_heads):
                row = (block * op.block_size + place) * op.kv_heads + h
                key = _row(op.y, i * op.y_row + h * op.width, op.width, like)
                history.write(key, k_cache, row)
                value = _row(op.z, i * op.z_row + h * op.width, op.width, like)
                history.write(value, v_cache, row)


@njit(**FLAGS)
def _attend(op, like, sequences, thread, threads):
    """x: queries [rows, heads, width]; out: as x, contiguous.

    Threads take turns at pieces: eight new tokens of a sequence, for the heads that share K and V.
    What a decode step has left over after equal turns, they divide by heads.
    """
    tables, lengths, starts = sequences
    group, piece = op.heads // op.kv_heads, -1
    pieces = op.rows * op.kv_heads
    shared = pieces - pieces % threads if op.rows == len(lengths) else np.iinfo(np.int64).max
    for s in range(len(lengths)):
        for i in range(starts[s], starts[s + 1], 8):
            tokens = min(8, starts[s + 1] - i)
            end = lengths[s] - starts[s + 1] + i + tokens
            for h in range(op.kv_heads):
                piece += 1
                if piece >= shared:
                    first, last = share(group, thread, threads)
                else:
                    first, last = 0, group if piece % threads == thread else 0
                if first < last:
                    heads = h * group + first, h * group + last
                    _attend_piece(op, like, tables[s], i, tokens, end, heads[0], heads[1])


@njit(**FLAGS)
def _attend_piece(op, like, table, i, tokens, end, head, stop):
    """Tokens i to i + tokens, the last before position `end`, for query heads `head` to `stop`."""
    heads, kv_head = stop - head, head // (op.heads // op.kv_heads)
    start = max(0, end - tokens + 1 - op.window) if op.window else 0
    rows = _history(op, table, start, end, kv_head)
    count = tokens * heads
    x = aligned(-(-count // 8) * 8 * op.width).reshape(-(-count // 8), op.width // 16, 8, 16)
    first, last = np.zeros(count, np.int64), np.empty(count, np.int64)
    for r in range(count):
        t, h = r // heads, head + r % heads
        query = op.x + ((i + t) * op.x_row + h * op.width) * size_of(like)
        history.place(query, x, r, np.float32(op.scalar), like)
        last[r] = end - tokens + t + 1 - start
        first[r] = max(0, last[r] - op.window) if op.window else 0
    k_cache = _cache(op.k_cache, op.k_pairs, op, like)
    v_cache = _cache(op.v_cache, op.v_pairs, op, like)
    sums = history.attend(x, first, last, rows, k_cache, v_cache, like)
    for r in range(count):
        t, h = r // heads, head + r % heads
        history.take(sums, r, op.out + ((i + t) * op.heads + h) * op.width * size_of(like), like)


@njit(**FLAGS)
def _history(op, table, start, end, head):
    """The cache's rows of a sequence's tokens from start to end, for a K/V head; see `_cache`."""
    rows = np.empty(end - start, np.int64)
    size, n = op.block_size, 0
    for i in range(start // size, -(-end // size)):
        for place in range(max(0, start - i * size), min(size, end - i * size)):
            rows[n] = (table[i] * size + place) * op.kv_heads + head
            n += 1
    return rows


@njit(**FLAGS)
def _execute(program, like, sequences, counter, thread, threads):
    """One thread's part of a program."""
    for i in range(len(program)):
        op = program[i]
        if op.kind == LINEAR:
            _linear(op, like, thread, threads)
        elif op.kind == LINEAR_W4:
            _linear_w4(op, like, thread, threads)
        elif op.kind == DEQUANTIZE_W4:
            first, end = share(op.outputs, thread, threads)
            products.dequantize_w4(op, first, end, like)
        elif op.kind == RMS_NORM:
            _rms_norm(op, like, thread, threads)
        elif op.kind == ROTATE:
            _rotate(op, like, thread, threads)
        elif op.kind == SILU_AND_MULTIPLY:
            _silu_and_multiply(op, like, thread, threads)
        elif op.kind == STORE:
            _store(op, like, sequences, thread, threads)
        else:
            _attend(op, like, sequences, thread, threads)
        _meet(counter, (i + 1) * threads)


@cache
def _workers(count: int) -> ThreadPoolExecutor:
    """So many threads beside the one that calls `run`."""
    return ThreadPoolExecutor(count, "cpu-kernels")


Sequences = tuple[np.ndarray, np.ndarray, np.ndarray]
"""int64 [sequences, blocks], the cache's blocks of each; [sequences], how many tokens each has, the
new ones included; and [sequences + 1], where each one's new tokens begin among all."""


def run(program: np.ndarray, dtype: torch.dtype, sequences: Sequences) -> None:
    """Execute instructions with all of torch's threads; one program at a time in a process.

    Args:
        program: INSTRUCTION [n].
        dtype: of every tensor but quantized weights and caches: bfloat16 or float32.
        sequences: what attention is about.
    """
    threads = torch.get_num_threads()
    counter = np.zeros(1, np.int64)
    like = LIKE[dtype]
    shared = (program, like, sequences, counter.ctypes.data)
    with _ALONE:  # threads of two programs in one pool would wait for each other for ever
        submit = _workers(max(1, threads - 1)).submit
        others = [submit(_execute, *shared, i, threads) for i in range(1, threads)]
        _execute(*shared, 0, threads)
        for other in others:
            other.result()
