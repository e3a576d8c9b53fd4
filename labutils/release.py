"""The student edition: the lessons without their solutions, hidden tests and outputs.

Delimiters and meaning are nbgrader's (`### BEGIN SOLUTION`, `### BEGIN HIDDEN TESTS`, the metadata
`nbgrader`), so its tools accept these notebooks; nbgrader itself brings a database and its own
server along, for two dozen lines of text work, and is no dependency. Two things differ from its own
student version, both so that "Run All" of an unsolved copy reaches the end: exercises and tests
carry the tag `raises-exception`, and a solution that is no function's body becomes a comment alone.

Not here: grading (`labutils.grading`).
"""

import copy
import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from labutils import notebooks
from labutils.errors import LabError
from labutils.folders import sha256
from labutils.paths import BUILD, NOTEBOOKS

RELEASE = BUILD / "release"
SOLUTION, HIDDEN_TESTS = "SOLUTION", "HIDDEN TESTS"
TO_DO = "# YOUR CODE HERE"
TEXT_STUB = "YOUR ANSWER HERE"
STUB = f"{TO_DO}\nraise NotImplementedError()"
MARK = "release.txt"
"""Lies in a release and says which notebooks are in it, as `sha256sum` does: only a release in
which nobody has worked is ever replaced by one."""


def release(folder: Path = RELEASE, root: Path = NOTEBOOKS) -> list[Path]:
    """Write the student edition of all lessons, both languages, in place of an older one.

    Raises:
        LabError: a region is not closed or not marked, or the folder holds something else, such as
            a student's answers.
    """
    _refuse_to_replace(folder)
    made = {
        Path(edition, f"{stem}.ipynb"): student_copy(
            notebooks.read(root / edition / f"{stem}.ipynb"), f"{edition}/{stem}.ipynb"
        )
        for stem in notebooks.lessons(root=root)
        for edition in notebooks.EDITIONS
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as private:
        new = Path(private) / "new"
        for path, notebook in made.items():
            notebooks.write(notebook, new / path)
        for beside in (*root.glob("*/figures"), *root.glob("*/guides")):
            shutil.copytree(beside, new / beside.relative_to(root))
        hashes = [f"{sha256(new / path)}  {path}\n" for path in made]
        (new / MARK).write_text("".join(hashes))
        if folder.exists():
            os.replace(folder, Path(private) / "old")
        os.replace(new, folder)
    return [folder / path for path in made]


def _refuse_to_replace(folder: Path) -> None:
    if not folder.exists():
        return
    if not (folder / MARK).is_file():
        raise LabError(f"{folder} is no release: name a new folder.")
    for line in (folder / MARK).read_text("utf-8").splitlines():
        known, _, name = line.partition("  ")
        if (folder / name).is_file() and sha256(folder / name) != known:
            raise LabError(
                f"{folder / name} has been worked in since it was written: name a new folder with "
                "--out, and this one stays as it is."
            )


def student_copy(notebook: NotebookNode, name: str = "the notebook") -> NotebookNode:
    """One notebook as students get it; see `release`."""
    student = notebooks.normalize(notebook)
    student.cells = [_student_cell(cell, name) for cell in student.cells]
    return student


def _student_cell(cell: NotebookNode, name: str) -> NotebookNode:
    cell = copy.deepcopy(cell)
    where = f"{name}:{cell.id}"
    about = cell.metadata.get("nbgrader")
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
    if about:
        cell.source = _student_source(cell, about, where)
        cell.metadata.nbgrader = about | {"checksum": checksum(cell.source, about)}
        if cell.cell_type == "code":
            tags = [*cell.metadata.get("tags", ()), "raises-exception"]
            cell.metadata.tags = list(dict.fromkeys(tags))
        cell.metadata.deletable = False
        if about["locked"]:
            cell.metadata.editable = False
    elif regions(cell.source, SOLUTION, where) or regions(cell.source, HIDDEN_TESTS, where):
        raise LabError(f"{where} has a solution or hidden tests, but no nbgrader metadata: add it.")
    return cell


def _student_source(cell: NotebookNode, about: dict[str, Any], where: str) -> str:
    if not about["solution"]:
        return cut(cell.source, HIDDEN_TESTS, where)
    stub = STUB if cell.cell_type == "code" else TEXT_STUB
    if regions(cell.source, SOLUTION, where):
        return cut(cell.source, SOLUTION, where, stub)
    return stub.splitlines()[0]


def regions(source: str, what: str, where: str) -> list[tuple[int, int]]:
    """First and last line, counted from 0, of each BEGIN … END region.

    Raises:
        LabError: a region within another, or without its end or beginning.
    """
    found, begin = [], None
    for number, line in enumerate(source.split("\n")):
        if f"BEGIN {what}" in line and begin is None:
            begin = number
        elif f"END {what}" in line and begin is not None:
            found.append((begin, number))
            begin = None
        elif f"BEGIN {what}" in line or f"END {what}" in line:
            raise LabError(f"{where}: BEGIN and END {what} have to alternate.")
    if begin is not None:
        raise LabError(f"{where}: BEGIN {what} has no END {what}.")
    return found


def cut(source: str, what: str, where: str, stub: str = "") -> str:
    """The source with `stub`, indented alike, in place of each region.

    A region that is not indented holds a value, not the body of a function: of the stub only the
    comment takes its place, because the cell should run.
    """
    lines = source.split("\n")
    for begin, end in reversed(regions(source, what, where)):
        indent = re.match(r"\s*", lines[begin])[0]
        here = stub.splitlines() if indent else stub.splitlines()[:1]
        lines[begin : end + 1] = [indent + line for line in here]
    return "\n".join(lines)


def checksum(source: str, about: dict[str, Any]) -> str:
    """nbgrader's fingerprint of a cell, by which it notices edited tests."""
    kind = "".join(str(about[key]) for key in ("grade", "solution", "locked"))
    points = str(float(about["points"])) if about["grade"] else ""
    text = source + about["cell_type"] + kind + about["grade_id"] + points
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
