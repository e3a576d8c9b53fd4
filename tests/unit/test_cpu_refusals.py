"""What the CPU device cannot do is refused in one sentence, before any weight is loaded."""

import json

import pytest
from lmdeploy import PytorchEngineConfig

from labutils.cpu import patches
from labutils.errors import LabError


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tp": 2}, "tp=2 needs several GPUs"),
        ({"dp": 2}, "dp=2 needs several GPUs"),
        ({"ep": 4}, "ep=4 needs several GPUs"),
        ({"quant_policy": 8}, "quant_policy=8 is not available"),
        ({"adapters": {"a": "b"}}, "LoRA adapters are not available"),
    ],
)
def test_options(options, sentence):
    with pytest.raises(LabError, match=sentence):
        patches.refuse_unsupported_options(PytorchEngineConfig(**options))


LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 1,
}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"architectures": ["NoSuchForCausalLM"]}, "no such architecture"),
        ({"architectures": None}, "unknown in .* no such architecture"),
        ({"quantization_config": {"quant_method": "awq"}}, r"weights are quantized \(awq\)"),
        ({"quantization_config": {"quant_method": "fp8"}}, r"weights are quantized \(fp8\)"),
        ({"attn_logit_softcapping": 50.0}, "caps its attention logits"),
        ({"kv_lora_rank": 512}, "multi-head latent attention"),
        ({"vision_config": {"hidden_size": 8}}, "vision encoder"),
        ({"num_local_experts": 8}, "mixture of experts"),
    ],
)
def test_models(tmp_path, changes, sentence):
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, **changes}))
    with pytest.raises(LabError, match=sentence):
        patches.refuse_unsupported_model(str(tmp_path))


def test_a_plain_llama_is_accepted(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    patches.refuse_unsupported_model(str(tmp_path))
