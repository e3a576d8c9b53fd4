"""Makes 4-bit models with the real `lmdeploy lite auto_awq`, and statistics for `kv_qparams`."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from labutils.kv_quality import capture
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


def statistics_of(
    model: PreTrainedModel, texts: list[list[int]]
) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, dict[str, torch.Tensor]]]:
    """What `lite calibrate` of 0.2.4 saves as key_stats.pth and value_stats.pth, for these texts.

    Args:
        texts: token ids.

    Returns:
        K's and V's {'max' | 'min' | 'absmax': {layer: float16 [kv_heads, head_dim]}}.
    """
    key, value = ({"max": {}, "min": {}, "absmax": {}} for _ in range(2))
    for tokens in texts:
        for layer, (_, k, v) in enumerate(capture(model, tokens)):
            for stats, x in ((key, k), (value, v)):
                _note(stats, f"model.layers.{layer}", x.half().flatten(0, 1))
    return key, value


def _note(stats: dict[str, dict[str, torch.Tensor]], layer: str, x: torch.Tensor) -> None:
    """Widen a layer's extremes by x, [kv_heads, tokens, head_dim]."""
    new = {"max": x.amax(1), "min": x.amin(1), "absmax": x.abs().amax(1)}
    for name, extreme in new.items():
        widen = torch.minimum if name == "min" else torch.maximum
        stats[name][layer] = widen(stats[name].get(layer, extreme), extreme)
