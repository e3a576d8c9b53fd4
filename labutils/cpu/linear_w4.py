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
from labutils.cpu.kernels.instructions import DEQUANTIZE_W4, LINEAR_W4
from labutils.cpu.recording import emit, fits, room

GROUP_SIZES = (32, 64, 128)
"""Inputs that may share a scale."""
CHUNK = 64
"""Inputs whose numbers are packed together."""
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


def pack(numbers: torch.Tensor) -> torch.Tensor:
    """Sixteen numbers side by side: of 64, i, i + 16, i + 32 and i + 48 share a uint16's bits.

    Args:
        numbers: uint8 [out, in], 0 to 15.

    Returns:
        uint8 [out, in / 2], contiguous, `in` rounded up to a multiple of 64.
    """
    padded = F.pad(numbers, (0, -numbers.shape[1] % CHUNK))
    first, second, third, fourth = padded.unflatten(1, (-1, 4, CHUNK // 4)).unbind(2)
    return torch.stack([first | second << 4, third | fourth << 4], -1).flatten(1).contiguous()


def unpack(packed: torch.Tensor) -> torch.Tensor:
    """uint8 [out, in]: the inverse of `pack`."""
    low, high = packed.unflatten(1, (-1, CHUNK // 4, 2)).unbind(-1)
    return torch.stack([low & 15, low >> 4, high & 15, high >> 4], 2).flatten(1)


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
        return pack(weight.numbers), pairs, qzeros.new_empty(0), bias

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
        rows = x.numel() // self.in_features
        known = self.in_features % CHUNK == 0 and fits(x, bias)
        if rows > MAX_ROWS or not known or not x.is_contiguous():
            return F.linear(
                x, self.dequantize(packed, pairs, x if known else None).to(x.dtype), bias
            )
        out = room((*x.shape[:-1], self.out_features), x.dtype)
        sizes = {"rows": rows, "width": self.in_features, "outputs": self.out_features}
        tensors = {"x": x, "weight": packed, "pairs": pairs, "bias": bias, "out": out}
        emit(LINEAR_W4, tensors, **sizes, group=self.group_size)
        return out

    def dequantize(
        self, packed: torch.Tensor, pairs: torch.Tensor, like: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The weight [out, in]: float32 by PyTorch, or in the dtype of `like` by an instruction."""
        if like is not None:
            out = room((self.out_features, self.in_features), like.dtype)
            sizes = {"width": self.in_features, "outputs": self.out_features}
            tensors = {"x": like, "weight": packed, "pairs": pairs, "out": out}
            emit(DEQUANTIZE_W4, tensors, **sizes, group=self.group_size)
            return out
        numbers = unpack(packed)[:, : self.in_features].float()
        scales, zeros = pairs.float()[..., None].unbind(2)
        groups = numbers.unflatten(1, (-1, self.group_size))
        return groups.sub_(zeros).mul_(scales).flatten(1)
