"""What happens to each row, or head, by itself: RMSNorm, addition, rotary embedding, SiLU."""

import numpy as np
from numba import njit

from labutils.cpu.kernels.jit import FLAGS
from labutils.cpu.kernels.numbers import exp, narrow, widen


@njit(**FLAGS)
def rms_norm(x, weight, out, epsilon):
    """out = x / sqrt(mean(x²) + epsilon) · weight, of one row."""
    squares = np.float32(0)
    for i in range(len(x)):
        squares += widen(x[i]) * widen(x[i])
    factor = np.float32(1) / np.sqrt(squares / np.float32(len(x)) + np.float32(epsilon))
    for i in range(len(x)):
        out[i] = narrow(widen(x[i]) * factor * widen(weight[i]), out)


@njit(**FLAGS)
def add(x, y, out):
    """out = x + y, of one row."""
    for i in range(len(x)):
        out[i] = narrow(widen(x[i]) + widen(y[i]), out)


@njit(**FLAGS)
def rotate(x, cos, sin):
    """Rotary embedding of one head, in place: dimension i turns with dimension i + len(x) / 2."""
    half = len(x) // 2
    for i in range(half):
        a, b = widen(x[i]), widen(x[i + half])
        x[i] = narrow(a * widen(cos[i]) - b * widen(sin[i]), x)
        x[i + half] = narrow(b * widen(cos[i + half]) + a * widen(sin[i + half]), x)


@njit(**FLAGS)
def silu_and_multiply(gate, up, out):
    """out = gate · sigmoid(gate) · up, of a piece of a row."""
    for i in range(len(out)):
        x = widen(gate[i])
        out[i] = narrow(x / (np.float32(1) + exp(-x)) * widen(up[i]), out)
