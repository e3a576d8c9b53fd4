"""Makes 4-bit models with the real `lmdeploy lite auto_awq`, in the environment under test."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from labutils.lite import lite


def auto_awq(model: Path, folder: Path, group_size: int, text: Path, **options: Any) -> Path:
    """Quantize with today's LMDeploy; the new folder."""
    options |= {"w_group_size": group_size, "device": "cpu"}
    lite("auto_awq", model, text=text, work_dir=folder, **options)
    return folder


def shorten(model: Path, folder: Path, layers: int) -> Path:
    """A copy of a model's first few layers: real weights, quantized in seconds."""
    folder.mkdir()
    config = json.loads((model / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers}))
    kept = {
        name: tensor
        for name, tensor in load_file(model / "model.safetensors").items()
        if not name.startswith("model.layers.") or int(name.split(".")[2]) < layers
    }
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).symlink_to(model / name)
    return folder
