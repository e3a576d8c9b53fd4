"""Text to calibrate and to evaluate with, on every machine and without a network.

    corpus.texts("dialogues.zh")                     # a list of documents
    corpus.dialogues("en")[0].messages               # one dialogue as chat messages
    corpus.python_topics()                           # long English prose

`data/corpus/` holds prose and counselling-style dialogues in English and Chinese, written for this
course: one JSON object a line. `data/corpus/manifest.json` lists each file's size, SHA-256 and
licence; after an edit, `python -m labutils.corpus` checks the files and writes it anew. For
calibration only there is also Python's own documentation, which differs between releases of Python.

How LMDeploy gets to read a text is in `labutils.hub`.
"""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from labutils.bootstrap import write_atomically
from labutils.errors import LabError
from labutils.folders import sha256
from labutils.paths import DATA

FOLDER = DATA / "corpus"
NAMES = ("prose.en", "prose.zh", "dialogues.en", "dialogues.zh")
LICENCE = "Apache-2.0, written for this course"
SPEAKERS = {
    "en": {"system": "System: ", "user": "User: ", "assistant": "Assistant: "},
    "zh": {"system": "系统：", "user": "用户：", "assistant": "助手："},
}


@dataclass(frozen=True)
class Document:
    """A piece of prose."""

    id: str
    title: str
    text: str


@dataclass(frozen=True)
class Dialogue:
    """A conversation between a user, who begins, and an assistant."""

    id: str
    topic: str
    messages: tuple[dict[str, str], ...]
    """{"role", "content"} each, as a chat template takes them."""
    language: str

    @property
    def text(self) -> str:
        """All of it as plain text, a paragraph a message, each with its speaker before it."""
        names = SPEAKERS[self.language]
        return "\n\n".join(names[m["role"]] + m["content"] for m in self.messages)


def texts(name: str) -> list[str]:
    """Every document of one file (see NAMES) as plain text."""
    return [item.text for item in items(name)]


def items(name: str) -> list[Any]:
    """What a file holds, once it is known to be what the manifest says.

    Raises:
        LabError: there is no such file, or it was altered.
    """
    if name not in NAMES:
        raise LabError(f"The corpus has no {name!r}: it has {', '.join(NAMES)}.")
    file = FOLDER / f"{name}.jsonl"
    listed = read_manifest().get(file.name, {}).get("sha256")
    if not file.is_file() or sha256(file) != listed:
        raise LabError(
            f"{file} is not what the manifest lists: restore it with git checkout -- data/corpus, "
            "or, if the change is yours, run python -m labutils.corpus."
        )
    return read(file)


def prose(language: str) -> list[Document]:
    """The documents in 'en' or 'zh'."""
    return items(f"prose.{language}")


def dialogues(language: str) -> list[Dialogue]:
    """The dialogues in 'en' or 'zh'."""
    return items(f"dialogues.{language}")


def python_topics() -> list[str]:
    """About half a million characters of English prose that every Python brings along.

    It is the language reference that help() shows, and differs between releases of Python.
    """
    from pydoc_data.topics import topics

    return [topics[key] for key in sorted(topics)]


class Passages:
    """Passages of Python's documentation from random places: all differ, so that no cache helps."""

    def __init__(self, model: str, seed: int = 0) -> None:
        """By the tokenizer of a model folder; a seed gives the same passages everywhere."""
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(model)
        self._ids = self._tokenizer("\n\n".join(python_topics())).input_ids
        self._random = random.Random(seed)

    def ids(self, length: int) -> list[int]:
        """The next one as `length` token ids."""
        start = self._random.randrange(len(self._ids) - length)
        return self._ids[start : start + length]

    def text(self, length: int) -> str:
        """The next one as text, about `length` tokens."""
        return self._tokenizer.decode(self.ids(length))


# --- files ---------------------------------------------------------------------------------------


def read(file: Path) -> list[Any]:
    """The Documents or Dialogues in a file called KIND.LANGUAGE.jsonl.

    Raises:
        LabError: a line that is no such item; the sentence names it.
    """
    kind, language = file.name.split(".")[:2]
    found = []
    lines = file.read_text(encoding="utf-8").rstrip("\n").split("\n")
    for number, line in enumerate(lines, 1):
        try:
            found.append(_item(json.loads(line), kind, language))
        except (ValueError, KeyError, TypeError) as error:
            raise LabError(f"{file}, line {number}: {error!r}. Mend this line.") from error
    return found


def _item(row: dict[str, Any], kind: str, language: str) -> Document | Dialogue:
    if kind == "prose":
        return Document(row["id"], row["title"], row["text"])
    return Dialogue(row["id"], row["topic"], tuple(_alternating(row["messages"])), language)


def _alternating(messages: Sequence[dict[str, str]]) -> Iterator[dict[str, str]]:
    """The messages; ValueError unless user and assistant take turns, perhaps after a system's."""
    turns = [m for n, m in enumerate(messages) if n or m["role"] != "system"]
    roles = [m["role"] for m in turns]
    if not roles or roles != (["user", "assistant"] * len(roles))[: len(roles)]:
        raise ValueError(f"roles do not alternate, user first: {roles}")
    if not all(m["content"].strip() for m in messages):
        raise ValueError("an empty message")
    yield from messages


# --- the manifest --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """What the manifest says of a file."""

    items: int
    characters: int
    """Of all texts; dialogues with their speakers' names."""
    sha256: str
    licence: str


def read_manifest() -> dict[str, dict[str, Any]]:
    """The entries by file name; empty without a manifest."""
    manifest = FOLDER / "manifest.json"
    return json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}


def write_manifest(folder: Path | None = None) -> dict[str, dict[str, Any]]:
    """Read every file of the corpus and write `manifest.json` from what they hold.

    Raises:
        LabError: a line that is no item, or two items of one id; the manifest stays as it was.
    """
    folder = folder or FOLDER
    files = sorted(folder.glob("*.jsonl"))
    contents = {file: read(file) for file in files}
    ids = [item.id for found in contents.values() for item in found]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise LabError(f"{folder} has two items called {twice[0]}: rename one.")
    entries = {file.name: asdict(_entry(file, found)) for file, found in contents.items()}
    write_atomically(folder / "manifest.json", json.dumps(entries, indent=1) + "\n")
    return entries


def _entry(file: Path, found: Sequence[Document | Dialogue]) -> Entry:
    characters = sum(len(item.text) for item in found)
    return Entry(len(found), characters, sha256(file), LICENCE)


if __name__ == "__main__":
    for name, entry in write_manifest().items():
        print(f"{name:20}{entry['items']:>6} items{entry['characters']:>10,} characters")
