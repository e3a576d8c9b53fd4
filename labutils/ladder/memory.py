"""Memory of one rung: weights, KV cache a token, tokens that fit; predicted, then measured.

LMDeploy's PyTorch engine tells what it set up. TurboMind does not: of it, the memory that the GPU
has less of afterwards is measured, and the prediction says how it is shared out.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labutils import kv_budget
from labutils.awq.folder import predicted_sizes
from labutils.cpu import memory as cpu_memory
from labutils.folders import read_config
from labutils.kv_budget import KVShape
from labutils.ladder.results import Figure, Memory


@dataclass(frozen=True)
class Budget:
    """What is known before the engine starts."""

    kind: str
    """'cpu' or 'cuda'."""
    turbomind: bool
    itemsize: int
    """Bytes of a number in the engine's dtype."""
    batch: int


def free_bytes(kind: str) -> int:
    """Bytes of memory, of the GPU or of the machine, that this process can still get."""
    if kind == "cpu":
        return cpu_memory.free_bytes()
    import torch

    return torch.cuda.mem_get_info()[0]


def predict(model: Path, quant_policy: int, budget: Budget, free: int) -> Memory:
    """The three numbers from the model's config.json alone.

    Args:
        model: folder, quantized or not.
        quant_policy: 0, 8 or 4.
        budget: where it will run.
        free: bytes that are free before the weights are loaded.
    """
    config = read_config(model)
    weights = _weights(config, budget)
    token = kv_budget.bytes_per_token(KVShape.of(model), quant_policy, budget.itemsize)
    left = free - weights
    if budget.kind == "cpu":
        left = int(min(cpu_memory.SHARE * left, cpu_memory.CEILING))
    if budget.turbomind:
        cache = int(0.8 * left)
    else:
        cache = kv_budget.pytorch_cache_bytes(left, config["vocab_size"], budget.batch)
    tokens = kv_budget.tokens_that_fit(cache, token)
    return _memory(weights, token, tokens, "predicted")


def _weights(config: dict[str, Any], budget: Budget) -> int:
    """Bytes of the weights in the engine: on a CPU, zero points lie there in 16 bits, as scales
    do in any."""
    group = (config.get("quantization_config") or {}).get("group_size")
    parts = predicted_sizes(config, group)
    if budget.kind == "cpu":
        parts["zero points"] = parts["scales"]
    wide = ("embeddings", "norms", "linear layers")
    factor = budget.itemsize / 2
    return int(sum(factor * size if part in wide else size for part, size in parts.items()))


def measure(pipe: Any, predicted: Memory, free: int) -> Memory:
    """The three numbers as the engine set them up.

    Args:
        pipe: a pipeline.
        predicted: its prediction.
        free: bytes that were free before it started.
    """
    if pipe.async_engine.backend == "turbomind":
        return _of_turbomind(predicted, free - free_bytes("cuda"))
    said = kv_budget.reported(pipe)
    return _memory(cpu_memory.weight_bytes(pipe), said.bytes_per_token, said.tokens, "measured")


def _of_turbomind(predicted: Memory, used: int) -> Memory:
    """Of what the GPU has less of, what the weights leave is counted as KV cache."""
    cache = used - predicted.weights.value
    tokens = kv_budget.tokens_that_fit(int(cache), int(predicted.kv_per_token.value))
    return Memory(predicted.weights, predicted.kv_per_token, Figure(tokens, "tokens"))


def _memory(weights: float, token: float, tokens: float, origin: str) -> Memory:
    return Memory(
        Figure(weights, "bytes", origin),
        Figure(token, "bytes", origin),
        Figure(tokens, "tokens", origin),
    )
