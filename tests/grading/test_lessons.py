"""Every lesson can be graded without an engine: its own solutions, a blank copy, wrong answers."""

import ast
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from generated import instructors, submit
from wrong_answers import WRONG

from labutils import execution, notebooks, release
from labutils.grading import gradebook, lesson, record
from labutils.paths import NOTEBOOKS

pytestmark = pytest.mark.slow
LESSONS = notebooks.lessons()
RECORDED = json.loads(lesson.RECORDED.read_text("utf-8"))
HALVES = (0, 1)
"""Every other exercise is answered wrongly, so that each wrong one has right neighbours."""


def wrong(stem: str, half: int) -> dict[str, tuple[str, str]]:
    """The first, third … wrong answers of a lesson, or the second, fourth …."""
    return dict(list(WRONG[stem].items())[half::2])


@pytest.fixture(scope="module")
def graded(lab_grade, tmp_path_factory):
    """All lessons, handed in by the instructor, by nobody in particular, and with mistakes."""
    folder = tmp_path_factory.mktemp("lessons")
    for stem in LESSONS:
        submit(folder / "all" / "own", stem, instructors(stem))
        submit(folder / "all" / "blank", stem)
        for half in HALVES:
            answers = {name: answer for name, (answer, _) in wrong(stem, half).items()}
            submit(folder / "all" / f"wrong{half}", stem, instructors(stem) | answers)
    rows = lab_grade(folder / "all", folder / "book.csv")
    with (folder / "book.csv").open() as file:
        assert next(csv.reader(file)) == [*gradebook.COLUMNS, *gradebook.MORE]
    return rows


@pytest.mark.parametrize("stem", LESSONS)
def test_own_solutions_score_everything_and_a_blank_copy_nothing(graded, stem):
    exam = lesson.read(stem)
    by_hand = sum(test.points for test in exam.tests if test.by_hand)
    assert float(graded["own", stem]["max_score"]) == exam.max_score > 0
    assert float(graded["own", stem]["score"]) == exam.max_score - by_hand
    assert float(graded["blank", stem]["score"]) == 0
    assert "not attempted" in graded["blank", stem]["reason"]


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("stem", LESSONS)
def test_a_wrong_answer_costs_its_points_alone_and_says_why(graded, stem, half):
    exam, answers, row = lesson.read(stem), wrong(stem, half), graded[f"wrong{half}", stem]
    lost = [test for test in exam.tests if set(test.exercises) & answers.keys()]
    missing = sum(test.points for test in exam.tests if test.by_hand or test in lost)
    assert float(row["score"]) == exam.max_score - missing, row["reason"]
    for test in lost:
        assert f"{test.grade_id}: " in row["reason"]
    for _, words in answers.values():
        assert words in row["reason"]


@pytest.mark.parametrize("stem", LESSONS)
def test_every_exercise_has_a_wrong_answer_that_was_tried(stem):
    assert WRONG[stem].keys() == lesson.read(stem).exercises.keys()


@pytest.mark.parametrize("stem", LESSONS)
def test_every_check_of_a_test_says_what_is_wrong(stem):
    for test in lesson.read(stem).tests:
        checks = [each for each in ast.walk(ast.parse(test.source)) if isinstance(each, ast.Assert)]
        silent = [ast.unparse(each.test) for each in checks if each.msg is None]
        assert checks and not silent, f"{test.grade_id}: say why in {silent}"


@pytest.mark.parametrize("stem", LESSONS)
def test_a_solution_matters_to_its_test(stem):
    exam = lesson.read(stem)
    assert all(test.exercises for test in exam.tests if not test.by_hand)
    assert all("BEGIN" not in text for text in exam.released.values())


def run_all(notebook: notebooks.NotebookNode) -> None:
    """As Jupyter does it: on to the end, unless a cell fails that may not."""
    with tempfile.TemporaryDirectory() as folder:
        assert execution.execute(notebook, folder=Path(folder), timeout=900) is None


def test_the_graded_cells_of_a_blank_copy_run_to_the_end_and_say_what_is_missing():
    blank = release.student_copy(notebooks.read(NOTEBOOKS / "en" / "05_kv_quantization.ipynb"))
    blank.cells = [cell for cell in blank.cells if "nbgrader" in cell.metadata]
    run_all(blank)
    said = [each.ename for cell in blank.cells for each in cell.get("outputs", ())]
    assert said.count("NotImplementedError") >= 3


@pytest.mark.soak
@pytest.mark.parametrize("stem", LESSONS)
def test_a_blank_copy_runs_to_the_end(stem):
    run_all(release.student_copy(notebooks.read(NOTEBOOKS / "en" / f"{stem}.ipynb")))


@pytest.mark.soak
@pytest.mark.parametrize("stem", RECORDED)
def test_recorded_values_are_what_the_lesson_makes(stem, tmp_path):
    (tmp_path / "recorded.json").write_text("{}")
    record.record(stem, list(RECORDED[stem]), tmp_path / "recorded.json")
    assert json.loads((tmp_path / "recorded.json").read_text()) == {stem: RECORDED[stem]}


def test_without_bubblewrap_nothing_runs_and_trusted_runs_all(tmp_path):
    submit(tmp_path / "all" / "own", "04_api_serving", instructors("04_api_serving"))
    command = [sys.executable, "-m", "labutils.cli", "grade", str(tmp_path / "all")]
    command += ["--out", str(tmp_path / "book.csv")]
    poor = {"PATH": str(tmp_path), "PYTHONPATH": str(Path(lesson.__file__).parents[2])}
    refused = subprocess.run(command, capture_output=True, text=True, env=poor)
    assert refused.returncode == 2 and not (tmp_path / "book.csv").exists()
    assert "install bubblewrap" in refused.stderr and "--trusted" in refused.stderr
    assert refused.stderr.count("\n") == 1
    trusted = subprocess.run([*command, "--trusted"], capture_output=True, text=True, env=poor)
    assert trusted.returncode == 0, trusted.stderr
    assert ",15.0,0.0,15.0,15.0,," in (tmp_path / "book.csv").read_text()
