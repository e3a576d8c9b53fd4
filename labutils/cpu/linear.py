"""Linear layers of few rows, a decode step's, without PyTorch's overhead for each."""

from typing import Any

import torch
from lmdeploy.pytorch.backends.default.linear import DefaultLinearImpl

from labutils.cpu.instructions import LINEAR
from labutils.cpu.recording import emit, fits

MAX_ROWS = 8
"""More rows than this are PyTorch's: its matrix product has the processor's bfloat16
instructions, which pay from about here on (measured)."""
MULTIPLE = 16
"""The instruction reads so many inputs at once."""


class CpuLinear(DefaultLinearImpl):
    """LMDeploy's linear operator."""

    def forward(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        *parallel: Any,
        **options: Any,
    ) -> torch.Tensor:
        """x [..., in] · weightᵀ [in, out] + bias [out]."""
        outputs, width = weight.shape
        rows = x.numel() // width
        fast = rows <= MAX_ROWS and width % MULTIPLE == 0 and fits(x, weight, bias)
        if not fast or not x.is_contiguous() or not weight.is_contiguous():
            return super().forward(x, weight, bias, *parallel, **options)
        out = torch.empty(*x.shape[:-1], outputs, dtype=x.dtype)
        tensors = {"x": x, "weight": weight, "bias": bias, "out": out}
        emit(LINEAR, tensors, rows=rows, width=width, outputs=outputs, x_row=width)
        return out
