"""Short questions with checkable answers: their file format and what the model is told.

A file holds one JSON object a line; data/eval/README.md documents it for people who bring their
own.

Not here: the rules by which a reply is right (`checkers`) and asking a model.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labutils.errors import LabError
from labutils.ladder.checkers import CHECKERS, LETTERS

LANGUAGES = {"en": "Answer with the letter only.", "zh": "只回答选项前的字母。"}
"""Each language with what a multiple-choice question ends with."""
TEXTS = ("id", "category", "language", "question", "checker")
LISTS = ("answers", "choices")


@dataclass(frozen=True)
class Item:
    """One question; the fields are those of the file."""

    id: str
    category: str
    """A short name; accuracy is reported for each."""
    language: str
    """'en' or 'zh'."""
    question: str
    checker: str
    """A key of `checkers.CHECKERS`."""
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()
    """Of the checker 'choice' alone: 2 to 6 options, lettered from A."""


def read(path: str | Path) -> list[Item]:
    """The items of a file, in its order; blank lines and further fields are passed over.

    Raises:
        LabError: the file cannot be read, is not UTF-8 or holds nothing, or an item is not as
            documented; the sentence names the line.
    """
    path = Path(path)
    items: dict[str, Item] = {}
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = parse(line)
            if item.id in items:
                raise LabError(f"the id {item.id!r} is taken already: give each item its own.")
        except LabError as error:
            raise LabError(f"{path.name}, line {number}: {error}") from None
        items[item.id] = item
    if not items:
        raise LabError(f"{path} holds no items: write one JSON object a line.")
    return list(items.values())


def parse(line: str) -> Item:
    """The item in one line of a file.

    Raises:
        LabError: the line is not as documented.
    """
    try:
        found = json.loads(line)
    except ValueError as error:
        raise LabError(f"this is no JSON ({error}): write one object a line.") from None
    if not isinstance(found, dict):
        raise LabError('this is no JSON object: an item is {"id": …, "question": …, …}.')
    fields = {name: _checked_text(found, name) for name in TEXTS}
    item = Item(**fields, **{name: _checked_list(found, name) for name in LISTS})
    _check(item)
    return item


def prompt(item: Item) -> str:
    """What the model is told: the question, with the lettered options of a choice below it."""
    if item.checker != "choice":
        return item.question
    options = [f"{letter}. {text}" for letter, text in zip(LETTERS, item.choices, strict=False)]
    return "\n".join([item.question, *options, LANGUAGES[item.language]])


def is_right(item: Item, reply: str) -> bool:
    """Whether a reply answers the item, by the rule of the item's checker."""
    return CHECKERS[item.checker].right(reply, item.answers, item.choices)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors put a mark in front
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise LabError(f"{path.name}, line {line}: this is not UTF-8: save it as UTF-8.") from None
    except OSError as error:
        raise LabError(f"{path} cannot be read ({error.strerror}): check the path.") from None


def _checked_text(found: dict[str, Any], name: str) -> str:
    if name not in found:
        raise LabError(f"the field {name!r} is missing.")
    if not isinstance(found[name], str) or not found[name].strip():
        raise LabError(f"the field {name!r} is no text, or an empty one.")
    return found[name]


def _checked_list(found: dict[str, Any], name: str) -> tuple[str, ...]:
    if name not in found and name == "answers":
        raise LabError("the field 'answers' is missing.")
    values = found.get(name, [])
    if not isinstance(values, list) or not all(isinstance(v, str) and v.strip() for v in values):
        raise LabError(f'the field {name!r} is no list of texts, such as ["12"].')
    return tuple(values)


def _check(item: Item) -> None:
    """LabError where the fields do not fit each other."""
    if item.language not in LANGUAGES:
        raise LabError(f"the language {item.language!r} is unknown: {' or '.join(LANGUAGES)}.")
    if item.checker not in CHECKERS:
        raise LabError(f"the checker {item.checker!r} is unknown: one of {', '.join(CHECKERS)}.")
    if not item.answers:
        raise LabError("the field 'answers' is empty: give at least one right answer.")
    if item.choices and item.checker != "choice":
        raise LabError(f"the checker {item.checker!r} takes no choices: leave them out.")
    if problem := CHECKERS[item.checker].problem(item.answers, item.choices):
        raise LabError(problem)
