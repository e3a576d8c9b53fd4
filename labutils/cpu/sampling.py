"""Drawing the next token on the CPU, repeatably.

LMDeploy gives every request a seed and every token of it an offset. A counter-based generator
turns (seed, offset) into one uniform number, so the same seed repeats its tokens whatever else is
in the batch; its CUDA kernel works the same way with other numbers.
"""

import numpy as np
import torch
from lmdeploy.pytorch.backends.multinomial_sampling import MultinomialSamplingImpl


def uniform(seed: int, offset: int) -> float:
    """The number in [0, 1) that Philox (Salmon et al. 2011) draws for this seed and offset."""
    bits = np.random.Philox(key=seed % 2**64, counter=offset)
    return np.random.Generator(bits).random()


class CpuMultinomialSampling(MultinomialSamplingImpl):
    """One token per row from a probability distribution."""

    def forward(
        self,
        scores: torch.Tensor,
        seeds: torch.Tensor,
        offsets: torch.Tensor,
        indices: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Invert each row's cumulative distribution at its uniform number.

        Args:
            scores: [batch, candidates] probabilities.
            seeds, offsets: int64 [batch].
            indices: int64 [batch, candidates] token ids; None: the candidates' positions.

        Returns:
            int64 [batch] token ids.
        """
        cumulative = scores.double().cumsum(1)
        pairs = zip(seeds.tolist(), offsets.tolist(), strict=True)
        drawn = torch.tensor([uniform(seed, offset) for seed, offset in pairs])[:, None]
        # Scaling by the row's sum keeps the draw inside the row whatever rounding did to it.
        picked = torch.searchsorted(cumulative, drawn.double() * cumulative[:, -1:], right=True)
        picked = picked.clamp_(max=scores.size(1) - 1)
        return (picked if indices is None else indices.gather(1, picked)).view(-1)
