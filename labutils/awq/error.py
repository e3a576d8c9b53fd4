"""What rounding the weights does to each layer's output.

The weights themselves cannot be compared: AWQ multiplies some columns and divides the norm, or the
rows of the layer before, by as much. Whole blocks can, because inside of one everything cancels:
from the norm's input to the output of the attention or of the feed-forward network, both models
compute the same function, and what differs is the rounding.

Left out: models whose layers are not built as Llama's are (input_layernorm, self_attn,
post_attention_layernorm, mlp), such as InternLM2.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

BLOCKS = {"self_attn": "input_layernorm", "mlp": "post_attention_layernorm"}
"""The blocks of a decoder layer, and the norm that each begins with."""


@dataclass(frozen=True)
class BlockError:
    """Relative error of a decoder layer's blocks: ‖quantized − original‖ / ‖original‖."""

    layer: int
    attention: float
    feed_forward: float


def block_errors(original: Any, quantized: Any, tokens: list[int]) -> list[BlockError]:
    """The error that quantization adds in each block, given the original's input to it.

    Args:
        original: Transformers model.
        quantized: the same model with dequantized weights (`Folder.load_dequantized`).
        tokens: token ids of a text.
    """
    inputs: dict[tuple[int, str], torch.Tensor] = {}
    expected = _outputs(original, tokens, inputs)
    outputs = _outputs(quantized, tokens, inputs)
    relative = {
        key: ((outputs[key] - out).norm() / out.norm()).item() for key, out in expected.items()
    }
    layers = range(len(original.model.layers))
    return [BlockError(n, *(relative[n, block] for block in BLOCKS)) for n in layers]


@torch.no_grad()
def _outputs(
    model: Any, tokens: list[int], inputs: dict[tuple[int, str], torch.Tensor]
) -> dict[tuple[int, str], torch.Tensor]:
    """Each block's output; its norm is fed `inputs`, or fills them in where they lack."""
    outputs: dict[tuple[int, str], torch.Tensor] = {}
    with _hooks(model, inputs, outputs):
        model.model(torch.tensor([tokens]), use_cache=False)
    return outputs


@contextmanager
def _hooks(
    model: Any,
    inputs: dict[tuple[int, str], torch.Tensor],
    outputs: dict[tuple[int, str], torch.Tensor],
) -> Iterator[None]:
    def feed(key: tuple[int, str], given: tuple) -> tuple:
        return (inputs.setdefault(key, given[0]),)

    def keep(key: tuple[int, str], out: Any) -> None:
        outputs[key] = out[0] if isinstance(out, tuple) else out

    handles = []
    for number, layer in enumerate(model.model.layers):
        for block, norm in BLOCKS.items():
            key = (number, block)
            before = getattr(layer, norm).register_forward_pre_hook
            after = getattr(layer, block).register_forward_hook
            handles.append(before(lambda module, given, key=key: feed(key, given)))
            handles.append(after(lambda module, given, out, key=key: keep(key, out)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
