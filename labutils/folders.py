"""Model folders: written whole or not at all, checked, and what their config.json says of a shape.

A folder made here holds `lab-manifest.json`, written last, with the SHA-256 of every other file; it
appears under its final name only when all of it is on disk.

Layers are taken to be built as Llama's are. Left out: biases, models whose layers differ; finding a
folder by a model's name (`labutils.models`).
"""

import contextlib
import errno
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from labutils.errors import LabError

MANIFEST = "lab-manifest.json"


def read_config(model: Path) -> dict[str, Any]:
    """A model folder's config.json."""
    return json.loads((model / "config.json").read_text(encoding="utf-8"))


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a file of a model folder, such as config.json."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def heads(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """(heads, key-value heads, dimensions of a head); the last two may be left to the others.

    Raises:
        LabError: a config.json that does not say.
    """
    try:
        count = config["num_attention_heads"]
        head_dim = config.get("head_dim") or config["hidden_size"] // count
    except KeyError as error:
        raise LabError(
            f"This config.json gives no {error.args[0]}: name the folder of a language model in "
            "Hugging Face's format."
        ) from None
    return count, config.get("num_key_value_heads") or count, head_dim


def linear_layers(config: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """(outputs, inputs) of the linear layers in a decoder layer, by Llama's names."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    count, kv_heads, head_dim = heads(config)
    return {
        "self_attn.q_proj": (count * head_dim, hidden),
        "self_attn.k_proj": (kv_heads * head_dim, hidden),
        "self_attn.v_proj": (kv_heads * head_dim, hidden),
        "self_attn.o_proj": (hidden, count * head_dim),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }


def linear_weights(config: Mapping[str, Any]) -> int:
    """How many numbers the linear layers of all decoder layers hold."""
    layer = sum(out * into for out, into in linear_layers(config).values())
    return config["num_hidden_layers"] * layer


# --- a new folder ------------------------------------------------------------------------------


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


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that becomes `folder` if the body succeeds and vanishes if it does not.

    Raises:
        LabError: the disk is full.
    """
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)  # left by a run that was killed
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        unfinished.rename(folder)
    except Exception as error:
        if not _is_disk_full(error):
            raise
        free = shutil.disk_usage(folder.parent).free // 2**20
        raise LabError(
            f"The disk of {folder.parent} is full ({free} MiB free): make room, or set "
            "LAB_MODELS_DIR to a folder on another disk."
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _is_disk_full(error: BaseException) -> bool:
    """ENOSPC, however it is wrapped (safetensors, a Rust library, only quotes the system)."""
    return getattr(error, "errno", None) == errno.ENOSPC or "No space left on device" in str(error)


def write_manifest(folder: Path, about: dict[str, str]) -> None:
    """Write the manifest of a finished folder: bytes and SHA-256 of every file."""
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)}
        for file in sorted(folder.iterdir())
    }
    text = json.dumps({**about, "files": files}, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def sha256(file: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while piece := opened.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


# --- a folder that is there --------------------------------------------------------------------


def check_folder(folder: Path, hashes: bool = False) -> None:
    """Check that a model folder is whole: files and sizes always, SHA-256 if `hashes`.

    Raises:
        LabError: a file is missing, truncated or altered; the sentence names it and the cure.
    """
    if not folder.is_dir():
        raise LabError(f"There is no model folder {folder}: check the path.")
    if not (folder / "config.json").is_file():
        raise LabError(f"{folder} has no config.json, so it is no complete model: fetch it again.")
    if (folder / MANIFEST).is_file():
        _check_manifest(folder, hashes)
    _check_weights(folder)


def checked_config(folder: Path) -> dict[str, Any]:
    """The config.json of a model folder that is whole; LabError as `check_folder`."""
    check_folder(folder)
    return read_config(folder)


def _check_manifest(folder: Path, hashes: bool) -> None:
    """Compare the folder with the manifest that was written last when it was made."""
    listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
    for name, expected in listed.items():
        file = folder / name
        whole = file.is_file() and file.stat().st_size == expected["bytes"]
        if not whole or (hashes and sha256(file) != expected["sha256"]):
            raise LabError(
                f"{file} is missing, truncated or altered: delete the folder {folder} and run "
                f"lab model get {folder.name} again."
            )


def _check_weights(folder: Path) -> None:
    """Check that the weight files are all there and as long as their headers say."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    else:
        names = {p.name for p in folder.glob("*.safetensors")} or {"model.safetensors"}
    if not index.is_file() and any(folder.glob("pytorch_model*.bin")):
        return
    for name in sorted(names):
        if not _is_whole_safetensors(folder / name):
            raise LabError(f"{folder / name} is missing or truncated: fetch the model again.")


def _is_whole_safetensors(file: Path) -> bool:
    """Whether the file is as long as its header (8-byte length, JSON, data) says."""
    if not file.is_file() or file.stat().st_size < 8:
        return False
    with file.open("rb") as opened:
        header_bytes = int.from_bytes(opened.read(8), "little")
        if header_bytes > file.stat().st_size:
            return False
        header = json.loads(opened.read(header_bytes))
    ends = [t["data_offsets"][1] for key, t in header.items() if key != "__metadata__"]
    return file.stat().st_size == 8 + header_bytes + max(ends, default=0)
