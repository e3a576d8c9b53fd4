"""The real LMDeploy 0.2.4 converts 4-bit weights, arranged by us in place of its library."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaConfig

from labutils import LabError, awq, classic, internlm2, workspace
from labutils.classic import awq as classic_awq
from labutils.conversion import deinterleave

pytestmark = pytest.mark.skipif(bool(classic.why_not()), reason=classic.why_not())


@pytest.fixture(scope="module")
def model_awq(model, tmp_path_factory, calibration_text) -> Path:
    """A small random Llama in 4 bits, by the real `auto_awq` of 0.2.4."""
    from tiny import SIZE, make

    size = SIZE | {"hidden_size": 512, "intermediate_size": 768, "num_hidden_layers": 2}
    folder = tmp_path_factory.mktemp("awq")
    llama = make(folder / "llama", LlamaConfig(**size, num_key_value_heads=2), model)
    internlm2.write_old_tokenizer(llama, llama)
    file = llama / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"torch_dtype": "float16"}))
    options = ("--calib-dataset", "wikitext2", "--calib-samples", "2", "--calib-seqlen", "64")
    options += ("--work-dir", str(folder / "awq"), "--device", "cpu")
    classic.lmdeploy("lite", "auto_awq", str(llama), *options, cwd=calibration_text)
    return folder / "awq"


G128 = ("--group-size", "128")


def convert(model: Path, folder: Path, *options: str, name: str = "llama2") -> Path:
    """Run 0.2.4's convert on 4-bit weights; the workspace's folder of weights."""
    tokenizer = ("--tokenizer-path", str(model / "tokenizer.json"), "--dst-path", "ws")
    arguments = ("convert", name, str(model), "--model-format", "awq", *tokenizer, *options)
    classic.lmdeploy(*arguments, cwd=folder)
    return folder / "ws" / "triton_models" / "weights"


def read(weights: Path, name: str, inputs: int, ranks: int) -> list[torch.Tensor]:
    """A 4-bit weight's float16 parts, [in, out] of each rank."""
    parts = []
    for rank in range(ranks):
        files = (weights / f"{name}.{rank}.{kind}" for kind in ("qweight", "scales_zeros"))
        stored = [torch.from_numpy(np.fromfile(file, np.int32)) for file in files]
        parts.append(classic_awq.stored_weight(*stored, inputs).dequantize().T)
    return parts


@pytest.mark.parametrize("tp", [1, 2])
def test_a_workspace_holds_the_weights_of_the_folder(model_awq, tmp_path, tp):
    check_workspace(convert(model_awq, tmp_path, *G128, "--tp", str(tp)), model_awq, tp)


def test_what_todays_auto_awq_made_converts_as_well(w4a16_128, tmp_path):
    """The course's own model, under InternLM2's names as the lesson has it."""
    renamed = tmp_path / "internlm2"
    renamed.mkdir()
    internlm2.write(w4a16_128, renamed)
    check_workspace(convert(renamed, tmp_path, *G128, name="internlm2-chat-7b"), w4a16_128, 1)


def check_workspace(weights: Path, model: Path, tp: int) -> None:
    """Every 4-bit file, arranged back, holds the model folder's weight."""
    settings = workspace.read_settings(weights / "config.ini")
    assert (settings["weight_type"], settings["group_size"]) == ("int4", "128")
    folder = awq.open_folder(model)
    config = json.loads((model / "config.json").read_text())
    hidden, inter = config["hidden_size"], config["intermediate_size"]
    kv = 128 * config["num_key_value_heads"]

    def expected(part: str, layer: int) -> torch.Tensor:
        weight = folder.weight(f"model.layers.{layer}.{part}_proj")
        return awq.Quantized(weight.numbers, weight.zeros, weight.scales.half()).dequantize().T

    for layer in range(2):
        q, k, v, o = (expected(f"self_attn.{part}", layer) for part in "qkvo")
        gate, up, down = (expected(f"mlp.{part}", layer) for part in ("gate", "up", "down"))
        where = f"layers.{layer}"
        split = [hidden // tp, kv // tp, kv // tp]
        fused = read(weights, f"{where}.attention.w_qkv", hidden, tp)
        qkv = [part.split(split, 1) for part in fused]
        got_q, got_k, got_v = (torch.cat(parts, 1) for parts in zip(*qkv, strict=True))
        assert torch.equal(deinterleave(got_q, 128), q)
        assert torch.equal(deinterleave(got_k, 128), k)
        assert torch.equal(got_v, v)
        w13 = torch.cat(read(weights, f"{where}.feed_forward.w13", hidden, tp), 1)
        assert torch.equal(w13[:, ::2], gate) and torch.equal(w13[:, 1::2], up)
        wo = torch.cat(read(weights, f"{where}.attention.wo", hidden // tp, tp))
        w2 = torch.cat(read(weights, f"{where}.feed_forward.w2", inter // tp, tp))
        assert torch.equal(wo, o) and torch.equal(w2, down)


@pytest.mark.parametrize("options", [(), ("--group-size", "64"), ("--group-size", "0")])
def test_another_group_size_is_refused_before_anything_is_deleted(model_awq, tmp_path, options):
    with pytest.raises(LabError, match="groups of 128 only, .*: type --group-size 128"):
        convert(model_awq, tmp_path, *options)
    assert not (tmp_path / "ws").exists()


def test_weights_in_other_groups(w4a16_searched):
    with pytest.raises(LabError, match="has groups of 32: quantize with --w-group-size 128"):
        classic_awq.check(w4a16_searched, "128")


def test_unquantized_weights(model_awq, tmp_path):
    with pytest.raises(LabError, match="holds no 4-bit weights"):
        convert(model_awq.parent / "llama", tmp_path, *G128)
