"""Mark one submission of one lesson: run its cells in a sandbox, and the tests here.

The tests are the instructor's, hidden ones included; what they call is a student's function in
another process (`session`), and what they compare are plain values that came back. So no test can
be read, edited or patched by the code it judges, and leaving the process early scores nothing.

What this cannot tell: whether a value was computed as asked (a function sees the arguments of its
tests, and may look the answer up in a table), and whose work it is. A function gets copies of its
arguments, so a test cannot see that it changed them.
"""

import io
import time
from collections.abc import Iterator
from contextlib import closing, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from labutils.errors import LabError
from labutils.grading import slices, submissions
from labutils.grading.lesson import Lesson, Test
from labutils.grading.marks import Mark, Marks
from labutils.grading.session import Ended, Session
from labutils.grading.submissions import Submission, Work

COMMENT = 300
NOT_ATTEMPTED = "not attempted"


def examine(
    submission: Submission, lesson: Lesson, namespace: dict[str, Any], folder: Path, trusted: bool
) -> Marks:
    """The marks of a submission.

    Args:
        namespace: what the tests need of the lesson, already run.
        folder: the working directory, as that left it.
    """
    began = time.monotonic()
    try:
        cells = submissions.read(submission.path)
    except LabError as error:
        return nothing(submission, lesson, str(error))
    work = submissions.work(cells, lesson)
    marks = tuple(_marks(work, lesson, namespace, folder, trusted))
    notes = [f"{name} was edited and is run as it was given" for name in work.edited_tests]
    changed = time.gmtime(submission.path.stat().st_mtime)
    return Marks(
        submission.student,
        submission.lesson,
        marks,
        tuple(notes),
        time.strftime("%Y-%m-%d %H:%M:%S UTC", changed),
        time.monotonic() - began,
    )


def nothing(submission: Submission, lesson: Lesson, why: str) -> Marks:
    """No point for anything, and why."""
    marks = tuple(Mark(test.grade_id, 0.0, test.points) for test in lesson.tests)
    return Marks(submission.student, submission.lesson, marks, (why,))


def _marks(
    work: Work, lesson: Lesson, namespace: dict[str, Any], folder: Path, trusted: bool
) -> Iterator[Mark]:
    setup = [each.source for each in lesson.setup_of(work.uses())]
    given = lesson.given_to_students()
    with closing(Session(setup, given, list(work.cells), folder, trusted)) as session:
        for test in lesson.tests:
            comment = _without_running(test, work) or _run(test, lesson, dict(namespace), session)
            points = 0.0 if comment else test.points
            yield Mark(test.grade_id, points, test.points, comment, test.by_hand)


def _without_running(test: Test, work: Work) -> str:
    """Why there is nothing to run, or ''."""
    if test.by_hand:
        return "to be graded by hand"
    if test.exercises and work.missing.issuperset(test.exercises):
        return "the exercise's cell is missing"
    if test.exercises and work.attempted.isdisjoint(test.exercises):
        return NOT_ATTEMPTED
    return ""


def _run(test: Test, lesson: Lesson, namespace: dict[str, Any], session: Session) -> str:
    """Run a test; what it says, or '' if it passes."""
    try:
        for name in sorted(lesson.names & slices.uses(test.source)):
            with suppress(NameError):  # the test says so, if it needs the name
                namespace[name] = session.value(name)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            exec(compile(test.source, f"<{test.grade_id}>", "exec"), namespace)
    except Ended as error:
        return _one_line(str(error))
    except Exception as error:
        failed = [session.wrong[name] for name in test.exercises if name in session.wrong]
        return _one_line(f"the cell failed: {failed[0]}" if failed else _in_words(error))
    return ""


def _in_words(error: Exception) -> str:
    if isinstance(error, AssertionError):
        return str(error) or "a check failed"
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _one_line(text: str) -> str:
    """Short, and without characters that would do something in a terminal or a table."""
    visible = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return visible if len(visible) <= COMMENT else visible[: COMMENT - 1] + "…"
