"""Small random checkpoints of other architectures compute what Transformers computes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from lmdeploy import GenerationConfig, pipeline
from safetensors.torch import load_file, save_file
from texts import PROMPTS
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from labutils import engine_config

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
CONFIGS = {
    "llama": LlamaConfig(**SIZE, num_key_value_heads=2, head_dim=32),
    "llama-mha-biased": LlamaConfig(**SIZE, num_key_value_heads=4, attention_bias=True),
    "qwen2": Qwen2Config(**SIZE, num_key_value_heads=2),
    "qwen3": Qwen3Config(**SIZE, num_key_value_heads=1, head_dim=32),
    "mistral-window": MistralConfig(**SIZE, num_key_value_heads=2, sliding_window=16),
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


def check(folder: Path, reference_folder: Path, tokenizer, passages) -> None:
    """Greedy tokens and cross-entropy of LMDeploy equal those of Transformers."""
    reference = AutoModelForCausalLM.from_pretrained(reference_folder, dtype=torch.float32)
    prompts = [tokenizer(p).input_ids[:200] for p in (PROMPTS[4], PROMPTS[11], PROMPTS[19])]
    expected = [
        reference.generate(torch.tensor([p]), max_new_tokens=24, do_sample=False)[0, len(p) :]
        for p in prompts
    ]
    config = engine_config("float32", session_len=1024, max_batch_size=4)
    greedy = GenerationConfig(max_new_tokens=24, do_sample=False)
    with pipeline(
        str(folder), backend_config=config, log_level="ERROR", trust_remote_code=True
    ) as pipe:
        texts = [tokenizer.decode(p) for p in prompts]
        answers = pipe(texts, gen_config=greedy, do_preprocess=False)
        ppl = pipe.get_ppl(passages[:2])
    ours = [a.token_ids for a in answers]
    assert ours == [[t for t in e.tolist() if t != tokenizer.eos_token_id] for e in expected]
    with torch.no_grad():
        loss = [reference(torch.tensor([p]), labels=torch.tensor([p])).loss for p in passages[:2]]
    assert ppl == pytest.approx([x.item() for x in loss], abs=1e-3)


@pytest.mark.parametrize("name", CONFIGS)
def test_tokens_and_cross_entropy(tmp_path, model, tokenizer, passages, name):
    folder = make(tmp_path / name, CONFIGS[name], model)
    check(folder, folder, tokenizer, passages)


def test_internlm2(tmp_path, model, tokenizer, passages):
    plain = LlamaConfig(**SIZE, num_key_value_heads=2)  # head_dim = hidden size / heads
    llama = make(tmp_path / "llama", plain, model)
    check(as_internlm2(llama, tmp_path / "internlm2"), llama, tokenizer, passages)
