"""Linear layers and RMSNorm for the CPU device: PyTorch's own, called in the form that is fast.

Left out: tensor parallelism, which the CPU device refuses before it gets here.
"""

from typing import Any

import torch
import torch.nn.functional as F
from lmdeploy.pytorch.backends.linear import LinearImpl
from lmdeploy.pytorch.backends.norm import RMSNormImpl


class CpuLinear(LinearImpl):
    """x Wᵀ + b."""

    def forward(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        *parallel: Any,
        **more_parallel: Any,
    ) -> torch.Tensor:
        """x [..., in], weight [out, in], bias [out] → [..., out], in x's dtype."""
        if x.numel() != x.size(-1):
            return F.linear(x, weight, bias)
        # One row: a matrix-vector product beats bfloat16 matrix multiplication.
        out = torch.mv(weight, x.reshape(-1))
        out = out if bias is None else out + bias
        return out.view(*x.shape[:-1], weight.size(0))


class CpuRMSNorm(RMSNormImpl):
    """x / sqrt(mean(x²) + eps) · weight (Zhang and Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, eps: float) -> None:
        self.eps = eps

    def forward(
        self, x: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Normalize the last dimension of x, or of x + residual, then returned as well."""
        if residual is None:
            return F.rms_norm(x, weight.shape, weight, self.eps)
        residual = x + residual
        return F.rms_norm(residual, weight.shape, weight, self.eps), residual
