"""Reading lessons, and keeping the two editions in step, on small real notebooks."""

import copy
import json
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from small_course import lesson, load, messages, save, translate

from labutils import notebooks
from labutils.errors import LabError


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
