"""RMSNorm, rotary embedding and SiLU for the CPU device: one pass over the data each, where
LMDeploy's plain versions take up to six. Those are still there for what the instructions lack."""

from typing import Any

import torch
import torch.nn.functional as F
from lmdeploy.pytorch.backends.default.activation import DefaultSiluAndMulImpl
from lmdeploy.pytorch.backends.default.apply_rotary_emb import DefaultApplyRotaryEmbImpl
from lmdeploy.pytorch.backends.norm import RMSNormImpl

from labutils.cpu.kernels.instructions import RMS_NORM, ROTATE, SILU_AND_MULTIPLY
from labutils.cpu.recording import emit, fits, room


class CpuRMSNorm(RMSNormImpl):
    """x / sqrt(mean(x²) + eps) · weight (Zhang and Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def forward(
        self, x: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Normalize the last dimension of x, or of x + residual, then returned as well."""
        if x.dim() != 3 or not fits(x, weight, residual):
            return self.plain(x, weight, residual)
        out = room(x.shape, x.dtype)
        total = None if residual is None else room(x.shape, x.dtype)
        residual = None if residual is None else residual.contiguous()
        tensors = {"x": x, "weight": weight, "y": residual, "out": out, "sum": total}
        rows, heads, width = x.shape
        sizes = {"rows": rows, "heads": heads, "width": width, "scalar": self.eps}
        emit(RMS_NORM, tensors, **sizes, x_row=x.stride(0), x_head=x.stride(1))
        return out if total is None else (out, total)

    def plain(
        self, x: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor | None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """The same by PyTorch."""
        if residual is None:
            return F.rms_norm(x, weight.shape, weight, self.eps)
        residual = x + residual
        return F.rms_norm(residual, weight.shape, weight, self.eps), residual


class CpuApplyRotaryEmb(DefaultApplyRotaryEmbImpl):
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864), halves paired."""

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        inplace: bool = True,
        complex_mode: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn query and key, each [tokens, heads, head_dim], by cos and sin [tokens, head_dim]."""
        rows_fit = query.dim() == 3 and cos.dim() == 2 and fits(query, key, cos, sin)
        if not inplace or complex_mode or not rows_fit or cos.shape[1] != query.shape[2]:
            return super().forward(query, key, cos, sin, inplace, complex_mode)
        for x in (query, key):
            rows, heads, width = x.shape
            strides = {"x_row": x.stride(0), "x_head": x.stride(1)}
            strides |= {"y_row": cos.stride(0), "z_row": sin.stride(0)}
            tensors = {"x": x, "y": cos, "z": sin}
            emit(ROTATE, tensors, rows=rows, heads=heads, width=width, **strides)
        return query, key


class CpuSiluAndMul(DefaultSiluAndMulImpl):
    """silu(gate) · up, of gate and up side by side."""

    def forward(self, x: torch.Tensor, *unused: Any) -> torch.Tensor:
        """[..., n] of x [..., 2 n]."""
        if not x.is_contiguous() or not fits(x):
            return super().forward(x)
        *outer, both = x.shape
        out = room((*outer, both // 2), x.dtype)
        sizes = {"rows": x.numel() // both, "width": both // 2, "x_row": both}
        emit(SILU_AND_MULTIPLY, {"x": x, "out": out}, **sizes)
        return out
