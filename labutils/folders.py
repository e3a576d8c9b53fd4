"""Two questions about folders: what a model's config.json says, and is there room for a new one."""

import json
import shutil
from pathlib import Path
from typing import Any

from labutils.errors import LabError


def read_config(model: Path) -> dict[str, Any]:
    """A model folder's config.json."""
    return json.loads((model / "config.json").read_text(encoding="utf-8"))


def check_room(folder: Path, needed: float, what: str, otherwise: str) -> None:
    """Refuse to begin what the disk of a folder that may not exist yet has no room for.

    Args:
        needed: bytes.
        what: begins the sentence, such as 'The workspace'.
        otherwise: ends it: what to do if no room can be made.

    Raises:
        LabError: fewer bytes are free.
    """
    room = next(parent for parent in folder.resolve().parents if parent.is_dir())
    free = shutil.disk_usage(room).free
    if free < needed:
        raise LabError(
            f"{what} needs {needed / 1e9:.1f} GB, and {room} has {free / 1e9:.1f} GB free: make "
            f"room, or {otherwise}."
        )
