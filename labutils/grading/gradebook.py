"""The gradebook: nbgrader's export columns, and two of our own at the end."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from labutils.bootstrap import write_atomically
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


def write(path: Path, graded: Sequence[Marks], odd: Mapping[str, Sequence[str]]) -> None:
    """Write the csv file, whole or not at all.

    Args:
        odd: what looks suspicious in the results of a student, in words.
    """
    rows = [_row(marks, "; ".join(odd.get(marks.student, ()))) for marks in graded]
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


def _row(marks: Marks, suspicious: str) -> dict[str, object]:
    return {
        "assignment": marks.lesson,
        "timestamp": marks.timestamp,
        "student_id": marks.student,
        "raw_score": marks.score,
        "late_submission_penalty": 0.0,
        "score": marks.score,
        "max_score": sum(mark.max_points for mark in marks.marks),
        "reason": marks.reason,
        "suspicious": suspicious,
    }
