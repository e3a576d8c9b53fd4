"""KV-cache quantization as LMDeploy does it since 0.4.0: the formulas.

Every token's K and V of every head get a scale and a zero point of their own while the engine runs;
nothing is calibrated. The CPU device stores its cache with these functions.

Left out: fp8 and TurboQuant; what was done before (`labutils.kv_offline`); the memory this saves
(`labutils.kv_budget`) and what it costs in quality (`labutils.kv_quality`).
"""

import torch


def quantize(x: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Quantize each row by its own range, as LMDeploy 0.18.0's PyTorch engine fills its cache.

    TurboMind keeps the row's minimum where this engine keeps -minimum/scale.

    A row of one value, by which LMDeploy's kernel divides zero (its result is NaN, and so is
    every later token), comes back exactly here, as it does in TurboMind. Clamping changes nothing
    for 16-bit rows; float32 rows far from zero would run over.

    Args:
        x: [..., head_dim], a row per token and head.
        bits: 8 or 4.

    Returns:
        uint8 levels [..., head_dim], or [..., head_dim / 2] for 4 bits, the first half of a row in
        the low nibbles; and (scale, zero) in x's dtype [..., 2]. x ≈ scale · (level - zero).
    """
    low, high = x.amin(-1, keepdim=True).float(), x.amax(-1, keepdim=True).float()
    scale = (high - low) / (2**bits - 1)
    scale = scale.masked_fill(scale == 0, 1)
    zero = -low / scale
    levels = (x / scale + zero + 0.5).clamp(0, 2**bits - 1).to(torch.uint8)
    return pack(levels, bits), torch.cat([scale, zero], -1).to(x.dtype)


def dequantize(levels: torch.Tensor, scales_zeros: torch.Tensor, bits: int) -> torch.Tensor:
    """Values [..., head_dim] of what `quantize` returned, in scales_zeros' dtype.

    scale · zero is rounded to that dtype first, level · scale - that only once, as Triton
    compiles the kernel of LMDeploy's prefill. (Its decode kernel subtracts before it multiplies.)
    """
    scale, zero = scales_zeros.split(1, -1)
    return torch.addcmul(-scale * zero, unpack(levels, bits).to(scale.dtype), scale)


def pack(levels: torch.Tensor, bits: int) -> torch.Tensor:
    """As many levels to a byte as it holds: [..., n] → [..., n · bits / 8]."""
    if bits == 8:
        return levels
    first, second = levels.chunk(2, -1)
    return first | second << 4


def unpack(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """The inverse of `pack`."""
    return packed if bits == 8 else torch.cat([packed & 15, packed >> 4], -1)
