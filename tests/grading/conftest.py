"""Grading by `lab grade`, as an instructor starts it; it skips where nothing can be isolated."""

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from labutils.grading import sandbox

Rows = dict[tuple[str, str], dict[str, str]]
"""Rows of the gradebook, by student and lesson."""


@pytest.fixture(scope="session")
def lab_grade() -> Callable[..., Rows]:
    """Grade a folder; the rows of the gradebook."""
    if problem := sandbox.why_not():
        pytest.skip(f"submissions cannot be isolated: {problem}")

    def grade(folder: Path, out: Path, *options: str) -> Rows:
        command = [sys.executable, "-m", "labutils.cli", "grade", str(folder), "--out", str(out)]
        ended = subprocess.run([*command, *options], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        with out.open(newline="", encoding="utf-8") as file:
            return {(r["student_id"], r["assignment"]): r for r in csv.DictReader(file)}

    return grade
