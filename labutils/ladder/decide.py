"""Which rung to use: the source's four steps with its rule of going back, on measured figures.

Step 1 is the baseline; steps 2 to 4 add KV cache quantization, W4A16, and both. A step is taken if
one of its rungs keeps the accuracy asked for, with the confidence asked for. The first step of
which none does ends the way, and what was good before it is used. So the rule never looks past a
step that fails, though it says so if a later rung would have done.

Where the source says nothing:

- A rung that could not run, is too slow, or is neither smaller nor faster than what there is, is
  passed over; the way goes on.
- With a memory budget, the first good rung that fits is enough; one that lies beyond a failed
  step, too, if no other does.
- Categories in which the baseline gets under 30 % or over 90 % right are not counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from labutils.ladder.decision import Decision, Outcome, Texts, Thresholds, Verdict
from labutils.ladder.judge import judge, title, too_slow
from labutils.ladder.rungs import BASELINE, rung
from labutils.ladder.sentences import paragraph, points, say, size
from labutils.ladder.summary import Entry, Summary

_LAST_STEP = 4


@dataclass(frozen=True)
class _Way:
    """How far the rule went."""

    accepted: tuple[Entry, ...]
    verdicts: tuple[Verdict, ...]
    failed: tuple[Verdict, ...]
    """Verdicts of the step that ended it, if one did."""

    @property
    def unclear(self) -> tuple[Verdict, ...]:
        """Those of the last step that more items might make good."""
        return tuple(each for each in self.failed if each.judgement == "unclear")


def decide(summary: Summary, thresholds: Thresholds | None = None) -> Decision:
    """The rung that the figures of a run speak for, with reasons in English and Chinese."""
    asked = thresholds or Thresholds()
    baseline = summary.entry(BASELINE.name)
    if baseline is None or baseline.status != "ok":
        why = say("outcome baseline did not run")
        return Decision("none fits", None, why, (), (), asked)
    left_out = _left_out(baseline)
    if why := _too_weak(baseline, asked):
        return Decision("none fits", None, why, (), left_out, asked)
    way = _walk(baseline, summary.rungs, asked)
    outcome, chosen, why = _choose(way, summary, asked)
    added = [*_about(chosen, baseline, way, asked), *_remarks(outcome, way)]
    if left_out:
        added.append(say("left out", names=", ".join(left_out)))
    return Decision(
        outcome=outcome,
        rung=chosen.name if chosen else None,
        reasons=paragraph(why, *added),
        verdicts=way.verdicts,
        left_out=left_out,
        thresholds=asked,
        more_items=_fewest(way.verdicts) if outcome == "cannot tell" else None,
    )


def _left_out(baseline: Entry) -> tuple[str, ...]:
    categories = baseline.quality.categories if baseline.quality else ()
    return tuple(category.name for category in categories if not category.informative)


def _too_weak(baseline: Entry, asked: Thresholds) -> Texts | None:
    """Step 1: whether the model as it is falls short of what is asked for."""
    found = baseline.quality.accuracy if baseline.quality else None
    if asked.least_accuracy is None or found is None or found.value >= asked.least_accuracy:
        return None
    low, high = points(found.low or 0), points(found.high or 1)
    least = points(asked.least_accuracy)
    accuracy = points(found.value)
    return say("outcome baseline too weak", accuracy=accuracy, low=low, high=high, least=least)


def _walk(baseline: Entry, entries: Sequence[Entry], asked: Thresholds) -> _Way:
    """Steps 2 to 4, until one fails."""
    accepted, verdicts, failed = [baseline], [], ()
    for step in range(2, _LAST_STEP + 1):
        judged = []
        for entry in entries:
            if rung(entry.name).step != step:
                continue
            verdict = judge(entry, accepted[-1], asked)
            if failed:
                verdict = _not_reached(verdict)
            elif verdict.judgement == "accepted":
                accepted.append(entry)
            judged.append(verdict)
        verdicts += judged
        failed = failed or _failed(judged)
    return _Way(tuple(accepted), tuple(verdicts), failed)


def _failed(judged: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """The verdicts of a step in which every rung that ran fails by its quality; else none."""
    ran = tuple(each for each in judged if each.judgement != "did not run")
    return ran if all(each.judgement in ("worse", "unclear") for each in ran) else ()


def _not_reached(verdict: Verdict) -> Verdict:
    if verdict.judgement == "did not run":
        return verdict
    good = verdict.judgement == "accepted"
    reason = say("not reached but good" if good else "not reached", title=title(verdict.rung))
    return Verdict(verdict.rung, "would do" if good else "not reached", reason)


def _choose(way: _Way, summary: Summary, asked: Thresholds) -> tuple[Outcome, Entry | None, Texts]:
    """Outcome, rung and first sentence."""
    fast = [entry for entry in way.accepted if not too_slow(entry, asked)]
    if asked.memory_bytes is not None:
        return _first_that_fits(fast, way, summary, asked)
    if not fast:
        return "none fits", None, say("outcome none fits")
    outcome = _outcome(fast[-1], way)
    return outcome, fast[-1], say(f"outcome {outcome}", title=title(fast[-1].name))


def _outcome(last: Entry, way: _Way) -> Outcome:
    """What to call it that the way ends with this rung."""
    if way.failed:
        return "cannot tell" if way.unclear else "go back"
    if last.name != BASELINE.name:
        return "quantize"
    ran = [each for each in way.verdicts if each.judgement != "did not run"]
    return "no gain" if ran else "nothing else ran"


def _first_that_fits(
    good: Sequence[Entry], way: _Way, summary: Summary, asked: Thresholds
) -> tuple[Outcome, Entry | None, Texts]:
    """As `_choose`, with a memory budget."""
    budget = size(asked.memory_bytes)
    judged = {
        kind: [summary.entry(v.rung) for v in way.verdicts if v.judgement == kind]
        for kind in ("would do", "unclear")
    }
    if entry := _fitting(good, asked):
        enough = entry.name == BASELINE.name
        key = "outcome enough" if enough else "outcome quantize to fit"
        sentence = say(key, title=title(entry.name), budget=budget)
        return ("enough" if enough else "quantize"), entry, sentence
    if entry := _fitting(judged["would do"], asked):
        sentence = say("outcome beyond the rule", title=title(entry.name), budget=budget)
        return "quantize", entry, sentence
    if _fitting(judged["unclear"], asked):
        return "cannot tell", None, say("outcome cannot tell what fits", budget=budget)
    return "none fits", None, say("outcome none fits")


def _fitting(entries: Sequence[Entry], asked: Thresholds) -> Entry | None:
    """The first that is known to fit into the budget."""
    for entry in entries:
        if entry.memory and entry.memory.total(asked.tokens) <= asked.memory_bytes:
            return entry
    return None


def _about(chosen: Entry | None, baseline: Entry, way: _Way, asked: Thresholds) -> list[Texts]:
    """Quality, memory and speed of what is chosen; of the last two what was measured of both."""
    if chosen is None or chosen is baseline:
        return []
    found = [v.reason for v in way.verdicts if (v.rung, v.judgement) == (chosen.name, "accepted")]
    if chosen.memory and baseline.memory:
        sizes = [size(each.memory.total(asked.tokens)) for each in (chosen, baseline)]
        found.append(say("memory", tokens=f"{asked.tokens:,}", size=sizes[0], before=sizes[1]))
    speeds = [each.speed_at(asked.concurrency) for each in (chosen, baseline)]
    if all(speeds):
        now, before = (f"{speed.throughput.value:.1f}" for speed in speeds)
        found.append(say("speed", concurrency=asked.concurrency, now=now, before=before))
    return found


def _remarks(outcome: Outcome, way: _Way) -> list[Texts]:
    """The verdicts that explain the outcome."""
    telling = {"did not run"}
    if outcome in ("go back", "cannot tell", "none fits", "no gain"):
        telling |= {"worse", "unclear", "too slow", "no gain"}
    found = [each.reason for each in way.verdicts if each.judgement in telling]
    beyond = [rung(each.rung).title for each in way.verdicts if each.judgement == "would do"]
    if beyond and outcome in ("go back", "cannot tell"):
        found.append(say("not reached but good", title=", ".join(beyond)))
    return found


def _fewest(verdicts: Sequence[Verdict]) -> int | None:
    """The items after which the first unclear rung may be settled."""
    return min((each.more_items for each in verdicts if each.more_items is not None), default=None)
