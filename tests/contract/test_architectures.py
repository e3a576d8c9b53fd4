"""Small random checkpoints of other architectures compute what Transformers computes."""

from pathlib import Path

import pytest
import torch
from lmdeploy import GenerationConfig, pipeline
from texts import PROMPTS
from tiny import SIZE, internlm2, make
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from labutils import engine_config

CONFIGS = {
    "llama": LlamaConfig(**SIZE, num_key_value_heads=2, head_dim=32),
    "llama-mha-biased": LlamaConfig(**SIZE, num_key_value_heads=4, attention_bias=True),
    "qwen2": Qwen2Config(**SIZE, num_key_value_heads=2),
    "qwen3": Qwen3Config(**SIZE, num_key_value_heads=1, head_dim=32),
    "mistral-window": MistralConfig(**SIZE, num_key_value_heads=2, sliding_window=16),
}


def check(folder: Path, reference_folder: Path, tokenizer, passages) -> None:
    """Greedy tokens and cross-entropy of LMDeploy equal those of Transformers."""
    reference = AutoModelForCausalLM.from_pretrained(reference_folder, dtype=torch.float32)
    # The second has the pad token in it: for ChatML models that is often <|im_end|>.
    texts = (PROMPTS[4], "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", PROMPTS[19])
    prompts = [tokenizer(text).input_ids[:200] for text in texts]
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
    check(*internlm2(tmp_path, model), tokenizer, passages)
