"""A Llama checkpoint under InternLM2's tensor names.

InternLM2 computes what Llama computes. It differs in its names and in keeping queries, keys and
values in one matrix: for each key-value head its group of query heads, then the key, then the
value. So a small Llama can stand in for InternLM2 wherever a tool goes by names, as LMDeploy's
`convert internlm2-chat-7b` does.

The folder also suits tools of early 2024 (LMDeploy 0.2.4, Transformers 4.37): `torch_dtype` and
`rope_theta` where those look for them, and a tokenizer.json that Tokenizers 0.15 can read. Weights
in AWQ's 4 bits are renamed, too. Left out: biases, checkpoints in several files.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from labutils.folders import read_config, write_json

NAMES = {
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
}
"""Llama's names inside a layer, and InternLM2's."""
KINDS = ("weight", "qweight", "qzeros", "scales")
"""What a linear layer's tensors are called; the last three are [in, out], see `labutils.awq`."""
CONFIGURATION = """\
from transformers import PretrainedConfig


class InternLM2Config(PretrainedConfig):
    model_type = "internlm2"
"""
"""InternLM2 is no part of Transformers: its folders bring their configuration class."""


def write(source: Path, target: Path, dtype: torch.dtype | None = None) -> None:
    """Write the Llama in `source` to the existing folder `target` as an InternLM2.

    Args:
        source: Hugging Face folder of a Llama model without biases, in one model.safetensors, in
            16 bits or in AWQ's 4.
        target: an existing, empty folder.
        dtype: of what is stored in floating point; None keeps the source's.
    """
    config = read_config(source)
    tensors = load_file(source / "model.safetensors")
    tensors.setdefault("lm_head.weight", tensors["model.embed_tokens.weight"])
    dtype = dtype or tensors["model.norm.weight"].dtype
    # clone: tied weights share memory, which safetensors refuses
    renamed = {
        name: _converted(tensor, dtype).clone(memory_format=torch.contiguous_format)
        for name, tensor in rename(tensors, config["num_key_value_heads"]).items()
    }
    save_file(renamed, target / "model.safetensors", metadata={"format": "pt"})
    write_json(target / "config.json", config_of(config, dtype))
    (target / "configuration_internlm2.py").write_text(CONFIGURATION, encoding="utf-8")
    write_old_tokenizer(source, target)
    if (source / "generation_config.json").is_file():
        shutil.copy(source / "generation_config.json", target)


def _converted(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def rename(llama: Mapping[str, torch.Tensor], kv_heads: int) -> dict[str, torch.Tensor]:
    """A Llama's tensors under InternLM2's names.

    Args:
        llama: tensors by name; each layer's q_proj, k_proj and v_proj weights are
            [heads · d, hidden].
        kv_heads: number of key-value heads.
    """
    renamed = {
        "model.tok_embeddings.weight": llama["model.embed_tokens.weight"],
        "model.norm.weight": llama["model.norm.weight"],
        "output.weight": llama["lm_head.weight"],
    }
    layers = {name.split(".")[2] for name in llama if name.startswith("model.layers.")}
    for layer in (f"model.layers.{number}" for number in layers):
        for kind in _kinds(llama, f"{layer}.self_attn.q_proj"):
            qkv = [llama[f"{layer}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            renamed[f"{layer}.attention.wqkv.{kind}"] = _fused(kind, qkv, kv_heads)
        for old, new in NAMES.items():
            for kind in _kinds(llama, f"{layer}.{old}"):
                renamed[f"{layer}.{new}.{kind}"] = llama[f"{layer}.{old}.{kind}"]
    return renamed


def _kinds(llama: Mapping[str, torch.Tensor], name: str) -> list[str]:
    """The KINDS of tensors that a layer has; one that has none lacks its weight."""
    return [kind for kind in KINDS if f"{name}.{kind}" in llama] or ["weight"]


def _fused(kind: str, qkv: list[torch.Tensor], kv_heads: int) -> torch.Tensor:
    if kind == "weight":
        return fuse_qkv(*qkv, kv_heads)
    return fuse_qkv(*(part.T for part in qkv), kv_heads).T


def fuse_qkv(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, kv_heads: int) -> torch.Tensor:
    """InternLM2's wqkv [(heads + 2 kv_heads) · d, hidden] from q [heads · d, hidden], k and v."""
    grouped = [part.unflatten(0, (kv_heads, -1)) for part in (q, k, v)]
    return torch.cat(grouped, dim=1).flatten(0, 1)


def config_of(llama: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """InternLM2's config.json for a Llama's."""
    kept = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "hidden_act")
    kept += ("num_attention_heads", "num_key_value_heads", "max_position_embeddings")
    kept += ("rms_norm_eps", "bos_token_id", "eos_token_id", "pad_token_id")
    rope = llama.get("rope_parameters") or {}
    return {key: llama[key] for key in kept if key in llama} | {
        "architectures": ["InternLM2ForCausalLM"],
        "model_type": "internlm2",
        "auto_map": {"AutoConfig": "configuration_internlm2.InternLM2Config"},
        "bias": False,
        "rope_theta": rope.get("rope_theta", llama.get("rope_theta", 10000.0)),
        "rope_scaling": {"type": "dynamic", "factor": 2.0},  # as InternLM2-chat has it
        "tie_word_embeddings": False,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }


def write_old_tokenizer(source: Path, target: Path) -> None:
    """Write the tokenizer in the form of early 2024; `target` may be `source`.

    Tokenizers 0.15 reads merges as text ("a b"), later ones write pairs; and Transformers 4 keeps
    the chat template in tokenizer_config.json, under a tokenizer class that it knows.
    """
    tokenizer = json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))
    model = tokenizer["model"]
    model["merges"] = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    write_json(target / "tokenizer.json", tokenizer)
    settings = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    template = source / "chat_template.jinja"
    if template.is_file():
        settings["chat_template"] = template.read_text(encoding="utf-8")
    write_json(target / "tokenizer_config.json", settings)
