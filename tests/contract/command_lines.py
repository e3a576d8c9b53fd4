"""Every `lmdeploy …` line that the course prints, each with the releases it may be for.

CONTRIBUTING.md says how a line names its release. Notebooks are read cell by cell, other documents
paragraph by paragraph; a paragraph or cell is what "the text beside a line" means.
"""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from labutils.commands import history
from labutils.paths import NOTEBOOKS, ROOT

DOCUMENTS = ("README*.md", "CONTRIBUTING.md", "CHANGELOG.md", "notebooks/*/guides/*.md")
CLASSIC = "0.2.4"
RELEASE = re.compile(r"\d+\.\d+\.\d+(?:\.post\d+)?")
BEFORE = re.compile(rf"before (?:LMDeploy )?({RELEASE.pattern})|({RELEASE.pattern})\s*之前")
FENCE = re.compile(r"^( *)```(.*?)\n(.*?)^\1```", re.M | re.S)
TABLE = re.compile(r"(?:^\|.*\n?)+", re.M)
INLINE = re.compile(r"`([^`]+)`")
SHELL = re.compile(r"^[$!]?\s*(?:\w+=\S+ )*(?:lab classic )?(?:\S*/)?lmdeploy( |$)")
COMMANDS = {name.split()[0] for name in history.commands()}


@dataclass(frozen=True)
class Printed:
    """A line, where it is printed, and the releases of which one has to accept it."""

    place: str
    line: str
    releases: tuple[str, ...]


def printed() -> list[Printed]:
    """All lines of notebooks and documents."""
    found = []
    for path in sorted(NOTEBOOKS.glob("*/*.ipynb")):
        for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
            read = markdown if cell["cell_type"] == "markdown" else code
            found += read(f"{path.relative_to(ROOT)}[{number}]", "".join(cell["source"]))
    for path in sorted(p for pattern in DOCUMENTS for p in ROOT.glob(pattern)):
        for part in _paragraphs(path.read_text(encoding="utf-8")):
            found += markdown(path.name, part)
    return found


def _paragraphs(text: str) -> list[str]:
    """Fenced blocks whole, the rest split at empty lines."""
    blocks = [match.group() for match in FENCE.finditer(text)]
    return [*blocks, *re.split(r"\n\s*\n", FENCE.sub("", text))]


def markdown(place: str, text: str) -> Iterator[Printed]:
    """Lines of fenced and indented blocks, of tables, and inline code."""
    for match in FENCE.finditer(text):
        named = re.search(r"lmdeploy=(\S+?)\}?$", match[2].strip())
        yield from _shell(place, match[3], (named[1] if named else history.today(),))
    text = FENCE.sub("", text)
    indented = "\n".join(re.findall(r"^ {4}(.*)$", text, re.M))
    yield from _shell(place, indented, (history.today(),))
    for table in TABLE.findall(text):
        yield from _table(place, table.splitlines())
    prose = TABLE.sub("", text)
    for line in _inline(prose):
        yield _printed(place, line, (history.today(), *_named(prose)))


def code(place: str, text: str) -> Iterator[Printed]:
    """Shell lines of a code cell, argument lists, and strings that are whole command lines."""
    if text.startswith(("%%bash", "%%sh", "%%script")):
        yield from _shell(place, text, (history.today(),))
        return
    yield from _shell(place, "\n".join(re.findall(r"^!(.*)$", text, re.M)), (history.today(),))
    tree = ast.parse(re.sub(r"^([!%].*)$", "pass", text, flags=re.M))
    asks = "explain" in {getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(tree)}
    for node in ast.walk(tree):
        line = _argument_list(node) if isinstance(node, ast.List) else None
        line = line if asks else line or _string(node)  # explain() may be asked about any line
        if line:
            yield _printed(place, line, (history.today(),))


def _argument_list(node: ast.List) -> str | None:
    """["lmdeploy", "chat", model] as `lmdeploy chat MODEL`."""
    words = [n.value if isinstance(n, ast.Constant) else "VALUE" for n in node.elts]
    line = " ".join(f"'{word}'" if " " in str(word) else str(word) for word in words)
    return line if SHELL.match(line) else None


def _string(node: ast.AST) -> str | None:
    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
    whole = SHELL.match(text) and "\n" not in text and text.split("lmdeploy ")[-1].split(" ")[0]
    return text if whole in COMMANDS else None


def _shell(place: str, text: str, releases: tuple[str, ...]) -> Iterator[Printed]:
    for line in text.replace("\\\n", " ").splitlines():
        if SHELL.match(line.strip()):
            yield _printed(place, line.strip(), releases)


def _table(place: str, rows: list[str]) -> Iterator[Printed]:
    """Cells are for the release that their column's heading names, else today's or their row's."""
    heads: list[str] = []
    for row in rows:
        cells = row.strip().strip("|").split("|")
        heads = heads or cells
        for head, cell in zip(heads, cells, strict=False):
            for line in _inline(cell):
                releases = _named(head) or [history.today(), *_named(row)]
                yield _printed(place, line, tuple(releases))


def _inline(text: str) -> list[str]:
    found = (" ".join(span.split()) for span in INLINE.findall(text))
    return [line for line in found if SHELL.match(line) and line != "lmdeploy"]


def _named(text: str) -> list[str]:
    """Releases that a text names; for "before 0.5.1", the one that came before."""
    known = list(history.releases())
    before = {a or b for a, b in BEFORE.findall(text)} & {*known[1:]}
    return [*(r for r in RELEASE.findall(text) if r in known), *(_previous(r) for r in before)]


def _previous(release: str) -> str:
    known = list(history.releases())
    return known[known.index(release) - 1]


def _printed(place: str, line: str, releases: tuple[str, ...]) -> Printed:
    return Printed(place, line, (CLASSIC,) if "lab classic" in line else releases)
