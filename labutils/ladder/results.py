"""What one rung's measurement left: figures, answers, and under which conditions they were made.

One JSON file a rung, written whole or not at all, read back only if it is what it claims to be.
Not here: measuring, and comparing with the baseline (`summary`).
"""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from labutils.ladder.records import read_record, write_record
from labutils.ladder.stats import Estimate

Status = Literal["ok", "unsupported", "crashed", "timeout", "out of memory"]
Origin = Literal["measured", "published", "predicted"]
SETTLED = ("ok", "unsupported")
"""Statuses that measuring again would not change."""
FORMAT = "lmdeploy-lab ladder rung 1"


@dataclass(frozen=True)
class Figure:
    """A number with its unit, where it comes from and, where there is one, its interval."""

    value: float
    unit: str
    """Such as 'bytes', 'seconds', 'tokens/s', 'nats'; 'share' is a fraction of 1."""
    origin: Origin = "measured"
    low: float | None = None
    """With `high`: a 95 % interval, of a speed the slowest and fastest run."""
    high: float | None = None
    source: str = ""
    """Of a published figure."""

    def __post_init__(self) -> None:
        numbers = [n for n in (self.low, self.value, self.high) if n is not None]
        if not all(map(math.isfinite, numbers)) or numbers != sorted(numbers):
            raise ValueError(f"no figure: {self.low}, {self.value}, {self.high}")
        if (self.origin == "published") != bool(self.source):
            raise ValueError("a published figure names its source, and no other does")

    @classmethod
    def of(cls, estimate: Estimate, unit: str) -> "Figure":
        """A measured figure with its interval."""
        return cls(estimate.value, unit, low=estimate.low, high=estimate.high)


@dataclass(frozen=True)
class Answer:
    """What a rung replied to an item, and whether that was right; see `items.Item`."""

    id: str
    category: str
    language: str
    question: str
    reply: str
    right: bool


@dataclass(frozen=True)
class Quality:
    """Distances from the baseline (None in the baseline itself), perplexity, and the answers."""

    kl_mean: Figure | None = None
    kl_p99: Figure | None = None
    top1_agreement: Figure | None = None
    perplexity: Figure | None = None
    perplexity_ratio: Figure | None = None
    """The rung's perplexity / the baseline's."""
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True)
class Memory:
    """The three numbers that a process's total hides."""

    weights: Figure
    """Bytes."""
    kv_per_token: Figure
    """Bytes of KV cache for each token of context."""
    context: Figure
    """Tokens that the KV cache has room for."""

    def total(self, tokens: int) -> float:
        """Bytes of weights and of the KV cache of `tokens` tokens."""
        return self.weights.value + tokens * self.kv_per_token.value


@dataclass(frozen=True)
class Speed:
    """Of one number of requests at a time."""

    concurrency: int
    ttft: Figure
    """Seconds to the first token."""
    tpot: Figure
    """Seconds for each token after the first."""
    throughput: Figure
    """Tokens/s of all requests together."""
    limit_share: Figure | None = None
    """How much of what the machine's memory or arithmetic allows was reached."""


@dataclass(frozen=True)
class Conditions:
    """What must be the same for a measurement to stand for another."""

    versions: dict[str, str] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the model, the items and the texts."""
    machine: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    """Whatever else decides the figures: dtype, numbers of items and tokens, limits."""
    seeds: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One rung, measured or not."""

    name: str
    """Of `rungs.RUNGS`."""
    status: Status
    message: str
    """Where the status is not ok: the engine's own words."""
    model: str
    conditions: Conditions
    command: str
    started: str
    """ISO 8601, with the time zone."""
    seconds: float
    quality: Quality | None = None
    memory: Memory | None = None
    predicted: Memory | None = None
    """The same three numbers, by arithmetic, before the engine started."""
    speed: tuple[Speed, ...] = ()
    format: Literal["lmdeploy-lab ladder rung 1"] = FORMAT


def fingerprint(name: str, conditions: Conditions) -> str:
    """Sixteen hexadecimal digits that change with the rung and with every condition."""
    text = json.dumps([name, asdict(conditions)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def changes(before: Conditions, now: Conditions) -> list[str]:
    """Why a rung has to be measured again: 'versions: lmdeploy 0.17.0, now 0.18.0'."""
    return list(_changes(asdict(before), asdict(now)))


def _changes(before: dict[str, dict], now: dict[str, dict]) -> Iterator[str]:
    for part in now:
        for key in sorted(before[part].keys() | now[part].keys()):
            was, is_now = (each[part].get(key, "none") for each in (before, now))
            if was != is_now:
                yield f"{part}: {key} {was}, now {is_now}"


def reusable(path: Path, name: str, conditions: Conditions) -> Result | None:
    """The result in this file, if it is this rung's, under these conditions and settled.

    Raises:
        LabError: there is a file, and it is damaged or no rung's result.
    """
    if not path.exists():
        return None
    found = read(path)
    same = fingerprint(found.name, found.conditions) == fingerprint(name, conditions)
    return found if same and found.status in SETTLED else None


def write(path: Path, result: Result) -> None:
    """Write a rung's file, all of it or nothing."""
    write_record(path, result)


def read(path: Path) -> Result:
    """The result in a rung's file.

    Raises:
        LabError: it cannot be read, is damaged, or is something else.
    """
    return read_record(path, Result, FORMAT)
