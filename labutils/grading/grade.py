"""From a folder of submissions to a gradebook."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from labutils import notebooks
from labutils.errors import LabError
from labutils.grading import feedback, gradebook, lesson, marks, results_check, sandbox, submissions
from labutils.grading.examine import nothing
from labutils.grading.lesson import Lesson
from labutils.grading.marks import Marks
from labutils.grading.submissions import Submission
from labutils.paths import NOTEBOOKS
from labutils.processes import end_with_parent


def grade(
    folder: Path,
    out: Path,
    *,
    release: Path | None = None,
    feedback_folder: Path | None = None,
    jobs: int = 2,
    trusted: bool = False,
    root: Path = NOTEBOOKS,
    say: Callable[[str], None] = lambda line: None,
) -> list[Marks]:
    """Grade every submission below `folder`; write the gradebook and the feedback.

    Args:
        out: the csv file; scores and penalties that were changed in it by hand are kept.
        release: what was handed out; None for what `lab notebooks release` would write now.
        jobs: submissions marked at the same time.
        trusted: run students' code without isolating it.
        root: the instructor's edition.
        say: receives lines about what is going on.

    Raises:
        LabError: no submissions, they cannot be isolated, a lesson cannot be graded here, or `out`
            is something other than a gradebook.
    """
    if not trusted:
        sandbox.require()
    kept = gradebook.changes(out)
    students = [each.name for each in submissions.students(folder)]
    found, remarks = submissions.find(folder, notebooks.lessons(root=root))
    odd = results_check.check(folder)
    for remark in remarks:
        say(remark)
    if not found and not odd:
        raise LabError(f"{folder} holds no notebook that is called like a lesson.")
    asked = {
        "root": str(root.resolve()),
        "release": str(release.resolve()) if release else "",
        "jobs": max(1, jobs),
        "trusted": trusted,
    }
    graded: list[Marks] = []
    for stem in sorted({each.lesson for each in found}):
        handed_in = [each for each in found if each.lesson == stem]
        exam = lesson.read(stem, root, release)
        marked = _mark(exam, handed_in, asked | {"lesson": stem})
        say(f"{stem}: {len(marked)} submission{'s' * (len(marked) != 1)}")
        graded += marked + _absent(exam, set(students) - {each.student for each in handed_in})
    gradebook.write(out, graded, odd, kept)
    for each in graded:
        if change := kept.get((each.lesson, each.student)):
            score = f"{change.of(each.score):g}, as changed by hand"
            say(f"{each.lesson}, {each.student}: {score}; the tests give {each.score:g}")
    if feedback_folder:
        feedback.write(feedback_folder, students, graded, kept)
    return graded


def _absent(exam: Lesson, students: set[str]) -> list[Marks]:
    missing = [Submission(student, exam.stem, Path()) for student in sorted(students)]
    return [nothing(each, exam, "not handed in") for each in missing]


def _mark(exam: Lesson, todo: Sequence[Submission], asked: dict[str, Any]) -> list[Marks]:
    """Let a new process mark one lesson's submissions, and collect what it left."""
    with tempfile.TemporaryDirectory(prefix="lab-marks-") as private:
        out = Path(private)
        listed = [asdict(each) | {"path": str(each.path.resolve())} for each in todo]
        asked = asked | {"out": str(out), "submissions": listed}
        request = out / "request.json"
        request.write_text(json.dumps(asked), "utf-8")
        command = [sys.executable, "-m", "labutils.grading.examiner", str(request)]
        ended = subprocess.run(
            command, preexec_fn=end_with_parent, capture_output=True, text=True, errors="replace"
        )
        if (out / "refused.txt").exists():
            raise LabError((out / "refused.txt").read_text("utf-8"))
        if ended.returncode:
            last = ended.stderr.strip().splitlines()[-1:] or [f"exit code {ended.returncode}"]
            raise LabError(f"{exam.stem} could not be graded: {last[0]}")
        return [_collected(out / f"{number}.json", each, exam) for number, each in enumerate(todo)]


def _collected(path: Path, submission: Submission, exam: Lesson) -> Marks:
    if path.exists():
        return marks.read(path)
    return nothing(submission, exam, "it could not be marked: its process ended or took too long")
