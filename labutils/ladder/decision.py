"""What a student sets, and what comes of it: thresholds, verdicts and the decision, as data."""

from dataclasses import dataclass
from typing import Literal

from labutils.errors import LabError

Texts = dict[str, str]
"""The same sentences in each language: {'en': …, 'zh': …}."""
Outcome = Literal[
    "quantize", "enough", "go back", "no gain", "cannot tell", "none fits", "nothing else ran"
]
Judgement = Literal[
    "accepted",
    "worse",
    "unclear",
    "too slow",
    "no gain",
    "did not run",
    "not reached",
    "would do",
]


@dataclass(frozen=True)
class Thresholds:
    """What a rung has to keep; None does not ask for it.

    Raises:
        LabError: a value is out of its range.
    """

    accuracy_loss: float = 0.03
    """Share of right answers that may be lost: 0.03 is 3 points of 100."""
    confidence: float = 0.95
    """That the loss stays below it; 0.5 goes by the measured value, whatever its error."""
    tokens: int = 8192
    """Tokens in the KV cache at once: requests × their length."""
    memory_bytes: float | None = None
    """Budget for weights and the KV cache of `tokens`."""
    tpot: float | None = None
    """Longest time for each token after the first, in seconds, at `concurrency`."""
    concurrency: int = 1
    least_accuracy: float | None = None
    """Share of right answers that the baseline has to reach."""

    def __post_init__(self) -> None:
        ranges = {
            "accuracy_loss": (0, 1, "a share such as 0.03"),
            "confidence": (0.5, 0.999, "from 0.5 to 0.999"),
            "tokens": (1, None, "1 or more"),
            "memory_bytes": (1, None, "a number of bytes"),
            "tpot": (1e-9, None, "a number of seconds"),
            "concurrency": (1, None, "1 or more"),
            "least_accuracy": (0, 1, "a share such as 0.4"),
        }
        for name, (low, high, hint) in ranges.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= (value if high is None else high):
                raise LabError(f"The threshold {name} is {value}: give it {hint}.")


@dataclass(frozen=True)
class Verdict:
    """What the rule says of one rung, and why."""

    rung: str
    judgement: Judgement
    reason: Texts
    more_items: int | None = None
    """Of an unclear one: about how many more items would tell; None if no number would."""


@dataclass(frozen=True)
class Decision:
    """The rule's outcome."""

    outcome: Outcome
    rung: str | None
    """What to use, for now if the outcome is 'cannot tell'; None if nothing fits."""
    reasons: Texts
    """A paragraph."""
    verdicts: tuple[Verdict, ...]
    """One for each rung that was tried, in the ladder's order, the baseline apart."""
    left_out: tuple[str, ...]
    """Categories that say nothing about this model."""
    thresholds: Thresholds
    more_items: int | None = None
