"""Paged attention on the CPU: where new keys and values go, and how queries read them back.

LMDeploy keeps K and V in blocks of 64 tokens; a sequence owns a table of block numbers. Each step
writes the new tokens' K and V into their slots, then lets every sequence attend to its own
history: two instructions (`STORE` and `ATTEND`), which read the cache where it lies. What they lack
PyTorch's scaled_dot_product_attention does, given views of the cache instead of copies wherever a
sequence's blocks are consecutive.

In a quantized cache (quant_policy 8 or 4) a token's K and V are stored as `labutils.kv_cache`
packs them, its scales and zeros beside them. A sequence attends to what it reads back, in a
prompt's first step as in every later one, so that a prompt means the same however it was cut up.

Left out: multi-head latent attention, ALiBi, soft-capped logits, attention sinks, fp8 and
TurboQuant caches.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lmdeploy.pytorch.backends.attention import (
    AttentionImpl,
    AttentionMetadata,
    PagedAttentionBuildSpec,
)

from labutils.cpu.kernels.instructions import ATTEND, MULTIPLE, STORE, Sequences
from labutils.cpu.recording import emit, fits, refuse_recording, room
from labutils.errors import LabError
from labutils.kv_cache import dequantize, quantize

Rows = slice | torch.Tensor
"""Rows of the flattened cache [blocks * block_size, heads, head_dim]: a slice reads as a view."""


@dataclass
class CpuAttentionMetadata(AttentionMetadata):
    """One step's sequences: lengths, where their new tokens go and where their history lies."""

    q_lens: list[int] = field(default_factory=list)
    kv_lens: list[int] = field(default_factory=list)
    block_size: int = 0

    @cached_property
    def history(self) -> list[Rows]:
        """Per sequence, the cache rows of its kv_lens tokens in order."""
        tables = self.block_offsets.tolist()
        pairs = zip(tables, self.kv_lens, strict=True)
        return [_rows(table, length, self.block_size) for table, length in pairs]

    @cached_property
    def slots(self) -> torch.Tensor:
        """int64 [new tokens]: the cache row of each new token, sequence after sequence."""
        return torch.cat([_tail(r, n) for r, n in zip(self.history, self.q_lens, strict=True)])

    @cached_property
    def sequences(self) -> Sequences:
        """Block tables, kv_lens and where the queries begin, for instructions.

        No length reaches beyond its table: LMDeploy 0.18.0 says so in the step after a prompt
        whose logits were asked for, and an instruction would read memory that is not the cache's.
        """
        tables = np.ascontiguousarray(self.block_offsets.numpy(), np.int64)
        lengths = np.minimum(self.kv_lens, tables.shape[1] * self.block_size)
        return tables, lengths, np.cumsum([0, *self.q_lens])


def build_metadata(context: Any) -> CpuAttentionMetadata:
    """Attention metadata of LMDeploy's StepContext."""
    return CpuAttentionMetadata(
        is_decoding=context.is_decoding,
        block_offsets=context.block_offsets,
        q_start_loc=context.q_start_loc,
        q_seqlens=context.q_seqlens,
        kv_seqlens=context.kv_seqlens,
        cu_seqlens_q=F.pad(context.q_seqlens.cumsum(0), (1, 0)),
        cu_seqlens_k=F.pad(context.kv_seqlens.cumsum(0), (1, 0)),
        quant_policy=context.kv_quant_policy,
        q_lens=context.q_seqlens.tolist(),
        kv_lens=context.kv_seqlens.tolist(),
        block_size=context.cache_config.kernel_block_size,
    )


def _rows(table: list[int], length: int, block_size: int) -> Rows:
    """Cache rows of a sequence of `length` tokens whose blocks are `table`."""
    blocks = table[: -(-length // block_size)]
    first = blocks[0] if blocks else 0
    if blocks == list(range(first, first + len(blocks))):
        return slice(first * block_size, first * block_size + length)
    starts = torch.tensor(blocks)[:, None] * block_size
    return (starts + torch.arange(block_size)).flatten()[:length]


def _tail(rows: Rows, count: int) -> torch.Tensor:
    """The last `count` of these rows, as int64 indices."""
    if isinstance(rows, slice):
        return torch.arange(rows.stop - count, rows.stop)
    return rows[len(rows) - count :]


@dataclass(frozen=True)
class TokenRows:
    """One layer's cache of K or of V as one row per token, however it is stored."""

    cache: torch.Tensor
    """[blocks, block_size, kv_heads, head_dim]; in 4 bits head_dim / 2 bytes."""
    scales_zeros: torch.Tensor | None
    """[blocks, block_size, kv_heads, 2] of a quantized cache."""
    bits: int
    """8 or 4; 0: not quantized."""

    def write(self, slots: torch.Tensor, states: torch.Tensor) -> None:
        """Store new tokens' K or V, [new tokens, kv_heads, head_dim], in these rows."""
        states = states.reshape(len(slots), self.cache.size(2), -1)
        if self.bits:
            states, scales_zeros = quantize(states, self.bits)
            self.scales_zeros.flatten(0, 1).index_copy_(0, slots, scales_zeros)
        self.cache.flatten(0, 1).index_copy_(0, slots, states)

    def read(self, rows: Rows) -> torch.Tensor:
        """[tokens, kv_heads, head_dim] of these rows; a view where nothing was quantized."""
        stored = self.cache.flatten(0, 1)[rows]
        if not self.bits:
            return stored
        return dequantize(stored, self.scales_zeros.flatten(0, 1)[rows], self.bits)


class CpuAttention(AttentionImpl[CpuAttentionMetadata]):
    """LMDeploy's attention operator, one sequence at a time."""

    @classmethod
    def from_spec(cls, spec: PagedAttentionBuildSpec) -> "CpuAttention":
        """Build from LMDeploy's request; LabError for what this module leaves out."""
        unsupported = {
            "multi-head latent attention (MLA)": spec.use_flash_mla,
            "ALiBi positions": spec.alibi,
            "soft-capped attention logits": spec.logit_softcapping,
            "attention sinks": spec.learnable_sink,
        }
        for feature, asked in unsupported.items():
            if asked:
                raise LabError(f"This model uses {feature}, which the CPU device does not have.")
        return cls(
            num_heads=spec.num_heads,
            head_size=spec.head_dim,
            scale=spec.scale,
            num_kv_heads=spec.num_kv_heads,
            v_head_size=spec.v_head_dim,
            sliding_window=spec.sliding_window,
            causal=spec.causal,
        )

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        k_cache: torch.Tensor,
        v_cache: torch.Tensor,
        attn_metadata: CpuAttentionMetadata,
        k_scales_zeros: torch.Tensor | None = None,
        v_scales_zeros: torch.Tensor | None = None,
        **unused: Any,
    ) -> torch.Tensor:
        """Store the new K and V, then attend.

        Args:
            query: [new tokens, heads, head_dim], sequence after sequence.
            key, value: [new tokens, kv_heads, head_dim].
            k_cache, v_cache: see `TokenRows`; written in place.
            attn_metadata: this step's sequences.
            k_scales_zeros, v_scales_zeros: of a quantized cache; written in place.

        Returns:
            [new tokens, heads, head_dim] in query's dtype.
        """
        bits = int(attn_metadata.quant_policy)
        if self.has_instruction(query, key, value):
            caches = {"k_cache": k_cache, "v_cache": v_cache}
            caches |= {"k_pairs": k_scales_zeros, "v_pairs": v_scales_zeros}
            return self.compute(query, key, value, caches, attn_metadata)
        refuse_recording("attention as PyTorch computes it takes each sequence's length")
        keys = TokenRows(k_cache, k_scales_zeros, bits)
        values = TokenRows(v_cache, v_scales_zeros, bits)
        keys.write(attn_metadata.slots, key)
        values.write(attn_metadata.slots, value)
        queries = query.reshape(-1, self.num_heads, self.head_size).split(attn_metadata.q_lens)
        outputs = [
            self.attend(q, keys.read(rows), values.read(rows))
            for q, rows in zip(queries, attn_metadata.history, strict=True)
        ]
        return torch.cat(outputs).view(*query.shape[:-1], self.v_head_size)

    def has_instruction(self, *states: torch.Tensor) -> bool:
        """Whether `compute` can do what is asked, given query, key and value."""
        heads_together = all(t.dim() == 3 and t.stride(1) == t.shape[2] for t in states)
        same = self.v_head_size == self.head_size and self.head_size % (2 * MULTIPLE) == 0
        return self.causal and same and heads_together and fits(*states)

    def compute(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        caches: dict[str, torch.Tensor | None],
        attn_metadata: CpuAttentionMetadata,
    ) -> torch.Tensor:
        """`forward` by two instructions."""
        out = room(query.shape, query.dtype)
        blocks, block_size, kv_heads, _ = caches["k_cache"].shape
        tensors = {"x": query, "y": key, "z": value, "out": out, **caches}
        sizes = {"rows": len(query), "heads": self.num_heads, "kv_heads": kv_heads}
        sizes |= {"width": self.head_size, "window": self.window() or 0, "scalar": self.scale}
        sizes |= {"block_size": block_size, "blocks": blocks}
        sizes |= {"bits": int(attn_metadata.quant_policy)}
        sizes |= {"x_row": query.stride(0), "y_row": key.stride(0), "z_row": value.stride(0)}
        for kind in (STORE, ATTEND):
            emit(kind, tensors, attn_metadata.sequences, **sizes)
        return out

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attention of one sequence's last tokens to its whole history.

        Args:
            q: [new, heads, head_dim]. k, v: [history, kv_heads, head_dim], new tokens included.

        Returns:
            [new, heads, head_dim].
        """
        new, history = q.size(0), k.size(0)
        group = self.num_heads // self.num_kv_heads
        k, v = k.transpose(0, 1)[None], v.transpose(0, 1)[None]
        mask = self.mask(new, history)
        if new == 1 and mask is None:
            # The heads that share a K/V head become query rows: nothing is repeated or masked.
            grouped = q.view(1, self.num_kv_heads, group, self.head_size)
            out = F.scaled_dot_product_attention(grouped, k, v, scale=self.scale)
            return out.view(1, self.num_heads, self.v_head_size)
        if group > 1:
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        out = F.scaled_dot_product_attention(
            q.transpose(0, 1)[None],
            k,
            v,
            attn_mask=mask,
            is_causal=mask is None and self.causal,
            scale=self.scale,
        )
        return out[0].transpose(0, 1)

    def mask(self, new: int, history: int) -> torch.Tensor | None:
        """bool [new, history], True where a query may look; None where plain causal attention,
        or attention to everything, says the same."""
        window = self.window()
        windowed = window is not None and window < history
        if not windowed and (not self.causal or new in (1, history)):
            return None
        queries = torch.arange(history - new, history)[:, None]
        keys = torch.arange(history)[None]
        seen = keys <= queries if self.causal else torch.ones(new, history, dtype=torch.bool)
        return seen & (keys > queries - window) if windowed else seen

    def window(self) -> int | None:
        """How many tokens back a query looks; None: to the first."""
        window = self.sliding_window
        window = window[0] if isinstance(window, (tuple, list)) else window
        return window if window is not None and window > 0 else None
