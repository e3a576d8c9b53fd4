"""4-bit models of the real `lite auto_awq` run on the CPU device as the same weights in floats."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from lmdeploy import GenerationConfig, pipeline
from safetensors.torch import load_file, save_file
from texts import PROMPTS

from labutils import LabError, awq, engine_config
from labutils.cpu.memory import weight_bytes
from labutils.server import api_server

GREEDY = GenerationConfig(max_new_tokens=8, do_sample=False)


def engine(folder: Path, dtype: str = "float32"):
    config = engine_config(dtype, session_len=1024, max_batch_size=16)
    return pipeline(str(folder), backend_config=config, log_level="ERROR")


@pytest.fixture(scope="module")
def pipe_w4_float32(w4a16) -> Iterator:
    with engine(w4a16) as pipe:
        yield pipe


@pytest.fixture(scope="module")
def pipe_w4_bfloat16(w4a16) -> Iterator:
    with engine(w4a16, "auto") as pipe:
        yield pipe


@pytest.fixture(scope="module")
def expected(w4a16_dequantized, passages) -> list[float]:
    """Cross-entropy of each passage in Transformers, the same weights dequantized to float32."""
    with torch.no_grad():
        ids = [torch.tensor([passage]) for passage in passages]
        return [w4a16_dequantized(i, labels=i).loss.item() for i in ids]


def test_cross_entropy_in_float32(pipe_w4_float32, passages, expected):
    assert pipe_w4_float32.get_ppl(passages) == pytest.approx(expected, abs=1e-5)


def test_cross_entropy_in_bfloat16(pipe_w4_bfloat16, passages, expected):
    got = pipe_w4_bfloat16.get_ppl(passages)
    assert sum(got) / 5 == pytest.approx(sum(expected) / 5, abs=1e-2)
    assert got == pytest.approx(expected, abs=2e-2)


def test_few_rows_at_a_time_as_well(pipe_w4_bfloat16, w4a16_dequantized, passages):
    """Passages this short stay below KERNEL_ROWS: PyTorch's 4-bit kernel computes them."""
    pieces = [passage[start : start + 60] for passage in passages for start in (0, 300)]
    with torch.no_grad():
        ids = [torch.tensor([piece]) for piece in pieces]
        expected = [w4a16_dequantized(i, labels=i).loss.item() for i in ids]
    got = [pipe_w4_bfloat16.get_ppl(piece)[0] for piece in pieces]
    assert sum(got) / len(got) == pytest.approx(sum(expected) / len(got), abs=1e-2)


def test_a_batch_of_unequal_lengths_equals_single_runs(pipe_w4_float32):
    alone = [pipe_w4_float32(prompt, gen_config=GREEDY).token_ids for prompt in PROMPTS[:5]]
    batch = pipe_w4_float32(PROMPTS[:5], gen_config=GREEDY)
    assert [answer.token_ids for answer in batch] == alone
    assert len({answer.input_token_len for answer in batch}) > 1


@pytest.mark.parametrize(("folder", "size"), [("w4a16_searched", 32), ("w4a16_128", 128)])
def test_logits_with_other_group_sizes(request, passages, folder, size):
    opened = awq.open_folder(request.getfixturevalue(folder))
    assert opened.weight(opened.linears[0]).group_size == size
    with torch.no_grad():
        wanted = opened.load_dequantized()(torch.tensor([passages[0]])).logits[0]
    wanted[-1] /= GenerationConfig().temperature  # LMDeploy's sampler leaves it so
    with engine(opened.path) as pipe:
        (got,) = pipe._run(coro=pipe.async_engine.async_get_logits([passages[0]])).result()
    torch.testing.assert_close(got, wanted, atol=2e-3, rtol=1e-4)


def test_activations_have_the_dtype_asked_for(pipe_w4_float32, pipe_w4_bfloat16):
    """LMDeploy itself makes it float16 for every 4-bit model."""
    engines = [pipe.async_engine.engine for pipe in (pipe_w4_float32, pipe_w4_bfloat16)]
    assert [e.model_config.dtype for e in engines] == [torch.float32, torch.bfloat16]


def test_memory_of_the_weights(pipe_bfloat16, pipe_w4_bfloat16, model):
    """On disk a group costs 16 + 4 bits beside its numbers, here 16 + 16."""
    config = json.loads((Path(model) / "config.json").read_text())
    before, after = (awq.predicted_sizes(config, size) for size in (None, 64))
    assert weight_bytes(pipe_bfloat16) == sum(before.values())
    resident = sum(after.values()) + after["scales"] - after["zero points"]
    assert weight_bytes(pipe_w4_bfloat16) == resident


def test_the_server_answers_with_the_cache_quantized_as_well(w4a16):
    with api_server(str(w4a16), quant_policy=8, session_len=512) as server:
        asked = [{"role": "user", "content": "What is the capital of France?"}]
        answer = server.client().chat.completions.create(
            model=server.model, messages=asked, temperature=0, max_tokens=12
        )
        assert "int8 KV cache for" in server.log.read_text()
    assert "Paris" in answer.choices[0].message.content


def test_damaged_scales_stop_the_engine_in_one_sentence(w4a16_searched, tmp_path):
    damaged = Path(shutil.copytree(w4a16_searched, tmp_path / "damaged"))
    tensors = load_file(damaged / "model.safetensors")
    tensors["model.layers.1.mlp.down_proj.scales"][0, :3] = 0
    save_file(tensors, damaged / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LabError, match="3 of 27648 scales of this layer are zero"):
        engine(damaged)
    with pytest.raises(LabError, match="3 of 27648 scales of model.layers.1.mlp.down_proj are"):
        awq.open_folder(damaged).dequantized()
