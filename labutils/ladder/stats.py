"""How sure a figure is: means over tokens, shares, and the paired test of answers.

Two kinds of figures, two kinds of interval:

- Means over tokens (KL, cross-entropy, agreement). Tokens of one passage resemble each other, so
  the passage counts as the unit: standard error clustered by passage (Miller, "Adding Error Bars to
  Evals", arXiv 2411.00640, section 2.2, with Student's t for few passages). The same data always
  give the same interval, and 20 passages are enough for it; a bootstrap of so few is too narrow.
- Answers that are right or wrong, of the same items with and without quantization: McNemar's exact
  test, and the interval of Agresti and Min (Statistics in Medicine 24, 2005, 729-740), which keeps
  its promise for few items and few flips.

Left out: corrections for looking at five rungs at once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

UPPER = 0.975
"""The quantile at which a two-sided interval of 95 % ends."""
POWER = 0.8
"""Chance that the items asked for will settle a question: the custom in planning a study."""


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, 95 % unless a function says otherwise, in the value's unit."""

    value: float
    standard_error: float
    low: float
    high: float
    count: int
    """Tokens or items behind it."""

    def exp(self) -> "Estimate":
        """Of the exponential: the ends exactly, the standard error by the delta method."""
        value = math.exp(self.value)
        ends = math.exp(self.low), math.exp(self.high)
        return Estimate(value, value * self.standard_error, *ends, self.count)


# --- means over tokens ---------------------------------------------------------------------------


def mean(passages: Sequence[ArrayLike]) -> Estimate:
    """The mean over all tokens of all passages.

    SE = √(G/(G−1) Σ (total − mean × count)²) / Σ count over G passages: the clustered standard
    error. The interval is Student's t with G − 1 degrees of freedom.

    Args:
        passages: for each passage, one value a token, [tokens].

    Raises:
        ValueError: fewer than two passages, or an empty or not finite one.
    """
    arrays = [np.asarray(passage, np.float64) for passage in passages]
    sums, sizes = (np.array([of(a) for a in arrays], np.float64) for of in (np.sum, np.size))
    if len(sums) < 2 or (sizes < 1).any():
        raise ValueError("a mean with its error takes two passages or more, none of them empty")
    if not np.isfinite(sums).all():
        raise ValueError("a passage holds values that are not finite")
    value = sums.sum() / sizes.sum()
    spread = ((sums - value * sizes) ** 2).sum() * len(sums) / (len(sums) - 1)
    error = math.sqrt(spread) / sizes.sum()
    half = stats.t.ppf(UPPER, len(sums) - 1) * error
    ends = float(value - half), float(value + half)
    return Estimate(float(value), float(error), *ends, int(sizes.sum()))


def share(passages: Sequence[ArrayLike]) -> Estimate:
    """The share of tokens for which something holds, such as "the same token comes first".

    Wilson's interval, which stays within 0 and 1 and has a width even when all tokens agree, with
    as many independent tokens as would have the clustered standard error (all of them if nothing
    varies, since then nothing shows how far they depend on each other).

    Args:
        passages: for each passage, one bool a token, [tokens].
    """
    found = mean(passages)
    variance = found.value * (1 - found.value)
    independent = variance / found.standard_error**2 if found.standard_error else found.count
    low, high = _wilson(found.value, min(independent, found.count))
    return Estimate(found.value, found.standard_error, low, high, found.count)


def accuracy(right: Sequence[bool]) -> Estimate:
    """The share of items answered right, with Wilson's interval; items are independent.

    Raises:
        ValueError: there is no item.
    """
    if not len(right):
        raise ValueError("there are no items")
    value = sum(right) / len(right)
    error = math.sqrt(value * (1 - value) / len(right))
    return Estimate(value, error, *_wilson(value, len(right)), len(right))


def _wilson(value: float, count: float) -> tuple[float, float]:
    """E. B. Wilson, Journal of the American Statistical Association 22 (1927), 209-212."""
    z = stats.norm.ppf(UPPER)
    centre = value + z * z / (2 * count)
    half = z * math.sqrt(value * (1 - value) / count + z * z / (4 * count * count))
    low, high = ((centre + sign * half) / (1 + z * z / count) for sign in (-1, 1))
    # Rounding can leave an end of 6e-18 beside a value of 0.
    return min(value, max(0.0, float(low))), max(value, min(1.0, float(high)))


# --- answers, right or wrong ---------------------------------------------------------------------


@dataclass(frozen=True)
class Flips:
    """How the same items were answered by the baseline and by a rung."""

    items: int
    gained: int
    """Wrong in the baseline, right in the rung."""
    lost: int

    @property
    def p_value(self) -> float:
        """McNemar's exact test, two-sided: were gain and loss equally likely, how often would they
        differ this much? (McNemar, Psychometrika 12, 1947, 153-157, as an exact sign test.)"""
        flips = self.gained + self.lost
        return float(stats.binomtest(self.lost, flips, 0.5).pvalue) if flips else 1.0

    def difference(self, confidence: float = 0.95) -> Estimate:
        """The rung's accuracy minus the baseline's, from −1 to 1, with a two-sided interval.

        The interval is that of Agresti and Min: Wald's after half an item is added to each of the
        four outcomes. So it has a width even where nothing flipped, about ±2/items.
        """
        centre, error = self._adjusted()
        half = float(stats.norm.ppf((1 + confidence) / 2)) * error
        value = (self.gained - self.lost) / self.items
        ends = max(-1.0, centre - half), min(1.0, centre + half)
        return Estimate(value, error, *ends, self.items)

    def more_items(self, allowed: float, confidence: float = 0.95) -> int | None:
        """How many more items would settle whether the loss is above or below `allowed`.

        Items that flip like these are assumed: N = ((z_c + z_power) σ / (difference + allowed))²
        with the variance σ² of one item's difference, as for McNemar's test (Miettinen, Biometrics
        24, 1968, 339-352), one-sided at `confidence`, with 80 % power.

        Returns:
            0 if these items are enough already; None if a million would not be.
        """
        centre, error = self._adjusted()
        distance = abs(centre + allowed)
        quantiles = stats.norm.ppf(confidence) + stats.norm.ppf(POWER)
        sigma = error * math.sqrt(self.items + 2)
        needed = (max(0.0, quantiles) * sigma / distance) ** 2 if distance else math.inf
        return max(0, math.ceil(needed) - self.items) if needed < 1e6 else None

    def _adjusted(self) -> tuple[float, float]:
        """Difference and standard error after half an item more in each of the four outcomes."""
        if self.items < 1 or self.gained + self.lost > self.items:
            raise ValueError(f"{self} is impossible")
        items = self.items + 2
        centre = (self.gained - self.lost) / items
        return centre, math.sqrt((self.gained + self.lost + 1) / items - centre**2) / math.sqrt(
            items
        )


def flips(baseline: Sequence[bool], rung: Sequence[bool]) -> Flips:
    """Count how the verdicts on the same items, in the same order, differ."""
    pairs = list(zip(baseline, rung, strict=True))
    gained = sum(after and not before for before, after in pairs)
    lost = sum(before and not after for before, after in pairs)
    return Flips(len(pairs), gained, lost)
