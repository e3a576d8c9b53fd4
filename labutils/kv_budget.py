"""How much memory the KV cache takes, predicted, and what an engine then reports.

The number that decides what a machine can serve is not the cache's gigabytes but the tokens that
fit in it. Both follow from the model's shape; `reported` says what LMDeploy's PyTorch engine set
up, SETTINGS what `cache_max_entry_count` means by release.

Left out: TurboMind's own block layout; models whose layers differ, or cache anything but K and V.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labutils.errors import LabError
from labutils.folders import heads, read_config

BLOCK = 64
"""Tokens in a block of today's engines: the unit in which they give memory to a sequence."""


@dataclass(frozen=True)
class KVShape:
    """What a model stores for a token."""

    layers: int
    kv_heads: int
    head_dim: int

    @classmethod
    def of(cls, model: str | Path) -> "KVShape":
        """The shape of a Hugging Face folder, from its config.json.

        Raises:
            LabError: no config.json, or one that does not say.
        """
        file = Path(model) / "config.json"
        try:
            config = read_config(Path(model))
            return cls(config["num_hidden_layers"], *heads(config)[1:])
        except (OSError, ValueError, KeyError, TypeError, LabError) as error:
            raise LabError(
                f"{file} does not say how many layers and heads the model has: name the folder of "
                "a language model in Hugging Face's format."
            ) from error


def bytes_per_token(shape: KVShape, quant_policy: int = 0, itemsize: int = 2) -> int:
    """Bytes of KV cache for a token: layers · 2 · kv_heads · bytes of a row.

    A row of head_dim numbers takes head_dim · itemsize bytes, or head_dim · bits / 8 and a scale
    and a zero in the engine's dtype.

    Args:
        quant_policy: 0, 8 (int8) or 4 (int4).
        itemsize: bytes of the engine's dtype: 2 for float16 and bfloat16, 4 for float32.

    Raises:
        LabError: another quant_policy.
    """
    if quant_policy not in (0, 4, 8):
        raise LabError(
            f"quant_policy={quant_policy}: only 0, 8 (int8) and 4 (int4) are known here."
        )
    row = shape.head_dim * itemsize
    if quant_policy:
        row = shape.head_dim * quant_policy // 8 + 2 * itemsize
    return shape.layers * 2 * shape.kv_heads * row


def tokens_that_fit(memory: int, token: int, block: int = BLOCK) -> int:
    """Tokens of context in a cache of `memory` bytes at `token` bytes each, in whole blocks."""
    return memory // (token * block) * block


@dataclass(frozen=True)
class Setting:
    """What `cache_max_entry_count` means from some release on."""

    since: str
    default: float
    meaning: str
    """'sequences', 'share of all memory' or 'share of free memory'."""


SETTINGS = (
    Setting("0.0.13", 48, "sequences"),
    Setting("0.1.0", 0.5, "share of all memory"),
    Setting("0.2.2", 0.8, "share of free memory"),
)
"""From LMDeploy's guides to TurboMind's configuration and the defaults of its command lines. Free
is what the weights leave. From 0.1.0 on TurboMind also took a whole number, of blocks; the one of
0.18.0 refuses it."""


def pytorch_cache_bytes(free: int, vocab: int, batch: int) -> int:
    """Bytes that the PyTorch engine of 0.18.0 plans for its KV cache.

    It first keeps room for two bytes of every logit of a prefill step and two of each sequence.

    Args:
        free: bytes it finds free after loading the weights.
        vocab: entries of the vocabulary.
        batch: max_batch_size.
    """
    prefill, share = 8192, 0.8  # max_prefill_token_num, cache_max_entry_count
    return int((free - (prefill + 2 * batch) * vocab * 2) * share)


@dataclass(frozen=True)
class Reported:
    """What an engine set up."""

    tokens: int
    bytes: int

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / self.tokens


def reported(pipe: Any) -> Reported:
    """The KV cache of a `pipeline` whose engine is LMDeploy's PyTorch engine in this process.

    Raises:
        LabError: another engine.
    """
    executor = getattr(pipe.async_engine.engine, "executor", None)
    agent = getattr(executor, "model_agent", None)
    if agent is None:
        raise LabError("Only LMDeploy's PyTorch engine, in this process, tells its cache's size.")
    engine = agent.cache_engine
    tokens = engine.cache_config.num_gpu_blocks * engine.cache_config.block_size
    return Reported(tokens, engine.gpu_allocation.nbytes)
