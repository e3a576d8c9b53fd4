"""The student edition: nothing of the solutions in it, and nothing else lost."""

import json

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labutils import notebooks, release
from labutils.errors import LabError

SOLUTION = """def double(x):
    \"\"\"Twice x.\"\"\"
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION"""
TEST = """assert double(1) == 2
### BEGIN HIDDEN TESTS
assert double(-4) == -8
### END HIDDEN TESTS
print("right")"""


def graded(source, *, solution=False, points=None, name="double"):
    about = {"schema_version": 3, "grade_id": name, "cell_type": "code", "task": False}
    about |= {"solution": solution, "grade": points is not None, "locked": not solution}
    if points is not None:
        about["points"] = points
    return new_code_cell(source, metadata={"nbgrader": about})


def copy_of(*cells):
    return release.student_copy(new_notebook(cells=list(cells))).cells


def test_solutions_become_stubs_and_hidden_tests_go():
    solution, test = copy_of(graded(SOLUTION, solution=True), graded(TEST, points=2, name="test"))
    assert solution.source == (
        'def double(x):\n    """Twice x."""\n    # YOUR CODE HERE\n    raise NotImplementedError()'
    )
    assert test.source == 'assert double(1) == 2\nprint("right")'
    assert test.metadata.editable is False and "editable" not in solution.metadata
    for cell in (solution, test):
        assert cell.metadata.tags == ["raises-exception"] and cell.metadata.deletable is False


def test_checksums_are_nbgraders():
    solution, test = copy_of(graded(SOLUTION, solution=True), graded(TEST, points=2, name="test"))
    # as computed by nbgrader 0.9.6's ComputeChecksums after its ClearSolutions
    assert solution.metadata.nbgrader["checksum"] == "f56f4710ce6003198ce13fdcfff6ffd4"
    assert test.metadata.nbgrader["checksum"] == "757135089efb73ede0c252f9df9301d9"


def test_a_value_leaves_what_runs():
    (cell,) = copy_of(
        graded("kept = set()\n### BEGIN SOLUTION\nkept = {1}\n### END SOLUTION", solution=True)
    )
    assert cell.source == "kept = set()\n# YOUR CODE HERE"


def test_other_cells_lose_their_outputs_alone():
    ran = new_code_cell("1 + 1", execution_count=3, outputs=[], metadata={"tags": ["a"]})
    text, cell = copy_of(new_markdown_cell("# Title"), ran)
    assert (text.source, cell.source) == ("# Title", "1 + 1")
    assert (cell.execution_count, cell.metadata.tags) == (None, ["a"])


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (graded("### BEGIN SOLUTION\n1", solution=True), "no END SOLUTION"),
        (graded("1\n### END SOLUTION", solution=True), "alternate"),
        (graded("### BEGIN HIDDEN TESTS\n" * 2, points=1), "alternate"),
        (new_code_cell(SOLUTION), "no nbgrader metadata"),
    ],
)
def test_what_would_give_a_solution_away_is_refused(cell, words):
    with pytest.raises(LabError, match=words):
        copy_of(cell)


@pytest.fixture
def course(tmp_path):
    root = tmp_path / "notebooks"
    notebook = new_notebook(cells=[graded(SOLUTION, solution=True)])
    for edition in notebooks.EDITIONS:
        notebooks.write(notebooks.normalize(notebook), root / edition / "00_one.ipynb")
        for beside in ("figures/a.svg", "guides/a.md"):
            (root / edition / beside).parent.mkdir()
            (root / edition / beside).write_text("a")
    return root


def test_a_release_replaces_the_last_one_whole(course, tmp_path):
    out = tmp_path / "out"
    assert len(release.release(out, course)) == 2
    notebooks.write(new_notebook(cells=[new_markdown_cell("new")]), course / "en" / "00_one.ipynb")
    release.release(out, course)
    made = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert made == {
        release.MARK,
        *(f"{edition}/{name}" for edition in ("en", "zh") for name in ("00_one.ipynb",)),
        *(f"{edition}/figures/a.svg" for edition in ("en", "zh")),
        *(f"{edition}/guides/a.md" for edition in ("en", "zh")),
    }
    assert json.loads((out / "en" / "00_one.ipynb").read_text())["cells"][0]["source"] == ["new"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["notebooks", "out"]


def test_a_broken_lesson_leaves_the_last_release_as_it_was(course, tmp_path):
    release.release(tmp_path / "out", course)
    broken = new_notebook(cells=[graded("### BEGIN SOLUTION", solution=True)])
    notebooks.write(broken, course / "en" / "00_one.ipynb")
    before = (tmp_path / "out" / "en" / "00_one.ipynb").read_text()
    with pytest.raises(LabError):
        release.release(tmp_path / "out", course)
    assert (tmp_path / "out" / "en" / "00_one.ipynb").read_text() == before


def test_answers_are_never_replaced(course, tmp_path):
    release.release(tmp_path / "out", course)
    mine = tmp_path / "out" / "zh" / "00_one.ipynb"
    mine.write_text(mine.read_text().replace("# YOUR CODE HERE", "return 2 * x"))
    with pytest.raises(LabError, match="zh/00_one.ipynb has been worked in"):
        release.release(tmp_path / "out", course)
    assert "return 2 * x" in mine.read_text()


def test_another_folder_is_left_alone(course, tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(LabError, match="no release"):
        release.release(tmp_path / "mine", course)
