"""Lessons run in kernels of their own, and the site shows them; no language model."""

import html
import json
import os
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from nbformat.v4 import new_output
from small_course import lesson, load, printed, save
from waiting import lives, wait_for

from labutils import classic, course, notebooks, site
from labutils.errors import LabError
from labutils.models import model_path
from labutils.paths import ROOT


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(course, "machine", lambda: {"device": "test device"})
    return tmp_path / "build" / "course"


def read_page(out: Path, name: str) -> str:
    return (out / f"{name}.html").read_text("utf-8")


def words(page: str) -> str:
    """A page without its tags: highlighting puts them into the middle of outputs."""
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def test_run_builds_both_editions(
    root: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = tmp_path / "jupyter" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)  # somebody's own kernel of that name, which must not be used
    spec.write_text(json.dumps({"argv": ["false"], "display_name": "no", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    code = ("import labutils, os, sys", "print(sys.executable)", "print(os.listdir(), 6 * 7)")
    save(lesson(*code), root)
    notebooks.sync(root=root)
    assert course.run(root=root, out=out) == out / "index.html"
    for edition, language in (("en", "en"), ("zh", "zh-CN")):
        page = read_page(out, f"{edition}/00_cache")
        assert f'lang="{language}"' in page
        assert sys.executable in words(page)
        assert "[] 42" in words(page)  # an empty folder to work in
    assert "模型的" in read_page(out, "zh/00_cache")
    assert "test device" in read_page(out, "index")
    assert json.loads((out / "course.json").read_text())[0]["cells"] == 3
    assert sorted(path.name for path in out.parent.iterdir()) == ["course", "executed", "scratch"]


class Resources(HTMLParser):
    """What a browser would load for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"a", "form"}:
            return
        values = dict(attrs)
        self.found += [values[key] or "" for key in ("src", "srcset", "href") if key in values]


def test_the_site_loads_nothing_from_elsewhere(root: Path, out: Path) -> None:
    english = load(root, "en")
    english.cells[0].source += "\n\n$$\\frac{a}{b}$$ and $x_1$"
    widget = {"version": 2, "model_id": "m"}
    data = {"application/vnd.jupyter.widget-view+json": widget, "text/plain": "IntSlider()"}
    english.cells[1].outputs = [new_output("display_data", data=data)]
    save(english, root)
    site.build_site(out, executed=out.parent / "executed", root=root)
    pages = list(out.rglob("*.html"))
    assert len(pages) >= 3
    for page in pages:
        parser = Resources()
        parser.feed(page.read_text("utf-8"))
        outside = [each for each in parser.found if re.match(r"(https?:)?//", each)]
        assert outside == [], page
    for sheet in out.rglob("*.css"):
        assert not re.search(r"(@import|url\()[\"' ]*(https?:)?//", sheet.read_text("utf-8"))
    assert "<mfrac>" in read_page(out, "en/00_cache")
    assert "interactive: run this cell" in words(read_page(out, "en/00_cache"))
    assert "not run here" in read_page(out, "en/00_cache")


def test_a_failed_lesson_does_not_stop_the_next(
    root: Path, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save(lesson("x = 1", "1 / 0", "print('later')"), root)
    save(lesson("print('the next one')", title="Next"), root, "01_next")
    with pytest.raises(course.LessonsFailed, match=r"1 of 2 lessons failed \(00_cache\)"):
        course.run(root=root, out=out)
    shown = capfd.readouterr().err
    assert "failed in cell 2: ZeroDivisionError: division by zero" in shown
    assert "stopped in cell 2" in read_page(out, "en/00_cache")
    assert "the next one" in read_page(out, "en/01_next")


def test_failures_are_listed_at_the_end(root: Path, out: Path) -> None:
    save(lesson("1 / 0"), root)
    save(lesson("x = 1", "raise KeyError('here')", title="Next"), root, "01_next")
    with pytest.raises(course.LessonsFailed) as caught:
        course.run(root=root, out=out)
    assert str(caught.value).splitlines()[1:] == [
        "  00_cache, cell 1: ZeroDivisionError: division by zero",
        "  01_next, cell 2: KeyError: 'here'",
    ]


def test_without_sphinx_the_lessons_run_all_the_same(
    root: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, "can_build", lambda: False)
    save(lesson("print(6 * 7)"), root)
    executed = course.run(root=root, out=out)
    assert "42" in (executed / "en" / "00_cache.ipynb").read_text()
    assert not out.exists()


def test_the_lessons_are_told_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str | None]] = []

    def run(names: list[str]) -> str:
        seen.append({name: os.environ.get(name) for name in ("LAB_DEVICE", "LAB_MODEL")})
        return "index.html"

    monkeypatch.setattr(course, "run", run)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ.pop("LAB_MODEL", None)
    for device in ("cpu", "gpu"):
        assert course.main(["00"], device=device) == 0
    os.environ["LAB_MODEL"] = "smollm2-135m"
    assert course.main(["00"], device="gpu") == 0
    assert seen == [
        {"LAB_DEVICE": "cpu", "LAB_MODEL": None},
        {"LAB_DEVICE": "cuda", "LAB_MODEL": "smollm2-135m-hd128"},
        {"LAB_DEVICE": "cuda", "LAB_MODEL": "smollm2-135m"},
    ]


def test_a_model_that_cannot_be_used_stops_before_the_first_lesson(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(course, "run", lambda names: ran.append(os.environ["LAB_MODEL"]) or "index")
    monkeypatch.setenv("LAB_MODEL", "smolm2")
    with pytest.raises(LabError, match="no model or folder 'smolm2'"):
        course.main(["00"])
    assert ran == []
    (tmp_path / "mine").symlink_to(model_path("smollm2-135m"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_MODEL", "mine")
    assert course.main(["00"]) == 0
    assert Path(ran[0]).is_absolute() and Path(ran[0]).is_dir()


def test_a_gpu_run_needs_a_gpu_and_stores_nothing() -> None:
    with pytest.raises(LabError, match="leave out --write or --device gpu"):
        course.main(["00"], write=True, device="gpu")
    command = [sys.executable, "-m", "labutils.cli", "notebooks", "run", "--device", "gpu", "00"]
    env = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 2
    assert "PyTorch finds no CUDA device" in done.stderr


def test_running_one_lesson_keeps_the_pages_of_the_others(root: Path, out: Path) -> None:
    save(lesson("print('first', 1 + 1)"), root)
    save(lesson("print('second')", title="Next"), root, "01_next")
    course.run(root=root, out=out)
    course.run(["01"], root=root, out=out)
    assert "first 2" in read_page(out, "en/00_cache")
    save(lesson("print('changed')"), root)  # its run is of other code now
    course.run(["01"], root=root, out=out)
    assert "first 2" not in read_page(out, "en/00_cache")
    assert "not run here" in read_page(out, "en/00_cache")


def test_a_dead_kernel_and_a_slow_cell_are_reported(root: Path, out: Path) -> None:
    save(lesson("import os", "print('so far', flush=True)\nos._exit(7)"), root)
    save(lesson("import time\ntime.sleep(60)", title="Slow"), root, "01_slow")
    with pytest.raises(course.LessonsFailed, match="2 of 2"):
        course.run(root=root, out=out, timeout=2)
    first, second = json.loads((out / "course.json").read_text())
    assert (first["cell"], first["cells"]) == (2, 2)
    assert first["error"] == "DeadKernelError: the kernel died while it ran this cell"
    assert second["error"] == "TimeoutError: the cell took longer than 2 s"


def test_execute_in_place_refreshes_committed_outputs(root: Path, out: Path) -> None:
    save(lesson("from labutils import LabError", "print(6 * 7)"), root)
    save(lesson("1 / 0", title="Bad"), root, "01_bad")
    before = (root / "en" / "01_bad.ipynb").read_bytes()
    with pytest.raises(course.LessonsFailed):
        course.execute_in_place(build=out.parent, root=root)
    assert (root / "en" / "01_bad.ipynb").read_bytes() == before
    for edition in ("en", "zh"):
        cell = load(root, edition).cells[2]
        assert (cell.execution_count, cell.outputs) == (2, [printed("42\n")])
        assert cell.metadata == {}


def test_a_failed_build_leaves_the_old_site(
    root: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.build_site(out, executed=out.parent / "executed", root=root)
    old = read_page(out, "index")
    monkeypatch.setattr(site, "_sphinx", lambda work: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        site.build_site(out, executed=out.parent / "executed", root=root)
    assert read_page(out, "index") == old
    assert [path.name for path in out.parent.iterdir()] == ["course"]


def test_widgets_are_shown_as_their_words() -> None:
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "box"}, "text/plain": "HBox()"}
    shown = lesson("1")
    shown.cells[1].outputs = [new_output("display_data", data=view)]
    children = [f"IPY_MODEL_{name}" for name in ("label", "bar", "count")]
    states = {
        "box": {"children": children},
        "label": {"description": "", "value": "fill: 100%"},
        "bar": {"description": "", "value": 3.0, "bar_style": "success"},
        "count": {"description": "", "value": "<b>3/3</b> [00:00&lt;00:00]"},
    }
    models = {name: {"state": state} for name, state in states.items()}
    site.widgets.as_text(shown, {site.widgets.STATE: {"state": models}}, "?")
    assert shown.cells[1].outputs[0].data == {"text/plain": "fill: 100% 3/3 [00:00<00:00]"}


GOES_ON = "`.venv/bin/lab notebooks run 00 01` goes on with this lesson.\n"
STOPPED = """
import sys
from pathlib import Path
from labutils import course
course.machine = lambda: {}
root, out = map(Path, sys.argv[1:])
course.NOTEBOOKS, course.SITE = root, out
run = course.run
course.run = lambda names: run(names, root=root, out=out)
sys.exit(course.main())
"""


def test_ctrl_c_ends_the_kernel_and_what_it_started(root: Path, out: Path) -> None:
    site.build_site(out, executed=out.parent / "executed", root=root)
    old = read_page(out, "index")
    code = "import os, subprocess, time\nchild = subprocess.Popen(['sleep', '300'])"
    wait = "open('pids', 'w').write(f'{os.getpid()} {child.pid}')\ntime.sleep(300)"
    save(lesson(code, wait), root)
    save(lesson("1", title="Next"), root, "01_next")
    command = [sys.executable, "-c", STOPPED, str(root), str(out)]
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    pids = wait_for_pids(out.parent / "scratch" / "00_cache" / "pids")
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert said == "Stopped in en/00_cache, cell 2 of 2: its kernel is ended. " + GOES_ON
    assert read_page(out, "index") == old
    assert not any(map(lives, pids))


def wait_for_pids(path: Path) -> list[int]:
    def written() -> list[str]:
        return path.read_text().split() if path.exists() else []

    assert wait_for(lambda: len(written()) == 2)
    return list(map(int, written()))


def test_a_lesson_that_needs_the_old_lmdeploy_shows_recorded_outputs_without_it(
    root, tmp_path, monkeypatch, capsys
):
    tagged = load(root, "en")
    tagged.cells[1].metadata.tags = ["needs-classic"]
    save(tagged, root)
    monkeypatch.setattr(classic, "why_not", lambda: "It has no package for this Python.")
    index = course.run(root=root, out=tmp_path / "build" / "course")
    said = capsys.readouterr().err
    assert "recorded outputs: It has no package for this Python." in said
    assert "was not run here" in (index.parent / "en" / "00_cache.html").read_text()
    with pytest.raises(LabError, match="00_cache cannot be executed here. It has no package"):
        course.execute_in_place(root=root, build=tmp_path / "build")
