"""Makes the files of this folder: what LMDeploy 0.18.0's own Triton kernels do to some rows.

    python make.py SITE_PACKAGES        # of an environment with lmdeploy 0.18.0

needs triton and torch only: it imports the two kernels without the rest of LMDeploy. On a machine
with a GPU it compiles them and writes gpu.npz, elsewhere it runs them in Triton's interpreter and
writes interpreter.npz. Those here were made with triton 3.6.0, on an NVIDIA H200 (torch 2.11.0)
and on a CPU (torch 2.13.0).

The interpreter divides exactly as IEEE 754 says, but cannot round to bfloat16 or compute in it; a
GPU divides a little less exactly, fuses a multiplication with the subtraction after it, and rounds
well. LMDeploy has no float32 on a GPU, so gpu.npz has none. In both files, for `DTYPE-DIM`:

    rows                 [16 tokens, 2 heads, DIM], see `rows`; bfloat16 as int16
    8-levels, 4-levels   what fill_kv_cache stores
    8-scales, 4-scales   (scale, zero) beside them
    8-values, 4-values   what flatten_kv_cache makes of both (gpu.npz only)
"""

import enum
import os
import sys
import types
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
BLOCK = 64


class QuantPolicy(enum.IntEnum):
    """What the kernels take from lmdeploy.messages."""

    NONE, INT4, INT8, FP8, FP8_E5M2, TURBO_QUANT = 0, 4, 8, 16, 17, 42


def module(name, path=(), **content):
    """Put a stand-in where an import will find it."""
    sys.modules[name] = made = types.ModuleType(name)
    made.__path__ = list(path)
    vars(made).update(content)


def rows(dtype, dim):
    """Ordinary, far from zero, tiny, huge, with outliers, one-sided, two-valued and constant."""
    x = torch.randn(16, 2, dim, generator=torch.Generator().manual_seed(dim))
    x[1] += 10
    x[2] *= 1e-6
    x[3] *= 1e4 if dtype == torch.float16 else 1e30
    x[4, :, 5] = 40
    x[5] = x[5].abs()
    x[6] = x[6].sign()
    x[7] *= 1e-3
    x[8] -= 3
    x[9] *= 100
    x[10, :, :8] *= 20
    x[13], x[14], x[15] = 0, 1.5, -2
    return x.to(dtype)


def run(x, bits):
    """(levels, scales, values) of one sequence that fills the first block."""
    from kernels.fill_kv_cache import fill_kv_cache
    from kernels.flatten_kv_cache import flatten_kv_cache

    tokens, heads, dim = x.shape
    levels = torch.zeros(1, BLOCK, heads, dim * bits // 8, dtype=torch.uint8, device=DEVICE)
    scales = torch.zeros(1, BLOCK, heads, 2, dtype=x.dtype, device=DEVICE)
    k, v = (levels, scales), (levels.clone(), scales.clone())
    start, length, table = (torch.tensor(n, device=DEVICE) for n in ([0], [tokens], [[0]]))
    quant = {"quant_policy": bits, "k_scales_zeros": k[1], "v_scales_zeros": v[1]}
    x = x.to(DEVICE)
    fill_kv_cache(x, x, k[0], v[0], start, length, length, tokens, table, **quant)
    size = {"out_size": 2 * BLOCK, "out_dtype": x.dtype}
    values = flatten_kv_cache(k[0], v[0], length, table, **size, **quant)
    assert torch.equal(k[0], v[0])
    return levels[0, :tokens], scales[0, :tokens], values[0].transpose(0, 1)[:tokens]


def main():
    kernels = Path(sys.argv[1]) / "lmdeploy/pytorch/kernels/cuda"
    module("lmdeploy")
    module("lmdeploy.messages", QuantPolicy=QuantPolicy)
    module("kernels", [str(kernels)])
    if not GPU:
        os.environ["TRITON_INTERPRET"] = "1"
    made = {}
    dtypes = (torch.bfloat16, torch.float16, torch.float32)
    for dtype in dtypes[: 2 if GPU else 3]:
        for dim in (64, 128):
            name, x = f"{str(dtype)[6:]}-{dim}", rows(dtype, dim)
            made[f"{name}-rows"] = x
            for bits in (8, 4):
                levels, scales, values = run(x, bits)
                made |= {f"{name}-{bits}-levels": levels, f"{name}-{bits}-scales": scales}
                made |= {f"{name}-{bits}-values": values} if GPU else {}
    arrays = {
        name: (x.view(torch.int16) if x.dtype == torch.bfloat16 else x).cpu().numpy()
        for name, x in made.items()
    }
    np.savez_compressed(HERE / f"{'gpu' if GPU else 'interpreter'}.npz", **arrays)


if __name__ == "__main__":
    main()
