"""Submissions of every kind get what they deserve, and none touches another or the machine."""

import http.server
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import ladder_results
import psutil
import pytest
from generated import FULL, KINDS, LESSON, Kind, damaged
from waiting import wait_for

from labutils.grading.lesson import RECORDED
from labutils.ladder import results
from labutils.paths import NOTEBOOKS


@pytest.fixture(scope="module")
def visitors():
    """A server on this machine, and who asked it for something."""
    seen = []

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, seen
    server.shutdown()


def placed(kind: Kind, port: int, neighbour: Path) -> Kind:
    """The kind, aimed at something that is there."""
    lesson = NOTEBOOKS / "en" / f"{LESSON}.ipynb"
    aims = {"PORT": port, "NEIGHBOUR": neighbour, "LESSON": lesson, "RECORDED": RECORDED}
    cells = dict(kind.cells)
    for word, aim in aims.items():
        cells = {name: source and source.replace(word, str(aim)) for name, source in cells.items()}
    return Kind(cells, kind.score, kind.reason)


@pytest.fixture(scope="module")
def graded(lab_grade, tmp_path_factory, visitors):
    """All kinds in one folder, graded together; where, the rows, and the reasons expected."""
    folder = tmp_path_factory.mktemp("all") / "submissions"
    neighbour = KINDS["right"].submit(folder / "right")
    for name, kind in KINDS.items():
        placed(kind, visitors[0], neighbour).submit(folder / name)
    expected = damaged(folder)
    (folder / "linking").mkdir()
    (folder / "linking" / f"{LESSON}.ipynb").symlink_to(neighbour)
    for student, tokens_s in (("right", 20.0), ("slow", 20.0), ("leaving", 23.0)):
        ladder = ladder_results.result("kv-int8", tokens_s=tokens_s)
        results.write(folder / student / "kv-int8.json", ladder)
    feedback = folder.parent / "feedback"
    began = time.monotonic()
    rows = lab_grade(folder, folder.parent / "book.csv", "--feedback", str(feedback))
    print(f"\n{len(rows)} submissions in {time.monotonic() - began:.1f} s")
    return folder.parent, rows, expected


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_gets_what_it_deserves(graded, name):
    _, rows, _ = graded
    row = rows[name, LESSON]
    scores = float(row["score"]), float(row["max_score"])
    assert scores == (KINDS[name].score, FULL), row["reason"]
    assert re.search(KINDS[name].reason, row["reason"])
    assert bool(row["reason"]) == (name != "right")


def test_what_is_no_notebook_gets_a_row_with_a_reason(graded):
    _, rows, expected = graded
    for name, reason in expected.items():
        assert float(rows[name, LESSON]["score"]) == 0
        assert reason in rows[name, LESSON]["reason"]
    assert rows["linking", LESSON]["reason"] == "not handed in", "a link is nobody's own work"


def test_nothing_reached_the_machine(graded, visitors):
    folder, _, _ = graded
    assert visitors[1] == [], "no request left the sandbox"
    assert in_sandboxes() == [], "every process has ended"
    assert not Path("/tmp/large").exists()


def test_copied_results_are_suspicious_and_others_are_not(graded):
    _, rows, _ = graded
    suspicious = {student: row["suspicious"] for (student, _), row in rows.items()}
    assert "suspicious: the measured times of kv-int8" in suspicious["right"]
    assert "those of slow" in suspicious["right"] and "those of right" in suspicious["slow"]
    assert {name for name, words in suspicious.items() if words} == {"right", "slow"}
    assert "proved" not in "".join(suspicious.values())


def test_feedback_is_a_page_a_student_and_tells_nothing_of_others(graded):
    folder, rows, expected = graded
    pages = {path.stem: path.read_text("utf-8") for path in (folder / "feedback").iterdir()}
    assert pages.keys() == {student for student, _ in rows}
    assert "status 200: an answer came" in pages["wrong"]
    assert "13 of 15" in pages["wrong"] and "15 of 15" in pages["right"]
    others = [name for name in KINDS if name in pages["wrong"] and name != "wrong"]
    assert others in ([], ["right"]), "'right' is also what is said of an exercise"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_the_grader_ends_the_students_code(lab_grade, tmp_path, number):
    KINDS["slow"].submit(tmp_path / "all" / "one")
    command = [sys.executable, "-m", "labutils.cli", "grade", str(tmp_path / "all")]
    with subprocess.Popen([*command, "--out", str(tmp_path / "book.csv")]) as grader:
        assert wait_for(in_sandboxes), "the code runs"
        grader.send_signal(number)
    assert wait_for(lambda: not in_sandboxes()), "the code has ended"
    assert not (tmp_path / "book.csv").exists()


def in_sandboxes() -> list[int]:
    """Processes that run students' code."""
    running = psutil.process_iter(["cmdline"])
    return [each.pid for each in running if "/lab/inside.py" in (each.info["cmdline"] or ())]


@pytest.mark.soak
def test_two_hundred_submissions(lab_grade, tmp_path, visitors):
    names = [list(KINDS)[number % len(KINDS)] for number in range(200)]
    neighbour = KINDS["right"].submit(tmp_path / "all" / "000 right")
    for number, name in enumerate(names[1:], 1):
        placed(KINDS[name], visitors[0], neighbour).submit(tmp_path / "all" / f"{number:03} {name}")
    began = time.monotonic()
    rows = lab_grade(tmp_path / "all", tmp_path / "book.csv")
    seconds = time.monotonic() - began
    print(f"\n200 submissions in {seconds:.1f} s (measured): {200 / seconds:.1f} a second")
    for (student, _), row in rows.items():
        kind = KINDS[student[4:]]
        assert float(row["score"]) == kind.score, f"{student}: {row['reason']}"
        assert re.search(kind.reason, row["reason"])
    assert len(rows) == 200 and visitors[1] == []
