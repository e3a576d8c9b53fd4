"""The file format of items: what is read, what is refused, and what the model is told."""

import json
from pathlib import Path

import pytest

from labutils.errors import LabError
from labutils.ladder.items import Item, is_right, parse, prompt, read

KNOWLEDGE = {
    "id": "en-know-001",
    "category": "knowledge",
    "language": "en",
    "question": "What is the capital of Japan?",
    "checker": "contains",
    "answers": ["Tokyo"],
}
CHOICE = {
    "id": "zh-know-001",
    "category": "knowledge",
    "language": "zh",
    "question": "哪一种是水果？",
    "checker": "choice",
    "choices": ["香蕉", "土豆", "洋葱"],
    "answers": ["A"],
}


def line(base: dict = KNOWLEDGE, **changes) -> str:
    """An item's line with some fields changed, or left out where the change is None."""
    return json.dumps({k: v for k, v in {**base, **changes}.items() if v is not None})


def write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "my.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_file_is_read_in_its_order(tmp_path):
    first, second = read(write(tmp_path, line(), "", line(CHOICE, source="own")))
    assert first == Item(**{**KNOWLEDGE, "answers": ("Tokyo",)})
    assert (second.choices, second.answers) == (("香蕉", "土豆", "洋葱"), ("A",))


def test_a_mark_in_front_windows_line_ends_and_line_separators_in_texts_are_read(tmp_path):
    path = tmp_path / "my.jsonl"
    odd = json.dumps({**KNOWLEDGE, "id": "2", "question": "a\u2028b"}, ensure_ascii=False)
    path.write_bytes(f"{line()}\r\n{odd}\r\n".encode("utf-8-sig"))
    assert [item.question for item in read(path)] == [KNOWLEDGE["question"], "a\u2028b"]


@pytest.mark.parametrize(
    ("refused", "sentence"),
    [
        ("{'id': 1}", "this is no JSON"),
        ("[1, 2]", "this is no JSON object"),
        (line(id=None), "the field 'id' is missing"),
        (line(category=None), "the field 'category' is missing"),
        (line(answers=None), "the field 'answers' is missing"),
        (line(question=" "), "the field 'question' is no text, or an empty one"),
        (line(id=7), "the field 'id' is no text"),
        (line(language="fr"), "the language 'fr' is unknown: en or zh"),
        (line(checker="fuzzy"), "the checker 'fuzzy' is unknown: one of choice, number, contains"),
        (line(answers="Tokyo"), "the field 'answers' is no list of texts"),
        (line(answers=[12]), "the field 'answers' is no list of texts"),
        (line(answers=[]), "the field 'answers' is empty"),
        (line(answers=["…"]), "the answer '…' has no letter or digit"),
        (line(checker="exact", answers=['"."']), "has no letter or digit"),
        (line(checker="number", answers=["twelve"]), "the answer 'twelve' is no number"),
        (line(checker="regex", answers=["(a"]), "the answer '\\(a' is no regular expression"),
        (line(choices=["a", "b"]), "the checker 'contains' takes no choices"),
        (line(CHOICE, choices=None), "there are 0 choices: it takes 2 to 6"),
        (line(CHOICE, choices=list("1234567")), "there are 7 choices"),
        (line(CHOICE, choices=["a", "b", "A."]), "two of the choices are the same"),
        (line(CHOICE, answers=["D"]), "the answer of a choice is one letter from A to C"),
        (line(CHOICE, answers=["a"]), "one letter from A to C"),
        (line(CHOICE, answers=["AB"]), "one letter from A to C"),
        (line(CHOICE, answers=["A", "B"]), "one letter from A to C"),
    ],
)
def test_a_line_that_is_not_as_documented_is_one_sentence_with_its_number(
    tmp_path, refused, sentence
):
    with pytest.raises(LabError, match=rf"^my\.jsonl, line 3: .*{sentence}.*\.$"):
        read(write(tmp_path, line(), "", refused))


def test_an_id_that_is_there_twice_is_refused(tmp_path):
    with pytest.raises(LabError, match="line 2: the id 'en-know-001' is taken already"):
        read(write(tmp_path, line(), line(question="Another?")))


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_no_items_is_one_sentence(tmp_path, text):
    with pytest.raises(LabError, match="my.jsonl holds no items: write one JSON object a line"):
        read(write(tmp_path, text))


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16"])
def test_another_encoding_is_one_sentence_with_the_line(tmp_path, encoding):
    path = tmp_path / "my.jsonl"
    second = json.dumps(CHOICE, ensure_ascii=False)
    path.write_bytes(f"{line()}\n{second}\n".encode(encoding))
    at = {"gb18030": 2, "utf-16": 1}[encoding]
    with pytest.raises(LabError, match=f"my.jsonl, line {at}: this is not UTF-8: save it"):
        read(path)


@pytest.mark.parametrize("name", ["absent.jsonl", ""])
def test_no_file_is_one_sentence(tmp_path, name):
    with pytest.raises(LabError, match="cannot be read .*: check the path"):
        read(tmp_path / name)


def test_the_model_is_told_the_question_and_lettered_options():
    assert prompt(parse(line())) == "What is the capital of Japan?"
    assert prompt(parse(line(CHOICE))) == (
        "哪一种是水果？\nA. 香蕉\nB. 土豆\nC. 洋葱\n只回答选项前的字母。"
    )
    english = parse(line(CHOICE, language="en", question="Which is a fruit?"))
    assert prompt(english).endswith("\nC. 洋葱\nAnswer with the letter only.")


def test_each_item_is_judged_by_its_own_checker():
    assert is_right(parse(line()), "It is Tokyo.") and not is_right(parse(line()), "Osaka")
    assert is_right(parse(line(CHOICE)), "选A。") and not is_right(parse(line(CHOICE)), "选B。")
