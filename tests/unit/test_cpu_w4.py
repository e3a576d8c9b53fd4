"""The CPU device's 4-bit linear layers, on any weight."""

import hypothesis.strategies as st
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings

from labutils import LabError, awq
from labutils.cpu import linear_w4

lab = settings(deadline=None, database=None, max_examples=40)


def made(out: int, inputs: int, group_size: int, seed: int = 0, dtype=torch.float16):
    """A layer as the engine holds it, and its weight in float32."""
    generator = torch.Generator().manual_seed(seed)
    weight = (torch.randn(out, inputs, generator=generator) / inputs**0.5).to(dtype)
    quantized = awq.quantize(weight, group_size)
    layer = linear_w4.CpuLinearW4A16(inputs, out, group_size)
    stored = quantized.pack()
    kept = layer.update_weights(stored["qweight"], stored["scales"], stored["qzeros"])
    return layer, [torch.nn.Parameter(t, requires_grad=False) for t in kept[:3]], quantized


@lab
@given(st.integers(1, 12), st.integers(1, 9))
def test_unpack_undoes_pack(thirty_twos, out):
    inputs = 32 * thirty_twos
    numbers = torch.randint(0, 16, (out, inputs), dtype=torch.uint8)
    packed = linear_w4.pack(numbers.T.contiguous().T)
    assert packed.is_contiguous(), "whatever lay in memory how"
    assert (packed.dtype, packed.shape) == (torch.uint8, (out, -(-inputs // 64) * 32))
    assert torch.equal(linear_w4.unpack(packed)[:, :inputs], numbers)


@lab
@given(
    st.integers(1, 20),
    st.integers(1, 3),
    st.sampled_from(linear_w4.GROUP_SIZES),
    st.integers(1, 130),
    st.integers(0, 99),
)
def test_float32_is_exact(eights, groups, group_size, rows, seed):
    layer, kept, quantized = made(8 * eights, groups * group_size, group_size, seed)
    x = torch.randn(rows, layer.in_features)
    weight = quantized.dequantize(torch.float32)
    assert torch.equal(layer.dequantize(*kept[:2]), weight)
    assert torch.allclose(layer.forward(x, *kept), F.linear(x, weight), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 8, linear_w4.MAX_ROWS, linear_w4.MAX_ROWS + 1, 300])
@pytest.mark.parametrize("group_size", linear_w4.GROUP_SIZES)
def test_bfloat16_differs_by_its_rounding_only(rows, group_size):
    layer, kept, quantized = made(192, 384, group_size)
    x = torch.randn(1, rows, 384).bfloat16()
    bias = torch.nn.Parameter(torch.randn(192).half(), requires_grad=False)
    got = layer.forward(x, *kept, bias)
    expected = F.linear(x.float(), quantized.dequantize(torch.float32), bias.float())
    assert (got.dtype, got.shape) == (torch.bfloat16, (1, rows, 192))
    assert (got.float() - expected).norm() / expected.norm() < 5e-3  # 2⁻⁸ is one rounding
    assert kept[1].dtype == torch.float16, "scales and zeros as the checkpoint has them"


@pytest.mark.parametrize("group_size", linear_w4.GROUP_SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_prompts_get_the_weight_as_pytorch_dequantizes_it(dtype, group_size):
    layer, kept, quantized = made(72, 384, group_size)
    got = layer.dequantize(*kept[:2], torch.empty(0, 384, dtype=dtype))
    assert torch.equal(got, quantized.dequantize(torch.float32).to(dtype))


def test_a_weight_has_one_packed_copy():
    layer, kept, _ = made(576, 1536, 64)
    layer.forward(torch.randn(1, 1536).bfloat16(), *kept)
    numbers, pairs = 576 * 1536 // 2, 576 * (1536 // 64) * 4
    assert sum(t.untyped_storage().nbytes() for t in kept) == numbers + pairs
    held = [value for value in vars(layer).values() if isinstance(value, torch.Tensor)]
    assert not held, "nothing is kept beside what LMDeploy keeps"


def test_damaged_scales_are_refused_when_the_model_is_loaded():
    stored = awq.quantize(torch.randn(64, 64), 64).pack()
    stored["scales"][0, 5] = torch.nan
    layer = linear_w4.CpuLinearW4A16(64, 64, 64)
    with pytest.raises(LabError, match="1 of 64 scales of this layer are zero"):
        layer.update_weights(stored["qweight"], stored["scales"], stored["qzeros"])
