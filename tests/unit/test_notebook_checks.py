"""Every rule that lessons keep is noticed when it is broken, and only then."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from small_course import load, messages, printed, save, translate

from labutils import notebooks
from labutils.errors import LabError
from labutils.notebook_checks import read_glossary
from labutils.paths import ROOT


def test_a_good_lesson_has_no_findings(root: Path, glossary: Path) -> None:
    assert messages(root, glossary) == []


def set_source(cell: int, text: str) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells[cell].update(source=text)


def set_outputs(*outputs: NotebookNode) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells[1].update(outputs=list(outputs))


def set_tags(*tags: str) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells[1].metadata.update(tags=list(tags))


def set_count(count: int | None) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells[1].update(execution_count=count)


def ignore_all(notebook: NotebookNode) -> None:
    for cell in notebook.cells[1:]:
        cell.metadata.tags = ["nbval-ignore-output"]


def never_executed(notebook: NotebookNode) -> None:
    for cell in notebook.cells[1:]:
        cell.execution_count = None


def drop_code(notebook: NotebookNode) -> None:
    del notebook.cells[1:]


ERROR = new_output("error", ename="ValueError", evalue="no", traceback=["no"])
IMPORT = "import labutils\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_source(1, "print(2)"), "has to import from labutils"),
        (drop_code, "no code cell"),
        (set_source(1, IMPORT + "x = " + "1" * 73), "A line has 77 columns"),
        (set_source(1, IMPORT + "!pip install x"), "Leave '!pip' out"),
        (set_source(1, IMPORT + "%pip install x"), "Leave '%pip' out"),
        (set_source(1, IMPORT + "!python3 -m pip install x"), "pip' out"),
        (set_source(1, IMPORT + "import sys; sys.path.append('x')"), "'sys.path' out"),
        (set_source(1, IMPORT + "open('/home/me/x')"), "'/home/me/x"),
        (set_outputs(printed("see /root/x\n")), "'/root/x' exists on one machine"),
        (set_outputs(printed(f"{ROOT}/build\n")), "exists on one machine"),
        (set_outputs(ERROR), "The output is a ValueError"),
        (set_count(None), "c1: The cell was never executed"),
        (never_executed, "The lesson was never executed"),
        (set_count(3), "Execution count 3 where 1 belongs"),
        (set_tags("nbval-skip"), "skipped cell proves nothing"),
        (set_source(1, IMPORT + "# NBVAL_IGNORE_OUTPUT"), "Use a tag"),
        (ignore_all, "Only 0 of 2 outputs are compared"),
        (ignore_all, "assert what must hold"),
        (set_source(0, "# KV cache\n\n![](a.svg)"), "no alt text"),
        (set_source(0, '# KV cache\n\n<img src="a.svg">'), "no alt text"),
    ],
)
def test_rules_of_a_notebook(
    root: Path, glossary: Path, change: Callable[[NotebookNode], None], message: str
) -> None:
    english = load(root, "en")
    change(english)
    save(english, root)
    notebooks.sync(root=root)
    assert any(message in text for text in messages(root, glossary))


@pytest.mark.parametrize(
    "output",
    ["http://127.0.0.1:8000/home/x", "build/tmp/x", "a/home/b", "1/2", "</var>"],
)
def test_portable_outputs_are_left_alone(root: Path, glossary: Path, output: str) -> None:
    english = load(root, "en")
    english.cells[1].outputs = [printed(output)]
    save(english, root)
    notebooks.sync(root=root)
    assert messages(root, glossary) == []


@pytest.mark.parametrize("distance", [0, 1, 2, 3])
def test_an_assert_must_be_near(root: Path, glossary: Path, distance: int) -> None:
    english = load(root, "en")
    english.cells += [
        new_code_cell("y = 1", id=f"d{number}", execution_count=number + 3) for number in range(5)
    ]
    english.cells[2].metadata.tags = ["nbval-ignore-output"]
    english.cells[2 + distance].source = "assert 2 + 2 == 4"
    english.cells[4].outputs = [printed("1")]
    english.cells[5].outputs = [printed("1")]
    save(english, root)
    notebooks.sync(root=root)
    assert bool(messages(root, glossary)) == (distance > 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_source(1, "print(3)"), "c1: The cell differs from the English"),
        (lambda notebook: notebook.cells.pop(), "c2: The cell is missing in Chinese"),
        (lambda notebook: notebook.cells.reverse(), "another order"),
        (
            lambda notebook: notebook.cells.append(new_markdown_cell("多余", id="extra")),
            "extra: The cell is gone from the English",
        ),
        (set_source(0, "# 缓存\n\n模型的 KV 缓存！"), "out of step"),
        (set_source(0, ""), "The Chinese text is missing"),
        (set_source(0, "# Caches\n\nThe KV cache of a model."), "is the English one"),
        (set_source(0, "# 缓冲\n\n模型的 KV 缓冲。"), "KV 缓存 or 键值缓存 for 'KV cache'"),
    ],
)
def test_rules_of_the_editions(
    root: Path, glossary: Path, change: Callable[[NotebookNode], None], message: str
) -> None:
    chinese = load(root, "zh")
    change(chinese)
    save(chinese, root, edition="zh")
    assert any(message in text for text in messages(root, glossary))


def test_a_lesson_needs_both_editions(root: Path, glossary: Path) -> None:
    (root / "zh" / "00_cache.ipynb").rename(root / "zh" / "09_alone.ipynb")
    found = messages(root, glossary)
    assert any(text.startswith("zh/00_cache.ipynb: This lesson has no Chinese") for text in found)
    assert any(text.startswith("zh/09_alone.ipynb: This lesson has no English") for text in found)


def test_the_english_file_is_stored_as_the_tools_do(root: Path, glossary: Path) -> None:
    path = root / "en" / "00_cache.ipynb"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8"))), "utf-8")
    assert "not as the tools store it" in messages(root, glossary)[0]


@pytest.mark.parametrize(
    ("english", "chinese", "terms"),
    [
        ("Two KV caches.", "两份KV缓存。", []),  # plural, spacing, longest term only
        ("Two KV caches.", "两份缓存。", ["KV cache"]),
        ("Decoding is slow.", "逐个生成很慢。", ["decode"]),
        ("The `cache` flag and $cache$.", "这个选项与公式。", []),  # code and formulas do not count
        ("Look at the prompt.", "看一看。", []),  # may be left out
        ("A cacheable, decoder-only thing.", "可以复用的东西。", []),  # other words
    ],
)
def test_glossary(root: Path, glossary: Path, english: str, chinese: str, terms: list[str]) -> None:
    source = load(root, "en")
    source.cells[0].source = english
    save(source, root)
    translate(root, chinese)
    found = [re.search(r"for '(.+)':", text)[1] for text in messages(root, glossary)]
    assert found == terms


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "en,zh,note\n", "en,zh,note\ncache,,\n"])
def test_a_broken_glossary_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "glossary.csv").write_text(text)
    with pytest.raises(LabError):
        read_glossary(tmp_path / "glossary.csv")
