"""The two limits of a machine that decide how fast it serves a model, measured.

A decode step reads every weight once for one token of each sequence, so memory bandwidth limits
it; a prefill uses each weight for many tokens, so the matrix rate does. Both are medians of
repeated runs, taken with the operations that a model itself uses.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from labutils.errors import LabError

COPIED_BYTES = {"cpu": 2**28, "cuda": 2**31}
"""Far more than the caches hold."""
MATRIX_SIDE = {"cpu": 2048, "cuda": 8192}
REPEATS = 9


@dataclass(frozen=True)
class Limit:
    """A rate per second: the median of repeated runs, with the slowest and the fastest."""

    rate: float
    slowest: float
    fastest: float


def copy_bandwidth(kind: str) -> Limit:
    """Bytes per second of a memory copy on a device, bytes read and bytes written both counted.

    Args:
        kind: 'cpu' or 'cuda'.

    Raises:
        LabError: there is not enough free memory for the two buffers.
    """
    size = COPIED_BYTES[kind]
    try:
        source = torch.ones(size, dtype=torch.uint8, device=kind)
        target = torch.zeros_like(source)
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        raise LabError(
            f"Measuring bandwidth needs {2 * size / 2**30:.1f} GiB of free memory on {kind}: "
            "close other engines and notebooks first."
        ) from error
    return _limit(lambda: target.copy_(source), 2 * size, kind)


def matrix_rate(kind: str, dtype: torch.dtype) -> Limit:
    """Floating-point operations per second of a square matrix product, 2n³ for side n.

    Args:
        kind: 'cpu' or 'cuda'.
        dtype: that of both factors and of the product.
    """
    side = MATRIX_SIDE[kind]
    left, right = (torch.randn(side, side, device=kind).to(dtype) for _ in range(2))
    return _limit(lambda: left @ right, 2 * side**3, kind)


def seconds(work: Callable[[], object], kind: str, repeats: int = REPEATS) -> list[float]:
    """Times of `repeats` runs of `work` on a device, after one that is not counted."""
    taken = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        work()
        if kind == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return taken[1:]


def step_seconds(
    read: float, multiplied: float, bandwidth: float, rate: float
) -> tuple[float, float]:
    """Seconds that a decode step takes at least: for its memory, and for its arithmetic.

    read / bandwidth and 2 · multiplied / rate; the longer one is the limit.

    Args:
        read: bytes of the weights and of the KV cache of all sequences.
        multiplied: weights that each token is multiplied with, times the sequences.
        bandwidth: bytes per second.
        rate: floating-point operations per second.
    """
    return read / bandwidth, 2 * multiplied / rate


def _limit(work: Callable[[], object], amount: float, kind: str) -> Limit:
    taken = seconds(work, kind)
    return Limit(amount / statistics.median(taken), amount / max(taken), amount / min(taken))
