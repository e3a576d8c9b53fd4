"""What the CPU device cannot do is refused in one sentence, before any weight is loaded."""

import json

import pytest
from lmdeploy import PytorchEngineConfig

from labutils import engine_config
from labutils.cpu import patches
from labutils.errors import LabError


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tp": 2}, "tp=2 needs several GPUs"),
        ({"dp": 2}, "dp=2 needs several GPUs"),
        ({"ep": 4}, "ep=4 needs several GPUs"),
        ({"quant_policy": 16}, "quant_policy=16 is not available.*choose 8 .int8., 4 .int4. or 0"),
        ({"quant_policy": 17}, "quant_policy=17 is not available"),
        ({"quant_policy": 42}, "quant_policy=42 is not available"),
        ({"adapters": {"a": "b"}}, "LoRA adapters are not available"),
    ],
)
def test_options(options, sentence):
    with pytest.raises(LabError, match=sentence):
        patches.refuse_unsupported_options(PytorchEngineConfig(**options))


@pytest.mark.parametrize("number", [1, 3, -4])
def test_numbers_that_are_no_cache_format(number):
    with pytest.raises(LabError, match=f"quant_policy={number} is no KV cache format.*choose 8"):
        engine_config(quant_policy=number)


LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 1,
}


def quantized(method: str, **settings) -> dict:
    return {"quantization_config": {"quant_method": method, **settings}}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"architectures": ["NoSuchForCausalLM"]}, "no such architecture"),
        ({"architectures": None}, "unknown in .* no such architecture"),
        (quantized("fp8"), r"weights are quantized \(fp8\); use the unquantized model"),
        (quantized("gptq", bits=4), r"weights are quantized \(gptq\)"),
        (quantized("smooth_quant"), r"weights are quantized \(smooth_quant\)"),
        (quantized("bitsandbytes"), r"weights are quantized \(bitsandbytes\)"),
        (quantized("awq", bits=8), "have 8 bits in the gemm layout; only 4 bits in gemm"),
        (quantized("awq", version="gemv"), "have 4 bits in the gemv layout"),
        (quantized("awq", zero_point=False), "have no zero points"),
        (quantized("awq", group_size=16), "in groups of 16; only 32, 64, 128"),
        (quantized("awq", group_size=-1), "in groups of -1; only 32, 64, 128"),
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


AWQ = [quantized("awq", bits=4, group_size=size, version="gemm") for size in (32, 64, 128)]


@pytest.mark.parametrize("changes", [{}, *AWQ, quantized("awq")])
def test_a_llama_is_accepted_plain_and_in_four_bits(tmp_path, changes):
    (tmp_path / "config.json").write_text(json.dumps({**LLAMA, **changes}))
    patches.refuse_unsupported_model(str(tmp_path))
