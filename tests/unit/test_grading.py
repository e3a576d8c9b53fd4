"""The parts of grading that run no student's code."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import ladder_results
import numpy
import pytest
import torch

from labutils import notebooks, release
from labutils.errors import LabError
from labutils.grading import (
    feedback,
    gradebook,
    inside,
    lesson,
    plain,
    results_check,
    slices,
    submissions,
)
from labutils.grading.marks import Mark, Marks
from labutils.ladder import results, summary
from labutils.ladder.results import Answer
from labutils.paths import DATA, NOTEBOOKS

LESSON = """
import json
import torch
start = time.time()
pipe = pipeline(model)
table = {}
table["a"] = 1
table = dict(table, b=2)
table["c"] = 3
folder = Path("x")
(folder / "y").mkdir()
json.dumps(1)
def scale(x):
    local = x * factor
    return local
factor = 10
for answer in pipe("Hi"):
    last = answer
"""


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        ({"json"}, ["import json"]),
        ({"folder"}, ["folder = Path('x')", "(folder / 'y').mkdir()"]),
        ({"scale"}, ["def scale(x):", "factor = 10"]),
        (
            {"table"},
            [
                "table = {}",
                "table['a'] = 1",
                "table = dict(table, b=2)",
                "table['c'] = 3",
            ],
        ),
        ({"local", "nothing"}, []),
        ({"last"}, ["pipe = pipeline(model)", "for answer in pipe('Hi'):"]),
    ],
)
def test_a_slice_holds_what_a_name_needs_and_no_more(names, kept):
    found = slices.needed(names, slices.statements(LESSON))
    assert [each.source.partition("\n")[0] for each in found] == kept


def test_a_given_value_needs_nothing():
    assert slices.needed({"last"}, slices.statements(LESSON), given={"last"}) == []


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("got = f(1)\nassert got == wanted, f'{got} {more}'", {"f", "wanted", "more"}),
        ("for a, b in pairs:\n    c = a + b\n    total = total + c", {"pairs", "total"}),
        ("x = x + 1", {"x"}),
        ("def f(a):\n    return g(a) + f(a - 1)", {"g"}),
        ("squares = [n * n for n in range(k)]", {"range", "k"}),
        ("try:\n    f()\nexcept ValueError:\n    y = 1\nprint(y)", {"f", "ValueError", "print"}),
        ("with open(p) as file:\n    file.read()", {"open", "p"}),
    ],
)
def test_uses_are_what_a_cell_does_not_define_itself(code, names):
    assert slices.uses(code) == names


@pytest.mark.parametrize(
    "value",
    [
        None,
        [1, 2.5, "a", True],
        (1, (2, [3])),
        {"a": {1, 2}, (1, 2): frozenset({3})},
        b"\x00\xff",
        Path("a/b"),
        float("inf"),
        -(10**30),
    ],
)
def test_plain_values_arrive_as_they_were(value):
    sent = json.dumps({"value": inside.encode(value)}).encode()
    arrived = plain.loads(sent)
    assert arrived == value and type(arrived) is type(value)


def test_arrays_keep_their_dtype_and_shape():
    for array in (torch.arange(6, dtype=torch.int32).reshape(2, 3), numpy.ones((2, 0, 1), "f4")):
        arrived = plain.loads(json.dumps({"value": inside.encode(array)}).encode())
        assert type(arrived) is type(array)
        assert (arrived.dtype, arrived.shape) == (array.dtype, array.shape)
        assert arrived.tolist() == array.tolist()
    assert inside.encode(numpy.float32(0.5)) == 0.5


@pytest.mark.parametrize("value", [object(), len, iter([]), range(3), {"a": object()}])
def test_what_is_not_plain_is_not_sent(value):
    with pytest.raises(TypeError, match="no plain value"):
        inside.encode(value)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nonsense",
        b"[]",
        b'{"value": [1]}',
        b'{"value": {"object": 1}}',
        b'{"value": {"list": 7}}',
        b'{"value": {"set": [{"list": []}]}}',
        b'{"value": {"array": ["os", "int8", [1], [1]]}}',
        b'{"value": {"array": ["torch", "int8", [-7], [1, 2]]}}',
        b'{"error": 3}',
        b'{"value": ' + b'{"list": [' * 5000,
    ],
)
def test_forged_answers_are_refused(text):
    with pytest.raises(ValueError, match="sent no plain value"):
        plain.loads(text)


@pytest.mark.parametrize(
    ("name", "raised"),
    [
        ("ValueError", ValueError),
        ("KeyError", KeyError),
        ("SystemExit", RuntimeError),
        ("KeyboardInterrupt", RuntimeError),
        ("UnicodeDecodeError", RuntimeError),
        ("eval", RuntimeError),
        ("OwnError", RuntimeError),
    ],
)
def test_exceptions_arrive_but_none_that_ends_the_grader(name, raised):
    with pytest.raises(raised, match="why"):
        plain.loads(json.dumps({"error": [name, "why"]}).encode())


def hand_in(folder, student, *rungs):
    for rung in rungs:
        (folder / student).mkdir(parents=True, exist_ok=True)
        results.write(folder / student / f"{rung.name}.json", rung)


def at(tokens_s, name="kv-int8", ttft=0.3, **changes):
    made = ladder_results.result(name, tokens_s=tokens_s, **changes)
    speeds = tuple(replace(s, ttft=results.Figure(ttft, "seconds")) for s in made.speed)
    return replace(made, speed=speeds)


def test_independent_results_are_not_remarked_on(tmp_path):
    hand_in(tmp_path, "ann", at(20.0, ttft=0.31), at(21.0, "baseline", ttft=0.35))
    hand_in(tmp_path, "bob", at(20.1, ttft=0.33), at(21.4, "baseline", ttft=0.34))
    assert results_check.check(tmp_path) == {}


@pytest.mark.parametrize("factor", [1.0, 1.07])
def test_copied_and_scaled_results_are_suspicious_for_both(tmp_path, factor):
    hand_in(tmp_path, "ann", at(20.0))
    hand_in(tmp_path, "bob", at(20.0 * factor, ttft=0.3 / factor))
    found = results_check.check(tmp_path)
    assert "those of bob" in found["ann"][0] and "those of ann" in found["bob"][0]
    assert all(each.startswith("suspicious: ") for remarks in found.values() for each in remarks)


def test_summaries_are_looked_at_like_the_files_of_rungs(tmp_path):
    for name in ("ann", "bob", "cy"):
        handed_in = ladder_results.summary(baseline=at(23.0, name="baseline"))
        if name != "cy":
            handed_in = ladder_results.summary()
        (tmp_path / name / "mine").mkdir(parents=True)
        summary.write(tmp_path / name / "mine" / "summary.json", handed_in)
    found = results_check.check(tmp_path)
    assert any("baseline agree with those of bob" in each for each in found["ann"])
    assert not any("baseline agree" in each for each in found["cy"])


def test_a_run_of_the_course_is_nobodys_own(tmp_path):
    (tmp_path / "ann").mkdir()
    shutil.copy(DATA / "ladder" / "smollm2-135m.json", tmp_path / "ann" / "summary.json")
    remarks = results_check.check(tmp_path)["ann"]
    assert any("the course's data/ladder/smollm2-135m.json" in each for each in remarks)


def test_flips_of_a_summary_are_judged_again(tmp_path):
    claimed = json.loads((DATA / "ladder" / "smollm2-135m.json").read_text("utf-8"))
    entry = next(each for each in claimed["rungs"] if each["quality"]["flips"])
    entry["quality"]["flips"][0]["right"] ^= True
    (tmp_path / "summary.json").write_text(json.dumps(claimed), "utf-8")
    changed = summary.read(tmp_path / "summary.json").entry(entry["name"])
    own = summary.read(DATA / "ladder" / "smollm2-135m.json").entry(entry["name"])
    assert list(results_check.inconsistencies(own)) == []
    assert "against their checker" in next(results_check.inconsistencies(changed))


def test_figures_that_contradict_each_other_are_suspicious():
    good = at(20.0)
    assert list(results_check.inconsistencies(good)) == []
    fast = replace(good.speed[0], throughput=results.Figure(400.0, "tokens/s"))
    assert "TPOT" in next(results_check.inconsistencies(replace(good, speed=(fast,))))
    over = replace(good.speed[0], limit_share=results.Figure(2.0, "share"))
    assert "200% of the machine" in next(
        results_check.inconsistencies(replace(good, speed=(over,)))
    )
    lean = replace(good.memory, kv_per_token=results.Figure(6000.0, "bytes"))
    assert "arithmetic" in next(results_check.inconsistencies(replace(good, memory=lean)))


def test_answers_are_judged_again():
    from labutils.ladder import items
    from labutils.paths import DATA

    item = items.read(sorted(DATA.glob("eval/*.jsonl"))[0])[0]
    said = Answer(item.id, item.category, item.language, item.question, "no idea at all", True)
    good = at(20.0)
    claimed = replace(good, quality=replace(good.quality, answers=(said,)))
    assert item.id in next(results_check.inconsistencies(claimed))


def test_results_that_are_none(tmp_path):
    hand_in(tmp_path, "ann", at(20.0))
    (tmp_path / "ann" / "notes.json").write_text("{}")
    (tmp_path / "ann" / "cut.json").write_text('{"format": "lmdeploy-lab ladder rung 1", ')
    assert results_check.check(tmp_path) == {
        "ann": ["suspicious: cut.json is no whole result of lab ladder run"]
    }


def test_jupyters_own_lines_are_left_out_and_operators_stay():
    code = "%%time\n%matplotlib inline\n!ls\nx = (7\n    % 4\n    != 2)"
    python = submissions.plain_python(code)
    names: dict = {}
    exec(python, names)
    assert names["x"] is True


def test_a_folder_without_students_is_refused(tmp_path):
    with pytest.raises(LabError, match="no folder"):
        submissions.students(tmp_path / "none")
    with pytest.raises(LabError, match="holds no folders"):
        submissions.students(tmp_path)


def test_only_what_is_called_like_a_lesson_counts(tmp_path):
    for name in ("ann/03_local_chat.ipynb", "ann/more/03_local_chat.ipynb", "ann/essay.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "ann" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "ann" / ".ipynb_checkpoints" / "00_environment.ipynb").write_text("{}")
    found, remarks = submissions.find(tmp_path, ["00_environment", "03_local_chat"])
    assert [(each.student, each.lesson) for each in found] == [("ann", "03_local_chat")]
    assert len(remarks) == 2


def test_a_release_of_other_exercises_is_refused(tmp_path):
    stem = "05_kv_quantization"
    with pytest.raises(LabError, match="holds no en/"):
        lesson.read(stem, released=tmp_path)
    (tmp_path / "en").mkdir()
    book = release.student_copy(notebooks.read(NOTEBOOKS / "en" / f"{stem}.ipynb"))
    notebooks.write(book, tmp_path / "en" / f"{stem}.ipynb")
    assert lesson.read(stem, released=tmp_path) == lesson.read(stem)
    graded = next(cell for cell in book.cells if cell.metadata.get("nbgrader", {}).get("points"))
    graded.metadata.nbgrader["points"] += 1
    notebooks.write(book, tmp_path / "en" / f"{stem}.ipynb")
    with pytest.raises(LabError, match="other exercises or points"):
        lesson.read(stem, released=tmp_path)


def test_helpers_that_students_added_run_and_their_experiments_do_not():
    exam = lesson.read("05_kv_quantization")
    cells = [
        submissions.Cell("new1", "", "pipe = start_an_engine()"),
        submissions.Cell("new2", "", "import math\ndef up(x):\n    return math.ceil(x)"),
        submissions.Cell("plan", "plan", "def plan(*args):\n    return up(1)"),
        submissions.Cell("x", "plan-test", "print('right')"),
    ]
    work = submissions.work(cells, exam)
    names = [name for name, _ in work.cells]
    assert names == ["added", "added", "plan"]
    assert "start_an_engine" not in "".join(source for _, source in work.cells)
    assert work.attempted == {"plan"} and "kv-bytes" in work.missing
    assert work.edited_tests == ("plan-test",)


def test_gradebook_and_feedback_hold_text_as_text(tmp_path):
    marks = (Mark("one", 0.0, 2.0, "=cmd(), <script>"), Mark("two", 3.0, 3.0))
    graded = [Marks("ann", "03_local_chat", marks, ("not handed in",))]
    gradebook.write(tmp_path / "book.csv", graded, {"bob": ["suspicious: x"]})
    lines = (tmp_path / "book.csv").read_text().splitlines()
    assert lines[0].startswith("assignment,duedate,timestamp,student_id,last_name,first_name,email")
    assert lines[1].startswith("03_local_chat,,,ann,,,,3.0,0.0,3.0,5.0,")
    assert '"not handed in; one: =cmd(), <script>"' in lines[1]
    assert lines[2].startswith("ladder results,,,bob,") and lines[2].endswith("suspicious: x")
    page = feedback.page("<ann>", graded)
    assert "&lt;script&gt;" in page and "<script>" not in page and "<ann>" not in page


def test_feedback_calls_nothing_right_that_was_not_looked_at():
    tests = (Mark("one-test", 0.0, 2.0), Mark("two-test", 0.0, 3.0))
    page = feedback.page("ann", [Marks("ann", "03_local_chat", tests, ("not handed in",))])
    assert "0 of 5" in page and "Not handed in." in page and "right" not in page
    wrong = (Mark("one-test", 0.0, 2.0, "not attempted"), Mark("two-test", 3.0, 3.0))
    page = feedback.page("ann", [Marks("ann", "03_local_chat", wrong)])
    assert page.count("<td>right</td>") == 1 and "<td>not attempted</td>" in page


def row(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        return next(csv.DictReader(file))


def graded(points):
    return [
        Marks("李雷", "03_local_chat", (Mark("one-test", points, 5.0, "" if points else "no"),))
    ]


def edited(path, **cells):
    """The gradebook as a spreadsheet saves it, with a byte order mark, after these changes."""
    fields = row(path) | cells
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.DictWriter(file, fields)
        table.writeheader()
        table.writerow(fields)


@pytest.mark.parametrize(
    ("cells", "first", "again"),
    [
        ({}, 3.0, 5.0),
        ({"score": "4.5"}, 4.5, 4.5),
        ({"score": "0"}, 0.0, 0.0),
        ({"score": ""}, 3.0, 5.0),
        ({"late_submission_penalty": "1"}, 2.0, 4.0),
        ({"late_submission_penalty": "1", "score": "2"}, 2.0, 4.0),
        ({"late_submission_penalty": "1", "score": "4"}, 4.0, 4.0),
    ],
)
def test_marks_changed_by_hand_stay_when_graded_again(tmp_path, cells, first, again):
    path = tmp_path / "book.csv"
    gradebook.write(path, graded(3.0), {})
    edited(path, **cells)
    for points, score in ((3.0, first), (5.0, again)):
        kept = gradebook.changes(path)
        gradebook.write(path, graded(points), {}, kept)
        assert (float(row(path)["raw_score"]), float(row(path)["score"])) == (points, score)
        page = feedback.page("李雷", graded(points), kept)
        assert f": {score:g} of 5<" in page and ("instructor" in page) == bool(kept)


@pytest.mark.parametrize(
    "text", ["name;mark\nann;5\n", "assignment,score\n03,x\n", "assignment\n李雷"]
)
def test_a_file_that_is_no_gradebook_is_not_replaced(tmp_path, text):
    path = tmp_path / "book.csv"
    path.write_bytes(text.encode("gbk"))
    with pytest.raises(LabError, match="no gradebook"):
        gradebook.changes(path)
