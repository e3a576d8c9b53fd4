"""W4A16 linear layers: weights stay in 4 bits in memory, activations in the engine's dtype.

When a model is loaded, each weight is repacked once into the order that PyTorch's CPU kernel
reads, and that is its only copy. The kernel multiplies few rows (a decode step) without ever
writing the weight out; it has bfloat16 only. For many rows (a prefill) and other dtypes the weight
is dequantized for the moment, then multiplied as any other: float32 is exact.

Left out: other widths than 4 bits, symmetric weights, tensor parallelism.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from lmdeploy.pytorch.backends.awq_modules import LinearW4A16Impl

from labutils.awq.numbers import unpack_weight

GROUP_SIZES = (32, 64, 128)
"""Inputs that may share a scale."""
KERNEL_BLOCKS = (64, 32)
"""Rows that PyTorch's kernel keeps together, with AVX-512 and with AVX2; without, it is slow."""
KERNEL_ROWS = 128
"""More rows than this are faster with the weight dequantized first (measured)."""


def why_not(quantization: Mapping[str, Any]) -> str | None:
    """What in a model's quantization_config this module cannot compute with, or None.

    Args:
        quantization: that part of config.json; empty when nothing is quantized.
    """
    method = quantization.get("quant_method", "awq")
    if method != "awq":
        return f"its weights are quantized ({method}); use the unquantized model, or one in AWQ"
    bits, layout = quantization.get("bits", 4), quantization.get("version", "gemm")
    if bits != 4 or layout != "gemm":
        return f"its weights have {bits} bits in the {layout} layout; only 4 bits in gemm are known"
    if not quantization.get("zero_point", True):
        return "its 4-bit weights have no zero points; quantize again without --w-sym"
    group_size = quantization.get("group_size", 128)
    if group_size not in GROUP_SIZES:
        known = ", ".join(map(str, GROUP_SIZES))
        return f"its weights share scales in groups of {group_size}; only {known} are known"
    return None


def pack(numbers: torch.Tensor, block: int) -> torch.Tensor:
    """Two numbers a byte, in the kernel's order.

    For each block of rows, one column after the other: bytes that hold the block's first half of
    rows in their low four bits and the second half in their high ones.

    Args:
        numbers: uint8 [out, in], 0 to 15.
        block: rows in a block; even, and a divisor of `out`.

    Returns:
        uint8 [out, in / 2]: a block's bytes fill as many rows as the block has.
    """
    out, inputs = numbers.shape
    low, high = numbers.view(-1, 2, block // 2, inputs).transpose(2, 3).unbind(1)
    return (low | high << 4).reshape(out, inputs // 2)


def unpack(packed: torch.Tensor, block: int) -> torch.Tensor:
    """uint8 [out, in]: the inverse of `pack`."""
    out, half = packed.shape
    both = packed.view(-1, 2 * half, block // 2)
    return torch.stack([both & 15, both >> 4], 1).transpose(2, 3).reshape(out, 2 * half)


def _is_kernel_order(numbers: torch.Tensor, block: int) -> bool:
    """Whether this processor's kernel reads blocks of so many rows."""
    if numbers.shape[0] % block:
        return False
    theirs = torch.ops.aten._convert_weight_to_int4pack_for_cpu(numbers.int(), 1)
    return torch.equal(theirs, pack(numbers, block))


class CpuLinearW4A16(LinearW4A16Impl):
    """LMDeploy's 4-bit linear operator."""

    def __init__(self, in_features: int, out_features: int, group_size: int) -> None:
        self.in_features, self.out_features = in_features, out_features
        self.group_size = group_size
        self.block = 8
        """Rows in a block of the packed weight."""
        self.has_kernel = False

    def update_weights(
        self,
        qweight: torch.Tensor,
        scales: torch.Tensor,
        qzeros: torch.Tensor,
        bias: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Repack a loaded weight; LMDeploy keeps what is returned in place of what it gave.

        Args:
            qweight, scales, qzeros: as in a quantized folder, see `labutils.awq.numbers`.
            bias: [out].

        Returns:
            The weight, uint8 [out, in / 2]; float32 [in / group, out, 2] with each group's scale
            and what number 8 stands for, (8 − zero) · scale; nothing; and the bias.

        Raises:
            LabError: the tensors are damaged.
        """
        weight = unpack_weight(qweight, qzeros, scales)
        numbers, scales = weight.numbers.contiguous(), weight.scales.T.float()
        blocks = [block for block in KERNEL_BLOCKS if _is_kernel_order(numbers, block)]
        self.has_kernel = bool(blocks)
        self.block = blocks[0] if blocks else self.block
        middle = (8 - weight.zeros.T.float()) * scales
        pairs = torch.stack([scales, middle], -1)
        return pack(numbers, self.block), pairs, qzeros.new_empty(0), bias

    def forward(
        self,
        x: torch.Tensor,
        packed: torch.Tensor,
        pairs: torch.Tensor,
        nothing: torch.Tensor,
        bias: torch.Tensor | None = None,
        all_reduce: bool = False,
        group: Any = None,
    ) -> torch.Tensor:
        """x · weightᵀ + bias.

        Args:
            x: [..., in].
            packed, pairs, nothing, bias: what `update_weights` returned.

        Returns:
            [..., out] in x's dtype.
        """
        for parameter in (pairs, bias):  # the engine's dtype is known at the first call only
            if parameter is not None and parameter.dtype != x.dtype:
                parameter.data = parameter.to(x.dtype)
        rows = x.reshape(-1, self.in_features)
        if self.has_kernel and x.dtype == torch.bfloat16 and len(rows) <= KERNEL_ROWS:
            out = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, packed, self.group_size, pairs)
            out = out if bias is None else out + bias
        else:
            out = F.linear(rows, self.dequantize(packed, pairs), bias)
        return out.view(*x.shape[:-1], self.out_features)

    def dequantize(self, packed: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        """The weight [out, in] in pairs' dtype, computed in float32."""
        numbers = unpack(packed, self.block).float().sub_(8).unflatten(1, (-1, self.group_size))
        scales, middle = pairs.float().transpose(0, 1)[..., None].unbind(2)
        return numbers.mul_(scales).add_(middle).flatten(1).to(pairs.dtype)
