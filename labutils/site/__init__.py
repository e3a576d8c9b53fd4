"""Build the course's site: static pages of both editions that need no network and no server.

A page shows the outputs of the executed copy of its lesson as long as the code is the same, those
of the other edition's run if it was not executed itself, and the committed ones otherwise; it says
which. Widgets are shown as text, because their scripts would have to be fetched and could do
nothing without a kernel.

Not here: how the pages look (`conf.py` and the files beside it), executing lessons (`course`).
"""

import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from labutils.errors import LabError
from labutils.notebooks import CHINESE, EDITIONS, ENGLISH, dumps, read
from labutils.paths import NOTEBOOKS

_HERE = Path(__file__).parent
_NAMES = {ENGLISH: "English", CHINESE: "中文"}
_GUIDES = {ENGLISH: "Guides", CHINESE: "指南"}
_NOTES = {
    ENGLISH: {
        "ran": "Run here on {when} in {seconds:g} s.",
        "failed": "**The run of {when} stopped in cell {cell}: `{error}`.** The rest did not run.",
        "recorded": "Recorded outputs: this lesson was not run here.",
        "home": "All lessons",
    },
    CHINESE: {
        "ran": "{when} 在本机运行，用时 {seconds:g} 秒。",
        "failed": "**{when} 的运行停在第 {cell} 个代码单元：`{error}`。**其后的单元没有运行。",
        "recorded": "以下为随课程附带的输出，本课尚未在本机运行。",
        "home": "全部课程",
    },
}


def can_build() -> bool:
    """Whether Sphinx is installed; a folder of its name does not count."""
    try:
        return bool(metadata.version("sphinx"))
    except metadata.PackageNotFoundError:
        return False


def build_site(
    out: Path,
    *,
    executed: Path,
    root: Path = NOTEBOOKS,
) -> Path:
    """Build the site in a temporary folder, put it in place of `out`, return its opening page.

    Beside the pages lies `course.json`, the records of the runs whose outputs they show.

    Args:
        executed: executed copies, `EDITION/LESSON.ipynb`, with the record of their run in the
            metadata `lab_run`.

    Raises:
        LabError: an unreadable notebook, or Sphinx could not build the site.
        KeyboardInterrupt: with one sentence; the old site is still there.
    """
    work = out.with_name(f".{out.name}.new")
    shutil.rmtree(work, ignore_errors=True)
    try:
        runs = _stage(work / "source", executed, root)
        _sphinx(work)
        (work / "html" / "course.json").write_text(json.dumps(runs, indent=1), "utf-8")
        _replace(work / "html", out)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("Stopped while building the site: the old one stays.") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return out / "index.html"


def _replace(new: Path, out: Path) -> None:
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    new.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _sphinx(work: Path) -> None:
    options = ["-q", "-b", "html", "-c", str(_HERE), "-d", str(work / "doctrees")]
    command = [
        sys.executable,
        "-m",
        "sphinx",
        *options,
        str(work / "source"),
        str(work / "html"),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise LabError(f"Sphinx could not build the course's site: {reason}")


# --- Staging: the sources that Sphinx reads -----------------------------------------------------


def _stage(source: Path, executed: Path, root: Path) -> list[NotebookNode]:
    """Copy figures, write every page and the opening page; the runs that the pages show."""
    shutil.copytree(root, source, ignore=shutil.ignore_patterns("*.ipynb", ".*"))
    pages = {
        (edition, path.stem): _page(path, edition, executed, root)
        for edition in EDITIONS
        for path in sorted((root / edition).glob("*.ipynb"))
    }
    for (edition, stem), notebook in pages.items():
        (source / edition).mkdir(exist_ok=True)
        (source / edition / f"{stem}.ipynb").write_text(dumps(notebook), "utf-8")
    runs = [page.metadata.lab_run for page in pages.values() if "lab_run" in page.metadata]
    (source / "index.md").write_text(_opening_page(pages, runs), "utf-8")
    return [run for number, run in enumerate(runs) if run not in runs[:number]]


def _page(path: Path, edition: str, executed: Path, root: Path) -> NotebookNode:
    """A lesson with its run's outputs and, under its title, a line that says where from."""
    notebook = read(path)
    ran = _executed_copy(notebook, path, edition, executed)
    if ran:
        outputs = {cell.id: cell for cell in ran.cells if cell.cell_type == "code"}
        for cell in notebook.cells:
            if cell.id in outputs:
                cell.outputs = outputs[cell.id].outputs
                cell.execution_count = outputs[cell.id].execution_count
        notebook.metadata.lab_run = ran.metadata.lab_run
    _widgets_as_text(notebook, ran.metadata.get("widgets", {}) if ran else {})
    twin = next(each for each in EDITIONS if each != edition)
    has_twin = (root / twin / path.name).exists()
    note = _note(notebook, edition, f"../{twin}/{path.name}" if has_twin else "", _NAMES[twin])
    notebook.cells.insert(1, new_markdown_cell(note))
    return notebook


def _executed_copy(
    notebook: NotebookNode, path: Path, edition: str, executed: Path
) -> NotebookNode | None:
    """The latest run of this lesson's code, this edition's own before the other's."""
    for each in sorted(EDITIONS, key=lambda other: other != edition):
        copy = executed / each / path.name
        if copy.exists() and _code(ran := read(copy)) == _code(notebook):
            return ran
    return None


def _code(notebook: NotebookNode) -> list[tuple[str, str]]:
    return [(cell.id, cell.source) for cell in notebook.cells if cell.cell_type == "code"]


def _note(notebook: NotebookNode, edition: str, twin: str, twin_name: str) -> str:
    words, run = _NOTES[edition], notebook.metadata.get("lab_run")
    kind = "recorded" if run is None else "failed" if run.error else "ran"
    fields = {} if run is None else run | {"when": _readable(run.started)}
    links = [f"[{words['home']}](../index.md)"] + ([f"[{twin_name}]({twin})"] if twin else [])
    return " · ".join([*links, words[kind].format(**fields)])


def _readable(moment: str) -> str:
    """'2025-01-31T12:00:05+00:00' as '2025-01-31 12:00 UTC'."""
    return f"{moment[:10]} {moment[11:16]} UTC"


def _opening_page(
    pages: Mapping[tuple[str, str], NotebookNode], runs: Sequence[NotebookNode]
) -> str:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    latest = max(runs, key=lambda run: run.started, default=None)
    return environment.from_string((_HERE / "index.md.j2").read_text("utf-8")).render(
        lessons=[_row(stem, pages) for stem in sorted({stem for _, stem in pages})],
        names=_NAMES,
        guides=_GUIDES,
        pages=pages,
        machine=latest.machine if latest else {},
        when=_readable(latest.started) if latest else "",
    )


def _row(stem: str, pages: Mapping[tuple[str, str], NotebookNode]) -> dict[str, str]:
    links = {
        edition: f"[{_title(pages[edition, stem], stem)}]({edition}/{stem}.ipynb)"
        if (edition, stem) in pages
        else ""
        for edition in EDITIONS
    }
    page = next(pages[edition, stem] for edition in EDITIONS if (edition, stem) in pages)
    run = page.metadata.get("lab_run")
    if run is None:
        state = "recorded · 附带"
    elif run.error:
        state = f"**failed · 失败**, cell {run.cell} of {run.cells}"
    else:
        state = f"{run.seconds:g} s"
    return links | {"stem": stem, "run": state}


def _title(notebook: NotebookNode, stem: str) -> str:
    """The lesson's first heading, fit for a table cell."""
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    found = re.search(r"^#+\s+(.+)$", prose, re.MULTILINE)
    return re.sub(r"[\[\]|]", " ", found[1]).strip() if found else stem


# --- Widgets ------------------------------------------------------------------------------------

_VIEW = "application/vnd.jupyter.widget-view+json"
_STATE = "application/vnd.jupyter.widget-state+json"


def _widgets_as_text(notebook: NotebookNode, widgets: Mapping[str, Any]) -> None:
    """Replace each widget's output by the words it showed last, in place."""
    models = {
        key: model["state"] for key, model in widgets.get(_STATE, {}).get("state", {}).items()
    }
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            view = output.get("data", {}).pop(_VIEW, None)
            if view and (words := " ".join(_words(view["model_id"], models))):
                output.data["text/plain"] = words


def _words(model_id: str, models: Mapping[str, Any]) -> Iterator[str]:
    """What a widget and those inside it say: descriptions, values, captured outputs."""
    state = models.get(model_id.removeprefix("IPY_MODEL_"), {})
    value = state.get("value")
    if "bar_style" in state:
        value = None  # a progress bar: its neighbours say the same in words
    shown = " ".join(
        str(each) for each in (state.get("description"), value) if each not in (None, "")
    )
    if plain := html.unescape(re.sub(r"<[^>]+>", "", shown)).strip():
        yield plain
    for output in state.get("outputs", ()):
        yield output.get("text") or output.get("data", {}).get("text/plain", "")
    for child in state.get("children", ()):
        yield from _words(child, models)
