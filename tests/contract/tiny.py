"""Random checkpoints of other architectures, small enough to make in a test."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig

SIZE = {
    "vocab_size": 49152,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 2048,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}


def make(folder: Path, config, model: str) -> Path:
    """A random float32 checkpoint with the course model's tokenizer."""
    torch.manual_seed(0)
    small = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in small.parameters():
        torch.nn.init.normal_(parameter, 0.0 if parameter.dim() > 1 else 1.0, 0.2)
    small.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(Path(model) / name, folder)
    return folder


def as_internlm2(llama: Path, folder: Path) -> Path:
    """The same weights under InternLM2's names, q, k and v fused group by group."""
    shutil.copytree(llama, folder)
    config = json.loads((llama / "config.json").read_text())
    kv = config["num_key_value_heads"]
    weights = load_file(llama / "model.safetensors")
    renamed = {
        "model.tok_embeddings.weight": weights["model.embed_tokens.weight"],
        "model.norm.weight": weights["model.norm.weight"],
        "output.weight": weights["lm_head.weight"],
    }
    for n in range(config["num_hidden_layers"]):
        old, new = f"model.layers.{n}", f"model.layers.{n}"
        qkv = [weights[f"{old}.self_attn.{p}_proj.weight"].unflatten(0, (kv, -1)) for p in "qkv"]
        renamed[f"{new}.attention.wqkv.weight"] = torch.cat(qkv, 1).flatten(0, 1)
        for name, was in {
            "attention.wo": "self_attn.o_proj",
            "feed_forward.w1": "mlp.gate_proj",
            "feed_forward.w2": "mlp.down_proj",
            "feed_forward.w3": "mlp.up_proj",
            "attention_norm": "input_layernorm",
            "ffn_norm": "post_attention_layernorm",
        }.items():
            renamed[f"{new}.{name}.weight"] = weights[f"{old}.{was}.weight"]
    save_file({k: v.contiguous() for k, v in renamed.items()}, folder / "model.safetensors")
    config.update(
        architectures=["InternLM2ForCausalLM"],
        model_type="internlm2",
        auto_map={"AutoConfig": "configuration_internlm2.InternLM2Config"},
        bias=False,
        rope_theta=10000.0,
        rope_scaling={"type": "dynamic", "factor": 2.0},  # as InternLM2-chat has it
    )
    config.pop("rope_parameters", None)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "configuration_internlm2.py").write_text(
        "from transformers import PretrainedConfig\n\n\n"
        "class InternLM2Config(PretrainedConfig):\n"
        "    model_type = 'internlm2'\n"
    )
    return folder


def internlm2(folder: Path, model: str) -> tuple[Path, Path]:
    """A random InternLM2 and the Llama of the same weights."""
    plain = LlamaConfig(**SIZE, num_key_value_heads=2)  # head_dim = hidden size / heads
    llama = make(folder / "llama", plain, model)
    return as_internlm2(llama, folder / "internlm2"), llama
