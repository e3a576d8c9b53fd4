"""Random checkpoints of other architectures, small enough to make in a test."""

import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from labutils.internlm2 import write

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
RANDOM = {
    "hidden_size": 256,
    "intermediate_size": 384,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 49280,
}
"""A shape for `labutils.random_model`, which 4-bit weights in groups of 128 have as well."""


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


def internlm2(folder: Path, model: str) -> tuple[Path, Path]:
    """A random InternLM2 and the Llama of the same weights."""
    plain = LlamaConfig(**SIZE, num_key_value_heads=2)  # head_dim = hidden size / heads
    llama = make(folder / "llama", plain, model)
    renamed = folder / "internlm2"
    renamed.mkdir()
    write(llama, renamed)
    return renamed, llama
