"""The source's rules of thumb, asked as questions that a run's own figures answer.

"Higher precision is better", "servers seldom quantize, the edge always does", "long texts want the
KV cache quantized": true on some machine, and perhaps not on this one.
"""

from labutils.ladder.decision import Texts
from labutils.ladder.judge import SIGNIFICANT, gains_speed, title
from labutils.ladder.rungs import BASELINE
from labutils.ladder.sentences import say, size
from labutils.ladder.summary import Entry, Summary
from labutils.texts import LANGUAGES


def questions(summary: Summary, tokens: int) -> list[tuple[Texts, Texts]]:
    """Questions with their answers; what was not measured is not asked.

    Args:
        summary: of a run.
        tokens: tokens in the KV cache whose memory the last question starts from.
    """
    baseline = summary.entry(BASELINE.name)
    others = [e for e in summary.rungs if e.status == "ok" and e.name != BASELINE.name]
    if baseline is None or baseline.status != "ok" or not others:
        return []
    found = _precision(others)
    counts = sorted({speed.concurrency for speed in baseline.speed})
    for key, concurrency in zip(("edge", "server"), [*counts[:1], *counts[1:][-1:]], strict=False):
        asked = say(f"question {key}", concurrency=concurrency)
        found.append((asked, _fastest(baseline, others, concurrency)))
    return found + _context(baseline, others, tokens)


def _precision(others: list[Entry]) -> list[tuple[Texts, Texts]]:
    tested = [(e, e.quality) for e in others if e.quality and e.quality.p_value is not None]
    if not tested:
        return []
    lossy = [e for e, q in tested if q.p_value < SIGNIFICANT and q.accuracy_change.value < 0]
    rest = [e for e, _ in tested if e not in lossy]
    names = {"lossy": _named(lossy), "rest": _named(rest)}
    return [(say("question precision"), say("answer precision", **names))]


def _fastest(baseline: Entry, others: list[Entry], concurrency: int) -> Texts:
    """Of the rungs that are faster than the baseline beyond the spread of their runs."""
    faster = [entry for entry in others if gains_speed(entry, baseline, concurrency)]
    if not faster:
        return say("answer none faster")

    def speed(entry: Entry) -> float:
        return entry.speed_at(concurrency).throughput.value

    best = max(faster, key=speed)
    now, before = speed(best), speed(baseline)
    ratio = f"{now / before:.2f}"
    return say("answer fastest", title=title(best.name), ratio=ratio, now=f"{now:.1f}")


def _context(baseline: Entry, others: list[Entry], tokens: int) -> list[tuple[Texts, Texts]]:
    """Tokens that each rung holds in the memory that the baseline takes with `tokens`."""
    if baseline.memory is None:
        return []
    room = baseline.memory.total(tokens)
    fitting = []
    for entry in others:
        if entry.memory:
            left = room - entry.memory.weights.value
            held = int(left / entry.memory.kv_per_token.value)
            fitting.append((entry, f"{held:,} ({held / tokens:.1f} ×)"))
    asked = say("question context", tokens=f"{tokens:,}", size=size(room))
    listed = {
        language: "; ".join(f"{title(entry.name)[language]} {held}" for entry, held in fitting)
        for language in LANGUAGES
    }
    return [(asked, say("answer context", listed=listed))] if fitting else []


def _named(entries: list[Entry]) -> Texts:
    none = say("none")
    return {
        language: ", ".join(title(entry.name)[language] for entry in entries) or none[language]
        for language in LANGUAGES
    }
