"""Results of the ladder that students handed in: what does not fit together, or fits too well.

Each remark is a reason to look, never a proof: two students may share a machine, and a busy one
measures oddly. Looked at are the files that `lab ladder run` leaves for each rung
(`labutils.ladder.results`); other JSON files are passed over.
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

LARGEST = 4 * 2**20
MOST_FILES = 100
SAME = 1e-3
"""Two machines, or two runs of one, do not agree this closely in every time that was measured."""
ENOUGH = 4
"""Times to compare; fewer may agree by chance."""
REPLY = 2000


def check(folder: Path) -> dict[str, list[str]]:
    """Remarks on each student's results, by student; who has none is not in it."""
    found: dict[str, list[Result]] = {}
    odd: defaultdict[str, list[str]] = defaultdict(list)
    for student in submissions.students(folder):
        found[student.name], damaged = _read_all(student)
        odd[student.name] += damaged
        for result in found[student.name]:
            odd[student.name] += inconsistencies(result)
        odd[student.name] += _repeated(found[student.name])
    times = {name: {each.name: _times(each) for each in found[name]} for name in found}
    for one, other in combinations(times, 2):
        for name in _copied(times[one], times[other]):
            said = "suspicious: the measured times of {} agree with those of {} to a thousandth"
            odd[one].append(said.format(name, other))
            odd[other].append(said.format(name, one))
    return {student: remarks for student, remarks in odd.items() if remarks}


def _read_all(student: Path) -> tuple[list["Result"], list[str]]:
    results, damaged = [], []
    for path in submissions.files(student, ".json")[:MOST_FILES]:
        try:
            if path.stat().st_size <= LARGEST and b"lmdeploy-lab ladder rung" in path.read_bytes():
                from labutils.ladder.results import read

                results.append(read(path))
        except (LabError, RecursionError, MemoryError):
            damaged.append(f"suspicious: {path.name} is no whole result of a rung")
    return results, damaged


def inconsistencies(result: "Result") -> Iterator[str]:
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


def _misjudged(result: "Result") -> list[str]:
    """Answers to the course's own items whose verdict is not the checker's."""
    from labutils.ladder import items

    own = _own_items()
    answers = result.quality.answers if result.quality else ()
    return [
        answer.id
        for answer in answers
        if (item := own.get(answer.id))
        and item.question == answer.question
        and len(answer.reply) <= REPLY
        and items.is_right(item, answer.reply) != answer.right
    ]


@cache
def _own_items() -> dict[str, "Item"]:
    """The course's items by id, read once for all students."""
    from labutils.ladder import items
    from labutils.paths import DATA

    return {
        each.id: each for file in sorted(DATA.glob("eval/*.jsonl")) for each in items.read(file)
    }


def _repeated(results: Sequence["Result"]) -> Iterator[str]:
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


def _times(result: "Result") -> list[float]:
    """Every measured time and speed, times as rates, so that one factor stays one factor."""
    rates = []
    for speed in result.speed:
        for figure in (speed.ttft, speed.tpot):
            rates += [1 / each if each else 0.0 for each in (figure.value, figure.low or 0.0)]
        rates += [speed.throughput.value, speed.throughput.low or 0.0]
    return rates
