"""Run the course's lessons in order, with a progress display, and build its site.

Each lesson runs in a fresh kernel and an empty folder of its own, `build/scratch/NAME`. Executed
copies with a record of their run are kept in `build/executed`, so that running one lesson again
keeps the others' pages.

Not here: how a notebook is executed (`execution`), how the site is made (`site`).
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

import psutil
from nbformat import NotebookNode
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from labutils.bootstrap import write_atomically
from labutils.errors import LabError
from labutils.execution import count_cells, execute
from labutils.gpu import memory as gpu_memory
from labutils.models import DEFAULT, model_path
from labutils.notebooks import ENGLISH, lessons, normalize, read, sync, write
from labutils.paths import BUILD, NOTEBOOKS
from labutils.provenance import processor, versions
from labutils.registry import MODELS
from labutils.site import build_site, can_build

SITE = BUILD / "course"
CELL_TIMEOUT = 1800.0  # seconds; a lesson's longest step on a small laptop takes minutes

GPU_MODEL = "smollm2-135m-hd128"
"""The course's own model in the form that TurboMind can quantize in every way."""

LESSONS_FORMAT = "lmdeploy-lab lessons 1"


@dataclass(frozen=True)
class LessonRun:
    """How one lesson's run ended; `cell` is the code cell it reached, counted from 1."""

    edition: str
    lesson: str
    started: str
    seconds: float
    cell: int
    cells: int
    error: str = ""
    gpu_mib: int | None = None
    """Peak of the first GPU's memory in use, whoever used it; None without a GPU."""

    def __str__(self) -> str:
        line = f"{self.edition}/{self.lesson:<24} {self.cell} of {self.cells} cells"
        line += f" {self.seconds:8.1f} s"
        line += f" {self.gpu_mib:8,} MiB" if self.gpu_mib else ""
        return f"{line}  failed in cell {self.cell}: {self.error}" if self.error else line


class LessonsFailed(LabError):
    """Some lessons stopped at an error; the others ran, and the site shows all of them."""

    def __init__(self, runs: Sequence[LessonRun], where: str) -> None:
        self.failed = [run for run in runs if run.error]
        names = ", ".join(run.lesson for run in self.failed)
        lines = [f"{len(self.failed)} of {len(runs)} lessons failed ({names}): see {where}."]
        lines += [f"  {run.lesson}, cell {run.cell}: {run.error}" for run in self.failed]
        super().__init__("\n".join(lines))


def run(
    names: Sequence[str] = (),
    *,
    out: Path = SITE,
    timeout: float | None = CELL_TIMEOUT,
    root: Path = NOTEBOOKS,
) -> Path:
    """Execute the English lessons of `names` (all when empty), build the site; its opening page.

    The Chinese pages show the same outputs. Where there is no Sphinx, as on a bare GPU machine, the
    executed copies are all: their folder.

    Args:
        out: the site's folder. Executed copies and scratch folders lie beside it.
        timeout: seconds that one cell may take.

    Raises:
        LessonsFailed: after the site was built, when a lesson stopped at an error.
        LabError: no such lesson, an unreadable notebook, or the site could not be built.
        KeyboardInterrupt: with one sentence; the kernel is gone and the old site still there.
    """
    todo, build, here = lessons(names, root=root), out.parent, machine()
    runs: list[LessonRun] = []
    display = _Display()
    for number, stem in enumerate(todo):
        notebook = read(root / ENGLISH / f"{stem}.ipynb")
        if reason := why_not(notebook):
            display.console.print(f"{ENGLISH}/{stem:25}recorded outputs: {reason}")
            continue
        try:
            runs.append(_run_lesson(notebook, stem, build, timeout, display))
        except KeyboardInterrupt as stopped:
            left = " ".join(each.split("_")[0] for each in todo[number:])
            again = f"`.venv/bin/lab notebooks run {left}` goes on with this lesson."
            raise KeyboardInterrupt(f"{stopped} {again}") from None
        notebook.metadata.lab_run = NotebookNode(asdict(runs[-1]) | {"machine": here})
        write(notebook, build / "executed" / ENGLISH / f"{stem}.ipynb")
    if can_build():
        index = build_site(out, executed=build / "executed", root=root)
    else:
        display.console.print("Sphinx is not installed: executed lessons, but no site of them.")
        index = build / "executed"
    if any(each.error for each in runs):
        raise LessonsFailed(runs, str(index))
    return index


def execute_in_place(
    names: Sequence[str] = (),
    *,
    timeout: float | None = CELL_TIMEOUT,
    build: Path = BUILD,
    root: Path = NOTEBOOKS,
) -> list[Path]:
    """Refresh the committed outputs of the English lessons, then sync; the files that changed.

    Raises:
        LessonsFailed: a lesson stopped at an error; its file is as before, and what it printed is
            in build/executed.
        LabError: no such lesson, or an unreadable notebook.
        KeyboardInterrupt: with one sentence; the lesson that ran is as before.
    """
    runs: list[LessonRun] = []
    changed: list[Path] = []
    display = _Display()
    for stem in lessons(names, root=root):
        path = root / ENGLISH / f"{stem}.ipynb"
        notebook = read(path)
        if reason := why_not(notebook):
            raise LabError(f"{stem} cannot be executed here. {reason}")
        runs.append(_run_lesson(notebook, stem, build, timeout, display))
        if runs[-1].error:
            write(notebook, build / "executed" / ENGLISH / f"{stem}.ipynb")
        elif write(normalize(notebook), path):
            changed.append(path)
    changed += [path for path in sync(root=root) if path not in changed]
    if any(each.error for each in runs):
        raise LessonsFailed(runs, f"their outputs in {build / 'executed'}")
    return changed


def why_not(notebook: NotebookNode) -> str:
    """Why a lesson cannot be executed here, as a sentence; '' if it can.

    The tag needs-classic on a cell says that the lesson runs LMDeploy 0.2.4.
    """
    from labutils import classic

    tags = {tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])}
    return classic.why_not() if "needs-classic" in tags else ""


def main(
    names: Sequence[str] = (),
    *,
    write: bool = False,
    device: str | None = None,
    record: str | None = None,
) -> int:
    """`lab notebooks run`: say what came of it; exit code 0, 1 (lessons failed) or 130 (Ctrl-C).

    Args:
        names: lessons; none means all.
        write: whether to store the outputs in notebooks/.
        device: 'cpu', 'gpu', or None for what `find_device` chooses.
        record: a JSON file for each lesson's time and peak GPU memory; None writes none.

    Raises:
        LabError: what `run` and `execute_in_place` refuse before or after the lessons; a model
            that cannot be used; a GPU that is not there, or whose outputs would be stored.
    """
    _settle_model()
    if write and device == "gpu":
        raise LabError("The outputs in notebooks/ are a CPU's: leave out --write or --device gpu.")
    if device:
        os.environ["LAB_DEVICE"] = {"cpu": "cpu", "gpu": "cuda"}[device]
    if device == "gpu":
        os.environ.setdefault("LAB_MODEL", GPU_MODEL)
    if record and write:
        raise LabError("Outputs that are stored record no GPU: leave out --write or --record.")
    begun = _now()
    try:
        made = execute_in_place(names) if write else [run(names)]
        print("\n".join(map(str, made)) or "All outputs are as before.")
    except LessonsFailed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(error.args[0] if error.args else "Stopped.", file=sys.stderr)
        return 130
    finally:
        if record and not write:
            _record(Path(record), lessons(names), begun)
    return 0


def _settle_model() -> None:
    """Refuse an unusable LAB_MODEL once, not in every lesson; a folder's name shall hold there.

    Lessons run in folders of their own, where a relative path would lead elsewhere.
    """
    if name := os.environ.get("LAB_MODEL"):
        folder = model_path(name)
        if name not in {model.name for model in MODELS}:
            os.environ["LAB_MODEL"] = folder


def _record(
    file: Path, stems: Sequence[str], begun: str, executed: Path = BUILD / "executed"
) -> None:
    """Write what the runs of these lessons took, with its origin; also when some failed.

    Args:
        begun: the time from which on runs count; older copies are of earlier runs.
    """
    from labutils.provenance import provenance

    model = os.environ.get("LAB_MODEL") or DEFAULT
    ran = [executed / ENGLISH / f"{stem}.ipynb" for stem in stems]
    kept = [dict(read(path).metadata.lab_run) for path in ran if path.is_file()]
    runs = [run for run in kept if run["started"] >= begun]
    report = {"format": LESSONS_FORMAT, "origin": "measured", "model": Path(model).name}
    command = f"LAB_MODEL={Path(model).name} lab notebooks run --device gpu {' '.join(stems)}"
    report |= provenance(command, {Path(model).name: model_path(model)}, {}) | {"lessons": runs}
    write_atomically(file, json.dumps(report, indent=1) + "\n")


def machine() -> dict[str, str]:
    """What a reader needs to place the figures: device, processors, memory, versions.

    Raises:
        LabError: this machine has no device that lessons could run on.
    """
    from labutils.device import find_device  # loads torch, which syncing and checking do without

    facts = {
        "device": str(find_device()),
        "processors": f"{len(os.sched_getaffinity(0))} × {processor()}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }
    return facts | ({"model": name} if (name := os.environ.get("LAB_MODEL")) else {})


class _Display:
    """A line for each finished lesson and, in a terminal, a bar for the one that runs."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("cell {task.completed} of {task.total}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )

    @contextmanager
    def lesson(self, name: str, cells: int) -> Iterator[Callable[[int], None]]:
        """Show a lesson's bar; yields what moves it to a cell."""
        task = self.bar.add_task(name, total=cells)
        with self.bar:
            yield lambda cell: self.bar.update(task, completed=cell)
        self.bar.remove_task(task)


def _run_lesson(
    notebook: NotebookNode, stem: str, build: Path, timeout: float | None, display: _Display
) -> LessonRun:
    """Execute one lesson in place; KeyboardInterrupt says where it stopped."""
    folder, name = _empty(build / "scratch" / stem), f"{ENGLISH}/{stem}"
    started, clock = _now(), time.monotonic()
    reached, cells = 0, count_cells(notebook)

    def on_cell(cell: int) -> None:
        nonlocal reached
        reached = cell
        advance(cell)

    try:
        with gpu_memory.watch() as peak, display.lesson(name, cells) as advance:
            failure = execute(notebook, folder=folder, timeout=timeout, on_cell=on_cell)
    except KeyboardInterrupt:
        where = f"{name}, cell {reached} of {cells}"
        raise KeyboardInterrupt(f"Stopped in {where}: its kernel is ended.") from None
    seconds = round(time.monotonic() - clock, 1)
    error = failure.error if failure else ""
    run = LessonRun(ENGLISH, stem, started, seconds, reached, cells, error, peak.mib)
    display.console.print(str(run))
    return run


def _now() -> str:
    """The time in UTC, as ISO 8601, whose order is that of the texts."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
