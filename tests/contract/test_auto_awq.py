"""Our rounding, smoothing and packing equal the real `lite auto_awq`'s, of today and of 0.2.4, in
every bit; and what they cost is measured with them."""

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig

from labutils import awq, classic, internlm2

NORM_TO_LINEARS = {
    "input_layernorm": ["self_attn.k_proj", "self_attn.q_proj", "self_attn.v_proj"],
    "post_attention_layernorm": ["mlp.gate_proj", "mlp.up_proj"],
}
LINEAR_TO_LINEAR = {"self_attn.v_proj": "self_attn.o_proj", "mlp.up_proj": "mlp.down_proj"}


def smoothed(original: dict, stats: dict, group_size: int, today: bool) -> dict:
    """A Llama's tensors after AWQ's smoothing, with the tool's statistics of the inputs."""
    tensors = dict(original)
    searched = "ratios" in stats
    inputs = stats["absmean" if searched else "absmax"]

    def scales(linears: list[str]) -> torch.Tensor:
        weight = torch.cat([tensors[f"{name}.weight"] for name in linears])
        ratio = stats["ratios"][linears[0]] if searched else 0.5
        return awq.smoothing_scales(inputs[linears[0]], weight, group_size, ratio)

    def multiply(linears: list[str], by: torch.Tensor) -> None:
        for name in linears:
            tensors[f"{name}.weight"] = tensors[f"{name}.weight"] * by

    layers = {name.rpartition(".self_attn")[0] for name in inputs if ".self_attn." in name}
    for layer in layers:
        for norm, parts in NORM_TO_LINEARS.items():
            linears, norm = [f"{layer}.{part}" for part in parts], f"{layer}.{norm}.weight"
            by, used = scales(linears), original[norm] != 0  # padding stays as it is
            by = by / (by[used].max() * by[used].min()).sqrt()
            by[~used] = 1
            tensors[norm] = tensors[norm] / by
            multiply(linears, by)
        for before, after in LINEAR_TO_LINEAR.items():
            before, after = f"{layer}.{before}.weight", f"{layer}.{after}"
            if len(tensors[before]) < tensors[f"{after}.weight"].shape[1]:
                continue  # several query heads share a value head: no factor suits all of them
            by = scales([after])
            wide = by.float() if today else by
            by = (wide / (wide.max() * wide.min()).sqrt()).to(by.dtype)
            tensors[before] = tensors[before] / by[:, None]
            multiply([after], by)
    return tensors


def differing(model: Path, quantized: Path, group_size: int, today: bool = True) -> list[str]:
    """The tensors of a quantized folder that differ in any bit from our own rounding."""
    tensors = load_file(model / "model.safetensors")
    tensors = tensors if today else {name: tensor.half() for name, tensor in tensors.items()}
    if (quantized / "inputs_stats.pth").is_file():
        stats = torch.load(quantized / "inputs_stats.pth", weights_only=True)
        tensors = smoothed(tensors, stats, group_size, today)
    folder = awq.open_folder(quantized)
    for name in folder.linears:
        weight = tensors.pop(f"{name}.weight")
        ours = (awq.quantize if today else awq.quantize_as_024)(weight, group_size)
        tensors |= {f"{name}.{kind}": tensor for kind, tensor in ours.pack().items()}
    assert set(folder.tensors) - {"lm_head.weight"} <= set(tensors)
    return [n for n, t in folder.tensors.items() if n in tensors and not torch.equal(t, tensors[n])]


# --- today ---------------------------------------------------------------------------------------


def test_calibrated(model, w4a16):
    assert differing(Path(model), w4a16, 64) == []


def test_searched(short_model, w4a16_searched):
    assert differing(short_model, w4a16_searched, 32) == []


def test_without_data_and_with_padding(short_model_128, w4a16_128):
    assert differing(short_model_128, w4a16_128, 128) == []


def test_lmdeploys_own_dequantization_gives_the_same_numbers(w4a16):
    from lmdeploy.pytorch.backends.default.awq_modules import dequantize_gemm

    folder = awq.open_folder(w4a16)
    for name in folder.linears[:7]:
        stored = [folder.tensors[f"{name}.{kind}"] for kind in ("qweight", "qzeros", "scales")]
        assert torch.equal(folder.weight(name).dequantize(), dequantize_gemm(*stored, 4, 64).T)


def test_bytes_by_part(model, w4a16):
    config = json.loads((Path(model) / "config.json").read_text())
    assert awq.sizes(model) == awq.predicted_sizes(config)
    assert awq.sizes(w4a16) == awq.predicted_sizes(config, 64)


def test_what_is_not_quantized_stays_in_16_bits(model, w4a16):
    tensors = awq.open_folder(w4a16).tensors
    kept = {name for name in tensors if name.endswith(".weight")}
    embedding = "model.embed_tokens.weight"
    assert kept == {n for n in load_file(Path(model) / "model.safetensors") if "_proj" not in n}
    assert torch.equal(tensors[embedding], load_file(Path(model) / "model.safetensors")[embedding])


def test_errors_of_each_block(reference, w4a16_dequantized, passages):
    errors = awq.block_errors(reference, w4a16_dequantized, passages[0][:128])
    assert [error.layer for error in errors] == [*range(30)]
    assert all(0.001 < min(e.attention, e.feed_forward) for e in errors)
    assert all(max(e.attention, e.feed_forward) < 0.6 for e in errors)
    same = awq.block_errors(reference, reference, passages[0][:128])
    assert {(e.attention, e.feed_forward) for e in same} == {(0.0, 0.0)}


def test_an_error_stays_in_its_block(reference, passages):
    changed = copy.deepcopy(reference)
    weight = changed.model.layers[3].mlp.down_proj.weight
    weight.data = awq.quantize(weight.data, 64).dequantize()
    errors = awq.block_errors(reference, changed, passages[0][:64])
    assert [n for n, error in enumerate(errors) if error.feed_forward > 1e-3] == [3]
    assert max(error.attention for error in errors) < 1e-6, "each block has the original's input"


def test_smoothing_alone_is_no_error(reference, w4a16, passages):
    """Its factors cancel inside of a block, so that what `block_errors` shows is the rounding."""
    stats = torch.load(w4a16 / "inputs_stats.pth", weights_only=True)
    tensors = smoothed(dict(reference.state_dict()), stats, 64, today=True)
    scaled = copy.deepcopy(reference)
    scaled.load_state_dict(tensors)
    before, after = (each.model.layers[0].mlp.up_proj.weight for each in (reference, scaled))
    assert not torch.allclose(before, after, rtol=0.1)
    errors = awq.block_errors(reference, scaled, passages[0][:128])
    assert max(max(e.attention, e.feed_forward) for e in errors) < 1e-4


# --- 0.2.4 ---------------------------------------------------------------------------------------


@pytest.mark.skipif(bool(classic.why_not()), reason=classic.why_not())
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_the_real_024(model, tmp_path, kv_heads, calibration_text):
    """With two value heads it also smooths from v_proj to o_proj; with one it cannot."""
    from tiny import SIZE, make

    size = SIZE | {"hidden_size": 256, "intermediate_size": 384, "num_attention_heads": 2}
    made = make(tmp_path / "llama", LlamaConfig(**size, num_key_value_heads=kv_heads), model)
    internlm2.write_old_tokenizer(made, made)
    file = made / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"torch_dtype": "float16"}))
    options = ("--calib-dataset", "wikitext2", "--calib-samples", "2", "--calib-seqlen", "64")
    made_4bit = tmp_path / "awq"
    options += ("--work-dir", str(made_4bit), "--device", "cpu")
    classic.lmdeploy("lite", "auto_awq", str(made), *options, cwd=calibration_text)
    assert differing(made, made_4bit, 128, today=False) == []
    assert awq.open_folder(made_4bit).weight("model.layers.0.mlp.up_proj").group_size == 128
