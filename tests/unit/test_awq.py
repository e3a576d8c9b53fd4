"""Packing and rounding to 4 bits hold for any numbers, and damage is refused in one sentence."""

import json
import re
import shutil

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from safetensors.torch import save_file

from labutils import LabError, awq

settings.register_profile("lab", deadline=None, database=None, max_examples=60)
settings.load_profile("lab")

seeds = st.integers(0, 2**31)
group_sizes = st.sampled_from([1, 2, 8, 32, 64, 128])


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@st.composite
def weights(draw) -> tuple[torch.Tensor, int]:
    """A weight of any shape and scale whose groups all reach across zero, and its group size."""
    size = draw(group_sizes)
    out, groups = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    generator = random(draw(seeds))
    weight = torch.randn(out, groups * size, generator=generator) * 10 ** draw(st.integers(-3, 3))
    spans = weight.view(out, groups, size)
    spans[..., 0] = -spans[..., 0].abs()
    spans[..., -1] = spans[..., -1].abs() if size > 1 else 0
    return weight, size


# --- packing -------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(0, 12), seeds)
def test_unpack_undoes_pack(rows, eights, seed):
    numbers = torch.randint(0, 16, (rows, 8 * eights), generator=random(seed), dtype=torch.uint8)
    packed = awq.pack(numbers)
    assert (packed.dtype, packed.shape) == (torch.int32, (rows, eights))
    assert torch.equal(awq.unpack(packed), numbers)


@given(st.integers(0, 40), st.integers(0, 12), seeds)
def test_pack_undoes_unpack(rows, columns, seed):
    packed = torch.randint(-(2**31), 2**31, (rows, columns), generator=random(seed)).int()
    assert torch.equal(awq.pack(awq.unpack(packed)), packed)


def test_the_nibbles_of_an_int32():
    assert awq.pack(torch.arange(8)[None]).item() == 0x75316420
    assert awq.unpack(torch.tensor([[0x75316420]], dtype=torch.int32)).tolist() == [[*range(8)]]
    assert awq.pack(torch.full((1, 8), 15)).item() == -1


@pytest.mark.parametrize(
    ("numbers", "sentence"),
    [
        (torch.zeros(2, 8), "Only integers .* not float32 .2, 8.: quantize first"),
        (torch.zeros(2, 12, dtype=torch.uint8), "multiple of 8 columns"),
        (torch.zeros(8, dtype=torch.uint8), "Only integers"),
        (torch.full((1, 8), 16), "4 bits hold 0 to 15"),
        (torch.full((1, 8), -1), "4 bits hold 0 to 15"),
    ],
)
def test_what_cannot_be_packed(numbers, sentence):
    with pytest.raises(LabError, match=sentence):
        awq.pack(numbers)


def test_the_weight_of_an_unquantized_layer_is_not_unpacked():
    with pytest.raises(LabError, match="int32 .*, not bfloat16 .*an unquantized layer"):
        awq.unpack(torch.zeros(64, 8, dtype=torch.bfloat16))


# --- rounding ------------------------------------------------------------------------------------


@given(weights())
def test_no_weight_moves_by_more_than_half_a_scale(made):
    weight, size = made
    quantized = awq.quantize(weight, size)
    moved = (quantized.dequantize() - weight).abs().unflatten(1, (-1, size))
    assert (moved <= quantized.scales[..., None] * (0.5 + 1e-5)).all()


@given(weights())
def test_the_rounding_of_024_keeps_to_one_scale(made):
    weight, size = made
    if size == 1 or (weight == 0).all():
        return  # a group of one weight has no width
    quantized = awq.quantize_as_024(weight, size)
    moved = (quantized.dequantize() - weight).abs().unflatten(1, (-1, size))
    assert (moved <= quantized.scales[..., None] * (1 + 1e-5)).all()


@given(weights(), st.integers(2, 8), st.booleans())
def test_numbers_keep_to_their_bits(made, bits, symmetric):
    quantized = awq.quantize(*made, bits=bits, symmetric=symmetric)
    assert max(quantized.numbers.max().item(), quantized.zeros.max().item()) < 2**bits
    assert quantized.group_size == made[1]


@given(weights())
def test_a_symmetric_scale_keeps_to_half_a_scale_as_well(made):
    weight, size = made
    quantized = awq.quantize(weight, size, symmetric=True)
    moved = (quantized.dequantize() - weight).abs().unflatten(1, (-1, size))
    assert (moved <= quantized.scales[..., None] * (0.5 + 1e-5)).all()


@given(weights())
def test_what_is_rounded_already_stays(made):
    weight, size = made
    once = awq.quantize(weight, size).dequantize()
    twice = awq.quantize(once, size).dequantize()
    torch.testing.assert_close(twice, once, rtol=1e-5, atol=1e-5 / 15)


@given(weights(), st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
def test_packed_tensors_hold_the_weight(made, dtype):
    weight, size = made
    eight = weight.repeat_interleave(8, 0).clamp(-1e4, 1e4).to(dtype)
    quantized = awq.quantize(eight, size)
    again = awq.unpack_weight(**quantized.pack())
    assert torch.equal(again.dequantize(), quantized.dequantize())
    assert again.dequantize().dtype == dtype


@given(weights(), st.integers(-3, 3))
def test_smoothing_changes_nothing_but_the_rounding(made, seed):
    weight, size = made
    inputs = torch.rand(weight.shape[1], generator=random(seed % 7)) + 0.01
    scales = awq.smoothing_scales(inputs, weight, size)
    assert scales.shape == inputs.shape and (scales > 0).all() and scales.isfinite().all()
    weight, inputs, scales = weight.double(), inputs.double(), scales.double()
    torch.testing.assert_close((weight * scales) @ (inputs / scales), weight @ inputs)


@pytest.mark.parametrize(
    ("weight", "size", "sentence"),
    [
        (torch.ones(4, 100), 64, "Group size 64 does not divide 100 inputs"),
        (torch.ones(4, 64), 128, "Group size 128 does not divide 64 inputs"),
        (torch.ones(4, 64), 0, "Group size 0 does not divide"),
        (torch.ones(64), 64, "floating-point weight of a linear layer"),
        (torch.ones(4, 64, dtype=torch.int32), 64, "not int32 .*quantized already"),
        (torch.full((4, 64), torch.nan), 64, "infinities or NaN"),
        (torch.full((4, 64), torch.inf), 64, "infinities or NaN"),
    ],
)
def test_what_cannot_be_quantized(weight, size, sentence):
    for quantize in (awq.quantize, awq.quantize_as_024):
        with pytest.raises(LabError, match=sentence):
            quantize(weight, size)


@pytest.mark.parametrize("bits", [0, 1, 9])
def test_bits_that_make_no_sense(bits):
    with pytest.raises(LabError, match=f"to {bits} bits: choose 2 to 8"):
        awq.quantize(torch.randn(1, 8), 8, bits=bits)


@pytest.mark.parametrize(
    "weight", [torch.ones(1, 8), torch.zeros(1, 8), torch.arange(1.0, 9)[None]]
)
def test_groups_that_024_cannot_store(weight):
    with pytest.raises(LabError, match="1 groups of 8 weights .* LMDeploy 0.2.4 cannot store"):
        awq.quantize_as_024(weight, 8)


# --- damaged tensors -----------------------------------------------------------------------------


@pytest.fixture
def stored() -> dict[str, torch.Tensor]:
    return awq.quantize(torch.randn(16, 64, generator=random(0)), 32).pack()


@pytest.mark.parametrize("value", [0.0, -1.0, torch.nan, torch.inf])
def test_corrupt_scales(stored, value):
    stored["scales"][1, 3] = value
    with pytest.raises(LabError, match="1 of 32 scales of q_proj are .*: .* quantize again"):
        awq.unpack_weight(**stored, name="q_proj")


@pytest.mark.parametrize(
    "change",
    [
        {"scales": torch.ones(3, 16)},
        {"scales": torch.ones(2, 8)},
        {"qzeros": torch.zeros(1, 2, dtype=torch.int32)},
        {"qweight": torch.zeros(64, 1, dtype=torch.int32)},
    ],
)
def test_tensors_that_do_not_belong_together(stored, change):
    with pytest.raises(LabError, match="of this layer do not fit together"):
        awq.unpack_weight(**(stored | change))


# --- before LMDeploy starts ----------------------------------------------------------------------

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "num_hidden_layers": 30,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
INTERNLM2_7B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "vocab_size": 92544,
}


def folder(path, **changes):
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG | changes))
    save_file({"model.norm.weight": torch.ones(8)}, path / "model.safetensors")
    return path


@pytest.mark.parametrize("size", [32, 64])
def test_a_model_that_can_be_quantized(tmp_path, size):
    awq.check(folder(tmp_path / "model"), size, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("changes", "size", "sentence"),
    [
        ({}, 128, "size 128 does not suit layers of 192, 576, 1536 .*: choose 64 or 32[.]"),
        ({}, 48, "size 48 does not suit"),
        ({}, -1, "size -1 does not suit"),
        ({"hidden_size": 100}, 64, "this model has no group size"),
        ({"quantization_config": {"quant_method": "awq"}}, 64, r"quantized already \(awq\)"),
        ({"quantization_config": {"quant_method": "fp8"}}, 64, r"quantized already \(fp8\)"),
    ],
)
def test_a_model_that_cannot(tmp_path, changes, size, sentence):
    with pytest.raises(LabError, match=sentence):
        awq.check(folder(tmp_path / "model", **changes), size)


def test_a_model_that_024_has_quantized_without_a_word(tmp_path, stored):
    model = folder(tmp_path / "model")
    save_file({f"w.{kind}": tensor for kind, tensor in stored.items()}, model / "model.safetensors")
    with pytest.raises(LabError, match=r"quantized already \(awq\)"):
        awq.check(model, 64)


def test_where_the_quantized_model_goes(tmp_path, monkeypatch):
    model = folder(tmp_path / "model")
    with pytest.raises(LabError, match="exists already: name a new folder"):
        awq.check(model, 64, model)
    full = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda room: full)
    with pytest.raises(LabError, match=r"needs 0.1 GB, and .* has 0.0 GB free: make room"):
        awq.check(model, 64, tmp_path / "new")


def test_no_model(tmp_path):
    with pytest.raises(LabError, match="no model folder"):
        awq.check(tmp_path / "nothing", 64)


@pytest.mark.parametrize(
    ("quantization", "sentence"),
    [
        (None, "holds no 4-bit weights"),
        ({"quant_method": "gptq", "bits": 4}, "quantized with gptq, 4 bits"),
        ({"quant_method": "awq", "bits": 8}, "quantized with awq, 8 bits"),
    ],
)
def test_a_folder_without_awq_weights(tmp_path, quantization, sentence):
    changes = {"quantization_config": quantization} if quantization else {}
    with pytest.raises(LabError, match=sentence):
        awq.open_folder(folder(tmp_path / "model", **changes))


def test_a_folder_that_lacks_a_tensor(tmp_path, stored):
    model = folder(tmp_path / "model")
    kept = {f"model.layers.0.mlp.up_proj.{kind}": tensor for kind, tensor in stored.items()}
    del kept["model.layers.0.mlp.up_proj.qzeros"]
    save_file(kept, model / "model.safetensors")
    with pytest.raises(LabError, match=re.escape("lacks tensors of model.layers.0.mlp.up_proj")):
        awq.open_folder(model).dequantized()


def test_why_a_third_and_not_a_quarter():
    """InternLM2-7B: LMDeploy's own figures are 14.41 and 4.79 GiB."""
    before, after = (awq.predicted_sizes(INTERNLM2_7B, size) for size in (None, 128))
    assert round(sum(before.values()) / 2**30, 2) == 14.41
    assert round(sum(after.values()) / 2**30, 2) == 4.79
    assert after["embeddings"] == before["embeddings"], "these stay as they were"
    quantized = sum(after[part] for part in ("4-bit numbers", "scales", "zero points"))
    assert before["linear layers"] / quantized == pytest.approx(16 / (4 + 20 / 128))
