"""AWQ: which weights shall round finely.

Rounding moves all weights of a group by up to half a scale, but the output suffers most where a
weight meets a large input. AWQ (Lin et al. 2023, arXiv 2306.00978) multiplies such columns by a
factor before rounding, and divides what makes the input, the norm's weight or the rows of the
layer before, by as much: the model stays the same, and the columns round more finely.

LMDeploy's factor also looks at the weights themselves. Its `ratio` is 0.5; with --search-scale it
tries 0, 0.05 … 0.95 on each block and keeps what changes the block's output least. Left out: that
search, and where in a model the factors go (`tests/contract/test_auto_awq.py` does it for a Llama).
"""

import torch

from labutils.awq.numbers import groups_of


def smoothing_scales(
    inputs: torch.Tensor, weight: torch.Tensor, group_size: int, ratio: float = 0.5
) -> torch.Tensor:
    """The factor for each input: inputs^ratio / relative weight^(1 − ratio).

    A common factor would cancel; LMDeploy divides by the geometric mean of the largest and the
    smallest, which keeps the numbers in range.

    Args:
        inputs: [in], each input's size over the calibration text: the largest absolute value
            (with --search-scale, the mean).
        weight: [out, in], of all the layers that read this input, one below the other.
        group_size: inputs that share a scale.

    Returns:
        [in] in the weight's dtype. The relative weight is the mean, over a column, of
        |weight| / largest |weight| of its group.
    """
    sizes = groups_of(weight, group_size).abs()
    relative = (sizes / sizes.amax(-1, keepdim=True).clamp(min=1e-4)).flatten(1).mean(0)
    divisor = relative.pow(1 - ratio)
    return (inputs.to(weight.dtype).pow(ratio) / divisor.clamp(min=1e-4)).clamp(min=1e-4)
