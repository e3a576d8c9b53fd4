"""Mark all submissions of one lesson, a few at a time, each in a process of its own.

    python -m labutils.grading.examiner REQUEST.json

This process runs the lesson's statements that tests need, once, and is copied (fork) for each
submission: whatever a test does with what came from one student, the next begins afresh. Before
students' work it marks the lesson's own solutions, so that a machine on which they fail grades
nobody. Marks are left as files, one a submission.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from labutils import notebooks
from labutils.errors import LabError
from labutils.grading import examine, inside, lesson, marks
from labutils.grading.lesson import Lesson
from labutils.grading.submissions import Submission
from labutils.processes import end_with_parent

SECONDS = 120
"""After which a submission is given up whatever holds it up: Python's start, imports, its tests."""


def main(request: Path) -> int:
    """Serve a request: what `grade` asks of this process."""
    asked = json.loads(request.read_text("utf-8"))
    out, trusted = Path(asked["out"]), asked["trusted"]
    todo = [Submission(s["student"], s["lesson"], Path(s["path"])) for s in asked["submissions"]]
    root = Path(asked["root"])
    tempfile.tempdir = str(out)  # so that who asked can remove all that is left
    released = Path(asked["release"]) if asked["release"] else None
    with tempfile.TemporaryDirectory(prefix="lab-grade-") as private:
        os.chdir(private)
        try:
            work = prepare(lesson.read(asked["lesson"], root, released))
            check_own_solutions(work, root, trusted, out / "own.json")
        except LabError as error:
            (out / "refused.txt").write_text(str(error), "utf-8")
            return 2
        mark_all(work, todo, asked["jobs"], trusted, out)
    return 0


def prepare(found: Lesson) -> tuple[Lesson, dict[str, Any]]:
    """The lesson, and what its tests need, run in the working directory.

    Raises:
        LabError: the lesson's own statements fail.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # a process with threads cannot be copied safely
    namespace = {name: inside.as_object(value) for name, value in found.given.items()}
    for statement in found.setup_of_tests():
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(statement.source, f"<{found.stem}>", "exec"), namespace)
        except Exception as error:
            first = statement.source.partition("\n")[0]
            raise LabError(
                f"{found.stem}'s tests cannot be prepared, {first!r} fails ({error}): if it needs "
                "an engine, record its values (CONTRIBUTING.md, Grading)."
            ) from error
    return found, namespace


def check_own_solutions(
    work: tuple[Lesson, dict[str, Any]], root: Path, trusted: bool, out: Path
) -> None:
    """Mark the instructor's edition.

    Raises:
        LabError: it does not score everything.
    """
    stem = work[0].stem
    own = Submission("the lesson itself", stem, root / notebooks.ENGLISH / f"{stem}.ipynb")
    _begin(own, work, trusted, out)
    os.wait()
    if not out.exists():
        raise LabError(f"{stem}: the lesson's own solutions could not be marked on this machine.")
    found = marks.read(out)
    wrong = [m for m in found.marks if m.points < m.max_points and not m.by_hand]
    if wrong:
        raise LabError(
            f"{stem}: the lesson's own solution of {wrong[0].grade_id} fails here "
            f"({wrong[0].comment}): mend that before you grade."
        )


def mark_all(
    work: tuple[Lesson, dict[str, Any]],
    todo: list[Submission],
    jobs: int,
    trusted: bool,
    out: Path,
) -> None:
    """Mark each submission in a copy of this process, `jobs` at a time."""
    running = 0
    for number, submission in enumerate(todo):
        if running == jobs:
            os.wait()
            running -= 1
        _begin(submission, work, trusted, out / f"{number}.json")
        running += 1
    for _ in range(running):
        os.wait()


def _begin(
    submission: Submission, work: tuple[Lesson, dict[str, Any]], trusted: bool, out: Path
) -> None:
    if os.fork():
        return
    try:
        end_with_parent()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        folder = Path.cwd()
        with tempfile.TemporaryDirectory(prefix="lab-one-") as private:
            own = Path(private) / "work"
            shutil.copytree(folder, own)
            os.chdir(own)
            found = examine.examine(submission, *work, own, trusted)
            marks.write(out.with_suffix(".part"), found)
            out.with_suffix(".part").replace(out)
    finally:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
