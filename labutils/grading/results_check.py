"""Results of the ladder that students handed in: what does not fit together, or fits too well.

Each remark is a reason to look, never a proof: two students may share a machine, and a busy one
measures oddly. Looked at are what `lab ladder run` leaves: `summary.json`, which lesson 07 has
students hand in, and the file of each rung. Other JSON files are passed over. They are compared
with each other and with the runs that come with the course.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from labutils.errors import LabError
from labutils.grading import submissions

if TYPE_CHECKING:
    from labutils.ladder.items import Item
    from labutils.ladder.results import Result
    from labutils.ladder.summary import Entry

    Tried = Result | Entry
    """A rung, from its own file or from a summary."""

LARGEST = 4 * 2**20
MOST_FILES = 100
SAME = 1e-3
"""Two machines, or two runs of one, do not agree this closely in every time that was measured."""
ENOUGH = 4
"""Times to compare; fewer may agree by chance."""
REPLY = 2000
AGREE = "suspicious: the measured times of {} agree with {} to a thousandth"


def check(folder: Path) -> dict[str, list[str]]:
    """Remarks on each student's results, by student; who has none is not in it."""
    found: dict[str, list[Tried]] = {}
    odd: defaultdict[str, list[str]] = defaultdict(list)
    for student in submissions.students(folder):
        found[student.name], damaged = _read_all(submissions.files(student, ".json"))
        odd[student.name] += damaged
        for result in found[student.name]:
            odd[student.name] += inconsistencies(result)
        odd[student.name] += _repeated(found[student.name])
    times = {name: _times_by_rung(found[name]) for name in found}
    for one, other in combinations(times, 2):
        for name in _copied(times[one], times[other]):
            odd[one].append(AGREE.format(name, f"those of {other}"))
            odd[other].append(AGREE.format(name, f"those of {one}"))
    for one in times:
        for known, theirs in _runs_of_the_course().items() if times[one] else ():
            names = _copied(times[one], theirs)
            odd[one] += [AGREE.format(name, f"the course's {known}") for name in names]
    return {student: list(dict.fromkeys(said)) for student, said in odd.items() if said}


def _read_all(paths: Sequence[Path]) -> tuple[list["Tried"], list[str]]:
    """The rungs in these files, and remarks on damaged ones."""
    tried: list[Tried] = []
    damaged = []
    for path in paths[:MOST_FILES]:
        try:
            text = path.read_bytes() if path.stat().st_size <= LARGEST else b""
            if b"lmdeploy-lab ladder rung" in text:
                from labutils.ladder import results

                tried.append(results.read(path))
            elif b"lmdeploy-lab ladder summary" in text:
                from labutils.ladder import summary

                tried += summary.read(path).rungs
        except (LabError, RecursionError, MemoryError):
            damaged.append(f"suspicious: {path.name} is no whole result of lab ladder run")
    return tried, damaged


@cache
def _runs_of_the_course() -> dict[str, dict[str, list[float]]]:
    """Times of the runs that come with the course, by the file's place in `data`."""
    from labutils.paths import DATA

    paths = sorted([*DATA.glob("ladder/*.json"), *DATA.glob("results/*/ladder-*/summary.json")])
    return {
        f"data/{path.relative_to(DATA)}": _times_by_rung(_read_all([path])[0]) for path in paths
    }


def inconsistencies(result: "Tried") -> Iterator[str]:
    """What in one rung's result cannot be, or hardly."""
    about = f"suspicious: in {result.name} "
    for speed in result.speed:
        most = speed.concurrency / speed.tpot.value if speed.tpot.value > 0 else 0.0
        if speed.throughput.value > 1.5 * most:
            yield f"{about}{speed.throughput.value:.4g} tokens/s are more than its TPOT allows"
        if speed.limit_share and speed.limit_share.value > 1.5:
            yield f"{about}the speed is {speed.limit_share.value:.0%} of the machine's limit"
    if result.memory and result.predicted:
        measured, predicted = (m.kv_per_token.value for m in (result.memory, result.predicted))
        if not math.isclose(measured, predicted, rel_tol=0.1):
            yield f"{about}a token's KV cache has {measured:g} bytes, {predicted:g} by arithmetic"
    if wrong := _misjudged(result):
        yield f"{about}{len(wrong)} answers are marked against their checker, {wrong[0]!r} first"


def _misjudged(result: "Tried") -> list[str]:
    """Answers to the course's own items whose verdict is not the checker's."""
    from labutils.ladder import items

    own = _own_items()
    return [
        name
        for name, question, reply, right in _verdicts(result)
        if (item := own.get(name))
        and item.question == question
        and len(reply) <= REPLY
        and items.is_right(item, reply) != right
    ]


def _verdicts(result: "Tried") -> Iterator[tuple[str, str, str, bool]]:
    """Item, question, reply and whether it counts as right; a summary keeps the flips alone."""
    for each in getattr(result.quality, "answers", ()):
        yield each.id, each.question, each.reply, each.right
    for each in getattr(result.quality, "flips", ()):
        yield each.id, each.question, each.baseline_reply, not each.right
        yield each.id, each.question, each.reply, each.right


@cache
def _own_items() -> dict[str, "Item"]:
    """The course's items by id, read once for all students."""
    from labutils.ladder import items
    from labutils.paths import DATA

    return {
        each.id: each for file in sorted(DATA.glob("eval/*.jsonl")) for each in items.read(file)
    }


def _repeated(results: Sequence["Tried"]) -> Iterator[str]:
    """Rungs of one student with the same times."""
    for one, other in combinations(results, 2):
        if one.name != other.name and _agree(_times(one), _times(other)):
            yield f"suspicious: {one.name} and {other.name} have the same measured times"


def _copied(mine: Mapping[str, list[float]], theirs: Mapping[str, list[float]]) -> list[str]:
    """Rungs whose measured times agree between two students, or differ by one factor."""
    return [name for name in mine if name in theirs and _agree(mine[name], theirs[name])]


def _agree(one: Sequence[float], other: Sequence[float]) -> bool:
    ratios = [a / b for a, b in zip(one, other, strict=False) if a > 0 and b > 0]
    return len(ratios) >= ENOUGH and max(ratios) < min(ratios) * (1 + SAME)


def _times_by_rung(results: Sequence["Tried"]) -> dict[str, list[float]]:
    return {each.name: _times(each) for each in results}


def _times(result: "Tried") -> list[float]:
    """Every measured time and speed, times as rates, so that one factor stays one factor."""
    rates = []
    for speed in result.speed:
        for figure in (speed.ttft, speed.tpot):
            rates += [1 / each if each else 0.0 for each in (figure.value, figure.low or 0.0)]
        rates += [speed.throughput.value, speed.throughput.low or 0.0]
    return rates
