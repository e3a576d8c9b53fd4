"""The peak of a GPU's memory, as a stand-in for nvidia-smi tells it."""

import json
import os
import time

import nbformat
import pytest

from labutils import course
from labutils.gpu import memory


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """An nvidia-smi that says these lines and goes on; the file that notes how it was called."""

    def put(*lines: str):
        said = "\n".join(f"echo '{line}'" for line in lines)
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f'#!/bin/sh\necho "$$ $@" > {tmp_path}/called\n{said}\nexec sleep 60\n')
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        return tmp_path / "called"

    return put


def wait_for(peak: memory.Peak, mib: int) -> None:
    end = time.monotonic() + 10
    while peak.mib != mib and time.monotonic() < end:
        time.sleep(0.02)


def test_the_largest_figure_counts_and_the_tool_ends(smi, monkeypatch):
    called = smi("4", "31931", "[N/A]", "", "120")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    with memory.watch() as peak:
        wait_for(peak, 31931)
    assert peak.mib == 31931
    number, words = called.read_text().split(" ", 1)
    assert "-i 1 -lms" in words
    assert not os.path.exists(f"/proc/{number}")


def test_without_the_tool_there_is_no_figure(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with memory.watch() as peak:
        pass
    assert peak.mib is None


def test_a_lesson_run_tells_its_peak_only_where_there_was_one():
    plain = course.LessonRun("en", "05_kv", "today", 1.0, 3, 3)
    assert "MiB" not in str(plain)
    assert "31,931 MiB" in str(course.LessonRun("en", "05_kv", "today", 1.0, 3, 3, "", 31931))


def test_a_record_says_where_its_figures_come_from(tmp_path):
    (tmp_path / "en").mkdir()
    for lesson, day in (("04_long_ago", 1), ("05_kv", 26)):
        notebook = nbformat.v4.new_notebook()
        started = f"2026-11-{day:02}T15:00:00+00:00"
        notebook.metadata.lab_run = {"lesson": lesson, "gpu_mib": 31931, "started": started}
        nbformat.write(notebook, tmp_path / "en" / f"{lesson}.ipynb")
    asked, begun = ["04_long_ago", "05_kv", "06_never_ran"], "2026-11-26T14:59:59+00:00"
    course._record(tmp_path / "out.json", asked, begun, executed=tmp_path)
    found = json.loads((tmp_path / "out.json").read_text())
    assert [(run["lesson"], run["gpu_mib"]) for run in found["lessons"]] == [("05_kv", 31931)]
    assert found["versions"] and found["hashes"] and found["command"].startswith("LAB_MODEL=")


def test_stored_outputs_are_not_recorded(tmp_path, capsys):
    with pytest.raises(course.LabError, match="--record"):
        course.main(["05"], write=True, record=str(tmp_path / "out.json"))
