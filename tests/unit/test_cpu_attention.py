"""Attention reads back what the cache stores, however a prompt was cut into steps."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from labutils.cpu import recording
from labutils.cpu.attention import CpuAttention, build_metadata
from labutils.kv_cache import dequantize, quantize

HEADS, KV_HEADS, DIM, BLOCK, BLOCKS = 6, 2, 32, 8, 12
LENGTHS = [37, 5]
TABLES = torch.tensor([[7, 2, 3, 11, 0], [5, 0, 0, 0, 0]])
"""One sequence's blocks lie apart, and block 0 is the last of it, not of the other."""
TOLERANCE = {torch.float32: {}, torch.bfloat16: {"rtol": 2**-6, "atol": 2**-7}}
"""PyTorch rounds probabilities to bfloat16, too."""
POLICIES = pytest.mark.parametrize("policy", [0, 8, 4])


@pytest.fixture(autouse=True, params=[True, False], ids=["kernels", "PyTorch"])
def by_either_path(request, monkeypatch) -> None:
    monkeypatch.setattr(recording, "ENABLED", request.param)


@pytest.fixture
def sequences() -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Queries, K and V of each sequence."""
    made = torch.Generator().manual_seed(0)
    shapes = [(HEADS, DIM), (KV_HEADS, DIM), (KV_HEADS, DIM)]
    return [tuple(torch.randn(n, *shape, generator=made) for shape in shapes) for n in LENGTHS]


class Cache:
    """An empty cache as LMDeploy describes it, and the attention that fills it."""

    def __init__(self, policy: int, dtype: torch.dtype) -> None:
        self.policy = policy
        width = DIM * policy // 8 if policy else DIM
        shape = (BLOCKS, BLOCK, KV_HEADS)
        stored = torch.uint8 if policy else dtype
        self.k, self.v = (torch.zeros(*shape, width, dtype=stored) for _ in range(2))
        self.scales = {}
        if policy:
            names = ("k_scales_zeros", "v_scales_zeros")
            self.scales = {name: torch.full((*shape, 2), torch.nan, dtype=dtype) for name in names}
        self.attention = CpuAttention(HEADS, DIM, num_kv_heads=KV_HEADS)

    def step(self, pieces, lengths: list[int]) -> torch.Tensor:
        """Attend with new tokens (q, k, v) of each sequence, which then is so long."""
        new = torch.tensor([len(q) for q, _, _ in pieces])
        context = SimpleNamespace(
            cache_config=SimpleNamespace(kernel_block_size=BLOCK),
            q_seqlens=new,
            kv_seqlens=torch.tensor(lengths),
            block_offsets=TABLES,
            is_decoding=bool((new == 1).all()),
            q_start_loc=new.cumsum(0) - new,
            kv_quant_policy=self.policy,
        )
        q, k, v = (torch.cat(parts) for parts in zip(*pieces, strict=True))
        metadata = build_metadata(context)
        return self.attention.forward(q, k, v, self.k, self.v, metadata, **self.scales)


def expected(q, k, v, window: int = 1000) -> torch.Tensor:
    """Attention of a whole prompt in float32, each query to so many tokens back."""
    q, k, v = (x.transpose(0, 1)[None].float() for x in (q, k, v))
    near = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril().triu(1 - window)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=near, enable_gqa=True)
    return out[0].transpose(0, 1)


@POLICIES
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_prompt_attends_to_what_the_cache_gives_back(sequences, policy, dtype):
    sequences = [tuple(x.to(dtype) for x in sequence) for sequence in sequences]
    outputs = Cache(policy, dtype).step(sequences, LENGTHS).split(LENGTHS)
    for (q, k, v), output in zip(sequences, outputs, strict=True):
        if policy:
            k, v = (dequantize(*quantize(x, policy), policy) for x in (k, v))
        assert output.dtype == dtype
        torch.testing.assert_close(output.float(), expected(q, k, v), **TOLERANCE[dtype])


@pytest.mark.parametrize("window", [1, 9, 100])
def test_a_window_hides_what_lies_further_back(sequences, window):
    cache = Cache(0, torch.float32)
    cache.attention = CpuAttention(HEADS, DIM, num_kv_heads=KV_HEADS, sliding_window=window)
    outputs = cache.step(sequences, LENGTHS).split(LENGTHS)
    for sequence, output in zip(sequences, outputs, strict=True):
        torch.testing.assert_close(output, expected(*sequence, window))


@POLICIES
@pytest.mark.parametrize("size", [1, 7, 16])
def test_cutting_a_prompt_up_changes_nothing(sequences, policy, size):
    sequence, other = sequences
    whole = Cache(policy, torch.float32).step(sequences, LENGTHS)[: LENGTHS[0]]
    cache = Cache(policy, torch.float32)
    pieces = []
    for start in range(0, LENGTHS[0], size):
        piece = tuple(x[start : start + size] for x in sequence)
        beside = tuple(x[-1:] for x in other)
        end = start + len(piece[0])
        pieces.append(cache.step([piece, beside], [end, LENGTHS[1]])[: len(piece[0])])
    torch.testing.assert_close(torch.cat(pieces), whole)
