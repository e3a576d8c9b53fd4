"""What a model's config.json says of its shape, and whether there is room for a new folder.

Layers are taken to be built as Llama's are. Left out: biases, models whose layers differ.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labutils.errors import LabError


def read_config(model: Path) -> dict[str, Any]:
    """A model folder's config.json."""
    return json.loads((model / "config.json").read_text(encoding="utf-8"))


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a file of a model folder, such as config.json."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def heads(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """(heads, key-value heads, dimensions of a head); the last two may be left to the others."""
    count = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // count
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
