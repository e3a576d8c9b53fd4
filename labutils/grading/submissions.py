"""What students handed in: whose it is, which lesson's, and the cells that count.

A submission is trusted in nothing: links are passed over, sizes limited, and every field may be
missing or of another type. Reading one happens in a process that may fail.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labutils.errors import LabError
from labutils.grading import slices
from labutils.grading.lesson import Lesson

LARGEST = 16 * 2**20
_MAGIC = re.compile(r"^[ \t]*(%%?[A-Za-z]|!(?!=))", re.MULTILINE)


@dataclass(frozen=True)
class Submission:
    """One student's notebook of one lesson."""

    student: str
    lesson: str
    path: Path


@dataclass(frozen=True)
class Cell:
    """A code cell as handed in."""

    id: str
    grade_id: str
    source: str


@dataclass(frozen=True)
class Work:
    """The cells of a notebook that grading looks at."""

    cells: tuple[tuple[str, str], ...]
    """(name, source) to run, in order: exercises, and what students added for them."""
    attempted: frozenset[str]
    """The exercises that were changed at all."""
    missing: frozenset[str]
    """The exercises whose cell is gone."""
    edited_tests: tuple[str, ...]
    """Tests that were changed; they are run as they were given."""

    def uses(self) -> set[str]:
        """Names that the cells use, as far as they are Python."""
        return {name for _, source in self.cells for name in _or_none(slices.uses, source)}


def students(folder: Path) -> list[Path]:
    """Each student's folder.

    Raises:
        LabError: there is none.
    """
    if not folder.is_dir():
        raise LabError(f"{folder} is no folder: name the one that holds a folder for each student.")
    found = sorted(each for each in folder.iterdir() if _is_own(each) and each.is_dir())
    if not found:
        raise LabError(
            f"{folder} holds no folders: put each student's files into one named after them."
        )
    return found


def find(folder: Path, lessons: Sequence[str]) -> tuple[list[Submission], list[str]]:
    """All notebooks below the students' folders, and remarks on those left out."""
    found, remarks = [], []
    for student in students(folder):
        mine: dict[str, Path] = {}
        for path in files(student, ".ipynb"):
            stem = next((each for each in lessons if path.stem == each), None)
            if stem is None:
                remarks.append(f"{path}: no lesson is called so; it is left out.")
            elif stem in mine:
                remarks.append(f"{path}: a second {stem}; it is left out.")
            else:
                mine[stem] = path
        found += [Submission(student.name, stem, path) for stem, path in mine.items()]
    return found, remarks


def files(student: Path, suffix: str) -> list[Path]:
    """A student's own files of this kind; no links, nothing hidden."""
    found = student.rglob(f"*{suffix}")
    return sorted(
        path
        for path in found
        if path.is_file()
        and all(_is_own(each) for each in (path, *path.parents) if each.is_relative_to(student))
    )


def _is_own(path: Path) -> bool:
    return not path.is_symlink() and not path.name.startswith(".")


def read(path: Path) -> list[Cell]:
    """The code cells of a notebook.

    Raises:
        LabError: it is none, or too large.
    """
    if path.stat().st_size > LARGEST:
        raise LabError(f"the notebook is larger than {LARGEST // 2**20} MiB")
    try:
        cells = json.loads(path.read_text("utf-8"))["cells"]
        return [_cell(cell) for cell in cells if cell.get("cell_type") == "code"]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise LabError("the file is not a valid notebook") from None


def _cell(cell: dict[str, Any]) -> Cell:
    source = cell["source"]
    text = source if isinstance(source, str) else "".join(source)
    about = cell.get("metadata", {}).get("nbgrader", {})
    return Cell(str(cell.get("id", "")), str(about.get("grade_id", "")), text)


def work(cells: Sequence[Cell], lesson: Lesson) -> Work:
    """What of a notebook counts for this lesson."""
    exercises = [cell for cell in cells if cell.grade_id in lesson.exercises]
    kept = {each.grade_id: each.source for each in exercises}
    added = [cell for cell in cells if not cell.grade_id and cell.id and cell.id not in lesson.ids]
    used = {name for cell in exercises for name in _or_none(slices.uses, plain_python(cell.source))}
    helpers = slices.needed(used, [each for cell in added for each in _statements(cell)])
    given = {name: source.strip() for name, source in lesson.released.items()}
    own = given | {test.grade_id: test.source.strip() for test in lesson.tests}
    edited = {
        cell.grade_id
        for cell in cells
        if cell.grade_id in lesson.released.keys() - lesson.exercises.keys()
        and cell.source.strip() not in (given[cell.grade_id], own[cell.grade_id])
    }
    return Work(
        tuple(("added", each.source) for each in helpers)
        + tuple((cell.grade_id, plain_python(cell.source)) for cell in exercises),
        frozenset(
            name
            for name, source in kept.items()
            if source.strip() != lesson.exercises[name].blank.strip()
        ),
        frozenset(lesson.exercises.keys() - kept.keys()),
        tuple(sorted(edited)),
    )


def plain_python(source: str) -> str:
    """A cell without Jupyter's own lines, %magic and !command."""
    return _MAGIC.sub("# ", source)


def _statements(cell: Cell) -> list[slices.Statement]:
    return _or_none(slices.statements, plain_python(cell.source))


def _or_none(read: Any, source: str) -> Any:
    """What `read` finds in the code, nothing if it is no Python."""
    try:
        return read(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
