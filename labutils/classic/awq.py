"""How LMDeploy 0.2.4's `convert` arranges 4-bit weights, and the way back.

0.2.4 leaves this to three functions of its compiled library, which run on a GPU. Here they are in
PyTorch, for any machine; `labutils.classic.shim` puts them in their place. Nothing is computed:
numbers, zeros and scales only change places.

- `transpose_qk`: the two halves of each query and key head interleave, as for 16-bit weights;
- `fuse`: w1 and w3 alternate, column by column, so that one product serves both;
- `fragments`: each tile of 16 inputs × 16 outputs lies as the tensor cores want it in their
  registers. Thread 4 g + t of 32 holds eight numbers of it: inputs 2 t, 2 t + 1, 2 t + 8 and
  2 t + 9 of outputs g and g + 8 (NVIDIA's PTX ISA, mma.m16n8k16, matrix A);
- `scales_zeros`: a group's 64 + zero and its scale side by side, two float16. The engine turns a
  number into the float16 64 + number by setting bits, so that a subtraction gives number − zero.

Packed tensors are int32 [in, out / 8] as in `labutils.awq.numbers`. A rank's files hold its columns
of w_qkv and w13, its rows of wo and w2. Left out: reading a whole workspace
(`tests/contract/test_classic_awq.py` does it).
"""

from pathlib import Path

import torch

from labutils.awq.numbers import Quantized, pack, unpack
from labutils.conversion import interleave
from labutils.errors import LabError
from labutils.folders import linear_layers, read_config

TILE = (2, 2, 4, 2)
"""How an input's place among 32 splits: tile, half of the tile, thread's pair, one of the pair."""
OUT_TILE = (2, 2, 8)
"""How an output's place among 32 splits: tile, half of the tile, group of threads."""
TO_FRAGMENTS = (0, 5, 8, 3, 1, 6, 2, 7, 4)
"""Axes of [in / 32, *TILE, out / 32, *OUT_TILE] in the order of memory: blocks of 32 × 32, then
threads (output, pair), then a thread's four tiles, then its eight numbers (half of the inputs, half
of the outputs, one of the pair)."""
TO_MATRIX = tuple(TO_FRAGMENTS.index(axis) for axis in range(9))
OFFSET = 64


def transpose_qk(packed: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Packed query or key weights or zeros in TurboMind's order of a head's dimensions."""
    return pack(interleave(unpack(packed), head_dim))


def fuse(w1: torch.Tensor, w3: torch.Tensor) -> torch.Tensor:
    """Packed [rows, n] twice, as packed [rows, 2 n] with alternating columns."""
    return pack(torch.stack([unpack(w1), unpack(w3)], -1).flatten(1))


def fragments(packed: torch.Tensor) -> torch.Tensor:
    """A packed weight, its eights rearranged for tensor cores; the shape says nothing any more.

    Args:
        packed: int32 [in, out / 8], in and out multiples of 32.
    """
    numbers = unpack(packed)
    places = numbers.view(-1, *TILE, numbers.shape[1] // 32, *OUT_TILE)
    return pack(places.permute(TO_FRAGMENTS).reshape(numbers.shape))


def from_fragments(stored: torch.Tensor) -> torch.Tensor:
    """The inverse of `fragments`."""
    numbers = unpack(stored)
    sizes = (numbers.shape[0] // 32, *TILE, numbers.shape[1] // 32, *OUT_TILE)
    places = numbers.reshape([sizes[axis] for axis in TO_FRAGMENTS])
    return pack(places.permute(TO_MATRIX).reshape(numbers.shape))


def scales_zeros(scales: torch.Tensor, qzeros: torch.Tensor) -> torch.Tensor:
    """float16 [groups, out] and packed zeros as int32 [groups, out], two float16 each."""
    zeros = unpack(qzeros).half() + OFFSET
    return torch.stack([zeros, scales.half()], -1).view(torch.int32).squeeze(-1)


def stored_weight(qweight: torch.Tensor, pairs: torch.Tensor, inputs: int) -> Quantized:
    """A weight from its two files in a workspace: the inverse of `fragments`, `scales_zeros`.

    Args:
        qweight: int32 [in · out / 8], content of a .qweight file.
        pairs: int32 [groups · out], content of the .scales_zeros file beside it.
        inputs: in. Queries and keys stay interleaved, w1 and w3 fused.
    """
    out = 8 * qweight.numel() // inputs
    numbers = unpack(from_fragments(qweight.view(inputs, out // 8)))
    zeros, scales = pairs.view(torch.float16).view(-1, out, 2).unbind(-1)
    return Quantized(numbers.T, (zeros - OFFSET).to(torch.uint8).T, scales.T)


# --- before convert starts -----------------------------------------------------------------------


def check(model: Path, group_size: str | None) -> None:
    """Refuse what `convert … --model-format awq` would garble or give up half-way.

    Args:
        model: model folder.
        group_size: what --group-size says; None: nothing.

    Raises:
        LabError: a group size other than 128, in words or in the weights, no 4-bit weights, or
            layers that tiles of 32 do not fill.
    """
    from labutils.awq.folder import open_folder

    if group_size != "128":
        raise LabError(
            "LMDeploy 0.2.4 takes 4-bit weights in groups of 128 only, and any other --group-size "
            "for the length of a head: type --group-size 128."
        )
    folder = open_folder(model)
    found = folder.weight(folder.linears[0]).group_size
    if found != 128:
        raise LabError(f"{model} has groups of {found}: quantize with --w-group-size 128.")
    shapes = linear_layers(read_config(model)).values()
    if any(length % 32 for shape in shapes for length in shape):
        raise LabError(f"{model} has layers that are no multiple of 32 wide: use another model.")


# --- in place of the compiled library's functions, with their own arguments ----------------------


def transpose_qk_s4_k_m8(
    src: torch.Tensor, dst: torch.Tensor, out: int, rows: int, head_dim: int
) -> None:
    """`transpose_qk` from src to dst."""
    dst.copy_(transpose_qk(src, head_dim))


def fuse_w1_w3_s4_k_m8(src: torch.Tensor, dst: torch.Tensor, out: int, rows: int) -> None:
    """`fuse` from src, w1 above w3, to dst of the same shape."""
    dst.copy_(fuse(*src.chunk(2)).view(dst.shape))


def convert_s4_k_m8(
    weight_dst: torch.Tensor,
    pairs_dst: torch.Tensor,
    workspace: torch.Tensor,
    weight: torch.Tensor,
    scales: torch.Tensor,
    qzeros: torch.Tensor,
    out: int,
    inputs: int,
    group_size: int,
) -> None:
    """`fragments` and `scales_zeros` to the first two tensors; the third is not needed here."""
    weight_dst.copy_(fragments(weight))
    pairs_dst.copy_(scales_zeros(scales, qzeros))
