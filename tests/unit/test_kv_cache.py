"""Today's formulas of KV quantization are those of LMDeploy's kernels, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
import torch

from labutils.kv_cache import dequantize, pack, quantize, unpack

KERNELS = Path(__file__).parent / "kv_kernels"
DTYPES = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
    "uint8": torch.uint8,
}
CONSTANT = 13
"""The rows from here on have one value each."""


class Kernels:
    """What LMDeploy's kernels made of some rows; see kv_kernels/make.py."""

    def __init__(self, machine: str) -> None:
        self.arrays = np.load(KERNELS / f"{machine}.npz")

    def get(self, name: str, part: str) -> torch.Tensor:
        dtype = DTYPES["uint8" if part.endswith("levels") else name.partition("-")[0]]
        return torch.from_numpy(self.arrays[f"{name}-{part}"]).view(dtype)


@pytest.fixture(scope="module")
def interpreter() -> Kernels:
    return Kernels("interpreter")


@pytest.fixture(scope="module")
def gpu() -> Kernels:
    return Kernels("gpu")


BITS = pytest.mark.parametrize("bits", [8, 4])
DIMS = pytest.mark.parametrize("dim", [64, 128])


@BITS
@DIMS
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_levels_and_scales_are_the_kernels(interpreter, dtype, dim, bits):
    name = f"{dtype}-{dim}"
    levels, scales = quantize(interpreter.get(name, "rows"), bits)
    assert torch.equal(levels[:CONSTANT], interpreter.get(name, f"{bits}-levels")[:CONSTANT])
    if dtype != "bfloat16":  # to which Triton's interpreter cannot round
        assert torch.equal(scales[:CONSTANT], interpreter.get(name, f"{bits}-scales")[:CONSTANT])


@BITS
@DIMS
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_gpu_agrees_but_for_its_division(gpu, dtype, dim, bits):
    name = f"{dtype}-{dim}"
    levels, scales = quantize(gpu.get(name, "rows"), bits)
    assert torch.equal(scales[:CONSTANT], gpu.get(name, f"{bits}-scales")[:CONSTANT])
    ours, theirs = (unpack(x[:CONSTANT], bits) for x in (levels, gpu.get(name, f"{bits}-levels")))
    apart = (ours.int() - theirs.int()).abs()
    assert apart.max() <= 1
    assert (apart > 0).float().mean() < 0.01, "halfway cases only"


@BITS
@DIMS
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_values_read_back_are_a_gpus(gpu, dtype, dim, bits):
    name = f"{dtype}-{dim}"
    levels, scales = (gpu.get(name, f"{bits}-{part}") for part in ("levels", "scales"))
    values = dequantize(levels, scales, bits)
    theirs = gpu.get(name, f"{bits}-values")
    assert torch.equal(values[:CONSTANT], theirs[:CONSTANT])
    assert theirs[CONSTANT:].isnan().all(), "LMDeploy divides zero by zero"


@BITS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("constant", [0.0, 1.5, -2.0, 3e4, -1e-6])
def test_a_constant_row_comes_back_exactly(dtype, constant, bits):
    row = torch.full((2, 64), constant, dtype=dtype)
    assert torch.equal(dequantize(*quantize(row, bits), bits), row)


@BITS
@pytest.mark.parametrize(("shift", "spread"), [(0, 1), (1e3, 1), (-1e3, 1), (1e5, 0.1)])
def test_no_value_is_off_by_more_than_half_a_step(shift, spread, bits):
    x = torch.randn(100, 64) * spread + shift
    levels, scales = quantize(x, bits)
    back = dequantize(levels, scales, bits)
    # float32 itself: x / scale is rounded, and scale · zero; both are of the size of shift.
    rounding = 4 * torch.finfo(torch.float32).eps * x.abs().max()
    assert ((back - x).abs() <= scales[..., :1] / 2 + rounding).all()


def test_four_bits_are_packed_by_halves():
    levels = torch.arange(16, dtype=torch.uint8)
    packed = pack(levels, 4)
    assert packed.tolist() == [i + 16 * (i + 8) for i in range(8)]
    assert torch.equal(unpack(packed, 4), levels)
    assert torch.equal(unpack(pack(levels, 8), 8), levels)
