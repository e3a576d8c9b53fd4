"""Widen a Llama checkpoint without changing what it computes.

TurboMind's AWQ kernels take group size 128 only and LMDeploy 0.2.4 takes head_dim 128 only; the
course's own model has hidden size 576 and head_dim 64. Written into wider tensors, the same model
fits every tool:

- hidden states gain channels that are always zero. RMSNorm then averages over more channels, so
  its weight is scaled by sqrt(old / new) and its epsilon by old / new;
- heads gain dimensions that are always zero. Rotary position embedding turns the pair
  (i, i + head_dim / 2) by position · theta^(-2i / head_dim); pair i moves to i · new / old, where
  the frequency is the same;
- attention divides scores by sqrt(head_dim), so queries are scaled by sqrt(new / old).

The number of heads, the intermediate size and the vocabulary stay. Left out: biases, tensors
spread over several files, architectures other than Llama.
"""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from labutils.errors import LabError
from labutils.folders import MANIFEST, heads, read_config, write_json


def reembed(
    source: Path, target: Path, hidden: int, head_dim: int, dtype: torch.dtype = torch.float16
) -> None:
    """Write the checkpoint in `source` to the existing folder `target`, widened.

    Args:
        source: Hugging Face folder of a Llama model in one model.safetensors.
        target: an existing, empty folder.
        hidden: the new hidden size.
        head_dim: the new head_dim, a multiple of the old one.
        dtype: of the stored weights.

    Raises:
        LabError: not a Llama checkpoint in one file, or sizes that it cannot be widened to.
    """
    config = read_config(source)
    check(config, source, hidden, head_dim)
    tensors = load_file(source / "model.safetensors")
    widened = {
        name: widen(name, tensor.float(), config, hidden, head_dim).to(dtype).contiguous()
        for name, tensor in tensors.items()
    }
    for file in source.iterdir():
        if file.name not in ("model.safetensors", "config.json", MANIFEST):
            shutil.copy(file, target)
    new = widened_config(config, hidden, head_dim, dtype)
    write_json(target / "config.json", new)
    save_file(widened, target / "model.safetensors", metadata={"format": "pt"})


def check(config: Mapping[str, Any], source: Path, hidden: int, head_dim: int) -> None:
    """LabError, in one sentence, if this checkpoint cannot be widened to these sizes."""
    if config.get("model_type") != "llama" or config.get("attention_bias"):
        raise LabError(f"{source} is no Llama model without biases: only those can be widened.")
    if not (source / "model.safetensors").is_file():
        raise LabError(f"{source} does not keep its weights in one model.safetensors: merge them.")
    old_dim = heads(config)[2]
    if hidden < config["hidden_size"] or head_dim % old_dim:
        raise LabError(
            f"hidden {config['hidden_size']} and head_dim {old_dim} cannot become "
            f"{hidden} and {head_dim}: choose a larger hidden size and a multiple of head_dim."
        )


def widened_config(
    config: Mapping[str, Any], hidden: int, head_dim: int, dtype: torch.dtype
) -> dict[str, Any]:
    """The config of the widened model."""
    scale = config["hidden_size"] / hidden
    return {
        **config,
        "hidden_size": hidden,
        "head_dim": head_dim,
        "rms_norm_eps": config["rms_norm_eps"] * scale,
        # Both names: LMDeploy 0.2.4 reads the first, Transformers 5 the second.
        "torch_dtype": str(dtype).removeprefix("torch."),
        "dtype": str(dtype).removeprefix("torch."),
    }


def lanes(old: int, new: int) -> torch.Tensor:
    """int64 [old]: where each dimension of a head of size `old` goes in one of size `new`."""
    half = torch.arange(old // 2) * (new // old)
    return torch.cat([half, half + new // 2])


def widen(
    name: str, tensor: torch.Tensor, config: Mapping[str, Any], hidden: int, head_dim: int
) -> torch.Tensor:
    """One named tensor of a Llama checkpoint, float32, in its wider shape.

    Raises:
        LabError: Llama has no tensor of that name.
    """
    old_hidden, old_dim = config["hidden_size"], heads(config)[2]
    kind = name.removesuffix(".weight").rsplit(".", 1)[-1]
    if kind in ("norm", "input_layernorm", "post_attention_layernorm"):
        return _pad(tensor, 0, hidden) * math.sqrt(old_hidden / hidden)
    if kind in ("embed_tokens", "lm_head", "gate_proj", "up_proj"):
        return _pad(tensor, 1, hidden)
    if kind == "down_proj":
        return _pad(tensor, 0, hidden)
    if kind in ("q_proj", "k_proj", "v_proj"):
        scale = math.sqrt(head_dim / old_dim) if kind == "q_proj" else 1.0
        return _pad(_spread(tensor, old_dim, head_dim), 1, hidden) * scale
    if kind == "o_proj":
        return _pad(_spread(tensor.T, old_dim, head_dim).T, 0, hidden)
    raise LabError(f"A Llama checkpoint has no tensor {name}: only Llama models can be widened.")


def _pad(tensor: torch.Tensor, dim: int, size: int) -> torch.Tensor:
    """Append zeros along `dim` up to `size`."""
    shape = list(tensor.shape)
    shape[dim] = size - shape[dim]
    return torch.cat([tensor, tensor.new_zeros(shape)], dim)


def _spread(rows: torch.Tensor, old: int, new: int) -> torch.Tensor:
    """[heads · old, columns] → [heads · new, columns], each head's rows moved to their lanes."""
    narrow = rows.view(-1, old, rows.size(1))
    wide = rows.new_zeros(narrow.size(0), new, rows.size(1))
    wide[:, lanes(old, new)] = narrow
    return wide.reshape(-1, rows.size(1))
