"""RMSNorm for the CPU device: PyTorch's fused one, where LMDeploy's plain version takes six passes
over the data. Every other layer is LMDeploy's own."""

import torch
import torch.nn.functional as F
from lmdeploy.pytorch.backends.norm import RMSNormImpl


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
