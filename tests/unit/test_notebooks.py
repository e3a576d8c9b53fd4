"""Editions, rules, execution and the site, on small real notebooks; no language model."""

import copy
import html
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from waiting import lives, wait_for

from labutils import classic, course, notebooks, site
from labutils.errors import LabError
from labutils.models import model_path
from labutils.notebook_checks import check, read_glossary
from labutils.paths import ROOT

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


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A course whose only lesson keeps every rule."""
    english = lesson("from labutils import LabError\nprint(2)", "2 + 2")
    english.cells[1].update(execution_count=1, outputs=[printed("2\n")])
    four = new_output("execute_result", data={"text/plain": "4"}, execution_count=2)
    english.cells[2].update(execution_count=2, outputs=[four])
    save(english, tmp_path / "notebooks")
    translate(tmp_path / "notebooks", "# 缓存\n\n模型的 KV 缓存。")
    return tmp_path / "notebooks"


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


@pytest.fixture
def glossary(tmp_path: Path) -> Path:
    path = tmp_path / "glossary.csv"
    path.write_text(GLOSSARY, "utf-8")
    return path


def messages(root: Path, glossary: Path) -> list[str]:
    return [str(finding) for finding in check(root=root, glossary=glossary)]


# --- Editions -----------------------------------------------------------------------------------


def test_sync_copies_code_and_keeps_prose(root: Path) -> None:
    english = load(root, "en")
    english.cells[1].source += "  # new"
    english.cells[1].metadata.update(
        tags=["nbval-ignore-output"], nbgrader={"grade_id": "a", "points": 2}
    )
    english.cells.insert(1, new_code_cell("x = '键值'", id="between"))
    del english.cells[3]
    save(english, root)
    notebooks.sync(root=root)
    chinese = load(root, "zh")
    assert chinese.cells[1:] == load(root, "en").cells[1:]
    assert chinese.cells[2].metadata.nbgrader == {"grade_id": "a", "points": 2}
    assert chinese.cells[0].source == "# 缓存\n\n模型的 KV 缓存。"


def test_sync_writes_only_what_changed_in_one_format(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.ipynb")}
    assert notebooks.sync(root=root) == []
    assert {path: path.stat().st_mtime_ns for path in before} == before
    text = (root / "zh" / "00_cache.ipynb").read_text("utf-8")
    assert text.startswith('{\n "cells"')
    assert text.endswith("}\n")
    assert "缓存" in text
    assert [path.name for path in root.rglob(".*")] == []


def test_normalize_drops_noise_and_keeps_teaching_metadata() -> None:
    noisy = lesson("1")
    noisy.metadata.update(kernelspec={"name": "mine", "display_name": "Mine"}, widgets={"a": 1})
    noisy.metadata.language_info = {"name": "python", "version": "3.12.1"}
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "HBox()"}
    noisy.cells[1].outputs = [new_output("display_data", data=view)]
    noisy.cells[1].metadata.update(execution={"iopub": 1}, tags=["t"], nbgrader={"points": 1})
    tidy = notebooks.normalize(noisy)
    assert tidy.metadata == notebooks.METADATA
    assert tidy.cells[1].metadata == {"tags": ["t"], "nbgrader": {"points": 1}}
    assert tidy.cells[1].outputs[0].data == {"text/plain": "HBox()"}


def test_a_new_cell_is_untranslated_until_its_text_changes(root: Path) -> None:
    english = load(root, "en")
    english.cells.append(new_markdown_cell("Some more words.", id="more"))
    save(english, root)
    notebooks.sync(root=root)
    assert load(root, "zh").cells[3].metadata.lab.untranslated
    english.cells[3].source = "Other words instead."  # an untranslated cell follows the English
    save(english, root)
    notebooks.sync(root=root)
    assert load(root, "zh").cells[3].source == "Other words instead."
    translate(root, "另外几句话。", cell=3)
    assert "untranslated" not in load(root, "zh").cells[3].metadata.lab


def test_stale_prose_is_settled_by_editing_or_accepting(root: Path, glossary: Path) -> None:
    english = load(root, "en")
    for number, settle in enumerate(("edit", "accept")):
        english.cells[0].source += f" Really, {number}."
        save(english, root)
        notebooks.sync(root=root)
        assert "English text changed" in messages(root, glossary)[0]
        if settle == "edit":
            translate(root, "# 缓存\n\n模型的 KV 缓存，确实如此。")
        else:
            notebooks.sync(accept=["00_cache:title"], root=root)
        assert messages(root, glossary) == []


def test_same_words_in_both_editions_can_be_accepted(root: Path, glossary: Path) -> None:
    english = load(root, "en")
    english.cells.append(new_markdown_cell("## LMDeploy TurboMind", id="name"))
    english.cells.append(new_markdown_cell("$$a = b$$", id="formula"))
    save(english, root)
    notebooks.sync(root=root)
    assert [text.split(":")[1] for text in messages(root, glossary)] == ["name"]
    notebooks.sync(accept=["00_cache:name"], root=root)
    assert notebooks.sync(root=root) == []
    assert messages(root, glossary) == []


def test_accept_refuses_a_cell_that_is_not_there(root: Path) -> None:
    with pytest.raises(LabError, match="00_cache:nothing"):
        notebooks.sync(accept=["00_cache:nothing"], root=root)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("<<<<<<< HEAD\n{}", "valid notebook"), ("{}", "valid notebook"), ("[]", "valid notebook")],
)
def test_a_broken_notebook_is_one_sentence(root: Path, text: str, reason: str) -> None:
    (root / "en" / "00_cache.ipynb").write_text(text)
    with pytest.raises(LabError, match=reason) as caught:
        notebooks.sync(root=root)
    assert "\n" not in str(caught.value)


def test_shared_cell_ids_are_refused(root: Path) -> None:
    english = load(root, "en")
    english.cells.append(copy.deepcopy(english.cells[1]))
    (root / "en" / "00_cache.ipynb").write_text(json.dumps(english))
    with pytest.raises(LabError, match="two cells with the id 'c1'"):
        notebooks.sync(root=root)


@pytest.mark.parametrize("name", ["0", "00", "00_cache", "notebooks/en/00_cache.ipynb"])
def test_lessons_answer_to_number_name_and_path(root: Path, name: str) -> None:
    assert notebooks.lessons([name], root=root) == ["00_cache"]


def test_unknown_lessons_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="'7'; choose from: 00_cache"):
        notebooks.lessons(["7"], root=root)
    with pytest.raises(LabError, match="holds no notebooks"):
        notebooks.lessons(root=tmp_path / "nowhere")


# --- Rules --------------------------------------------------------------------------------------


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


# --- Execution and the site ---------------------------------------------------------------------


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


# --- nbval with the shim of tests/conftest.py -----------------------------------------------------


def run_nbval(notebook: NotebookNode, folder: Path) -> tuple[int, str, float]:
    path = folder / "lesson.ipynb"
    notebooks.write(notebook, path)
    options = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout=600"]
    options += ["-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, *options, str(path)],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return done.returncode, done.stdout, time.monotonic() - started


def executed(notebook: NotebookNode, *texts: str) -> NotebookNode:
    for number, (cell, text) in enumerate(zip(notebook.cells[1:], texts, strict=True), 1):
        cell.execution_count = number
        cell.outputs = [printed(text)] if text else []
    return notebook


def test_nbval_uses_this_python_and_keeps_history(tmp_path: Path) -> None:
    code = ("import sys\nprint(sys.executable)", "2;", "print(len(In))")
    good = executed(lesson(*code), f"{sys.executable}\n", "", "4\n")
    status, said, _ = run_nbval(good, tmp_path)
    assert status == 0, said


def test_nbval_finds_a_wrong_output(tmp_path: Path) -> None:
    status, said, _ = run_nbval(executed(lesson("print(2)"), "3\n"), tmp_path)
    assert status == 1
    assert "Cell outputs differ" in said


def test_nbval_notices_a_dead_kernel_within_seconds(tmp_path: Path) -> None:
    status, said, seconds = run_nbval(executed(lesson("import os\nos._exit(3)"), ""), tmp_path)
    assert status == 1
    assert "The kernel died while it ran this cell." in said
    assert seconds < 20


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
