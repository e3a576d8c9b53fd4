"""A lesson as the grader sees it: its exercises, their tests, and the statements that both need.

Everything comes from the instructor's edition. Values that only an engine or LMDeploy 0.2.4 can
make are in `recorded.json`: by lesson, then by name (`sent`, or `answer.input_token_len` for an
attribute), written as `inside.encode` writes them, and by `record` from a run of the lesson.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from labutils import notebooks, release
from labutils.errors import LabError
from labutils.grading import plain, slices
from labutils.grading.slices import Statement
from labutils.paths import NOTEBOOKS

RECORDED = Path(__file__).with_name("recorded.json")


@dataclass(frozen=True)
class Exercise:
    """A cell that students fill in."""

    grade_id: str
    blank: str
    """What they were given."""
    names: frozenset[str]
    """What its solution defines."""
    uses: frozenset[str]
    """What its solution needs."""


@dataclass(frozen=True)
class Test:
    """A cell with points, and the exercises between it and the test before; none if by hand."""

    grade_id: str
    points: float
    source: str
    exercises: tuple[str, ...]
    by_hand: bool = False


@dataclass(frozen=True)
class Lesson:
    """What grading a lesson takes."""

    stem: str
    exercises: dict[str, Exercise]
    tests: tuple[Test, ...]
    before: tuple[Statement, ...]
    """Of the lesson's ordinary cells, up to the last test."""
    ids: frozenset[str]
    """Of all cells that students were given."""
    released: dict[str, str]
    """What students were given of every graded cell, by its grade_id."""
    given: dict[str, Any] = field(default_factory=dict)

    @property
    def max_score(self) -> float:
        """Points of all tests."""
        return sum(test.points for test in self.tests)

    @property
    def names(self) -> frozenset[str]:
        """What the exercises define."""
        return frozenset().union(*(each.names for each in self.exercises.values()))

    def setup_of_tests(self) -> list[Statement]:
        """What the tests need of the lesson."""
        names = {use for test in self.tests if not test.by_hand for use in slices.uses(test.source)}
        return slices.needed(names - self.names, self.before, self.given)

    def setup_of(self, used: set[str]) -> list[Statement]:
        """What students' cells need: what solutions do, and imports for other names in use."""
        usual = {use for exercise in self.exercises.values() for use in exercise.uses}
        kept = slices.needed(usual - self.names, self.before, self.given)
        extra = slices.needed(used - usual, [each for each in self.before if each.imports])
        return [each for each in self.before if each in kept or each in extra]

    def given_to_students(self) -> dict[str, Any]:
        """Recorded values that solutions need; the others may be what a test expects."""
        uses = {use for exercise in self.exercises.values() for use in exercise.uses}
        return {name: value for name, value in self.given.items() if name in uses}


def read(
    stem: str, root: Path = NOTEBOOKS, released: Path | None = None, recorded: Path = RECORDED
) -> Lesson:
    """A lesson of the instructor's edition.

    Args:
        released: the folder that was handed out; None for what `lab notebooks release` would write.

    Raises:
        LabError: a notebook that cannot be read, a graded cell that is no Python, or other
            exercises in the release.
    """
    path = root / notebooks.ENGLISH / f"{stem}.ipynb"
    notebook = notebooks.read(path)
    student = _student(notebook, path, released)
    given_out = {_about(c)["grade_id"]: c.source for c in student.cells if _about(c)}
    try:
        exercises, tests, before = _parts(notebook, given_out)
    except SyntaxError as error:
        raise LabError(f"{path} has a cell that is no Python ({error}): mend it.") from None
    ids = frozenset(cell.id for cell in student.cells)
    given = recorded_values(stem, recorded)
    return Lesson(stem, exercises, tuple(tests), tuple(before), ids, given_out, given)


def _student(notebook: NotebookNode, path: Path, released: Path | None) -> NotebookNode:
    if released is None:
        return release.student_copy(notebook, path.name)
    handed_out = released / notebooks.ENGLISH / path.name
    if not handed_out.is_file():
        raise LabError(f"{released} holds no {notebooks.ENGLISH}/{path.name}: name the release.")
    student = notebooks.read(handed_out)
    graded = [
        {_about(c)["grade_id"]: _about(c).get("points") for c in each.cells if _about(c)}
        for each in (notebook, student)
    ]
    if graded[0] != graded[1]:
        raise LabError(
            f"{handed_out} has other exercises or points than {path}: grade with the course as it "
            "was when that was made."
        )
    return student


def _about(cell: NotebookNode) -> dict[str, Any]:
    return cell.metadata.get("nbgrader", {})


def _parts(
    notebook: NotebookNode, given_out: dict[str, str]
) -> tuple[dict[str, Exercise], list[Test], list[Statement]]:
    exercises: dict[str, Exercise] = {}
    tests: list[Test] = []
    before: list[Statement] = []
    so_far: list[Statement] = []
    group: list[str] = []
    for cell in notebook.cells:
        about = _about(cell)
        if about.get("grade") or about.get("task"):
            by_hand = about["solution"] or cell.cell_type != "code"
            about_it = (about["grade_id"], float(about["points"]), cell.source)
            tests.append(Test(*about_it, () if by_hand else tuple(group), by_hand))
            before = [*so_far]
        elif about.get("solution") and cell.cell_type == "code":
            if tests and tests[-1].exercises == tuple(group):
                group = []
            exercises[about["grade_id"]] = _exercise(cell, given_out)
            group.append(about["grade_id"])
        elif cell.cell_type == "code":
            so_far += slices.statements(cell.source)
    return exercises, tests, before


def _exercise(cell: NotebookNode, given_out: dict[str, str]) -> Exercise:
    name = _about(cell)["grade_id"]
    names, uses = slices.binds(cell.source), slices.uses(cell.source)
    return Exercise(name, given_out[name], frozenset(names), frozenset(uses))


def recorded_values(stem: str, path: Path = RECORDED) -> dict[str, Any]:
    """The recorded values of a lesson by name; attributes as {'attributes': {…}}."""
    values: dict[str, Any] = {}
    attributes = defaultdict(dict)
    for name, coded in json.loads(path.read_text("utf-8")).get(stem, {}).items():
        owner, _, attribute = name.partition(".")
        if attribute:
            attributes[owner][attribute] = plain.decode(coded)
            values[owner] = {"attributes": attributes[owner]}
        else:
            values[name] = plain.decode(coded)
    return values
