"""What the figures say of one rung: good enough, too lossy, or not to be told.

A loss is *within* what is allowed when the one-sided confidence bound of the paired difference is,
*beyond* it when the other bound is, and unclear between. McNemar's test, at 5 %, decides whether
the sentence speaks of a loss or of "no difference shown".
"""

from labutils.ladder.decision import Texts, Thresholds, Verdict
from labutils.ladder.rungs import rung
from labutils.ladder.sentences import p_value, points, say
from labutils.ladder.stats import Flips
from labutils.ladder.summary import Entry
from labutils.texts import LANGUAGES

SAVING = 0.99
"""A rung is smaller if it takes less than this of the other's memory."""
SIGNIFICANT = 0.05
_WORDS = 200
"""Characters of an engine's message that a sentence bears."""


def title(name: str) -> Texts:
    """A rung's name within a sentence."""
    return say("baseline") if name == "baseline" else dict.fromkeys(LANGUAGES, rung(name).title)


def judge(entry: Entry, than: Entry, asked: Thresholds) -> Verdict:
    """The verdict on a rung.

    Args:
        entry: the rung, not the baseline.
        than: the rung that would be used without it; it has to be smaller or faster than that.
        asked: the thresholds.
    """
    if entry.status != "ok":
        return Verdict(entry.name, "did not run", _did_not_run(entry))
    verdict = _quality(entry, asked)
    if verdict.judgement != "accepted":
        return verdict
    if reason := too_slow(entry, asked):
        return Verdict(entry.name, "too slow", reason)
    if not _gains(entry, than, asked):
        reason = say("no saving", title=title(entry.name), than=title(than.name))
        return Verdict(entry.name, "no gain", reason)
    return verdict


def too_slow(entry: Entry, asked: Thresholds) -> Texts | None:
    """Why a rung is not fast enough; None if it is, or if no limit is set."""
    if asked.tpot is None:
        return None
    about = {"title": title(entry.name), "concurrency": asked.concurrency}
    speed = entry.speed_at(asked.concurrency)
    if speed is None:
        return say("speed unknown", **about)
    if speed.tpot.value <= asked.tpot:
        return None
    now, limit = (f"{1000 * seconds:.1f}" for seconds in (speed.tpot.value, asked.tpot))
    return say("too slow", **about, tpot=now, limit=limit)


def _did_not_run(entry: Entry) -> Texts:
    """With the engine's last words: of a traceback, the line that says what is wrong."""
    last = "".join(entry.message.strip().splitlines()[-1:]).rstrip(".")[:_WORDS]
    words = {"en": f": {last}" if last else "", "zh": f"：{last}" if last else ""}
    return say("did not run", title=title(entry.name), status=say(entry.status), words=words)


def _gains(entry: Entry, than: Entry, asked: Thresholds) -> bool:
    """Whether it is smaller or, beyond the spread of both, faster."""
    if entry.memory and than.memory:
        if entry.memory.total(asked.tokens) < SAVING * than.memory.total(asked.tokens):
            return True
    return gains_speed(entry, than, asked.concurrency)


def gains_speed(entry: Entry, than: Entry, concurrency: int) -> bool:
    """Whether even its slowest run made more tokens/s than the other's fastest."""
    now, before = entry.speed_at(concurrency), than.speed_at(concurrency)
    if now is None or before is None:
        return False
    slowest = now.throughput.value if now.throughput.low is None else now.throughput.low
    fastest = before.throughput.value if before.throughput.high is None else before.throughput.high
    return slowest > fastest


def _quality(entry: Entry, asked: Thresholds) -> Verdict:
    """Accepted, worse or unclear, by the answers alone."""
    counts = entry.quality.counts() if entry.quality else None
    if counts is None:
        reason = say("no informative item", title=title(entry.name))
        return Verdict(entry.name, "unclear", reason)
    bounds = counts.difference(2 * asked.confidence - 1)  # each of its ends is one-sided
    if bounds.low >= -asked.accuracy_loss:
        return Verdict(entry.name, "accepted", _accepted(entry.name, counts, bounds.low, asked))
    if bounds.high < -asked.accuracy_loss:
        return Verdict(entry.name, "worse", _said("worse", entry.name, counts, asked))
    more = counts.more_items(asked.accuracy_loss, asked.confidence)
    if more is None:
        reason = _said("unclear for ever", entry.name, counts, asked)
        return Verdict(entry.name, "unclear", reason)
    more = _rounded(more)
    reason = _said("unclear", entry.name, counts, asked, more=f"{more:,}")
    return Verdict(entry.name, "unclear", reason, more)


def _accepted(name: str, counts: Flips, low: float, asked: Thresholds) -> Texts:
    shown = counts.p_value < SIGNIFICANT
    if shown and counts.gained > counts.lost:
        return _said("better", name, counts, asked)
    key = "small loss" if shown else "no difference"
    return _said(key, name, counts, asked, bound=points(max(0.0, -low)))


def _said(key: str, name: str, counts: Flips, asked: Thresholds, **more: str) -> Texts:
    change = (counts.gained - counts.lost) / counts.items
    sure = f"{100 * asked.confidence:g}"
    return say(
        key,
        title=title(name),
        flips=say(
            "flips",
            gained=counts.gained,
            lost=counts.lost,
            items=counts.items,
            p=p_value(counts.p_value),
        ),
        change=f"{100 * change:+.1f}".replace("-", "−"),
        loss=points(-change),
        gain=points(change),
        allowed=points(asked.accuracy_loss),
        confidence={"en": f"{sure} %", "zh": f"{sure}%"},
        **more,
    )


def _rounded(items: int) -> int:
    """To two digits, upwards: the number rests on an estimate."""
    unit = 10 ** max(0, len(str(items)) - 2)
    return -(-items // unit) * unit
