"""The gradebook: nbgrader's export columns, and two of our own at the end.

An instructor's own marks are in it, too: a `score` that is not what the tests gave was set by hand,
and stays when the submissions are graded again. Not in it: who changed what, and when.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labutils.bootstrap import write_atomically
from labutils.errors import LabError
from labutils.grading.marks import Marks

COLUMNS = (
    "assignment",
    "duedate",
    "timestamp",
    "student_id",
    "last_name",
    "first_name",
    "email",
    "raw_score",
    "late_submission_penalty",
    "score",
    "max_score",
)
"""What `nbgrader export` writes."""
MORE = ("reason", "suspicious")
RESULTS = "ladder results"


@dataclass(frozen=True)
class ByHand:
    """What an instructor changed in a row."""

    score: float | None
    """None where it is what the tests give less the penalty."""
    penalty: float
    """For being late."""

    def of(self, raw: float) -> float:
        """The score that counts, where the tests give `raw`."""
        return raw - self.penalty if self.score is None else self.score


UNCHANGED = ByHand(None, 0.0)
Changes = Mapping[tuple[str, str], ByHand]
"""By lesson and student."""


def changes(path: Path) -> Changes:
    """What was changed by hand in a gradebook that is there; nothing without one.

    Raises:
        LabError: the file is something else, or no longer a table that can be read.
    """
    if not path.exists():
        return {}
    try:
        table = csv.DictReader(io.StringIO(path.read_text("utf-8-sig")))
        rows = [row for row in table if row["assignment"] != RESULTS]
        found = {(row["assignment"], row["student_id"]): _by_hand(row) for row in rows}
    except (ValueError, KeyError, TypeError, csv.Error, OSError):
        raise LabError(
            f"{path} is no gradebook that lab grade wrote: name another --out, or save it again as "
            "CSV with commas, in UTF-8."
        ) from None
    return {key: change for key, change in found.items() if change}


def _by_hand(row: Mapping[str, str]) -> ByHand | None:
    raw, penalty = float(row["raw_score"]), float(row["late_submission_penalty"] or 0)
    score = float(row["score"]) if row["score"].strip() else raw
    untouched = math.isclose(score, raw) or math.isclose(score, raw - penalty)
    found = ByHand(None if untouched else score, penalty)
    return found if found != UNCHANGED else None


def write(
    path: Path,
    graded: Sequence[Marks],
    odd: Mapping[str, Sequence[str]],
    kept: Changes | None = None,
) -> None:
    """Write the csv file, whole or not at all.

    Args:
        odd: what looks suspicious in the results of a student, in words.
        kept: what an instructor changed, see `changes`.
    """
    kept = kept or {}
    rows = [
        _row(
            marks,
            "; ".join(odd.get(marks.student, ())),
            kept.get((marks.lesson, marks.student), UNCHANGED),
        )
        for marks in graded
    ]
    alone = sorted(odd.keys() - {marks.student for marks in graded})
    rows += [
        {"assignment": RESULTS, "student_id": student, "suspicious": "; ".join(odd[student])}
        for student in alone
    ]
    text = io.StringIO()
    table = csv.DictWriter(text, [*COLUMNS, *MORE], restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue())


def _row(marks: Marks, suspicious: str, by_hand: ByHand) -> dict[str, object]:
    return {
        "assignment": marks.lesson,
        "timestamp": marks.timestamp,
        "student_id": marks.student,
        "raw_score": marks.score,
        "late_submission_penalty": by_hand.penalty,
        "score": by_hand.of(marks.score),
        "max_score": sum(mark.max_points for mark in marks.marks),
        "reason": marks.reason,
        "suspicious": suspicious,
    }
