"""A page for each student: points and comments, nothing of anyone else's.

Not in it: what looks suspicious in results, which names other students.
"""

import html
from collections.abc import Sequence
from pathlib import Path

from labutils.bootstrap import write_atomically
from labutils.grading.gradebook import ByHand, Changes
from labutils.grading.marks import Mark, Marks

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{student}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: auto; max-width: 50rem; padding: 1rem }}
table {{ border-collapse: collapse; width: 100% }}
th, td {{ border-bottom: 1px solid #ccc; padding: .3rem .6rem; text-align: left }}
td:nth-child(2) {{ white-space: nowrap }}
.full {{ color: #1a7f37 }} .none {{ color: #b42318 }}
</style>
<h1>{student}</h1>
{body}
</html>
"""


def write(
    folder: Path, students: Sequence[str], graded: Sequence[Marks], kept: Changes | None = None
) -> None:
    """Write `folder`/STUDENT.html for every student; `kept` is what an instructor changed."""
    folder.mkdir(parents=True, exist_ok=True)
    for student in students:
        mine = [marks for marks in graded if marks.student == student]
        write_atomically(folder / f"{student}.html", page(student, mine, kept))


def page(student: str, graded: Sequence[Marks], kept: Changes | None = None) -> str:
    """A student's page."""
    changed = kept or {}
    lessons = (_lesson(each, changed.get((each.lesson, each.student))) for each in graded)
    body = "\n".join(lessons) or "<p>No notebook was handed in.</p>"
    return PAGE.format(student=html.escape(student), body=body)


def _lesson(marks: Marks, change: ByHand | None) -> str:
    most = sum(mark.max_points for mark in marks.marks)
    score = marks.score if change is None else change.of(marks.score)
    heading = f"<h2>{html.escape(marks.lesson)}: {score:g} of {most:g}</h2>"
    if change:
        heading += f"<p>Your instructor decided so; the tests give {marks.score:g}.</p>"
    notes = "".join(f"<p>{html.escape(note[:1].upper() + note[1:])}.</p>" for note in marks.notes)
    if not marks.looked_at:
        return heading + notes
    rows = "".join(map(_mark, marks.marks))
    head = "<tr><th>Exercise</th><th>Points</th><th>Why</th></tr>"
    return f"{heading}{notes}<table>{head}{rows}</table>"


def _mark(mark: Mark) -> str:
    kind = "full" if mark.points == mark.max_points else "none"
    comment = html.escape(mark.comment) or "right"
    points = f"{mark.points:g} of {mark.max_points:g}"
    exercise = html.escape(mark.grade_id.removesuffix("-test"))
    return f'<tr><td>{exercise}</td><td class="{kind}">{points}</td><td>{comment}</td></tr>'
