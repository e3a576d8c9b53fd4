"""Linear layers of few rows, a decode step's, without PyTorch's overhead for each."""

from typing import Any

import torch
from lmdeploy.pytorch.backends.default.linear import DefaultLinearImpl

from labutils.cpu.kernels.instructions import LINEAR, MULTIPLE
from labutils.cpu.recording import emit, fits, is_recording, room

MAX_ROWS = 16
"""More rows than this are PyTorch's: its matrix product has the processor's bfloat16
instructions, which pay from about here on (measured)."""


class CpuLinear(DefaultLinearImpl):
    """LMDeploy's linear operator."""

    def forward(
        self,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        all_reduce: bool = False,
        **parallel: Any,
    ) -> torch.Tensor:
        """x [..., in] · weightᵀ [in, out] + bias [out]."""
        outputs, width = weight.shape
        rows = x.numel() // width
        fast = rows <= MAX_ROWS and width % MULTIPLE == 0 and fits(x, weight, bias)
        if not fast or not x.is_contiguous() or not weight.is_contiguous():
            if is_recording() and not all_reduce:
                return self.product(x, weight, bias)
            return super().forward(x, weight, bias, all_reduce, **parallel)
        out = room((*x.shape[:-1], outputs), x.dtype)
        tensors = {"x": x, "weight": weight, "bias": bias, "out": out}
        emit(LINEAR, tensors, rows=rows, width=width, outputs=outputs)
        return out

    def product(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """The same by PyTorch, into memory that recorded steps share."""
        out = room((*x.shape[:-1], len(weight)), x.dtype)
        flat = x.reshape(-1, x.shape[-1]), weight.T
        if bias is None:
            torch.mm(*flat, out=out.view(-1, len(weight)))
        else:
            torch.addmm(bias, *flat, out=out.view(-1, len(weight)))
        return out
