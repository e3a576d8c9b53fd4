"""nbval with the two traps that tests/conftest.py mends."""

import os
import subprocess
import sys
import time
from pathlib import Path

from nbformat import NotebookNode
from small_course import lesson, printed

from labutils import notebooks
from labutils.paths import ROOT


def run_nbval(notebook: NotebookNode, folder: Path) -> tuple[int, str, float]:
    path = folder / "lesson.ipynb"
    notebooks.write(notebook, path)
    options = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=600"]
    options += ["-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, *options, str(path)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return done.returncode, done.stdout, time.monotonic() - started


def executed(notebook: NotebookNode, *texts: str) -> NotebookNode:
    for number, (cell, text) in enumerate(zip(notebook.cells[1:], texts, strict=True), 1):
        cell.execution_count = number
        cell.outputs = [printed(text)] if text else []
    return notebook


def test_nbval_uses_this_python_and_keeps_history(tmp_path: Path) -> None:
    code = ("import sys\nprint(sys.executable)", "2;", "print(len(In))")
    good = executed(lesson(*code), f"{sys.executable}\n", "", "4\n")
    status, said, _ = run_nbval(good, tmp_path)
    assert status == 0, said


def test_nbval_finds_a_wrong_output(tmp_path: Path) -> None:
    status, said, _ = run_nbval(executed(lesson("print(2)"), "3\n"), tmp_path)
    assert status == 1
    assert "Cell outputs differ" in said


def test_nbval_notices_a_dead_kernel_within_seconds(tmp_path: Path) -> None:
    status, said, seconds = run_nbval(executed(lesson("import os\nos._exit(3)"), ""), tmp_path)
    assert status == 1
    assert "The kernel died while it ran this cell." in said
    assert seconds < 20
