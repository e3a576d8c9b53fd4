"""Submissions of every kind, made from what students are given of a lesson.

A kind says which cells it fills with what, what that deserves, and the words of the reason.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent, indent

from labutils import notebooks, release
from labutils.paths import NOTEBOOKS

LESSON = "04_api_serving"
FULL = 15.0
WITHOUT_ADVICE = 13.0


def instructors(stem: str) -> dict[str, str]:
    """The solutions of a lesson, by grade_id."""
    cells = notebooks.read(NOTEBOOKS / "en" / f"{stem}.ipynb").cells
    about = {
        cell.metadata.nbgrader["grade_id"]: cell for cell in cells if "nbgrader" in cell.metadata
    }
    return {name: c.source for name, c in about.items() if c.metadata.nbgrader["solution"]}


def submit(folder: Path, stem: str = LESSON, cells: Mapping[str, str | None] | None = None) -> Path:
    """Hand in a lesson with these cells filled; None takes a cell out."""
    notebook = copy.deepcopy(_given(stem))
    kept = []
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        source = (cells or {}).get(name, cell.source)
        if source is not None:
            cell.source = source
            kept.append(cell)
    notebook.cells = kept
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.ipynb"
    path.write_text(notebooks.dumps(notebook), "utf-8")
    return path


_cache: dict[str, notebooks.NotebookNode] = {}


def _given(stem: str) -> notebooks.NotebookNode:
    if stem not in _cache:
        _cache[stem] = release.student_copy(notebooks.read(NOTEBOOKS / "zh" / f"{stem}.ipynb"))
    return _cache[stem]


@dataclass(frozen=True)
class Kind:
    """A kind of submission of lesson 04, whose solutions are right but for these cells."""

    cells: dict[str, str | None] = field(default_factory=dict)
    score: float = WITHOUT_ADVICE
    reason: str = ""
    """A pattern in that of the gradebook."""

    def submit(self, folder: Path) -> Path:
        """Hand it in."""
        return submit(folder, LESSON, instructors(LESSON) | self.cells)


def advice(code: str, reason: str = "", score: float = WITHOUT_ADVICE, before: str = "") -> Kind:
    """A kind whose function `advice` runs this code."""
    body = indent(dedent(code).strip(), "    ")
    source = f"{dedent(before)}\ndef advice(status):\n{body}\n"
    return Kind({"advice": source}, score, reason)


KINDS = {
    "right": Kind(score=FULL),
    "wrong": advice("return 'ask again' if status else 'done'", "status 200: an answer came"),
    "slow": Kind(
        {"read-stream": "def read_stream(lines):\n    while True: pass"}, FULL - 3, "took too long"
    ),
    "slow cell": Kind({"advice": "while True: pass"}, reason="longer than 2 s"),
    "leaving": advice("import os; os._exit(0)", "ended the process"),
    "leaving politely": advice("raise SystemExit(0)", "SystemExit"),
    "crashing": advice("import ctypes; ctypes.string_at(0)", "ended the process"),
    "no Python": Kind({"advice": "def advice(status:\n"}, reason="SyntaxError"),
    "forking": advice("import os\nwhile True: os.fork()", "BlockingIOError"),
    "memory-hungry": advice("return len(bytearray(3 << 30))", "MemoryError"),
    "hungry together": advice(
        """
        import threading, time
        def eat():
            taken = [bytes(1 << 20) for _ in range(300)]
            time.sleep(60)
        threads = [threading.Thread(target=eat) for _ in range(20)]
        for each in threads: each.start()
        raise MemoryError("no more than the others")
        """,
        "MemoryError|RuntimeError",
    ),
    "many threads": advice(
        """
        import threading, time
        while True: threading.Thread(target=time.sleep, args=(60,)).start()
        """,
        "can't start new thread",
    ),
    "starting programs": advice(
        "import subprocess; return subprocess.run(['/usr/bin/id'])", "BlockingIOError"
    ),
    "writing": advice(
        """
        with open('/tmp/large', 'wb') as file:
            for _ in range(1000):
                file.write(bytes(1 << 20))
        """,
        "File too large",
    ),
    "network-calling": advice(
        "import urllib.request; return urllib.request.urlopen('http://127.0.0.1:PORT').read()",
        "URLError",
    ),
    "file-reading": advice("return open('NEIGHBOUR').read()[:200]", "FileNotFoundError"),
    "lesson-reading": advice("return open('LESSON').read()[:200]", "FileNotFoundError"),
    "record-reading": advice("return open('RECORDED').read()[:200]", "FileNotFoundError"),
    "ending others": advice("import os; os.kill(-1, 9)", "No such process"),
    "tampering with tests": Kind(
        {"advice": None, "advice-test": "print('advice: right')"}, reason="advice-test was edited"
    ),
    "without tests": Kind({"advice-test": None, "advice": "advice = 1"}, reason="not callable"),
    "patching": advice(
        "return ''",
        "TypeError",
        score=0.0,  # it broke the process that the other answers come from, too
        before="""
        import builtins, json, pickle, sys
        class Always:
            def __eq__(self, other): return True
            def __ne__(self, other): return False
        builtins.AssertionError = builtins.repr = Always
        builtins.str = Always
        sys.modules['operator'] = Always()
        """,
    ),
    "always equal": advice(
        "return Always()",
        "no plain value",
        before="""
        class Always(dict):
            __class__ = str
            def __eq__(self, other): return True
        """,
    ),
    "forging answers": advice(
        """
        import os, sys
        text = b'{"value": {"object": ["builtins", "exec"]}}'
        os.write(int(sys.argv[1]), len(text).to_bytes(4, 'big') + text)
        """,
        "no plain value",
        score=WITHOUT_ADVICE - 4,  # the answer that it should have sent is taken for the next one
    ),
}
"""One of each."""


def damaged(folder: Path) -> dict[str, str]:
    """Hand in files that are no notebooks; the reason that each has to get."""
    texts = {
        "no JSON": "print('hello')",
        "nested": '{"cells": ' + "[" * 200_000,
        "other JSON": json.dumps({"cells": [{"cell_type": "code", "source": 7, "metadata": []}]}),
    }
    for name, text in texts.items():
        (folder / name).mkdir(parents=True)
        (folder / name / f"{LESSON}.ipynb").write_text(text)
    return dict.fromkeys(texts, "not a valid notebook")
