"""Build the course's site: static pages of both editions that need no network and no server.

A page shows the outputs of the executed copy of its lesson as long as the code is the same, those
of the other edition's run if it was not executed itself, and the committed ones otherwise; it says
which. Widgets are shown as text, because their scripts would have to be fetched and could do
nothing without a kernel.

Not here: how the pages look (`conf.py` and the files beside it), the start pages (`start`),
executing lessons (`course`).
"""

import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from labutils.errors import LabError
from labutils.notebooks import CHINESE, EDITIONS, ENGLISH, dumps, read
from labutils.paths import DATA, NOTEBOOKS
from labutils.site import widgets
from labutils.site.start import readable, start_page

_HERE = Path(__file__).parent
_RECORDED_RUN = DATA / "ladder" / "smollm2-135m.json"
_LABELS = re.compile(
    r"(?:(?:[xy]label|title)(?:=|\()|(?:pareto\.plot|plot_\w+)\([^\"'\n]*)[\"']([^\"']+)"
)
_START = {ENGLISH: "index.md", CHINESE: "zh/index.md"}
_NAMES = {ENGLISH: "English", CHINESE: "中文"}
_NOTES = {
    ENGLISH: {
        "ran": "Run here on {when} in {seconds:g} s.",
        "failed": "**The run of {when} stopped in cell {cell}: `{error}`.** The rest did not run.",
        "recorded": "Recorded outputs: this lesson was not run here.",
        "home": "All lessons",
        "widget": "(interactive: run this cell in JupyterLab)",
        "plot": "Plot: ",
        "solution": "a solution",
        "tests": "how it is tested",
        "show": "Show {}",
        "hide": "Hide {}",
    },
    CHINESE: {
        "ran": "{when} 在本机运行，用时 {seconds:g} 秒。",
        "failed": "**{when} 的运行停在第 {cell} 个代码单元：`{error}`**。其后的单元没有运行。",
        "recorded": "以下为随课程附带的输出，本课尚未在本机运行。",
        "home": "全部课程",
        "widget": "（交互式组件：请在 JupyterLab 中运行本单元）",
        "plot": "数据图：",
        "solution": "参考答案",
        "tests": "测试代码",
        "show": "显示{}",
        "hide": "收起{}",
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
        _ladder_reports(work / "html")
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
    command = [sys.executable, "-m", "sphinx", *options, str(work / "source"), str(work / "html")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise LabError(f"Sphinx could not build the course's site: {reason}")


def _ladder_reports(html: Path) -> None:
    """The report of the recorded run that lesson 07 reads, in each language."""
    from labutils.ladder import report, summary  # SciPy and Matplotlib, which running does without

    recorded = summary.read(_RECORDED_RUN)
    for edition, twin in ((ENGLISH, CHINESE), (CHINESE, ENGLISH)):
        home = "../index.html" if edition == ENGLISH else "index.html"
        links = {"LMDeploy Lab": home, _NAMES[twin]: f"../{twin}/ladder_report.html"}
        report.write(html / edition / "ladder_report.html", recorded, edition, links)


# --- Staging: the sources that Sphinx reads -----------------------------------------------------


def _stage(source: Path, executed: Path, root: Path) -> list[NotebookNode]:
    """Copy figures, write every page and the start pages; the runs that the pages show."""
    shutil.copytree(root, source, ignore=shutil.ignore_patterns("*.ipynb", ".*"))
    runs = []
    for edition in EDITIONS:
        pages = {
            path.stem: _page(path, edition, executed, root)
            for path in sorted((root / edition).glob("*.ipynb"))
        }
        (source / edition).mkdir(exist_ok=True)
        for stem, notebook in pages.items():
            (source / edition / f"{stem}.ipynb").write_text(dumps(notebook), "utf-8")
        if pages:
            (source / _START[edition]).write_text(start_page(edition, pages, root), "utf-8")
        runs += [page.metadata.lab_run for page in pages.values() if "lab_run" in page.metadata]
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
    state = ran.metadata.get("widgets", {}) if ran else {}
    widgets.as_text(notebook, state, _NOTES[edition]["widget"])
    _fold_solutions(notebook, edition)
    _name_plots(notebook, edition)
    twin = next(each for each in EDITIONS if each != edition)
    has_twin = (root / twin / path.name).exists()
    note = _note(notebook, edition, f"../{twin}/{path.name}" if has_twin else "", _NAMES[twin])
    heading = ""
    if notebook.cells[0].cell_type == "markdown":
        heading, _, notebook.cells[0].source = notebook.cells[0].source.partition("\n")
    notebook.cells.insert(0, new_markdown_cell(f"{heading}\n\n{{.run-note}}\n{note}"))
    return notebook


def _fold_solutions(notebook: NotebookNode, edition: str) -> None:
    """Readers shall try an exercise before they see how it is solved and tested."""
    words = _NOTES[edition]
    for cell in notebook.cells:
        if cell.cell_type == "code" and (exercise := cell.metadata.get("nbgrader")):
            what = words["solution" if exercise.solution else "tests"]
            cell.metadata.tags = [*cell.metadata.get("tags", []), "hide-input"]
            cell.metadata.mystnb = NotebookNode(
                code_prompt_show=words["show"].format(what),
                code_prompt_hide=words["hide"].format(what),
            )


def _name_plots(notebook: NotebookNode, edition: str) -> None:
    """Give plots their axes' labels as alternative text; cells print the numbers behind them."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            labels = _LABELS.findall(cell.source)
            words = _NOTES[edition]["plot"] + ", ".join(dict.fromkeys(labels))
            cell.metadata.setdefault("mystnb", NotebookNode()).image = {"alt": words.strip(" :：")}


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
    fields = {} if run is None else run | {"when": readable(run.started)}
    links = [f"[{words['home']}](../{_START[edition]})"]
    links += [f"[{twin_name}]({twin})"] if twin else []
    return " · ".join([*links, words[kind].format(**fields)])
