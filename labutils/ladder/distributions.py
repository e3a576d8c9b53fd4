"""How far a rung's next-token distributions are from the baseline's, token by token.

From the logits of one prefill each: KL divergence, agreement of the first choice, cross-entropy,
perplexity. Everything is computed in float64, a few rows at a time, so that logits may lie in a
NumPy memory map. Left out: getting logits out of an engine, and an interval for the 99th
percentile (the tokens behind it are too few).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from labutils.ladder.stats import Estimate, mean

Floats = NDArray[np.float64]
_ROWS = 64
"""Rows of logits in float64 at once: 25 MB of a vocabulary of 49,152."""


def kl_divergence(baseline: ArrayLike, rung: ArrayLike) -> Floats:
    """KL(baseline ‖ rung) of each token, in nats: Σ p (ln p − ln q).

    Args:
        baseline: logits of the baseline, [tokens, vocabulary]; any floating dtype.
        rung: logits of the rung for the same tokens.

    Returns:
        float64 [tokens], never below 0.
    """
    p_logits, q_logits = _pair(baseline, rung)
    divergences = np.empty(len(p_logits))
    for start in range(0, len(p_logits), _ROWS):
        rows = slice(start, start + _ROWS)
        log_p, log_q = _log_softmax(p_logits[rows]), _log_softmax(q_logits[rows])
        p = np.exp(log_p)
        # A token that the model rules out (logit -inf) adds nothing, by continuity.
        gaps = np.subtract(log_p, log_q, out=np.zeros_like(p), where=p > 0)
        divergences[rows] = (p * gaps).sum(-1)
    return np.maximum(divergences, 0)  # rounding can leave -1e-17


def top1_agrees(baseline: ArrayLike, rung: ArrayLike) -> NDArray[np.bool_]:
    """Whether the same token comes first in both, for each token, [tokens]."""
    p_logits, q_logits = _pair(baseline, rung)
    return p_logits.argmax(-1) == q_logits.argmax(-1)


def cross_entropy(logits: ArrayLike, targets: ArrayLike) -> Floats:
    """−ln p of the token that followed, in nats.

    Args:
        logits: [tokens, vocabulary].
        targets: the id that followed each, [tokens].

    Returns:
        float64 [tokens].
    """
    array, ids = np.asanyarray(logits), np.asarray(targets)
    losses = np.empty(len(array))
    for start in range(0, len(array), _ROWS):
        rows = slice(start, start + _ROWS)
        chosen = np.take_along_axis(_log_softmax(array[rows]), ids[rows, None], axis=-1)
        losses[rows] = -chosen[:, 0]
    return losses


def perplexity(losses: Sequence[ArrayLike]) -> Estimate:
    """exp of the mean cross-entropy.

    Args:
        losses: for each passage, the cross-entropy of each token in nats, [tokens].
    """
    return mean(losses).exp()


def perplexity_ratio(baseline: Sequence[ArrayLike], rung: Sequence[ArrayLike]) -> Estimate:
    """The rung's perplexity as a multiple of the baseline's, paired token by token.

    Both read the same tokens, so what makes a text hard cancels out: this interval is far narrower
    than those of the two perplexities suggest.
    """
    pairs = zip(baseline, rung, strict=True)
    return mean([np.asarray(q, np.float64) - np.asarray(p, np.float64) for p, q in pairs]).exp()


def percentile_99(passages: Sequence[ArrayLike]) -> float:
    """The value that 99 of 100 tokens stay below."""
    return float(np.quantile(np.concatenate([np.asarray(p, np.float64) for p in passages]), 0.99))


def _pair(baseline: ArrayLike, rung: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asanyarray(baseline), np.asanyarray(rung)
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(f"logits of the same tokens, not {first.shape} and {second.shape}")
    return first, second


def _log_softmax(logits: np.ndarray) -> Floats:
    return special.log_softmax(logits.astype(np.float64), axis=-1)
