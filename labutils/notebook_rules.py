"""The rules that one notebook keeps by itself, whatever its language.

Cells are narrow and executed once, in order; their outputs are free of errors and of one machine's
paths. nbval compares most outputs, and an assert follows what it cannot compare.

Not here: what the two editions owe each other (`notebook_checks`), and whether outputs are right:
nbval runs the cells and compares.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from nbformat import NotebookNode

from labutils.paths import ROOT

MAX_COLUMNS = 76
MIN_COMPARED = 0.6
ASSERT_WITHIN = 2

Remark = tuple[str, str]
"""The id of the cell, or '', and one sentence."""

_UNTIDY = re.compile(r"^\s*[!%]+\s*(?:\S*python\S* -m )?pip\b|\bsys\.path\b", re.MULTILINE)
_OWN_FOLDERS = "|".join(re.escape(f"{each}/") for each in (ROOT, Path.home()) if each.name)
_FOREIGN_PATH = re.compile(
    rf"{_OWN_FOLDERS}|(?<![\w.:/~-])/(?:home|root|tmp|var|opt|usr|mnt|srv|private|Users)/"
)
_NO_ALT = re.compile(r"!\[\s*\]\(|<img\b(?![^>]*\balt=[\"'][^\"'])", re.IGNORECASE)
_ASSERT = re.compile(r"^\s*assert\b", re.MULTILINE)
_NBVAL_COMMENT = re.compile(r"^\s*#+\s*(?:NBVAL|PYTEST_VALIDATE)_\w+", re.MULTILINE)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The notebook's code cells, in order."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def _output_texts(cell: NotebookNode) -> Iterator[str]:
    for output in cell.outputs:
        yield output.get("text", "")
        yield "\n".join(output.get("traceback", ()))
        data = output.get("data", {})
        yield from (value for key, value in data.items() if key.startswith("text/"))


def starts_with_labutils(notebook: NotebookNode) -> Iterator[Remark]:
    """The first code cell imports from labutils."""
    first = next(iter(code_cells(notebook)), None)
    if first is None:
        yield "", "The lesson has no code cell: show the real thing running."
    elif not re.search(r"^\s*(from|import) labutils\b", first.source, re.MULTILINE):
        yield first.id, "The first code cell has to import from labutils."


def lines_are_narrow(notebook: NotebookNode) -> Iterator[Remark]:
    """No code line is wider than 76 columns."""
    for cell in code_cells(notebook):
        widest = max(map(len, cell.source.splitlines()), default=0)
        if widest > MAX_COLUMNS:
            yield cell.id, f"A line has {widest} columns: keep to {MAX_COLUMNS}."


def environment_is_left_alone(notebook: NotebookNode) -> Iterator[Remark]:
    """No cell installs packages or edits sys.path."""
    for cell in code_cells(notebook):
        if found := _UNTIDY.search(cell.source):
            yield cell.id, f"Leave {found[0].strip()!r} out: the course's set-up does that."


def executed_in_order(notebook: NotebookNode) -> Iterator[Remark]:
    """The execution counts are 1..n: one run of a fresh kernel made all outputs."""
    if all(cell.execution_count is None for cell in code_cells(notebook)):
        yield "", "The lesson was never executed: run `lab notebooks run --write`."
        return
    for expected, cell in enumerate(code_cells(notebook), 1):
        if cell.execution_count is None:
            yield cell.id, "The cell was never executed: run `lab notebooks run --write`."
        elif cell.execution_count != expected:
            message = f"Execution count {cell.execution_count} where {expected} belongs: run again."
            yield cell.id, message
            return  # every later count is off too


def outputs_are_portable(notebook: NotebookNode) -> Iterator[Remark]:
    """No absolute path of somebody's machine in code or outputs."""
    for cell in code_cells(notebook):
        for text in (cell.source, *_output_texts(cell)):
            if found := _FOREIGN_PATH.search(text):
                shown = re.match(r"[^\s'\"()<>]+", text[found.start() :])[0][:60]
                yield cell.id, f"{shown!r} exists on one machine only: print a relative path."
                break


def outputs_are_not_errors(notebook: NotebookNode) -> Iterator[Remark]:
    """No error output, but where the tag raises-exception announces it."""
    for cell in code_cells(notebook):
        errors = [output for output in cell.outputs if output.output_type == "error"]
        if errors and "raises-exception" not in _tags(cell):
            yield cell.id, f"The output is a {errors[0].ename}: mend the cell."


def nothing_is_skipped(notebook: NotebookNode) -> Iterator[Remark]:
    """No cell escapes nbval, and its options are tags, where this check sees them."""
    for cell in code_cells(notebook):
        if {"nbval-skip", "skip-execution"} & set(_tags(cell)):
            yield cell.id, "A skipped cell proves nothing: drop the tag."
        if found := _NBVAL_COMMENT.search(cell.source):
            yield cell.id, f"Use a tag in place of the comment {found[0].strip()!r}."


def most_outputs_are_compared(notebook: NotebookNode) -> Iterator[Remark]:
    """nbval compares at least 60 % of the cells that have an output."""
    speaking = [cell for cell in code_cells(notebook) if cell.outputs]
    compared = sum("nbval-ignore-output" not in _tags(cell) for cell in speaking)
    if speaking and compared < MIN_COMPARED * len(speaking):
        share = f"{compared} of {len(speaking)} outputs are compared"
        yield "", f"Only {share}: print what is the same on every machine ({MIN_COMPARED:.0%})."


def ignored_outputs_are_asserted(notebook: NotebookNode) -> Iterator[Remark]:
    """What nbval cannot compare is asserted in that cell or in one of the next two."""
    cells = code_cells(notebook)
    for index, cell in enumerate(cells):
        nearby = cells[index : index + ASSERT_WITHIN + 1]
        ignored = "nbval-ignore-output" in _tags(cell)
        if ignored and not any(_ASSERT.search(each.source) for each in nearby):
            yield cell.id, "The output is not compared: assert what must hold right after it."


def images_have_alt_text(notebook: NotebookNode) -> Iterator[Remark]:
    """Images in prose say in words what they show."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and _NO_ALT.search(cell.source):
            yield cell.id, "An image has no alt text: say what it shows."


RULES: tuple[Callable[[NotebookNode], Iterator[Remark]], ...] = (
    starts_with_labutils,
    lines_are_narrow,
    environment_is_left_alone,
    executed_in_order,
    outputs_are_portable,
    outputs_are_not_errors,
    nothing_is_skipped,
    most_outputs_are_compared,
    ignored_outputs_are_asserted,
    images_have_alt_text,
)
