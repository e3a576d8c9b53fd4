"""The CPU device's operators: as instructions they compute what PyTorch computes."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numba import njit

from labutils.cpu import recording
from labutils.cpu.elementwise import CpuApplyRotaryEmb, CpuRMSNorm, CpuSiluAndMul
from labutils.cpu.kernels import numbers
from labutils.cpu.linear import MAX_ROWS, CpuLinear
from labutils.cpu.recording import CannotRecord, CpuGraphRunner, Program

DTYPES = [torch.float32, torch.bfloat16]


@pytest.fixture(params=DTYPES, ids=["float32", "bfloat16"])
def dtype(request) -> torch.dtype:
    return request.param


def both(monkeypatch, operator, *args: torch.Tensor | None):
    """What an operator returns as an instruction and as PyTorch's functions, as float64."""
    emitted = []
    monkeypatch.setattr(recording.instructions, "run", spy(recording.instructions.run, emitted))
    results = []
    for enabled in (True, False):
        monkeypatch.setattr(recording, "ENABLED", enabled)
        own = [None if a is None else a.clone() if a.is_contiguous() else a for a in args]
        results.append(operator(*own))
    assert emitted, "the first ran as an instruction"
    return results


def spy(function, calls):
    def run(*args):
        calls.append(args)
        return function(*args)

    return run


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Equal but for the order of sums and, in bfloat16, a rounding or two."""
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    error = (a.double() - b.double()).norm() / b.double().norm()
    return bool(error < (1e-6 if a.dtype == torch.float32 else 4e-3))


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, MAX_ROWS])
@pytest.mark.parametrize("width", [16, 48, 64, 576])
@pytest.mark.parametrize("bias", [None, 7])
def test_linear(monkeypatch, dtype, rows, width, bias):
    x, weight = torch.randn(1, rows, width, dtype=dtype), torch.randn(7, width, dtype=dtype)
    bias = None if bias is None else torch.randn(bias, dtype=dtype)
    assert close(*both(monkeypatch, CpuLinear().forward, x, weight, bias))


@pytest.mark.parametrize(("rows", "width"), [(MAX_ROWS + 1, 64), (1, 40), (1, 7)])
def test_what_the_instruction_cannot_do_is_left_to_pytorch(monkeypatch, rows, width):
    monkeypatch.setattr(recording.instructions, "run", None)
    x, weight = torch.randn(rows, width), torch.randn(3, width)
    assert torch.equal(CpuLinear().forward(x, weight), x @ weight.T)
    half = x.half()
    assert CpuLinear().forward(half, weight.half()).dtype == torch.float16


def test_no_number_gets_lost(dtype):
    """A weight that is no number must show in the output, not vanish in a faster sum."""
    x, weight = torch.ones(2, 32, dtype=dtype), torch.ones(3, 32, dtype=dtype)
    weight[1, 5], weight[2, 9] = torch.nan, torch.inf
    out = CpuLinear().forward(x, weight)
    assert out[0].tolist() == pytest.approx([32, torch.nan, torch.inf], nan_ok=True)


def test_rms_norm(monkeypatch, dtype):
    norm, x = CpuRMSNorm(1e-5), torch.randn(1, 5, 576, dtype=dtype)
    weight, residual = torch.randn(576, dtype=dtype), torch.randn(1, 5, 576, dtype=dtype)
    assert close(*both(monkeypatch, norm.forward, x, weight))
    one, other = both(monkeypatch, norm.forward, x, weight, residual)
    assert torch.equal(one[1], other[1])
    assert close(one[0], other[0])


def test_rms_norm_of_heads_inside_a_wider_row(monkeypatch, dtype):
    """As Qwen3 normalizes queries and keys."""
    wide = torch.randn(5, 9 * 64, dtype=dtype)
    heads, weight = wide[:, 128:320].unflatten(1, (3, 64)), torch.randn(64, dtype=dtype)
    assert close(*both(monkeypatch, CpuRMSNorm(1e-6).forward, heads, weight))


def test_rotary_embedding(monkeypatch, dtype):
    angles = torch.rand(5, 32).repeat(1, 2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)

    def turned(wide: torch.Tensor) -> torch.Tensor:
        query, key, _ = wide.split([6 * 64, 2 * 64, 2 * 64], 1)
        states = query.unflatten(1, (6, 64)), key.unflatten(1, (2, 64))
        CpuApplyRotaryEmb().forward(*states, cos, sin)
        return wide

    assert close(*both(monkeypatch, turned, torch.randn(5, 640, dtype=dtype)))


def test_silu_and_multiply(monkeypatch, dtype):
    x = 4 * torch.randn(1, 3, 2 * 100, dtype=dtype)
    assert close(*both(monkeypatch, CpuSiluAndMul(True).forward, x))


@njit
def _exponentials(xs, out):
    for i in range(len(xs)):
        out[i] = numbers.exp(xs[i])


def test_exp_is_right_to_float32s_precision():
    xs = np.linspace(-87, 88, 200_001).astype(np.float32)
    _exponentials(xs, out := np.empty_like(xs))
    assert np.abs(out / np.exp(xs.astype(np.float64)) - 1).max() < 3e-7


@njit
def _narrowed(xs, out):
    for i in range(len(xs)):
        out[i] = numbers.narrow(xs[i], out)


def test_bfloat16_is_rounded_as_pytorch_rounds():
    special = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 1 + 2**-8, 1 + 3 * 2**-8, 3.4e38])
    xs = torch.cat([special, torch.randn(1000)])
    _narrowed(xs.numpy(), out := np.empty(len(xs), np.uint16))
    assert torch.equal(torch.from_numpy(out).view(torch.bfloat16), xs.bfloat16())
    _narrowed(np.full(1, np.nan, np.float32), out := np.empty(1, np.uint16))
    assert torch.from_numpy(out).view(torch.bfloat16).isnan().all()


class Metadata:
    """As much of a step's metadata as the runner reads."""

    def __init__(self, batch: int) -> None:
        self.is_decoding, self.q_lens = True, [1] * batch
        self.sequences = (
            np.zeros((batch, 1), np.int64),
            np.ones(batch, np.int64),
            np.arange(batch + 1),
        )


def runner(model) -> CpuGraphRunner:
    model.ctx_mgr = None
    return CpuGraphRunner(model, None, None, None, None)


def test_a_recorded_step_is_replayed_on_new_inputs_and_by_batch_size():
    calls = []
    weight, up = torch.randn(64, 64), torch.randn(128, 64)

    def model(input_ids, position_ids, past_key_values, attn_metadata):
        calls.append(len(input_ids))
        x = torch.nn.functional.embedding(input_ids, weight)
        x = CpuLinear().forward(x, up).relu()
        return CpuSiluAndMul(True).forward(x) * position_ids[:, None]

    run, cache = runner(model), [[torch.zeros(1)]]
    for batch in (2, 3, 2, 3, 2):
        ids, positions = torch.randint(0, 64, (batch,)), torch.rand(batch)
        arguments = ids, positions, cache, Metadata(batch)
        names = ("input_ids", "position_ids", "past_key_values", "attn_metadata")
        got = run(**dict(zip(names, arguments, strict=True)))
        seen = len(calls)
        assert torch.allclose(got, model(*arguments), atol=1e-6)
        del calls[seen:]
    assert calls == [2, 3], "each batch size ran as Python once"
    assert len(run.memory) == 1, "both keep their results in the same place"


@pytest.mark.parametrize("bias", [False, True])
def test_a_recorded_product_of_many_rows_is_pytorchs(bias):
    weight = torch.randn(300_000, 16)
    offsets = torch.randn(300_000) if bias else None

    def model(input_ids, past_key_values, attn_metadata):
        return CpuLinear().forward(input_ids, weight, offsets)

    run, cache = runner(model), [[torch.zeros(1)]]
    rows = MAX_ROWS + 1
    for _ in range(3):
        x = torch.randn(rows, 16)
        got = run(input_ids=x, past_key_values=cache, attn_metadata=Metadata(rows))
        assert torch.allclose(got, torch.nn.functional.linear(x, weight, offsets), atol=1e-5)
    assert [len(piece) for piece in run.memory] == [rows * 300_000 * 4], "it takes what it needs"


def test_a_step_that_depends_on_a_number_is_not_recorded():
    def model(input_ids, past_key_values, attn_metadata):
        return input_ids * 2 if input_ids.sum() > 0 else input_ids * 3

    arguments = {"past_key_values": [[torch.zeros(1)]], "attn_metadata": Metadata(1)}
    with pytest.raises(CannotRecord):
        Program(model, {"input_ids": torch.ones(1)} | arguments, [])
    run = runner(model)
    for number, expected in ((1, 2), (-1, -3), (5, 10)):
        assert run(input_ids=torch.full((1,), number), **arguments).item() == expected


def test_any_number_of_threads_and_of_callers():
    """More threads than before, and several callers at once, neither hang nor mix."""
    xs, weight = torch.randn(6, 2, 64), torch.randn(500, 64)
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            with ThreadPoolExecutor(3) as callers:
                got = list(callers.map(lambda x: CpuLinear().forward(x, weight), list(xs) * 10))
            assert torch.allclose(torch.stack(got), (xs @ weight.T).repeat(10, 1, 1), atol=1e-4)
    finally:
        torch.set_num_threads(before)


def test_an_older_processor():
    """AVX2 alone: other machine code, the same numbers."""
    program = (
        "from labutils.cpu.kernels import jit; jit.FLAGS['cache'] = False  # keeps no listing\n"
        "import torch; from labutils.cpu.linear import CpuLinear; import test_cpu_w4 as w4\n"
        "torch.manual_seed(0); x, w = torch.randn(3, 64), torch.randn(5, 64)\n"
        "assert torch.allclose(CpuLinear().forward(x, w), x @ w.T, atol=1e-5)\n"
        "layer, kept, quantized = w4.made(96, 64, 32)\n"
        "expected = x @ quantized.dequantize(torch.float32).T\n"
        "assert torch.allclose(layer.forward(x, *kept), expected, atol=1e-4)\n"
        "from labutils.cpu.kernels.instructions import _execute\n"
        "code = ''.join(_execute.inspect_asm().values())\n"
        "assert 'ymm' in code and 'zmm' not in code\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""},
        cwd=os.path.dirname(__file__),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
