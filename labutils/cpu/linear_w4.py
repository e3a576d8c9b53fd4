"""W4A16 linear layers: weights stay in 4 bits in memory, activations in the engine's dtype.

When a model is loaded, each weight is repacked once into the order that the instruction reads, and
that is its only copy. A decode step multiplies its few rows without ever writing the weight out.
For many rows (a prefill) the weight is dequantized for the moment, then multiplied as any other.
Both compute with the checkpoint's own scales and zeros; float32 is exact.

Left out: other widths than 4 bits, symmetric weights, tensor parallelism.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from lmdeploy.pytorch.backends.awq_modules import LinearW4A16Impl

from labutils.awq.numbers import unpack_weight
from labutils.cpu.instructions import LINEAR_W4
from labutils.cpu.recording import emit, fits, room

GROUP_SIZES = (32, 64, 128)
"""Inputs that may share a scale."""
MAX_ROWS = 32
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


def pack(numbers: torch.Tensor, group_size: int) -> torch.Tensor:
    """Two numbers a byte: a group's first half in the low four bits, its second in the high ones.

    Args:
        numbers: uint8 [out, in], 0 to 15.
        group_size: even, and a divisor of `in`.

    Returns:
        uint8 [out, in / 2], contiguous.
    """
    low, high = numbers.unflatten(1, (-1, 2, group_size // 2)).unbind(2)
    return (low | high << 4).flatten(1).contiguous()


def unpack(packed: torch.Tensor, group_size: int) -> torch.Tensor:
    """uint8 [out, in]: the inverse of `pack`."""
    groups = packed.unflatten(1, (-1, group_size // 2))
    return torch.stack([groups & 15, groups >> 4], 2).flatten(1)


class CpuLinearW4A16(LinearW4A16Impl):
    """LMDeploy's 4-bit linear operator."""

    def __init__(self, in_features: int, out_features: int, group_size: int) -> None:
        self.in_features, self.out_features = in_features, out_features
        self.group_size = group_size

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
            The weight, see `pack`; float16 [out, in / group, 2], each group's scale and zero;
            nothing; and the bias.

        Raises:
            LabError: the tensors are damaged.
        """
        weight = unpack_weight(qweight, qzeros, scales)
        pairs = torch.stack([weight.scales.half(), weight.zeros.half()], -1)
        return pack(weight.numbers, self.group_size), pairs, qzeros.new_empty(0), bias

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
        if bias is not None and bias.dtype != x.dtype:  # known at the first call only
            bias.data = bias.to(x.dtype)
        if x.numel() // self.in_features > MAX_ROWS or not x.is_contiguous() or not fits(x, bias):
            return F.linear(x, self.dequantize(packed, pairs).to(x.dtype), bias)
        out = room((*x.shape[:-1], self.out_features), x.dtype)
        sizes = {"rows": x.numel() // self.in_features, "x_row": self.in_features}
        sizes |= {"width": self.in_features, "outputs": self.out_features, "group": self.group_size}
        tensors = {"x": x, "weight": packed, "pairs": pairs, "bias": bias, "out": out}
        emit(LINEAR_W4, tensors, **sizes)
        return out

    def dequantize(self, packed: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
        """The weight, float32 [out, in]."""
        numbers = unpack(packed, self.group_size).float().unflatten(1, (-1, self.group_size))
        scales, zeros = pairs.float()[..., None].unbind(2)
        return numbers.sub_(zeros).mul_(scales).flatten(1)
