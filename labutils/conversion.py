"""What `lmdeploy convert` of LMDeploy 0.2.4 does to 16-bit weights, and the way back.

TurboMind's weights are files without any header. I is a layer, R a tensor-parallel rank:

| file                       | content                                 | shape                     |
|----------------------------|-----------------------------------------|---------------------------|
| layers.I.attention.w_qkv.R | [P(Wqᵀ), P(Wkᵀ), Wvᵀ], R's part of each | hidden, (h + 2 kv) d / tp |
| layers.I.attention.wo.R    | Woᵀ, R's rows                           | h d / tp, hidden          |
| layers.I.feed_forward.w1.R | gate, transposed, R's columns           | hidden, inter / tp        |
| layers.I.feed_forward.w3.R | up, transposed, R's columns             | hidden, inter / tp        |
| layers.I.feed_forward.w2.R | down, transposed, R's rows              | inter / tp, hidden        |
| norms, embedding, output   | as they are                             |                           |

h heads and kv key-value heads of d dimensions. P interleaves the two halves of each head: rotary
position embedding turns dimensions (i, i + d/2) together in Hugging Face's order, (2i, 2i + 1) in
TurboMind's. Nothing is rounded, so everything can be undone.

`export` repeats the tool's work independently of it, to check it bit for bit; `rebuild` is its
inverse. Left out: 4-bit weights, biases.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import torch

from labutils import internlm2


@dataclass(frozen=True)
class Shape:
    """The numbers that every file's shape follows from."""

    tp: int
    """Tensor-parallel ranks: GPUs that share the model."""
    heads: int
    kv_heads: int
    vocab: int
    layers: int
    inter: int
    """Width of the feed-forward network."""
    head_dim: int

    @property
    def hidden(self) -> int:
        """Hidden size; 0.2.4 takes it to be heads × head_dim."""
        return self.heads * self.head_dim


@dataclass(frozen=True)
class Where:
    """One file: its shape, and which tensor and rank of that tensor it holds."""

    shape: tuple[int, ...]
    tensor: str
    rank: int = 0


@cache
def layout(shape: Shape) -> Mapping[str, Where]:
    """Every weight file of a workspace, in the order of the model."""
    h, d, tp = shape.hidden, shape.head_dim, shape.tp
    vocab = -(-shape.vocab // tp) * tp  # padded so that the ranks can share it
    files = {
        "tok_embeddings.weight": Where((vocab, h), "embed"),
        "norm.weight": Where((h,), "norm"),
        "output.weight": Where((vocab, h), "output"),
    }
    split = {
        "attention.w_qkv": (h, (shape.heads + 2 * shape.kv_heads) * d // tp),
        "attention.wo": (shape.heads * d // tp, h),
        "feed_forward.w1": (h, shape.inter // tp),
        "feed_forward.w2": (shape.inter // tp, h),
        "feed_forward.w3": (h, shape.inter // tp),
    }
    for layer in (f"layers.{number}" for number in range(shape.layers)):
        for norm in ("attention_norm", "ffn_norm"):
            files[f"{layer}.{norm}.weight"] = Where((h,), f"{layer}.{norm}")
        for part, size in split.items():
            for rank in range(tp):
                files[f"{layer}.{part}.{rank}.weight"] = Where(size, f"{layer}.{part}", rank)
    return MappingProxyType(files)  # shared by all who ask


def interleave(columns: torch.Tensor, head_dim: int) -> torch.Tensor:
    """P: from Hugging Face's order of a head's dimensions to TurboMind's.

    Args:
        columns: [..., heads · head_dim], each head as (x₀ … x_{d/2-1}, y₀ … y_{d/2-1}).

    Returns:
        the same shape, each head as (x₀, y₀, x₁, y₁, …).
    """
    halves = columns.unflatten(-1, (-1, 2, head_dim // 2))
    return halves.transpose(-1, -2).flatten(-3)


def deinterleave(columns: torch.Tensor, head_dim: int) -> torch.Tensor:
    """The inverse of `interleave`."""
    pairs = columns.unflatten(-1, (-1, head_dim // 2, 2))
    return pairs.transpose(-1, -2).flatten(-3)


def fuse_ranks(parts: list[torch.Tensor], tp: int) -> torch.Tensor:
    """q, k and v side by side for each rank: [hidden, (heads + 2 kv_heads) · head_dim]."""
    return torch.cat([part.unflatten(-1, (tp, -1)) for part in parts], -1).flatten(-2)


def export(llama: Mapping[str, torch.Tensor], shape: Shape) -> Iterator[tuple[str, torch.Tensor]]:
    """What `convert` writes, computed independently of it.

    Args:
        llama: a Llama's tensors under Hugging Face's names, in the workspace's dtype.
        shape: the model's sizes and the number of ranks.

    Yields:
        file names and their content, in the order of `layout`.
    """
    made: dict[str, torch.Tensor] = {}
    for name, where in layout(shape).items():
        if where.tensor not in made:
            made = {where.tensor: _exported(llama, where.tensor, shape)}  # one at a time
        whole = made[where.tensor]
        if len(where.shape) == 1 or where.tensor in ("embed", "output"):
            yield name, whole
            continue
        axis = 0 if where.tensor.endswith((".wo", ".w2")) else 1
        yield name, whole.chunk(shape.tp, axis)[where.rank].contiguous()


HF_NAMES = {ours: theirs for theirs, ours in internlm2.NAMES.items()}
HF_NAMES |= {"embed": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}
"""Inside a layer TurboMind's names are InternLM2's."""


def _hf_name(tensor: str) -> str:
    """Hugging Face's name for one of ours ('layers.3.attention.wo')."""
    if tensor in HF_NAMES:
        return f"{HF_NAMES[tensor]}.weight"
    _, number, part = tensor.split(".", 2)
    return f"model.layers.{number}.{HF_NAMES[part]}.weight"


def _qkv_names(tensor: str) -> list[str]:
    number = tensor.split(".")[1]
    return [f"model.layers.{number}.self_attn.{part}_proj.weight" for part in "qkv"]


def _exported(llama: Mapping[str, torch.Tensor], tensor: str, shape: Shape) -> torch.Tensor:
    """One tensor of all ranks, as `convert` arranges it."""
    if tensor.endswith("w_qkv"):
        q, k, v = (llama[name].T for name in _qkv_names(tensor))
        rotary = [interleave(part, shape.head_dim) for part in (q, k)]
        return fuse_ranks([*rotary, v], shape.tp)
    source = llama[_hf_name(tensor)]
    if tensor in ("embed", "output"):
        return torch.nn.functional.pad(source, (0, 0, 0, -len(source) % shape.tp))
    return source.T if source.dim() == 2 else source


def rebuild(read: Callable[[str], torch.Tensor], shape: Shape) -> dict[str, torch.Tensor]:
    """The Hugging Face tensors of a Llama, from a workspace: the inverse of `export`.

    Args:
        read: the content of a weight file, by the names of `layout`.
        shape: the model's sizes and the number of ranks.
    """
    files: dict[str, list[torch.Tensor]] = {}
    for name, where in layout(shape).items():
        files.setdefault(where.tensor, []).append(read(name))
    tensors: dict[str, torch.Tensor] = {}
    for tensor in list(files):
        tensors |= _rebuilt(tensor, files.pop(tensor), shape)
    return tensors


def _rebuilt(tensor: str, ranks: list[torch.Tensor], shape: Shape) -> dict[str, torch.Tensor]:
    """One tensor under its Hugging Face name; q, k and v under theirs."""
    if tensor.endswith("w_qkv"):
        parts = _split_ranks(ranks, shape)
        parts[:2] = [deinterleave(part, shape.head_dim) for part in parts[:2]]
        return {n: p.T.contiguous() for n, p in zip(_qkv_names(tensor), parts, strict=True)}
    if tensor in ("embed", "output"):
        return {_hf_name(tensor): ranks[0][: shape.vocab]}
    if ranks[0].dim() == 1:
        return {_hf_name(tensor): ranks[0]}
    axis = 0 if tensor.endswith((".wo", ".w2")) else 1
    return {_hf_name(tensor): torch.cat(ranks, axis).T.contiguous()}


def _split_ranks(ranks: list[torch.Tensor], shape: Shape) -> list[torch.Tensor]:
    """q, k and v of all ranks, [hidden, heads · head_dim] each: the inverse of `fuse_ranks`."""
    kv = shape.kv_heads * shape.head_dim // shape.tp
    split = [rank.split([rank.shape[1] - 2 * kv, kv, kv], 1) for rank in ranks]
    return [torch.cat(parts, 1) for parts in zip(*split, strict=True)]
