"""Which items and which texts a run uses: the course's own, or `--data my.jsonl`.

Perplexity and KL divergence are measured on the course's prose, W4A16 is calibrated on its
dialogues: what a model was fitted to says nothing about how well it was quantized.
"""

from collections.abc import Sequence
from pathlib import Path

from labutils import corpus
from labutils.errors import LabError
from labutils.folders import sha256
from labutils.ladder.items import Item, read
from labutils.paths import DATA

SHIPPED = {"en": DATA / "eval" / "english.jsonl", "zh": DATA / "eval" / "chinese.jsonl"}
"""`--data en` and `--data zh`."""


def files(data: str) -> list[Path]:
    """The files of `--data`: en, zh, en,zh, or a file of one's own.

    Raises:
        LabError: there is no such file.
    """
    names = [name.strip() for name in data.split(",")]
    if all(name in SHIPPED for name in names):
        return [SHIPPED[name] for name in dict.fromkeys(names)]
    if not Path(data).is_file():
        raise LabError(f"There is no file {data}: write en, zh or en,zh, or name a .jsonl file.")
    return [Path(data)]


def items(paths: Sequence[Path]) -> list[Item]:
    """The items of all files; LabError as `items.read`, or where two files share an id."""
    found: dict[str, Item] = {}
    for path in paths:
        for item in read(path):
            if item.id in found:
                raise LabError(f"{path.name}: the id {item.id!r} is taken: give each item its own.")
            found[item.id] = item
    return list(found.values())


def languages(asked: Sequence[Item]) -> tuple[str, ...]:
    """The languages of these items, in order."""
    return tuple(sorted({item.language for item in asked}))


def passages(asked: Sequence[str]) -> list[str]:
    """The prose that perplexity is measured on, the languages by turns."""
    texts = [corpus.texts(f"prose.{language}") for language in asked]
    longest = max(map(len, texts))
    return [each[n] for n in range(longest) for each in texts if n < len(each)]


def calibration(asked: Sequence[str]) -> list[str]:
    """The dialogues that W4A16 is calibrated on."""
    return [text for language in asked for text in corpus.texts(f"dialogues.{language}")]


def hashes(paths: Sequence[Path], asked: Sequence[str]) -> dict[str, str]:
    """SHA-256 of the items' files and of the prose, by what they are."""
    prose = [corpus.FOLDER / f"prose.{language}.jsonl" for language in asked]
    return {"items": " ".join(map(sha256, paths)), "texts": " ".join(map(sha256, prose))}


def tokens(texts: Sequence[str], tokenizer: object, count: int, length: int) -> list[list[int]]:
    """The first `length` token ids of up to `count` texts that have as many.

    Raises:
        LabError: fewer than two texts are long enough.
    """
    encoded = (tokenizer(text, verbose=False).input_ids[:length] for text in texts)
    found = [ids for ids in encoded if len(ids) == length][:count]
    if len(found) < 2:
        raise LabError(f"Fewer than two passages have {length} tokens: ask for shorter ones.")
    return found
