"""The course's texts are whole, long enough, and no two of them alike; bad files are refused."""

import json
import re
import shutil
from itertools import combinations
from pathlib import Path

import pytest

from labutils import corpus, models
from labutils.errors import LabError


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(models.model_path(models.DEFAULT))


@pytest.mark.parametrize("name", corpus.NAMES)
def test_each_file_is_long_enough_and_has_long_documents(name, tokenizer):
    texts = corpus.texts(name)
    assert sum(map(len, texts)) >= 40_000
    tokens = [len(tokenizer(text, verbose=False).input_ids) for text in texts]
    assert max(tokens) > 2048


def test_the_manifest_is_what_the_files_are(tmp_path):
    committed = (corpus.FOLDER / "manifest.json").read_text()
    copy = Path(shutil.copytree(corpus.FOLDER, tmp_path / "corpus"))
    corpus.write_manifest(copy)
    assert (copy / "manifest.json").read_text() == committed
    assert sorted(corpus.read_manifest()) == sorted(f"{name}.jsonl" for name in corpus.NAMES)


def five_grams(text: str) -> set:
    """Sequences of 5 words, or, where Chinese characters outnumber words, of 5 characters."""
    words = re.findall(r"\w+", text.lower())
    characters = re.findall(r"[\u4e00-\u9fff]", text)
    units = characters if len(characters) > len(words) else words
    return {tuple(units[n : n + 5]) for n in range(len(units) - 4)}


def share(a: set, b: set) -> float:
    """How much of the smaller set is in the other one."""
    return len(a & b) / min(len(a), len(b))


def test_no_two_items_are_alike():
    items = [item for name in corpus.NAMES for item in corpus.items(name)]
    grams = {item.id: five_grams(item.text) for item in items}
    assert len(grams) == len(items), "ids are unique"
    assert all(grams.values()), "an item is shorter than five words"
    alike = [(a, b) for a, b in combinations(grams, 2) if share(grams[a], grams[b]) >= 0.5]
    assert not alike


@pytest.mark.parametrize("name", ["prose.en", "dialogues.zh"])
def test_the_measure_would_notice_a_copy(name):
    text = corpus.texts(name)[0]
    shortened = text[: len(text) * 2 // 3] + "!"
    assert share(five_grams(text), five_grams(shortened)) > 0.9


def test_a_dialogue_is_text_and_chat(tokenizer):
    dialogue = corpus.dialogues("zh")[0]
    assert [m["role"] for m in dialogue.messages[:2]] == ["user", "assistant"]
    assert dialogue.text.startswith(f"用户：{dialogue.messages[0]['content']}\n\n助手：")
    prompt = tokenizer.apply_chat_template(list(dialogue.messages), tokenize=False)
    assert all(message["content"] in prompt for message in dialogue.messages)


def test_python_brings_long_prose_in_the_same_order_every_time():
    found = corpus.python_topics()
    assert sum(map(len, found)) > 300_000
    assert found == corpus.python_topics()


def test_an_unknown_file():
    with pytest.raises(LabError, match="has no 'prose.fr': it has prose.en, prose.zh"):
        corpus.texts("prose.fr")


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Path:
    """A corpus that a test may spoil."""
    monkeypatch.setattr(corpus, "FOLDER", Path(shutil.copytree(corpus.FOLDER, tmp_path / "copy")))
    return corpus.FOLDER


def test_an_altered_file_is_refused_until_the_manifest_says_so(copy):
    file = copy / "prose.en.jsonl"
    row = {"id": "new", "title": "New", "text": "A new one."}
    file.write_text(file.read_text(encoding="utf-8") + json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(LabError, match=r"prose.en.jsonl is not what .* python -m labutils.corpus"):
        corpus.texts("prose.en")
    corpus.write_manifest()
    assert corpus.texts("prose.en")[-1] == "A new one."
    file.unlink()
    with pytest.raises(LabError, match="restore it with git checkout"):
        corpus.texts("prose.en")


SAID = {"role": "user", "content": "Hello"}
ANSWERED = {"role": "assistant", "content": "Good day"}


@pytest.mark.parametrize(
    ("name", "line", "why"),
    [
        ("prose.en.jsonl", "{", "Expecting property name"),
        ("prose.en.jsonl", '{"id": "a", "text": "b"}', "KeyError.'title'"),
        ("dialogues.en.jsonl", [SAID, SAID], "do not alternate"),
        ("dialogues.en.jsonl", [ANSWERED], "do not alternate"),
        ("dialogues.zh.jsonl", [SAID, {"role": "assistant", "content": " "}], "an empty message"),
        ("dialogues.zh.jsonl", [], "do not alternate"),
    ],
)
def test_a_broken_line_is_named_and_the_manifest_stays(copy, name, line, why):
    if isinstance(line, list):
        line = json.dumps({"id": "x", "topic": "x", "messages": line})
    file, manifest = copy / name, (copy / "manifest.json").read_bytes()
    number = file.read_text(encoding="utf-8").count("\n") + 1
    with file.open("a", encoding="utf-8") as opened:
        opened.write(line + "\n")
    with pytest.raises(LabError, match=rf"{name}, line {number}: .*{why}"):
        corpus.write_manifest()
    assert (copy / "manifest.json").read_bytes() == manifest


def test_a_system_message_may_begin_and_a_line_may_hold_any_character(copy):
    text = "A line\u2028and\u0085its like"
    messages = [{"role": "system", "content": text}, SAID, ANSWERED]
    row = {"id": "x", "topic": "x", "messages": messages}
    file = copy / "dialogues.en.jsonl"
    file.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    corpus.write_manifest()
    assert corpus.texts("dialogues.en") == [f"System: {text}\n\nUser: Hello\n\nAssistant: Good day"]


def test_two_items_of_one_name(copy):
    file = copy / "prose.zh.jsonl"
    first = file.read_text(encoding="utf-8").split("\n")[0]
    (copy / "prose.en.jsonl").write_text(first + "\n", encoding="utf-8")
    with pytest.raises(LabError, match=f"two items called {json.loads(first)['id']}: rename one"):
        corpus.write_manifest()
