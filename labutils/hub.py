"""Folders that LMDeploy reads instead of the hub's data sets.

`lmdeploy lite` takes its calibration text from data sets of the Hugging Face hub that it names in
its source. The `datasets` library looks for a *folder* of that name first, so LMDeploy, unmodified
and without a network, reads a text of ours when it runs where such folders are:

    text = hub_folder(BUILD / "text", corpus.python_topics())
    lite("calibrate", model, text=text, calib_dataset="wikitext2", …)        # labutils.lite
    classic.lmdeploy("lite", "calibrate", model, …, cwd=text)                # LMDeploy 0.2.4

Text that is too short is refused before LMDeploy starts: its c4 reader would look for a long
enough document for ever. Left out: LMDeploy's other data sets.
"""

import gzip
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labutils.commands import history, parse
from labutils.errors import LabError
from labutils.folders import new_folder


@dataclass(frozen=True)
class DataSet:
    """A data set of the hub, and what LMDeploy asks of it."""

    folder: str
    configuration: str
    """Name that LMDeploy selects."""
    file: str
    """The data file's path in the folder; c4 is asked for by it."""
    column: str
    joined: bool
    """Whether samples are cut from all texts joined into one, not from single documents."""


DATA_SETS = {
    "wikitext2": DataSet("wikitext", "wikitext-2-raw-v1", "train.jsonl", "text", True),
    "c4": DataSet("allenai/c4", "en", "en/c4-train.00000-of-01024.json.gz", "text", False),
    "ptb": DataSet("ptb_text_only", "penn_treebank", "train.jsonl", "sentence", True),
}
"""By LMDeploy's own names. ptb is 0.2.4's default; since 0.12 LMDeploy refuses it."""
HEADER = """\
---
configs:
- config_name: {configuration}
  description: sha256 {sha256}
  data_files:
  - split: train
    path: {file}
---
"""
"""README.md of a data set, as far as the `datasets` library reads it.

The library's cache knows wikitext by this file alone: without the text's hash in it, the first text
that a machine has read would be taken for every later one.
"""
MARK = ".text-for-lmdeploy"


def hub_folder(folder: str | Path, texts: Sequence[str] | str) -> Path:
    """Write `texts` to `folder` in the layout of every data set in DATA_SETS.

    Args:
        folder: a new folder, or one that this function wrote before, which is then replaced.
        texts: documents, or a single one.

    Returns:
        the folder's absolute path, where LMDeploy is to be started.

    Raises:
        LabError: no text, or the folder holds something else.
    """
    folder = Path(folder).resolve()
    texts = [texts] if isinstance(texts, str) else texts
    if not any(text.strip() for text in texts):
        raise LabError("There is no text to calibrate with: give at least one document.")
    if folder.exists() and not (folder / MARK).is_file():
        raise LabError(f"{folder} exists and holds something else: name a new folder.")
    with new_folder(folder) as unfinished:
        for data_set in DATA_SETS.values():
            _write(unfinished / data_set.folder, data_set, texts)
        (unfinished / MARK).touch()
        if folder.exists():
            shutil.rmtree(folder)
    return folder


def _write(folder: Path, data_set: DataSet, texts: Sequence[str]) -> None:
    rows = (json.dumps({data_set.column: text}, ensure_ascii=False) + "\n" for text in texts)
    content = "".join(rows).encode()
    file = folder / data_set.file
    file.parent.mkdir(parents=True)
    file.write_bytes(gzip.compress(content, mtime=0) if file.suffix == ".gz" else content)
    header = HEADER.format(**vars(data_set), sha256=hashlib.sha256(content).hexdigest())
    (folder / "README.md").write_text(header, encoding="utf-8")


def rows(folder: Path, data_set: DataSet) -> list[dict[str, str]]:
    """What `hub_folder` wrote to `folder` for a data set: one {column: text} a document."""
    file = folder / data_set.folder / data_set.file
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


# --- text that is too short ----------------------------------------------------------------------


def check_texts(texts: Sequence[str], model: str | Path, name: str, seqlen: int) -> None:
    """Refuse text in which LMDeploy would find no sample of `seqlen` tokens.

    Args:
        texts: documents.
        model: the model folder, whose tokenizer counts.
        name: one of DATA_SETS: 'c4' needs one long document, the others join all of them.
        seqlen: tokens of a sample (--calib-seqlen).

    Raises:
        LabError: too short.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model), trust_remote_code=True)

    def tokens(text: str) -> int:
        return len(tokenizer(text, verbose=False).input_ids)

    if DATA_SETS[name].joined:
        found = tokens("\n\n".join(texts))
        what, more = "The text", "more text"
    else:
        found = _longest(texts, tokens, seqlen)
        what, more = "The longest document", "a longer document"
    if found < seqlen:
        raise LabError(
            f"{what} has {found:,} tokens, and {name} samples of {seqlen:,} are asked for: give "
            f"{more}, or at most --calib-seqlen {found}."
        )


def _longest(texts: Sequence[str], tokens: Any, enough: int) -> int:
    """Tokens of the longest text; counting ends at the first that has enough."""
    longest = 0
    for text in sorted(texts, key=len, reverse=True):
        longest = max(longest, tokens(text))
        if longest >= enough:
            break
    return longest


def check_line(words: Sequence[str], release: str, cwd: Path) -> None:
    """Refuse a `lite …` command line that would not find its text in `cwd`, or too little of it.

    Args:
        words: what follows `lmdeploy`; a line that the release itself refuses is left to it.
        release: the LMDeploy that it is for.
        cwd: where it will run.

    Raises:
        LabError: a data set without a folder in `cwd`, or text that is too short.
    """
    asked = calibration_of(words, release)
    if asked is None:
        return
    name, seqlen, model = asked
    data_set = DATA_SETS.get(name)
    if data_set is None:
        raise LabError(f"There is local text for {', '.join(DATA_SETS)} only, not for {name}.")
    if not (cwd / data_set.folder / data_set.file).is_file():
        raise LabError(
            f"{cwd.resolve()} holds no text in place of {name}: run the command in a folder that "
            "labutils.hub.hub_folder has written."
        )
    texts = [row[data_set.column] for row in rows(cwd, data_set)]
    check_texts(texts, cwd / model, name, seqlen)


def calibration_of(words: Sequence[str], release: str) -> tuple[str, int, str] | None:
    """(data set, tokens of a sample, model) of a command line; None if it reads no text."""
    try:
        reading = parse.read(list(words), release)
    except parse.Refused:
        return None
    known = {row.name: row.default for row in history.arguments(reading.command, release)}
    if "calib-dataset" not in known or "model" not in reading.values:
        return None
    given = {name: values[0] for name, values in reading.values.items() if values}

    def value(name: str) -> str:
        return given.get(name) or str(json.loads(known[name]))

    if int(value("calib-samples")) == 0:  # since 0.14, auto_awq quantizes without data
        return None
    return value("calib-dataset"), int(value("calib-seqlen")), given["model"]
