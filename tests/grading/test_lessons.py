"""Every lesson can be graded without an engine: its own solutions, a blank copy, wrong answers."""

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from generated import instructors, submit

from labutils import execution, notebooks, release
from labutils.grading import gradebook, lesson, record
from labutils.paths import NOTEBOOKS

pytestmark = pytest.mark.slow
LESSONS = notebooks.lessons()
RECORDED = json.loads(lesson.RECORDED.read_text("utf-8"))
WRONG = {
    "00_environment": {
        # compares versions as text, and passes a missing package over
        "conflicts": """
def conflicts(listed, declared):
    return [
        (package, text)
        for package, wishes in declared.items()
        for text in wishes
        if "==" in text and listed.get(text.split("==")[0]) != text.split("==")[1]
    ]""",
        # forgets that arithmetic has a limit, too
        "decode-limit": "def decode_limit(weight_bytes, batch, bandwidth, flops):\n"
        "    return batch * bandwidth / weight_bytes",
    },
    "01_online_conversion": {
        # stacks q, k and v whole
        "fuse-groups": "def fuse_groups(q, k, v, kv_heads):\n    return torch.cat([q, k, v])",
    },
    "02_offline_conversion": {
        "positions": "def positions(head_dim):\n    return list(range(head_dim))",
    },
    "03_local_chat": {
        # stops one token too early
        "top-p": """
def top_p_candidates(probabilities, top_p):
    kept, mass = [], 0.0
    for i in sorted(range(len(probabilities)), key=lambda i: -probabilities[i]):
        if mass + probabilities[i] > top_p:
            break
        kept.append(i)
        mass += probabilities[i]
    return sorted(kept)""",
    },
    "04_api_serving": {
        # counts every conversation's blocks, shared or not
        "blocks-in-use": "def blocks_in_use(lengths, shared, block=64):\n"
        "    return sum(-(-length // block) for length in lengths)",
    },
    "05_kv_quantization": {
        # forgets scale and zero point of a quantized row, which the visible test does not show
        "kv-bytes": """
def kv_bytes(config, bits):
    heads = config["num_attention_heads"]
    kv_heads = config.get("num_key_value_heads") or heads
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    return config["num_hidden_layers"] * 2 * kv_heads * head_dim * bits // 8""",
    },
    "06_w4a16": {
        # forgets the scales and zero points
        "shrunk": "def shrunk(linear, other, group_size=128):\n    return linear // 2 + other * 2",
    },
}
"""Wrong answers by lesson and exercise; everything else of these copies is right."""


@pytest.fixture(scope="module")
def graded(lab_grade, tmp_path_factory):
    """All lessons, handed in by the instructor, by nobody in particular, and with mistakes."""
    folder = tmp_path_factory.mktemp("lessons")
    for stem in LESSONS:
        submit(folder / "all" / "own", stem, instructors(stem))
        submit(folder / "all" / "blank", stem)
        submit(folder / "all" / "wrong", stem, instructors(stem) | WRONG.get(stem, {}))
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


@pytest.mark.parametrize("stem", WRONG)
def test_a_wrong_answer_costs_its_points_alone(graded, stem):
    exam = lesson.read(stem)
    lost = [test for test in exam.tests if set(test.exercises) & WRONG[stem].keys()]
    row = graded["wrong", stem]
    missing = sum(test.points for test in exam.tests if test.by_hand or test in lost)
    assert float(row["score"]) == exam.max_score - missing
    for test in lost:
        assert f"{test.grade_id}: " in row["reason"]


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
    assert ",11.0,0.0,11.0,11.0,," in (tmp_path / "book.csv").read_text()
