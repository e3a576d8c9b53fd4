"""How 0.2.4 arranges 4-bit weights: as its compiled library does on a GPU, and back."""

import hashlib

import pytest
import torch

from labutils.classic import awq


def noise(name: str, count: int) -> torch.Tensor:
    """uint8 [count], the same for ever."""
    blocks = (hashlib.sha256(f"{name} {n}".encode()).digest() for n in range(-(-count // 32)))
    return torch.frombuffer(bytearray(b"".join(blocks)[:count]), dtype=torch.uint8)


INPUTS, OUT = 256, 384
W1, W3 = (noise(n, INPUTS * OUT // 2).view(torch.int32).view(INPUTS, -1) for n in ("w1", "w3"))
QZEROS = noise("zeros", 2 * OUT // 2).view(torch.int32).view(2, -1)
SCALES = (noise("scales", 2 * OUT).half() + 1).view(2, OUT) / 4096


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            awq.transpose_qk(W1, 128),
            "2bad0ee5e1bdfbb6a1e3555ff25f9bac7b51c7237d5e77f249a5e5df00a97d6b",
        ),
        (
            awq.fuse(W1, W3),
            "aca27e10be994c356d9c7b229d3727e5ca346f1d629a2dc244d5c9ff16600b6c",
        ),
        (
            awq.fragments(W1),
            "a1cef8090e88067e1627fc53e918f2a7ceb95c6d3b2f0e487f8414f2364e3fa0",
        ),
        (
            awq.scales_zeros(SCALES, QZEROS),
            "9a6221a75b391aad27e3b2187243f5ca918b816801a9fff7256e203b138ef9c9",
        ),
    ],
    ids=["transpose_qk", "fuse", "fragments", "scales_zeros"],
)
def test_what_the_compiled_library_of_024_makes_of_these_on_a_gpu(ours, theirs):
    """SHA-256 of what `_turbomind` from its wheel wrote for the same input (on an H200)."""
    assert hashlib.sha256(ours.contiguous().numpy().tobytes()).hexdigest() == theirs


def test_fragments_can_be_undone():
    assert torch.equal(awq.from_fragments(awq.fragments(W1)), W1)
