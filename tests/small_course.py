"""A course of one small lesson in both languages, which keeps every rule; no language model."""

from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labutils import notebooks
from labutils.notebook_checks import check

GLOSSARY = """en,zh,note
KV cache,KV 缓存|键值缓存,
cache,缓存,
decode|decoding,解码,
prompt,提示词|*,
"""


def printed(text: str) -> NotebookNode:
    return new_output("stream", name="stdout", text=text)


def lesson(*codes: str, title: str = "Caches") -> NotebookNode:
    """A lesson whose code cells are `c1`, `c2` …, never executed."""
    cells = [new_markdown_cell(f"# {title}\n\nThe KV cache of a model.", id="title")]
    cells += [new_code_cell(code, id=f"c{number}") for number, code in enumerate(codes, 1)]
    return notebooks.normalize(new_notebook(cells=cells))


def make(root: Path) -> Path:
    """A course whose only lesson keeps every rule."""
    english = lesson("from labutils import LabError\nprint(2)", "2 + 2")
    english.cells[1].update(execution_count=1, outputs=[printed("2\n")])
    four = new_output("execute_result", data={"text/plain": "4"}, execution_count=2)
    english.cells[2].update(execution_count=2, outputs=[four])
    save(english, root)
    translate(root, "# 缓存\n\n模型的 KV 缓存。")
    return root


def save(notebook: NotebookNode, root: Path, name: str = "00_cache", edition: str = "en") -> None:
    notebooks.write(notebook, root / edition / f"{name}.ipynb")


def load(root: Path, edition: str, name: str = "00_cache") -> NotebookNode:
    return notebooks.read(root / edition / f"{name}.ipynb")


def translate(root: Path, text: str, cell: int = 0) -> None:
    notebooks.sync(root=root)
    chinese = load(root, "zh")
    chinese.cells[cell].source = text
    save(chinese, root, edition="zh")
    notebooks.sync(root=root)


def messages(root: Path, glossary: Path) -> list[str]:
    """What is wrong with a course, a sentence each."""
    return [str(finding) for finding in check(root=root, glossary=glossary)]
