"""All rungs of a run side by side: each compared with the baseline, answer by answer.

`summary.json` is what scripts, the report and the decision read. Not here: measuring (`results`
are what it left), and deciding (`decide`).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labutils.errors import LabError
from labutils.ladder.decision import Decision
from labutils.ladder.records import read_record, write_record
from labutils.ladder.results import (
    Answer,
    Conditions,
    Figure,
    Memory,
    Quality,
    Result,
    Speed,
    Status,
    fingerprint,
)
from labutils.ladder.rungs import BASELINE, rung
from labutils.ladder.stats import Flips, accuracy, flips

INFORMATIVE = (0.30, 0.90)
"""Below, a model mostly guesses; above, hardly an item can get better or worse."""
FORMAT = "lmdeploy-lab ladder summary 1"


@dataclass(frozen=True)
class Category:
    """Items of one kind and language, answered by the baseline and by a rung."""

    name: str
    """Such as 'knowledge (en)'."""
    items: int
    baseline_right: int
    gained: int
    lost: int
    informative: bool
    """Whether the baseline's accuracy in it is 30 to 90 %."""


@dataclass(frozen=True)
class Flip:
    """An item that one of the two answered right and the other wrong."""

    id: str
    category: str
    question: str
    baseline_reply: str
    reply: str
    right: bool
    """The rung's verdict; the baseline's is the other one."""


@dataclass(frozen=True)
class Compared:
    """A rung's quality; accuracy and test are over the informative categories alone."""

    kl_mean: Figure | None
    kl_p99: Figure | None
    top1_agreement: Figure | None
    perplexity: Figure | None
    perplexity_ratio: Figure | None
    accuracy: Figure | None
    accuracy_change: Figure | None
    """The rung's accuracy − the baseline's, a share with its paired 95 % interval."""
    p_value: float | None
    """McNemar's exact test."""
    categories: tuple[Category, ...]
    flips: tuple[Flip, ...]

    def counts(self) -> Flips | None:
        """Flips over the informative categories; None if there is no such category."""
        kept = [category for category in self.categories if category.informative]
        if not kept:
            return None
        sums = [sum(getattr(c, name) for c in kept) for name in ("items", "gained", "lost")]
        return Flips(*sums)


@dataclass(frozen=True)
class Entry:
    """One rung in the summary; see `results.Result`."""

    name: str
    status: Status
    message: str
    quality: Compared | None
    memory: Memory | None
    predicted: Memory | None
    speed: tuple[Speed, ...]
    fingerprint: str
    command: str
    started: str
    seconds: float

    def speed_at(self, concurrency: int) -> Speed | None:
        """What was measured with so many requests at a time."""
        return next((each for each in self.speed if each.concurrency == concurrency), None)


@dataclass(frozen=True)
class Summary:
    """A run of the ladder."""

    model: str
    conditions: Conditions
    """Of the baseline, or of the first rung if there is none."""
    rungs: tuple[Entry, ...]
    decision: Decision | None = None
    format: Literal["lmdeploy-lab ladder summary 1"] = FORMAT

    def entry(self, name: str) -> Entry | None:
        """The rung of this name, if it was tried."""
        return next((each for each in self.rungs if each.name == name), None)


def summarise(results: Sequence[Result]) -> Summary:
    """Compare every rung that ran with the baseline; the decision is left open.

    Raises:
        LabError: there are no results, or a rung answered other items than the baseline.
    """
    if not results:
        raise LabError("There is no rung to summarise: run lab ladder run first.")
    ordered = sorted(results, key=lambda each: rung(each.name).order)
    first = ordered[0]
    baseline = first.quality if first.name == BASELINE.name else None
    entries = tuple(_entry(result, baseline) for result in ordered)
    return Summary(first.model, first.conditions, entries)


def write(path: Path, summary: Summary) -> None:
    """Write `summary.json`, all of it or nothing."""
    write_record(path, summary)


def read(path: Path) -> Summary:
    """A summary from its file.

    Raises:
        LabError: it cannot be read, is damaged, or is something else.
    """
    return read_record(path, Summary, FORMAT)


def _entry(result: Result, baseline: Quality | None) -> Entry:
    return Entry(
        name=result.name,
        status=result.status,
        message=result.message,
        quality=_compared(result, baseline) if result.quality else None,
        memory=result.memory,
        predicted=result.predicted,
        speed=result.speed,
        fingerprint=fingerprint(result.name, result.conditions),
        command=result.command,
        started=result.started,
        seconds=result.seconds,
    )


def _compared(result: Result, baseline: Quality | None) -> Compared:
    quality = result.quality
    pairs = _pairs(result, baseline.answers if baseline else ())
    categories = _categories(pairs)
    kept = {category.name for category in categories if category.informative}
    of_kept = [pair for pair in pairs if _category(pair[0]) in kept]
    right = [after.right for _, after in of_kept]
    found = flips([before.right for before, _ in of_kept], right)
    return Compared(
        kl_mean=quality.kl_mean,
        kl_p99=quality.kl_p99,
        top1_agreement=quality.top1_agreement,
        perplexity=quality.perplexity,
        perplexity_ratio=quality.perplexity_ratio,
        accuracy=Figure.of(accuracy(right), "share") if kept else None,
        accuracy_change=Figure.of(found.difference(), "share") if kept else None,
        p_value=found.p_value if kept else None,
        categories=categories,
        flips=tuple(_flip(*pair) for pair in pairs if pair[0].right != pair[1].right),
    )


def _pairs(result: Result, before: Sequence[Answer]) -> list[tuple[Answer, Answer]]:
    """The baseline's answer beside the rung's, in the baseline's order."""
    after = {answer.id: answer for answer in result.quality.answers}
    if before and after.keys() != {answer.id for answer in before}:
        raise LabError(
            f"{result.name} answered other items than the baseline: run the ladder again with "
            "another --out."
        )
    return [(answer, after[answer.id]) for answer in before]


def _category(answer: Answer) -> str:
    return f"{answer.category} ({answer.language})"


def _categories(pairs: Sequence[tuple[Answer, Answer]]) -> tuple[Category, ...]:
    by_name = defaultdict(list)
    for before, after in pairs:
        by_name[_category(before)].append((before.right, after.right))
    return tuple(_counted(name, *zip(*verdicts, strict=True)) for name, verdicts in by_name.items())


def _counted(name: str, before: Sequence[bool], after: Sequence[bool]) -> Category:
    found, right = flips(before, after), sum(before)
    low, high = INFORMATIVE
    informative = low <= right / found.items <= high
    return Category(name, found.items, right, found.gained, found.lost, informative)


def _flip(before: Answer, after: Answer) -> Flip:
    return Flip(
        before.id, _category(before), before.question, before.reply, after.reply, after.right
    )
