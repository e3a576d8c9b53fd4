"""Dataclasses as JSON files: written whole or not at all, checked field by field when read."""

import json
import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from labutils.bootstrap import write_atomically
from labutils.errors import LabError

Record = TypeVar("Record")
_PATH = re.compile(r"(?<![\w.:/])/(?:[\w.+@~-]+/)+(?=[\w.+@~-])")
"""The folders of an absolute path; of no address such as https://host/page."""


def named(text: str) -> str:
    """An engine's words as a result keeps them: files by name, not by where this machine has them.

    What a run leaves is passed on, and others have other folders; the log keeps all of it.
    """
    return _PATH.sub("", text)


def write_record(path: Path, record: Any) -> None:
    """Write a dataclass as indented JSON, atomically."""
    text = TypeAdapter(type(record)).dump_json(record, indent=1).decode()
    write_atomically(path, text + "\n")


def read_record(path: Path, kind: type[Record], format: str) -> Record:
    """A dataclass from its JSON, checked field by field; unknown fields are passed over.

    Raises:
        LabError: it cannot be read, is damaged, or is of another format.
    """
    again = "delete it and run lab ladder run again"
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise LabError(f"{path} cannot be read ({error.strerror}): check the path.") from None
    except ValueError:
        raise LabError(f"{path} is damaged, it is no JSON: {again}.") from None
    if not isinstance(found, dict) or found.get("format") != format:
        raise LabError(f"{path} is no file of the format '{format}': {again}, or name another.")
    try:
        return TypeAdapter(kind).validate_python(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise LabError(f"{path} is damaged at {where} ({first['msg']}): {again}.") from None
