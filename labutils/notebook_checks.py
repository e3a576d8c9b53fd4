"""Every rule that the lessons keep, as findings of one sentence each.

Here is what the editions owe each other: the same code cells and outputs, every prose cell
translated, no stale translation, terms as in `data/glossary.csv`.

Not here: the rules of a notebook by itself (`notebook_rules`), mending what is found (`notebooks`).
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from labutils.errors import LabError
from labutils.notebook_rules import RULES, Remark, images_have_alt_text
from labutils.notebooks import (
    CHINESE,
    EDITIONS,
    ENGLISH,
    digest,
    dumps,
    has_words,
    lessons,
    merge,
    normalize,
    prose,
    read,
)
from labutils.paths import DATA, NOTEBOOKS

GLOSSARY = DATA / "glossary.csv"


@dataclass(frozen=True)
class Finding:
    """One broken rule: the notebook ('en/03_chat.ipynb'), the cell's id or '', one sentence."""

    notebook: str
    cell: str
    message: str

    def __str__(self) -> str:
        return f"{self.notebook}{':' * bool(self.cell)}{self.cell}: {self.message}"


@dataclass(frozen=True)
class Term:
    """A glossary row: ways to write a term in English, and the Chinese that may stand for it."""

    english: tuple[str, ...]
    chinese: tuple[str, ...]


def check(
    names: Sequence[str] = (), *, root: Path = NOTEBOOKS, glossary: Path = GLOSSARY
) -> list[Finding]:
    """Every broken rule in the lessons of `names` (all of them when empty), in course order.

    Raises:
        LabError: no such lesson, an unreadable notebook or glossary.
    """
    terms = read_glossary(glossary)
    found = [] if names else _without_english(root)
    for stem in lessons(names, root=root):
        english, chinese = (root / edition / f"{stem}.ipynb" for edition in EDITIONS)
        source = read(english)
        found += _findings(english, _english_remarks(source, english.read_text("utf-8")))
        if chinese.exists():
            remarks = _chinese_remarks(normalize(source), read(chinese), chinese, terms)
        else:
            remarks = iter([("", "This lesson has no Chinese edition: run `lab notebooks sync`.")])
        found += _findings(chinese, remarks)
    return found


def _findings(path: Path, remarks: Iterator[Remark]) -> list[Finding]:
    notebook = f"{path.parent.name}/{path.name}"
    return [Finding(notebook, cell, message) for cell, message in remarks]


def _without_english(root: Path) -> list[Finding]:
    chinese, english = (
        {path.name for path in (root / edition).glob("*.ipynb")} for edition in (CHINESE, ENGLISH)
    )
    message = "This lesson has no English edition: write it, or delete the Chinese one."
    return [Finding(f"{CHINESE}/{name}", "", message) for name in sorted(chinese - english)]


# --- The editions -------------------------------------------------------------------------------


def _english_remarks(notebook: NotebookNode, text: str) -> Iterator[Remark]:
    for rule in RULES:
        yield from rule(notebook)
    if text != dumps(normalize(notebook)):
        yield "", "The file is not as the tools store it: run `lab notebooks sync`."


def _chinese_remarks(
    english: NotebookNode, chinese: NotebookNode, path: Path, terms: Sequence[Term]
) -> Iterator[Remark]:
    expected = merge(english, chinese)
    drift = list(_drift(expected, chinese))
    if not drift and path.read_text("utf-8") != dumps(expected):
        drift = [("", "The editions are out of step: run `lab notebooks sync`.")]
    yield from drift
    sources = {cell.id: cell.source for cell in english.cells}
    for cell in chinese.cells:
        if cell.cell_type == "markdown" and cell.id in sources:
            yield from _prose_remarks(cell, sources[cell.id], terms)
    yield from images_have_alt_text(chinese)


def _drift(expected: NotebookNode, actual: NotebookNode) -> Iterator[Remark]:
    wanted, present = ({cell.id: cell for cell in each.cells} for each in (expected, actual))
    for cell_id, cell in wanted.items():
        if cell_id not in present:
            yield cell_id, "The cell is missing in Chinese: run `lab notebooks sync`."
        elif cell.cell_type != "markdown" and cell != present[cell_id]:
            yield (
                cell_id,
                "The cell differs from the English edition: run `lab notebooks sync`.",
            )
    for cell_id in present.keys() - wanted.keys():
        yield (
            cell_id,
            "The cell is gone from the English edition: run `lab notebooks sync`.",
        )
    if wanted.keys() == present.keys() and list(wanted) != list(present):
        yield (
            "",
            "The cells are in another order than in English: run `lab notebooks sync`.",
        )


def _prose_remarks(cell: NotebookNode, english: str, terms: Sequence[Term]) -> Iterator[Remark]:
    """At most one remark about the translation as a whole, else those about its terms."""
    state = cell.metadata.get("lab", {})
    current = state.get("source_sha") == digest(english)
    accepted = current and state.get("text_sha") == digest(cell.source)
    if not cell.source.strip() and english.strip():
        yield cell.id, "The Chinese text is missing: write it."
    elif "untranslated" in state:
        yield cell.id, "The cell still has its English text: translate it."
    elif cell.source == english:
        if has_words(english) and not accepted:
            yield (
                cell.id,
                "The Chinese text is the English one: translate it, or accept it "
                "(lab notebooks sync --accept).",
            )
    elif state and not current:
        yield (
            cell.id,
            "The English text changed: update the translation, or accept it "
            "(lab notebooks sync --accept).",
        )
    else:
        yield from _term_remarks(cell, english, terms)


def _term_remarks(cell: NotebookNode, english: str, terms: Sequence[Term]) -> Iterator[Remark]:
    chinese = _squeeze(cell.source)
    for term in terms_in(english, terms):
        if not any(choice == "*" or _squeeze(choice) in chinese for choice in term.chinese):
            choices = " or ".join(term.chinese)
            yield (
                cell.id,
                f"The glossary has {choices} for {term.english[0]!r}: use that.",
            )


def terms_in(english: str, terms: Sequence[Term]) -> list[Term]:
    """The glossary's terms in a text, longest first, so that 'KV cache' is not also 'cache'."""
    by_word = {word.lower(): term for term in terms for word in term.english}
    words = sorted(by_word, key=len, reverse=True)
    if not words:
        return []
    pattern = rf"(?<![\w-])({'|'.join(map(re.escape, words))})(?:s|es)?(?![\w-])"
    found = re.findall(pattern, " ".join(prose(english).split()), re.IGNORECASE)
    return list(dict.fromkeys(by_word[word.lower()] for word in found))


def _squeeze(text: str) -> str:
    return re.sub(r"\s+", "", text).lower()


def read_glossary(path: Path = GLOSSARY) -> list[Term]:
    """The terms of a csv with columns en, zh, note; '|' separates ways to say the same.

    A '*' among the Chinese ways is for common words that a good translation may also leave out.

    Raises:
        LabError: the file is missing or has other columns, or a row lacks a side.
    """
    if not path.is_file():
        raise LabError(f"{path} is missing: restore it with git.")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or set(rows[0]) != {"en", "zh", "note"}:
        raise LabError(f"{path} needs the columns en, zh, note and at least one term.")
    if lacking := next((row for row in rows if not (row["en"] and row["zh"])), None):
        raise LabError(f"{path}: the term {lacking['en'] or lacking['zh']!r} lacks its other side.")
    return [Term(tuple(row["en"].split("|")), tuple(row["zh"].split("|"))) for row in rows]
